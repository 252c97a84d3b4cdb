//! Guest seccomp: which filters a task has, and what they decide (`man 2 seccomp`).
//!
//! A task's filters are a list that only grows; threads and children share it by reference. Lock: a leaf.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use abi::filter::SockFilter;
use abi::seccomp::{
    AUDIT_ARCH_X86_64, FilterFlags, SECCOMP_MODE_FILTER, SECCOMP_MODE_STRICT, SYS_SECCOMP, SeccompData, ret,
};
use abi::{Errno, Result, SigInfo, Signal};
use bpf::{Dialect, Program};
use parking_lot::RwLock;

use super::program::always_says;
use super::seccomp_notify::Listener;
use crate::syscalls::table::TABLE_LEN;
use crate::task::{ExitStatus, Tid};
use crate::{CurrentTask, Task};

/// All of a task's filters together may have so many instructions, each filter counting for 4 more.
const MAX_TOTAL: usize = 32768;
const FILTER_PENALTY: usize = 4;
/// The largest error number that a filter can return.
const MAX_ERRNO: u32 = 4095;
/// The calls of strict mode: read, write, exit, rt_sigreturn.
const STRICT_CALLS: [u64; 4] = [0, 1, 60, 15];

/// One installed filter.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Program,
    logs: bool,
    pub(super) listener: Option<Arc<Listener>>,
}

impl Filter {
    /// Its instructions.
    pub(crate) fn source(&self) -> &[SockFilter] {
        self.program.source()
    }

    /// `SECCOMP_FILTER_FLAG_LOG`.
    pub(crate) fn logs(&self) -> bool {
        self.logs
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.orphan();
        }
    }
}

type Filters = Arc<Vec<Arc<Filter>>>;

/// The calls that a list of filters allows whatever the arguments, a bit each: most calls need no filter to be run.
#[derive(Clone, Debug)]
struct Allowed(Arc<[u64; TABLE_LEN / 64]>);

impl Default for Allowed {
    fn default() -> Self {
        Self(Arc::new([u64::MAX; TABLE_LEN / 64]))
    }
}

impl Allowed {
    /// Without what one more filter looks at.
    fn narrowed(&self, filter: &Program) -> Self {
        let mut bits = *self.0;
        for nr in (0..TABLE_LEN).filter(|nr| self.has(*nr as u64)) {
            if !always_says(filter, ret::ALLOW, nr as i32, AUDIT_ARCH_X86_64) {
                bits[nr / 64] &= !(1 << (nr % 64));
            }
        }
        Self(Arc::new(bits))
    }

    fn has(&self, nr: u64) -> bool {
        self.0.get((nr / 64) as usize).is_some_and(|word| word >> (nr % 64) & 1 == 1)
    }
}

/// The filters of a task, oldest first, and what they all allow.
#[derive(Clone, Debug, Default)]
struct Installed {
    filters: Filters,
    allowed: Allowed,
}

/// The seccomp state of a task.
#[derive(Debug, Default)]
pub(crate) struct Seccomp {
    mode: AtomicU8,
    installed: RwLock<Installed>,
}

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Verdict {
    Allow,
    Log,
    Errno(u32),
    Trap(u32),
    Trace(u32),
    Notify(Arc<Listener>),
    KillThread,
    KillProcess,
}

impl Seccomp {
    /// 0, [`SECCOMP_MODE_STRICT`] or [`SECCOMP_MODE_FILTER`].
    pub(crate) fn mode(&self) -> u64 {
        self.mode.load(Ordering::Relaxed).into()
    }

    fn set_mode(&self, mode: u64) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    pub(crate) fn filters(&self) -> Filters {
        self.installed.read().filters.clone()
    }

    /// The state of a child.
    pub(crate) fn copy_from(&self, parent: &Self) {
        let inherited = parent.installed.read().clone();
        *self.installed.write() = inherited;
        self.set_mode(parent.mode());
    }

