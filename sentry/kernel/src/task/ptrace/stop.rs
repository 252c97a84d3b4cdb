//! Stopping for a tracer.

use abi::ptrace::{EVENTMSG_SYSCALL_ENTRY, EVENTMSG_SYSCALL_EXIT, TraceOptions};
use abi::signal::cld;
use abi::{SigInfo, Signal};
use platform::XSTATE_MAX;
use waiter::Events;

use super::{Resume, StopKind, Stopped};
use crate::signal::{GroupStop, Sender};
use crate::task::{CurrentTask, ExitStatus};

/// The bit that tells system-call stops from others with `TRACESYSGOOD`.
pub(super) const CALL_BIT: i32 = 0x80;

impl CurrentTask {
    /// Stops until the tracer says how to go on; returns the signal to go on with. Who is told to end does not stop.
    pub(super) fn stop_for_tracer(
        &mut self,
        kind: StopKind,
        code: i32,
        info: Option<SigInfo>,
    ) -> Option<Signal> {
        if self.is_dying_at(kind) {
            return None;
        }
        if self.is_traced() {
            // The tracer may be a new one, and is to see the program's own code.
            self.mm().restore_call_sites();
        }
        let (size, _) = self.kernel().platform.xstate_layout();
        let mut xstate = vec![0; size.min(XSTATE_MAX)];
        self.context.save_xstate(&mut xstate);
        let stopped =
            Stopped { kind, code, regs: self.regs, xstate, xstate_changed: false, info, was_reported: false };
        {
            let mut trace = self.trace.lock();
            if !self.is_traced() {
                return info.and_then(|info| info.signal());
            }
            trace.resume = None;
            trace.stopped = Some(Box::new(stopped));
            self.set_trace_stopped(true);
        }
        self.tell_tracer(code & 0x7f);
        let (how, signal) = self.await_tracer(kind);
        self.set_trace_stopped(false);
        let mut trace = self.trace.lock();
        let Some(stopped) = trace.stopped.take() else { return signal };
        trace.mode = Some(how);
        drop(trace);
        self.regs = stopped.regs;
        if stopped.xstate_changed {
            self.context.load_xstate(Some(&stopped.xstate));
        }
        self.is_stepped = how == Resume::Step;
        self.recheck_signals();
        signal
    }

    fn await_tracer(&self, kind: StopKind) -> (Resume, Option<Signal>) {
        let _still = self.stand_still();
        loop {
            if let Some((how, signal)) = self.trace.lock().resume {
                let still_stopped = how == Resume::Listen && self.is_group_stopping();
                if !still_stopped {
                    return (how, signal);
                }
            }
            if self.is_dying_at(kind) || !self.is_traced() {
                return (Resume::Continue, None);
            }
            self.park();
        }
    }

    /// Whether what ends the task ends this stop, too. That of its end it makes unless it was killed.
    fn is_dying_at(&self, kind: StopKind) -> bool {
        let is_exit_stop = kind == StopKind::Event(abi::ptrace::event::EXIT);
        if is_exit_stop { self.is_killed_outright() } else { self.is_killed() }
    }

    fn is_killed_outright(&self) -> bool {
        let killed = ExitStatus::Killed { signal: Signal::KILL, core: false };
        self.thread_group().signal.lock().group_exit == Some(killed)
    }

    /// Sends the tracer `SIGCHLD` and wakes its wait4(2).
    fn tell_tracer(&self, status: i32) {
        let Some(tracer) = self.tracer() else { return };
        let group = tracer.thread_group();
        let mut info = self.thread_group().child_signal(group, cld::TRAPPED, status);
        info.fields[..4].copy_from_slice(&self.tid_in(&tracer.pid_ns()).to_ne_bytes());
        // A standard signal of the kernel's never fails.
        let _ = group.queue_signal(None, Signal::CHLD, info, Sender::Kernel);
        group.child_events().notify(Events::IN);
    }

    /// A signal is about to be taken: the tracer may change or suppress it.
    pub(crate) fn trace_signal(&mut self, info: SigInfo) -> Option<SigInfo> {
        let chosen = self.stop_for_tracer(StopKind::Signal, info.signo, Some(info))?;
        let kept = self.trace.lock().last_info.take().unwrap_or(info);
        if kept.signo == chosen.number() {
            return Some(kept);
        }
        let (pid, uid) = match self.tracer() {
            Some(tracer) => (tracer.thread_group().tgid_in(&self.pid_ns()), tracer.creds().uid),
            None => (0, 0),
        };
        let uid = self.creds().user_ns.from_kernel_uid(uid);
        Some(SigInfo::from_user(chosen, abi::signal::SI_USER, pid, uid))
    }

