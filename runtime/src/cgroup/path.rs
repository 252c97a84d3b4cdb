//! What `cgroupsPath` means.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// A cgroup's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Below the root of each hierarchy.
    FromRoot(PathBuf),
    /// Below the caller's own cgroup.
    FromOwn(PathBuf),
}

impl Place {
    /// Its path below the root of a hierarchy in which the caller is at `own`.
    pub(super) fn below_root(&self, own: &Path) -> PathBuf {
        match self {
            Self::FromRoot(path) => path.clone(),
            Self::FromOwn(path) => own.join(path),
        }
    }
}

/// Reads a `cgroupsPath`. systemd's form is recognised by itself; with `systemd` it is demanded.
pub(super) fn relative(text: &str, systemd: bool) -> Result<Place> {
    if let Some(unit) = UnitName::parse(text)? {
        return Ok(Place::FromRoot(unit.path()));
    }
    if systemd {
        return Err(Error::new(format!(
            "$.linux.cgroupsPath is \"{text}\" and --systemd-cgroup wants slice:prefix:name: leave the flag out or \
             make the caller use the systemd driver"
        )));
    }
    let path = Path::new(text);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Error::new(format!("$.linux.cgroupsPath \"{text}\" contains \"..\"")));
    }
    match path.strip_prefix("/") {
        Ok(below) => Ok(Place::FromRoot(below.into())),
        Err(_) => Ok(Place::FromOwn(path.into())),
    }
}

/// Whether the cgroup at `above` is a true ancestor of the one that a configuration asks for.
pub(crate) fn is_ancestor(above: &str, cgroups_path: &str, systemd: bool) -> bool {
    match (relative(above, false), relative(cgroups_path, systemd)) {
        (Ok(Place::FromRoot(above)), Ok(Place::FromRoot(path)))
        | (Ok(Place::FromOwn(above)), Ok(Place::FromOwn(path))) => {
            above.components().next().is_some() && path != above && path.starts_with(&above)
        }
        _ => false,
    }
}

/// A unit of systemd's, as `slice:prefix:name` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnitName {
    /// The slice that it is in.
    pub(super) slice: String,
    /// Its own name, with its kind.
    pub(super) name: String,
}

impl UnitName {
    /// Reads a `cgroupsPath`; `None` where that has another form.
    pub(super) fn parse(text: &str) -> Result<Option<Self>> {
        let parts: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = parts[..] else { return Ok(None) };
        if text.contains('/') {
            return Ok(None);
        }
        let bad = |why: &str| Error::new(format!("$.linux.cgroupsPath \"{text}\": {why}"));
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let stem = slice.strip_suffix(".slice").ok_or_else(|| bad("the first part must end in .slice"))?;
        if stem != "-" && stem.split('-').any(str::is_empty) {
            return Err(bad("the slice has an empty part"));
        }
        if name.is_empty() {
            return Err(bad("the name is empty"));
        }
        let name = match (name.ends_with(".slice"), prefix.is_empty()) {
            (true, _) => name.to_string(),
            (false, true) => format!("{name}.scope"),
            (false, false) => format!("{prefix}-{name}.scope"),
        };
        Ok(Some(Self { slice: slice.into(), name }))
    }

    /// Where systemd keeps it: `a-b.slice` is below `a.slice`.
    fn path(&self) -> PathBuf {
        let stem = self.slice.strip_suffix(".slice").unwrap_or(&self.slice);
        let mut path = PathBuf::new();
        if stem != "-" {
            let dashes = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
            path.extend(dashes.map(|at| format!("{}.slice", &stem[..at])));
        }
        path.push(&self.name);
        path
    }
}
