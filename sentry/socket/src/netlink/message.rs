//! The framing of netlink (`man 7 netlink`): messages and attributes, both a length, a type and padding to four bytes.
//!
//! What guests send is walked with every length checked; a broken length ends the walk, as on Linux.

use abi::netlink::{NLA_TYPE_MASK, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_MULTI, NLMSG_DONE, NLMSG_ERROR};
use abi::{Errno, Result};
use host::heap::{self, Purpose};

use crate::bytes::{half, word};

/// Bytes of a message header.
pub(super) const HEADER: usize = 16;
/// A datagram of replies is closed at this size, so that a reader with a page of room sees whole messages.
const DATAGRAM: usize = 3000;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// The message with its header.
    pub(super) whole: &'a [u8],
    /// `nlmsg_type`.
    pub(super) kind: u16,
    /// `NLM_F_*`.
    pub(super) flags: u16,
    /// What the reply repeats.
    pub(super) seq: u32,
}

impl<'a> Request<'a> {
    /// What follows the header.
    pub(super) fn body(&self) -> &'a [u8] {
        self.whole.get(HEADER..).unwrap_or_default()
    }

    /// The protocol's header and the attributes behind it.
    ///
    /// # Errors
    /// `EINVAL` where the body is shorter than the header.
    pub(super) fn split(&self, len: usize) -> Result<(&'a [u8], Attributes<'a>)> {
        let (header, attributes) = self.body().split_at_checked(len).ok_or(Errno::EINVAL)?;
        Ok((header, Attributes(attributes)))
    }

    /// Whether all objects are asked for.
    pub(super) fn is_dump(&self) -> bool {
        self.flags & NLM_F_DUMP == NLM_F_DUMP
    }

    /// Whether `flag` is set.
    pub(super) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// The requests in a datagram.
#[derive(Debug)]
pub(super) struct Requests<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Requests<'a> {
    type Item = Request<'a>;

    fn next(&mut self) -> Option<Request<'a>> {
        let len = word(self.0, 0)? as usize;
        let whole = self.0.get(..len).filter(|whole| whole.len() >= HEADER)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Request { whole, kind: half(whole, 4)?, flags: half(whole, 6)?, seq: word(whole, 8)? })
    }
}

/// Attributes: (type, value).
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a type.
    pub(super) fn get(self, kind: u16) -> Option<&'a [u8]> {
        { self }.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The `u32` in the first attribute of a type.
    pub(super) fn word(self, kind: u16) -> Option<u32> {
        word(self.get(kind)?, 0)
    }

    /// The string in the first attribute of a type, up to its zero.
    pub(super) fn text(self, kind: u16) -> Option<&'a str> {
        let bytes = self.get(kind)?.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(bytes).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(half(self.0, 0)?);
        let kind = half(self.0, 2)? & NLA_TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The body of a message in the making.
#[derive(Debug)]
pub(super) struct Body<'a> {
    bytes: &'a mut Vec<u8>,
    /// An attribute was left out: its length is no 16-bit number.
    is_too_long: bool,
}

impl Body<'_> {
    /// Bytes as they are: the protocol's header.
    pub(super) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// An attribute.
    pub(super) fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nest(kind, |body| {
            body.put(value);
        })
    }

    /// An attribute that holds a `u32`.
    pub(super) fn attr_word(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// An attribute that holds a string and its zero.
    pub(super) fn attr_text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.nest(kind, |body| {
            body.put(value.as_bytes()).put(&[0]);
        })
    }

    /// An attribute whose value `fill` writes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Body<'_>)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        fill(self);
        let Ok(len) = u16::try_from(self.bytes.len() - start) else {
            // The whole message fails for it.
            self.bytes.truncate(start);
            self.is_too_long = true;
            return self;
        };
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// Replies, in datagrams. Once one has failed, none is added.
#[derive(Debug)]
pub(super) struct Replies {
    port: u32,
    seq: u32,
    closed: Vec<Vec<u8>>,
    open: Vec<u8>,
    /// Bytes that may be there before another message is added.
    room: usize,
    /// Bytes in `closed`.
    len: usize,
    failure: Option<Errno>,
}

impl Replies {
    /// Replies to the request `seq` of the socket `port`.
    pub(super) fn to(port: u32, seq: u32) -> Self {
        let (closed, open) = (Vec::new(), Vec::new());
        Self { port, seq, closed, open, room: usize::MAX, len: 0, failure: None }
    }

    /// No message is added to more than `room` bytes.
    pub(super) fn within(mut self, room: usize) -> Self {
        self.room = room;
        self
    }

