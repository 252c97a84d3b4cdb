//! Capabilities of files: the attribute `security.capability` (`man 7 capabilities`, "File capabilities" and "Namespaced
//! file capabilities"; `security/commoncap.c` in Linux's tree).
//!
//! Stored, the root that they count for is a kernel id; whoever writes or reads them says and sees it in its own user name
//! space.

use std::sync::Arc;

use abi::{Errno, Result};

use super::{CapabilitySet, UserNamespace};

const REVISION_MASK: u32 = 0xff00_0000;
const REVISION_1: u32 = 0x0100_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const FLAG_EFFECTIVE: u32 = 1;
/// Bytes of revision 2; revision 3 has the root's id behind them.
const REVISION_2_LEN: usize = 20;
const REVISION_3_LEN: usize = 24;

/// What `security.capability` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCapabilities {
    pub(super) permitted: CapabilitySet,
    pub(super) inheritable: CapabilitySet,
    pub(super) is_effective: bool,
    /// The kernel id of the root of the user name spaces that they count in.
    root_id: u32,
}

impl FileCapabilities {
    /// The attribute's name.
    pub const XATTR: &[u8] = b"security.capability";

    /// Reads a stored value.
    ///
    /// # Errors
    /// `EINVAL` where it has none of the three forms.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let word = |index| word(bytes, index).ok_or(Errno::EINVAL);
        let magic = word(0)?;
        let (words, len) = match magic & REVISION_MASK {
            REVISION_1 => (1, 12),
            REVISION_2 => (2, REVISION_2_LEN),
            REVISION_3 => (2, REVISION_3_LEN),
            _ => return Err(Errno::EINVAL),
        };
        if bytes.len() != len {
            return Err(Errno::EINVAL);
        }
        let (mut permitted, mut inheritable) = (0, 0);
        for index in 0..words {
            permitted |= u64::from(word(1 + index * 2)?) << (32 * index);
            inheritable |= u64::from(word(2 + index * 2)?) << (32 * index);
        }
        Ok(Self {
            permitted: CapabilitySet(permitted).and(CapabilitySet::FULL),
            inheritable: CapabilitySet(inheritable).and(CapabilitySet::FULL),
            is_effective: magic & FLAG_EFFECTIVE != 0,
            root_id: if len == REVISION_3_LEN { word(5)? } else { 0 },
        })
    }

    /// Whether they count for processes of `user_ns`: its root, or that of one above it, is theirs.
    pub(super) fn count_in(&self, user_ns: &Arc<UserNamespace>) -> bool {
        is_root_of(self.root_id, user_ns)
    }

    /// The value to store for `value` as somebody in `user_ns` writes it: where their root is not the sandbox's, its
    /// kernel id is in it.
    ///
    /// # Errors
    /// `EINVAL` where it is of neither revision 2 nor 3, or names a root that nobody is.
    pub fn to_stored(value: &[u8], user_ns: &UserNamespace) -> Result<Vec<u8>> {
        let (body, root) = split(value).ok_or(Errno::EINVAL)?;
        let root = user_ns.to_kernel_uid(root.unwrap_or(0)).ok_or(Errno::EINVAL)?;
        Ok(join(body, (root != 0).then_some(root)))
    }

    /// What somebody in `user_ns` reads of the stored `value`. One that Linux would not have stored is shown as it is.
    ///
    /// # Errors
    /// `EOVERFLOW` where their root is nobody there.
    pub fn from_stored(value: Vec<u8>, user_ns: &Arc<UserNamespace>) -> Result<Vec<u8>> {
        let Some((body, root)) = split(&value) else { return Ok(value) };
        let root = root.unwrap_or(0);
        match user_ns.uid_map().from_kernel(root) {
            Some(seen) if seen != 0 => Ok(join(body, Some(seen))),
            _ if is_root_of(root, user_ns) => Ok(join(body, None)),
            _ => Err(Errno::EOVERFLOW),
        }
    }
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let at = bytes.get(index * 4..index * 4 + 4)?;
    Some(u32::from_le_bytes(at.try_into().ok()?))
}

