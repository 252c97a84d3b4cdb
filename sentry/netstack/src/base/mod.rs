//! What everything else is made of: time, errors, hashing, readiness, settings and counters.

pub mod addr;
pub mod config;
pub mod counters;
pub mod error;
pub(crate) mod hash;
pub mod io;
pub mod ready;
pub mod time;
pub(crate) mod wheel;
