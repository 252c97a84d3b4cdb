//! One system call: from the registers to the table row's handler and back.

use abi::Errno;

use super::CurrentTask;
use crate::error::{SysError, SysResult};
use crate::syscalls::table::{self, Args, Row};

impl CurrentTask {
    /// Carries out the call that the registers describe.
    pub(super) fn do_system_call(&mut self) {
        let number = self.regs.orig_rax;
        let args = Args(self.regs.syscall_args());
        let row = table::row(number);
        self.note_call(row.map_or("an unknown call", |row| row.name));
        let is_traced = self.traces_calls();
        if is_traced || self.seccomp_mode() != 0 {
            self.do_checked_call(is_traced);
            return;
        }
        let result = self.call(number, row, args);
        self.return_from_call(result);
    }

    /// As [`Self::do_system_call`], with stops for a tracer and the guest's own filters.
    fn do_checked_call(&mut self, is_traced: bool) {
        // What a tracer sees at entry, and what a skipped call returns unless somebody says otherwise.
        self.regs.rax = Errno::ENOSYS.to_return();
        let is_wanted = !is_traced || self.trace_call_entry();
        if is_wanted && self.check_call_filters() {
            // A tracer may have changed the call.
            let number = self.regs.orig_rax;
            let args = Args(self.regs.syscall_args());
            let result = self.call(number, table::row(number), args);
            self.return_from_call(result);
        }
        if is_traced {
            self.trace_call_exit();
        }
    }

    /// Runs the handler of a call, with strace's lines around it.
    pub(super) fn call(&mut self, number: u64, row: Option<&'static Row>, args: Args) -> SysResult {
        if self.kernel().strace.is_on() {
            return self.call_with_strace(number, row, args);
        }
        self.run_handler_of(number, row, args)
    }

    pub(super) fn run_handler_of(&mut self, number: u64, row: Option<&'static Row>, args: Args) -> SysResult {
        match row.and_then(|row| row.handler) {
            Some(_) if row.is_some_and(|row| row.takes_memory) && !self.has_kernel_memory() => {
                Err(Errno::ENOMEM.into())
            }
            Some(handler) => handler(self, args),
            None => Err(self.kernel().report_missing_call(number, row).into()),
        }
    }

    /// Puts a call's result into the registers.
    pub(super) fn return_from_call(&mut self, result: SysResult) {
        self.regs.rax = match result {
            Ok(value) => value,
            Err(SysError::Errno(errno)) => errno.to_return(),
            Err(SysError::Restart(restart)) => restart.code(),
        };
    }
}

impl crate::Kernel {
    /// The error of a call that is not there; the log names each once.
    fn report_missing_call(&self, number: u64, row: Option<&'static Row>) -> Errno {
        let (name, errno) = match row {
            Some(Row { name, support: table::Support::Absent(errno, _), .. }) => (*name, *errno),
            Some(row) => (row.name, Errno::ENOSYS),
            None => ("unknown", Errno::ENOSYS),
        };
        if self.strace.is_first_miss(number) {
            let text = format!("unimplemented system call {number} ({name}): {}", errno.name());
            self.log.line(&text);
            self.config.user_log.line(&text);
        }
        errno
    }
}
