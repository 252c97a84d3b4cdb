//! The keyrings that users have, in each user name space: made when they are first asked for, kept while they hold
//! something or somebody has them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::Key;
use crate::task::UserNamespace;

/// The keyrings that each user has.
#[derive(Clone, Debug)]
pub(super) struct UserKeyrings {
    /// `_uid.N`.
    pub(super) user: Arc<Key>,
    /// `_uid_ses.N`, the session of those who have none: links to `user`.
    pub(super) session: Arc<Key>,
}

impl UserKeyrings {
    /// Whether new ones would be the same.
    fn is_idle(&self) -> bool {
        let is_linked_once = Arc::strong_count(&self.user) == 2 && Arc::strong_count(&self.session) == 1;
        is_linked_once && self.user.is_empty() && self.session.links_only_to(&self.user)
    }
}

/// What a user has.
#[derive(Debug)]
pub(super) struct UserEntry {
    namespace: Weak<UserNamespace>,
    pub(super) own: Option<UserKeyrings>,
    /// The keyring that outlives sessions.
    pub(super) persistent: Option<Arc<Key>>,
}

impl UserEntry {
    /// Lets go of what is of no use at `now`, seconds of the real-time clock; says whether something is left.
    fn tidy(&mut self, now: i64) -> bool {
        if self.namespace.strong_count() == 0 {
            return false;
        }
        let is_idle = |key: &Arc<Key>| Arc::strong_count(key) == 1 && key.is_empty();
        self.persistent.take_if(|key| key.check_valid(now).is_err() || is_idle(key));
        self.own.take_if(|own| own.is_idle());
        self.own.is_some() || self.persistent.is_some()
    }
}

/// The users of each user name space.
#[derive(Debug, Default)]
pub(super) struct UsersTable {
    /// By the number of the name space, and the user's kernel id.
    entries: HashMap<(u64, u32), UserEntry>,
    /// How many were of use when that was last looked at.
    kept: usize,
}

impl UsersTable {
    /// What user `uid` has in `namespace`.
    pub(super) fn entry(&mut self, namespace: &Arc<UserNamespace>, uid: u32, now: i64) -> &mut UserEntry {
        if self.entries.len() >= 2 * self.kept + 64 {
            self.entries.retain(|_, entry| entry.tidy(now));
            self.kept = self.entries.len();
        }
        let make = || UserEntry { namespace: Arc::downgrade(namespace), own: None, persistent: None };
        self.entries.entry((namespace.id().0, uid)).or_insert_with(make)
    }
}

#[cfg(test)]
mod tests {
    use abi::keyctl::right;

    use super::super::{KeyTable, KeyType, NewKey};
    use super::{UserKeyrings, UsersTable};
    use crate::task::{NamespaceId, UserNamespace};

    const USERS: u32 = 1000;

    #[test]
    fn what_is_of_no_use_goes() {
        let (table, mut users) = (KeyTable::default(), UsersTable::default());
        let make = |uid| {
            let new = NewKey {
                kind: KeyType::Keyring,
                description: b"ring",
                payload: b"",
                owner: (uid, 0),
                rights: right::ALL,
            };
            table.make(&new).unwrap()
        };
        let namespace = UserNamespace::initial(NamespaceId(1));
        let (held, holds) = (make(1), make(2));
        holds.link(&make(3)).unwrap();
        users.entry(&namespace, 1, 0).persistent = Some(held.clone());
        users.entry(&namespace, 2, 0).persistent = Some(holds);
        for uid in 3..USERS {
            let (user, session) = (make(uid), make(uid));
            session.link(&user).unwrap();
            users.entry(&namespace, uid, 0).own = Some(UserKeyrings { user, session });
        }
        assert!(users.entries.len() < 200, "{}", users.entries.len());
        assert!(users.entry(&namespace, 1, 0).persistent.is_some(), "somebody has it");
        assert!(users.entry(&namespace, 2, 0).persistent.is_some(), "something is in it");
        drop((namespace, held));
        let other = UserNamespace::initial(NamespaceId(2));
        for uid in 0..USERS {
            users.entry(&other, uid, 0).persistent = Some(make(uid));
        }
        assert!(users.entries.keys().all(|&(namespace, _)| namespace == 2), "with its name space");
    }
}
