//! `/proc/[pid]/{uid_map,gid_map,setgroups}` (`man 7 user_namespaces`).

use std::sync::Arc;

use abi::{Errno, Result};
use kernel::task::{Capability, Credentials, IdMap, IdRange, UserNamespace};

use super::system::put;
use super::task_dir::View;

/// The name space that outside ids are shown in: the viewer's, or the one above where it looks at its own.
fn lens(view: &View<'_>, ns: &Arc<UserNamespace>) -> Arc<UserNamespace> {
    let own = view.viewer.creds().user_ns.clone();
    match ns.parent() {
        Some(parent) if Arc::ptr_eq(&own, ns) => parent.clone(),
        _ => own,
    }
}

fn show(map: &IdMap, to_shown: &dyn Fn(u32) -> u32, out: &mut Vec<u8>) {
    for range in map.ranges() {
        put!(out, "{:10} {:10} {:10}\n", range.inside, to_shown(range.outside), range.count);
    }
}

pub(super) fn show_uid(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let ns = view.target.creds().user_ns.clone();
    let lens = lens(view, &ns);
    show(&ns.uid_map(), &|id| lens.from_kernel_uid(id), out);
    Ok(())
}

pub(super) fn show_gid(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let ns = view.target.creds().user_ns.clone();
    let lens = lens(view, &ns);
    show(&ns.gid_map(), &|id| lens.from_kernel_gid(id), out);
    Ok(())
}

pub(super) fn show_projid(_view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{:10} {:10} {:10}\n", 0, 0, u32::MAX);
    Ok(())
}

/// Parses lines of "inside outside count".
fn parse(text: &[u8]) -> Result<Vec<IdRange>> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let line = |line: &str| {
        let numbers: Vec<u32> =
            line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let [inside, outside, count] = numbers[..] else { return None };
        Some(IdRange { inside, outside, count })
    };
    text.lines().map(|text| line(text).ok_or(Errno::EINVAL)).collect()
}

/// Translates the outside ids, which are of the name space above, to kernel ids.
fn to_kernel(ranges: Vec<IdRange>, parent: &IdMap) -> Result<Vec<IdRange>> {
    let translate = |range: IdRange| {
        let outside = parent.range_to_kernel(range.outside, range.count).ok_or(Errno::EPERM)?;
        Ok(IdRange { outside, ..range })
    };
    ranges.into_iter().map(translate).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Uid,
    Gid,
}

fn store(view: &View<'_>, text: &[u8], which: Which) -> Result<()> {
    let ns = view.target.creds().user_ns.clone();
    let parent = ns.parent().ok_or(Errno::EPERM)?.clone();
    let opener = &view.opener;
    let may_write = Arc::ptr_eq(&opener.user_ns, &ns) || Arc::ptr_eq(&opener.user_ns, &parent);
    if !may_write || !opener.has_in(&ns, Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let parent_map = if which == Which::Uid { parent.uid_map() } else { parent.gid_map() };
    // What is no map at all is said before what is not allowed.
    let ranges = IdMap::new(parse(text)?)?.ranges().to_vec();
    let ranges = to_kernel(ranges, &parent_map)?;
    let capability = if which == Which::Uid { Capability::Setuid } else { Capability::Setgid };
    let both_may = opener.has_in(&parent, capability) && view.viewer.creds().has_in(&parent, capability);
    if !is_own_id(opener, &ns, &ranges, which) && !both_may {
        return Err(Errno::EPERM);
    }
    if which == Which::Uid && !may_map_root(opener, &ns, &parent, &ranges) {
        return Err(Errno::EPERM);
    }
    let map = IdMap::new(ranges)?;
    if which == Which::Uid { ns.set_uid_map(map) } else { ns.set_gid_map(map) }
}

/// Mapping the root of the name space above lets capabilities of files be set for it: only by who can do so there.
fn may_map_root(
    opener: &Credentials,
    ns: &Arc<UserNamespace>,
    parent: &Arc<UserNamespace>,
    ranges: &[IdRange],
) -> bool {
    let root = parent.to_kernel_uid(0);
    if !ranges.iter().any(|range| Some(range.outside) == root) {
        return true;
    }
    // From inside, one's own capabilities say nothing of those that its maker had outside.
    if Arc::ptr_eq(&opener.user_ns, ns) {
        return ns.maker_could_setfcap();
    }
    opener.has_in(parent, Capability::Setfcap)
}

/// Without privilege, the maker of a name space may map its own id, and its own group once setgroups(2) is denied.
fn is_own_id(creds: &Credentials, ns: &UserNamespace, ranges: &[IdRange], which: Which) -> bool {
    let [range] = ranges else { return false };
    if range.count != 1 || ns.owner() != creds.euid {
        return false;
    }
    match which {
        Which::Uid => range.outside == creds.euid,
        Which::Gid => range.outside == creds.egid && !ns.setgroups_allowed(),
    }
}

pub(super) fn store_uid(view: &View<'_>, text: &[u8]) -> Result<()> {
    store(view, text, Which::Uid)
}

pub(super) fn store_gid(view: &View<'_>, text: &[u8]) -> Result<()> {
    store(view, text, Which::Gid)
}

pub(super) fn show_setgroups(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let allowed = view.target.creds().user_ns.setgroups_allowed();
    out.extend_from_slice(if allowed { b"allow\n" } else { b"deny\n" });
    Ok(())
}

pub(super) fn store_setgroups(view: &View<'_>, text: &[u8]) -> Result<()> {
    let ns = view.target.creds().user_ns.clone();
    if !view.opener.has_in(&ns, Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    match text.trim_ascii_end() {
        b"allow" => ns.set_setgroups_allowed(true),
        b"deny" => ns.set_setgroups_allowed(false),
        _ => Err(Errno::EINVAL),
    }
}
