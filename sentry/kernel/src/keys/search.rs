//! Finding keys: in a keyring and those that it links to, as far as the searcher may look.

use std::sync::Arc;

use abi::keyctl::right;
use abi::{Errno, Result};

use super::key::MAX_DEPTH;
use super::{Key, KeyType};
use crate::task::Credentials;

/// Who searches, and when.
pub struct Searcher<'a> {
    /// Whose rights count.
    pub creds: &'a Credentials,
    /// Seconds of the real-time clock.
    pub now: i64,
}

/// A key, and whether the one who asks possesses it: it can be found from that one's own keyrings.
#[derive(Clone, Debug)]
pub struct KeyRef {
    /// The key.
    pub key: Arc<Key>,
    /// Whether the possessor's rights apply.
    pub is_possessed: bool,
}

impl KeyRef {
    /// Whether the searcher has the right `need`.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn check(&self, creds: &Credentials, need: u32) -> Result<()> {
        if self.key.allows(creds, self.is_possessed, need) { Ok(()) } else { Err(Errno::EACCES) }
    }
}

impl Searcher<'_> {
    /// The first usable key with this name below `ring`.
    ///
    /// # Errors
    /// `ENOKEY`; where the only ones found cannot be used, why: `EKEYREVOKED`, `EKEYEXPIRED`, `EACCES`.
    pub fn find(&self, ring: &KeyRef, kind: KeyType, description: &[u8]) -> Result<Arc<Key>> {
        let mut failure = Errno::ENOKEY;
        let found = self.walk(ring, &mut |key| {
            if !key.is_called(kind, description) {
                return false;
            }
            let usable = key.check_valid(self.now).and_then(|()| {
                KeyRef { key: key.clone(), is_possessed: ring.is_possessed }.check(self.creds, right::SEARCH)
            });
            if let Err(errno) = usable {
                failure = errno;
            }
            usable.is_ok()
        })?;
        found.ok_or(failure)
    }

    /// Whether `key` is below `ring` and may be found there.
    #[must_use]
    pub fn reaches(&self, ring: &KeyRef, key: &Arc<Key>) -> bool {
        let is_it = |other: &Arc<Key>| Arc::ptr_eq(other, key) && key.allows(self.creds, true, right::SEARCH);
        is_it(&ring.key) || self.walk(ring, &mut |other| is_it(other)).is_ok_and(|found| found.is_some())
    }

    /// Visits what `ring` links to, then what the keyrings among that link to, and so on; returns where `visit` stops.
    fn walk(&self, ring: &KeyRef, visit: &mut dyn FnMut(&Arc<Key>) -> bool) -> Result<Option<Arc<Key>>> {
        if ring.key.kind != KeyType::Keyring {
            return Err(Errno::ENOTDIR);
        }
        ring.check(self.creds, right::SEARCH)?;
        let mut level = vec![ring.key.clone()];
        for _ in 0..MAX_DEPTH {
            let mut next: Vec<Arc<Key>> = Vec::new();
            for keyring in &level {
                for key in keyring.links() {
                    if visit(&key) {
                        return Ok(Some(key));
                    }
                    let is_open = key.kind == KeyType::Keyring
                        && key.check_valid(self.now).is_ok()
                        && key.allows(self.creds, ring.is_possessed, right::SEARCH);
                    if is_open && !next.iter().any(|known| Arc::ptr_eq(known, &key)) {
                        next.push(key);
                    }
                }
            }
            level = next;
        }
        Ok(None)
    }
}