    /// The whole process has stopped: the tracer is told, and may let this thread go on alone.
    pub(crate) fn trace_group_stop(&mut self) {
        let signal = match self.thread_group().signal.lock().stop {
            GroupStop::Stopping(signal) | GroupStop::Stopped(signal) => signal,
            GroupStop::Running => return,
        };
        let is_seized = self.trace.lock().is_seized();
        let code = if is_seized { signal.number() | abi::ptrace::event::STOP << 8 } else { signal.number() };
        let passed = self.stop_for_tracer(StopKind::Group, code, None);
        let listened = self.trace.lock().mode == Some(Resume::Listen);
        self.signals.lock().is_stopped = false;
        if listened && self.is_traced() {
            self.stop_for_event(abi::ptrace::event::STOP, 0);
        }
        if let Some(signal) = passed {
            self.send_signal(SigInfo::new(signal, abi::signal::SI_USER));
        }
    }

    /// What a tracer is shown at a stop that is no signal's: it comes from the tracee itself.
    fn own_trap(&self, code: i32) -> SigInfo {
        let creds = self.creds();
        SigInfo::from_user(Signal::TRAP, code, self.tid(), creds.user_ns.from_kernel_uid(creds.uid))
    }

    /// Stops with `PTRACE_EVENT_*`.
    pub(super) fn stop_for_event(&mut self, event: i32, message: u64) {
        self.trace.lock().message = message;
        let code = Signal::TRAP.number() | event << 8;
        let passed = self.stop_for_tracer(StopKind::Event(event), code, Some(self.own_trap(code)));
        if let (Some(signal), true) = (passed, self.is_traced()) {
            // A signal to go on with is sent here; that of the stop itself is none.
            if signal != Signal::TRAP {
                self.send_signal(SigInfo::new(signal, abi::signal::SI_USER));
            }
        }
    }

    /// Does what `PTRACE_INTERRUPT` asked for.
    pub(in crate::task) fn trace_stop_if_asked(&mut self) {
        let asked = std::mem::take(&mut self.trace.lock().must_interrupt);
        if asked && self.is_traced() {
            self.stop_for_event(abi::ptrace::event::STOP, 0);
        }
    }

    /// Whether system calls may concern the tracer.
    pub(in crate::task) fn traces_calls(&self) -> bool {
        self.is_traced()
    }

    fn call_code(&self) -> i32 {
        let good = self.trace.lock().options.contains(TraceOptions::TRACESYSGOOD);
        Signal::TRAP.number() | if good { CALL_BIT } else { 0 }
    }

    /// A call begins; says whether it is to be carried out.
    pub(in crate::task) fn trace_call_entry(&mut self) -> bool {
        let mode = self.trace.lock().mode;
        if !matches!(mode, Some(Resume::ToCall | Resume::EmulateCalls)) {
            return true;
        }
        self.stop_at_call(StopKind::CallEntry);
        mode == Some(Resume::ToCall) && self.regs.orig_rax as i64 >= 0 && !self.is_killed()
    }

    /// A call has ended.
    pub(in crate::task) fn trace_call_exit(&mut self) {
        let mode = self.trace.lock().mode;
        if mode == Some(Resume::ToCall) {
            self.stop_at_call(StopKind::CallExit);
        } else if self.is_stepped {
            // The step is over: the instruction was the call.
            self.force_signal(SigInfo::from_fault(Signal::TRAP, abi::signal::TRAP_TRACE, self.regs.rip));
        }
    }

    fn stop_at_call(&mut self, kind: StopKind) {
        let code = self.call_code();
        self.trace.lock().message =
            if kind == StopKind::CallEntry { EVENTMSG_SYSCALL_ENTRY } else { EVENTMSG_SYSCALL_EXIT };
        let passed = self.stop_for_tracer(kind, code, Some(self.own_trap(code)));
        if let (Some(signal), true) = (passed, self.is_traced()) {
            self.send_signal(SigInfo::new(signal, abi::signal::SI_KERNEL));
        }
    }

    /// A handler has been entered while single-stepping.
    pub(crate) fn trace_handler_entry(&mut self) {
        if self.is_stepped && self.is_traced() {
            let info = SigInfo::new(Signal::TRAP, Signal::TRAP.number());
            self.stop_for_tracer(StopKind::Signal, Signal::TRAP.number(), Some(info));
        }
    }
}
