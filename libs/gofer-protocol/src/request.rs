//! What a client asks.

use crate::reply::{
    EntryReply, HelloReply, NodeAttr, OpenReply, ReadDirReply, RenameReply, StatFsReply, UnlinkReply,
    WalkReply,
};
use crate::types::{Attr, Name, NodeId, NodeOpenFlags, RenameFlags, SetTime, Target, XattrFlags, XattrName};
use crate::wire::{DecodeError, Wire, wire_struct};

/// A request that has a reply of its own type.
pub trait Call<'a>: Wire<'a> {
    /// Its number.
    const OP: Op;
    /// What comes back when it works.
    type Reply<'r>: Wire<'r>;
}

/// All requests: `Struct = number, reply;`.
macro_rules! requests {
    ($($(#[$meta:meta])* $name:ident $(<$lt:lifetime>)? = $op:literal => $reply:ty;)*) => {
        /// Number of a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Op { $($(#[$meta])* $name = $op,)* }

        impl Op {
            /// The operation with this number.
            #[must_use]
            pub fn from_raw(raw: u16) -> Option<Self> {
                match raw { $($op => Some(Self::$name),)* _ => None }
            }
        }

        /// Any request.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Request<'a> { $($(#[$meta])* $name($name $(<$lt>)?),)* }

        impl<'a> Request<'a> {
            /// The request with number `op` and this body.
            ///
            /// # Errors
            /// What is wrong with either.
            pub fn decode(op: u16, body: &'a [u8]) -> Result<Self, DecodeError> {
                match op {
                    $($op => crate::wire::decode(body).map(Self::$name),)*
                    _ => Err(DecodeError::Bad("operation")),
                }
            }

            /// Its number.
            #[must_use]
            pub fn op(&self) -> Op {
                match self { $(Self::$name(_) => Op::$name,)* }
            }

            /// Its body.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Self::$name(request) => crate::wire::encode(request),)* }
            }
        }

        $(requests!(@call $name [$($lt)?] $reply);)*
    };
    (@call $name:ident [] $reply:ty) => {
        impl<'a> Call<'a> for $name { const OP: Op = Op::$name; type Reply<'r> = $reply; }
    };
    (@call $name:ident [$lt:lifetime] $reply:ty) => {
        impl<'a> Call<'a> for $name<'a> { const OP: Op = Op::$name; type Reply<'r> = $reply; }
    };
}

requests! {
    /// Agrees on the version; the first request.
    Hello = 1 => HelloReply;
    /// Looks up names, one in the other.
    Walk<'a> = 2 => WalkReply<'r>;
    /// Lists a directory, with attributes if asked.
    ReadDir<'a> = 3 => ReadDirReply<'r>;
    /// Opens a regular file: the reply carries a descriptor.
    Open<'a> = 4 => OpenReply;
    /// Makes and opens a regular file: the reply carries a descriptor.
    Create<'a> = 5 => EntryReply;
    /// Makes a directory.
    Mkdir<'a> = 6 => EntryReply;
    /// Makes a symbolic link.
    Symlink<'a> = 7 => EntryReply;
    /// Makes a fifo, socket or device file.
    Mknod<'a> = 8 => EntryReply;
    /// Makes another name.
    Link<'a> = 9 => EntryReply;
    /// Removes a name.
    Unlink<'a> = 10 => UnlinkReply;
    /// Renames.
    Rename<'a> = 11 => RenameReply;
    /// Reads a symbolic link.
    Readlink<'a> = 12 => &'r [u8];
    /// Reads attributes.
    GetAttr<'a> = 13 => NodeAttr;
    /// Changes attributes.
    SetAttr<'a> = 14 => Attr;
    /// Asks for the figures of the file system.
    StatFs = 15 => StatFsReply;
    /// Reads an extended attribute.
    GetXattr<'a> = 16 => &'r [u8];
    /// Sets one.
    SetXattr<'a> = 17 => ();
    /// Lists their names, each with a NUL.
    ListXattr<'a> = 18 => &'r [u8];
    /// Removes one.
    RemoveXattr<'a> = 19 => ();
    /// Writes a file's cached data to the disk.
    Sync<'a> = 20 => ();
    /// Gives look-ups back. There is no reply.
    Close = 21 => ();
}

wire_struct! {
    /// See [`Op::Hello`].
    #[derive(Copy)]
    Hello {
        /// [`crate::MAGIC`].
        magic: u32,
        /// [`crate::VERSION`].
        version: u16,
    }

    /// See [`Op::Walk`]. Every node in the reply counts one look-up, to be given back by [`Close`].
    Walk<'a> {
        /// Where to start.
        from: NodeId,
        /// The names, outermost first.
        names: Vec<Name<'a>>,
        /// Open the last one if it is reached and a regular file; a failure to open does not fail the walk.
        open: Option<NodeOpenFlags>,
    }

    /// See [`Op::ReadDir`]. Entries are *not* nodes: a name that is only listed or stat'ed costs the server no
    /// memory. Where the target has a name, the reply counts one look-up of the directory.
    #[derive(Copy)]
    ReadDir<'a> {
        /// The directory; the node itself when going on.
        target: Target<'a>,
        /// 0 to start, or the reply's `stream` to go on.
        stream: u64,
        /// Whether to send attributes and links' targets; if not, those of directories alone.
        with_attributes: bool,
    }

    /// See [`Op::Open`].
    Open<'a> {
        /// The file.
        target: Target<'a>,
        /// How.
        flags: NodeOpenFlags,
        /// Regular files in the same directory, [`crate::MAX_AHEAD`] at most, to be opened for reading as well. Only
        /// where the target has a name.
        ahead: Vec<Name<'a>>,
    }

    /// See [`Op::Create`]. Fails with `EEXIST` where the name is there.
    #[derive(Copy)]
    Create<'a> {
        /// The directory.
        dir: NodeId,
        /// The name.
        name: Name<'a>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// How to open it.
        flags: NodeOpenFlags,
    }

    /// See [`Op::Mkdir`].
    #[derive(Copy)]
    Mkdir<'a> {
        /// The parent.
        dir: NodeId,
        /// The name.
        name: Name<'a>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    }

    /// See [`Op::Symlink`].
    #[derive(Copy)]
    Symlink<'a> {
        /// The directory.
        dir: NodeId,
        /// The name.
        name: Name<'a>,
        /// Where it points; any bytes.
        link: &'a [u8],
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    }

    /// See [`Op::Mknod`].
    #[derive(Copy)]
    Mknod<'a> {
        /// The directory.
        dir: NodeId,
        /// The name.
        name: Name<'a>,
        /// Type and permission bits.
        mode: u32,
        /// Device number.
        rdev: u64,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    }

    /// See [`Op::Link`].
    #[derive(Copy)]
    Link<'a> {
        /// The file.
        target: Target<'a>,
        /// The directory of the new name.
        dir: NodeId,
        /// The new name.
        name: Name<'a>,
    }

    /// See [`Op::Unlink`].
    #[derive(Copy)]
    Unlink<'a> {
        /// The directory.
        dir: NodeId,
        /// The name.
        name: Name<'a>,
        /// Whether a directory is to be removed (`AT_REMOVEDIR`).
        is_dir: bool,
    }

    /// See [`Op::Rename`].
    #[derive(Copy)]
    Rename<'a> {
        /// The old directory.
        old_dir: NodeId,
        /// The old name.
        old_name: Name<'a>,
        /// The new directory, of the same mount.
        new_dir: NodeId,
        /// The new name.
        new_name: Name<'a>,
        /// How.
        flags: RenameFlags,
    }

    /// See [`Op::Readlink`].
    #[derive(Copy)]
    Readlink<'a> {
        /// The link.
        target: Target<'a>,
    }

    /// See [`Op::GetAttr`].
    #[derive(Copy)]
    GetAttr<'a> {
        /// The file.
        target: Target<'a>,
    }

    /// See [`Op::SetAttr`]. In this order: size, owner and group, mode, times.
    #[derive(Copy)]
    SetAttr<'a> {
        /// The file.
        target: Target<'a>,
        /// New permission bits.
        mode: Option<u32>,
        /// New owner.
        uid: Option<u32>,
        /// New group.
        gid: Option<u32>,
        /// New size.
        size: Option<u64>,
        /// New access time.
        atime: SetTime,
        /// New modification time.
        mtime: SetTime,
    }

    /// See [`Op::StatFs`].
    #[derive(Copy)]
    StatFs {
        /// A file in it.
        node: NodeId,
    }

    /// See [`Op::GetXattr`].
    #[derive(Copy)]
    GetXattr<'a> {
        /// The file.
        target: Target<'a>,
        /// Name of the attribute.
        name: XattrName<'a>,
    }

    /// See [`Op::SetXattr`].
    #[derive(Copy)]
    SetXattr<'a> {
        /// The file.
        target: Target<'a>,
        /// Name of the attribute.
        name: XattrName<'a>,
        /// Its new value.
        value: &'a [u8],
        /// How.
        flags: XattrFlags,
    }

    /// See [`Op::ListXattr`].
    #[derive(Copy)]
    ListXattr<'a> {
        /// The file.
        target: Target<'a>,
    }

    /// See [`Op::RemoveXattr`].
    #[derive(Copy)]
    RemoveXattr<'a> {
        /// The file.
        target: Target<'a>,
        /// Name of the attribute.
        name: XattrName<'a>,
    }

    /// See [`Op::Sync`].
    #[derive(Copy)]
    Sync<'a> {
        /// The file or directory.
        target: Target<'a>,
        /// Leave attributes that are not needed to read the data.
        data_only: bool,
    }

    /// Look-ups of one node that the client no longer needs.
    #[derive(Copy)]
    Forget {
        /// The node.
        node: NodeId,
        /// How many.
        count: u32,
    }

    /// See [`Op::Close`].
    Close {
        /// What is given back.
        nodes: Vec<Forget>,
    }
}
