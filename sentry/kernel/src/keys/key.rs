//! A [`Key`]: a secret with a name, or a keyring, which holds others (`man 7 keyrings`).
//!
//! Lock: `state` is a leaf, and of one key at a time.

use std::sync::Arc;

use abi::keyctl::right;
use abi::{Errno, Result};
use parking_lot::{Mutex, MutexGuard};

use super::KeyUsage;
use super::usage::quota;
use crate::task::Credentials;

/// Keyrings are searched so deep, and linked no deeper.
pub(super) const MAX_DEPTH: usize = 6;
/// Most links of one keyring.
const MAX_LINKS: usize = 4096;

/// What kind of payload a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// Links to other keys.
    Keyring,
    /// Bytes for programs.
    User,
    /// Bytes that programs can set but not read.
    Logon,
    /// As `User`, with more room.
    BigKey,
}

impl KeyType {
    const NAMES: [(Self, &'static [u8]); 4] = [
        (Self::Keyring, b"keyring"),
        (Self::User, b"user"),
        (Self::Logon, b"logon"),
        (Self::BigKey, b"big_key"),
    ];

    /// The type called `name`.
    ///
    /// # Errors
    /// `ENODEV`.
    pub fn of_name(name: &[u8]) -> Result<Self> {
        let found = Self::NAMES.into_iter().find(|(_, known)| *known == name);
        found.map(|(kind, _)| kind).ok_or(Errno::ENODEV)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static [u8] {
        Self::NAMES.into_iter().find(|(kind, _)| *kind == self).map_or(b"", |(_, name)| name)
    }

    /// Whether programs may see the payload.
    #[must_use]
    pub fn is_readable(self) -> bool {
        self != Self::Logon
    }

    /// Whether a key may be called `description` and have `payload`.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check(self, description: &[u8], payload: &[u8]) -> Result<()> {
        let is_fitting = match self {
            Self::Keyring => payload.is_empty(),
            Self::User | Self::Logon => (1..=32767).contains(&payload.len()),
            Self::BigKey => (1..=1 << 20).contains(&payload.len()),
        };
        // The names of logon keys say whose they are.
        let is_named = self != Self::Logon || description.iter().position(|byte| *byte == b':') > Some(0);
        if is_fitting && is_named && !description.is_empty() { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// The rights over a new key: all of what can be done for who possesses it, to see it for its owner.
    #[must_use]
    pub fn default_rights(self) -> u32 {
        let possessor = if self.is_readable() { right::ALL } else { right::ALL & !right::READ };
        possessor << right::POSSESSOR | right::VIEW << right::USER
    }
}

#[derive(Debug)]
pub(super) enum Content {
    Links(Vec<Arc<Key>>),
    Data(Box<[u8]>),
}

/// What of a key can change.
#[derive(Debug)]
pub(super) struct KeyState {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rights: u32,
    /// Seconds of the real-time clock.
    pub(super) expires: Option<i64>,
    pub(super) is_revoked: bool,
    pub(super) is_invalid: bool,
    pub(super) content: Content,
    usage: Arc<KeyUsage>,
    charged: usize,
}

/// A key or keyring.
#[derive(Debug)]
pub struct Key {
    pub(super) serial: i32,
    pub(super) kind: KeyType,
    pub(super) description: Box<[u8]>,
    state: Mutex<KeyState>,
}

/// What a new key is made from.
pub(super) struct NewKey<'a> {
    pub(super) kind: KeyType,
    pub(super) description: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) owner: (u32, u32),
    pub(super) rights: u32,
}

impl Key {
    /// A key that nothing links to yet, at `usage`'s cost.
    ///
    /// # Errors
    /// `EDQUOT`.
    pub(super) fn new(serial: i32, new: &NewKey<'_>, usage: Arc<KeyUsage>) -> Result<Arc<Self>> {
        let (uid, gid) = new.owner;
        let charged = new.description.len() + 1 + new.payload.len();
        usage.charge(1, charged, quota(uid))?;
        let content = match new.kind {
            KeyType::Keyring => Content::Links(Vec::new()),
            _ => Content::Data(new.payload.into()),
        };
        let state = KeyState {
            uid,
            gid,
            rights: new.rights,
            expires: None,
            is_revoked: false,
            is_invalid: false,
            content,
            usage,
            charged,
        };
        let (kind, description) = (new.kind, new.description.into());
        Ok(Arc::new(Self { serial, kind, description, state: Mutex::new(state) }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, KeyState> {
        self.state.lock()
    }

    /// Its number.
    #[must_use]
    pub fn serial(&self) -> i32 {
        self.serial
    }

    /// Whether `creds` have the rights `need`, possessing the key or not.
    #[must_use]
    pub fn allows(&self, creds: &Credentials, is_possessed: bool, need: u32) -> bool {
        let state = self.state();
        let mut rights = if state.uid == creds.fsuid {
            state.rights >> right::USER
        } else if creds.in_group(state.gid) && state.rights >> right::GROUP & right::ALL != 0 {
            state.rights >> right::GROUP
        } else {
            state.rights
        };
        if is_possessed {
            rights |= state.rights >> right::POSSESSOR;
        }
        rights & need == need
    }

    /// Whether it can be used at `now`, seconds of the real-time clock.
    ///
    /// # Errors
    /// `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`.
    pub fn check_valid(&self, now: i64) -> Result<()> {
        let state = self.state();
        if state.is_invalid {
            Err(Errno::ENOKEY)
        } else if state.is_revoked {
            Err(Errno::EKEYREVOKED)
        } else if state.expires.is_some_and(|expires| now >= expires) {
            Err(Errno::EKEYEXPIRED)
        } else {
            Ok(())
        }
    }

    /// The links of a keyring; none of other keys.
    pub(super) fn links(&self) -> Vec<Arc<Self>> {
        let mut links = match &self.state().content {
            Content::Links(links) => links.clone(),
            Content::Data(_) => Vec::new(),
        };
        links.retain(|key| !key.state().is_invalid);
        links
    }

    /// Whether a keyring links to nothing.
    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.state().content, Content::Links(links) if links.is_empty())
    }

    /// Whether a keyring links to `key` and nothing else.
    pub(super) fn links_only_to(&self, key: &Arc<Self>) -> bool {
        matches!(&self.state().content, Content::Links(links) if links.len() == 1 && Arc::ptr_eq(&links[0], key))
    }

    /// Whether it is called so.
    pub(super) fn is_called(&self, kind: KeyType, description: &[u8]) -> bool {
        self.kind == kind && *self.description == *description
    }

    /// Links `key` here, in place of one with its name. With [`super::KeyTable::links`] held, so that no circle comes about.
    ///
    /// # Errors
    /// `ENOTDIR`, `EDEADLK` where `key` leads back here, `ELOOP` where it leads deeper than searches go, `ENFILE`.
    pub fn link(self: &Arc<Self>, key: &Arc<Self>) -> Result<()> {
        self.check_link_to(key)?;
        let mut state = self.state();
        let Content::Links(links) = &mut state.content else { return Err(Errno::ENOTDIR) };
        let twin = links.iter().position(|other| other.is_called(key.kind, &key.description));
        let replaced = match twin {
            Some(at) => Some(std::mem::replace(&mut links[at], key.clone())),
            None if links.len() >= MAX_LINKS => return Err(Errno::ENFILE),
            None => {
                links.push(key.clone());
                None
            }
        };
        drop(state);
        drop(replaced);
        Ok(())
    }

    /// Whether `key` may be linked here without making a circle or a tree that is too deep.
    fn check_link_to(self: &Arc<Self>, key: &Arc<Self>) -> Result<()> {
        self.check_keyring()?;
        let mut level = vec![key.clone()];
        for _ in 0..=MAX_DEPTH {
            if level.iter().any(|below| Arc::ptr_eq(below, self)) {
                return Err(Errno::EDEADLK);
            }
            let mut next: Vec<Arc<Self>> = Vec::new();
            for below in level.iter().flat_map(|key| key.links()) {
                if below.kind == KeyType::Keyring && !next.iter().any(|known| Arc::ptr_eq(known, &below)) {
                    next.push(below);
                }
            }
            if next.is_empty() {
                return Ok(());
            }
            level = next;
        }
        Err(Errno::ELOOP)
    }

    /// Takes links out of a keyring; says whether there was one to take.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub(super) fn unlink(&self, goes: impl Fn(&Arc<Self>) -> bool) -> Result<bool> {
        let mut state = self.state();
        let Content::Links(links) = &mut state.content else { return Err(Errno::ENOTDIR) };
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(links).into_iter().partition(goes);
        *links = kept;
        drop(state);
        Ok(!gone.is_empty())
    }

