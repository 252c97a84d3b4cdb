//! How data crosses the stack's border: the caller copies straight into and out of the stack's buffers.

/// Where sent data comes from. Called with locks of the socket held: it must not call into the stack.
pub trait Source {
    /// How many bytes are left.
    fn remaining(&self) -> usize;

    /// Fills the front of `out` with the next bytes. A short count means that no more can be had (a bad address).
    fn fill(&mut self, out: &mut [u8]) -> usize;
}

/// Where received data goes. Called with locks of the socket held: it must not call into the stack.
pub trait Sink {
    /// How many bytes still fit.
    fn room(&self) -> usize;

    /// Takes the front of `data`. A count below both `data.len()` and `room()` means a bad address.
    fn put(&mut self, data: &[u8]) -> usize;
}

impl Source for &[u8] {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn fill(&mut self, out: &mut [u8]) -> usize {
        let n = out.len().min(self.len());
        let (head, tail) = self.split_at(n);
        out[..n].copy_from_slice(head);
        *self = tail;
        n
    }
}

impl Sink for &mut [u8] {
    fn room(&self) -> usize {
        self.len()
    }

    fn put(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(self.len());
        let (head, tail) = std::mem::take(self).split_at_mut(n);
        head.copy_from_slice(&data[..n]);
        *self = tail;
        n
    }
}

/// A [`Source`] of `len` bytes made from a function that fills a slice.
#[derive(Debug)]
pub struct SourceFn<F> {
    len: usize,
    fill: F,
}

impl<F: FnMut(&mut [u8]) -> usize> SourceFn<F> {
    /// `len` bytes that `fill` supplies in order.
    pub const fn new(len: usize, fill: F) -> Self {
        Self { len, fill }
    }
}

impl<F: FnMut(&mut [u8]) -> usize> Source for SourceFn<F> {
    fn remaining(&self) -> usize {
        self.len
    }

    fn fill(&mut self, out: &mut [u8]) -> usize {
        let want = out.len().min(self.len);
        let n = (self.fill)(&mut out[..want]).min(want);
        self.len -= n;
        n
    }
}

/// A [`Sink`] of `len` bytes made from a function that takes a slice.
#[derive(Debug)]
pub struct SinkFn<F> {
    len: usize,
    put: F,
}

impl<F: FnMut(&[u8]) -> usize> SinkFn<F> {
    /// Room for `len` bytes, which `put` is given in order.
    pub const fn new(len: usize, put: F) -> Self {
        Self { len, put }
    }
}

impl<F: FnMut(&[u8]) -> usize> Sink for SinkFn<F> {
    fn room(&self) -> usize {
        self.len
    }

    fn put(&mut self, data: &[u8]) -> usize {
        let want = data.len().min(self.len);
        let n = (self.put)(&data[..want]).min(want);
        self.len -= n;
        n
    }
}

/// A sink that forgets what it takes: receiving with `MSG_TRUNC` on a stream.
#[derive(Clone, Copy, Debug)]
pub struct Discard(pub usize);

impl Sink for Discard {
    fn room(&self) -> usize {
        self.0
    }

    fn put(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(self.0);
        self.0 -= n;
        n
    }
}

/// Reads all of `source`, up to `max` bytes, into one allocation. `None` where the source faults.
pub(crate) fn gather(source: &mut dyn Source, headroom: usize) -> Option<Vec<u8>> {
    let len = source.remaining();
    let mut data = vec![0; headroom.checked_add(len)?];
    let mut at = headroom;
    while at < data.len() {
        let n = source.fill(&mut data[at..]);
        if n == 0 {
            return None;
        }
        at += n;
    }
    Some(data)
}
