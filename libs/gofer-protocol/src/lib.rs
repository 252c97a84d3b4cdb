//! The protocol between a sandbox's kernel (the client) and the process that opens host files for it (the gofer).
//!
//! One `SOCK_SEQPACKET` connection per container carries requests and replies, each one message of at most
//! [`MAX_MESSAGE`] bytes; requests are numbered, so that many may be under way. The server may donate a second
//! connection on which it pushes [`EventBatch`]es. Both sides hold the other for hostile: decoding any byte
//! string gives a value that has been checked or a [`DecodeError`], never a panic and never an allocation larger
//! than the message explains.
//!
//! - `wire.rs`: integers, strings, lists to bytes and back;
//! - `types.rs`: names, nodes, attributes;
//! - `request.rs`, `reply.rs`, `event.rs`: the messages; [`Call`] joins a request to its reply;
//! - `frame.rs`: the header before each;
//! - `transport.rs`: frames and descriptors over a socket; `client.rs`: calls by many threads over one;
//! - `door.rs`: taking turns on one core; `mailbox.rs`: messages without the socket, for who does.
#![forbid(unsafe_code)]

mod client;
mod dir_reply;
mod door;
mod event;
mod frame;
mod inbox;
mod mailbox;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod transport;
mod types;
mod wire;

pub use client::{Client, Response, TIMEOUT, limit_waits};
pub use dir_reply::DirReplyWriter;
pub use door::{DOOR_RULE, DoorFds, ServerDoor};
pub use event::{Event, EventBatch};
pub use frame::{Header, MessageKind};
pub use reply::{
    DirEntry, EntryReply, HelloFds, HelloReply, MountInfo, NodeAttr, OpenReply, ReadDirReply, RenameReply,
    StatFsReply, UnlinkReply, WalkEnd, WalkReply,
};
pub use request::{
    Call, Close, Create, Forget, GetAttr, GetXattr, Hello, Link, ListXattr, Mkdir, Mknod, Op, Open, ReadDir,
    Readlink, RemoveXattr, Rename, Request, SetAttr, SetXattr, StatFs, Symlink, Sync, Unlink, Walk,
};
pub use transport::{Frame, Transport, TransportError};
pub use types::{
    Attr, FileId, MountFlags, Name, NodeId, NodeOpenFlags, OVERLAYFS, RenameFlags, SetTime, Target, Time,
    XattrFlags, XattrName,
};
pub use wire::{DecodeError, Reader, Wire, Writer, decode, encode};

/// The protocol's version. Client and server are one binary; a mismatch means a mixed-up installation.
pub const VERSION: u16 = 7;

/// First field of a [`Hello`]: "RGOF".
pub const MAGIC: u32 = 0x464f_4752;

/// Files that one [`Open`] may ask for besides its own.
pub const MAX_AHEAD: usize = 16;

/// The longest message, header included: the longest xattr value (64 KiB) and room for what goes with it.
pub const MAX_MESSAGE: usize = 96 << 10;
