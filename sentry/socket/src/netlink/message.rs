//! The framing of netlink (`man 7 netlink`): messages and attributes, both a length, a type and padding to four bytes.
//!
//! What guests send is walked with every length checked; a broken length ends the walk, as on Linux.

use abi::{Errno, Result};

/// Bytes of a message header.
pub(super) const HEADER: usize = 16;
/// A datagram of replies is closed at this size, so that a reader with a page of room sees whole messages.
const DATAGRAM: usize = 3000;

pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_MULTI: u16 = 2;
pub(super) const NLM_F_ACK: u16 = 4;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;
const NLM_F_CAPPED: u16 = 0x100;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Types below are the protocol's own.
pub(super) const NLMSG_MIN_TYPE: u16 = 16;

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
        /// The upper bits say that a value is nested or in network order.
        const TYPE_MASK: u16 = 0x3fff;
        let len = usize::from(half(self.0, 0)?);
        let kind = half(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The `u32` at an offset.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The `u16` at an offset.
pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// The body of a message in the making.
#[derive(Debug)]
pub(super) struct Body<'a>(&'a mut Vec<u8>);

impl Body<'_> {
    /// Bytes as they are: the protocol's header.
    pub(super) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
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
        let start = self.0.len();
        self.0.extend([0; 4]);
        fill(&mut Body(self.0));
        // Attributes are made from our own tables: none comes near 64 KiB.
        let len = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.0[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// Replies, in datagrams.
#[derive(Debug)]
pub(super) struct Replies {
    port: u32,
    seq: u32,
    closed: Vec<Vec<u8>>,
    open: Vec<u8>,
}

impl Replies {
    /// Replies to the request `seq` of the socket `port`.
    pub(super) fn to(port: u32, seq: u32) -> Self {
        Self { port, seq, closed: Vec::new(), open: Vec::new() }
    }

    /// Adds a message.
    pub(super) fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Body<'_>)) {
        let start = self.open.len();
        self.open.extend([0; 4]);
        self.open.extend(kind.to_ne_bytes());
        self.open.extend(flags.to_ne_bytes());
        self.open.extend(self.seq.to_ne_bytes());
        self.open.extend(self.port.to_ne_bytes());
        fill(&mut Body(&mut self.open));
        let len = (self.open.len() - start) as u32;
        self.open[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        self.open.resize(self.open.len().next_multiple_of(4), 0);
        if self.open.len() >= DATAGRAM {
            self.close();
        }
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
            self.closed.push(std::mem::take(&mut self.open));
        }
    }

    /// The datagrams.
    pub(super) fn finish(mut self) -> Vec<Vec<u8>> {
        self.close();
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, NLM_F_MULTI, Replies, Requests};

    #[test]
    fn messages_and_attributes_round_trip() {
        let mut replies = Replies::to(7, 3);
        replies.message(20, NLM_F_MULTI, |body| {
            body.put(&[2, 0, 0, 0]).attr_word(1, 5).attr_text(3, "lo").nest(18, |inner| {
                inner.attr(1, b"dummy");
            });
        });
        replies.done();
        let datagrams = replies.finish();
        assert_eq!(datagrams.len(), 2);
        let request = Requests(&datagrams[0]).next().unwrap();
        assert_eq!((request.kind, request.seq), (20, 3));
        let (header, attributes) = request.split(4).unwrap();
        assert_eq!(header, [2, 0, 0, 0]);
        assert_eq!((attributes.word(1), attributes.text(3)), (Some(5), Some("lo")));
        assert_eq!(Attributes(attributes.get(18).unwrap()).get(1), Some(&b"dummy"[..]));
    }

    #[test]
    fn broken_lengths_end_the_walk() {
        for bytes in [&[][..], &[1; 3], &[0xff; 40], &[0; 64], &[16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Requests(bytes).count(), 0);
            assert!(Attributes(bytes).take(100).count() < 100);
        }
    }
}
