//! One stub process: a guest address space's host side, its helper, and its guest threads.
//!
//! Life of a stub: the zygote clones it; its first thread, the *spawner*, prepares the process and clones the
//! *helper*, which sends the sentry its listener and waits at its door. From then on the spawner clones guest threads
//! and the helper changes mappings, both on command. The process ends when the last [`Stub`] handle is dropped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;
use host::memory::VolatileSlice;
use host::seccomp::Listener;
use host::unix::{Wait, receive, send};
use parking_lot::Mutex;
use stub::layout::{
    AREA_SIGNAL_STACK, AREAS, COMMANDS, FD_CONTROL, FD_SOCKET, FD_TRANSIENT, GUEST_END, HELPER_RING,
    HELPER_RING_ENTRIES, MAX_AREAS, PAGE, SLOT_SIZE, SMALL_RING, SPAWNER_RING, STARTER_DATA, STARTER_RING,
    TASK_END, ZYGOTE_RING,
};

use super::command::{Command, Ring};
use super::constants::Constants;
use super::control::{ControlFile, Slot};
use super::door::{Door, Gone};
use super::handover::GuestThread;
use super::life::Life;
use super::space::GUEST_START;
use super::zygote::Zygote;
use crate::PlatformError;

/// How threads of a stub are made.
pub(super) const THREAD_FLAGS: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;

/// Idle guest threads that a process keeps: more than most programs end and start again at once.
const MAX_IDLE: usize = 32;

/// A stub process. Killed when dropped; the reaper does the rest.
#[derive(Debug)]
pub(super) struct Stub {
    constants: Constants,
    control: Arc<ControlFile>,
    life: Arc<Life>,
    slots: Arc<Slots>,
    operations: Mutex<Operations>,
}

/// The memory a stub has mapped; given back when it has been reaped.
#[derive(Debug)]
struct Slots {
    commands: Slot,
    areas: Mutex<Vec<Arc<Slot>>>,
}

/// What the trusted threads do, one thing at a time: they share a descriptor table whose numbers we predict.
#[derive(Debug)]
struct Operations {
    socket: OwnedFd,
    spawner: Ring,
    helper: Ring,
    door: Door,
    /// Since when the helper has stood at its door.
    parked: u64,
    /// Guest threads that nobody uses, stopped.
    idle: Vec<GuestThread>,
    /// Guest threads that contexts have.
    lent: usize,
    /// Guest threads that were told to end; their areas can be used again when they have.
    dismissed: Vec<GuestThread>,
    /// Areas that threads were to get that could not be made.
    spare: Vec<(u64, Arc<Slot>)>,
    next_area: u64,
}

impl Stub {
    /// Has the zygote clone a process and waits until its helper stands at the door.
    pub(super) fn new(zygote: &Zygote) -> Result<Self, PlatformError> {
        let failed = |errno: Errno| PlatformError::Resources(format!("new stub process: {errno}"));
        let constants = *zygote.constants();
        let control = Arc::clone(zygote.control());
        let commands = control.allocate().map_err(failed)?;
        let (spawner, helper) = first_commands(&commands.memory(), &constants).map_err(failed)?;
        let slots = Arc::new(Slots { commands, areas: Mutex::new(Vec::new()) });
        let greet = |socket: &OwnedFd| {
            let listener = receive_listener(socket.as_fd())?;
            // The pid is what the helper, which runs no guest code, says at its door; until then nobody can be told
            // of a death, but the end of the process is the end of its listener.
            let hello = first_notification(&listener)?;
            let pid = i32::try_from(hello.args[2]).map_err(|_| failed(Errno::ESRCH))?;
            let life = zygote.registry().register(pid, Box::new(Arc::clone(&slots)));
            Ok((Door::new(listener, Arc::clone(&life)), hello, life))
        };
        let (socket, (door, hello, life)) = zygote.clone_stub(&slots.commands, greet)?;
        let operations = Mutex::new(Operations {
            socket,
            spawner,
            helper,
            door,
            parked: hello.id,
            idle: Vec::new(),
            lent: 0,
            dismissed: Vec::new(),
            spare: Vec::new(),
            next_area: 0,
        });
        Ok(Self { constants, control, life, slots, operations })
    }

