//! What all System V objects share: keys, identifiers, owners and permissions (Linux's `ipc/util.c`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IpcPerm};
use abi::{Errno, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::task::{Capability, Credentials, UserNamespace};

/// Identifiers are `sequence * INDICES + index`, so that stale ones are noticed.
const INDICES: i32 = 32768;

/// Owner and mode of an object.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "Linux's names; man 2 shmctl")]
pub struct Perm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u16,
    /// Whose capabilities count: the user name space that the IPC name space belongs to.
    pub user_ns: Arc<UserNamespace>,
}

/// What a call wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpcAccess {
    /// Look at it.
    Read,
    /// Change its content.
    Write,
    /// Both.
    ReadWrite,
    /// The permission bits of a `*get` call.
    Bits(u32),
}

impl Perm {
    /// For an object made by a task with `creds` in an IPC name space of `user_ns`.
    #[must_use]
    pub fn new(key: i32, creds: &Credentials, user_ns: &Arc<UserNamespace>, mode: u32) -> Self {
        let (uid, gid) = (creds.euid, creds.egid);
        let user_ns = user_ns.clone();
        Self { key, uid, gid, cuid: uid, cgid: gid, mode: mode & 0o777, seq: 0, user_ns }
    }

    /// Whether a task with `creds` may have this access.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn check(&self, creds: &Credentials, access: IpcAccess) -> Result<()> {
        let wanted = match access {
            IpcAccess::Read => 4,
            IpcAccess::Write => 2,
            IpcAccess::ReadWrite => 6,
            IpcAccess::Bits(mode) => (mode | mode >> 3 | mode >> 6) & 7,
        };
        let granted = if creds.euid == self.uid || creds.euid == self.cuid {
            self.mode >> 6
        } else if in_group(creds, self.gid) || in_group(creds, self.cgid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 7 == 0 || creds.has_in(&self.user_ns, Capability::IpcOwner) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// Whether a task with `creds` may change or remove it.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn check_owner(&self, creds: &Credentials) -> Result<()> {
        let is_owner = creds.euid == self.uid || creds.euid == self.cuid;
        if is_owner || creds.has_in(&self.user_ns, Capability::SysAdmin) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// As the guest sees it, with the identities of its user name space.
    #[must_use]
    pub fn show(&self, creds: &Credentials) -> IpcPerm {
        let ns = &creds.user_ns;
        IpcPerm {
            key: self.key,
            uid: ns.from_kernel_uid(self.uid),
            gid: ns.from_kernel_gid(self.gid),
            cuid: ns.from_kernel_uid(self.cuid),
            cgid: ns.from_kernel_gid(self.cgid),
            mode: self.mode,
            seq: self.seq,
            ..IpcPerm::default()
        }
    }

    /// `IPC_SET`: the owner and the permission bits.
    ///
    /// # Errors
    /// `EINVAL` for identities without meaning in the caller's user name space.
    pub fn set(&mut self, creds: &Credentials, new: &IpcPerm) -> Result<()> {
        let uid = creds.user_ns.to_kernel_uid(new.uid).ok_or(Errno::EINVAL)?;
        let gid = creds.user_ns.to_kernel_gid(new.gid).ok_or(Errno::EINVAL)?;
        (self.uid, self.gid) = (uid, gid);
        self.mode = (self.mode & !0o777) | (new.mode & 0o777);
        Ok(())
    }
}

fn in_group(creds: &Credentials, gid: u32) -> bool {
    creds.egid == gid || creds.groups.contains(&gid)
}

/// Something with owner and key.
pub trait IpcObject {
    /// What `IPC_STAT` tells and `IPC_SET` takes.
    type Description: FromBytes + IntoBytes + Immutable;

    /// Owner and mode as of now.
    fn perm(&self) -> Perm;

    /// Changes owner and mode.
    fn set_perm(&self, perm: Perm);

    /// What is told to a task with `creds`, whether or not it may know.
    fn describe(&self, creds: &Credentials) -> Self::Description;

    /// `IPC_SET`: takes over what can be changed, for a task with `creds`.
    ///
    /// # Errors
    /// `EPERM`, `EINVAL`.
    fn set(&self, creds: &Credentials, new: &Self::Description) -> Result<()>;
}

/// The objects of one kind in an IPC name space.
pub trait IpcSet {
    /// What they are.
    type Object: IpcObject;

    /// What `look` makes of their table, which is locked meanwhile.
    fn with_ids<R>(&self, look: impl FnOnce(&IpcIds<Self::Object>) -> R) -> R;

    /// `IPC_RMID`.
    fn remove(&self, id: i32);

    /// The object with this identifier.
    ///
    /// # Errors
    /// `EINVAL`, `EIDRM`.
    fn get(&self, id: i32) -> Result<Arc<Self::Object>> {
        self.with_ids(|ids| ids.get(id))
    }

    /// The object at an index, with its identifier.
    ///
    /// # Errors
    /// `EINVAL`.
    fn at_index(&self, index: i32) -> Result<(i32, Arc<Self::Object>)> {
        self.with_ids(|ids| ids.at_index(index))
    }

