//! POSIX access control lists in their extended-attribute form (`man 5 acl`, `linux/posix_acl_xattr.h`).
//!
//! An ACL is a version and entries of tag, permission and id, little-endian, sorted by tag. Ids are stored as
//! kernel ids; those in the caller's user name space are translated when an ACL is set and shown.

use abi::{Errno, Result};

use super::Attr;
use crate::task::{Credentials, UserNamespace};

/// The attribute that grants access.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of a directory that new files in it inherit.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// The id of an entry that names nobody.
const NO_ID: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    perm: u16,
    id: u32,
}

fn entries(acl: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    acl.get(4..).unwrap_or_default().chunks_exact(8).map(|e| Entry {
        tag: u16::from_le_bytes([e[0], e[1]]),
        perm: u16::from_le_bytes([e[2], e[3]]),
        id: u32::from_le_bytes([e[4], e[5], e[6], e[7]]),
    })
}

fn encode(list: &[Entry]) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for entry in list {
        bytes.extend(entry.tag.to_le_bytes());
        bytes.extend(entry.perm.to_le_bytes());
        bytes.extend(entry.id.to_le_bytes());
    }
    bytes
}

/// What the ACL says of a caller who is not the owner; `None` where it has nothing to say (no such list).
pub(super) fn check(acl: &[u8], creds: &Credentials, attr: &Attr, wanted: u32) -> Option<bool> {
    let wanted = wanted as u16 & 7;
    let mask = entries(acl).find(|entry| entry.tag == MASK).map_or(7, |entry| entry.perm);
    let mut is_group_member = false;
    for entry in entries(acl) {
        match entry.tag {
            USER if entry.id == creds.fsuid => return Some(entry.perm & mask & wanted == wanted),
            GROUP_OBJ if creds.in_group(attr.gid) => {
                is_group_member = true;
                if entry.perm & wanted == wanted {
                    return Some(mask & wanted == wanted);
                }
            }
            GROUP if creds.in_group(entry.id) => {
                is_group_member = true;
                if entry.perm & wanted == wanted {
                    return Some(mask & wanted == wanted);
                }
            }
            OTHER => return Some(!is_group_member && entry.perm & wanted == wanted),
            _ => {}
        }
    }
    None
}

/// Checks an ACL that a guest wants to set; returns whether it says no more than mode bits can (then it is stored as
/// mode bits only).
///
/// # Errors
/// `EINVAL`, `EOPNOTSUPP` for another version.
pub(super) fn validate(acl: &[u8]) -> Result<AclShape> {
    let version = acl.first_chunk::<4>().ok_or(Errno::EINVAL)?;
    if u32::from_le_bytes(*version) != VERSION {
        return Err(Errno::EOPNOTSUPP);
    }
    if !(acl.len() - 4).is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    if acl.len() == 4 {
        return Ok(AclShape::Empty);
    }
    let list: Vec<Entry> = entries(acl).collect();
    let is_next = |a: &Entry, b: &Entry| a.tag < b.tag || a.tag == b.tag && matches!(a.tag, USER | GROUP);
    if list.iter().any(|entry| entry.perm > 7) || !list.is_sorted_by(is_next) {
        return Err(Errno::EINVAL);
    }
    let count = |tag| list.iter().filter(|entry| entry.tag == tag).count();
    let known = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER];
    let is_complete = count(USER_OBJ) == 1 && count(GROUP_OBJ) == 1 && count(OTHER) == 1;
    let has_named = count(USER) + count(GROUP) > 0;
    if !is_complete || !list.iter().all(|e| known.contains(&e.tag)) || (has_named && count(MASK) == 0) {
        return Err(Errno::EINVAL);
    }
    Ok(if has_named || count(MASK) > 0 { AclShape::Extended } else { AclShape::Minimal })
}

/// The ACL that is stored for what a guest of `ns` sets: with kernel ids.
///
/// # Errors
/// `EINVAL` for an id that `ns` does not map.
pub(super) fn to_stored(acl: &[u8], ns: &UserNamespace) -> Result<Vec<u8>> {
    let stored = entries(acl).map(|entry| {
        let id = match entry.tag {
            USER => ns.to_kernel_uid(entry.id).ok_or(Errno::EINVAL)?,
            GROUP => ns.to_kernel_gid(entry.id).ok_or(Errno::EINVAL)?,
            _ => NO_ID,
        };
        Ok(Entry { id, ..entry })
    });
    Ok(encode(&stored.collect::<Result<Vec<_>>>()?))
}

/// What a guest of `ns` sees of a stored ACL: -1 for whom `ns` does not map.
pub(super) fn from_stored(acl: &[u8], ns: &UserNamespace) -> Vec<u8> {
    let (uids, gids) = (ns.uid_map(), ns.gid_map());
    let shown = entries(acl).map(|entry| {
        let id = match entry.tag {
            USER => uids.from_kernel(entry.id),
            GROUP => gids.from_kernel(entry.id),
            _ => None,
        };
        Entry { id: id.unwrap_or(NO_ID), ..entry }
    });
    encode(&shown.collect::<Vec<_>>())
}