    /// Whether it lives, and how to signal it.
    pub(super) fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Has the helper carry out `commands`, sending `files` before in one message: one of them receives it.
    /// Says which error stopped it, if one did.
    pub(super) fn execute(
        &self,
        commands: &[Command],
        files: &[BorrowedFd<'_>],
    ) -> Result<Result<(), Errno>, Gone> {
        let mut operations = self.operations.lock();
        let operations = &mut *operations;
        if !files.is_empty() {
            let byte = [std::io::IoSlice::new(b"!")];
            if let Err(errno) = send(operations.socket.as_fd(), &byte, files) {
                return Ok(Err(errno));
            }
        }
        let memory = self.slots.commands.memory();
        operations.helper.publish(&memory, commands).map_err(|_| Gone)?;
        operations.door.open(operations.parked)?;
        let report = operations.door.wait()?;
        operations.parked = report.id;
        let error = report.args[0] as i64;
        Ok(if error == 0 { Ok(()) } else { Err(Errno::from_raw((-error) as i32)) })
    }

    /// How many commands [`Self::execute`] takes at once.
    pub(super) const fn batch_size() -> usize {
        HELPER_RING_ENTRIES as usize
    }

    /// A guest thread that stands at its door.
    pub(super) fn guest_thread(&self) -> Result<GuestThread, PlatformError> {
        let mut operations = self.operations.lock();
        let thread = match operations.idle.pop() {
            Some(thread) => thread,
            None => self.spawn(&mut operations)?,
        };
        operations.lent += 1;
        Ok(thread)
    }

    /// Makes a guest thread before it is needed.
    pub(super) fn prepare(&self) -> Result<(), PlatformError> {
        let thread = self.guest_thread()?;
        self.release(thread);
        Ok(())
    }

    /// Takes back a stopped thread.
    ///
    /// When this returns it is stopped for certain, since the kernel may give its process's memory to others. While it
    /// watches it is stopped by its own process's consent only.
    pub(super) fn release(&self, mut thread: GuestThread) {
        if thread.settle().is_err() {
            self.life.end();
        }
        let mut operations = self.operations.lock();
        operations.lent -= 1;
        if operations.idle.len() >= MAX_IDLE && thread.dismiss() {
            operations.dismissed.push(thread);
        } else {
            operations.idle.push(thread);
        }
    }

    fn spawn(&self, operations: &mut Operations) -> Result<GuestThread, PlatformError> {
        let failed = |errno: Errno| PlatformError::Resources(format!("new guest thread: {errno}"));
        let (area_address, area) = self.area(operations).map_err(failed)?;
        let memory = self.slots.commands.memory();
        let start = start_commands(&memory, &self.constants, area_address, &area).map_err(failed)?;
        let say = [FD_SOCKET as u64, self.constants.send_hello, 0];
        let spawn = [
            Command::call(libc::SYS_clone, [THREAD_FLAGS as u64]).child(COMMANDS + STARTER_RING),
            // The host may refuse a thread (a limit on processes); a message without a listener says so.
            Command::call(libc::SYS_sendmsg, say).on_error(),
        ];
        let mut starter = Ring::new(&memory, STARTER_RING, SMALL_RING).map_err(failed)?;
        starter.publish(&memory, &start).map_err(failed)?;
        operations.spawner.publish(&memory, &spawn).map_err(failed)?;
        operations.spawner.wake(&memory).map_err(failed)?;
        let listener = match receive_listener(operations.socket.as_fd()) {
            Ok(listener) => listener,
            Err(NoListener::Refused) => {
                operations.spare.push((area_address, area));
                return Err(NoListener::Refused.into());
            }
            Err(error) => {
                // If a thread was made, nobody can tell when it lets go of its area and of the ring.
                self.life.kill();
                return Err(error.into());
            }
        };
        let door = Door::new(listener, Arc::clone(&self.life));
        let hello =
            door.wait().map_err(|Gone| PlatformError::Dead("its first thread did not start".into()))?;
        Ok(GuestThread::new(door, hello.id, hello.tid, area, area_address))
    }
}

impl Stub {
    /// Makes a used stub like new: without mappings, and with at most one guest thread. An error is a reason to end it.
    ///
    /// What a guest thread has in its registers while it stands at the door is its old process's choice. The first one
    /// stays all the same, but has to [start over](GuestThread::start_over); the others are told to end, and the host
    /// says when they have. So what is left are two threads that never ran guest code, and one that stands where it
    /// stood before it ever did.
    pub(super) fn empty(&self) -> Result<(), Gone> {
        let kept = self.end_other_threads()?;
        let first = AREAS + if kept.is_some() { SLOT_SIZE } else { 0 };
        let commands = [
            Command::call(libc::SYS_munmap, [GUEST_START, GUEST_END - GUEST_START]),
            Command::call(libc::SYS_munmap, [first, TASK_END - first]),
            Command::door(),
        ];
        self.execute(&commands, &[])?.map_err(|_| Gone)?;
        let area = kept.as_ref().map(GuestThread::slot);
        self.slots.areas.lock().retain(|other| area.is_some_and(|area| Arc::ptr_eq(area, other)));
        if let Some(mut thread) = kept {
            thread.area().zero().map_err(|_| Gone)?;
            thread.start_over()?;
            self.operations.lock().idle.push(thread);
        }
        Ok(())
    }

