//! Sockets: the traits that families implement, options, addresses, control messages.

/// What every socket family implements; reached from an open file by [`crate::vfs::FileOps::socket`].
pub trait Socket: Send + Sync {}
