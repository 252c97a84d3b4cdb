//! Mount options of overlay: `lowerdir=a:b,upperdir=u,workdir=w`.

use std::sync::Arc;

use abi::{Errno, Result};
use kernel::Kernel;
use kernel::task::Credentials;
use kernel::vfs::{Caller, Origin, VfsPath, WalkFlags};

use super::OverlayConfig;

/// Parses options and finds the directories that they name.
pub(super) fn parse(kernel: &Arc<Kernel>, caller: &Caller<'_>, text: &[u8]) -> Result<OverlayConfig> {
    let (root, start) = caller.task.ok_or(Errno::EINVAL)?.fs().root_and_cwd();
    let origin = Origin { root, start };
    let find = |path: &[u8]| -> Result<VfsPath> {
        kernel.vfs.lookup(caller, &origin, path, WalkFlags::FOLLOW | WalkFlags::DIRECTORY)
    };
    let (mut lowers, mut upper, mut work) = (Vec::new(), None, None);
    for option in split(text, b',') {
        let (key, value) = match option.iter().position(|&byte| byte == b'=') {
            Some(at) => (&option[..at], &option[at + 1..]),
            None => (&option[..], &b""[..]),
        };
        match key {
            b"lowerdir" => {
                lowers = split(value, b':').iter().map(|path| find(path)).collect::<Result<_>>()?;
            }
            b"upperdir" => upper = Some(find(value)?),
            b"workdir" => work = Some(find(value)?),
            b"redirect_dir"
            | b"index"
            | b"xino"
            | b"metacopy"
            | b"userxattr"
            | b"volatile"
            | b"uuid"
            | b"nfs_export"
            | b"default_permissions" => {}
            _ => return Err(Errno::EINVAL),
        }
    }
    if upper.is_some() != work.is_some() || lowers.is_empty() {
        return Err(Errno::EINVAL);
    }
    if let (Some(upper), Some(work)) = (&upper, &work)
        && !are_apart(upper, work)
    {
        return Err(Errno::EINVAL);
    }
    let is_read_only = |path: &VfsPath| path.mount.is_read_only() || path.dentry.superblock().is_read_only();
    if upper.as_ref().is_some_and(is_read_only) {
        return Err(Errno::EINVAL);
    }
    let creds = Arc::new(Credentials::root(kernel.user_ns.clone()));
    let options = String::from_utf8_lossy(text).into_owned();
    Ok(OverlayConfig { device: kernel.vfs.allocate_device(), lowers, upper, work, creds, options })
}

/// Whether two directories are of one mount, and neither is in the other.
fn are_apart(a: &VfsPath, b: &VfsPath) -> bool {
    let is_within = |outer: &VfsPath, inner: &VfsPath| {
        Arc::ptr_eq(&outer.dentry, &inner.dentry) || outer.dentry.is_ancestor_of(&inner.dentry)
    };
    Arc::ptr_eq(&a.mount, &b.mount) && !is_within(a, b) && !is_within(b, a)
}

/// Splits at `separator`; a backslash takes the next byte as it is. Empty parts are left out.
fn split(text: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), text.iter());
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => part.extend(bytes.next()),
            byte if byte == separator => parts.push(std::mem::take(&mut part)),
            byte => part.push(byte),
        }
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn separators_can_be_escaped() {
        assert_eq!(split(b"a,b\\,c,,d", b','), [&b"a"[..], b"b,c", b"d"]);
        assert!(split(b"", b',').is_empty());
    }
}
