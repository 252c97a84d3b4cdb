//! The keyrings of tasks and users, and what tasks do with keys.

use std::sync::Arc;

use abi::keyctl::{
    KEY_REQKEY_DEFL_DEFAULT, KEY_SPEC_PROCESS_KEYRING, KEY_SPEC_SESSION_KEYRING, KEY_SPEC_THREAD_KEYRING,
    KEY_SPEC_USER_KEYRING, KEY_SPEC_USER_SESSION_KEYRING, right,
};
use abi::{Errno, Result};

use super::key::NewKey;
use super::users::UserKeyrings;
use super::{Content, Key, KeyRef, KeyType, Searcher, Table};
use crate::Task;
use crate::task::{Container, Credentials, OVERFLOW_ID};

/// The group of what has none.
const NO_GROUP: u32 = u32::MAX;
/// How long a persistent keyring lives after it was last asked for, seconds.
const PERSISTENT_LIFE: i64 = 3 * 24 * 60 * 60;

/// The keyrings that a task has of its own; none until it asks for them.
#[derive(Clone, Debug, Default)]
pub struct TaskKeyrings {
    thread: Option<Arc<Key>>,
    /// It has one, which is made when it is first asked for: its maker had one.
    has_thread: bool,
    process: Option<Arc<Key>>,
    session: Option<Arc<Key>>,
    /// `KEYCTL_SET_REQKEY_KEYRING`.
    pub default_ring: i32,
}

impl TaskKeyrings {
    /// What a new thread has of its maker's.
    #[must_use]
    pub fn for_thread(&self) -> Self {
        let has_thread = self.has_thread || self.thread.is_some();
        Self { thread: None, has_thread, default_ring: KEY_REQKEY_DEFL_DEFAULT, ..self.clone() }
    }

    /// What another process or program has.
    #[must_use]
    pub fn for_process(&self) -> Self {
        Self { process: None, has_thread: false, ..self.for_thread() }
    }
}

/// Whether a keyring that is not there yet is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is.
    Create,
    /// It is not.
    Fail,
}

impl Task {
    /// Seconds of the real-time clock.
    fn key_time(&self) -> i64 {
        self.kernel().timekeeper.now().tv_sec
    }

