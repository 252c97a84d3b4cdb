//! Socket families: unix; inet on the sentry's own TCP/IP stack, and netlink to ask and change it.
//!
//! Each family implements the traits of [`kernel::socket`] and is registered by `boot`.
#![forbid(unsafe_code)]

pub mod inet;
pub mod netlink;
pub mod unix;
