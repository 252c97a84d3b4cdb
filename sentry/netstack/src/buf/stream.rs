//! A byte stream in chunks, addressed by absolute offset: the send and receive queues of TCP.

use super::pool::{FrameBuffer, LARGE, Pool, SMALL};
use crate::base::io::{Sink, Source};
use std::collections::VecDeque;

/// Bytes `start..end` of a stream.
#[derive(Debug, Default)]
pub(crate) struct StreamBuf {
    chunks: VecDeque<Chunk>,
    start: u64,
    end: u64,
}

/// Less of a frame than this is copied: a shared buffer is charged as a whole.
const SHARED: usize = 32 << 10;

#[derive(Debug)]
struct Chunk {
    /// Stream offset of the first byte.
    base: u64,
    /// How many bytes are filled.
    filled: usize,
    data: Data,
}

/// Where the bytes of a chunk are.
#[derive(Debug)]
enum Data {
    /// In memory of its own.
    Own(Box<[u8]>),
    /// In the frame that they came with, from here on.
    Shared(FrameBuffer, usize),
}

impl Chunk {
    const fn end(&self) -> u64 {
        self.base + self.filled as u64
    }

    fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Own(data) => &data[..self.filled],
            Data::Shared(buffer, start) => &buffer[*start..*start + self.filled],
        }
    }

    /// What can still be filled.
    fn room(&mut self) -> &mut [u8] {
        match &mut self.data {
            Data::Own(data) => &mut data[self.filled..],
            Data::Shared(..) => &mut [],
        }
    }

    /// Cuts off what comes before stream offset `at`, where that lies inside of a shared chunk. Each part holds the whole
    /// buffer, and is charged for it.
    fn split_shared(&mut self, pool: &Pool, at: u64) -> Option<Self> {
        let end = self.end();
        let Data::Shared(buffer, start) = &mut self.data else { return None };
        if at <= self.base || at >= end {
            return None;
        }
        let len = (at - self.base) as usize;
        let head = Self { base: self.base, filled: len, data: Data::Shared(pool.share(buffer)?, *start) };
        *start += len;
        self.base = at;
        self.filled -= len;
        Some(head)
    }

    fn free(self, pool: &Pool) {
        match self.data {
            Data::Own(data) => pool.free(data),
            Data::Shared(buffer, _) => pool.unshare(buffer),
        }
    }
}

/// How an append went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Appended {
    /// Bytes taken from the source.
    pub(crate) bytes: usize,
    /// The source could not deliver what it promised.
    pub(crate) faulted: bool,
    /// The memory budget is used up.
    pub(crate) starved: bool,
}

/// Filled chunks that belong to no stream yet, or no longer.
#[derive(Debug, Default)]
pub(crate) struct Loose {
    chunks: VecDeque<Chunk>,
    /// Bytes at the front of the first chunk that are consumed already.
    skip: usize,
}

impl StreamBuf {
    /// Offset of the first byte held.
    pub(crate) const fn start(&self) -> u64 {
        self.start
    }

    /// Offset after the last byte held.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    pub(crate) const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Appends up to `max` bytes from `source`.
    pub(crate) fn append(&mut self, pool: &Pool, source: &mut dyn Source, max: usize) -> Appended {
        let mut done = Appended::default();
        let mut want = source.remaining().min(max);
        while want > 0 {
            let room = self.chunks.back_mut().map_or(0, |chunk| chunk.room().len());
            if room == 0 {
                let Some(data) = pool.alloc(want) else {
                    done.starved = true;
                    return done;
                };
                self.chunks.push_back(Chunk { base: self.end, filled: 0, data: Data::Own(data) });
                continue;
            }
            let Some(chunk) = self.chunks.back_mut() else { return done };
            let take = room.min(want);
            let n = source.fill(&mut chunk.room()[..take]);
            chunk.filled += n;
            self.end += n as u64;
            done.bytes += n;
            want -= n;
            if n < take {
                done.faulted = true;
                self.drop_empty_tail(pool);
                return done;
            }
        }
        done
    }

    /// Appends all of `data`; returns how much the budget allowed.
    pub(crate) fn append_slice(&mut self, pool: &Pool, mut data: &[u8]) -> usize {
        let len = data.len();
        self.append(pool, &mut data, len).bytes
    }

