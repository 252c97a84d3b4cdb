//! The page of constants that every stub maps read-only: filter programs and message headers.

use abi::Result;
use host::memory::VolatileSlice;
use host::seccomp::Program;
use stub::layout::{ANSWER_PLACES, CLOCK_FIELDS, CLOCKS, CONSTANTS, FD_TRANSIENT, SCRATCH, SLOT0_CONSTANTS};

use super::filter;

/// Files that one message to a stub carries, at most.
pub(super) const MOST_FILES: usize = 24;

/// Addresses in a stub of what the page holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constants {
    /// `sock_fprog` of the filter with a guest thread's listener.
    pub(super) notify_filter: u64,
    /// `sock_fprog` of the filter that traps all a guest thread's calls.
    pub(super) trap_filter: u64,
    /// `sock_fprog` of the helper's filter.
    pub(super) helper_filter: u64,
    /// `sock_fprog` of the filter of the zygote and all that come from it.
    pub(super) family_filter: u64,
    /// `msghdr` that sends the transient descriptor.
    pub(super) send_transient: u64,
    /// `msghdr` that sends one byte.
    pub(super) send_hello: u64,
    /// `msghdr` that receives descriptors. The kernel cannot write its results to it: a receiving call installs the
    /// descriptors and then says `EFAULT`.
    pub(super) receive: u64,
}

impl Constants {
    /// Fills the page in slot 0.
    pub(super) fn write(slot0: &VolatileSlice<'_>) -> Result<Self> {
        let mut page = Page { bytes: Vec::new() };
        let notify_filter = page.program(&filter::notify());
        let trap_filter = page.program(&filter::trap());
        let helper_filter = page.program(&filter::helper());
        let family_filter = page.program(&filter::family());
        let byte = page.words(&[0x21]);
        let iov = page.words(&[byte, 1]);
        // struct cmsghdr { len: 20, level: SOL_SOCKET, type: SCM_RIGHTS }, then the descriptor.
        let control = page.words(&[20, 1 | 1 << 32, FD_TRANSIENT as u64]);
        let send_transient = page.words(&[0, 0, iov, 1, control, 24, 0]);
        let send_hello = page.words(&[0, 0, iov, 1, 0, 0, 0]);
        let scratch_iov = page.words(&[SCRATCH, 1]);
        // struct cmsghdr has 16 bytes; the numbers that follow it are known in advance, and written to be ignored.
        let control_len = 16 + 4 * MOST_FILES as u64;
        let receive = page.words(&[0, 0, scratch_iov, 1, SCRATCH + 64, control_len, 0]);
        assert!(page.address() <= CLOCK_FIELDS, "the constants fit their page");
        page.bytes.resize((CLOCK_FIELDS - CONSTANTS) as usize, 0);
        page.bytes.extend_from_slice(&CLOCKS);
        page.bytes.extend_from_slice(&ANSWER_PLACES);
        slot0.sub(SLOT0_CONSTANTS as usize, page.bytes.len())?.write(&page.bytes)?;
        Ok(Self {
            notify_filter,
            trap_filter,
            helper_filter,
            family_filter,
            send_transient,
            send_hello,
            receive,
        })
    }
}

/// Collects data and says at which address in a stub it will lie.
struct Page {
    bytes: Vec<u8>,
}

impl Page {
    fn address(&self) -> u64 {
        CONSTANTS + self.bytes.len() as u64
    }

    fn words(&mut self, words: &[u64]) -> u64 {
        let at = self.address();
        for word in words {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        at
    }

    fn program(&mut self, program: &Program) -> u64 {
        let code = self.address();
        self.bytes.extend_from_slice(program.as_bytes());
        self.words(&[program.instructions().len() as u64, code])
    }
}
