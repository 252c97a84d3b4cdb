//! Docker's configuration file, `daemon.json`: how a runtime gets into it and out of it.
//!
//! A file is read whole, changed in memory and replaced in one step; what it says of other things stays as it is. A
//! file that cannot be understood is left alone.

mod json;

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(crate) use json::Json;

use host::fs::{NewFile, replace_file};

use crate::error::{Context, Error, Result};

/// Where Docker looks for it.
pub(crate) const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// What is to be written.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// Its name in Docker.
    pub(crate) name: String,
    /// The binary.
    pub(crate) path: String,
    /// Global flags that Docker passes each time.
    pub(crate) args: Vec<String>,
    /// Whether an entry of that name that says something else may be replaced.
    pub(crate) clobber: bool,
    /// Whether Docker's experimental features are to be on.
    pub(crate) experimental: bool,
    /// `native.cgroupdriver`, where it is to be set.
    pub(crate) cgroup_driver: Option<String>,
}

impl Runtime {
    /// Its entry among `runtimes`.
    fn entry(&self) -> Json {
        let mut members = vec![("path".into(), Json::text(&self.path))];
        if !self.args.is_empty() {
            let args = self.args.iter().map(Json::text).collect();
            members.push(("runtimeArgs".into(), Json::Array(args)));
        }
        Json::Object(members)
    }

    /// Adds it to a configuration.
    pub(crate) fn add_to(&self, config: &mut Json) -> Result<()> {
        let not_an_object = || Error::new("\"runtimes\" is not an object");
        let runtimes = config.entry("runtimes", Json::Object(Vec::new())).ok_or_else(not_an_object)?;
        let known = runtimes.entry(&self.name, self.entry()).ok_or_else(not_an_object)?;
        if *known != self.entry() {
            if !self.clobber {
                let name = &self.name;
                return Err(Error::new(format!(
                    "there is another runtime \"{name}\": leave out --clobber=false to replace it, or choose another --runtime"
                )));
            }
            *known = self.entry();
        }
        if self.experimental {
            set(config, "experimental", Json::Scalar(true.into()));
        }
        if let Some(driver) = &self.cgroup_driver {
            const OPTION: &str = "native.cgroupdriver=";
            let Some(Json::Array(options)) = config.entry("exec-opts", Json::Array(Vec::new())) else {
                return Err(Error::new("\"exec-opts\" is not an array"));
            };
            options.retain(|option| !option.as_text().is_some_and(|text| text.starts_with(OPTION)));
            options.push(Json::text(format!("{OPTION}{driver}")));
        }
        Ok(())
    }
}

fn set(config: &mut Json, name: &str, value: Json) {
    if let Some(place) = config.entry(name, Json::Scalar(serde_json::Value::Null)) {
        *place = value;
    }
}

/// Takes a runtime out of a configuration; also as the default one.
pub(crate) fn remove_from(config: &mut Json, name: &str) {
    if let Some(runtimes) = config.entry("runtimes", Json::Object(Vec::new())) {
        runtimes.remove(name);
        if runtimes.is_empty() {
            config.remove("runtimes");
        }
    }
    if config.get("default-runtime").and_then(Json::as_text) == Some(name) {
        config.remove("default-runtime");
    }
}

/// Reads a configuration; one that is not there or empty has no members.
pub(crate) fn read(path: &Path) -> Result<Json> {
    // Whoever opens a named pipe waits for a writer.
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(Error::new(format!("{} is not a regular file", path.display())));
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::new(format!("cannot read {}: {error}", path.display()))),
    };
    if text.trim().is_empty() {
        return Ok(Json::Object(Vec::new()));
    }
    let config: Json = serde_json::from_str(&text).map_err(|error| {
        // serde_json's own words end with the place.
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or(&what).to_string();
        Error::new(format!(
            "{}:{}:{}: {what}: repair the file first; nothing has been changed",
            path.display(),
            error.line(),
            error.column()
        ))
    })?;
    match config {
        Json::Object(_) => Ok(config),
        _ => Err(Error::new(format!("{}:1:1: it is not a JSON object", path.display()))),
    }
}

/// Changes a configuration; says whether there was anything to change.
pub(crate) fn change(path: &Path, change: impl FnOnce(&mut Json) -> Result<()>) -> Result<bool> {
    let old = read(path)?;
    let mut new = old.clone();
    change(&mut new).with_context(|| format!("cannot change {}", path.display()))?;
    if new == old {
        return Ok(false);
    }
    write(path, &new)?;
    Ok(true)
}

/// Replaces a configuration in one step, with the owner and mode that it had. A symbolic link stays one.
fn write(path: &Path, config: &Json) -> Result<()> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let what = || format!("cannot write {}", target.display());
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).with_context(what)?;
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(config, &mut serializer).with_context(what)?;
    text.push(b'\n');
    let (mode, owner) = match std::fs::metadata(&target) {
        Ok(meta) => (meta.mode() & 0o7777, Some((meta.uid(), meta.gid()))),
        Err(_) => (0o644, None),
    };
    let name = target.file_name().ok_or_else(|| Error::new(format!("{} is no file", target.display())))?;
    let dir = File::open(dir).with_context(what)?;
    let new = NewFile { mode, owner, durable: true };
    replace_file(dir.as_fd(), name.as_bytes(), &text, new).with_context(what)
}

/// This binary's path, for Docker to start it by.
pub(crate) fn own_path() -> Result<PathBuf> {
    std::env::current_exe().and_then(std::fs::canonicalize).context("cannot find the path of this binary")
}

#[cfg(test)]
mod tests;
