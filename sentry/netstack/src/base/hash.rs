//! Keyed hashing (SipHash-1-3 over 64-bit words) and a small random generator, both deterministic given their seed.
//!
//! Peers choose ports and addresses, so every table that they index is hashed with a secret key. The same function
//! makes initial sequence numbers (RFC 6528), SYN cookies and fragment identifiers.

use parking_lot::Mutex;
use std::hash::{BuildHasher, Hasher};

/// A hash key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(pub(crate) u64, pub(crate) u64);

/// The state of one hash. A call of `write_u*` absorbs one word; byte strings are absorbed eight bytes at a time.
#[derive(Clone, Debug)]
pub(crate) struct Sip {
    v: [u64; 4],
    words: u64,
}

impl Sip {
    pub(crate) const fn new(key: Key) -> Self {
        let v = [
            key.0 ^ 0x736f_6d65_7073_6575,
            key.1 ^ 0x646f_7261_6e64_6f6d,
            key.0 ^ 0x6c79_6765_6e65_7261,
            key.1 ^ 0x7465_6462_7974_6573,
        ];
        Self { v, words: 0 }
    }

    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }

    const fn absorb(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.v[0] ^= word;
        self.words = self.words.wrapping_add(1);
    }
}

impl Hasher for Sip {
    fn finish(&self) -> u64 {
        let mut last = self.clone();
        last.absorb(self.words << 56);
        last.v[2] ^= 0xff;
        last.round();
        last.round();
        last.round();
        last.v[0] ^ last.v[1] ^ last.v[2] ^ last.v[3]
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.absorb(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.absorb(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.absorb(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.absorb(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.absorb(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.absorb(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.absorb(n as u64);
    }
}

impl BuildHasher for Key {
    type Hasher = Sip;
    fn build_hasher(&self) -> Sip {
        Sip::new(*self)
    }
}

/// A source of unpredictable numbers: a counter hashed under a secret key.
#[derive(Debug)]
pub(crate) struct Random {
    key: Key,
    counter: Mutex<u64>,
}

impl Random {
    pub(crate) const fn new(key: Key) -> Self {
        Self { key, counter: Mutex::new(0) }
    }

    pub(crate) fn next_u64(&self) -> u64 {
        let mut counter = self.counter.lock();
        *counter = counter.wrapping_add(1);
        let mut sip = Sip::new(self.key);
        sip.write_u64(*counter);
        sip.finish()
    }

    pub(crate) fn next_u32(&self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A number below `bound`, zero where that is zero.
    pub(crate) fn below(&self, bound: u32) -> u32 {
        ((u64::from(self.next_u32()) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_depends_on_key_words_and_length() {
        let hash = |key: Key, bytes: &[u8]| {
            let mut sip = key.build_hasher();
            sip.write(bytes);
            sip.finish()
        };
        let key = Key(1, 2);
        assert_eq!(hash(key, b"rampart"), hash(key, b"rampart"));
        assert_ne!(hash(key, b"rampart"), hash(Key(1, 3), b"rampart"));
        assert_ne!(hash(key, b"a\0\0\0\0\0\0\0"), hash(key, b"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    }

    #[test]
    fn below_stays_below() {
        let random = Random::new(Key(7, 7));
        assert!((0..1000).all(|_| random.below(10) < 10));
        assert_eq!(random.below(0), 0);
    }
}
