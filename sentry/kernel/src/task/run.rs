//! The run loop: one sentry thread per guest thread, from its first instruction to its exit.
//!
//! Guest code runs until something needs the kernel ([`Event`]); the event is dealt with; whatever work has come up
//! (signals, stops, freezing) is done; guest code goes on. Straight-line code: a call that blocks sleeps right here.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use abi::{SigInfo, Signal};
use platform::{Event, Exception, Fault};

use super::cpu_time::Activity;
use super::{CurrentTask, ExitStatus, Task, Tid, Work, posted};
use crate::signal::TrapInfo;

/// `int 0x80` and `sysenter` are answered with ENOSYS.
const COMPAT_RESULT: u64 = abi::Errno::ENOSYS.to_return();

/// Traps after each instruction.
const FLAG_TF: u64 = 1 << 8;

/// The trap number of a general protection fault.
const TRAP_GENERAL_PROTECTION: u64 = 13;

thread_local! {
    /// The guest task and the call that this thread is at, for the report of a panic alone.
    static DOING: Cell<(Tid, &'static str)> = const { Cell::new((0, "no task")) };
    /// The guest task that this thread runs, for [`is_current_killed`] and [`with_current`] alone.
    static CURRENT: RefCell<Option<Arc<Task>>> = const { RefCell::new(None) };
}

/// Whether this thread runs a guest task that has been told to end: what it waits for on the host it need not wait
/// for any longer, and long work need not be finished. Waits inside the sentry are interrupted by the task's
/// [`Wake`](super::Wake) instead.
#[must_use]
pub fn is_current_killed() -> bool {
    CURRENT.with_borrow(|task| task.as_ref().is_some_and(|task| task.is_killed()))
}

/// What `look` makes of the guest task that this thread runs: for the few files whose readiness depends on who asks
/// (signalfd), and for the capability that a memory limit asks for when it is reached. Everything else is told by its arguments who calls.
pub(crate) fn with_current<R>(look: impl FnOnce(&Task) -> R) -> Option<R> {
    CURRENT.with_borrow(|task| task.as_deref().map(look))
}

/// Makes a panic in a sentry thread name the guest task and what it was doing. Once a process.
pub fn install_panic_report(log: impl Fn(&str) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |info| {
        let (tid, call) = DOING.get();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        log(&format!("sentry panic in thread {name} (guest task {tid}, {call}): {info}"));
    }));
}

impl CurrentTask {
    /// Runs the task until it has exited.
    pub(super) fn run(mut self: Box<Self>) {
        CURRENT.set(Some(Arc::clone(self.task())));
        self.clock().switch(Activity::Kernel);
        self.note_call("before its first call");
        while self.do_work() {
            if !self.wake().enter_guest() {
                continue;
            }
            self.open_posted();
            self.clock().switch(Activity::Guest);
            let event = self.run_guest();
            self.clock().switch(Activity::Kernel);
            self.take_told();
            self.wake().leave_guest();
            let waiting = self.take_posted(&event);
            self.handle(event);
            if let Some(file) = waiting {
                posted::push(&file);
            }
        }
        self.posted().stop();
        self.exit();
        CURRENT.set(None);
    }

    /// Runs guest code, one instruction only where a tracer wants that.
    fn run_guest(&mut self) -> Event {
        if !self.must_step() {
            return self.context.run(&mut self.regs);
        }
        self.note_watched();
        let had_trap_flag = self.regs.rflags & FLAG_TF != 0;
        self.regs.rflags |= FLAG_TF;
        let event = self.context.run(&mut self.regs);
        if !had_trap_flag {
            self.regs.rflags &= !FLAG_TF;
        }
        event
    }

    /// Names what the thread does next in a panic's report.
    pub(super) fn note_call(&self, name: &'static str) {
        DOING.set((self.tid(), name));
    }

    /// Does what must be done before guest code runs; says `false` where the task is to exit.
    fn do_work(&mut self) -> bool {
        loop {
            if self.exit_status().is_some() {
                return false;
            }
            let work = self.wake().work();
            if work.is_empty() && !self.must_resolve_restart() {
                return true;
            }
            if work.contains(Work::ANSWERS) {
                self.refresh_answers();
            }
            if work.contains(Work::MASK) {
                self.show_mask();
            }
            if work.contains(Work::CODE) {
                self.wait_for_code();
            }
            if Work::OWN.contains(work) && !self.must_resolve_restart() {
                continue;
            }
            if work.contains(Work::FREEZE) {
                self.stay_frozen();
            }
            if work.contains(Work::TRACE) {
                self.wake().clear(Work::TRACE);
                self.trace_stop_if_asked();
            }
            self.take_signals();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::RewrittenCall => self.do_system_call(),
            Event::Syscall => {
                self.note_trapped_call();
                self.do_system_call();
            }
            Event::Fault(fault) if self.takes_fault_for_call(&fault) => self.do_system_call(),
            Event::CompatSyscall => {
                self.regs.rax = COMPAT_RESULT;
                self.regs.orig_rax = u64::MAX;
            }
            Event::Fault(fault) => {
                self.regs.orig_rax = u64::MAX;
                self.handle_fault(fault);
            }
            Event::Exception(exception) => {
                self.regs.orig_rax = u64::MAX;
                self.handle_exception(exception);
            }
            Event::Interrupted => {
                self.regs.orig_rax = u64::MAX;
                self.leave_call_site();
                self.clock().count_interruption();
            }
            Event::Died(reason) => {
                let text = format!("task {:?}: its address space is gone: {reason}", self.task());
                self.kernel().log.line(&text);
                self.thread_group().kill(ExitStatus::Killed { signal: Signal::KILL, core: false });
            }
        }
    }

    fn handle_fault(&mut self, fault: Fault) {
        if fault.execute && self.emulate_vsyscall(fault.addr) {
            return;
        }
        self.trap = TrapInfo { trap: fault.trap, error: fault.error, addr: fault.addr };
        if fault.trap == TRAP_GENERAL_PROTECTION {
            self.force_signal(SigInfo::from_fault(Signal::SEGV, abi::signal::SI_KERNEL, 0));
            return;
        }
        if let Err(info) = self.mm().resolve(&fault) {
            self.force_signal(*info);
        }
    }

    fn handle_exception(&mut self, exception: Exception) {
        self.trap = TrapInfo { trap: exception.trap, error: exception.error, addr: self.trap.addr };
        let Some(signal) = Signal::new(exception.signal) else { return };
        if signal == Signal::TRAP && self.trace_trap(exception) {
            return;
        }
        let info = SigInfo::from_fault(signal, exception.code, exception.addr);
        self.force_signal(info);
    }
}
