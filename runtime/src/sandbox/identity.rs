//! Which ids of the host stand behind the ids of a new user name space (`man 7 user_namespaces`).

use std::path::Path;

use crate::error::{Context, Result};
use crate::flags::Flags;

/// The user and group that owns nothing.
pub(crate) const NOBODY: u32 = 65534;

/// One line of a map: `size` ids from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdRange {
    /// In the new name space.
    pub(crate) inside: u32,
    /// In ours.
    pub(crate) outside: u32,
    /// How many.
    pub(crate) size: u32,
}

/// The maps of users and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMaps {
    /// Of users.
    pub(crate) users: Vec<IdRange>,
    /// Of groups.
    pub(crate) groups: Vec<IdRange>,
}

/// Whether the files of some users of the host are shown to a container with these maps as nobody's, who is none of its
/// users. Without maps it has our own ids.
pub(crate) fn hides_owners(maps: Option<&IdMaps>) -> bool {
    let has_nobody = |ranges: Option<&Vec<IdRange>>, own: &str| match ranges {
        Some(ranges) => {
            ranges.iter().any(|range| NOBODY.checked_sub(range.inside).is_some_and(|at| at < range.size))
        }
        None => std::fs::read_to_string(own).is_ok_and(|map| has_id(&map, NOBODY)),
    };
    !has_nobody(maps.map(|maps| &maps.users), "/proc/self/uid_map")
        || !has_nobody(maps.map(|maps| &maps.groups), "/proc/self/gid_map")
}

impl IdMaps {
    /// A name space in which nobody is the only id. It is the host's nobody where we may hand that out, else ourselves
    /// (a rootless caller has no other id).
    pub(crate) fn nobody() -> Self {
        let one = |file: &str, own: u32| {
            let known = std::fs::read_to_string(file).is_ok_and(|map| has_id(&map, NOBODY));
            vec![IdRange { inside: NOBODY, outside: if known { NOBODY } else { own }, size: 1 }]
        };
        let (uid, gid) = host::process::effective_ids();
        Self { users: one("/proc/self/uid_map", uid), groups: one("/proc/self/gid_map", gid) }
    }

    /// A name space in which the given ids are root.
    pub(crate) fn root_is(uid: u32, gid: u32) -> Self {
        let one = |outside| vec![IdRange { inside: 0, outside, size: 1 }];
        Self { users: one(uid), groups: one(gid) }
    }

    /// Gives a waiting process in a new user name space its ids.
    pub(crate) fn write_for(&self, pid: i32) -> Result<()> {
        self.write(&Path::new("/proc").join(pid.to_string()))
    }

    /// Gives this process, in a new user name space that it made itself, its ids. Without privilege that takes giving
    /// up `setgroups(2)`.
    pub(crate) fn write_for_self(&self) -> Result<()> {
        let process = Path::new("/proc/self");
        std::fs::write(process.join("setgroups"), "deny").context("cannot give up setgroups")?;
        self.write(process)
    }

    fn write(&self, process: &Path) -> Result<()> {
        std::fs::write(process.join("uid_map"), text(&self.users))
            .context("cannot map users into the sandbox")?;
        std::fs::write(process.join("gid_map"), text(&self.groups))
            .context("cannot map groups into the sandbox")
    }
}

fn text(ranges: &[IdRange]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.size)).collect()
}

/// Whether a map (`/proc/PID/uid_map`) knows an id inside.
fn has_id(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().filter_map(|field| field.parse::<u64>().ok());
        match (fields.next(), fields.next(), fields.next()) {
            (Some(inside), Some(_), Some(size)) => (inside..inside + size).contains(&u64::from(id)),
            _ => false,
        }
    })
}

/// Whether this caller must do without privilege, by its own wish or because it has none; if so, this process moves
/// into name spaces in which it may do what a container takes, and the flags say so.
pub(crate) fn settle_privilege(flags: &mut Flags) -> Result<()> {
    let (uid, _) = host::process::effective_ids();
    if uid == 0 && !flags.is_set("rootless") {
        return Ok(());
    }
    // The default state directory is that of the caller as it was, for its next invocation to find.
    let root = crate::flags::Config::new(flags)?.root;
    become_rootless()?;
    flags.set("rootless", "true")?;
    root.to_str().map_or(Ok(()), |root| flags.set("root", root))
}

/// Moves this process into a user and mount name space of its own, in which it is root and nothing more on the host
/// than it was.
fn become_rootless() -> Result<()> {
    let (uid, gid) = host::process::effective_ids();
    use host::process::Namespaces;
    host::process::unshare(Namespaces::USER | Namespaces::MOUNT).map_err(|errno| {
        let advice = "the host forbids user name spaces: allow them with `sysctl user.max_user_namespaces=10000` (and \
                      `sysctl kernel.apparmor_restrict_unprivileged_userns=0` on Ubuntu), or run as root";
        crate::error::Error::new(format!("cannot run rootless: {errno}: {advice}"))
    })?;
    IdMaps::root_is(uid, gid).write_for_self()
}

#[cfg(test)]
mod tests {
    use super::has_id;

    #[test]
    fn maps_are_read() {
        assert!(has_id("         0          0 4294967295\n", 65534));
        assert!(!has_id("0 1000 1\n", 65534));
        assert!(has_id("0 1000 1\n1 100000 65536\n", 65534));
        assert!(!has_id("rubbish", 0));
    }
}
