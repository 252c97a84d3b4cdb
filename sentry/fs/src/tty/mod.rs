//! Terminals: the line discipline, pseudo-terminal pairs, controlling terminals, the host's terminal as a console.
//!
//! [`Terminal`] is the heart: a [`LineDiscipline`] with its queues, between programs ([`Replica`]) and a master, which is a
//! descriptor from `/dev/ptmx` or a terminal of the host's ([`open_console`]).

mod console;
mod devpts;
mod driver;
mod ioctl;
mod job_control;
mod line_discipline;
mod output;
mod pty;
mod replica;
mod settings;
mod terminal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kernel::Kernel;
use kernel::vfs::DeviceKind;

pub use console::open_console;
pub use devpts::{DevPts, DevPtsType};
pub use line_discipline::{Effect, LineDiscipline, Reaction};
pub use replica::Replica;
pub use terminal::Terminal;

/// The major number of `/dev/pts/N`.
const PTS_MAJOR: u32 = 136;
/// The major number of `/dev/tty`, `/dev/console` and `/dev/ptmx`.
const TTY_AUX_MAJOR: u32 = 5;
/// The minor number of `/dev/ptmx`.
const PTMX_MINOR: u32 = 2;

/// Makes devpts and the terminals' devices known.
pub fn register(kernel: &Kernel) {
    kernel.vfs.register_type(Arc::new(DevPtsType));
    for major in [TTY_AUX_MAJOR, PTS_MAJOR] {
        kernel.vfs.register_device(DeviceKind::Char, major, Arc::new(driver::TerminalDevices));
    }
}
