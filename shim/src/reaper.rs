//! The shim's children, and the orphans that it adopts: sandboxes, gofers, the processes that stand for an exec.
//!
//! One thread reaps whatever ends. Who waits for a process says so with its pid; the end of a process whose pid is not
//! known yet, because `runsc` is about to write it down, is kept for as long as a [`Window`] is open. All else is
//! reaped and forgotten. Children are made under the lock that the reaper holds: none can end unnoticed in between.

use std::collections::HashMap;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use abi::{Errno, Signal};
use host::process::{Ended, adopt_orphans, reap_any};
use host::signal::SignalFd;

use crate::error::{Context, Result};

const SIGCHLD: i32 = Signal::CHLD.number();

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// As a shell tells it: 128 and the signal's number for a signal.
    pub(crate) status: u32,
    /// When.
    pub(crate) at: SystemTime,
}

impl Exit {
    /// One that is noticed now.
    pub(crate) fn now(status: u32) -> Self {
        Self { status, at: SystemTime::now() }
    }

    /// What is said of a process that was killed, or that nobody knows the status of.
    pub(crate) fn killed() -> Self {
        Self::now(128 + Signal::KILL.number().unsigned_abs())
    }
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        let status = match ended {
            Ended::Code(code) => code,
            Ended::Signal(signal) => 128 + signal,
        };
        Self::now(status.unsigned_abs())
    }
}

/// Who reaps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reaper(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    watched: HashMap<i32, Sender<Exit>>,
    windows: usize,
    early: HashMap<i32, Exit>,
}

/// As long as one is open, no end of a process is forgotten.
#[derive(Debug)]
pub(crate) struct Window(Reaper);

impl Reaper {
    /// Starts reaping. Must be called while this process has one thread: signals are blocked for those that follow.
    pub(crate) fn start() -> Result<Self> {
        adopt_orphans().context("cannot adopt what runsc leaves behind")?;
        // The shim ends when containerd says so, and not by a signal to its session.
        let signals = SignalFd::new(&[SIGCHLD, Signal::TERM.number(), Signal::INT.number()])
            .context("cannot take signals")?;
        let reaper = Self::default();
        let table = reaper.clone();
        std::thread::Builder::new()
            .name("reaper".into())
            .spawn(move || {
                while let Ok(signal) = signals.next() {
                    if signal == SIGCHLD {
                        table.reap_all();
                    }
                }
            })
            .context("cannot start the reaper")?;
        Ok(reaper)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reap_all(&self) {
        let mut table = self.lock();
        loop {
            match reap_any() {
                Ok(Some((pid, ended))) => table.ended(pid, ended.into()),
                Ok(None) | Err(Errno::ECHILD) => return,
                Err(errno) => {
                    crate::log::warning(format_args!("cannot reap: {errno}"));
                    return;
                }
            }
        }
    }

    /// Starts a command. Its end is told to the receiver.
    pub(crate) fn spawn(&self, command: &mut Command) -> std::io::Result<Receiver<Exit>> {
        let mut table = self.lock();
        host::signal::unblock_all_in(command);
        let pid = command.spawn()?.id().cast_signed();
        // What is kept of that pid is the end of another that had it before.
        table.early.remove(&pid);
        Ok(table.watch(pid))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, command: &mut Command) -> std::io::Result<Exit> {
        let ended = self.spawn(command)?;
        Ok(ended.recv().unwrap_or_else(|_| Exit::killed()))
    }

    /// From now on, and as long as the window is there, ends of processes are kept.
    pub(crate) fn window(&self) -> Window {
        self.lock().windows += 1;
        Window(self.clone())
    }
}

impl Table {
    fn ended(&mut self, pid: i32, exit: Exit) {
        if let Some(waiter) = self.watched.remove(&pid) {
            // Who no longer waits does not care.
            let _ = waiter.send(exit);
        } else if self.windows > 0 {
            self.early.insert(pid, exit);
        }
    }

    fn watch(&mut self, pid: i32) -> Receiver<Exit> {
        let (sender, receiver) = channel();
        match self.early.remove(&pid) {
            Some(exit) => drop(sender.send(exit)),
            None => drop(self.watched.insert(pid, sender)),
        }
        receiver
    }
}

impl Window {
    /// The end of the process with `pid`, which became our child while the window was open.
    pub(crate) fn watch(&self, pid: i32) -> Receiver<Exit> {
        self.0.lock().watch(pid)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        table.windows -= 1;
        if table.windows == 0 {
            table.early.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Reaper, Table};

    #[test]
    fn an_end_before_the_pid_is_known_is_kept_while_a_window_is_open() {
        let reaper = Reaper::default();
        reaper.lock().ended(5, Exit::now(1));
        let window = reaper.window();
        reaper.lock().ended(6, Exit::now(7));
        assert_eq!(window.watch(6).try_recv().unwrap().status, 7);
        let five = window.watch(5);
        assert!(five.try_recv().is_err());
        reaper.lock().ended(5, Exit::now(9));
        assert_eq!(five.try_recv().unwrap().status, 9);
        reaper.lock().ended(8, Exit::now(0));
        drop(window);
        let Table { watched, windows, early } = &*reaper.lock();
        assert_eq!((watched.len(), *windows, early.len()), (0, 0, 0));
    }

    #[test]
    fn signals_are_told_as_a_shell_does() {
        assert_eq!(Exit::from(host::process::Ended::Signal(9)).status, 137);
        assert_eq!(Exit::from(host::process::Ended::Code(3)).status, 3);
    }
}
