//! Life and death of stub processes: who is alive, who must be told of a death, who reaps.
//!
//! One *reaper* thread per platform. It is the parent of the zygote and, since stubs are cloned with `CLONE_PARENT`,
//! of every stub: it learns of each death, and all of them are killed by the host should it end before them.
//!
//! Lock order: `Registry::lives`, then `Life::is_reaped`; `Life::sleepers` is a leaf.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use abi::Errno;
use parking_lot::Mutex;

/// Interrupts a sentry thread that waits at a door of a stub that died. Handled by doing nothing.
pub(super) const KICK: i32 = 64;

/// A sentry thread that may be waiting at a door: its thread id, or 0.
#[derive(Debug, Default)]
pub(super) struct Sleeper(AtomicI32);

impl Sleeper {
    /// Notes that the calling thread is about to wait, or no longer waits.
    pub(super) fn set_waiting(&self, is_waiting: bool) {
        self.0.store(if is_waiting { current_tid() } else { 0 }, Ordering::SeqCst);
    }
}

/// One stub process, seen by those who need to know whether it lives.
#[derive(Debug)]
pub(super) struct Life {
    pid: i32,
    is_dead: AtomicBool,
    /// Its pid may name another process once this is set: no signal is sent after.
    is_reaped: Mutex<bool>,
    sleepers: Mutex<Vec<Weak<Sleeper>>>,
}

impl Life {
    fn new(pid: i32) -> Self {
        let is_dead = AtomicBool::new(false);
        Self { pid, is_dead, is_reaped: Mutex::new(false), sleepers: Mutex::new(Vec::new()) }
    }

    /// Whether the process has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// Adds someone who must not sleep through the process's death.
    pub(super) fn add_sleeper(&self, sleeper: &Arc<Sleeper>) {
        let mut sleepers = self.sleepers.lock();
        sleepers.retain(|other| other.strong_count() > 0);
        sleepers.push(Arc::downgrade(sleeper));
    }

    /// Ends the process.
    pub(super) fn kill(&self) {
        let is_reaped = self.is_reaped.lock();
        if !*is_reaped {
            // SAFETY: a plain system call. We are the parent and have not reaped, so the pid is this process's.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
    }

    /// Ends the process and waits until it runs no more: the memory that it has mapped may soon be another's.
    pub(super) fn end(&self) {
        const STEP: Duration = Duration::from_micros(50);
        const STEPS: u32 = 40_000;
        self.kill();
        for _ in 0..STEPS {
            // A process that takes two seconds to die hangs in a call of the host, and runs nothing of its own either.
            if self.is_dead() {
                return;
            }
            std::thread::sleep(STEP);
        }
    }

    /// Sends a signal to one of its threads.
    pub(super) fn signal_thread(&self, tid: i32, signal: i32) {
        let is_reaped = self.is_reaped.lock();
        if !*is_reaped {
            // SAFETY: a plain system call; the thread group is this process's, as in `kill`.
            unsafe { libc::syscall(libc::SYS_tgkill, self.pid, tid, signal) };
        }
    }

    /// Marks it dead and gets everyone away from its doors.
    fn die(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        loop {
            let waiting: Vec<i32> = {
                let sleepers = self.sleepers.lock();
                let tids = sleepers.iter().filter_map(Weak::upgrade).map(|s| s.0.load(Ordering::SeqCst));
                tids.filter(|tid| *tid != 0).collect()
            };
            if waiting.is_empty() {
                return;
            }
            for tid in waiting {
                // A thread that is about to sleep misses this one and gets the next.
                // SAFETY: a plain system call on our own thread group.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, KICK) };
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// All stubs of a platform that were not reaped yet.
#[derive(Debug, Default)]
pub(super) struct Registry {
    lives: Mutex<Lives>,
}

#[derive(Debug, Default)]
struct Lives {
    by_pid: HashMap<i32, Registered>,
    /// Children that ended before they were registered.
    early: Vec<i32>,
}

#[derive(Debug)]
struct Registered {
    life: Arc<Life>,
    /// Kept until the process is gone: the memory it has mapped.
    _keep: Box<dyn Keep>,
}

/// What must outlive a process.
pub(super) trait Keep: Send + std::fmt::Debug {}
impl<T: Send + std::fmt::Debug> Keep for T {}

impl Registry {
    /// A process is about to be made: forget of whom we never learned the name.
    pub(super) fn prepare(&self) {
        self.lives.lock().early.clear();
    }

    /// Adds a child by its pid. `keep` is dropped when it has been reaped.
    pub(super) fn register(&self, pid: i32, keep: Box<dyn Keep>) -> Arc<Life> {
        let life = Arc::new(Life::new(pid));
        let mut lives = self.lives.lock();
        if lives.early.contains(&pid) {
            life.is_dead.store(true, Ordering::SeqCst);
            *life.is_reaped.lock() = true;
        } else {
            lives.by_pid.insert(pid, Registered { life: Arc::clone(&life), _keep: keep });
        }
        life
    }

    fn ended(&self, pid: i32) {
        let mut lives = self.lives.lock();
        let gone = lives.by_pid.remove(&pid);
        match &gone {
            Some(entry) => {
                let mut is_reaped = entry.life.is_reaped.lock();
                reap(pid);
                *is_reaped = true;
            }
            None => {
                reap(pid);
                lives.early.push(pid);
            }
        }
        drop(lives);
        if let Some(entry) = gone {
            entry.life.die();
        }
    }
}

/// Reaps children of the calling thread until there are none.
pub(super) fn reap_all(registry: &Registry) {
    while let Some(pid) = next_dead() {
        registry.ended(pid);
    }
}

fn next_dead() -> Option<i32> {
    let flags = libc::WEXITED | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;
    loop {
        // SAFETY: all zeros is a valid `siginfo_t`, and the call fills it.
        let (result, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (libc::waitid(libc::P_ALL, 0, &raw mut info, flags), info)
        };
        if result == 0 {
            // SAFETY: waitid filled the fields of a SIGCHLD.
            return Some(unsafe { info.si_pid() });
        }
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

/// Reaps one child that has ended; `__WALL` because stubs have no exit signal.
pub(super) fn reap(pid: i32) {
    // SAFETY: a null status says that it is not wanted.
    unsafe { libc::wait4(pid, std::ptr::null_mut(), libc::__WALL, std::ptr::null_mut()) };
}

/// Makes the kick interrupt blocking calls. Once a process.
pub(super) fn install_kick_handler() -> Result<(), Errno> {
    static ONCE: Once = Once::new();
    extern "C" fn nothing(_signal: i32) {}
    let mut result = 0;
    ONCE.call_once(|| {
        // SAFETY: an all-zero sigaction is valid; the handler does nothing.
        result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            libc::sigaction(KICK, &raw const action, std::ptr::null_mut())
        };
    });
    if result == 0 { Ok(()) } else { Err(Errno::EINVAL) }
}

fn current_tid() -> i32 {
    thread_local! {
        static TID: i32 = {
            // SAFETY: a plain system call.
            unsafe { libc::gettid() }
        };
    }
    TID.with(|tid| *tid)
}