    /// Ends all guest threads but the one with the first area, which it returns.
    fn end_other_threads(&self) -> Result<Option<GuestThread>, Gone> {
        let mut operations = self.operations.lock();
        let operations = &mut *operations;
        let (mut kept, others) = std::mem::take(&mut operations.idle)
            .into_iter()
            .partition::<Vec<_>, _>(|thread| thread.area_address == AREAS);
        if operations.lent != 0 || kept.len() > 1 || !others.iter().all(GuestThread::dismiss) {
            return Err(Gone);
        }
        operations.dismissed.extend(others);
        if !operations.dismissed.iter().all(GuestThread::wait_ended) {
            return Err(Gone);
        }
        operations.dismissed.clear();
        operations.spare.clear();
        operations.next_area = kept.len() as u64;
        Ok(kept.pop())
    }

    /// An area that no thread uses.
    fn area(&self, operations: &mut Operations) -> Result<(u64, Arc<Slot>), Errno> {
        if let Some(area) = operations.spare.pop() {
            return Ok(area);
        }
        let ended = operations.dismissed.iter().enumerate();
        let left = ended.filter_map(|(index, thread)| Some((index, thread.area_left_behind()?))).next();
        if let Some((index, area)) = left {
            operations.dismissed.swap_remove(index);
            return Ok(area);
        }
        if operations.next_area == MAX_AREAS {
            return Err(Errno::EAGAIN);
        }
        let area = Arc::new(self.control.allocate()?);
        let address = AREAS + operations.next_area * SLOT_SIZE;
        operations.next_area += 1;
        self.slots.areas.lock().push(Arc::clone(&area));
        Ok((address, area))
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.life.kill();
    }
}

/// Fills the rings that a new process goes through by itself.
fn first_commands(memory: &VolatileSlice<'_>, constants: &Constants) -> Result<(Ring, Ring), Errno> {
    let transient = FD_TRANSIENT as u64;
    let socket = FD_SOCKET as u64;
    let mut spawner = Ring::new(memory, SPAWNER_RING, SMALL_RING)?;
    let mut helper = Ring::new(memory, HELPER_RING, HELPER_RING_ENTRIES)?;
    let parent = u64::from(std::process::id());
    let first = [
        Command::call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64]).expect(0),
        Command::call(libc::SYS_getppid, []).expect(parent),
        Command::call(libc::SYS_dup2, [transient, socket]).expect(socket),
        Command::call(libc::SYS_close, [transient]).expect(0),
        Command::call(libc::SYS_munmap, [ZYGOTE_RING, PAGE]).expect(0),
        Command::call(libc::SYS_clone, [THREAD_FLAGS as u64]).child(COMMANDS + HELPER_RING),
        // Without a helper nobody could tell of this process; its end is seen.
        Command::call(libc::SYS_exit_group, [1]).on_error(),
    ];
    spawner.publish(memory, &first)?;
    let first = [
        install_filter(constants.helper_filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER).expect(transient),
        Command::call(libc::SYS_sendmsg, [socket, constants.send_transient, 0]).expect(1),
        Command::call(libc::SYS_close, [transient]).expect(0),
        Command::call(libc::SYS_getpid, []).keep(),
        Command::door(),
    ];
    helper.publish(memory, &first)?;
    Ok((spawner, helper))
}

