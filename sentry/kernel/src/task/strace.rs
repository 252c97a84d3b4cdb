//! `--strace`: one line per system call on the debug log, decoded from the table's rows.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::{Signal, Timespec, UserAddr};
use parking_lot::{Mutex, RwLock};

use super::CurrentTask;
use crate::error::{SysError, SysResult};
use crate::syscalls::table::{Arg, Args, Row};

/// Strings and paths are shown up to here.
const MAX_STRING: usize = 256;
/// Vectors of strings are shown up to here.
const MAX_STRINGS: usize = 32;

/// Which calls are logged.
#[derive(Debug, Default)]
pub struct Strace {
    is_on: AtomicBool,
    /// Names of the calls to log; all where empty.
    only: RwLock<HashSet<String>>,
    missing: Mutex<HashSet<u64>>,
}

impl Strace {
    /// Logs these calls from now on: `None` none, an empty list all.
    pub fn set(&self, calls: Option<&[String]>) {
        *self.only.write() = calls.unwrap_or_default().iter().cloned().collect();
        self.is_on.store(calls.is_some(), Ordering::Relaxed);
    }

    /// Whether any call is logged.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    fn wants(&self, name: &str) -> bool {
        let only = self.only.read();
        only.is_empty() || only.contains(name)
    }

    /// Whether an unimplemented call is met for the first time.
    pub(super) fn is_first_miss(&self, number: u64) -> bool {
        let mut missing = self.missing.lock();
        // A guest can try any number: remember a bounded set.
        missing.len() < 1024 && missing.insert(number)
    }
}

impl CurrentTask {
    pub(super) fn call_with_strace(
        &mut self,
        number: u64,
        row: Option<&'static Row>,
        args: Args,
    ) -> SysResult {
        let name = row.map_or("unknown", |row| row.name);
        if !self.kernel().strace.wants(name) {
            return self.run_handler_of(number, row, args);
        }
        let head = format!("[{: >4}] {} ", self.tid(), String::from_utf8_lossy(&self.comm()));
        let entered = self.show_args(name, number, row, args, None);
        self.kernel().log.line(&format!("{head}E {entered}"));
        let start = host::time::monotonic_ns();
        let result = self.run_handler_of(number, row, args);
        let micros = (host::time::monotonic_ns() - start) / 1000;
        let mut line = format!("{head}X ");
        line.push_str(&self.show_args(name, number, row, args, Some(&result)));
        let _ = match result {
            Ok(value) if value > i64::MAX as u64 => write!(line, " = {value:#x}"),
            Ok(value) => write!(line, " = {value}"),
            Err(SysError::Errno(errno)) => write!(line, " = -1 {} ({errno})", errno.name()),
            Err(SysError::Restart(restart)) => write!(line, " = ? ({restart:?})"),
        };
        let _ = write!(line, " ({micros}µs)");
        self.kernel().log.line(&line);
        result
    }

    fn show_args(
        &self,
        name: &str,
        number: u64,
        row: Option<&'static Row>,
        args: Args,
        result: Option<&SysResult>,
    ) -> String {
        let Some(row) = row else {
            return format!("{name}_{number:#x}({:x?})", args.0);
        };
        let mut text = format!("{name}(");
        for (index, kind) in row.args.iter().enumerate().take(6) {
            if index > 0 {
                text.push_str(", ");
            }
            self.show_arg(&mut text, *kind, args, index, result);
        }
        text.push(')');
        text
    }

