//! Urgent data as sockets show it (RFC 6093; man 7 tcp): one byte, in the stream or beside it.

use crate::base::error::{Error, Result};
use crate::base::io::Sink;
use crate::buf::{Pool, StreamBuf};
use crate::socket::message::RecvFlags;

/// The urgent byte of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Urgent {
    /// Stream offset of the byte.
    pub(crate) at: u64,
    /// It was read with `MSG_OOB`.
    pub(crate) is_read: bool,
}

/// Whether urgent data waits to be read.
pub(crate) fn is_pending(urgent: Option<Urgent>) -> bool {
    urgent.is_some_and(|urgent| !urgent.is_read)
}

/// Bytes that can be read now, before or after the mark.
pub(crate) fn readable(buf: &StreamBuf, urgent: Option<Urgent>, inline: bool) -> usize {
    match urgent {
        Some(u) if !inline && u.at >= buf.start() && u.at < buf.end() => buf.len() - 1,
        _ => buf.len(),
    }
}

/// Reads the urgent byte (`MSG_OOB`).
pub(crate) fn read_urgent(
    buf: &StreamBuf,
    urgent: &mut Option<Urgent>,
    inline: bool,
    sink: &mut dyn Sink,
    flags: RecvFlags,
) -> Result<usize> {
    let Some(mark) = urgent.filter(|u| !inline && !u.is_read) else { return Err(Error::Invalid) };
    let mut byte = [0];
    if buf.copy_at(mark.at, &mut byte) == 0 || mark.at < buf.start() || mark.at >= buf.end() {
        return Err(Error::Again);
    }
    if sink.room() > 0 && sink.put(&byte) == 0 {
        return Err(Error::Fault);
    }
    if !flags.contains(RecvFlags::PEEK) {
        *urgent = Some(Urgent { is_read: true, ..mark });
    }
    Ok(1)
}

/// Reads data up to the mark, or from the mark on; the urgent byte itself is skipped unless it is inline. `None`
/// means that there is nothing to read.
pub(crate) fn read(
    buf: &mut StreamBuf,
    urgent: &mut Option<Urgent>,
    inline: bool,
    pool: &Pool,
    sink: &mut dyn Sink,
    flags: RecvFlags,
) -> Option<usize> {
    let mut from = buf.start();
    if let Some(mark) = *urgent {
        if mark.at == from && !inline && !buf.is_empty() {
            from += 1;
            if !flags.contains(RecvFlags::PEEK) {
                buf.consume(pool, 1);
                *urgent = None;
            }
        } else if mark.at < from {
            *urgent = None;
        }
    }
    if from == buf.end() {
        return None;
    }
    let limit = match *urgent {
        Some(mark) if mark.at > from => usize::try_from(mark.at - from).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let n = buf.peek(from, limit.min(sink.room()), sink);
    if !flags.contains(RecvFlags::PEEK) {
        buf.consume(pool, n);
    }
    Some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_mark_and_skip_the_byte() {
        let pool = Pool::new(1 << 20);
        let mut buf = StreamBuf::default();
        buf.append_slice(&pool, b"abcXdef");
        let mut urgent = Some(Urgent { at: 3, is_read: false });
        let mut out = [0; 16];
        let none = RecvFlags::empty();
        assert_eq!(readable(&buf, urgent, false), 6);
        assert_eq!(read(&mut buf, &mut urgent, false, &pool, &mut &mut out[..], none), Some(3));
        assert_eq!(read_urgent(&buf, &mut urgent, false, &mut &mut out[..], none), Ok(1));
        assert_eq!(out[0], b'X');
        assert_eq!(read_urgent(&buf, &mut urgent, false, &mut &mut out[..], none), Err(Error::Invalid));
        assert_eq!(read(&mut buf, &mut urgent, false, &pool, &mut &mut out[..], none), Some(3));
        assert_eq!(&out[..3], b"def");
        assert_eq!(read(&mut buf, &mut urgent, false, &pool, &mut &mut out[..], none), None);
    }

    #[test]
    fn inline_reads_the_byte_in_its_place() {
        let pool = Pool::new(1 << 20);
        let mut buf = StreamBuf::default();
        buf.append_slice(&pool, b"abX");
        let mut urgent = Some(Urgent { at: 2, is_read: false });
        let mut out = [0; 16];
        let mut step = |urgent: &mut Option<Urgent>, buf: &mut StreamBuf| {
            read(buf, urgent, true, &pool, &mut &mut out[..], RecvFlags::empty())
        };
        assert_eq!(step(&mut urgent, &mut buf), Some(2));
        assert_eq!(step(&mut urgent, &mut buf), Some(1));
        assert_eq!(step(&mut urgent, &mut buf), None);
    }
}
