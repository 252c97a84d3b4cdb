//! What everything else is made of: time, errors, hashing, readiness, settings and counters.

pub(crate) mod addr;
pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod error;
pub(crate) mod filter;
pub(crate) mod hash;
pub(crate) mod io;
pub(crate) mod ready;
pub(crate) mod time;
pub(crate) mod wheel;
