//! A process's own capabilities (`man 7 capabilities`).

use abi::{Errno, Result};

use crate::check;

/// The highest capability number that any kernel of today knows; the kernel says where its own list ends.
const HIGHEST: u32 = 63;

/// A set of capabilities, bit *n* for number *n*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// The set of the given numbers.
    #[must_use]
    pub fn of(numbers: &[u32]) -> Self {
        Self(numbers.iter().filter(|number| **number <= HIGHEST).fold(0, |set, number| set | 1 << number))
    }

    /// Whether it has `number`.
    #[must_use]
    pub fn has(self, number: u32) -> bool {
        number <= HIGHEST && self.0 >> number & 1 != 0
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// The calling thread's effective set.
///
/// # Errors
/// What `capget(2)` says.
pub fn effective() -> Result<Capabilities> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads a header and writes two data records, which is what these are.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok(Capabilities(u64::from(data[0].effective) | u64::from(data[1].effective) << 32))
}

/// Drops every capability that is not in `keep` from the bounding set: no exec will give it back.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn limit_bounding(keep: Capabilities) -> Result<()> {
    for number in (0..=HIGHEST).filter(|number| !keep.has(*number)) {
        // SAFETY: a plain system call with numbers.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, u64::from(number), 0, 0, 0) };
        match check(i64::from(done)) {
            // The kernel's list ends here.
            Err(Errno::EINVAL) => return Ok(()),
            other => other?,
        };
    }
    Ok(())
}

/// Makes `keep` the permitted and effective sets, and empties the inheritable and ambient ones.
///
/// # Errors
/// `EPERM` where `keep` has what the permitted set lacks.
pub fn set(keep: Capabilities) -> Result<()> {
    // SAFETY: a plain system call with numbers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |bits: u64| Data { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let data = [half(keep.0 & 0xffff_ffff), half(keep.0 >> 32)];
    // SAFETY: version 3 reads a header and two data records, which is what these are.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(|_| ())
}
