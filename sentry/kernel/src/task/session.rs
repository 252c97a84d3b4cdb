//! Sessions and process groups: job control's units (`man 2 setsid`, `man 2 setpgid`).
//!
//! Locks: a group's member list is a leaf below [`super::TaskSet::tree`], under which membership changes.

use std::any::Any;
use std::sync::{Arc, Weak};

use abi::{DeviceId, Errno, Result, SigInfo, Signal};
use parking_lot::Mutex;

use super::{Pid, PidNamespace, Task, ThreadGroup, Tid};
use crate::signal::Sender;

/// The terminal that controls a session. Implemented by the terminals' file system.
pub trait ControllingTerminal: Send + Sync + Any {
    /// Its device number (`tty_nr` in `/proc/[pid]/stat`).
    fn device(&self) -> DeviceId;

    /// Its name below `/dev`: `pts/0`.
    fn name(&self) -> String;

    /// The window has another size now.
    fn set_window_size(&self, rows: u16, columns: u16);

    /// The process group in the foreground.
    fn foreground(&self) -> Option<Arc<ProcessGroup>>;

    /// Becomes the controlling terminal of a new session with this group in the foreground.
    fn associate(&self, session: &Arc<Session>, foreground: &Arc<ProcessGroup>);

    /// The session's leader exits: hang up the foreground group and give the terminal back.
    fn disassociate(&self, session: &Arc<Session>);

    /// Cuts it off from everyone who has it open (vhangup(2)).
    fn hang_up(&self);
}

/// A session: process groups that share a controlling terminal.
pub struct Session {
    pid: Arc<Pid>,
    leader: Weak<ThreadGroup>,
    terminal: Mutex<Option<Arc<dyn ControllingTerminal>>>,
}

impl Session {
    pub(super) fn new(pid: &Arc<Pid>, leader: &Weak<ThreadGroup>) -> Arc<Self> {
        let session = Self { pid: pid.clone(), leader: leader.clone(), terminal: Mutex::default() };
        let session = Arc::new(session);
        pid.set_session(Arc::downgrade(&session));
        session
    }

    /// Its identifier, once its leader's.
    #[must_use]
    pub fn pid(&self) -> &Arc<Pid> {
        &self.pid
    }

    /// Its number in `ns`, 0 where it is not visible.
    #[must_use]
    pub fn number_in(&self, ns: &Arc<PidNamespace>) -> Tid {
        self.pid.number_in(ns).unwrap_or(0)
    }

    /// The process that made it, while that exists.
    #[must_use]
    pub fn leader(&self) -> Option<Arc<ThreadGroup>> {
        self.leader.upgrade()
    }

    /// Its controlling terminal.
    #[must_use]
    pub fn terminal(&self) -> Option<Arc<dyn ControllingTerminal>> {
        self.terminal.lock().clone()
    }

    /// Sets or takes away the controlling terminal; returns the former one.
    pub fn set_terminal(
        &self,
        terminal: Option<Arc<dyn ControllingTerminal>>,
    ) -> Option<Arc<dyn ControllingTerminal>> {
        std::mem::replace(&mut self.terminal.lock(), terminal)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pid.release_if_unused();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.pid.number())
    }
}

/// A process group: what a terminal and kill(2) with a negative number address.
pub struct ProcessGroup {
    pid: Arc<Pid>,
    session: Arc<Session>,
    members: Mutex<Vec<Weak<ThreadGroup>>>,
}

impl ProcessGroup {
    pub(super) fn new(pid: &Arc<Pid>, session: &Arc<Session>) -> Arc<Self> {
        let group = Self { pid: pid.clone(), session: session.clone(), members: Mutex::default() };
        let group = Arc::new(group);
        pid.set_process_group(Arc::downgrade(&group));
        group
    }

    /// Its identifier, once its leader's.
    #[must_use]
    pub fn pid(&self) -> &Arc<Pid> {
        &self.pid
    }

    /// Its number in `ns`, 0 where it is not visible.
    #[must_use]
    pub fn number_in(&self, ns: &Arc<PidNamespace>) -> Tid {
        self.pid.number_in(ns).unwrap_or(0)
    }

    /// Its session.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Its processes.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<ThreadGroup>> {
        self.members.lock().iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn add(&self, member: &Weak<ThreadGroup>) {
        self.members.lock().push(member.clone());
    }

