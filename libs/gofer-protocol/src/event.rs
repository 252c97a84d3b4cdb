//! What the server tells unasked, on the event connection: the host changed something in a shared mount.

use crate::types::{Name, NodeId};
use crate::wire::{DecodeError, Reader, Wire, Writer, wire_struct};

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Something happened to a watched directory, or to a name in it.
    Changed {
        /// The directory; or a mount's root that is a file.
        node: NodeId,
        /// The name; without one, the node itself.
        name: Option<Name<'a>>,
        /// What, as `inotify(7)` numbers it.
        mask: u32,
        /// Joins the halves of a rename.
        cookie: u32,
    },
    /// Events were lost: nothing that was cached of shared mounts is known to be true.
    Lost,
}

impl<'a> Wire<'a> for Event<'a> {
    fn put(&self, to: &mut Writer) {
        match self {
            Self::Changed { node, name, mask, cookie } => {
                to.put(&0u8);
                to.put(node);
                to.put(name);
                to.put(mask);
                to.put(cookie);
            }
            Self::Lost => to.put(&1u8),
        }
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match from.get::<u8>()? {
            0 => {
                Self::Changed { node: from.get()?, name: from.get()?, mask: from.get()?, cookie: from.get()? }
            }
            1 => Self::Lost,
            _ => return Err(DecodeError::Bad("event")),
        })
    }
}

wire_struct! {
    /// Changes in the order in which they happened.
    EventBatch<'a> {
        /// They.
        events: Vec<Event<'a>>,
    }
}
