//! Memory shared with code that we do not trust.
//!
//! A guest may change any byte of its memory at any moment, and a page may be missing (a truncated file, a full
//! cgroup). So no Rust reference is ever made to such memory: a [`VolatileSlice`] names it, and its methods copy.
//! A SIGBUS or SIGSEGV inside them becomes `EFAULT`; [`install_fault_handler`] must have run once in the process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use abi::{Errno, Result};
use smallvec::SmallVec;

use crate::check;
use crate::memory_x86_64 as arch;
pub use crate::memory_x86_64::install_fault_handler;

/// A shared mapping of a file, unmapped on drop. Never executable.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is plain memory reached only through `VolatileSlice`, whose accesses tolerate any race.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` from `offset` on, shared, without reserving memory for it.
    ///
    /// # Errors
    /// What `mmap(2)` says.
    pub fn shared(fd: BorrowedFd<'_>, offset: u64, len: usize, writable: bool) -> Result<Self> {
        let prot = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at an address of the kernel's choosing overlaps nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                prot,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(crate::last_errno());
        }
        NonNull::new(base.cast()).map(|base| Self { base, len }).ok_or(Errno::ENOMEM)
    }

    /// The whole mapping.
    #[must_use]
    pub fn as_slice(&self) -> VolatileSlice<'_> {
        VolatileSlice { ptr: self.base, len: self.len, owner: std::marker::PhantomData }
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Errors
    /// `EFAULT` where the range is not inside the mapping.
    pub fn slice(&self, offset: u64, len: usize) -> Result<VolatileSlice<'_>> {
        self.as_slice().sub(usize::try_from(offset).map_err(|_| Errno::EFAULT)?, len)
    }

    /// Which pages of `offset..` the host holds in memory right now (`man 2 mincore`): one byte a page, its lowest bit
    /// set where it does. A page that was swapped out counts as absent.
    ///
    /// # Errors
    /// `EFAULT` where the range is not inside the mapping.
    pub fn resident(&self, offset: u64, pages: &mut [u8]) -> Result<()> {
        let range = self.slice(offset, pages.len().checked_mul(4096).ok_or(Errno::EFAULT)?)?;
        // SAFETY: `slice` checked the range, and the kernel stores one byte for each of its pages.
        check(unsafe { libc::mincore(range.ptr.as_ptr().cast(), range.len, pages.as_mut_ptr()) }.into())
            .map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and every `VolatileSlice` of it borrows this value.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A range of shared memory. Copying in and out is the only thing that can be done with it.
#[derive(Clone, Copy, Debug)]
pub struct VolatileSlice<'a> {
    ptr: NonNull<u8>,
    len: usize,
    owner: std::marker::PhantomData<&'a Mapping>,
}

// SAFETY: see `Mapping`; the lifetime keeps the mapping alive.
unsafe impl Send for VolatileSlice<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for VolatileSlice<'_> {}

