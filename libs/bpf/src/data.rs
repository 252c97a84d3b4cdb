//! What programs load from.

use abi::filter::{
    SKF_AD_CPU, SKF_AD_HATYPE, SKF_AD_IFINDEX, SKF_AD_MARK, SKF_AD_OFF, SKF_AD_PKTTYPE, SKF_AD_PROTOCOL,
    SKF_AD_QUEUE, SKF_AD_RXHASH, SKF_AD_VLAN_TAG, SKF_AD_VLAN_TAG_PRESENT, SKF_AD_VLAN_TPID, SKF_LL_OFF,
    SKF_NET_OFF,
};
use abi::seccomp::SeccompData;
use zerocopy::IntoBytes;

/// What a program looks at.
pub trait Data {
    /// Its length in bytes.
    fn size(&self) -> u32;

    /// The value `offset` bytes behind `base`, in host order; `None` where it is not there.
    fn load(&self, base: Base, offset: usize, size: Size) -> Option<u32>;

    /// What is known beside the bytes.
    fn ancillary(&self, what: Ancillary) -> u32;
}

/// How much is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Four bytes.
    Word,
    /// Two.
    Half,
    /// One.
    Byte,
}

/// From where an offset counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The beginning of what the program sees.
    Start,
    /// The network header (`SKF_NET_OFF`).
    Network,
    /// The link header (`SKF_LL_OFF`).
    Link,
}

impl Base {
    /// Takes apart the offset of a load; `None` where no place has it.
    pub(crate) fn split(offset: i32) -> Option<(Self, usize)> {
        let (base, from) = match offset {
            0.. => (Self::Start, 0),
            SKF_NET_OFF..0 => (Self::Network, SKF_NET_OFF),
            SKF_LL_OFF..SKF_NET_OFF => (Self::Link, SKF_LL_OFF),
            _ => return None,
        };
        Some((base, usize::try_from(offset - from).ok()?))
    }
}

/// The circumstances of a packet (`SKF_AD_OFF`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ancillary {
    /// Its Ethernet type.
    Protocol,
    /// `PACKET_HOST` and its kin.
    Kind,
    /// The interface that it came by.
    Interface,
    /// The interface's `ARPHRD_*`.
    Hardware,
    /// VLAN tags, queues, marks, processors: there are none here.
    Nothing,
}

impl Ancillary {
    /// What an absolute load of constant `k` tells; `None` where it is an ordinary load.
    ///
    /// # Errors
    /// [`Invalid`](crate::Invalid) for circumstances that are not known.
    pub(crate) fn of(k: i32) -> Result<Option<Self>, crate::Invalid> {
        if !(SKF_AD_OFF..0).contains(&k) {
            return Ok(None);
        }
        Ok(Some(match k - SKF_AD_OFF {
            SKF_AD_PROTOCOL => Self::Protocol,
            SKF_AD_PKTTYPE => Self::Kind,
            SKF_AD_IFINDEX => Self::Interface,
            SKF_AD_HATYPE => Self::Hardware,
            SKF_AD_MARK
            | SKF_AD_QUEUE
            | SKF_AD_RXHASH
            | SKF_AD_CPU
            | SKF_AD_VLAN_TAG
            | SKF_AD_VLAN_TAG_PRESENT
            | SKF_AD_VLAN_TPID => Self::Nothing,
            _ => return Err(crate::Invalid),
        }))
    }
}

impl Data for SeccompData {
    fn size(&self) -> u32 {
        size_of::<Self>() as u32
    }

    fn load(&self, _base: Base, offset: usize, _size: Size) -> Option<u32> {
        let word = self.as_bytes().get(offset..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*word))
    }

    fn ancillary(&self, _what: Ancillary) -> u32 {
        0
    }
}
