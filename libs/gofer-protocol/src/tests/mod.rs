//! Round trips, truncation and noise for every message; the client against servers that lie.

mod codec;
mod door;
mod lying_server;
