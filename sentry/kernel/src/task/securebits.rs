//! The secure bits of a task's credentials (`man 7 capabilities`, "The securebits flags").

/// Root has no special capabilities.
pub const NOROOT: u32 = 1 << 0;
/// Changing user ids does not change capabilities.
pub const NO_SETUID_FIXUP: u32 = 1 << 2;
/// Capabilities are kept when all user ids leave root; cleared by execve(2).
pub const KEEP_CAPS: u32 = 1 << 4;
/// See [`KEEP_CAPS`].
pub const KEEP_CAPS_LOCKED: u32 = 1 << 5;
/// Ambient capabilities cannot be raised.
pub const NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;
/// All bits that are not locks.
pub const ALL_BITS: u32 = 0x55;
/// All locks.
pub const ALL_LOCKS: u32 = ALL_BITS << 1;
