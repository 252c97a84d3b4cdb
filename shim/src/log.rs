//! The shim's own log: lines on standard error, which containerd reads and adds to its own. A line that cannot be
//! written is lost: the shim outlives its reader.

use std::fmt::{Arguments, Display};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

static DEBUG: AtomicBool = AtomicBool::new(false);

/// Whether [`debug`] says anything.
pub(crate) fn set_debug(on: bool) {
    DEBUG.store(on, Ordering::Relaxed);
}

/// For whoever looks into a problem.
pub(crate) fn debug(what: Arguments<'_>) {
    if DEBUG.load(Ordering::Relaxed) {
        line("debug", &what);
    }
}

/// For whoever runs this host.
pub(crate) fn warning(what: Arguments<'_>) {
    line("warning", &what);
}

fn line(level: &str, what: &dyn Display) {
    let message = serde_json::Value::from(what.to_string());
    let _ = std::io::stderr().write_all(format!("level={level} msg={message}\n").as_bytes());
}
