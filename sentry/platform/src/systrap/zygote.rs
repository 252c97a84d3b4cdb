//! The zygote: the process from which stubs are cloned.
//!
//! Made once, before the sentry shuts itself in: a fork of the sentry that drops everything but the stub's image and
//! then only carries out commands. See `docs/platform.md`.

use std::arch::asm;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};

use abi::Errno;
use host::memory::{VolatileSlice, memfd};
use host::unix::{Kind, Wait, pair, receive, send};
use parking_lot::Mutex;
use stub::layout::{
    CLOCK, COMMANDS, COMMANDS_SIZE, FD_CONTROL, FD_MEMORY, FD_SOCKET, FD_TRANSIENT, GUEST_END, IMAGE,
    IMAGE_SIZE, INTERRUPT, PAGE, SCRATCH, SLOT_SCRATCH, SLOT0_RING, SMALL_RING, SPAWNER_RING, TASK_END,
    ZYGOTE_RING,
};
use stub::{Entry, address_of};

use super::command::{Command, Ring};
use super::constants::Constants;
use super::control::{ControlFile, Slot};
use super::life::{Life, Registry, reap, reap_all};
use super::process::install_filter;
use crate::PlatformError;

/// Signals that a guest thread's own execution, or [`INTERRUPT`], can raise.
const HANDLED: [i32; 7] =
    [libc::SIGSYS, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, INTERRUPT];

/// A running zygote. Ends when dropped.
#[derive(Debug)]
pub(super) struct Zygote {
    control: Arc<ControlFile>,
    constants: Constants,
    registry: Arc<Registry>,
    life: Arc<Life>,
    /// One stub is made at a time.
    channel: Mutex<Channel>,
}

#[derive(Debug)]
struct Channel {
    ring: Ring,
    socket: OwnedFd,
}

impl Zygote {
    /// Starts the reaper thread and, from it, the zygote.
    pub(super) fn start(
        memory: BorrowedFd<'_>,
        clock_page: u64,
        control: Arc<ControlFile>,
        constants: Constants,
        registry: &Arc<Registry>,
    ) -> Result<Self, PlatformError> {
        let slot0 = control.platform_slot();
        let failed = |what: &str, errno| PlatformError::Resources(format!("{what}: {errno}"));
        let mut ring = Ring::new(&slot0, SLOT0_RING, SMALL_RING).map_err(|e| failed("commands", e))?;
        let (socket, theirs) = pair(Kind::SeqPacket).map_err(|e| failed("socket pair", e))?;
        let image = image_file().map_err(|e| failed("stub image", e))?;
        let temporary = TemporaryImage::map(image.as_fd()).map_err(|e| failed("stub image", e))?;
        let (read, shared) = (libc::PROT_READ as u64, (libc::MAP_SHARED | libc::MAP_FIXED) as u64);
        let first = [
            Command::call(libc::SYS_munmap, [temporary.base, IMAGE_SIZE]).expect(0),
            Command::call(libc::SYS_mmap, [CLOCK, PAGE, read, shared, FD_MEMORY as u64, clock_page])
                .expect(CLOCK),
            install_filter(constants.family_filter, 0).expect(0),
            Command::call(libc::SYS_sendmsg, [FD_SOCKET as u64, constants.send_hello, 0]).expect(1),
        ];
        ring.publish(&slot0, &first).map_err(|e| failed("commands", e))?;
        let plan = Plan {
            fds: [memory.as_raw_fd(), control.fd().as_raw_fd(), theirs.as_raw_fd(), image.as_raw_fd()],
            image: temporary.base,
            parent: std::process::id() as i32,
        };
        let pid = start_reaper(plan, Arc::clone(registry))?;
        drop((theirs, temporary));
        let life = registry.register(pid, Box::new(()));
        let hello = receive(socket.as_fd(), &mut [0; 1], Wait::Block);
        if !hello.is_ok_and(|message| message.len == 1) {
            let why = "a stub process cannot be set up (are system mappings sealed on this host?)";
            return Err(PlatformError::Unsupported(why.into()));
        }
        let registry = Arc::clone(registry);
        Ok(Self { control, constants, registry, life, channel: Mutex::new(Channel { ring, socket }) })
    }

    /// The control file.
    pub(super) fn control(&self) -> &Arc<ControlFile> {
        &self.control
    }

    /// Who lives.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where constants lie in stubs.
    pub(super) fn constants(&self) -> &Constants {
        &self.constants
    }