    /// What kept a reply from being added: `ENOBUFS` for more than there is room for, `ENOMEM`, `EMSGSIZE` for an
    /// attribute that is too long.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.map_or(Ok(()), Err)
    }

    /// Adds a message.
    pub(super) fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Body<'_>)) {
        let added = self.check().and_then(|()| self.try_message(kind, flags, fill));
        self.failure = added.err();
    }

    fn try_message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Body<'_>)) -> Result<()> {
        if self.len + self.open.len() > self.room {
            return Err(Errno::ENOBUFS);
        }
        if self.open.is_empty() {
            heap::room_for(DATAGRAM as u64, Purpose::Process)?;
        }
        let start = self.open.len();
        self.open.extend([0; 4]);
        self.open.extend(kind.to_ne_bytes());
        self.open.extend(flags.to_ne_bytes());
        self.open.extend(self.seq.to_ne_bytes());
        self.open.extend(self.port.to_ne_bytes());
        let mut body = Body { bytes: &mut self.open, is_too_long: false };
        fill(&mut body);
        if body.is_too_long {
            self.open.truncate(start);
            return Err(Errno::EMSGSIZE);
        }
        let len = (self.open.len() - start) as u32;
        self.open[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        self.open.resize(self.open.len().next_multiple_of(4), 0);
        if self.open.len() >= DATAGRAM {
            self.close();
        }
        Ok(())
    }

    /// The end of a dump, in a datagram of its own as Linux has it.
    pub(super) fn done(&mut self) {
        self.close();
        self.message(NLMSG_DONE, NLM_F_MULTI, |body| {
            body.put(&0u32.to_ne_bytes());
        });
        self.close();
    }

    /// The outcome of a request. What was asked is repeated, unless the socket wants only its header.
    pub(super) fn outcome(&mut self, request: &Request<'_>, outcome: Result<()>, is_capped: bool) {
        self.close();
        let error = outcome.map_or_else(|errno| -errno.raw(), |()| 0);
        let header_only = is_capped || error == 0;
        let repeated = if header_only { &request.whole[..HEADER] } else { request.whole };
        let flags = if header_only { NLM_F_CAPPED } else { 0 };
        self.message(NLMSG_ERROR, flags, |body| {
            body.put(&error.to_ne_bytes()).put(repeated);
        });
        self.close();
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.len += self.open.len();
            self.closed.push(std::mem::take(&mut self.open));
        }
    }

    /// The datagrams.
    ///
    /// # Errors
    /// As [`Replies::check`]: all or none of them count.
    pub(super) fn finish(mut self) -> Result<Vec<Vec<u8>>> {
        self.check()?;
        self.close();
        Ok(self.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Errno, NLM_F_MULTI, Replies, Requests};

    #[test]
    fn messages_and_attributes_round_trip() {
        let mut replies = Replies::to(7, 3);
        replies.message(20, NLM_F_MULTI, |body| {
            body.put(&[2, 0, 0, 0]).attr_word(1, 5).attr_text(3, "lo").nest(18, |inner| {
                inner.attr(1, b"dummy");
            });
        });
        replies.done();
        let datagrams = replies.finish().unwrap();
        assert_eq!(datagrams.len(), 2);
        let request = Requests(&datagrams[0]).next().unwrap();
        assert_eq!((request.kind, request.seq), (20, 3));
        let (header, attributes) = request.split(4).unwrap();
        assert_eq!(header, [2, 0, 0, 0]);
        assert_eq!((attributes.word(1), attributes.text(3)), (Some(5), Some("lo")));
        assert_eq!(Attributes(attributes.get(18).unwrap()).get(1), Some(&b"dummy"[..]));
    }

    #[test]
    fn replies_stop_growing_where_their_room_ends() {
        let mut replies = Replies::to(7, 3).within(10_000);
        for _ in 0..100_000 {
            replies.message(20, 0, |body| {
                body.attr(1, &[0; 1000]);
            });
        }
        assert!(replies.len + replies.open.len() < 12_000);
        assert_eq!(replies.finish(), Err(Errno::ENOBUFS));
    }

    #[test]
    fn attributes_that_are_too_long_fail_their_message() {
        let longest = usize::from(u16::MAX) - 4;
        for (len, outcome) in [(longest, Ok(())), (longest + 1, Err(Errno::EMSGSIZE))] {
            let mut replies = Replies::to(7, 3);
            replies.message(20, 0, |body| {
                body.attr(1, &vec![0; len]);
            });
            assert_eq!(replies.check(), outcome);
            // So does one that its parts make too long.
            let mut replies = Replies::to(7, 3);
            replies.message(20, 0, |body| {
                body.nest(1, |body| {
                    body.attr(2, &vec![0; len / 2]).attr(3, &vec![0; len / 2 + 8]);
                });
            });
            assert_eq!(replies.finish(), Err(Errno::EMSGSIZE));
        }
    }

    #[test]
    fn broken_lengths_end_the_walk() {
        for bytes in [&[][..], &[1; 3], &[0xff; 40], &[0; 64], &[16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Requests(bytes).count(), 0);
            assert!(Attributes(bytes).take(100).count() < 100);
        }
    }
}