/// How much an ACL says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AclShape {
    /// No entries: the attribute goes away.
    Empty,
    /// No more than mode bits.
    Minimal,
    /// More than mode bits.
    Extended,
}

/// The permission bits of a mode that agree with an access ACL.
pub(super) fn mode_bits(acl: &[u8]) -> u32 {
    let perm = |tag| entries(acl).find(|entry| entry.tag == tag).map(|entry| u32::from(entry.perm));
    let group = perm(MASK).or_else(|| perm(GROUP_OBJ)).unwrap_or(0);
    perm(USER_OBJ).unwrap_or(0) << 6 | group << 3 | perm(OTHER).unwrap_or(0)
}

/// The ACL after chmod(2) to `mode`.
pub(super) fn with_mode(acl: &[u8], mode: u32) -> Vec<u8> {
    let has_mask = entries(acl).any(|entry| entry.tag == MASK);
    let list: Vec<Entry> = entries(acl)
        .map(|mut entry| {
            match entry.tag {
                USER_OBJ => entry.perm = (mode >> 6 & 7) as u16,
                GROUP_OBJ if !has_mask => entry.perm = (mode >> 3 & 7) as u16,
                MASK => entry.perm = (mode >> 3 & 7) as u16,
                OTHER => entry.perm = (mode & 7) as u16,
                _ => {}
            }
            entry
        })
        .collect();
    encode(&list)
}

/// What a new file inherits from the default ACL of its directory: its access ACL, and the mode that both allow.
pub(super) fn inherit(default: &[u8], mode: u32) -> (Vec<u8>, u32) {
    let has_mask = entries(default).any(|entry| entry.tag == MASK);
    let list: Vec<Entry> = entries(default)
        .map(|mut entry| {
            let class = match entry.tag {
                USER_OBJ => mode >> 6,
                GROUP_OBJ if !has_mask => mode >> 3,
                MASK => mode >> 3,
                OTHER => mode,
                _ => 7,
            };
            entry.perm &= (class & 7) as u16;
            entry
        })
        .collect();
    let acl = encode(&list);
    let bits = mode_bits(&acl);
    (acl, mode & !0o777 | bits)
}

/// The ACL that says what `mode` says: what getxattr(2) tools expect to be able to build on.
#[cfg(test)]
fn from_mode(mode: u32) -> Vec<u8> {
    let entry = |tag, perm: u32| Entry { tag, perm: (perm & 7) as u16, id: NO_ID };
    encode(&[entry(USER_OBJ, mode >> 6), entry(GROUP_OBJ, mode >> 3), entry(OTHER, mode)])
}

/// Whether the ACL needs storing besides mode bits.
pub(super) fn is_extended(acl: &[u8]) -> bool {
    entries(acl).any(|entry| matches!(entry.tag, USER | GROUP | MASK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(user: u32, perm: u16, mask: u16) -> Vec<u8> {
        encode(&[
            Entry { tag: USER_OBJ, perm: 6, id: NO_ID },
            Entry { tag: USER, perm, id: user },
            Entry { tag: GROUP_OBJ, perm: 0, id: NO_ID },
            Entry { tag: MASK, perm: mask, id: NO_ID },
            Entry { tag: OTHER, perm: 0, id: NO_ID },
        ])
    }

    #[test]
    fn shapes_are_told_apart() {
        assert_eq!(validate(&from_mode(0o644)), Ok(AclShape::Minimal));
        assert_eq!(validate(&named(1000, 4, 4)), Ok(AclShape::Extended));
        assert_eq!(validate(&VERSION.to_le_bytes()), Ok(AclShape::Empty));
        assert_eq!(validate(b"\x01\0\0\0"), Err(Errno::EOPNOTSUPP));
        assert_eq!(validate(&named(1, 8, 4)), Err(Errno::EINVAL));
        assert_eq!(validate(b"xx"), Err(Errno::EINVAL));
    }

    #[test]
    fn chmod_changes_the_mask() {
        let acl = with_mode(&named(1000, 6, 6), 0o640);
        assert_eq!(mode_bits(&acl), 0o640);
        assert_eq!(mode_bits(&with_mode(&from_mode(0o777), 0o421)), 0o421);
    }

    #[test]
    fn inheritance_is_masked_by_the_mode() {
        let (acl, mode) = inherit(&named(1000, 7, 7), 0o100_644);
        assert_eq!(mode, 0o100_640);
        assert_eq!(mode_bits(&acl), 0o640);
        assert!(is_extended(&acl));
    }
}
