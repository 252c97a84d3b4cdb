//! Entrances for the fuzzer in `tests/fuzz`: what the sentry reads of a stub, whose pages a guest can write.

use host::memory::VolatileSlice;
use stub::layout::SLOT_SIZE;

use super::frame;
use super::xstate::Layout;

/// Where the area is for the guest. Any page would do.
const AREA: u64 = 0x7ff1_0000_0000;

/// Reads the area of a guest thread that came to the door: the first 8 bytes are what it says where its frame lies,
/// the others the area.
pub fn area(bytes: &[u8]) {
    let Some((address, content)) = bytes.split_first_chunk::<8>() else { return };
    let mut area = vec![0; SLOT_SIZE as usize];
    let len = content.len().min(area.len());
    area[..len].copy_from_slice(&content[..len]);
    let Ok(layout) = Layout::detect() else { return };
    let Some(offset) = frame::locate(u64::from_le_bytes(*address), AREA) else { return };
    let area = VolatileSlice::from_mut(&mut area);
    if let Ok(stop) = frame::read(&area, AREA, offset, &layout)
        && let Some(at) = stop.xstate
    {
        let mut image = vec![0; layout.size];
        let read = area.sub(at, layout.size).and_then(|slice| slice.read(&mut image));
        assert!(read.is_ok(), "the extended state lies outside the area");
        // An image that the CPU takes, whatever came.
        let _ = layout.sanitize(&image);
    }
}
