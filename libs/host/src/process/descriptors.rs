//! Which descriptors a process has: those that it was started with, and those that it goes on with or hands to the program
//! that replaces it (`man 2 dup`, `close_range`, `execveat`).

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use abi::{Errno, Result};

use super::is_single_threaded;
use crate::{check, last_errno};

/// Why a program was not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// Its descriptors could not be put into their places.
    #[error("cannot pass descriptors: {0}")]
    Descriptors(#[source] Errno),
    /// The call itself failed.
    #[error("cannot execute it: {0}")]
    Program(#[source] Errno),
}

/// Replaces this process by the program in `file`, which gets copies of `fds` as its descriptors 0, 1, 2 … and no others.
/// Returns only on failure; descriptors then have their old numbers, and are all closed on exec.
#[must_use]
pub fn exec(file: BorrowedFd<'_>, argv: &[CString], env: &[CString], fds: &[BorrowedFd<'_>]) -> ExecError {
    let (program, _places) = match place(file, fds) {
        Ok(placed) => placed,
        Err(errno) => return ExecError::Descriptors(errno),
    };
    let pointers = |strings: &[CString]| {
        let mut list: Vec<*const libc::c_char> = strings.iter().map(|string| string.as_ptr()).collect();
        list.push(std::ptr::null());
        list
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both lists are null-terminated lists of live C strings, the path is an empty C string.
    unsafe {
        let path = c"".as_ptr();
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            path,
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    ExecError::Program(last_errno())
}

/// Puts copies of `fds` into the first places and marks all others as closed on exec. Returns `file` under a number above
/// them, and what puts everything back.
fn place(file: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> Result<(OwnedFd, Displaced)> {
    if !is_single_threaded() {
        return Err(Errno::EBUSY);
    }
    let count = RawFd::try_from(fds.len()).map_err(|_| Errno::EINVAL)?;
    let program = duplicate_above(file, count)?;
    // Copies above the places come first, so that filling one cannot overwrite another.
    let copies: Vec<OwnedFd> = fds.iter().map(|fd| duplicate_above(*fd, count)).collect::<Result<_>>()?;
    let displaced = Displaced::by(count)?;
    for (target, copy) in (0..count).zip(&copies) {
        // SAFETY: nobody uses what has the number until `displaced` has put it back: no other thread is there, and no
        // code but ours runs before.
        check(i64::from(unsafe { libc::dup2(copy.as_raw_fd(), target) }))?;
    }
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_uint;
    // SAFETY: only marks descriptors.
    check(unsafe { libc::syscall(libc::SYS_close_range, count, libc::c_uint::MAX, flags) })?;
    Ok((program, displaced))
}

/// What had the first numbers before others took them, in order; back in its place when this is dropped.
struct Displaced(Vec<Option<OwnedFd>>);

impl Displaced {
    fn by(count: RawFd) -> Result<Self> {
        let keep = |number: RawFd| {
            // SAFETY: a plain system call; a number that is no descriptor is EBADF.
            match check(i64::from(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, count) })) {
                // SAFETY: the call just made this descriptor, and nothing else owns it.
                Ok(copy) => Ok(Some(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })),
                Err(Errno::EBADF) => Ok(None),
                Err(errno) => Err(errno),
            }
        };
        (0..count).map(keep).collect::<Result<_>>().map(Self)
    }
}

impl Drop for Displaced {
    fn drop(&mut self) {
        for (number, old) in (0..).zip(&self.0) {
            // SAFETY: gives the number back to what had it, or closes what `place` put where nothing was.
            unsafe {
                match old {
                    Some(old) => libc::dup3(old.as_raw_fd(), number, libc::O_CLOEXEC),
                    None => libc::close(number),
                }
            };
        }
    }
}

