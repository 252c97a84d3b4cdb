//! Processes of the host as state files name them.

use host::process::Process;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A process of the host, named so that another one with its pid is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// Its pid.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub(crate) start_time: u64,
}

impl ProcessId {
    /// Notes a process that is there.
    pub(crate) fn of(process: &Process) -> Result<Self> {
        let pid = process.pid();
        let (_, start_time) = stat(pid)
            .ok_or_else(|| Error::new(format!("process {pid} ended before it could be looked at")))?;
        Ok(Self { pid, start_time })
    }

    /// The process, where it is still there; one that has ended and waits to be reaped is not.
    pub(crate) fn open(&self) -> Option<Process> {
        self.open_if(|state| !matches!(state, 'Z' | 'X'))
    }

    /// The process, also one that has ended and waits to be reaped.
    pub(crate) fn open_any(&self) -> Option<Process> {
        self.open_if(|_| true)
    }

    fn open_if(&self, wanted: impl Fn(char) -> bool) -> Option<Process> {
        let process = Process::open(self.pid).ok()?;
        // The descriptor is had first: what /proc says next is about the same process or a later one.
        let (state, start_time) = stat(self.pid)?;
        (start_time == self.start_time && wanted(state)).then_some(process)
    }
}

/// State letter and start time from `/proc/PID/stat` (`man 5 proc`).
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text)
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The command is in parentheses and may contain any byte, parentheses too: the last one ends it.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use host::process::Process;

    use super::{ProcessId, parse_stat};

    #[test]
    fn stat_with_a_hostile_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_stat(&format!("7 (a) R (b)) {tail}")), Some(('S', 4242)));
        assert_eq!(parse_stat("7 (a"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn another_process_with_the_pid_is_not_it() {
        let me = Process::open(std::process::id() as i32).unwrap();
        let id = ProcessId::of(&me).unwrap();
        assert!(id.open().is_some());
        assert!(ProcessId { start_time: id.start_time + 1, ..id }.open().is_none());
    }
}