    /// Clones a process that carries out the spawner's ring in `slot`, and waits for its sign of life: `greet` gets
    /// our end of its socket. Only then may the zygote's ring go on, since the child still reads the command that
    /// made it. Where `greet` fails, having dropped the listener if it got one, the process has ended on return.
    pub(super) fn clone_stub<T>(
        &self,
        slot: &Slot,
        greet: impl FnOnce(&OwnedFd) -> Result<T, PlatformError>,
    ) -> Result<(OwnedFd, T), PlatformError> {
        let mut channel = self.channel.lock();
        if self.life.is_dead() {
            return Err(PlatformError::Resources("the zygote process is gone".into()));
        }
        let shared = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        let read = libc::PROT_READ as u64;
        let write = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let (control, scratch) = (FD_CONTROL as u64, slot.offset() + SLOT_SCRATCH);
        let dont_wait = libc::MSG_DONTWAIT as u64;
        let commands = [
            Command::call(libc::SYS_mmap, [COMMANDS, COMMANDS_SIZE, read, shared, control, slot.offset()])
                .expect(COMMANDS),
            Command::call(libc::SYS_mmap, [SCRATCH, PAGE, write, shared, control, scratch]).expect(SCRATCH),
            Command::call(libc::SYS_recvmsg, [FD_SOCKET as u64, self.constants.receive, dont_wait]).always(),
            Command::call(libc::SYS_clone, [libc::CLONE_PARENT as u64])
                .child(COMMANDS + SPAWNER_RING)
                .always(),
            Command::call(libc::SYS_close, [FD_TRANSIENT as u64]).always(),
        ];
        self.registry.prepare();
        let socket = channel
            .order(&self.control.platform_slot(), &commands)
            .map_err(|errno| PlatformError::Resources(format!("new stub process: {errno}")))?;
        match greet(&socket) {
            Ok(greeting) => Ok((socket, greeting)),
            Err(error) => {
                // The process is nobody's: its helper, without a listener, ends it. The slot must outlast that.
                wait_closed(socket.as_fd());
                Err(error)
            }
        }
    }
}

impl Channel {
    /// Gives the zygote one end of a new socket pair and commands that use it; returns the other end.
    fn order(&mut self, slot0: &VolatileSlice<'_>, commands: &[Command]) -> Result<OwnedFd, Errno> {
        let (ours, theirs) = pair(Kind::SeqPacket)?;
        send(self.socket.as_fd(), &[IoSlice::new(b"!")], &[theirs.as_fd()])?;
        self.ring.publish(slot0, commands)?;
        self.ring.wake(slot0)?;
        Ok(ours)
    }
}

/// Waits until nobody has the other end of `socket`: a process that had it has given its memory back by then, since
/// the host takes that from a dying process before its descriptors.
fn wait_closed(socket: BorrowedFd<'_>) {
    while receive(socket, &mut [0; 1], Wait::Block).is_ok_and(|message| message.len > 0) {}
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.life.kill();
    }
}

/// The image as a file of [`IMAGE_SIZE`] bytes.
fn image_file() -> Result<OwnedFd, Errno> {
    let file = memfd(c"stub-image", IMAGE_SIZE)?;
    let map = host::memory::Mapping::shared(file.as_fd(), 0, IMAGE_SIZE as usize, true)?;
    map.as_slice().write(stub::image())?;
    Ok(file)
}

/// The image, executable, somewhere outside the stub's own region: where the zygote stands while it clears its floor.
struct TemporaryImage {
    base: u64,
}

impl TemporaryImage {
    fn map(image: BorrowedFd<'_>) -> Result<Self, Errno> {
        for hint in (1..64_u64).map(|n| n * 0x1_0000_0000) {
            let (prot, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_SHARED);
            // SAFETY: without MAP_FIXED the mapping overlaps nothing.
            let at =
                unsafe { libc::mmap(hint as *mut _, IMAGE_SIZE as usize, prot, flags, image.as_raw_fd(), 0) };
            if at == libc::MAP_FAILED {
                return Err(Errno::EACCES);
            }
            let mapped = Self { base: at as u64 };
            if !(GUEST_END - IMAGE_SIZE..TASK_END).contains(&mapped.base) {
                return Ok(mapped);
            }
        }
        Err(Errno::ENOMEM)
    }
}

impl Drop for TemporaryImage {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping; the sentry never runs or reads it.
        unsafe { libc::munmap(self.base as *mut _, IMAGE_SIZE as usize) };
    }
}

/// What the child needs to know. Plain numbers: it runs in a copy of a process that may have had other threads.
#[derive(Clone, Copy)]
struct Plan {
    /// In the order of their numbers in a stub.
    fds: [i32; 4],
    image: u64,
    parent: i32,
}