    pub(super) fn remove(&self, member: &ThreadGroup) {
        self.members.lock().retain(|at| !std::ptr::eq(at.as_ptr(), member));
    }

    /// Sends a signal of the kernel's making (a terminal's) to each member.
    pub fn signal(&self, info: SigInfo) {
        for member in self.members() {
            member.send_signal(info);
        }
    }

    /// Sends a terminal's signal to each member, and to children that members are just making. The tree must not be
    /// locked.
    pub fn signal_with_newborn(&self, signal: Signal, sender: Sender) {
        let Some(kernel) = self.members().iter().find_map(|member| member.kernel()) else { return };
        let members = {
            let tree = kernel.tasks.tree();
            let members = self.members();
            for member in &members {
                member.note_for_children(&tree, signal);
            }
            members
        };
        for member in members {
            member.send_terminal_signal(signal, sender);
        }
    }

    /// Whether no member has a parent in another group of the same session (POSIX: orphaned). `without` counts as
    /// gone already.
    #[must_use]
    pub fn is_orphaned(self: &Arc<Self>, without: Option<&ThreadGroup>) -> bool {
        !self.members().iter().any(|member| {
            if without.is_some_and(|gone| std::ptr::eq(gone, &raw const **member)) || member.is_zombie() {
                return false;
            }
            let Some(parent) = member.parent() else { return false };
            let group = parent.process_group();
            !Arc::ptr_eq(&group, self) && Arc::ptr_eq(group.session(), &self.session)
        })
    }

    /// Whether a member is stopped by job control.
    #[must_use]
    pub fn has_stopped_members(&self) -> bool {
        self.members().iter().any(|member| member.is_stopped())
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.pid.release_if_unused();
    }
}

impl std::fmt::Debug for ProcessGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProcessGroup({})", self.pid.number())
    }
}

impl ThreadGroup {
    /// setsid(2): makes a session and a process group with this process alone in them.
    ///
    /// # Errors
    /// `EPERM` where it leads a process group already.
    pub fn new_session(&self, task: &Task) -> Result<()> {
        let tree = task.kernel().tasks.tree();
        let Some(leader) = self.leader() else { return Err(Errno::EPERM) };
        let pid = leader.pid();
        if self.is_session_leader() || pid.process_group().is_some_and(|group| !group.members().is_empty()) {
            return Err(Errno::EPERM);
        }
        let session = Session::new(&pid, &self.weak());
        self.set_process_group(&tree, ProcessGroup::new(&pid, &session));
        Ok(())
    }

    /// setpgid(2) by `task`: moves this process to the group numbered `pgid`, its own for 0.
    ///
    /// # Errors
    /// `ESRCH` where it is neither the caller nor its child, `EACCES` once it has executed a program, `EPERM` across
    /// sessions.
    pub fn join_process_group(&self, task: &Task, pgid: Tid) -> Result<()> {
        let tree = task.kernel().tasks.tree();
        let caller = task.thread_group();
        let leader = self.leader().ok_or(Errno::ESRCH)?;
        let own_session = caller.session();
        if !std::ptr::eq(self, &raw const **caller) {
            let is_child = self.parent().is_some_and(|parent| Arc::ptr_eq(&parent, caller));
            if !is_child {
                return Err(Errno::ESRCH);
            }
            if !Arc::ptr_eq(&self.session(), &own_session) {
                return Err(Errno::EPERM);
            }
            if self.has_executed() {
                return Err(Errno::EACCES);
            }
        }
        if self.is_session_leader() {
            return Err(Errno::EPERM);
        }
        let pid = leader.pid();
        let ns = task.pid_ns();
        let wants_own = pgid == 0 || pid.number_in(&ns) == Some(pgid);
        let group = match if wants_own { pid.process_group() } else { ns.process_group(pgid) } {
            Some(group) if Arc::ptr_eq(group.session(), &own_session) => group,
            None if wants_own => ProcessGroup::new(&pid, &self.session()),
            _ => return Err(Errno::EPERM),
        };
        if !Arc::ptr_eq(&group, &self.process_group()) {
            self.set_process_group(&tree, group);
        }
        Ok(())
    }
}
