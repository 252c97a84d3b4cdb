//! The gofer: opens host files for one container's sandbox, and does nothing else.
//!
//! [`serve`] is what `runsc gofer` runs after the runtime has made its name spaces and pivoted into the container's
//! files. One thread reads requests and answers them; a second, only where a mount is shared, forwards what
//! `inotify(7)` says. Reading, writing and mapping never come here: `Open` donates a host descriptor.
//!
//! **Trust.** The client is hostile. It names files by nodes that this server gave out and by single checked names;
//! every step is an `openat` with `O_NOFOLLOW` below a directory descriptor, so that neither `..` nor a symbolic
//! link nor a rename at the wrong moment leads out of a mount. A node is trusted to be a file only after its device
//! and inode number have been compared. `docs/gofer.md` tells the whole story.
//!
//! - `nodes.rs`: what the client knows of, with the descriptors behind it; `attach.rs`: the mounts;
//! - `server.rs`: the loop; `walk.rs`, `open.rs`, `names.rs`, `attributes.rs`, `xattr.rs`, `listing.rs`,
//!   the requests; `watch.rs`: the events;
//! - `jail.rs`, `filter.rs`: what the process may do.
#![forbid(unsafe_code)]

mod attach;
mod attributes;
mod config;
mod filter;
mod jail;
mod listing;
mod names;
mod nodes;
mod open;
mod server;
#[cfg(test)]
mod tests;
mod walk;
mod watch;
mod xattr;

pub use config::{Config, Limits, MountConfig, ServeError};
pub use filter::RULES as SECCOMP_RULES;
pub use gofer_protocol::{DOOR_RULE, limit_waits};
pub use jail::{serve, serve_then};
pub use server::Server;
