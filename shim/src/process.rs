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
/// Locks: `starting` before `state`. `starting` is held while `runsc` starts the process, and while those that end with
/// the container's first process are waited for; `state` while nothing is waited for.
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
    /// Its standard input was ended, perhaps before it had one.
    stdin_closed: bool,
    terminal: Option<Terminal>,
}

impl State {
    fn end(&mut self, exit: Exit) {
        self.status = Status::STOPPED;
        self.exit = Some(exit);
        self.kept = Kept::default();
    }
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
                stdin_closed: false,
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
        if state.stdin_closed {
            state.kept.close_stdin();
        }
    }

    /// Notes what it is doing; it has ended for good when it has ended.
    pub(crate) fn set_status(&self, status: Status) {
        let mut state = self.lock();
        if state.exit.is_none() {
            state.status = status;
        }
    }

    /// Notes that it will never run: who waits for its end has waited long enough.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        if state.exit.is_none() {
            state.end(Exit::killed());
            self.ended.notify_all();
        }
    }

    /// Notes its end and lets go of its streams.
    pub(crate) fn set_exit(&self, exit: Exit) {
        self.lock().end(exit);
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

    /// Ends its standard input, that which it will have where it does not run yet.
    pub(crate) fn close_stdin(&self) {
        let mut state = self.lock();
        state.stdin_closed = true;
        state.kept.close_stdin();
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
    use crate::io::{Kept, Names};
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
        process.abandon();
        assert_eq!(process.snapshot().exit.map(|exit| exit.status), Some(4));
        assert_eq!(process.snapshot().status, Status::STOPPED);
        assert!(process.snapshot().require_not_ended().is_err());
    }

    #[test]
    fn who_waits_for_one_that_never_runs_is_told() {
        let process = Process::new("c", "e", Names::default());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| process.wait().status);
            process.abandon();
            assert_eq!(waiter.join().unwrap(), 137);
        });
    }

    #[test]
    fn input_that_was_ended_before_there_was_any_is_at_its_end() {
        let process = Process::new("c", "e", Names::default());
        let (mut reader, writer) = std::io::pipe().unwrap();
        process.close_stdin();
        let writer = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
        process.made(1, None, Kept::with_stdin(writer), None);
        assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
    }
}
