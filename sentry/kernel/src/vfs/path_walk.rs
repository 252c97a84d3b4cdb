//! The path walk (`man 7 path_resolution`, `man 2 openat2`, `fs/namei.c` in Linux's tree).
//!
//! A [`Walk`] goes through a path's components, follows links and crosses mounts, and stops before the last component,
//! because what happens there is for the caller to say: find it, create it, remove it. A walk over cached names takes
//! no allocation and no lock that others write.

use std::borrow::Cow;
use std::sync::Arc;

use abi::fcntl::AtFlags;
use abi::fs::NAME_MAX;
use abi::mount::MountFlags;
use abi::{Errno, Result};
use bitflags::bitflags;
use smallvec::SmallVec;

use super::mount_tree::is_below;
use super::permission::{check_follow, check_search};
use super::{Caller, Dentry, LinkTarget, VfsPath};

/// Links that one walk may follow.
const MAX_LINKS: u32 = 40;

bitflags! {
    /// How a path is walked.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct WalkFlags: u32 {
        /// Follow a link in the last component.
        const FOLLOW = 1;
        /// The result must be a directory.
        const DIRECTORY = 2;
        /// An empty path is the starting point itself (`AT_EMPTY_PATH`).
        const EMPTY = 4;
        /// `RESOLVE_NO_XDEV`: fail with EXDEV at a mount.
        const NO_XDEV = 8;
        /// `RESOLVE_NO_MAGICLINKS`: fail with ELOOP at one.
        const NO_MAGICLINKS = 16;
        /// `RESOLVE_NO_SYMLINKS`: fail with ELOOP at any link.
        const NO_SYMLINKS = 32;
        /// `RESOLVE_BENEATH`: fail with EXDEV on leaving the starting point.
        const BENEATH = 64;
        /// `RESOLVE_IN_ROOT`: the starting point is the root.
        const IN_ROOT = 128;
    }
}

/// What the flags of the `*at` calls say of the walk: they follow a last link unless told not to.
impl From<AtFlags> for WalkFlags {
    fn from(flags: AtFlags) -> Self {
        let mut walk = Self::empty();
        walk.set(Self::FOLLOW, !flags.contains(AtFlags::SYMLINK_NOFOLLOW));
        walk.set(Self::EMPTY, flags.contains(AtFlags::EMPTY_PATH));
        walk
    }
}

/// Where paths start: the root for absolute ones, and the directory for others.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What `/` means; `..` goes no higher.
    pub root: VfsPath,
    /// What relative paths start from.
    pub start: VfsPath,
}

impl Origin {
    /// Both at `root`: paths inside a container, before it has tasks.
    #[must_use]
    pub fn at_root(root: VfsPath) -> Self {
        Self { start: root.clone(), root }
    }
}

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// A name.
    Name(Component),
    /// `.`, or nothing: the walk has arrived.
    Here,
    /// `..`.
    Up,
}

/// A component of the text that is being walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    segment: usize,
    start: usize,
    end: usize,
}

/// Text still to be walked: the path, or the text of a link.
struct Segment<'a> {
    text: Cow<'a, [u8]>,
    next: usize,
}

/// A walk under way.
pub(super) struct Walk<'a> {
    caller: Caller<'a>,
    flags: WalkFlags,
    root: VfsPath,
    /// Where the walk has got to: the parent of the last component once [`Self::advance`] has returned.
    pub(super) at: VfsPath,
    segments: SmallVec<[Segment<'a>; 2]>,
    links: u32,
    /// A slash followed the last component.
    pub(super) has_trailing_slash: bool,
}

impl<'a> Walk<'a> {
    /// Starts walking `path`.
    pub(super) fn new(caller: Caller<'a>, origin: &Origin, path: &'a [u8], flags: WalkFlags) -> Result<Self> {
        if path.is_empty() && !flags.contains(WalkFlags::EMPTY) {
            return Err(Errno::ENOENT);
        }
        let is_scoped = flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
        let root = if is_scoped { origin.start.clone() } else { origin.root.clone() };
        let mut walk = Self {
            caller,
            flags,
            root,
            at: origin.start.clone(),
            segments: SmallVec::new(),
            links: 0,
            has_trailing_slash: false,
        };
        walk.push(Cow::Borrowed(path))?;
        Ok(walk)
    }

