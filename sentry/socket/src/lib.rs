//! Socket families: unix; packet; inet on the sentry's own TCP/IP stack or on the host's, and netlink to ask and change it.
//!
//! Each family implements the traits of [`kernel::socket`] and is registered by `boot`.
#![forbid(unsafe_code)]

mod bytes;
mod filter;
pub mod hostinet;
pub mod inet;
pub mod netlink;
pub mod packet;
pub mod tun;
pub mod unix;