    /// Takes `key` out of a keyring.
    ///
    /// # Errors
    /// `ENOTDIR`, `ENOENT` where it is not there.
    pub fn unlink_one(&self, key: &Arc<Self>) -> Result<()> {
        if self.unlink(|other| Arc::ptr_eq(other, key))? { Ok(()) } else { Err(Errno::ENOENT) }
    }

    /// Empties a keyring.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn clear(&self) -> Result<()> {
        self.unlink(|_| true).map(|_| ())
    }

    /// Whether a keyring links to `key`.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn holds(&self, key: &Arc<Self>) -> Result<bool> {
        self.check_keyring()?;
        Ok(self.links().iter().any(|other| Arc::ptr_eq(other, key)))
    }

    /// Whether a keyring links to one that is called like `key`.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn holds_twin(&self, key: &Self) -> Result<bool> {
        self.check_keyring()?;
        Ok(self.links().iter().any(|other| other.is_called(key.kind, &key.description)))
    }

    fn check_keyring(&self) -> Result<()> {
        if self.kind == KeyType::Keyring { Ok(()) } else { Err(Errno::ENOTDIR) }
    }

    /// Whose it is: user and group.
    #[must_use]
    pub fn owner(&self) -> (u32, u32) {
        let state = self.state();
        (state.uid, state.gid)
    }

    /// Sets who may do what with it.
    pub fn set_rights(&self, rights: u32) {
        self.state().rights = rights;
    }

    /// Lets it end so many seconds after `now`; 0 for never.
    pub fn set_timeout(&self, now: i64, seconds: u32) {
        self.state().expires = (seconds != 0).then(|| now.saturating_add(seconds.into()));
    }

    /// Makes it as if it were gone.
    pub fn invalidate(&self) {
        self.state().is_invalid = true;
        self.let_go();
    }

    /// Gives it another payload, and a life without end.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for keyrings, `EINVAL`, `EDQUOT`.
    pub fn update(&self, payload: &[u8]) -> Result<()> {
        if self.kind == KeyType::Keyring {
            return Err(Errno::EOPNOTSUPP);
        }
        self.kind.check(&self.description, payload)?;
        let mut state = self.state();
        let charged = self.description.len() + 1 + payload.len();
        state.usage.charge(0, charged, quota(state.uid))?;
        state.usage.uncharge(0, state.charged);
        state.charged = charged;
        state.content = Content::Data(payload.into());
        state.expires = None;
        Ok(())
    }

    /// Moves what it costs to another user, who owns it from now on.
    ///
    /// # Errors
    /// `EDQUOT`.
    pub(super) fn give_to(&self, uid: u32, usage: Arc<KeyUsage>) -> Result<()> {
        let mut state = self.state();
        usage.charge(1, state.charged, quota(uid))?;
        state.usage.uncharge(1, state.charged);
        state.usage = usage;
        state.uid = uid;
        Ok(())
    }

    /// Makes it useless. A keyring lets go of what it holds.
    pub fn revoke(&self) {
        self.state().is_revoked = true;
        self.let_go();
    }

    fn let_go(&self) {
        let links = take_links(&mut self.state());
        drop(links);
    }
}

impl Drop for Key {
    /// Lets go of nested keyrings one by one: a guest can nest them deeper than our stack.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        state.usage.uncharge(1, state.charged);
        let mut pending = take_links(state);
        while let Some(key) = pending.pop() {
            if let Some(mut key) = Arc::into_inner(key) {
                pending.append(&mut take_links(key.state.get_mut()));
            }
        }
    }
}

fn take_links(state: &mut KeyState) -> Vec<Arc<Key>> {
    match &mut state.content {
        Content::Links(links) => std::mem::take(links),
        Content::Data(_) => Vec::new(),
    }
}
