//! Processes: made with name spaces of their own, waited for by descriptor. Their descriptors, and how they are replaced
//! by another program, are in `descriptors`.
//!
//! `man 2 clone3`, `man 2 pidfd_open`. A process made here runs a copy of ours until it replaces
//! itself, so [`clone_process`] insists that no other thread exists: nobody else can hold a lock in the copy.

mod descriptors;

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use abi::resource::Resource;
use abi::{Errno, Result};

pub use self::descriptors::{
    ExecError, duplicate_above, duplicate_inherited, exec, go_on_with, pass_fds_in, replace_streams,
    take_inherited,
};
use crate::check;

bitflags::bitflags! {
    /// Name spaces that a process gets of its own (`man 7 namespaces`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Namespaces: u64 {
        /// Mounts.
        const MOUNT = 0x0002_0000;
        /// Control groups.
        const CGROUP = 0x0200_0000;
        /// Host name.
        const UTS = 0x0400_0000;
        /// System V IPC and message queues.
        const IPC = 0x0800_0000;
        /// Users and capabilities.
        const USER = 0x1000_0000;
        /// Processes.
        const PID = 0x2000_0000;
        /// Network.
        const NET = 0x4000_0000;
    }
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args`, as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// A process, named by a descriptor: the pid behind it cannot become another process.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// The process that has `pid` now.
    ///
    /// # Errors
    /// `ESRCH` where there is none.
    pub fn open(pid: i32) -> Result<Self> {
        if pid <= 0 {
            return Err(Errno::ESRCH);
        }
        // SAFETY: a plain system call without pointers.
        let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        // SAFETY: the call just made this descriptor (closed on exec by definition), and nothing else owns it.
        Ok(Self { pid, pidfd: unsafe { OwnedFd::from_raw_fd(fd as RawFd) } })
    }

    /// Its pid in our pid name space.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The descriptor; readable when the process has ended.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `ESRCH` where it has ended and was waited for.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let null = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a null siginfo is allowed and means what kill(2) sends.
        let done =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), signal, null, 0) };
        check(done).map(|_| ())
    }

    /// Waits until it has ended, at most for `limit`; says whether it has. Needs not be our child.
    ///
    /// # Errors
    /// What `poll(2)` says.
    pub fn wait_ended(&self, limit: Option<Duration>) -> Result<bool> {
        crate::poll::readable(self.as_fd(), limit)
    }

    /// Waits for our child to end and reaps it.
    ///
    /// # Errors
    /// `ECHILD` where it is not our child or was reaped.
    pub fn reap(&self) -> Result<Ended> {
        self.reap_with(libc::WEXITED)
    }

    /// Reaps our child if it has ended.
    ///
    /// # Errors
    /// As [`Self::reap`]; `EAGAIN` where it has not ended.
    pub fn reap_now(&self) -> Result<Ended> {
        self.reap_with(libc::WEXITED | libc::WNOHANG)
    }

    fn reap_with(&self, flags: i32) -> Result<Ended> {
        loop {
            // SAFETY: all zeros is a valid `siginfo_t`.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let id = self.pidfd.as_raw_fd() as libc::id_t;
            // SAFETY: `info` has room for what the kernel writes.
            let done = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, flags) };
            match check(i64::from(done)) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) if info.si_signo == 0 => return Err(Errno::EAGAIN),
                Ok(_) => {
                    // SAFETY: waitid filled the fields of a SIGCHLD.
                    let status = unsafe { info.si_status() };
                    let exited = info.si_code == libc::CLD_EXITED;
                    return Ok(if exited { Ended::Code(status) } else { Ended::Signal(status) });
                }
            }
        }
    }
}

/// Makes this process the parent of every descendant whose own parent ends (`man 2 prctl`, PR_SET_CHILD_SUBREAPER).
///
/// # Errors
/// What `prctl(2)` says.
pub fn adopt_orphans() -> Result<()> {
    // SAFETY: a plain system call with numbers.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })).map(|_| ())
}

/// Reaps any child that has ended: its pid and how it ended, or `None` where none has. For who has children that
/// nothing else here waits for.
///
/// # Errors
/// `ECHILD` where there are no children.
pub fn reap_any() -> Result<Option<(i32, Ended)>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` has room for what the kernel writes.
        match check(i64::from(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(0) => return Ok(None),
            Ok(pid) => {
                let is_signal = libc::WIFSIGNALED(status);
                let signal = || Ended::Signal(libc::WTERMSIG(status));
                let ended = if is_signal { signal() } else { Ended::Code(libc::WEXITSTATUS(status)) };
                return Ok(Some((pid as i32, ended)));
            }
        }
    }
}

