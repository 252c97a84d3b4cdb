//! `man 2 keyctl`, one function per group of operations.

use std::sync::Arc;

use abi::keyctl::*;
use abi::{Errno, PAGE_SIZE, UserAddr};

use super::{description, is_default_ring, kind, payload};
use crate::keys::{Key, KeyRef, Missing};
use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::{CurrentTask, SysResult};

/// What [`KEYCTL_CAPABILITIES`] tells.
const CAPABILITIES: [u8; 2] = [
    KEYCTL_CAPS0_CAPABILITIES
        | KEYCTL_CAPS0_PERSISTENT_KEYRINGS
        | KEYCTL_CAPS0_BIG_KEY
        | KEYCTL_CAPS0_INVALIDATE
        | KEYCTL_CAPS0_MOVE,
    KEYCTL_CAPS1_NS_KEYRING_NAME,
];

pub(super) fn keyctl(task: &mut CurrentTask, args: Args) -> SysResult {
    let [operation, second, third, fourth, fifth, _] = args.0;
    let (id, other) = (second as i32, third as i32);
    match operation as i32 {
        KEYCTL_GET_KEYRING_ID => {
            let missing = if other != 0 { Missing::Create } else { Missing::Fail };
            serial(&task.key(id, missing, right::SEARCH)?.key)
        }
        KEYCTL_JOIN_SESSION_KEYRING => join_session(task, second),
        KEYCTL_UPDATE => {
            let bytes = payload(task, third, fourth, PAGE_SIZE)?;
            task.key(id, Missing::Fail, right::WRITE)?.key.update(&bytes)?;
            Ok(0)
        }
        KEYCTL_REVOKE => {
            let found = task.key(id, Missing::Fail, right::WRITE);
            let found = match found {
                Err(Errno::EACCES) => task.key(id, Missing::Fail, right::SETATTR)?,
                other => other?,
            };
            found.key.revoke();
            Ok(0)
        }
        KEYCTL_INVALIDATE => {
            task.key(id, Missing::Fail, right::SEARCH)?.key.invalidate();
            Ok(0)
        }
        KEYCTL_CHOWN => change_owner(task, id, third as u32, fourth as u32),
        KEYCTL_SETPERM => set_rights(task, id, third as u32),
        KEYCTL_SET_TIMEOUT => {
            let key = task.key_of_any_state(id, Missing::Create)?;
            key.check(&task.creds(), right::SETATTR)?;
            key.key.set_timeout(task.kernel().timekeeper.now().tv_sec, third as u32);
            Ok(0)
        }
        KEYCTL_DESCRIBE => {
            let key = task.key(id, Missing::Fail, right::VIEW)?.key;
            give(task, &key.describe(&task.creds()), third, fourth)
        }
        KEYCTL_READ => read(task, id, third, fourth),
        KEYCTL_GET_SECURITY => {
            // There is no security module, so that the label is empty.
            task.key(id, Missing::Fail, right::VIEW)?;
            give(task, b"\0", third, fourth)
        }
        KEYCTL_CLEAR => {
            task.key(id, Missing::Create, right::WRITE)?.key.clear()?;
            Ok(0)
        }
        KEYCTL_LINK => link(task, id, other),
        KEYCTL_UNLINK => unlink(task, id, other),
        KEYCTL_MOVE => move_link(task, id, other, fourth as i32, fifth as u32),
        KEYCTL_SEARCH => search(task, id, (third, fourth), fifth as i32),
        KEYCTL_SET_REQKEY_KEYRING => set_default_ring(task, id),
        KEYCTL_SESSION_TO_PARENT => {
            task.give_session_to_parent()?;
            Ok(0)
        }
        KEYCTL_GET_PERSISTENT => persistent(task, second as u32, other),
        KEYCTL_CAPABILITIES => capabilities(task, second, third),
        // Nobody is asked to make keys, so nobody has the authority.
        KEYCTL_INSTANTIATE | KEYCTL_INSTANTIATE_IOV | KEYCTL_NEGATE | KEYCTL_REJECT => {
            Err(Errno::EPERM.into())
        }
        KEYCTL_ASSUME_AUTHORITY => match id {
            0 => Ok(0),
            1.. => Err(Errno::ENOKEY.into()),
            _ => Err(Errno::EINVAL.into()),
        },
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

fn serial(key: &Arc<Key>) -> SysResult {
    Ok(key.serial() as u64)
}

/// Copies `bytes` out where they fit; returns how many there are.
fn give(task: &CurrentTask, bytes: &[u8], to: u64, len: u64) -> SysResult {
    if to != 0 && len >= bytes.len() as u64 {
        task.mm().write(UserAddr(to), bytes)?;
    }
    Ok(bytes.len() as u64)
}

fn join_session(task: &CurrentTask, name: u64) -> SysResult {
    if name == 0 {
        return serial(&task.join_session(None)?);
    }
    let name = description(task, name)?;
    if name.first() == Some(&b'.') {
        return Err(Errno::EPERM.into());
    }
    serial(&task.join_session(Some(&name))?)
}

fn read(task: &CurrentTask, id: i32, to: u64, len: u64) -> SysResult {
    let creds = task.creds();
    let found = task.key_of_any_state(id, Missing::Fail)?;
    found.key.check_valid(task.kernel().timekeeper.now().tv_sec)?;
    // Whoever possesses a key and may search for it may read it too.
    let may_search = found.is_possessed && found.check(&creds, right::SEARCH).is_ok();
    if !may_search {
        found.check(&creds, right::READ)?;
    }
    give(task, &found.key.payload()?, to, len)
}

/// Who does not own a key needs a capability to change whose it is.
fn change_owner(task: &CurrentTask, id: i32, uid: u32, gid: u32) -> SysResult {
    let creds = task.creds();
    let (uid, gid) = (creds.user_ns.uid_or_keep(uid)?, creds.user_ns.gid_or_keep(gid)?);
    if uid.is_none() && gid.is_none() {
        return Ok(0);
    }
    let found = task.key_of_any_state(id, Missing::Create)?;
    found.check(&creds, right::SETATTR)?;
    let (old_uid, old_gid) = found.key.owner();
    let is_other_user = uid.is_some_and(|uid| uid != old_uid);
    let is_foreign_group = gid.is_some_and(|gid| gid != old_gid && !creds.in_group(gid));
    if (is_other_user || is_foreign_group) && !creds.capable(Capability::SysAdmin) {
        return Err(Errno::EACCES.into());
    }
    task.kernel().keys.change_owner(&found.key, uid, gid)?;
    Ok(0)
}

fn set_rights(task: &CurrentTask, id: i32, rights: u32) -> SysResult {
    if rights & !(right::ALL * 0x0101_0101) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let creds = task.creds();
    let found = task.key_of_any_state(id, Missing::Create)?;
    found.check(&creds, right::SETATTR)?;
    if found.key.owner().0 != creds.fsuid && !creds.capable(Capability::SysAdmin) {
        return Err(Errno::EACCES.into());
    }
    found.key.set_rights(rights);
    Ok(0)
}

fn link(task: &CurrentTask, id: i32, ring: i32) -> SysResult {
    let ring = task.key(ring, Missing::Create, right::WRITE)?;
    let key = task.key(id, Missing::Create, right::LINK)?;
    let _links = task.kernel().keys.links();
    ring.key.link(&key.key)?;
    Ok(0)
}

fn unlink(task: &CurrentTask, id: i32, ring: i32) -> SysResult {
    let ring = task.key(ring, Missing::Fail, right::WRITE)?;
    let key = task.key_of_any_state(id, Missing::Fail)?;
    ring.key.unlink_one(&key.key)?;
    Ok(0)
}

fn move_link(task: &CurrentTask, id: i32, from: i32, to: i32, flags: u32) -> SysResult {
    if flags & !KEYCTL_MOVE_EXCL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = task.key(id, Missing::Create, right::LINK)?.key;
    let from = task.key(from, Missing::Fail, right::WRITE)?.key;
    let to = task.key(to, Missing::Create, right::WRITE)?.key;
    let _links = task.kernel().keys.links();
    if !from.holds(&key)? {
        return Err(Errno::ENOENT.into());
    }
    if Arc::ptr_eq(&from, &to) {
        return Ok(0);
    }
    if flags & KEYCTL_MOVE_EXCL != 0 && to.holds_twin(&key)? {
        return Err(Errno::EEXIST.into());
    }
    to.link(&key)?;
    from.unlink_one(&key)?;
    Ok(0)
}

fn search(task: &CurrentTask, ring: i32, (kind_at, name): (u64, u64), target: i32) -> SysResult {
    let kind = kind(task, kind_at);
    let name = description(task, name)?;
    let ring: KeyRef = task.key(ring, Missing::Fail, right::SEARCH)?;
    let target = match target {
        0 => None,
        target => Some(task.key(target, Missing::Create, right::WRITE)?),
    };
    let kind = kind.map_err(|error| if error == Errno::ENODEV { Errno::ENOKEY } else { error })?;
    let key = task.search_keys(|searcher| searcher.find(&ring, kind, &name))?;
    if let Some(target) = target {
        KeyRef { key: key.clone(), is_possessed: ring.is_possessed }.check(&task.creds(), right::LINK)?;
        let _links = task.kernel().keys.links();
        target.key.link(&key)?;
    }
    serial(&key)
}

/// Where request_key(2) would put what it makes.
fn set_default_ring(task: &CurrentTask, ring: i32) -> SysResult {
    let old = task.details.lock().keyrings.default_ring;
    if ring == KEY_REQKEY_DEFL_NO_CHANGE {
        return Ok(old as u64);
    }
    if !is_default_ring(ring) {
        return Err(Errno::EINVAL.into());
    }
    match ring {
        KEY_REQKEY_DEFL_THREAD_KEYRING => drop(task.key(KEY_SPEC_THREAD_KEYRING, Missing::Create, 0)?),
        KEY_REQKEY_DEFL_PROCESS_KEYRING => drop(task.key(KEY_SPEC_PROCESS_KEYRING, Missing::Create, 0)?),
        _ => {}
    }
    task.details.lock().keyrings.default_ring = ring;
    Ok(old as u64)
}

fn persistent(task: &CurrentTask, uid: u32, ring: i32) -> SysResult {
    let creds = task.creds();
    let uid = match uid {
        u32::MAX => creds.uid,
        uid => creds.user_ns.to_kernel_uid(uid).ok_or(Errno::EINVAL)?,
    };
    if uid != creds.uid && uid != creds.euid && !creds.has_in_own(Capability::Setuid) {
        return Err(Errno::EPERM.into());
    }
    let ring = task.key(ring, Missing::Create, right::WRITE)?;
    let key = task.persistent_keyring(uid)?;
    let _links = task.kernel().keys.links();
    ring.key.link(&key)?;
    serial(&key)
}

/// Fills the rest of a longer buffer with zeros; returns how many bytes mean something.
fn capabilities(task: &CurrentTask, to: u64, len: u64) -> SysResult {
    let known = CAPABILITIES.len() as u64;
    if to != 0 && len > 0 {
        task.mm().write(UserAddr(to), &CAPABILITIES[..len.min(known) as usize])?;
        let mut at = to.checked_add(known).ok_or(Errno::EFAULT)?;
        let end = to.checked_add(len).ok_or(Errno::EFAULT)?;
        while at < end {
            let step = (end - at).min(PAGE_SIZE);
            task.mm().write(UserAddr(at), &vec![0; step as usize])?;
            at += step;
        }
    }
    Ok(known)
}
