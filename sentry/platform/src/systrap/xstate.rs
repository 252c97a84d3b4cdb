//! Extended processor state: its size and layout on this CPU, and images made safe to load.
//!
//! `Intel SDM` vol. 1 ch. 13. Images are in the standard format: 512 bytes as FXSAVE writes them, 64 of header, then
//! each component at the offset that CPUID gives.

use std::arch::x86_64::{__cpuid, __cpuid_count, _fxsave, _xgetbv};

use abi::ucontext_x86_64::FXSAVE_SIZE;
use stub::layout::XSTATE_OFFERED;

use crate::{PlatformError, XSTATE_MAX};

/// The part every x86-64 has.
const LEGACY: u64 = 0b11;
const PKRU: u32 = 9;
/// Linux's initial value: no access to memory of any key but 0.
const INITIAL_PKRU: u32 = 0x5555_5554;

const HEADER_END: usize = 576;
const MXCSR: std::ops::Range<usize> = 24..28;
/// Bytes that the FXSAVE format leaves to software, where a signal frame describes the rest.
const SOFTWARE: std::ops::Range<usize> = 464..512;

const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;

/// Bytes that follow an image in a signal frame.
pub(super) const TRAILER: usize = 4;

/// What this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of an image.
    pub(super) size: usize,
    /// Components.
    pub(super) features: u64,
    mxcsr_mask: u32,
    pkru_offset: usize,
}

impl Layout {
    /// Asks the CPU.
    pub(super) fn detect() -> Result<Self, PlatformError> {
        const OSXSAVE: u32 = 1 << 27;
        if __cpuid(1).ecx & OSXSAVE == 0 {
            return Err(PlatformError::Unsupported("the CPU or the host has no XSAVE".into()));
        }
        // SAFETY: OSXSAVE says that the instruction exists.
        let features = unsafe { enabled_features() } & u64::from(XSTATE_OFFERED);
        let mut size = HEADER_END;
        let mut pkru_offset = 0;
        for component in (2..64).filter(|bit| features >> bit & 1 != 0) {
            let place = __cpuid_count(0xd, component);
            let (len, offset) = (place.eax as usize, place.ebx as usize);
            size = size.max(offset + len);
            if component == PKRU {
                pkru_offset = offset;
            }
        }
        if size > XSTATE_MAX {
            return Err(PlatformError::Unsupported(format!("{size} bytes of extended state")));
        }
        Ok(Self { size, features, mxcsr_mask: mxcsr_mask(), pkru_offset })
    }

    /// The state of a new program.
    pub(super) fn initial(&self) -> Vec<u8> {
        let mut image = vec![0; self.size];
        image[..2].copy_from_slice(&0x037f_u16.to_le_bytes());
        image[MXCSR].copy_from_slice(&0x1f80_u32.to_le_bytes());
        let mut present = LEGACY;
        if self.pkru_offset != 0 {
            present |= 1 << PKRU;
            let at = self.pkru_offset;
            image[at..at + 4].copy_from_slice(&INITIAL_PKRU.to_le_bytes());
        }
        image[FXSAVE_SIZE..FXSAVE_SIZE + 8].copy_from_slice(&present.to_le_bytes());
        image
    }

    /// An image that the CPU will load, from one that anybody may have written: a whole one, or 512 bytes of FXSAVE.
    pub(super) fn sanitize(&self, from: &[u8]) -> Vec<u8> {
        let mut image = vec![0; self.size];
        let len = from.len().min(self.size);
        image[..len].copy_from_slice(&from[..len]);
        let present = if len >= HEADER_END { word(&image, FXSAVE_SIZE) & self.features } else { LEGACY };
        image[FXSAVE_SIZE..HEADER_END].fill(0);
        image[FXSAVE_SIZE..FXSAVE_SIZE + 8].copy_from_slice(&present.to_le_bytes());
        let mut mxcsr = [0; 4];
        mxcsr.copy_from_slice(&image[MXCSR]);
        let mxcsr = u32::from_le_bytes(mxcsr) & self.mxcsr_mask;
        image[MXCSR].copy_from_slice(&mxcsr.to_le_bytes());
        image[SOFTWARE].fill(0);
        image
    }

    /// `image` as it stands in a signal frame: described in the software bytes, ended by a magic number.
    pub(super) fn to_frame(self, mut image: Vec<u8>) -> Vec<u8> {
        let size = self.size as u32;
        let mut software = Vec::with_capacity(SOFTWARE.len());
        software.extend_from_slice(&MAGIC1.to_le_bytes());
        software.extend_from_slice(&(size + TRAILER as u32).to_le_bytes());
        software.extend_from_slice(&self.features.to_le_bytes());
        software.extend_from_slice(&size.to_le_bytes());
        software.resize(SOFTWARE.len(), 0);
        image[SOFTWARE].copy_from_slice(&software);
        image.extend_from_slice(&MAGIC2.to_le_bytes());
        image
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// # Safety
/// The CPU must have XSAVE enabled.
#[target_feature(enable = "xsave")]
unsafe fn enabled_features() -> u64 {
    // SAFETY: forwarded; register 0 always exists.
    unsafe { _xgetbv(0) }
}

/// The MXCSR bits that this CPU knows.
fn mxcsr_mask() -> u32 {
    #[repr(align(16))]
    struct Area([u8; FXSAVE_SIZE]);
    let mut area = Area([0; FXSAVE_SIZE]);
    // SAFETY: FXSAVE is part of x86-64, and the area is aligned and large enough.
    unsafe { _fxsave(area.0.as_mut_ptr()) };
    let mut mask = [0; 4];
    mask.copy_from_slice(&area.0[28..32]);
    match u32::from_le_bytes(mask) {
        0 => 0xffbf,
        mask => mask,
    }
}

#[cfg(test)]
mod tests {
    use super::{FXSAVE_SIZE, HEADER_END, Layout, SOFTWARE, word};

    #[test]
    fn hostile_images_are_made_loadable() {
        let layout = Layout::detect().unwrap();
        let image = layout.sanitize(&vec![0xff; layout.size + 100]);
        assert_eq!(image.len(), layout.size);
        assert_eq!(word(&image, FXSAVE_SIZE), layout.features);
        assert!(image[FXSAVE_SIZE + 8..HEADER_END].iter().all(|byte| *byte == 0));
        assert_eq!(u32::from_le_bytes(image[24..28].try_into().unwrap()) & !layout.mxcsr_mask, 0);
        assert!(image[SOFTWARE].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_bare_fxsave_image_brings_x87_and_sse_only() {
        let layout = Layout::detect().unwrap();
        assert_eq!(word(&layout.sanitize(&[0; FXSAVE_SIZE]), FXSAVE_SIZE), 3);
        assert_eq!(layout.sanitize(&[]).len(), layout.size);
    }
}
