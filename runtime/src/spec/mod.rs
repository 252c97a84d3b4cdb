//! The OCI configuration of a container: read, checked, and turned into what the sandbox is told.
//!
//! Reading goes through [`serde_json::Value`] first: [`shape`] checks the form against [`schema`], [`rules`] the
//! meaning, and both report everything they find at once, by JSON path. Only then is it an `oci_spec` type, which is
//! strict, knows no paths, and would refuse a whole document for one new capability name.

pub(crate) mod annotations;
pub(crate) mod cpu_list;
pub(crate) mod default;
mod limits;
pub(crate) mod mounts;
pub(crate) mod names;
mod namespaces;
mod rules;
mod schema;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Process};
use serde_json::Value;

use crate::error::{Context, Error, Result};
use crate::logging;
use shape::{Findings, check};

const O_NONBLOCK: i32 = 0o4000;

/// The largest configuration.
const MAX_BYTES: u64 = 8 << 20;

/// A checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// The directory that relative paths in it start from.
    pub(crate) bundle: PathBuf,
    /// It as a type.
    pub(crate) oci: oci_spec::runtime::Spec,
    /// It as JSON, without what is not known.
    pub(crate) json: Value,
    /// Its annotations.
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Spec {
    /// Reads `config.json` of a bundle.
    pub(crate) fn load(bundle: &Path) -> Result<Self> {
        let bundle = std::fs::canonicalize(bundle)
            .with_context(|| format!("cannot find the bundle directory {}", bundle.display()))?;
        let path = bundle.join("config.json");
        let text = read_text(&path)?;
        let json = parse(&text, &path.display().to_string())?;
        Self::from_json(json, &bundle, &path.display().to_string())
    }

    /// Checks a configuration that came from `origin`.
    pub(crate) fn from_json(mut json: Value, bundle: &Path, origin: &str) -> Result<Self> {
        strip_nulls(&mut json);
        let mut findings = Findings::default();
        check(&json, &schema::CONFIG, "$", &mut findings);
        if json.is_object() {
            rules::check_config(&mut json, &mut findings);
        }
        report(findings, origin)?;
        let oci: oci_spec::runtime::Spec = serde_json::from_value(json.clone())
            .with_context(|| format!("{origin} is not a valid OCI configuration"))?;
        let annotations =
            oci.annotations().clone().unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>();
        Ok(Self { bundle: bundle.to_path_buf(), oci, json, annotations })
    }

    /// Its process. There always is one: the check made sure.
    pub(crate) fn process(&self) -> Result<&Process> {
        self.oci.process().as_ref().ok_or_else(|| Error::new("the configuration has no process"))
    }

    /// Whether the process wants a terminal.
    pub(crate) fn wants_terminal(&self) -> bool {
        self.oci.process().as_ref().and_then(Process::terminal).unwrap_or(false)
    }

    /// The root directory, absolute.
    pub(crate) fn root_path(&self) -> PathBuf {
        let root = self.oci.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
        self.bundle.join(root)
    }

    /// Whether there is a name space of a kind, and its path where it is to be joined.
    pub(crate) fn namespace(&self, kind: LinuxNamespaceType) -> Option<Option<PathBuf>> {
        let spaces = self.oci.linux().as_ref()?.namespaces().as_ref()?;
        let space = spaces.iter().find(|space| space.typ() == kind)?;
        Some(space.path().clone().filter(|path| !path.as_os_str().is_empty()))
    }

    /// `linux.cgroupsPath`, where there is one.
    pub(crate) fn cgroups_path(&self) -> Option<&str> {
        self.json["linux"]["cgroupsPath"].as_str().filter(|path| !path.is_empty())
    }

    /// `linux.resources`.
    pub(crate) fn resources(&self) -> &Value {
        &self.json["linux"]["resources"]
    }
}

/// Reads a JSON file of a reasonable size.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let shown = path.display();
    // A named pipe must not be waited for.
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
        .with_context(|| format!("cannot open {shown}"))?;
    let meta = file.metadata().with_context(|| format!("cannot look at {shown}"))?;
    if !meta.is_file() {
        return Err(Error::new(format!("{shown} is not a regular file")));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).with_context(|| format!("cannot read {shown}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::new(format!("{shown} is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(text)
}

/// Parses JSON; the error names line and column.
pub(crate) fn parse(text: &str, origin: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("{origin} is not valid JSON"))
}

/// Checks a `process` document (`runsc exec --process`) and takes out what is not known.
pub(crate) fn check_process(json: &mut Value, origin: &str) -> Result<()> {
    strip_nulls(json);
    let mut findings = Findings::default();
    check(json, &schema::PROCESS, "$", &mut findings);
    rules::check_process(json, "$", &mut findings);
    report(findings, origin)
}

/// Checks a `linux.resources` document (`runsc update --resources`).
pub(crate) fn check_resources(json: &mut Value, origin: &str) -> Result<()> {
    strip_nulls(json);
    let mut findings = Findings::default();
    check(json, &schema::RESOURCES, "$", &mut findings);
    rules::check_resources(json, "$", &mut findings);
    report(findings, origin)
}

/// Logs what was ignored; fails where something cannot be.
fn report(findings: Findings, origin: &str) -> Result<()> {
    for warning in &findings.warnings {
        logging::warning(format!("{origin}: {warning}"));
    }
    match findings.problems.as_slice() {
        [] => Ok(()),
        [one] => Err(Error::new(format!("{origin} is invalid: {one}"))),
        many => Err(Error::new(format!("{origin} is invalid in {} places: {}", many.len(), many.join("; ")))),
    }
}

/// A `null` is an absent member: Go writes them for empty lists and pointers.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, inner| !inner.is_null());
            object.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}