    /// Walks up to the last component, which is returned.
    pub(super) fn advance(&mut self) -> Result<Last> {
        loop {
            let Some(component) = self.next_component() else { return Ok(Last::Here) };
            check_search(&self.caller, &self.at.dentry)?;
            let is_last = !self.has_more();
            match self.name(&component) {
                b"." if is_last => return Ok(Last::Here),
                b"." => {}
                b".." if is_last => return Ok(Last::Up),
                b".." => self.go_up()?,
                _ if is_last => return Ok(Last::Name(component)),
                _ => {
                    let child = self.find(&component)?.ok_or(Errno::ENOENT)?;
                    if child.dentry.is_symlink() {
                        self.follow(&child, false)?;
                    } else {
                        self.at = child;
                    }
                }
            }
        }
    }

    /// Walks to the end, following a link there as the flags say.
    pub(super) fn finish(&mut self) -> Result<VfsPath> {
        loop {
            match self.advance()? {
                Last::Here => break,
                Last::Up => {
                    self.go_up()?;
                    break;
                }
                Last::Name(component) => {
                    let child = self.find(&component)?.ok_or(Errno::ENOENT)?;
                    if !child.dentry.is_symlink() || !self.follows_last() {
                        self.at = child;
                        break;
                    }
                    self.follow(&child, true)?;
                }
            }
        }
        self.check_arrival()?;
        Ok(self.at.clone())
    }

    /// Whether what has been reached is a directory where it must be.
    pub(super) fn check_arrival(&self) -> Result<()> {
        let must_be_dir = self.has_trailing_slash || self.flags.contains(WalkFlags::DIRECTORY);
        if must_be_dir && !self.at.dentry.is_dir() { Err(Errno::ENOTDIR) } else { Ok(()) }
    }

    /// Whether a link in the last component is followed.
    pub(super) fn follows_last(&self) -> bool {
        self.has_trailing_slash || self.flags.contains(WalkFlags::FOLLOW)
    }

    /// The bytes of a component.
    pub(super) fn name(&self, component: &Component) -> &[u8] {
        &self.segments[component.segment].text[component.start..component.end]
    }

    /// The child of the place reached, through whatever is mounted on it.
    pub(super) fn find(&self, component: &Component) -> Result<Option<VfsPath>> {
        let name = self.name(component);
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        match self.at.dentry.child(&self.caller, name)? {
            Some(dentry) => self.cross(VfsPath { mount: self.at.mount.clone(), dentry }).map(Some),
            None => Ok(None),
        }
    }

    /// Goes through the mounts on `path`.
    pub(super) fn cross(&self, mut path: VfsPath) -> Result<VfsPath> {
        while let Some(upper) = path.mount.mounted_on(&path.dentry) {
            if self.flags.contains(WalkFlags::NO_XDEV) {
                return Err(Errno::EXDEV);
            }
            path = upper.root_path();
        }
        Ok(path)
    }

    /// `..`
    pub(super) fn go_up(&mut self) -> Result<()> {
        loop {
            if self.at == self.root {
                if self.flags.contains(WalkFlags::BENEATH) {
                    return Err(Errno::EXDEV);
                }
                break;
            }
            if !Arc::ptr_eq(&self.at.dentry, self.at.mount.root())
                && let Some(parent) = self.at.dentry.parent()
            {
                self.check_connected(&parent)?;
                self.at.dentry = parent;
                // Somebody may have moved the directory out of the tree that the walk is to stay in.
                let is_scoped = self.flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
                if is_scoped && !is_below(&self.at, &self.root) {
                    return Err(Errno::EAGAIN);
                }
                break;
            }
            let Some(below) = self.at.mount.mountpoint() else { break };
            if self.flags.contains(WalkFlags::NO_XDEV) {
                return Err(Errno::EXDEV);
            }
            self.at = below;
        }
        if self.at.dentry.has_mounts() {
            self.at = self.cross(self.at.clone())?;
        }
        Ok(())
    }

