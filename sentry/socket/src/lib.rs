//! Socket families: unix, and inet on the sentry's own TCP/IP stack.
//!
//! Each family implements the traits of [`kernel::socket`] and is registered by `boot`.
#![forbid(unsafe_code)]

pub mod inet;
pub mod unix;