    /// Calls `search` for this task, with its rights.
    pub(crate) fn search_keys<T>(&self, search: impl FnOnce(&Searcher<'_>) -> T) -> T {
        let creds = self.creds();
        search(&Searcher { creds: &creds, now: self.key_time() })
    }

    fn new_keyring(&self, name: &[u8], rights: u32) -> Result<Arc<Key>> {
        self.kernel().keys.make(&self.keyring(name, rights))
    }

    /// A keyring of the task's user, to be made.
    fn keyring<'a>(&self, name: &'a [u8], rights: u32) -> NewKey<'a> {
        let creds = self.creds();
        let owner = (creds.fsuid, creds.fsgid);
        NewKey { kind: KeyType::Keyring, description: name, payload: b"", owner, rights }
    }

    fn user_keyrings(&self) -> Result<UserKeyrings> {
        let creds = self.creds();
        let now = self.key_time();
        let mut table = self.kernel().keys.table.lock();
        if let Some(known) = &table.users.entry(&creds.user_ns, creds.uid, now).own {
            return Ok(known.clone());
        }
        let rights = (right::ALL & !right::SETATTR) << right::POSSESSOR | right::ALL << right::USER;
        let user = table.make_keyring_of(creds.uid, "_uid", rights)?;
        let session = table.make_keyring_of(creds.uid, "_uid_ses", rights)?;
        session.link(&user)?;
        let rings = UserKeyrings { user, session };
        table.users.entry(&creds.user_ns, creds.uid, now).own = Some(rings.clone());
        Ok(rings)
    }

    /// The keyrings that its searches begin with.
    fn own_keyrings(&self) -> Result<Vec<Arc<Key>>> {
        let own = self.details.lock().keyrings.clone();
        let session = match own.session {
            Some(session) => session,
            None => self.user_keyrings()?.session,
        };
        Ok([own.thread, own.process, Some(session)].into_iter().flatten().collect())
    }

    /// The key that `id` names, a number or a keyring of the task's, if it has the right `need`.
    ///
    /// # Errors
    /// `ENOKEY`, `EINVAL`, `EKEYREVOKED`, `EKEYEXPIRED`, `EACCES`, `EDQUOT`.
    pub(crate) fn key(&self, id: i32, missing: Missing, need: u32) -> Result<KeyRef> {
        let found = self.key_of_any_state(id, missing)?;
        found.key.check_valid(self.key_time())?;
        found.check(&self.creds(), need)?;
        Ok(found)
    }

    /// As [`Self::key`], of whichever state and rights.
    pub(crate) fn key_of_any_state(&self, id: i32, missing: Missing) -> Result<KeyRef> {
        let own = |key| Ok(KeyRef { key, is_possessed: true });
        match id {
            KEY_SPEC_THREAD_KEYRING => {
                let has_one = self.details.lock().keyrings.has_thread;
                let missing = if has_one { Missing::Create } else { missing };
                own(self.own_keyring(missing, b"_tid", |own| &mut own.thread)?)
            }
            KEY_SPEC_PROCESS_KEYRING => own(self.own_keyring(missing, b"_pid", |own| &mut own.process)?),
            KEY_SPEC_SESSION_KEYRING => own(self.session_keyring(missing)?),
            KEY_SPEC_USER_KEYRING => Ok(self.as_possessed(self.user_keyrings()?.user)),
            KEY_SPEC_USER_SESSION_KEYRING => Ok(self.as_possessed(self.user_keyrings()?.session)),
            1.. => Ok(self.as_possessed(self.kernel().keys.get(id).ok_or(Errno::ENOKEY)?)),
            abi::keyctl::KEY_SPEC_REQKEY_AUTH_KEY | abi::keyctl::KEY_SPEC_REQUESTOR_KEYRING => {
                Err(Errno::ENOKEY)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// The key, with whether one of the task's keyrings leads to it.
    fn as_possessed(&self, key: Arc<Key>) -> KeyRef {
        let leads = |ring| {
            self.search_keys(|searcher| searcher.reaches(&KeyRef { key: ring, is_possessed: true }, &key))
        };
        let is_possessed = self.own_keyrings().is_ok_and(|rings| rings.into_iter().any(leads));
        KeyRef { key, is_possessed }
    }

    fn own_keyring(
        &self,
        missing: Missing,
        name: &[u8],
        slot: impl Fn(&mut TaskKeyrings) -> &mut Option<Arc<Key>>,
    ) -> Result<Arc<Key>> {
        if let Some(key) = slot(&mut self.details.lock().keyrings).clone() {
            return Ok(key);
        }
        if missing == Missing::Fail {
            return Err(Errno::ENOKEY);
        }
        let key = self.new_keyring(name, right::ALL << right::POSSESSOR | right::VIEW << right::USER)?;
        *slot(&mut self.details.lock().keyrings) = Some(key.clone());
        Ok(key)
    }

    /// A task without a session of its own uses its user's until it wants to put something there.
    fn session_keyring(&self, missing: Missing) -> Result<Arc<Key>> {
        let own = self.details.lock().keyrings.session.clone();
        let users = self.user_keyrings()?.session;
        match (own, missing) {
            (Some(own), Missing::Create) if Arc::ptr_eq(&own, &users) => self.join_session(None),
            (Some(own), _) => Ok(own),
            (None, Missing::Create) => self.join_session(None),
            (None, Missing::Fail) => {
                self.set_session_keyring(users.clone());
                Ok(users)
            }
        }
    }

    fn set_session_keyring(&self, key: Arc<Key>) {
        let old = self.details.lock().keyrings.session.replace(key);
        drop(old);
    }

    /// Puts the first task of a program of `container` into that one's session, as other runtimes do.
    pub(crate) fn join_container_session(&self, container: &Container) -> Result<()> {
        let name = format!("_ses.{}", container.id());
        let rights =
            right::ALL << right::POSSESSOR | (right::VIEW | right::READ | right::SEARCH) << right::USER;
        let keys = &self.kernel().keys;
        let make = || keys.make_uncharged(&self.keyring(name.as_bytes(), rights));
        let session = container.session_keyring(make)?;
        self.set_session_keyring(session);
        Ok(())
    }

    /// `KEYCTL_JOIN_SESSION_KEYRING`: a new session, or the one with this name.
    pub(crate) fn join_session(&self, name: Option<&[u8]>) -> Result<Arc<Key>> {
        let rights = right::ALL << right::POSSESSOR | (right::VIEW | right::READ) << right::USER;
        let Some(name) = name else {
            let key = self.new_keyring(b"_ses", rights)?;
            self.set_session_keyring(key.clone());
            return Ok(key);
        };
        let creds = self.creds();
        let may_join = |key: &Arc<Key>| {
            key.allows(&creds, false, right::SEARCH) && key.check_valid(self.key_time()).is_ok()
        };
        let key = match self.kernel().keys.keyrings_called(name).into_iter().find(may_join) {
            Some(key) => key,
            None => self.new_keyring(name, rights | right::LINK << right::USER)?,
        };
        self.set_session_keyring(key.clone());
        Ok(key)
    }

    /// `KEYCTL_SESSION_TO_PARENT`: the parent, which must be alike and have one thread, gets this session.
    pub(crate) fn give_session_to_parent(&self) -> Result<()> {
        let session = self.details.lock().keyrings.session.clone().ok_or(Errno::ENOKEY)?;
        let parent = self.thread_group().parent().ok_or(Errno::EPERM)?;
        let leader = parent.leader().ok_or(Errno::EPERM)?;
        let (own, other) = (self.creds(), leader.creds());
        let is_alike = other.has_only_ids(own.euid, own.egid) && own.has_only_ids(own.euid, own.egid);
        if parent.is_init() || parent.thread_count() != 1 || !is_alike {
            return Err(Errno::EPERM);
        }
        leader.set_session_keyring(session);
        Ok(())
    }

    /// `KEYCTL_GET_PERSISTENT`: a keyring of user `uid` that outlives sessions.
    pub(crate) fn persistent_keyring(&self, uid: u32) -> Result<Arc<Key>> {
        let creds = self.creds();
        let now = self.key_time();
        let mut table = self.kernel().keys.table.lock();
        let known = table.users.entry(&creds.user_ns, uid, now).persistent.clone();
        let key = match known.filter(|key| key.check_valid(now).is_ok()) {
            Some(key) => key,
            None => {
                let rights = right::ALL << right::POSSESSOR | (right::VIEW | right::READ) << right::USER;
                let key = table.make_keyring_of(uid, "_persistent", rights)?;
                table.users.entry(&creds.user_ns, uid, now).persistent = Some(key.clone());
                key
            }
        };
        key.state().expires = Some(now.saturating_add(PERSISTENT_LIFE));
        Ok(key)
    }

    /// add_key(2): a new key in `ring`, or a new payload for the one with that name there.
    pub(crate) fn add_key(
        &self,
        ring: &KeyRef,
        kind: KeyType,
        description: &[u8],
        payload: &[u8],
    ) -> Result<Arc<Key>> {
        let creds = self.creds();
        if ring.key.kind != KeyType::Keyring {
            return Err(Errno::ENOTDIR);
        }
        kind.check(description, payload)?;
        let keys = &self.kernel().keys;
        let _links = keys.links();
        let twin = ring.key.links().into_iter().find(|key| key.is_called(kind, description));
        if let Some(key) = twin.filter(|_| kind != KeyType::Keyring) {
            KeyRef { key: key.clone(), is_possessed: ring.is_possessed }.check(&creds, right::WRITE)?;
            key.check_valid(self.key_time())?;
            key.update(payload)?;
            return Ok(key);
        }
        let owner = (creds.fsuid, creds.fsgid);
        let new = NewKey { kind, description, payload, owner, rights: kind.default_rights() };
        let key = keys.make(&new)?;
        ring.key.link(&key)?;
        Ok(key)
    }

    /// The first key with this name that its own keyrings lead to.
    ///
    /// # Errors
    /// As [`Searcher::find`].
    pub(crate) fn find_key(&self, kind: KeyType, description: &[u8]) -> Result<Arc<Key>> {
        let mut failure = Errno::ENOKEY;
        for ring in self.own_keyrings()? {
            let ring = KeyRef { key: ring, is_possessed: true };
            match self.search_keys(|searcher| searcher.find(&ring, kind, description)) {
                Ok(key) => return Ok(key),
                Err(Errno::ENOKEY) => {}
                Err(errno) => failure = errno,
            }
        }
        Err(failure)
    }
}

impl Table {
    /// An empty keyring of user `uid`, called so and by that number.
    fn make_keyring_of(&mut self, uid: u32, name: &str, rights: u32) -> Result<Arc<Key>> {
        self.make(&NewKey {
            kind: KeyType::Keyring,
            description: format!("{name}.{uid}").as_bytes(),
            payload: b"",
            owner: (uid, NO_GROUP),
            rights,
        })
    }
}

impl Key {
    /// What `KEYCTL_DESCRIBE` tells, ids as seen by `creds`.
    #[must_use]
    pub fn describe(&self, creds: &Credentials) -> Vec<u8> {
        let state = self.state();
        let ns = &creds.user_ns;
        let uid = ns.from_kernel_uid(state.uid);
        let gid = if state.gid == NO_GROUP { OVERFLOW_ID } else { ns.from_kernel_gid(state.gid) };
        let middle = format!(";{uid};{gid};{:08x};", state.rights);
        [self.kind.name(), middle.as_bytes(), &self.description, b"\0"].concat()
    }

    /// The payload: bytes, or the numbers of what a keyring links to.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where programs may not see it.
    pub fn payload(&self) -> Result<Vec<u8>> {
        if !self.kind.is_readable() {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.kind == KeyType::Keyring {
            return Ok(self.links().iter().flat_map(|key| key.serial.to_ne_bytes()).collect());
        }
        match &self.state().content {
            Content::Data(bytes) => Ok(bytes.to_vec()),
            Content::Links(_) => Ok(Vec::new()),
        }
    }
}