    /// All objects with their identifiers, for `/proc/sysvipc`.
    fn all(&self) -> Vec<(i32, Arc<Self::Object>)> {
        self.with_ids(|ids| ids.iter().map(|(id, object)| (id, object.clone())).collect())
    }
}

#[derive(Debug)]
struct Entry<T> {
    id: i32,
    /// By which it is found; `IPC_PRIVATE` for none.
    key: i32,
    object: Arc<T>,
}

/// The objects of one kind, by identifier and by key. Nothing here asks an object, whose lock the caller may hold.
#[derive(Debug)]
pub struct IpcIds<T> {
    objects: BTreeMap<i32, Entry<T>>,
    /// The index of the object with each key.
    by_key: HashMap<i32, i32>,
    /// The index that the next object gets, if it is free. Indices go round, so that identifiers are not used again
    /// soon.
    next_index: i32,
    /// Of the objects made in this round.
    seq: u16,
}

/// The fewest indices in a round.
const MIN_ROUND: usize = 64;

impl<T> Default for IpcIds<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), by_key: HashMap::new(), next_index: 0, seq: 0 }
    }
}

impl<T: IpcObject> IpcIds<T> {
    /// Number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The highest index in use, -1 where there is none.
    #[must_use]
    pub fn highest_index(&self) -> i32 {
        self.objects.last_key_value().map_or(-1, |(index, _)| *index)
    }

    /// The object with this identifier.
    ///
    /// # Errors
    /// `EINVAL` where there is none; `EIDRM` where there was one.
    pub fn get(&self, id: i32) -> Result<Arc<T>> {
        if id < 0 {
            return Err(Errno::EINVAL);
        }
        match self.objects.get(&(id % INDICES)) {
            Some(entry) if entry.id == id => Ok(entry.object.clone()),
            Some(_) => Err(Errno::EIDRM),
            None => Err(Errno::EINVAL),
        }
    }

    /// The object at an index, or at that of an identifier, with its identifier (`SHM_STAT` and its kin).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn at_index(&self, index: i32) -> Result<(i32, Arc<T>)> {
        let found = self.objects.get(&(index % INDICES));
        found.map(|entry| (entry.id, entry.object.clone())).ok_or(Errno::EINVAL)
    }

    /// All objects with their identifiers.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &Arc<T>)> {
        self.objects.values().map(|entry| (entry.id, &entry.object))
    }

    /// The `*get` call: finds the object with `key`, or makes it where there are fewer than `limit`. `fits` checks what
    /// is there already.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `EACCES`, `ENOSPC`; what `fits` and `make` say.
    pub fn find_or_make(
        &mut self,
        key: i32,
        flags: u32,
        creds: &Credentials,
        limit: u64,
        fits: impl FnOnce(&T) -> Result<()>,
        make: impl FnOnce() -> Result<Arc<T>>,
    ) -> Result<i32> {
        let found = self.by_key.get(&key).and_then(|index| self.objects.get(index));
        if let Some(Entry { id, object, .. }) = found {
            if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
                return Err(Errno::EEXIST);
            }
            fits(object)?;
            object.perm().check(creds, IpcAccess::Bits(flags))?;
            return Ok(*id);
        }
        if key != IPC_PRIVATE && flags & IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        if self.objects.len() as u64 >= limit.min(INDICES as u64) {
            return Err(Errno::ENOSPC);
        }
        let object = make()?;
        Ok(self.insert(key, object))
    }

    fn insert(&mut self, key: i32, object: Arc<T>) -> i32 {
        let is_free = |index: &i32| !self.objects.contains_key(index);
        let end = (self.objects.len() * 3 / 2).clamp(MIN_ROUND, INDICES as usize) as i32;
        let index = (self.next_index..end).find(is_free).unwrap_or_else(|| {
            self.seq = (self.seq + 1) % (i32::MAX / INDICES) as u16;
            (0..INDICES).find(is_free).unwrap_or(0)
        });
        self.next_index = index + 1;
        let seq = self.seq;
        let id = i32::from(seq) * INDICES + index;
        if key != IPC_PRIVATE {
            self.by_key.insert(key, index);
        }
        object.set_perm(Perm { seq, ..object.perm() });
        self.objects.insert(index, Entry { id, key, object });
        id
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: i32) -> Option<Arc<T>> {
        let index = id % INDICES;
        self.make_private(id);
        if self.objects.get(&index).is_none_or(|entry| entry.id != id) {
            return None;
        }
        self.objects.remove(&index).map(|entry| entry.object)
    }

    /// The object with this identifier is found by its key no more, which another may have.
    pub fn make_private(&mut self, id: i32) {
        let entry = self.objects.get_mut(&(id % INDICES)).filter(|entry| entry.id == id);
        let key = entry.map_or(IPC_PRIVATE, |entry| std::mem::replace(&mut entry.key, IPC_PRIVATE));
        if key != IPC_PRIVATE {
            self.by_key.remove(&key);
        }
    }
}
