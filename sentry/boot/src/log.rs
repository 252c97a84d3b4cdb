//! The debug log: lines with a time and a thread, appended to a donated file.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::time::NSEC_PER_SEC;
use kernel::DebugLog;
use kernel::log::LogSink;
use parking_lot::Mutex;

/// Appends to a file. Lock: `file`, a leaf.
struct FileSink {
    file: Mutex<File>,
}

impl LogSink for FileSink {
    fn line(&self, text: &str) {
        let now = host::time::realtime_ns();
        let (seconds, micros) = (now / NSEC_PER_SEC % 86_400, now / 1000 % 1_000_000);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?");
        let line = format!("{hours:02}:{minutes:02}:{:02}.{micros:06} [{name}] {text}\n", seconds % 60);
        // Nobody can be told that the log is full.
        let _ = self.file.lock().write_all(line.as_bytes());
    }
}

/// The log behind a donated descriptor; off where there is none.
pub(crate) fn open(fd: Option<OwnedFd>) -> DebugLog {
    match fd {
        Some(fd) => DebugLog::new(Arc::new(FileSink { file: Mutex::new(File::from(fd)) })),
        None => DebugLog::default(),
    }
}
