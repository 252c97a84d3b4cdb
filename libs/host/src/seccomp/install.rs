//! Arming a filter on the calling thread or the whole process.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use abi::filter::{BPF_MAXINSNS, SockFilter};
use bitflags::bitflags;
use bpf::TooLong;
use zerocopy::IntoBytes;

use super::{Error, Listener};
use crate::check;

bitflags! {
    /// How a filter is armed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InstallFlags: u64 {
        /// On every thread of the process, not only the calling one.
        const ALL_THREADS = libc::SECCOMP_FILTER_FLAG_TSYNC;
        /// Log what is not allowed, as far as the host's audit settings say so.
        const LOG = libc::SECCOMP_FILTER_FLAG_LOG;
    }
}

/// A finished filter.
#[derive(Clone, Debug)]
pub struct Program {
    code: Vec<SockFilter>,
}

impl Program {
    /// A program from finished instructions.
    ///
    /// # Errors
    /// [`Error::TooLong`] where the kernel would not take it.
    pub fn new(code: Vec<SockFilter>) -> Result<Self, Error> {
        if code.is_empty() || code.len() > BPF_MAXINSNS {
            return Err(TooLong.into());
        }
        Ok(Self { code })
    }

    /// Its instructions.
    #[must_use]
    pub fn instructions(&self) -> &[SockFilter] {
        &self.code
    }

    /// Its instructions as the bytes of an array of `struct sock_filter`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.code.as_bytes()
    }

    /// Arms the filter for good. `no_new_privs` is set first; what the filter forbids from then on it forbids for
    /// every later program of this thread.
    ///
    /// # Errors
    /// [`Error::Host`]: what `prctl(2)` or `seccomp(2)` says.
    pub fn install(&self, flags: InstallFlags) -> Result<(), Error> {
        let result = self.arm(flags.bits())?;
        if flags.contains(InstallFlags::ALL_THREADS) && result != 0 {
            // The id of a thread that has a filter which is not an ancestor of ours.
            return Err(Error::Host(abi::Errno::EBUSY));
        }
        Ok(())
    }

    /// As [`Self::install`], on the calling thread alone; what the filter wants to be asked about arrives at the
    /// listener.
    ///
    /// # Errors
    /// [`Error::Host`]; `EBUSY` where an older filter of this thread has a listener already.
    pub fn install_with_listener(&self) -> Result<Listener, Error> {
        let fd = self.arm(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
        let fd = RawFd::try_from(fd).map_err(|_| Error::Host(abi::Errno::EBADF))?;
        // SAFETY: the call succeeded, so this is a new descriptor that nothing else owns.
        Ok(Listener::new(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn arm(&self, flags: u64) -> Result<usize, Error> {
        no_new_privs()?;
        let program = libc::sock_fprog {
            len: u16::try_from(self.code.len()).map_err(|_| TooLong)?,
            filter: self.code.as_ptr().cast_mut().cast(),
        };
        // SAFETY: `program` names `len` live instructions of the kernel's layout, which the kernel only reads.
        check(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        })
        .map_err(Error::Host)
    }
}

fn no_new_privs() -> Result<(), Error> {
    // SAFETY: a plain system call without pointers.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    check(i64::from(result)).map(|_| ()).map_err(Error::Host)
}
