//! What the allow-lists of several processes have in common.

use abi::fcntl::cmd::F_GETFD;
use abi::mman::PROT_EXEC;
use abi::socket::MsgFlags;

use super::{ArgCheck, Rule, nr};

/// `mmap` and `mprotect`: `PROT_EXEC` is not among the protections.
pub const NOT_EXECUTABLE: ArgCheck = ArgCheck::without(2, PROT_EXEC);
/// Messages to a peer that may be gone: an error, and no signal.
pub const SEND_WITHOUT_SIGNAL: Rule =
    Rule::when(nr::SYS_sendmsg, "sendmsg", &[ArgCheck::Eq32(2, MsgFlags::NOSIGNAL.bits())]);
/// Rust's library looks before it closes, in builds with debug assertions.
pub const LOOK_BEFORE_CLOSE: Rule = Rule::when(nr::SYS_fcntl, "fcntl", &[ArgCheck::Eq32(1, F_GETFD)]);
/// The last words on standard error.
pub const LAST_WORDS: Rule =
    Rule::when(nr::SYS_write, "write", &[ArgCheck::Eq32(0, libc::STDERR_FILENO as u32)]);