    /// A directory that was moved out of the part of a tree that a bind mount shows has no way back up.
    fn check_connected(&self, parent: &Arc<Dentry>) -> Result<()> {
        let shown = self.at.mount.root();
        if shown.parent().is_none() || shown.is_ancestor_of(parent) { Ok(()) } else { Err(Errno::ENOENT) }
    }

    /// Follows `link`, found in the place reached. `is_last` is whether it was the path's last component.
    pub(super) fn follow(&mut self, link: &VfsPath, is_last: bool) -> Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS
            || self.flags.contains(WalkFlags::NO_SYMLINKS)
            || link.mount.flags().contains(MountFlags::NOSYMFOLLOW)
        {
            return Err(Errno::ELOOP);
        }
        if is_last {
            check_follow(&self.caller, &self.at.dentry, &link.dentry)?;
        }
        match link.inode().follow(&self.caller)? {
            LinkTarget::Path(text) if text.is_empty() => Err(Errno::ENOENT),
            LinkTarget::Path(text) => self.push(Cow::Owned(text)),
            LinkTarget::Place(place) => self.jump(place),
        }
    }

    /// A magic link: goes to `place` whatever its name.
    fn jump(&mut self, place: VfsPath) -> Result<()> {
        if self.flags.contains(WalkFlags::NO_MAGICLINKS) {
            return Err(Errno::ELOOP);
        }
        let leaves_mount =
            self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&place.mount, &self.at.mount);
        if leaves_mount || self.flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT) {
            return Err(Errno::EXDEV);
        }
        self.at = place;
        Ok(())
    }

    fn push(&mut self, text: Cow<'a, [u8]>) -> Result<()> {
        if text.first() == Some(&b'/') {
            if self.flags.contains(WalkFlags::BENEATH) {
                return Err(Errno::EXDEV);
            }
            // The path itself may be absolute whatever mount the starting point is on; a link's text may not.
            let leaves_mount = self.links > 0 && !Arc::ptr_eq(&self.root.mount, &self.at.mount);
            if leaves_mount && self.flags.contains(WalkFlags::NO_XDEV) {
                return Err(Errno::EXDEV);
            }
            self.at = self.root.clone();
        }
        // What was walked to its end is not needed any more.
        while self.segments.last().is_some_and(Segment::is_spent) {
            self.segments.pop();
        }
        self.segments.push(Segment { text, next: 0 });
        Ok(())
    }

    /// Takes the next component, and notes whether a slash follows it at the very end.
    fn next_component(&mut self) -> Option<Component> {
        loop {
            let segment = self.segments.len().checked_sub(1)?;
            let Segment { text, next } = self.segments.last_mut()?;
            let start = *next + leading_slashes(&text[*next..]);
            if start == text.len() {
                self.segments.pop();
                continue;
            }
            let len = text[start..].iter().position(|&byte| byte == b'/').unwrap_or(text.len() - start);
            *next = start + len;
            return Some(Component { segment, start, end: start + len });
        }
    }

    /// Whether components are left; where not, notes a trailing slash.
    fn has_more(&mut self) -> bool {
        let is_rest_empty =
            self.segments.iter().all(|segment| leading_slashes(segment.rest()) == segment.rest().len());
        if is_rest_empty {
            self.has_trailing_slash |= self.segments.iter().any(|segment| !segment.rest().is_empty());
        }
        !is_rest_empty
    }
}

impl Segment<'_> {
    fn rest(&self) -> &[u8] {
        &self.text[self.next..]
    }

    fn is_spent(&self) -> bool {
        self.next == self.text.len()
    }
}

fn leading_slashes(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| byte == b'/').count()
}
