//! Buffers: pooled chunks counted against a budget, and the byte streams made of them.

pub(crate) mod budget;
mod pool;
mod stream;

pub use pool::FrameBuffer;
pub(crate) use pool::{LARGE, Pool};
pub(crate) use stream::{Appended, Loose, StreamBuf};
