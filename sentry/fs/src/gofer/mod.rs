//! The client of a gofer: host files as a file system of the guest.
//!
//! One [`Connection`] per container carries the calls for all its mounts; each mount is a [`GoferFs`] with a
//! [`Volume`] of inodes. Bytes never cross the connection: opening a file gets a host descriptor, on which the
//! sentry reads, writes and maps.
//!
//! **Caching.** In an *exclusive* mount nobody else changes anything: names, absences and attributes hold until we
//! change them ourselves. A small directory is fetched whole, with attributes, at the first look into it; after
//! that a `stat`, a failed look-up or a second open costs no message. In a *shared* mount the same holds until the
//! gofer reports a change (`events.rs`), and not at all where it cannot watch. `docs/gofer.md` has the details.
//!
//! **Trust.** The gofer is a process apart and may be taken over: what it says is checked by the protocol's decoder,
//! and a lie costs the guest wrong file contents or an error, never the sentry.
//!
//! Locks, outermost first: an inode's `handles` (held over an open), then leaves: `node`, `place`, a directory's
//! `inner` and `ahead`, the volume's tables, the attributes, the connection's lists. No leaf is held over a call to the gofer.

mod ahead;
mod attr;
mod change;
mod connection;
mod dir;
mod dir_file;
mod events;
mod file;
mod habit;
mod handles;
mod inode;
mod listing;
#[cfg(test)]
mod tests;
mod unheard;
mod volume;
mod window;
mod xattr;

pub use connection::{Client, Connection, attach, connect, mount};
pub use inode::{FALLOCATE_MODES, GoferInode};
pub use volume::{GoferFs, Volume};

/// The host calls that this client makes in the sentry, by name, for its allow-list: all take a descriptor that a
/// gofer donated, none takes a path. `sendmsg`, `recvmsg`, `ppoll` and `ioctl` (of the listener) are the protocol's.
pub const HOST_CALLS: &[&str] = &[
    "preadv",
    "mmap",
    "munmap",
    "pwritev",
    "pwritev2",
    "fstat",
    "lseek",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "fcntl",
    "sendmsg",
    "recvmsg",
    "ppoll",
    "ioctl",
    "shutdown",
    "close",
];
