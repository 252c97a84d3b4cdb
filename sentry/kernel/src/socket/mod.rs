//! Sockets: the traits that families implement, options common to all, control messages.
//!
//! A family (unix, inet, netlink) registers a [`SocketFamily`]; its sockets are [`crate::vfs::FileOps`] whose
//! `socket()` gives the [`Socket`] side. As everywhere in the VFS they never wait: `EAGAIN` and a wait queue, for `wait`.

mod control;
mod family;
mod node;
mod options;
mod traits;
pub(crate) mod wait;

pub use control::{ControlMessage, control_len, parse_control, write_control};
pub use family::{SocketFamilies, SocketFamily};
pub use node::{bind_at_path, find_at_path};
pub use options::{Linger, SocketOptions};
pub use traits::{Accepted, Received, RecvRequest, SendRequest, ShutdownHow, Socket};
pub(crate) use wait::socket_of;