/// Makes a child process that runs `child` in new name spaces, optionally born in a cgroup (a directory of the
/// cgroup2 file system), and exits with what it returns.
///
/// # Errors
/// `EBUSY` where this process has other threads; else what `clone3(2)` says.
pub fn clone_process(
    spaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> Result<Process> {
    if !is_single_threaded() {
        return Err(Errno::EBUSY);
    }
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: spaces.bits() | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no memory is shared with the child and no stack is given, so this is fork(2); we are the only thread,
    // so no lock is held by anyone in the copy.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        let status = child();
        // SAFETY: ends the process without running what the parent registered for its own end.
        unsafe { libc::_exit(status) }
    }
    // SAFETY: CLONE_PIDFD stored a new descriptor that nothing else owns.
    Ok(Process { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Ends the process at once: nothing runs that was registered for its end.
pub fn end_at_once(status: i32) -> ! {
    // SAFETY: it does not return, and runs no code of ours.
    unsafe { libc::_exit(status) }
}

/// Whether the calling thread is the process's only one. A thread that was joined may still count for a moment.
fn is_single_threaded() -> bool {
    (0..20).any(|attempt| {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: a process of one thread has nothing to unshare here, and any other is refused with EINVAL.
        unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
    })
}

/// Enters the name spaces of kind `spaces` that `fd` names.
///
/// # Errors
/// What `setns(2)` says.
pub fn enter(fd: BorrowedFd<'_>, spaces: Namespaces) -> Result<()> {
    let kind = i32::try_from(spaces.bits()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: a plain system call on a live descriptor.
    check(i64::from(unsafe { libc::setns(fd.as_raw_fd(), kind) })).map(|_| ())
}

/// Moves this process into new name spaces.
///
/// # Errors
/// What `unshare(2)` says.
pub fn unshare(spaces: Namespaces) -> Result<()> {
    let kind = i32::try_from(spaces.bits()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: a plain system call without pointers.
    check(i64::from(unsafe { libc::unshare(kind) })).map(|_| ())
}

/// Gives up all supplementary groups, but in a user name space that was made without privilege, where nobody may
/// (`man 7 user_namespaces`, `/proc/PID/setgroups`).
///
/// # Errors
/// What `setgroups(2)` says.
pub fn clear_groups() -> Result<()> {
    // SAFETY: a count of 0 reads no list. The raw call changes this thread alone, which is all there is.
    let done = unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) };
    match check(done) {
        Err(Errno::EPERM)
            if std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny") =>
        {
            Ok(())
        }
        other => other.map(|_| ()),
    }
}

/// Becomes user `uid` and group `gid` in every sense, without supplementary groups where the kernel lets us drop
/// them (in a user name space made without privilege it does not).
///
/// # Errors
/// What `setresgid(2)` and `setresuid(2)` say.
pub fn set_ids(uid: u32, gid: u32) -> Result<()> {
    // SAFETY: plain system calls; a count of 0 reads no list. The raw calls change this thread alone, which is all
    // there is.
    unsafe {
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>());
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// This process's effective user and group.
#[must_use]
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: plain system calls that cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Leads a new session; with a terminal, makes that the controlling one.
///
/// # Errors
/// What `setsid(2)` and `ioctl(TIOCSCTTY)` say.
pub fn new_session(terminal: Option<BorrowedFd<'_>>) -> Result<()> {
    // SAFETY: a plain system call.
    check(i64::from(unsafe { libc::setsid() }))?;
    if let Some(terminal) = terminal {
        // SAFETY: this request takes a number.
        check(i64::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }))?;
    }
    Ok(())
}

/// Sets the file mode mask.
pub fn set_umask(mask: u32) {
    // SAFETY: a plain system call that cannot fail.
    unsafe { libc::umask(mask) };
}

/// The name that `ps` shows for this thread; cut after 15 bytes.
pub fn set_name(name: &CStr) {
    // SAFETY: `name` is a C string; the kernel copies at most 16 bytes of it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Keeps other processes of this one's user from tracing it, reading its memory and looking into its `/proc` files.
/// Holds until the next execve(2).
pub fn forbid_tracing() {
    // SAFETY: a plain system call with numbers, which cannot fail for 0.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// This process is to be killed when the thread that made it ends. Changing ids undoes it; an exec does not.
///
/// # Errors
/// What `prctl(2)` says.
pub fn die_with_parent() -> Result<()> {
    // SAFETY: a plain system call with numbers.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })).map(|_| ())
}

/// Keeps the C library's allocator from opening files, which a jailed process must not: it looks at
/// `/sys/devices/system/cpu/online` to decide how many arenas there may be, and at `/proc/sys/vm/overcommit_memory`
/// before an arena shrinks. So threads share one arena as far as they can (their small blocks have caches of their
/// own), and arenas do not shrink.
pub fn tame_allocator() {
    // SAFETY: sets parameters of the C library's allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Gives back what this process needed to start and may not need again: free blocks of the C library's allocator, and
/// the pages of its own program, which are in the host's page cache and come back from there one by one as they are
/// used. Nothing is lost by it but some microseconds.
pub fn shed_start() {
    // SAFETY: the allocator gives back only what nobody has.
    unsafe { libc::malloc_trim(0) };
    // SAFETY: the callback takes no data, and keeps nothing of what it is shown.
    unsafe { libc::dl_iterate_phdr(Some(shed_program), std::ptr::null_mut()) };
}

/// Drops the pages of the first object that `dl_iterate_phdr` shows, which is the program itself, as far as they are
/// never written: those are the file's, and read from it again. Relocated data is in a writable segment.
unsafe extern "C" fn shed_program(
    info: *mut libc::dl_phdr_info,
    _len: usize,
    _data: *mut libc::c_void,
) -> libc::c_int {
    const PAGE: u64 = 4096;
    // SAFETY: the C library passes a valid description of a loaded object.
    let info = unsafe { &*info };
    // SAFETY: it has as many program headers as it says, and they live as long as the program.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let is_constant =
        |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0;
    for header in headers.iter().filter(is_constant) {
        let start = (info.dlpi_addr + header.p_vaddr) / PAGE * PAGE;
        let end = (info.dlpi_addr + header.p_vaddr + header.p_memsz).next_multiple_of(PAGE);
        // SAFETY: private pages of a file that nobody writes hold the same bytes when they are read again.
        unsafe { libc::madvise(start as *mut libc::c_void, (end - start) as usize, libc::MADV_DONTNEED) };
    }
    1
}

/// Never gains a privilege from a file again (`man 2 prctl`, PR_SET_NO_NEW_PRIVS).
///
/// # Errors
/// What `prctl(2)` says.
pub fn no_new_privileges() -> Result<()> {
    // SAFETY: a plain system call with numbers.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })).map(|_| ())
}

/// A resource limit: (soft, hard).
///
/// # Errors
/// `EINVAL` for an unknown resource.
pub fn resource_limit(resource: Resource) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` has room for what the kernel writes.
    check(i64::from(unsafe { libc::getrlimit(resource as u32, &raw mut limit) }))?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets a resource limit.
///
/// # Errors
/// `EPERM` where the hard limit would rise without CAP_SYS_RESOURCE.
pub fn set_resource_limit(resource: Resource, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is a whole `rlimit`.
    check(i64::from(unsafe { libc::setrlimit(resource as u32, &raw const limit) })).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use abi::Errno;

    use super::Process;

    #[test]
    fn processes_are_named_by_descriptors() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id() as i32).unwrap();
        assert_eq!(process.wait_ended(Some(Duration::ZERO)), Ok(false));
        process.signal(libc::SIGKILL).unwrap();
        assert_eq!(process.wait_ended(None), Ok(true));
        child.wait().unwrap();
        assert_eq!(process.signal(0), Err(Errno::ESRCH));
        assert!(Process::open(0).is_err());
    }
}