    fn show_arg(&self, text: &mut String, kind: Arg, args: Args, index: usize, result: Option<&SysResult>) {
        let value = args[index];
        let _ = match kind {
            Arg::Fd => self.show_fd(text, value as i32),
            Arg::DirFd if value as i32 == -100 => write!(text, "AT_FDCWD"),
            Arg::DirFd => self.show_fd(text, value as i32),
            Arg::Path | Arg::Str => self.show_string(text, value),
            Arg::Int => write!(text, "{}", value as i64),
            Arg::Size => write!(text, "{value}"),
            Arg::Hex => write!(text, "{value:#x}"),
            Arg::Mode => write!(text, "0{value:o}"),
            Arg::Flags(names) => show_flags(text, value, names),
            Arg::Enum(names) => match names.iter().find(|(number, _)| *number == value) {
                Some((_, name)) => write!(text, "{name}"),
                None => write!(text, "{value:#x}"),
            },
            Arg::InBuf(len) => self.show_buffer(text, value, args.0.get(len).copied().unwrap_or(0)),
            Arg::OutBuf => match result {
                Some(Ok(len)) => self.show_buffer(text, value, *len),
                _ => write!(text, "{value:#x}"),
            },
            Arg::Signal => match Signal::new(value as i32) {
                Some(signal) if !signal.is_realtime() => write!(text, "SIG{}", signal.name()),
                _ => write!(text, "{}", value as i32),
            },
            Arg::Timespec => match self.mm().read_object::<Timespec>(UserAddr(value)) {
                Ok(at) if value != 0 => write!(text, "{{{}, {}}}", at.tv_sec, at.tv_nsec),
                _ => write!(text, "{value:#x}"),
            },
            Arg::StrVec => self.show_strings(text, value),
        };
    }

    fn show_fd(&self, text: &mut String, fd: i32) -> std::fmt::Result {
        match self.fd_table().get(fd) {
            Ok(file) => {
                write!(text, "{fd}<{}>", String::from_utf8_lossy(&file.path().text(&self.fs().root())))
            }
            Err(_) => write!(text, "{fd}"),
        }
    }

    fn show_string(&self, text: &mut String, at: u64) -> std::fmt::Result {
        match self.mm().read_cstring(UserAddr(at), MAX_STRING) {
            Ok(bytes) => write!(text, "\"{}\"", bytes.escape_ascii()),
            Err(_) => write!(text, "{at:#x}"),
        }
    }

    fn show_strings(&self, text: &mut String, at: u64) -> std::fmt::Result {
        write!(text, "[")?;
        for index in 0..MAX_STRINGS as u64 {
            let Some(slot) = at.checked_add(index * 8) else { break };
            match self.mm().read_object::<u64>(UserAddr(slot)) {
                Ok(0) | Err(_) => break,
                Ok(string) => {
                    if index > 0 {
                        write!(text, ", ")?;
                    }
                    self.show_string(text, string)?;
                }
            }
        }
        write!(text, "]")
    }

    fn show_buffer(&self, text: &mut String, at: u64, len: u64) -> std::fmt::Result {
        let shown = len.min(self.kernel().config.strace_log_size as u64) as usize;
        let mut bytes = vec![0; shown];
        match self.mm().read(UserAddr(at), &mut bytes) {
            Ok(()) if at != 0 => {
                let more = if (shown as u64) < len { "..." } else { "" };
                write!(text, "\"{}\"{more}", bytes.escape_ascii())
            }
            _ => write!(text, "{at:#x}"),
        }
    }
}

fn show_flags(text: &mut String, value: u64, names: &[(u64, &str)]) -> std::fmt::Result {
    let mut left = value;
    let mut is_first = true;
    for (bits, name) in names {
        if *bits != 0 && left & bits == *bits {
            left &= !bits;
            write!(text, "{}{name}", if is_first { "" } else { "|" })?;
            is_first = false;
        }
    }
    if left != 0 || is_first {
        write!(text, "{}{left:#x}", if is_first { "" } else { "|" })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn flags_are_shown_by_name_with_the_rest_in_hexadecimal() {
        let names: &[(u64, &str)] = &[(1, "A"), (6, "B")];
        let show = |value| {
            let mut text = String::new();
            super::show_flags(&mut text, value, names).unwrap();
            text
        };
        assert_eq!([show(0), show(7), show(9), show(2)], ["0x0", "A|B", "A|0x8", "0x2"]);
    }
}
