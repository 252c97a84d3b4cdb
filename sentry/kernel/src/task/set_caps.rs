//! Changing capabilities: capset(2) and what prctl(2) does to them (`security/commoncap.c` in Linux's tree;
//! `man 7 capabilities`).

use abi::{Errno, Result};

use super::{Capability, CapabilitySet, Credentials, securebits};

impl Credentials {
    /// capset(2).
    ///
    /// # Errors
    /// `EPERM` for what is neither held nor allowed to be taken.
    pub fn set_capabilities(
        &self,
        effective: CapabilitySet,
        permitted: CapabilitySet,
        inheritable: CapabilitySet,
    ) -> Result<Self> {
        let may_inherit = self.has_in_own(Capability::Setpcap)
            || self.inheritable.or(self.permitted).is_superset(inheritable);
        let is_allowed = may_inherit
            && self.inheritable.or(self.bounding).is_superset(inheritable)
            && self.permitted.is_superset(permitted)
            && permitted.is_superset(effective);
        if !is_allowed {
            return Err(Errno::EPERM);
        }
        let ambient = self.ambient.and(permitted.and(inheritable));
        Ok(Self { effective, permitted, inheritable, ambient, ..self.clone() })
    }

    /// `PR_CAPBSET_DROP`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SETPCAP`, else `EINVAL` where no capability has this number.
    pub fn drop_from_bounding(&self, number: u64) -> Result<Self> {
        if !self.has_in_own(Capability::Setpcap) {
            return Err(Errno::EPERM);
        }
        let dropped = CapabilitySet::of_number(number)?;
        Ok(Self { bounding: self.bounding.without(dropped), ..self.clone() })
    }

    /// `PR_CAP_AMBIENT_RAISE`.
    ///
    /// # Errors
    /// `EPERM` for capabilities that are not both permitted and inheritable, or where the secure bits forbid it.
    pub fn raise_ambient(&self, raised: CapabilitySet) -> Result<Self> {
        let is_held = self.permitted.and(self.inheritable).is_superset(raised);
        if !is_held || self.securebits & securebits::NO_CAP_AMBIENT_RAISE != 0 {
            return Err(Errno::EPERM);
        }
        Ok(Self { ambient: self.ambient.or(raised), ..self.clone() })
    }

    /// `PR_CAP_AMBIENT_LOWER`.
    #[must_use]
    pub fn lower_ambient(&self, lowered: CapabilitySet) -> Self {
        Self { ambient: self.ambient.without(lowered), ..self.clone() }
    }

    /// `PR_SET_KEEPCAPS`: whether permitted capabilities outlive the change from user 0 to another.
    ///
    /// # Errors
    /// `EPERM` where that is locked.
    pub fn set_keep_caps(&self, is_kept: bool) -> Result<Self> {
        if self.securebits & securebits::KEEP_CAPS_LOCKED != 0 {
            return Err(Errno::EPERM);
        }
        let others = self.securebits & !securebits::KEEP_CAPS;
        Ok(Self { securebits: if is_kept { others | securebits::KEEP_CAPS } else { others }, ..self.clone() })
    }

    /// `PR_SET_SECUREBITS`.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SETPCAP`, for unknown bits, and for a change of what is locked or of a lock itself.
    pub fn set_securebits(&self, wanted: u32) -> Result<Self> {
        let locked = (self.securebits & securebits::ALL_LOCKS) >> 1;
        let breaks_lock = locked & (self.securebits ^ wanted) != 0
            || self.securebits & securebits::ALL_LOCKS & !wanted != 0;
        let is_unknown = wanted & !(securebits::ALL_LOCKS | securebits::ALL_BITS) != 0;
        if breaks_lock || is_unknown || !self.has_in_own(Capability::Setpcap) {
            return Err(Errno::EPERM);
        }
        Ok(Self { securebits: wanted, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use abi::Errno;

    use crate::task::{Capability, CapabilitySet, Credentials, NamespaceId, UserNamespace, securebits};

    const CHOWN: CapabilitySet = CapabilitySet::of(Capability::Chown);

    fn root() -> Credentials {
        Credentials::root(UserNamespace::initial(NamespaceId(1)))
    }

    #[test]
    fn capset_gives_up_and_does_not_take_back() {
        let bare = root().set_capabilities(CapabilitySet::EMPTY, CHOWN, CapabilitySet::EMPTY).unwrap();
        assert_eq!((bare.effective, bare.permitted), (CapabilitySet::EMPTY, CHOWN));
        assert!(bare.set_capabilities(CHOWN, CHOWN, CapabilitySet::EMPTY).is_ok());
        let more = bare.set_capabilities(CHOWN, CapabilitySet::FULL, CapabilitySet::EMPTY);
        assert_eq!(more.err(), Some(Errno::EPERM));
    }

    #[test]
    fn ambient_capabilities_are_permitted_and_inheritable() {
        assert_eq!(root().raise_ambient(CHOWN).err(), Some(Errno::EPERM));
        let heir = root().set_capabilities(CHOWN, CHOWN, CHOWN).unwrap().raise_ambient(CHOWN).unwrap();
        assert_eq!(heir.ambient, CHOWN);
        let barren = heir.set_capabilities(CHOWN, CHOWN, CapabilitySet::EMPTY).unwrap();
        assert_eq!(barren.ambient, CapabilitySet::EMPTY);
    }

    #[test]
    fn locked_bits_stay() {
        let locked = root().set_securebits(securebits::KEEP_CAPS | securebits::KEEP_CAPS_LOCKED).unwrap();
        assert_eq!(locked.set_keep_caps(false).err(), Some(Errno::EPERM));
        assert_eq!(locked.set_securebits(securebits::KEEP_CAPS).err(), Some(Errno::EPERM));
        assert_eq!(locked.set_securebits(1 << 31).err(), Some(Errno::EPERM));
    }
}