/// What a new guest thread does before it stands at its door for the first time.
fn start_commands(
    memory: &VolatileSlice<'_>,
    constants: &Constants,
    area_address: u64,
    area: &Slot,
) -> Result<[Command; 7], Errno> {
    let transient = FD_TRANSIENT as u64;
    let socket = FD_SOCKET as u64;
    // struct sigaltstack { ss_sp, ss_flags, ss_size }
    let stack = [area_address + AREA_SIGNAL_STACK, 0, SLOT_SIZE - AREA_SIGNAL_STACK];
    let bytes: Vec<u8> = stack.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.sub(STARTER_DATA as usize, bytes.len())?.write(&bytes)?;
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
    let map = [area_address, SLOT_SIZE, prot, flags, FD_CONTROL as u64, area.offset()];
    Ok([
        Command::call(libc::SYS_mmap, map).expect(area_address),
        Command::call(libc::SYS_sigaltstack, [COMMANDS + STARTER_DATA, 0]).expect(0),
        install_filter(constants.notify_filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER).expect(transient),
        Command::call(libc::SYS_sendmsg, [socket, constants.send_transient, 0]).expect(1),
        Command::call(libc::SYS_close, [transient]).expect(0),
        install_filter(constants.trap_filter, 0).expect(0),
        Command::enter(area_address + SLOT_SIZE - PAGE),
    ])
}

pub(super) fn install_filter(program: u64, flags: u64) -> Command {
    Command::call(libc::SYS_seccomp, [u64::from(libc::SECCOMP_SET_MODE_FILTER), flags, program])
}

/// Why a listener did not come.
#[derive(Debug, thiserror::Error)]
enum NoListener {
    /// No thread was made.
    #[error("the host refused a thread")]
    Refused,
    /// It was sent, and the host had no descriptor for it.
    #[error("the sandbox is out of descriptors")]
    Lost,
    /// Nobody is left to send it.
    #[error("a stub process ended while it started")]
    Ended,
    /// The host would not receive it.
    #[error("stub process: {0}")]
    Host(Errno),
}

impl From<NoListener> for PlatformError {
    fn from(error: NoListener) -> Self {
        Self::Resources(error.to_string())
    }
}

/// A listener sent by a thread that runs no guest code.
fn receive_listener(socket: BorrowedFd<'_>) -> Result<Listener, NoListener> {
    let mut message = receive(socket, &mut [0; 1], Wait::Block).map_err(NoListener::Host)?;
    match message.fds.pop() {
        Some(fd) => Ok(Listener::new(fd)),
        None if message.has_lost_fds => Err(NoListener::Lost),
        None if message.len == 0 => Err(NoListener::Ended),
        None => Err(NoListener::Refused),
    }
}

/// The first notification of a process that is not registered yet.
fn first_notification(listener: &Listener) -> Result<host::seccomp::Notification, PlatformError> {
    loop {
        match listener.receive() {
            Ok(notification) => return Ok(notification),
            Err(Errno::EINTR | Errno::ENOENT) if !listener.has_hung_up() => {}
            Err(errno) => return Err(PlatformError::Resources(format!("new stub process: {errno}"))),
        }
    }
}
