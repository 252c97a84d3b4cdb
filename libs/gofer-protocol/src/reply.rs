//! What a server answers. Descriptors travel beside the bytes: at most one in a reply, two in that to
//! the greeting, and in that to an [`crate::Open`] those of the files that were opened ahead.

use abi::Errno;
use bitflags::bitflags;

use crate::types::{Attr, FileId, MountFlags, Name, NodeId};
use crate::wire::{DecodeError, Reader, Wire, Writer, wire_flags, wire_struct};

wire_struct! {
    /// One attached tree (or single file).
    #[derive(Copy)]
    MountInfo {
        /// Its root. Never to be given back.
        root: NodeId,
        /// The root's attributes.
        attr: Attr,
        /// What it is.
        flags: MountFlags,
        /// Magic number of the host's file system there.
        fs_kind: u64,
    }

    /// Answer to [`crate::Hello`].
    HelloReply {
        /// [`crate::VERSION`].
        version: u16,
        /// The descriptors that come with it, in the order of the flags.
        fds: HelloFds,
        /// The mounts, by the index that the runtime gave them.
        mounts: Vec<MountInfo>,
    }

    /// A node and its attributes.
    #[derive(Copy)]
    NodeAttr {
        /// The node; in replies to calls that name a target by node, that node.
        node: NodeId,
        /// What the host says now.
        attr: Attr,
    }

    /// Answer to calls that make a name. Counts one look-up.
    #[derive(Copy)]
    EntryReply {
        /// The new node.
        node: NodeId,
        /// Its attributes.
        attr: Attr,
        /// Attributes of the directory, which has changed.
        dir: Attr,
    }

    /// Answer to [`crate::Unlink`].
    #[derive(Copy)]
    UnlinkReply {
        /// Attributes of the directory.
        dir: Attr,
        /// Attributes of the file as it is without the name, where it is a node.
        removed: Option<Attr>,
    }

    /// Answer to [`crate::Rename`].
    #[derive(Copy)]
    RenameReply {
        /// Attributes of the old directory.
        old_dir: Attr,
        /// Attributes of the new directory.
        new_dir: Attr,
        /// Attributes of the file that was moved, whose times have changed.
        moved: Attr,
        /// Attributes of the file that was replaced, as it is without the name, where it is a node.
        replaced: Option<Attr>,
    }

    /// Answer to [`crate::Open`]. Counts one look-up where the target had a name.
    OpenReply {
        /// The file's node.
        node: NodeId,
        /// Its attributes after opening.
        attr: Attr,
        /// One for each name of [`crate::Open::ahead`]: which file that is, if it could be opened. Their descriptors follow
        /// the target's in the same order; look-ups are not counted.
        ahead: Vec<Option<FileId>>,
    }

    /// Answer to [`crate::Walk`].
    WalkReply<'a> {
        /// One for each name found, the last one included where that is a symbolic link or no directory.
        found: Vec<NodeAttr>,
        /// Why it ended.
        end: WalkEnd<'a>,
        /// Whether what was found (and an absence at the end) may be kept until an event says otherwise. In a
        /// mount that is not shared, always.
        is_cacheable: bool,
        /// Whether the last file was to be opened and could not be; else, if it was to be, a descriptor is here.
        open_error: Option<Errno>,
    }

    /// One name of a directory.
    #[derive(Copy)]
    DirEntry<'a> {
        /// The name.
        name: Name<'a>,
        /// Inode number.
        ino: u64,
        /// `DT_*`.
        kind: u8,
        /// Its attributes, if asked for or a directory's, and the name was still there.
        attr: Option<Attr>,
        /// Where a symbolic link points, if attributes were asked for.
        link: Option<&'a [u8]>,
    }

    /// Answer to [`crate::ReadDir`].
    ReadDirReply<'a> {
        /// The directory.
        dir: NodeId,
        /// What to ask to go on with; 0 at the end.
        stream: u64,
        /// As in [`WalkReply`]: until an event, the entries (of all parts) are all there are.
        is_cacheable: bool,
        /// Whether the directory itself has extended attributes (an ACL, for example).
        has_xattrs: bool,
        /// The next entries, without `.` and `..`.
        entries: Vec<DirEntry<'a>>,
    }

    /// Answer to [`crate::StatFs`].
    #[derive(Copy)]
    StatFsReply {
        /// Magic number of the type.
        kind: u64,
        /// Unit of the counts, in bytes.
        block_size: u64,
        /// Units in all.
        blocks: u64,
        /// Units free.
        blocks_free: u64,
        /// Units free to ordinary users.
        blocks_available: u64,
        /// Inodes in all.
        files: u64,
        /// Inodes free.
        files_free: u64,
        /// The longest name.
        name_max: u64,
    }
}

bitflags! {
    /// What comes with a [`HelloReply`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HelloFds: u32 {
        /// The connection on which the server sends [`crate::EventBatch`]es: where a mount is shared.
        const EVENTS = 1;
        /// The listener of the server's door.
        const DOOR = 2;
        /// The mailbox of a server with a door.
        const MAILBOX = 4;
    }
}

wire_flags! {
    HelloFds, "descriptors of a greeting";
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEnd<'a> {
    /// Every name was found.
    Complete,
    /// The next name is not there.
    Absent,
    /// The last file found is a symbolic link to this, and more names follow or it is the last.
    Symlink(&'a [u8]),
    /// The last file found is no directory, and more names follow.
    NotDirectory,
    /// The host refused to say.
    Failed(Errno),
}

impl<'a> Wire<'a> for WalkEnd<'a> {
    fn put(&self, to: &mut Writer) {
        match self {
            Self::Complete => to.put(&0u8),
            Self::Absent => to.put(&1u8),
            Self::Symlink(link) => {
                to.put(&2u8);
                to.put(link);
            }
            Self::NotDirectory => to.put(&3u8),
            Self::Failed(error) => {
                to.put(&4u8);
                to.put(error);
            }
        }
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match from.get::<u8>()? {
            0 => Self::Complete,
            1 => Self::Absent,
            2 => Self::Symlink(from.get()?),
            3 => Self::NotDirectory,
            4 => Self::Failed(from.get()?),
            _ => return Err(DecodeError::Bad("end of a walk")),
        })
    }
}