/// Goes on as `life`, with the descriptors `kept` and the standard streams alone, and ends the process with what that
/// returns. Every other descriptor is closed, also those that something in this process owns: so `life` is a plain
/// function, `told` can own nothing, and this never returns.
///
/// # Errors
/// `EBUSY` where the process has other threads; `ENOSYS` before Linux 5.9. Nothing is closed then.
pub fn go_on_with<T: Copy + 'static>(
    kept: Vec<OwnedFd>,
    told: T,
    life: fn(Vec<OwnedFd>, T) -> i32,
) -> Result<Infallible> {
    if !is_single_threaded() {
        return Err(Errno::EBUSY);
    }
    let mut numbers: Vec<RawFd> = kept.iter().map(AsRawFd::as_raw_fd).filter(|fd| *fd > 2).collect();
    numbers.sort_unstable();
    let mut from = 3;
    for fd in numbers.into_iter().chain([RawFd::MAX]) {
        if from < fd {
            let (first, last) = (from.unsigned_abs(), (fd - 1).unsigned_abs());
            // SAFETY: whatever owns one of these is neither used nor dropped any more, as the signature sees to.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
        from = fd.saturating_add(1);
    }
    let status = life(kept, told);
    // SAFETY: ends the process without running what was registered for the end of the one that it is a copy of.
    unsafe { libc::_exit(status) }
}

/// Has a command start with `fds` as its descriptors 3, 4, 5 …
///
/// No other descriptor that matters at that moment may have one of these numbers: whoever calls this keeps them taken.
///
/// # Errors
/// `EMFILE` where there is no room for copies.
pub fn pass_fds_in(command: &mut std::process::Command, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let end = RawFd::try_from(fds.len()).ok().and_then(|count| count.checked_add(3)).ok_or(Errno::EINVAL)?;
    // Above the numbers wanted, so that placing one cannot overwrite another.
    let copies = fds.iter().map(|fd| duplicate_above(*fd, end)).collect::<Result<Vec<OwnedFd>>>()?;
    let place = move || {
        for (target, copy) in (3..end).zip(&copies) {
            // SAFETY: plain system call on a live descriptor; the copy differs from the target, so that the target
            // is not closed on exec.
            check(i64::from(unsafe { libc::dup2(copy.as_raw_fd(), target) }))
                .map_err(|errno| std::io::Error::from_raw_os_error(errno.raw()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; dup2(2) is.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, place) };
    Ok(())
}

/// Makes standard input, output and error copies of `fd`.
///
/// # Errors
/// What `dup2(2)` says.
pub fn replace_streams(fd: BorrowedFd<'_>) -> Result<()> {
    for stream in 0..3 {
        // SAFETY: the three streams are never owned by an `OwnedFd`; what they were is closed by the kernel.
        check(i64::from(unsafe { libc::dup2(fd.as_raw_fd(), stream) }))?;
    }
    Ok(())
}

/// A copy of `fd` with a number of at least `lowest`, closed on exec.
///
/// # Errors
/// `EMFILE` where there is no such number left.
pub fn duplicate_above(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd> {
    // SAFETY: a plain system call on a live descriptor.
    let copy = check(i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) }))?;
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

/// A copy of descriptor number `fd`, which this process was started with and keeps.
///
/// # Errors
/// `EBADF` where it is not open, or is closed on exec and so is one of our own.
pub fn duplicate_inherited(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: a plain system call; a number that is no descriptor is EBADF.
    let flags = check(i64::from(unsafe { libc::fcntl(fd, libc::F_GETFD) }))?;
    if flags & libc::FD_CLOEXEC as usize != 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: as above.
    let copy = check(i64::from(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }))?;
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

/// Takes ownership of the descriptors `from .. from + count` that this process was started with. Meant for the first
/// lines of `main`, once; they are marked as closed on exec.
///
/// # Errors
/// `EBADF` where one of them is not open, `EBUSY` where they were taken before.
pub fn take_inherited(from: RawFd, count: u32) -> Result<Vec<OwnedFd>> {
    use std::sync::atomic::{AtomicI32, Ordering};
    /// Descriptors below this were handed out.
    static TAKEN: AtomicI32 = AtomicI32::new(3);
    let end = i32::try_from(count).ok().and_then(|count| from.checked_add(count)).ok_or(Errno::EINVAL)?;
    if TAKEN.fetch_max(end, Ordering::Relaxed) > from {
        return Err(Errno::EBUSY);
    }
    for fd in from..end {
        // SAFETY: a plain system call; a number that is no descriptor is EBADF.
        check(i64::from(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }))?;
    }
    // SAFETY: each is open, as just seen, was opened by whoever executed us, and is handed out once: `TAKEN`.
    Ok((from..end).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use abi::Errno;

    use super::{ExecError, exec, go_on_with, take_inherited};

    #[test]
    fn descriptors_are_not_taken_from_other_threads() {
        std::thread::scope(|scope| {
            let (release, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            let program = File::open("/proc/self/exe").unwrap();
            let failure = exec(program.as_fd(), &[], &[], &[program.as_fd()]);
            assert_eq!(failure, ExecError::Descriptors(Errno::EBUSY));
            assert_eq!(go_on_with(Vec::new(), (), |_, ()| 0), Err(Errno::EBUSY));
            drop(release);
        });
    }

    #[test]
    fn absent_descriptors_are_not_taken() {
        assert_eq!(take_inherited(900, 2).unwrap_err(), Errno::EBADF);
        assert_eq!(take_inherited(901, 1).unwrap_err(), Errno::EBUSY);
    }
}
