//! wait4(2) and waitid(2) (`linux/wait.h`).
#![allow(missing_docs, reason = "Linux's names: man 2 wait")]

use bitflags::bitflags;

bitflags! {
    /// `W*` and `__W*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct WaitOptions: u32 {
        const NOHANG = 0x0000_0001;
        const UNTRACED = 0x0000_0002;
        const EXITED = 0x0000_0004;
        const CONTINUED = 0x0000_0008;
        const NOWAIT = 0x0100_0000;
        const NOTHREAD = 0x2000_0000;
        const ALL = 0x4000_0000;
        const CLONE = 0x8000_0000;
    }
}

/// `P_ALL`: any child.
pub const P_ALL: u32 = 0;
/// `P_PID`: a process by number.
pub const P_PID: u32 = 1;
/// `P_PGID`: the members of a process group.
pub const P_PGID: u32 = 2;
/// `P_PIDFD`: a process by descriptor.
pub const P_PIDFD: u32 = 3;
