//! Buffers: pooled chunks counted against the stack's budget, and the byte streams made of them.

mod pool;
mod stream;

pub(crate) use pool::{LARGE, Pool};
pub(crate) use stream::{Appended, Loose, StreamBuf};