impl<'a> VolatileSlice<'a> {
    /// Ordinary memory as a target of the same operations.
    #[must_use]
    pub fn from_mut(bytes: &'a mut [u8]) -> Self {
        Self { len: bytes.len(), ptr: NonNull::from(bytes).cast(), owner: std::marker::PhantomData }
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` bytes from `offset` on.
    ///
    /// # Errors
    /// `EFAULT` where that is not inside.
    pub fn sub(&self, offset: usize, len: usize) -> Result<VolatileSlice<'a>> {
        if offset > self.len || len > self.len - offset {
            return Err(Errno::EFAULT);
        }
        // SAFETY: `offset` is inside the range, so the sum stays inside (or one past) the same mapping.
        let ptr = unsafe { self.ptr.add(offset) };
        Ok(VolatileSlice { ptr, len, owner: std::marker::PhantomData })
    }

    /// Copies to `to` from the start; returns the bytes copied (the shorter length).
    ///
    /// # Errors
    /// `EFAULT` where a page cannot be read; `to` then holds an unspecified part.
    pub fn read(&self, to: &mut [u8]) -> Result<usize> {
        let len = self.len.min(to.len());
        // SAFETY: the source is inside a mapping that outlives `self` and faults are caught; the target is a live
        // exclusive slice of at least `len` bytes and cannot overlap memory that nobody can borrow.
        let left = unsafe { arch::copy(to.as_mut_ptr(), self.ptr.as_ptr(), len) };
        if left == 0 { Ok(len) } else { Err(Errno::EFAULT) }
    }

    /// Copies `from` to the start; returns the bytes copied (the shorter length).
    ///
    /// # Errors
    /// `EFAULT` where a page cannot be written; a part may have been.
    pub fn write(&self, from: &[u8]) -> Result<usize> {
        let len = self.len.min(from.len());
        // SAFETY: the mirror image of `read`.
        let left = unsafe { arch::copy(self.ptr.as_ptr(), from.as_ptr(), len) };
        if left == 0 { Ok(len) } else { Err(Errno::EFAULT) }
    }

    /// Copies to another shared range; returns the bytes copied (the shorter length).
    ///
    /// # Errors
    /// `EFAULT` where a page of either cannot be reached.
    pub fn copy_to(&self, to: &VolatileSlice<'_>) -> Result<usize> {
        let len = self.len.min(to.len);
        // SAFETY: both ranges are inside live mappings, faults are caught, and `rep movsb` defines overlap.
        let left = unsafe { arch::copy(to.ptr.as_ptr(), self.ptr.as_ptr(), len) };
        if left == 0 { Ok(len) } else { Err(Errno::EFAULT) }
    }

    /// Fills the range with zeros.
    ///
    /// # Errors
    /// `EFAULT` where a page cannot be written.
    pub fn zero(&self) -> Result<()> {
        // SAFETY: the range is inside a live mapping and faults are caught.
        let left = unsafe { arch::zero(self.ptr.as_ptr(), self.len) };
        if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Atomically reads the naturally aligned `u32` at `offset`.
    ///
    /// # Errors
    /// `EFAULT` outside the range or where the page is missing, `EINVAL` where it is not aligned.
    pub fn load_u32(&self, offset: usize) -> Result<u32> {
        let ptr = self.aligned_u32(offset)?;
        // SAFETY: `ptr` is aligned and inside a live mapping; faults are caught.
        let (value, faulted) = unsafe { arch::load_u32(ptr) };
        if faulted { Err(Errno::EFAULT) } else { Ok(value) }
    }

    /// Atomically replaces the aligned `u32` at `offset` by `new` if it is `old`; returns what was there.
    ///
    /// # Errors
    /// As [`Self::load_u32`].
    pub fn compare_exchange_u32(&self, offset: usize, old: u32, new: u32) -> Result<u32> {
        let ptr = self.aligned_u32(offset)?;
        // SAFETY: `ptr` is aligned and inside a live mapping; faults are caught.
        let (value, faulted) = unsafe { arch::compare_exchange_u32(ptr, old, new) };
        if faulted { Err(Errno::EFAULT) } else { Ok(value) }
    }

    /// Atomically clears the bits of the aligned `u32` at `offset` that `mask` has not.
    ///
    /// # Errors
    /// As [`Self::load_u32`].
    pub fn and_u32(&self, offset: usize, mask: u32) -> Result<()> {
        let ptr = self.aligned_u32(offset)?;
        // SAFETY: `ptr` is aligned and inside a live mapping; faults are caught.
        if unsafe { arch::and_u32(ptr, mask) } { Err(Errno::EFAULT) } else { Ok(()) }
    }

    /// Atomically writes the naturally aligned `u32` at `offset`; what was written before it is visible before it.
    ///
    /// # Errors
    /// As [`Self::load_u32`].
    pub fn store_u32(&self, offset: usize, value: u32) -> Result<()> {
        let ptr = self.aligned_u32(offset)?;
        // SAFETY: `ptr` is aligned and inside a live mapping; faults are caught.
        if unsafe { arch::store_u32(ptr, value) } { Err(Errno::EFAULT) } else { Ok(()) }
    }

    /// Wakes up to `count` sleepers of the shared futex at `offset`, in whichever process; returns how many.
    ///
    /// # Errors
    /// As [`Self::load_u32`].
    pub fn futex_wake(&self, offset: usize, count: u32) -> Result<usize> {
        let ptr = self.aligned_u32(offset)?;
        // SAFETY: the kernel looks the address up and touches no memory of ours.
        check(unsafe { libc::syscall(libc::SYS_futex, ptr, libc::FUTEX_WAKE, count) })
    }

    /// Atomically stores the naturally aligned `u64` at `offset`.
    ///
    /// # Errors
    /// As [`Self::load_u32`].
    pub fn store_u64(&self, offset: usize, value: u64) -> Result<()> {
        let ptr = self.sub(offset, 8)?.ptr.as_ptr().cast::<u64>();
        if !ptr.is_aligned() {
            return Err(Errno::EINVAL);
        }
        // SAFETY: `ptr` is aligned and inside a live mapping; faults are caught.
        let faulted = unsafe { arch::store_u64(ptr, value) };
        if faulted { Err(Errno::EFAULT) } else { Ok(()) }
    }

    fn aligned_u32(&self, offset: usize) -> Result<*mut u32> {
        let range = self.sub(offset, 4)?;
        let ptr = range.ptr.as_ptr().cast::<u32>();
        if ptr.is_aligned() { Ok(ptr) } else { Err(Errno::EINVAL) }
    }

    pub(crate) fn iovec(&self) -> libc::iovec {
        libc::iovec { iov_base: self.ptr.as_ptr().cast(), iov_len: self.len }
    }
}

/// What readv(2) and its like take, up to their limit; nearly all transfers have a piece or two.
pub(crate) fn iovecs(slices: &[VolatileSlice<'_>]) -> SmallVec<[libc::iovec; 8]> {
    slices.iter().take(libc::UIO_MAXIOV as usize).map(VolatileSlice::iovec).collect()
}

/// Reads from a file at `offset` straight into shared memory; returns the bytes read, 0 at the end.
///
/// # Errors
/// What `preadv(2)` says; `EFAULT` where a target page is missing.
pub fn preadv(fd: BorrowedFd<'_>, to: &[VolatileSlice<'_>], offset: u64) -> Result<usize> {
    let iov = iovecs(to);
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the vector names live mappings; the kernel checks every page.
    check(unsafe { libc::preadv(fd.as_raw_fd(), iov.as_ptr(), iov.len() as i32, offset) } as i64)
}

/// Writes shared memory to a file at `offset`; returns the bytes written.
///
/// # Errors
/// What `pwritev(2)` says; `EFAULT` where a source page is missing.
pub fn pwritev(fd: BorrowedFd<'_>, from: &[VolatileSlice<'_>], offset: u64) -> Result<usize> {
    let iov = iovecs(from);
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the vector names live mappings; the kernel checks every page.
    // The same call as for `append`: one less for a filter to allow.
    check(unsafe { libc::pwritev2(fd.as_raw_fd(), iov.as_ptr(), iov.len() as i32, offset, 0) } as i64)
}

/// Writes shared memory at the end of a file, wherever that is by then; returns the bytes written.
///
/// # Errors
/// What `pwritev2(2)` with `RWF_APPEND` says.
pub fn append(fd: BorrowedFd<'_>, from: &[VolatileSlice<'_>]) -> Result<usize> {
    let iov = iovecs(from);
    // SAFETY: the vector names live mappings; the kernel checks every page.
    let len = unsafe { libc::pwritev2(fd.as_raw_fd(), iov.as_ptr(), iov.len() as i32, 0, libc::RWF_APPEND) };
    check(len as i64)
}

/// Reads from a stream (a pipe, a terminal, a socket) into shared memory.
///
/// # Errors
/// What `readv(2)` says.
pub fn readv(fd: BorrowedFd<'_>, to: &[VolatileSlice<'_>]) -> Result<usize> {
    let iov = iovecs(to);
    // SAFETY: the vector names live mappings; the kernel checks every page.
    check(unsafe { libc::readv(fd.as_raw_fd(), iov.as_ptr(), iov.len() as i32) } as i64)
}

/// Writes shared memory to a stream.
///
/// # Errors
/// What `writev(2)` says.
pub fn writev(fd: BorrowedFd<'_>, from: &[VolatileSlice<'_>]) -> Result<usize> {
    let iov = iovecs(from);
    // SAFETY: the vector names live mappings; the kernel checks every page.
    check(unsafe { libc::writev(fd.as_raw_fd(), iov.as_ptr(), iov.len() as i32) } as i64)
}

/// A new anonymous file of `size` bytes, all holes, closed on exec.
///
/// # Errors
/// What `memfd_create(2)` and `ftruncate(2)` say.
pub fn memfd(name: &std::ffi::CStr, size: u64) -> Result<OwnedFd> {
    make_memfd(name, size, libc::MFD_CLOEXEC)
}

/// As [`memfd`], of a size that nobody can change any more: a mapping of it is all there.
///
/// # Errors
/// What `memfd_create(2)`, `ftruncate(2)` and `fcntl(2)` say.
pub fn sealed_memfd(name: &std::ffi::CStr, size: u64) -> Result<OwnedFd> {
    let fd = make_memfd(name, size, libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: a plain system call on a live descriptor.
    check(i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }))?;
    Ok(fd)
}

/// Whether a descriptor from somebody else is of memory that has `size` bytes for good, as [`sealed_memfd`] makes it.
#[must_use]
pub fn is_sealed(fd: BorrowedFd<'_>, size: u64) -> bool {
    // SAFETY: a plain system call on a live descriptor.
    let seals = check(i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) }));
    // In this order: what cannot shrink has this size from now on.
    seals.is_ok_and(|seals| seals & libc::F_SEAL_SHRINK.cast_unsigned() as usize != 0)
        && crate::fs::stat_open(fd).is_ok_and(|stat| stat.size >= size)
}

fn make_memfd(name: &std::ffi::CStr, size: u64, flags: libc::c_uint) -> Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: `name` is a C string.
    let fd = check(i64::from(unsafe { libc::memfd_create(name.as_ptr(), flags) }))?;
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let size = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
    // SAFETY: a plain system call on a live descriptor.
    check(i64::from(unsafe { libc::ftruncate(fd.as_fd().as_raw_fd(), size) }))?;
    Ok(fd)
}

/// Gives the memory behind a range of a memfd back to the host; it reads as zeros afterwards.
///
/// # Errors
/// What `fallocate(2)` says.
pub fn punch_hole(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Result<()> {
    let (offset, len) =
        (i64::try_from(offset).map_err(|_| Errno::EINVAL)?, i64::try_from(len).map_err(|_| Errno::EINVAL)?);
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: a plain system call on a live descriptor.
    check(i64::from(unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset, len) })).map(|_| ())
}

/// The first byte of a file from `offset` on that has data (is not in a hole).
///
/// # Errors
/// What `lseek(2)` says.
pub fn seek_data(fd: BorrowedFd<'_>, offset: u64) -> Result<Option<u64>> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    // SAFETY: a plain system call on a live descriptor.
    match check(unsafe { libc::lseek(fd.as_raw_fd(), offset, libc::SEEK_DATA) }) {
        Ok(at) => Ok(Some(at as u64)),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The next range of a file from `offset` on, below `end`, that has data (is not a hole). Takes time for all of the
/// data, even what lies behind `end`.
///
/// # Errors
/// What `lseek(2)` says.
pub fn next_data(fd: BorrowedFd<'_>, offset: u64, end: u64) -> Result<Option<std::ops::Range<u64>>> {
    let seek = |at: u64, whence: i32| -> Result<u64> {
        let at = i64::try_from(at).map_err(|_| Errno::EINVAL)?;
        // SAFETY: a plain system call on a live descriptor.
        check(unsafe { libc::lseek(fd.as_raw_fd(), at, whence) }).map(|at| at as u64)
    };
    if offset >= end {
        return Ok(None);
    }
    let start = match seek(offset, libc::SEEK_DATA) {
        Ok(start) if start < end => start,
        Ok(_) | Err(Errno::ENXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(start..seek(start, libc::SEEK_HOLE)?.min(end)))
}

fn fstat(fd: BorrowedFd<'_>) -> Result<libc::stat> {
    // SAFETY: all zeros is a valid `stat`, and the kernel fills it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // The library's `fstat` makes another call, which also takes paths. SAFETY: `stat` is a live `struct stat`.
    check(unsafe { libc::syscall(libc::SYS_fstat, fd.as_raw_fd(), &raw mut stat) })?;
    Ok(stat)
}

/// What the host tells of a file that is another once somebody has changed its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    size: i64,
    changed: (i64, i64),
}

impl FileVersion {
    /// That of the file behind `fd`, now.
    ///
    /// # Errors
    /// What `fstat(2)` says.
    pub fn of(fd: BorrowedFd<'_>) -> Result<Self> {
        let stat = fstat(fd)?;
        Ok(Self { size: stat.st_size, changed: (stat.st_ctime, stat.st_ctime_nsec) })
    }
}

/// Bytes of memory or disk that a file takes.
///
/// # Errors
/// What `fstat(2)` says.
pub fn occupied(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(u64::try_from(fstat(fd)?.st_blocks).unwrap_or(0) * 512)
}

/// The size of a file.
///
/// # Errors
/// What `fstat(2)` says.
pub fn file_size(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(u64::try_from(fstat(fd)?.st_size).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use abi::Errno;

    use super::{Mapping, install_fault_handler, memfd, preadv, punch_hole};

    #[test]
    fn copies_reach_the_file_and_missing_pages_are_efault() {
        install_fault_handler();
        let fd = memfd(c"test", 8192).unwrap();
        let map = Mapping::shared(fd.as_fd(), 0, 16384, true).unwrap();
        assert_eq!(map.slice(4094, 4).unwrap().write(b"abcd"), Ok(4));
        let mut back = [0; 4];
        assert_eq!(map.slice(4094, 4).unwrap().read(&mut back), Ok(4));
        assert_eq!(&back, b"abcd");
        assert_eq!(preadv(fd.as_fd(), &[map.slice(0, 4).unwrap()], 4094), Ok(4));
        assert_eq!(map.slice(0, 4).unwrap().load_u32(0), Ok(u32::from_le_bytes(*b"abcd")));
        // Past the end of the file: SIGBUS on the host.
        assert_eq!(map.slice(8190, 4).unwrap().read(&mut back), Err(Errno::EFAULT));
        assert_eq!(map.slice(8192, 4096).unwrap().zero(), Err(Errno::EFAULT));
        assert_eq!(map.slice(8192, 4).unwrap().load_u32(0), Err(Errno::EFAULT));
        assert_eq!(map.slice(8192, 4).unwrap().compare_exchange_u32(0, 0, 1), Err(Errno::EFAULT));
        assert_eq!(map.slice(16384, 1).map(|_| ()), Err(Errno::EFAULT));
        punch_hole(fd.as_fd(), 0, 4096).unwrap();
        assert_eq!(map.slice(0, 4).unwrap().load_u32(0), Ok(0));
        assert_eq!(map.slice(4096, 4).unwrap().compare_exchange_u32(0, 7, 1).map(|v| v == 7), Ok(false));
        assert_eq!(map.slice(8, 8).unwrap().store_u64(0, 9), Ok(()));
        assert_eq!(map.slice(8, 8).unwrap().load_u32(0), Ok(9));
        assert_eq!(map.slice(8192, 8).unwrap().store_u64(0, 9), Err(Errno::EFAULT));
    }
}
