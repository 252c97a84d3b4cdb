//! The text of a place: getcwd(2), `/proc/[pid]/fd`, `/proc/[pid]/maps`, mountinfo (`d_path` in Linux's tree).

use std::sync::Arc;

use super::VfsPath;

/// How far up a path was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Up to the root given.
    Root,
    /// Up to the top of another tree: the place cannot be reached from the root.
    Elsewhere,
}

impl VfsPath {
    /// The path from `root` to here, as `/proc` shows it: with ` (deleted)` behind a name that is gone, and from the
    /// top of its own tree where `root` does not lead here.
    #[must_use]
    pub fn text(&self, root: &VfsPath) -> Vec<u8> {
        let (mut text, _) = self.text_and_reach(root);
        if self.dentry.is_removed() {
            text.extend_from_slice(b" (deleted)");
        }
        text
    }

    /// The path from `root` to here, and whether `root` leads here at all.
    #[must_use]
    pub fn text_and_reach(&self, root: &VfsPath) -> (Vec<u8>, Reach) {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.clone();
        let reach = loop {
            if at == *root {
                break Reach::Root;
            }
            if Arc::ptr_eq(&at.dentry, at.mount.root()) {
                match at.mount.mountpoint() {
                    Some(below) => at = below,
                    None => break Reach::Elsewhere,
                }
                continue;
            }
            match at.dentry.parent_and_name() {
                (Some(parent), name) => {
                    names.push(name);
                    at.dentry = parent;
                }
                // Without a place in any directory: `pipe:[7]`, `/memfd:x`.
                (None, name) => return (name.to_vec(), Reach::Elsewhere),
            }
        };
        if names.is_empty() {
            return (b"/".to_vec(), reach);
        }
        let mut text = Vec::with_capacity(names.iter().map(|name| name.len() + 1).sum());
        for name in names.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(name);
        }
        (text, reach)
    }

    /// The path of this dentry within its own file system, from its root: mountinfo's fourth field. A name space's
    /// file has a name, but no path.
    #[must_use]
    pub fn text_in_fs(&self) -> Vec<u8> {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.dentry.clone();
        while let (Some(parent), name) = at.parent_and_name() {
            names.push(name);
            at = parent;
        }
        if names.is_empty() {
            return if at.is_unlinked() { at.name().to_vec() } else { b"/".to_vec() };
        }
        names.iter().rev().flat_map(|name| [b"/", &name[..]].concat()).collect()
    }
}