    fn judge(&self, data: &SeccompData) -> Verdict {
        let filters = self.filters();
        let (mut verdict, mut by) = (ret::ALLOW, None);
        for filter in filters.iter().rev() {
            let result = filter.program.run(data).unwrap_or(ret::KILL_THREAD);
            // The most severe action wins; of equal ones the filter installed last.
            if ((result & ret::ACTION_FULL) as i32) < (verdict & ret::ACTION_FULL) as i32 {
                (verdict, by) = (result, Some(filter));
            }
        }
        let value = verdict & ret::DATA;
        match verdict & ret::ACTION_FULL {
            ret::ALLOW => Verdict::Allow,
            ret::LOG => Verdict::Log,
            ret::ERRNO => Verdict::Errno(value.min(MAX_ERRNO)),
            ret::TRAP => Verdict::Trap(value),
            ret::TRACE => Verdict::Trace(value),
            ret::USER_NOTIF => match by.and_then(|filter| filter.listener.clone()) {
                Some(listener) => Verdict::Notify(listener),
                None => Verdict::Errno(Errno::ENOSYS.raw().unsigned_abs()),
            },
            ret::KILL_THREAD => Verdict::KillThread,
            _ => Verdict::KillProcess,
        }
    }
}

impl Task {
    /// Enters strict mode.
    ///
    /// # Errors
    /// `EINVAL` where filters are installed.
    pub(crate) fn enter_strict_seccomp(&self) -> Result<()> {
        match self.seccomp.mode() {
            0 | SECCOMP_MODE_STRICT => {
                self.seccomp.set_mode(SECCOMP_MODE_STRICT);
                self.note_new_answers();
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Installs a filter, on all threads with `TSYNC`, for which the caller holds the process's `ExecGuard`. Returns 0,
    /// or the thread that stands in the way.
    ///
    /// # Errors
    /// `EINVAL` for a bad program or in strict mode, `ENOMEM` where there are too many, `ESRCH`, `EBUSY`.
    pub(crate) fn install_filter(
        &self,
        source: Vec<SockFilter>,
        flags: FilterFlags,
        listener: Option<Arc<Listener>>,
    ) -> Result<Tid> {
        let program = Program::new(source, Dialect::Seccomp).map_err(|_| Errno::EINVAL)?;
        if self.seccomp.mode() == SECCOMP_MODE_STRICT {
            return Err(Errno::EINVAL);
        }
        // The signal lock keeps threads from coming while they are synchronized.
        let state = self.thread_group().signal.lock();
        let own = self.seccomp.filters();
        let total: usize = own.iter().map(|filter| filter.source().len() + FILTER_PENALTY).sum();
        if total + program.source().len() > MAX_TOTAL {
            return Err(Errno::ENOMEM);
        }
        if listener.is_some() && own.iter().any(|filter| filter.listener.is_some()) {
            return Err(Errno::EBUSY);
        }
        let others: Vec<_> =
            self.thread_group().tasks().into_iter().filter(|task| task.id() != self.id()).collect();
        let syncs = flags.contains(FilterFlags::TSYNC);
        let is_behind = |task: &&Arc<Task>| {
            let theirs = task.seccomp.filters();
            let is_prefix =
                theirs.len() <= own.len() && theirs.iter().zip(own.iter()).all(|(a, b)| Arc::ptr_eq(a, b));
            !task.has_exited() && (task.seccomp.mode() == SECCOMP_MODE_STRICT || !is_prefix)
        };
        if let (true, Some(other)) = (syncs, others.iter().find(is_behind)) {
            return if flags.contains(FilterFlags::TSYNC_ESRCH) {
                Err(Errno::ESRCH)
            } else {
                Ok(other.tid())
            };
        }
        let logs = flags.contains(FilterFlags::LOG);
        let allowed = self.seccomp.installed.read().allowed.narrowed(&program);
        let mut filters = (*own).clone();
        filters.push(Arc::new(Filter { program, logs, listener }));
        let installed = Installed { filters: Arc::new(filters), allowed };
        let no_new_privs = self.details.lock().no_new_privs;
        let install = |task: &Task| {
            *task.seccomp.installed.write() = installed.clone();
            task.seccomp.set_mode(SECCOMP_MODE_FILTER);
            task.note_new_answers();
        };
        install(self);
        if syncs {
            for other in &others {
                install(other);
                other.details.lock().no_new_privs |= no_new_privs;
            }
            drop(state);
            for other in &others {
                other.stop_posting();
            }
        }
        Ok(0)
    }

    /// Filter `index`, counted from the oldest.
    pub(crate) fn filter(&self, index: usize) -> Option<Arc<Filter>> {
        self.seccomp.filters().get(index).cloned()
    }

    /// Gives the filters back at the end of the task; what is shown of it stays.
    pub(crate) fn release_filters(&self) {
        let released = std::mem::take(&mut self.seccomp.installed.write().filters);
        drop(released);
    }

    /// How many filters it has (`Seccomp_filters` in `/proc/[pid]/status`).
    #[must_use]
    pub fn seccomp_filter_count(&self) -> usize {
        self.seccomp.filters().len()
    }

    /// Whether no filter has anything to say of this call, whatever its arguments.
    pub(crate) fn is_always_allowed(&self, number: u64) -> bool {
        match self.seccomp.mode() {
            0 => true,
            SECCOMP_MODE_STRICT => false,
            _ => self.seccomp.installed.read().allowed.has(number),
        }
    }

    /// Its seccomp mode: 0 none, 1 strict, 2 filter (`Seccomp` in `/proc/[pid]/status`).
    #[must_use]
    pub fn seccomp_mode(&self) -> u64 {
        self.seccomp.mode()
    }
}

impl CurrentTask {
    /// Asks the filters about the call in the registers. Says whether it is to be carried out; where it is not, `rax`
    /// holds the result or the task has begun to end.
    pub(crate) fn check_call_filters(&mut self) -> bool {
        match self.seccomp.mode() {
            0 => true,
            SECCOMP_MODE_STRICT => {
                let is_allowed = STRICT_CALLS.contains(&self.regs.orig_rax);
                if !is_allowed {
                    self.task().begin_exit(ExitStatus::Killed { signal: Signal::KILL, core: false });
                }
                is_allowed
            }
            _ => self.seccomp.installed.read().allowed.has(self.regs.orig_rax) || self.obey_filters(false),
        }
    }

    fn seccomp_data(&self) -> SeccompData {
        SeccompData {
            nr: self.regs.orig_rax as i32,
            arch: AUDIT_ARCH_X86_64,
            instruction_pointer: self.regs.rip,
            args: self.regs.syscall_args(),
        }
    }

    /// `is_recheck` tells that a tracer has had its say.
    fn obey_filters(&mut self, is_recheck: bool) -> bool {
        let data = self.seccomp_data();
        let verdict = self.seccomp.judge(&data);
        match verdict {
            Verdict::Allow => return true,
            Verdict::Log => {
                self.log_verdict(&data, "logged");
                return true;
            }
            Verdict::Errno(errno) => self.regs.rax = i64::from(errno).wrapping_neg() as u64,
            Verdict::Trap(value) => self.send_sigsys(&data, value),
            Verdict::Trace(_) if is_recheck => return true,
            Verdict::Trace(value) => return self.ask_tracer(value),
            Verdict::Notify(listener) => return self.ask_listener(&listener, data),
            Verdict::KillThread => {
                self.log_verdict(&data, "thread killed");
                let status = ExitStatus::Killed { signal: Signal::SYS, core: false };
                if self.thread_group().thread_count() == 1 {
                    self.thread_group().kill(status);
                }
                self.task().begin_exit(status);
            }
            Verdict::KillProcess => {
                self.log_verdict(&data, "process killed");
                let status = ExitStatus::Killed { signal: Signal::SYS, core: false };
                self.thread_group().kill(status);
                self.task().begin_exit(status);
            }
        }
        false
    }

    fn log_verdict(&self, data: &SeccompData, what: &str) {
        let filters = self.seccomp.filters();
        if what != "logged" || filters.iter().any(|filter| filter.logs) {
            let call = crate::syscalls::table::row(data.nr as u64).map_or("unknown", |row| row.name);
            self.kernel().log.line(&format!(
                "seccomp: {:?}: {what} for call {} ({call})",
                self.task(),
                data.nr
            ));
        }
    }

    fn send_sigsys(&mut self, data: &SeccompData, errno: u32) {
        // As before the call: a handler finds the number in rax.
        self.regs.rax = self.regs.orig_rax;
        let mut info = SigInfo::from_fault(Signal::SYS, SYS_SECCOMP, data.instruction_pointer);
        info.errno = errno as i32;
        info.fields[8..12].copy_from_slice(&data.nr.to_ne_bytes());
        info.fields[12..16].copy_from_slice(&data.arch.to_ne_bytes());
        self.force_signal(info);
    }

    fn ask_tracer(&mut self, value: u32) -> bool {
        if !self.trace_seccomp(value) {
            self.regs.rax = Errno::ENOSYS.to_return();
            return false;
        }
        if self.is_killed() {
            return false;
        }
        // The tracer may have changed the call, or asked for it to be skipped.
        if (self.regs.orig_rax as i64) < 0 {
            return false;
        }
        self.obey_filters(true)
    }
}
