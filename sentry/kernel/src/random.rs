//! Random bytes for guests: `getrandom(2)` and the devices of `random(4)`.

use abi::Result;

use crate::Task;
use crate::mm::IoDst;

/// What is made between two looks for signals.
const CHUNK: usize = 4096;

/// Gives random bytes until the reader has enough or a signal comes, but at least one chunk.
///
/// # Errors
/// `EFAULT`.
pub fn fill(task: &Task, dst: &mut IoDst<'_>) -> Result<usize> {
    let mut buffer = [0; CHUNK];
    let mut done = 0;
    while dst.remaining() > 0 && (done == 0 || !task.wake().is_interrupted()) {
        let bytes = &mut buffer[..dst.remaining().min(CHUNK)];
        host::random::fill(bytes);
        match dst.put(bytes) {
            Ok(count) => done += count,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}
