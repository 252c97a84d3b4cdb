//! System call filters (`man 2 seccomp`): who may make which host call, with which arguments.
//!
//! An allow-list is a table of [`Rule`]s, plain constants that sit beside the code that makes the calls. Tables are
//! put together with [`compile`], which gives a [`Program`]; [`Program::install`] arms it. The same tables are what
//! documentation prints, so they carry the calls' names. The few filters that decide by instruction pointer, and so are no
//! tables, are made with `bpf`'s assembler.

mod common;
mod install;
mod notify;
pub mod nr;
mod rules;
#[cfg(test)]
mod tests;

pub use common::{LAST_WORDS, LOOK_BEFORE_CLOSE, NOT_EXECUTABLE, SEND_WITHOUT_SIGNAL};
pub use install::{InstallFlags, Program};
pub use notify::{Listener, Notification, Seen, ask_listener, check_user_notify};
pub use rules::{ArgCheck, Rule, compile, compile_with};

/// What a filter does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Lets it through.
    Allow,
    /// Fails it with this error.
    Errno(abi::Errno),
    /// Raises `SIGSYS` in the caller.
    Trap,
    /// Ends the caller's whole process.
    KillProcess,
    /// Hands it to whoever holds the filter's listener.
    UserNotif,
    /// Lets it through and tells the host's audit log.
    Log,
}

impl Action {
    /// What a filter returns for it.
    #[must_use]
    pub const fn encode(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno.raw() as u32,
            Self::Trap => libc::SECCOMP_RET_TRAP,
            Self::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
            Self::UserNotif => libc::SECCOMP_RET_USER_NOTIF,
            Self::Log => libc::SECCOMP_RET_LOG,
        }
    }
}

/// Why a filter cannot be built or armed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A jump or the whole program is longer than classic BPF can express.
    #[error(transparent)]
    TooLong(#[from] bpf::TooLong),
    /// A rule names an argument beyond the sixth.
    #[error("rule for {0} checks an argument that does not exist")]
    BadArgument(&'static str),
    /// The host refused it.
    #[error("seccomp: {0}")]
    Host(abi::Errno),
}
