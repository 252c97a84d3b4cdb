//! What the kernel says it is: uname(2), `/proc/version`, the boot lines of the log.

use crate::Kernel;
use crate::dmesg::Severity;

/// `uname -s`.
pub const SYSNAME: &str = "Linux";
/// `uname -r`. The number is that of the Linux whose interface is offered.
pub const RELEASE: &str = "6.12.0-rampart";
/// `uname -v`.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC Sun Nov 22 12:00:00 UTC 2026";
/// `uname -m`.
pub const MACHINE: &str = "x86_64";
/// What uname(2) says instead to a program that wants a 32-bit processor.
pub const MACHINE_32: &str = "i686";

/// `/proc/version`.
#[must_use]
pub fn version_line() -> String {
    format!("{SYSNAME} version {RELEASE} (rampart@localhost) (rustc) {VERSION}\n")
}

/// Writes the first lines of the log.
pub(crate) fn log_boot(kernel: &Kernel) {
    let say = |text: &str| kernel.dmesg.write(Severity::Info, text);
    say(version_line().trim_end());
    say("Starting rampart...");
    say(&format!("Memory: {}K available", kernel.config.total_memory >> 10));
    say(&format!("smp: Brought up 1 node, {} CPUs", kernel.config.cpu_count));
    say("Mounting no disk, probing no bus, trusting no guest");
    say("Ready!");
}
