//! A process of a container as containerd knows it: the container's first one, or one that was added (exec).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use containerd_shim_protos::types::task::Status;

use crate::error::{Failure, Result};
use crate::io::{Kept, Names};
use crate::reaper::Exit;
use crate::terminal::Terminal;

/// A process.
///
/// Locks: `starting` before `state`. Neither is held while anything is waited for but `runsc`'s start of this process.
#[derive(Debug)]
pub(crate) struct Process {
    /// The container.
    pub(crate) container: String,
    /// Its id; empty for the container's first process.
    pub(crate) exec_id: String,
    /// Its streams.
    pub(crate) names: Names,
    /// Held while it is being started, until that is told: its end is told afterwards.
    starting: Mutex<()>,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    status: Status,
    pid: u32,
    guest_pid: Option<i32>,
    exit: Option<Exit>,
    kept: Kept,
    terminal: Option<Terminal>,
}

/// What is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    /// The process that stands for it on the host, 0 where there is none yet.
    pub(crate) pid: u32,
    /// Its pid in the sandbox, where that is known.
    pub(crate) guest_pid: Option<i32>,
    pub(crate) exit: Option<Exit>,
}

impl Process {
    /// One that does not run yet.
    pub(crate) fn new(container: &str, exec_id: &str, names: Names) -> Self {
        Self {
            container: container.into(),
            exec_id: exec_id.into(),
            names,
            starting: Mutex::new(()),
            state: Mutex::new(State {
                status: Status::CREATED,
                pid: 0,
                guest_pid: None,
                exit: None,
                kept: Kept::default(),
                terminal: None,
            }),
            ended: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the telling of its end back as long as the guard lives.
    pub(crate) fn starting(&self) -> MutexGuard<'_, ()> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id that events have.
    pub(crate) fn event_id(&self) -> &str {
        if self.exec_id.is_empty() { &self.container } else { &self.exec_id }
    }

    /// What is known of it now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        Snapshot { status: state.status, pid: state.pid, guest_pid: state.guest_pid, exit: state.exit }
    }

    /// Notes the processes that `runsc` has made for it, and what belongs to them.
    pub(crate) fn made(&self, pid: u32, guest_pid: Option<i32>, kept: Kept, terminal: Option<Terminal>) {
        let mut state = self.lock();
        (state.pid, state.guest_pid, state.kept, state.terminal) = (pid, guest_pid, kept, terminal);
    }

    /// Notes what it is doing; it has ended for good when it has ended.
    pub(crate) fn set_status(&self, status: Status) {
        let mut state = self.lock();
        if state.exit.is_none() {
            state.status = status;
        }
    }

    /// Notes its end and lets go of its streams.
    pub(crate) fn set_exit(&self, exit: Exit) {
        let mut state = self.lock();
        state.status = Status::STOPPED;
        state.exit = Some(exit);
        state.kept = Kept::default();
        self.ended.notify_all();
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> Exit {
        let mut state = self.lock();
        loop {
            match state.exit {
                Some(exit) => return exit,
                None => state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits for its end, not for ever.
    pub(crate) fn wait_within(&self, limit: Duration) {
        let waits = |state: &mut State| state.exit.is_none();
        drop(self.ended.wait_timeout_while(self.lock(), limit, waits));
    }

    /// Whether it was started and has not ended.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.snapshot().status, Status::RUNNING | Status::PAUSED)
    }

    /// Ends its standard input.
    pub(crate) fn close_stdin(&self) {
        self.lock().kept.close_stdin();
    }

    /// Sets the size of its window.
    pub(crate) fn resize(&self, columns: u32, rows: u32) -> Result<()> {
        match &self.lock().terminal {
            Some(terminal) => terminal.resize(columns, rows),
            // One that does not run yet has none; without a terminal there is nothing to be resized.
            None => Ok(()),
        }
    }
}

impl Snapshot {
    /// The failure of whoever wants something of a process that has ended.
    pub(crate) fn require_not_ended(&self) -> Result<()> {
        match self.exit {
            Some(_) => Err(Failure::NotFound("process already finished".into())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use containerd_shim_protos::types::task::Status;

    use super::Process;
    use crate::io::Names;
    use crate::reaper::Exit;

    #[test]
    fn who_has_ended_stays_so() {
        let process = Process::new("c", "", Names::default());
        assert_eq!((process.event_id(), process.snapshot().status), ("c", Status::CREATED));
        process.set_status(Status::RUNNING);
        process.wait_within(Duration::from_millis(1));
        assert!(process.is_running() && process.snapshot().require_not_ended().is_ok());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| process.wait().status);
            process.set_exit(Exit::now(4));
            assert_eq!(waiter.join().unwrap(), 4);
        });
        process.set_status(Status::PAUSED);
        assert_eq!(process.snapshot().status, Status::STOPPED);
        assert!(process.snapshot().require_not_ended().is_err());
    }
}
