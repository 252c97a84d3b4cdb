//! Taking signals: what happens to a thread before it goes back to guest code (Linux's `get_signal`,
//! `arch_do_signal_or_restart`).

use abi::resource::Resource;
use abi::signal::{SIG_IGN, SaFlags};
use abi::{Errno, SigInfo, SigSet, Signal, UserAddr};

use super::{DefaultAction, GroupStop, SigAction, default_action};
use crate::CurrentTask;
use crate::error::Restart;
use crate::task::{ExitStatus, Work};

/// restart_syscall(2).
const RESTART_SYSCALL: u64 = 219;
/// The length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// What comes next for the thread.
enum Next {
    /// Nothing is pending.
    Guest,
    /// A handler is to run.
    Handler(Signal, SigInfo, SigAction),
    /// The thread ends.
    Exit(ExitStatus),
}

impl Restart {
    /// The value that stands in `rax` until it is decided, as Linux numbers it.
    #[must_use]
    pub fn code(self) -> u64 {
        let number: i64 = match self {
            Self::Sys => 512,
            Self::NoIntr => 513,
            Self::NoHand => 514,
            Self::Block => 516,
        };
        (-number) as u64
    }

    fn from_code(rax: u64) -> Option<Self> {
        [Self::Sys, Self::NoIntr, Self::NoHand, Self::Block].into_iter().find(|at| at.code() == rax)
    }
}

impl CurrentTask {
    /// Takes all signals that can be taken; the registers then say where guest code goes on. The thread may have begun
    /// to exit afterwards.
    pub(crate) fn take_signals(&mut self) {
        loop {
            match self.next_signal() {
                Next::Handler(signal, info, action) => self.run_handler(signal, info, &action),
                Next::Exit(status) => {
                    self.task().begin_exit(status);
                    return;
                }
                Next::Guest => break,
            }
        }
        self.restart_without_handler();
        let mut own = self.signals.lock();
        if let Some(mask) = own.saved_mask.take() {
            drop(own);
            self.set_blocked(mask);
        }
    }

    fn next_signal(&mut self) -> Next {
        loop {
            self.wake().clear(Work::SIGNAL);
            if let Some(status) = self.exit_status() {
                return Next::Exit(status);
            }
            let group = self.thread_group().clone();
            let mut state = group.signal.lock();
            if let Some(status) = state.group_exit {
                return Next::Exit(status);
            }
            let mut own = self.signals.lock();
            if own.must_stop {
                drop(own);
                drop(state);
                self.stop_for_group();
                continue;
            }
            let deliverable = SigSet(!own.blocked.0);
            let taken = own.pending.take(deliverable).or_else(|| state.shared.take(deliverable));
            // Whatever it is: a tracer may make a stop signal of it.
            own.may_stop = taken.is_some();
            drop(own);
            drop(state);
            let Some(mut info) = taken else { return Next::Guest };
            let Some(mut signal) = info.signal() else { continue };
            if self.is_traced() && signal != Signal::KILL {
                let Some(passed) = self.trace_signal(info) else { continue };
                info = passed;
                let Some(new) = info.signal() else { continue };
                signal = new;
                if self.blocked().contains(signal) {
                    // As Linux: an exchanged signal that is blocked waits its turn.
                    self.send_signal(info);
                    continue;
                }
            }
            if let Some(next) = self.act_on(signal, info) {
                return next;
            }
        }
    }

    /// What a signal that has been taken does; `None` where it was dealt with here.
    fn act_on(&mut self, signal: Signal, info: SigInfo) -> Option<Next> {
        let group = self.thread_group().clone();
        let actions = group.actions();
        let action = actions.take(signal);
        if action.handler == SIG_IGN {
            return None;
        }
        if action.is_handler() {
            return Some(Next::Handler(signal, info, action));
        }
        let default = default_action(signal);
        if matches!(default, DefaultAction::Ignore | DefaultAction::Continue) {
            return None;
        }
        let is_spared = group.signal.lock().is_unkillable && !SigSet::UNBLOCKABLE.contains(signal);
        if is_spared {
            return None;
        }
        if default == DefaultAction::Stop {
            self.begin_group_stop(signal);
            return None;
        }
        let core = default == DefaultAction::Core && self.limit(Resource::Core) != 0;
        if default == DefaultAction::Core {
            self.report_crash(&info);
        }
        let status = ExitStatus::Killed { signal, core };
        group.kill(status);
        let decided = group.signal.lock().group_exit.unwrap_or(status);
        Some(Next::Exit(decided))
    }

    fn run_handler(&mut self, signal: Signal, info: SigInfo, action: &SigAction) {
        self.restart_with_handler(action);
        let mask = {
            let mut own = self.signals.lock();
            let blocked = own.blocked;
            own.saved_mask.take().unwrap_or(blocked)
        };
        if self.push_signal_frame(signal.number(), &info, action, mask).is_err() {
            if signal == Signal::SEGV {
                self.thread_group().actions().set(Signal::SEGV, SigAction::default());
            }
            self.set_blocked(mask);
            self.force_segv(UserAddr::NULL);
            return;
        }
        let mut blocked = SigSet(self.blocked().0 | action.mask.0);
        if !action.flags.contains(SaFlags::NODEFER) {
            blocked = blocked.with(signal);
        }
        self.set_blocked(blocked);
        self.trace_handler_entry();
    }

    /// The restart that the registers ask for, if a system call was interrupted.
    fn pending_restart(&self) -> Option<Restart> {
        if self.regs.orig_rax as i64 >= 0 { Restart::from_code(self.regs.rax) } else { None }
    }

    fn restart_with_handler(&mut self, action: &SigAction) {
        let Some(restart) = self.pending_restart() else { return };
        let restarts = match restart {
            Restart::NoIntr => true,
            Restart::Sys => action.flags.contains(SaFlags::RESTART),
            Restart::NoHand | Restart::Block => false,
        };
        if restarts {
            self.rewind_call(self.regs.orig_rax);
        } else {
            self.regs.rax = Errno::EINTR.to_return();
        }
    }

    fn restart_without_handler(&mut self) {
        match self.pending_restart() {
            None => {}
            Some(Restart::Block) => self.rewind_call(RESTART_SYSCALL),
            Some(_) => self.rewind_call(self.regs.orig_rax),
        }
    }

    /// Makes the guest execute its `syscall` instruction again, as call `number`.
    fn rewind_call(&mut self, number: u64) {
        self.regs.rax = number;
        self.regs.rip = self.regs.rip.wrapping_sub(SYSCALL_LEN);
    }

    /// The call returns `value` as it is, though it may look like a restart.
    pub(crate) fn give_up_restart(&mut self, value: u64) {
        if Restart::from_code(value).is_some() {
            self.regs.orig_rax = u64::MAX;
        }
    }

    /// Whether the registers hold a restart code that has to be resolved before guest code runs.
    pub(crate) fn must_resolve_restart(&self) -> bool {
        self.pending_restart().is_some()
    }

    /// Whether a stop of the whole process is under way or done.
    pub(crate) fn is_group_stopping(&self) -> bool {
        self.thread_group().signal.lock().stop != GroupStop::Running
    }
}
