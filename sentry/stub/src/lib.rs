//! What stands in a stub process beside the guest: an image of position-independent machine code, and the layout of
//! the memory around it that the sentry and the stub share.
//!
//! The image is pure assembly without a stack and without writable memory of its own (`image_x86_64.rs`): nothing in
//! it trusts a byte that a guest thread could have changed. It is linked into the sentry as read-only *data* and
//! copied into a memory file from which stubs map it.
#![no_std]

mod clock_x86_64;
mod control_x86_64;
mod entry;
mod image_x86_64;
pub mod layout;
mod own_x86_64;

pub use entry::{Entry, address_of, image};