/// Runs the reaper for as long as the zygote or any stub lives. Returns the zygote's pid.
fn start_reaper(plan: Plan, registry: Arc<Registry>) -> Result<i32, PlatformError> {
    let (tell, told) = mpsc::sync_channel(1);
    let reaper = move || {
        block_signals();
        // SAFETY: the child runs `become_zygote`, which makes system calls only and never returns.
        let pid = unsafe { fork_zygote(plan) };
        // The caller waits; should it have gone, there is nobody to tell.
        let _ = tell.send(pid);
        if pid.is_ok() {
            reap_all(&registry);
        }
    };
    std::thread::Builder::new()
        .name("reaper".into())
        .spawn(reaper)
        .map_err(|error| PlatformError::Resources(format!("reaper thread: {error}")))?;
    told.recv()
        .unwrap_or(Err(Errno::ESRCH))
        .map_err(|errno| PlatformError::Resources(format!("zygote process: {errno}")))
}

fn block_signals() {
    let all = u64::MAX;
    // SAFETY: the kernel reads an 8-byte set.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, 0, size_of::<u64>());
    }
}

/// Forks by way of a child that shares our memory: its own child is a copy of the process without what libc
/// registered for this thread (restartable sequences), which would be written to after it was unmapped.
///
/// # Safety
/// All signals must be blocked.
unsafe fn fork_zygote(plan: Plan) -> Result<i32, Errno> {
    let mut grandchild = -i64::from(libc::EAGAIN);
    let child: i64;
    // SAFETY: while the vfork child runs, this thread is stopped, so both use one stack; the child touches registers
    // and `grandchild` only. Its own child has a copy of the stack and goes on below with `child` = 0.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, {clone}",
            "mov edi, {parent}",
            "syscall",
            "test rax, rax",
            "jz 2f",
            "mov [r9], rax",
            "xor edi, edi",
            "mov eax, {exit}",
            "syscall",
            "2:",
            clone = const libc::SYS_clone,
            parent = const libc::CLONE_PARENT,
            exit = const libc::SYS_exit,
            inlateout("rax") libc::SYS_clone => child,
            inlateout("rdi") i64::from(libc::CLONE_VM | libc::CLONE_VFORK) => _,
            in("rsi") 0_i64, in("rdx") 0_i64, in("r10") 0_i64, in("r8") 0_i64,
            in("r9") &raw mut grandchild,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    if child == 0 {
        // SAFETY: this is the new process.
        unsafe { become_zygote(plan) }
    }
    if child < 0 {
        return Err(Errno::from_raw(-child as i32));
    }
    reap(child as i32);
    if grandchild < 0 { Err(Errno::from_raw(-grandchild as i32)) } else { Ok(grandchild as i32) }
}

/// The kernel's `struct sigaction`.
#[repr(C)]
struct KernelSigaction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// Everything that must happen before the floor is cleared, then the jump.
///
/// # Safety
/// Only for the fresh copy: it closes every descriptor and unmaps every page.
unsafe fn become_zygote(plan: Plan) -> ! {
    let require = |result: i64| {
        if result < 0 {
            // SAFETY: a plain system call.
            unsafe { libc::syscall(libc::SYS_exit_group, 1) };
        }
        result
    };
    // SAFETY: system calls with numbers, or with pointers to locals of the size that the kernel reads.
    unsafe {
        require(libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0));
        if libc::syscall(libc::SYS_getppid) != i64::from(plan.parent) {
            require(-1);
        }
        require(libc::syscall(libc::SYS_setsid));
        require(libc::syscall(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        require(libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 0, 0, 0, 0));
        libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, c"stub".as_ptr(), 0, 0, 0);
        let mut high = [0; 4];
        for (to, from) in high.iter_mut().zip(plan.fds) {
            *to = require(libc::syscall(libc::SYS_fcntl, from, libc::F_DUPFD, 16));
        }
        for (number, fd) in high.into_iter().enumerate() {
            require(libc::syscall(libc::SYS_dup2, fd, number));
        }
        require(libc::syscall(libc::SYS_close_range, 4, u32::MAX, 0));
        for signal in 1..=64 {
            let action = action_for(signal);
            let size = size_of::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, 0, size);
        }
        asm!("jmp {boot}", boot = in(reg) address_of(Entry::Boot, plan.image), in("rdi") plan.image,
            options(noreturn));
    }
}

fn action_for(signal: i32) -> KernelSigaction {
    if !HANDLED.contains(&signal) {
        return KernelSigaction { handler: libc::SIG_DFL as u64, flags: 0, restorer: 0, mask: 0 };
    }
    const SA_RESTORER: u64 = 0x0400_0000;
    KernelSigaction {
        handler: address_of(Entry::Handler, IMAGE),
        flags: (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART) as u64 | SA_RESTORER,
        restorer: address_of(Entry::Restorer, IMAGE),
        // While a guest thread is in the handler nothing else may start one.
        mask: u64::MAX,
    }
}

const _: () = assert!(INTERRUPT == libc::SIGURG);
const _: () = assert!(ZYGOTE_RING > IMAGE && COMMANDS > ZYGOTE_RING);