/// The part that revisions 2 and 3 have in common, and the latter's root.
fn split(value: &[u8]) -> Option<(&[u8], Option<u32>)> {
    match (word(value, 0)? & REVISION_MASK, value.len()) {
        (REVISION_2, REVISION_2_LEN) => Some((value, None)),
        (REVISION_3, REVISION_3_LEN) => Some((&value[..REVISION_2_LEN], Some(word(value, 5)?))),
        _ => None,
    }
}

/// The value of `body` with a root, or without.
fn join(body: &[u8], root: Option<u32>) -> Vec<u8> {
    let flags = word(body, 0).unwrap_or(0) & !REVISION_MASK;
    let revision = if root.is_some() { REVISION_3 } else { REVISION_2 };
    let mut value = (flags | revision).to_le_bytes().to_vec();
    value.extend_from_slice(&body[4..]);
    value.extend(root.into_iter().flat_map(u32::to_le_bytes));
    value
}

/// Whether kernel id `id` is root in `user_ns` or one above it (`rootid_owns_currentns`).
fn is_root_of(id: u32, user_ns: &Arc<UserNamespace>) -> bool {
    let mut above = std::iter::successors(Some(user_ns), |ns| ns.parent());
    above.any(|ns| ns.to_kernel_uid(0) == Some(id))
}

#[cfg(test)]
mod tests {
    use abi::Errno;

    use super::{CapabilitySet, FileCapabilities};
    use crate::task::{Credentials, IdMap, IdRange, NamespaceId, UserNamespace};

    fn revision2() -> Vec<u8> {
        let mut value = vec![1, 0, 0, 2];
        value.extend([0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        value
    }

    fn revision3(root: u8) -> Vec<u8> {
        let mut value = revision2();
        value[3] = 3;
        value.extend([root, 0, 0, 0]);
        value
    }

    #[test]
    fn parses_all_revisions_and_refuses_wrong_sizes() {
        let caps = FileCapabilities::parse(&revision2()).unwrap();
        assert_eq!(caps.permitted, CapabilitySet(0x400 | 1 << 40));
        assert!(caps.is_effective);
        assert_eq!(FileCapabilities::parse(&revision2()[..19]), Err(Errno::EINVAL));
        assert_eq!(FileCapabilities::parse(&[]), Err(Errno::EINVAL));
        assert_eq!(FileCapabilities::parse(&revision3(7)).unwrap().root_id, 7);
    }

    #[test]
    fn what_a_name_spaces_root_stores_counts_only_there() {
        let initial = UserNamespace::initial(NamespaceId(1));
        let inside = initial.child(NamespaceId(2), &Credentials::root(initial.clone())).unwrap();
        inside.set_uid_map(IdMap::new(vec![IdRange { inside: 0, outside: 77, count: 2 }]).unwrap()).unwrap();
        let stored = FileCapabilities::to_stored(&revision2(), &inside).unwrap();
        assert_eq!(stored, revision3(77));
        let caps = FileCapabilities::parse(&stored).unwrap();
        assert!(caps.count_in(&inside) && !caps.count_in(&initial));
        assert_eq!(FileCapabilities::from_stored(stored.clone(), &inside), Ok(revision2()));
        assert_eq!(FileCapabilities::from_stored(stored, &initial), Ok(revision3(77)));
        let of_sandbox = FileCapabilities::to_stored(&revision2(), &initial).unwrap();
        assert_eq!(of_sandbox, revision2());
        assert!(FileCapabilities::parse(&of_sandbox).unwrap().count_in(&inside));
        assert_eq!(FileCapabilities::from_stored(revision3(5), &inside), Err(Errno::EOVERFLOW));
        assert_eq!(FileCapabilities::to_stored(&revision3(9), &inside), Err(Errno::EINVAL));
        assert_eq!(FileCapabilities::to_stored(b"anything", &initial), Err(Errno::EINVAL));
    }
}