    /// As [`Self::append_slice`]; where `data` lies in `buffer` and is large, without a copy.
    pub(crate) fn append_frame(&mut self, pool: &Pool, data: &[u8], buffer: Option<&FrameBuffer>) -> usize {
        let shared = buffer.filter(|_| data.len() >= SHARED).and_then(|buffer| {
            let start = data.as_ptr().addr().checked_sub(buffer.as_ptr().addr())?;
            let part = buffer.get(start..start.checked_add(data.len())?)?;
            // What was put together or changed on its way lies elsewhere.
            std::ptr::eq(part, data).then_some((buffer, start))
        });
        let Some((buffer, start)) = shared else { return self.append_slice(pool, data) };
        let Some(buffer) = pool.share(buffer) else { return self.append_slice(pool, data) };
        let data_at = Data::Shared(buffer, start);
        self.chunks.push_back(Chunk { base: self.end, filled: data.len(), data: data_at });
        self.end += data.len() as u64;
        data.len()
    }

    /// Appends all of `data`, whatever the budget says: there was room when it was promised.
    pub(crate) fn append_promised(&mut self, pool: &Pool, data: &[u8]) {
        let rest = &data[self.append_slice(pool, data)..];
        for piece in rest.chunks(SMALL) {
            let mut data = pool.alloc_promised();
            data[..piece.len()].copy_from_slice(piece);
            let base = self.end;
            self.end += piece.len() as u64;
            self.chunks.push_back(Chunk { base, filled: piece.len(), data: Data::Own(data) });
        }
    }

    fn drop_empty_tail(&mut self, pool: &Pool) {
        if self.chunks.back().is_some_and(|chunk| chunk.filled == 0)
            && let Some(chunk) = self.chunks.pop_back()
        {
            chunk.free(pool);
        }
    }

    /// Appends chunks that were filled elsewhere.
    pub(crate) fn append_loose(&mut self, loose: Loose) {
        debug_assert_eq!(loose.skip, 0);
        for mut chunk in loose.chunks {
            chunk.base = self.end;
            self.end = chunk.end();
            self.chunks.push_back(chunk);
        }
    }

