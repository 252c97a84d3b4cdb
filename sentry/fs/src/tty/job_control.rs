//! Job control: which session a terminal controls, and which of its process groups is in the foreground (`man 7
//! credentials`, `man 2 ioctl_tty`, POSIX 11.1).

use std::sync::{Arc, Weak};

use abi::signal::SI_KERNEL;
use abi::{DeviceId, Errno, Result, SigInfo, Signal};
use kernel::Task;
use kernel::signal::Sender;
use kernel::task::{Capability, ControllingTerminal, Pid, ProcessGroup, Session, Tid};

use super::Terminal;

/// Whom a terminal serves. The session is held weakly, since it holds the terminal.
#[derive(Default)]
pub(super) struct Control {
    session: Weak<Session>,
    /// The number of the process group in the foreground, which stays when the last of the group has ended.
    foreground: Option<Arc<Pid>>,
}

fn info(signal: Signal) -> SigInfo {
    SigInfo::new(signal, SI_KERNEL)
}

impl Terminal {
    /// The session that it controls.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.control.lock().session.upgrade()
    }

    /// Whether it is the controlling terminal of `task`.
    pub(super) fn controls(&self, task: &Task) -> bool {
        task.thread_group().session().terminal().is_some_and(|terminal| self.is(&terminal))
    }

    fn is(&self, terminal: &Arc<dyn ControllingTerminal>) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(terminal), std::ptr::from_ref(self))
    }

    /// Who sends what is typed: somebody outside where the terminal is the host's, else a program on a master.
    fn sender(&self) -> Sender {
        if self.is_the_hosts() { Sender::Outside } else { Sender::Kernel }
    }

    pub(super) fn signal_foreground(&self, signal: Signal) {
        if let Some(group) = self.foreground_group() {
            group.signal_with_newborn(signal, self.sender());
        }
    }

    fn foreground_group(&self) -> Option<Arc<ProcessGroup>> {
        self.foreground_pid().and_then(|pid| pid.process_group())
    }

    fn foreground_pid(&self) -> Option<Arc<Pid>> {
        self.control.lock().foreground.clone()
    }

    /// The terminal is gone: the session's leader hears of it, and the session has no terminal any more.
    pub(super) fn signal_hang_up(&self) {
        let control = std::mem::take(&mut *self.control.lock());
        let Some(session) = control.session.upgrade() else { return };
        session.set_terminal(None);
        if let Some(leader) = session.leader() {
            leader.send_signal(info(Signal::HUP));
            leader.send_signal(info(Signal::CONT));
        }
    }

    /// Lets a background task use the terminal only where job control allows it. Otherwise its process group is sent
    /// `signal`, and `EAGAIN` makes the call start again after that.
    pub(super) fn check_background(&self, task: &Task, signal: Signal) -> Result<()> {
        if !self.controls(task) {
            return Ok(());
        }
        let own = task.thread_group().process_group();
        if self.foreground_pid().is_none_or(|foreground| Arc::ptr_eq(&foreground, own.pid())) {
            return Ok(());
        }
        let is_ignored = task.thread_group().actions().get(signal).handler == abi::signal::SIG_IGN;
        if is_ignored || task.blocked().contains(signal) {
            return if signal == Signal::TTIN { Err(Errno::EIO) } else { Ok(()) };
        }
        if own.is_orphaned(None) {
            return Err(Errno::EIO);
        }
        own.signal(info(signal));
        Err(Errno::EAGAIN)
    }

    /// Makes it the controlling terminal of `task`'s session (`TIOCSCTTY`); `steals` takes it from another one.
    pub(super) fn set_controlling(&self, task: &Task, steals: bool) -> Result<()> {
        let group = task.thread_group();
        let session = group.session();
        let is_own = self.session().is_some_and(|own| Arc::ptr_eq(&own, &session));
        if group.is_session_leader() && is_own {
            return Ok(());
        }
        if !group.is_session_leader() || session.terminal().is_some() {
            return Err(Errno::EPERM);
        }
        if let Some(other) = self.session() {
            if !steals || !task.creds().capable(Capability::SysAdmin) {
                return Err(Errno::EPERM);
            }
            other.set_terminal(None);
        }
        let this = self.this.upgrade().ok_or(Errno::EIO)?;
        self.associate(&session, &group.process_group());
        session.set_terminal(Some(this));
        Ok(())
    }

    /// What opening it without `O_NOCTTY` does.
    pub(super) fn adopt_on_open(&self, task: &Task) {
        let group = task.thread_group();
        if group.is_session_leader() && group.session().terminal().is_none() && self.session().is_none() {
            // Somebody else may be faster, and then has it.
            let _ = self.set_controlling(task, false);
        }
    }

    /// Gives up the controlling terminal (`TIOCNOTTY`). Only a session's leader can, for the whole session; Linux lets
    /// other processes do so for themselves, here that changes nothing.
    pub(super) fn give_up(&self, task: &Task) -> Result<()> {
        if !self.controls(task) {
            return Err(Errno::ENOTTY);
        }
        if task.thread_group().is_session_leader() {
            let foreground = self.foreground_group();
            self.control.lock().foreground = None;
            if let Some(group) = foreground {
                group.signal(info(Signal::HUP));
                group.signal(info(Signal::CONT));
            }
            *self.control.lock() = Control::default();
            task.thread_group().session().set_terminal(None);
        }
        Ok(())
    }

    /// The foreground group's number as `task` sees it (`TIOCGPGRP`).
    pub(super) fn foreground_number(&self, task: &Task) -> Tid {
        self.foreground_pid().and_then(|pid| pid.number_in(&task.pid_ns())).unwrap_or(0)
    }

    /// Puts the group numbered `number` in the foreground (`TIOCSPGRP`).
    pub(super) fn set_foreground(&self, task: &Task, number: Tid) -> Result<()> {
        match self.check_background(task, Signal::TTOU) {
            Err(Errno::EIO) => return Err(Errno::ENOTTY),
            other => other?,
        }
        let session = task.thread_group().session();
        if !self.controls(task) || !self.session().is_some_and(|own| Arc::ptr_eq(&own, &session)) {
            return Err(Errno::ENOTTY);
        }
        if number < 0 {
            return Err(Errno::EINVAL);
        }
        let group = task.pid_ns().process_group(number).ok_or(Errno::ESRCH)?;
        if !Arc::ptr_eq(group.session(), &session) {
            return Err(Errno::EPERM);
        }
        self.control.lock().foreground = Some(group.pid().clone());
        Ok(())
    }
}

impl ControllingTerminal for Terminal {
    fn device(&self) -> DeviceId {
        self.device_id()
    }

    fn name(&self) -> String {
        self.device_name().to_owned()
    }

    fn set_window_size(&self, rows: u16, columns: u16) {
        let window = abi::termios::WinSize { ws_row: rows, ws_col: columns, ..Default::default() };
        self.set_window(window);
    }

    fn foreground(&self) -> Option<Arc<ProcessGroup>> {
        self.foreground_group()
    }

    fn associate(&self, session: &Arc<Session>, foreground: &Arc<ProcessGroup>) {
        *self.control.lock() =
            Control { session: Arc::downgrade(session), foreground: Some(foreground.pid().clone()) };
    }

    fn disassociate(&self, session: &Arc<Session>) {
        if !self.session().is_some_and(|own| Arc::ptr_eq(&own, session)) {
            return;
        }
        let foreground = self.foreground_group();
        *self.control.lock() = Control::default();
        if let Some(group) = foreground {
            group.signal(info(Signal::HUP));
            group.signal(info(Signal::CONT));
        }
    }

    fn hang_up(&self) {
        self.hang_up_all();
    }
}