    /// Takes the whole chunks at the front that together hold no more than `max` bytes, and the beginning of a shared one
    /// that holds more.
    pub(crate) fn take_loose(&mut self, pool: &Pool, max: usize) -> Loose {
        let skip = self.chunks.front().map_or(0, |chunk| (self.start - chunk.base) as usize);
        let mut loose = Loose { chunks: VecDeque::new(), skip };
        let limit = self.start + max as u64;
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= limit && chunk.filled > 0) {
            if let Some(chunk) = self.chunks.pop_front() {
                self.start = chunk.end();
                loose.chunks.push_back(chunk);
            }
        }
        if let Some(chunk) = self.chunks.front_mut()
            && let Some(head) = chunk.split_shared(pool, limit)
        {
            self.start = limit;
            loose.chunks.push_back(head);
        }
        loose
    }

    /// Puts back what [`StreamBuf::take_loose`] took and nobody consumed. The taker is the only reader.
    pub(crate) fn untake(&mut self, loose: Loose) {
        let Some(first) = loose.chunks.front() else { return };
        self.start = first.base + loose.skip as u64;
        for chunk in loose.chunks.into_iter().rev() {
            self.chunks.push_front(chunk);
        }
    }

    /// Shows the bytes from `offset` on, up to `max`, to `sink`; returns how many it took.
    pub(crate) fn peek(&self, offset: u64, max: usize, sink: &mut dyn Sink) -> usize {
        let mut done = 0;
        for part in self.slices(offset, max) {
            let n = sink.put(part);
            done += n;
            if n < part.len() {
                break;
            }
        }
        done
    }

    /// The bytes from `offset` on, up to `max`, slice by slice.
    pub(crate) fn slices(&self, offset: u64, max: usize) -> impl Iterator<Item = &[u8]> {
        let from = offset.clamp(self.start, self.end);
        let to = from.saturating_add(max as u64).min(self.end);
        let first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        self.chunks.range(first..).take_while(move |chunk| chunk.base < to).map(move |chunk| {
            let begin = from.saturating_sub(chunk.base) as usize;
            let end = ((to - chunk.base) as usize).min(chunk.filled);
            &chunk.bytes()[begin.min(end)..end]
        })
    }

    /// Copies bytes from `offset` on into `out`; returns how many there were.
    pub(crate) fn copy_at(&self, offset: u64, out: &mut [u8]) -> usize {
        let mut at = 0;
        for part in self.slices(offset, out.len()) {
            out[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        at
    }

    /// Drops `n` bytes at the front.
    pub(crate) fn consume(&mut self, pool: &Pool, n: usize) {
        self.start = self.start.saturating_add(n as u64).min(self.end);
        while let Some(front) = self.chunks.front() {
            // A chunk that can still be appended to stays while it holds something.
            if front.end() > self.start {
                break;
            }
            if let Some(chunk) = self.chunks.pop_front() {
                chunk.free(pool);
            }
        }
    }

    /// Drops everything; offsets go on from the end.
    pub(crate) fn clear(&mut self, pool: &Pool) {
        self.consume(pool, self.len());
    }
}

impl Loose {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Fills fresh chunks with up to `max` bytes from `source`.
    pub(crate) fn fill(pool: &Pool, source: &mut dyn Source, max: usize) -> (Self, Appended) {
        let mut loose = Self::default();
        let mut done = Appended::default();
        let mut want = source.remaining().min(max);
        while want > 0 && !done.faulted {
            let Some(mut data) = pool.alloc(want.max(LARGE)) else {
                done.starved = true;
                break;
            };
            let take = want.min(data.len());
            let filled = source.fill(&mut data[..take]);
            done.faulted = filled < take;
            if filled == 0 {
                pool.free(data);
                break;
            }
            loose.chunks.push_back(Chunk { base: 0, filled, data: Data::Own(data) });
            done.bytes += filled;
            want -= filled;
        }
        (loose, done)
    }

    /// Moves everything into `sink`, freeing chunks as they empty; returns how many bytes it took. What a faulting
    /// sink did not take stays.
    pub(crate) fn drain(&mut self, pool: &Pool, sink: &mut dyn Sink) -> usize {
        let mut done = 0;
        while let Some(chunk) = self.chunks.front() {
            let part = &chunk.bytes()[self.skip..];
            let n = sink.put(part);
            done += n;
            if n < part.len() {
                self.skip += n;
                break;
            }
            self.skip = 0;
            if let Some(chunk) = self.chunks.pop_front() {
                chunk.free(pool);
            }
        }
        done
    }

    /// Gives all chunks back to the pool.
    pub(crate) fn discard(&mut self, pool: &Pool) {
        for chunk in self.chunks.drain(..) {
            chunk.free(pool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[derive(Clone, Debug)]
    enum Op {
        Append(usize),
        Loose(usize),
        Frame(usize),
        Read(usize),
        Take(usize, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0usize..40_000).prop_map(Op::Append),
            (1usize..70_000).prop_map(Op::Loose),
            (1usize..70_000).prop_map(Op::Frame),
            (0usize..60_000).prop_map(Op::Read),
            (0usize..60_000, 0usize..60_000).prop_map(|(max, sink)| Op::Take(max, sink)),
        ]
    }

    fn byte(offset: u64) -> u8 {
        (offset % 251) as u8
    }

    proptest! {
        #[test]
        fn stream_keeps_its_bytes(ops in prop::collection::vec(op(), 1..40)) {
            let pool = Pool::new(64 << 20);
            let mut buf = StreamBuf::default();
            let mut written = 0u64;
            let mut read = 0u64;
            for op in ops {
                match op {
                    Op::Append(n) => {
                        let data: Vec<u8> = (written..written + n as u64).map(byte).collect();
                        prop_assert_eq!(buf.append_slice(&pool, &data), n);
                        written += n as u64;
                    }
                    Op::Loose(n) => {
                        let data: Vec<u8> = (written..written + n as u64).map(byte).collect();
                        let (loose, done) = Loose::fill(&pool, &mut &data[..], n);
                        prop_assert_eq!(done.bytes, n);
                        buf.append_loose(loose);
                        written += n as u64;
                    }
                    Op::Frame(n) => {
                        let mut buffer = pool.frame_buffer(n + 100);
                        let place = &mut Arc::get_mut(&mut buffer).unwrap()[66..66 + n];
                        (written..).map(byte).zip(place).for_each(|(byte, place)| *place = byte);
                        let before = pool.used();
                        prop_assert_eq!(buf.append_frame(&pool, &buffer[66..66 + n], Some(&buffer)), n);
                        prop_assert_eq!(pool.used() == before + buffer.len(), n >= SHARED);
                        written += n as u64;
                    }
                    Op::Read(n) => {
                        let mut out = vec![0; n];
                        let got = buf.peek(buf.start(), n, &mut &mut out[..]);
                        buf.consume(&pool, got);
                        prop_assert_eq!(got as u64, (n as u64).min(written - read));
                        prop_assert!(out[..got].iter().enumerate().all(|(i, b)| *b == byte(read + i as u64)));
                        read += got as u64;
                    }
                    Op::Take(max, sink) => {
                        let mut loose = buf.take_loose(&pool, max);
                        let mut out = vec![0; sink];
                        let got = loose.drain(&pool, &mut &mut out[..]);
                        buf.untake(loose);
                        prop_assert!(out[..got].iter().enumerate().all(|(i, b)| *b == byte(read + i as u64)));
                        read += got as u64;
                    }
                }
                prop_assert_eq!(buf.len() as u64, written - read);
                prop_assert_eq!((buf.start(), buf.end()), (read, written));
            }
            buf.clear(&pool);
            prop_assert_eq!(pool.used(), 0);
        }

        #[test]
        fn copy_at_sees_any_range(len in 1usize..80_000, eaten in 0usize..80_000, at in 0u64..90_000, want in 0usize..5000) {
            let pool = Pool::new(64 << 20);
            let mut buf = StreamBuf::default();
            for part in (0..len as u64).collect::<Vec<_>>().chunks(1500) {
                let data: Vec<u8> = part.iter().copied().map(byte).collect();
                buf.append_slice(&pool, &data);
            }
            buf.consume(&pool, eaten);
            let mut out = vec![0; want];
            let got = buf.copy_at(at, &mut out);
            let from = at.clamp(buf.start(), buf.end());
            prop_assert_eq!(got as u64, (want as u64).min(buf.end() - from));
            prop_assert!(out[..got].iter().enumerate().all(|(i, b)| *b == byte(from + i as u64)));
        }
    }

    #[test]
    fn shared_chunks_are_taken_in_parts() {
        let pool = Pool::new(64 << 20);
        let mut buf = StreamBuf::default();
        let mut buffer = pool.frame_buffer(SHARED * 2);
        Arc::get_mut(&mut buffer).unwrap().iter_mut().zip(0..).for_each(|(place, at)| *place = byte(at));
        let len = buffer.len();
        assert_eq!(buf.append_frame(&pool, &buffer[..], Some(&buffer)), len);
        let mut out = Vec::new();
        while !buf.is_empty() {
            let mut loose = buf.take_loose(&pool, 20_000);
            let mut part = vec![0; 20_000];
            let got = loose.drain(&pool, &mut &mut part[..]);
            assert!(got == 20_000 || buf.is_empty(), "{got} of {}", buf.len());
            out.extend_from_slice(&part[..got]);
        }
        assert!(out.len() == len && out == buffer[..]);
        assert_eq!((pool.used(), Arc::strong_count(&buffer)), (0, 1));
    }

    #[test]
    fn what_lies_elsewhere_is_copied() {
        let pool = Pool::new(64 << 20);
        let mut buf = StreamBuf::default();
        let (buffer, other) = (pool.frame_buffer(SHARED * 2), vec![7; SHARED]);
        assert_eq!(buf.append_frame(&pool, &other, Some(&buffer)), SHARED);
        assert_eq!((pool.used(), Arc::strong_count(&buffer)), (SHARED, 1));
        let mut out = vec![0; SHARED];
        assert_eq!(buf.copy_at(0, &mut out), SHARED);
        assert_eq!(out, other);
    }

    #[test]
    fn budget_stops_appends() {
        let pool = Pool::new(LARGE * 2);
        let mut buf = StreamBuf::default();
        let data = vec![1; LARGE * 3];
        let done = buf.append(&pool, &mut &data[..], data.len());
        assert!(done.starved && done.bytes == LARGE * 2);
        assert!(Loose::fill(&pool, &mut &data[..], 10).1.starved);
    }
}
