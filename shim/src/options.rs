//! Options: what the administrator configures of this runtime in containerd, as a file (`ConfigPath`), as text
//! (`ConfigBody`) or, where neither is given, in one of the places that are searched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{CodedInputStream, Message, rt::WireType};
use containerd_shim_protos::shim::oci::Options as RuncOptions;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Failure, Result};

/// The type that the options of this runtime have.
const TYPE: &str = "io.containerd.runsc.v1.options";

/// Where a configuration is searched that containerd does not name.
const SEARCHED: [&str; 3] =
    ["/run/containerd/runsc/config.toml", "/etc/containerd/runsc/config.toml", "config.toml"];

/// Where a container's options are noted, in its bundle.
const KEPT: &str = "options.json";

/// What can be configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Options {
    /// The program that runs containers, searched in `PATH`.
    pub(crate) binary_name: PathBuf,
    /// Where it keeps the state of containers: a directory per name space of containerd.
    pub(crate) root: PathBuf,
    /// `debug` makes the shim talkative.
    pub(crate) log_level: String,
    /// A file for the shim's log; `%ID%` stands for the id. Without it, containerd's log has it.
    pub(crate) log_path: String,
    /// A cgroup that the shim moves to.
    pub(crate) shim_cgroup: String,
    /// The user that the containers' streams belong to.
    pub(crate) io_uid: u32,
    /// Their group.
    pub(crate) io_gid: u32,
    /// Whether the containers of a pod have one shim.
    pub(crate) grouping: bool,
    /// Global flags for `runsc`.
    #[serde(deserialize_with = "flags")]
    pub(crate) runsc_config: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            binary_name: "runsc".into(),
            root: "/run/containerd/runsc".into(),
            log_level: String::new(),
            log_path: String::new(),
            shim_cgroup: String::new(),
            io_uid: 0,
            io_gid: 0,
            grouping: true,
            runsc_config: BTreeMap::new(),
        }
    }
}

/// Flags may be written as strings, numbers and booleans.
fn flags<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Text(String),
        Number(i64),
        Switch(bool),
    }
    let table = BTreeMap::<String, Flag>::deserialize(from)?;
    let text = |flag: Flag| match flag {
        Flag::Text(text) => text,
        Flag::Number(number) => number.to_string(),
        Flag::Switch(on) => on.to_string(),
    };
    Ok(table.into_iter().map(|(name, flag)| (name, text(flag))).collect())
}

impl Options {
    /// The options that containerd sends, or those of the first configuration file that there is.
    pub(crate) fn of(sent: Option<&Any>) -> Result<Self> {
        match sent.filter(|any| !any.type_url.is_empty()) {
            Some(any) => Self::from_any(any),
            None => Self::searched(),
        }
    }

    /// Notes them in the bundle, for a `delete` when the shim has died: containerd does not tell them again.
    pub(crate) fn keep_in(&self, bundle: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).context("cannot write the options down")?;
        std::fs::write(bundle.join(KEPT), text).context("cannot write the options down")
    }

    /// Those that were noted in the bundle.
    pub(crate) fn kept_in(bundle: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(bundle.join(KEPT)).ok()?).ok()
    }

    /// Those of the first configuration file that there is.
    pub(crate) fn searched() -> Result<Self> {
        match SEARCHED.iter().map(Path::new).find(|path| path.exists()) {
            Some(path) => Self::load(path),
            None => Ok(Self::default()),
        }
    }

    fn load(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).context(format_args!("cannot read options {}", path.display()))?;
        Self::parse(&text).context(format_args!("options {} are wrong", path.display()))
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    fn from_any(any: &Any) -> Result<Self> {
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        match name {
            "runtimeoptions.v1.Options" => Self::from_generic(&Generic::parse(&any.value)?),
            "containerd.runc.v1.Options" => Self::from_runc(&any.value),
            other => Err(Failure::Invalid(format!(
                "options of type {other:?} are not understood: {TYPE:?} with a ConfigPath is"
            ))),
        }
    }

    fn from_generic(generic: &Generic) -> Result<Self> {
        if !generic.type_url.is_empty() && generic.type_url != TYPE {
            return Err(Failure::Invalid(format!(
                "the runtime's options have TypeUrl = {:?} and want {TYPE:?}",
                generic.type_url
            )));
        }
        if !generic.config_path.is_empty() {
            Self::load(Path::new(&generic.config_path))
        } else if !generic.config_body.is_empty() {
            Self::parse(&generic.config_body).context("the runtime's options are wrong")
        } else {
            Self::searched()
        }
    }

    /// Clients that know only runc's options send those that they mean for any runtime.
    fn from_runc(bytes: &[u8]) -> Result<Self> {
        let runc = RuncOptions::parse_from_bytes(bytes).context("runc's options are malformed")?;
        let mut options = Self::searched()?;
        if !runc.binary_name.is_empty() {
            options.binary_name = runc.binary_name.into();
        }
        if !runc.root.is_empty() {
            options.root = runc.root.into();
        }
        if !runc.shim_cgroup.is_empty() {
            options.shim_cgroup = runc.shim_cgroup;
        }
        if runc.systemd_cgroup {
            options.runsc_config.insert("systemd-cgroup".into(), "true".into());
        }
        if (runc.io_uid, runc.io_gid) != (0, 0) {
            (options.io_uid, options.io_gid) = (runc.io_uid, runc.io_gid);
        }
        Ok(options)
    }

    /// Whether debugging is asked for.
    pub(crate) fn is_debug(&self) -> bool {
        matches!(self.log_level.as_str(), "debug" | "trace")
    }
}

/// `runtimeoptions.v1.Options`, which containerd sends for runtimes whose options it does not know.
#[derive(Debug, Default, PartialEq, Eq)]
struct Generic {
    type_url: String,
    config_path: String,
    config_body: String,
}

impl Generic {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut this = Self::default();
        let mut input = CodedInputStream::from_bytes(bytes);
        let malformed = "the runtime's options are malformed";
        while let Some(tag) = input.read_raw_tag_or_eof().context(malformed)? {
            let field = match tag >> 3 {
                1 => &mut this.type_url,
                2 => &mut this.config_path,
                3 => &mut this.config_body,
                _ => {
                    let kind = WireType::new(tag & 7).ok_or_else(|| Failure::Invalid(malformed.into()))?;
                    input.skip_field(kind).context(malformed)?;
                    continue;
                }
            };
            *field = input.read_string().context(malformed)?;
        }
        Ok(this)
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::protobuf::well_known_types::any::Any;

    use super::{Generic, Options};

    fn field(number: u8, text: &str) -> Vec<u8> {
        [&[number << 3 | 2, text.len() as u8], text.as_bytes()].concat()
    }

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.into(), value, ..Any::default() }
    }

    #[test]
    fn every_key_is_read_and_others_are_left_alone() {
        let options = Options::parse(
            "binary_name = '/opt/runsc'\nroot = '/r'\nlog_level = 'debug'\nlog_path = '/l/%ID%'\nshim_cgroup = '/s'\n\
             io_uid = 5\nio_gid = 6\ngrouping = false\nTypeUrl = 'x'\n\
             [runsc_config]\ndebug = true\nnetwork = 'none'\nfdlimit = 9",
        )
        .unwrap();
        assert!(options.is_debug() && !options.grouping);
        assert_eq!((options.io_uid, options.io_gid, options.log_path.as_str()), (5, 6, "/l/%ID%"));
        let flags: Vec<_> = options.runsc_config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(flags, [("debug", "true"), ("fdlimit", "9"), ("network", "none")]);
        assert_eq!(Options::parse("").unwrap(), Options::default());
        assert!(Options::parse("binary_name = 5").is_err());
        let bundle = std::env::temp_dir().join(format!("shim-bundle-{}", std::process::id()));
        std::fs::create_dir(&bundle).unwrap();
        assert_eq!(Options::kept_in(&bundle), None);
        options.keep_in(&bundle).unwrap();
        assert_eq!(Options::kept_in(&bundle), Some(options));
        std::fs::remove_dir_all(bundle).unwrap();
    }

    #[test]
    fn options_come_by_path_and_by_text() {
        let path = std::env::temp_dir().join(format!("shim-options-{}.toml", std::process::id()));
        std::fs::write(&path, "binary_name = 'by-path'").unwrap();
        let name = |value: Vec<u8>| {
            let any = any("types.googleapis.com/runtimeoptions.v1.Options", value);
            Options::of(Some(&any)).map(|options| options.binary_name.display().to_string())
        };
        let path_field = field(2, path.to_str().unwrap());
        assert_eq!(name([field(1, super::TYPE), path_field].concat()).unwrap(), "by-path");
        assert_eq!(name(field(3, "binary_name = 'by-text'")).unwrap(), "by-text");
        assert!(name(field(1, "io.containerd.kata.v2.options")).is_err());
        assert!(name(field(2, "/there/is/none")).unwrap_err().to_string().contains("/there/is/none"));
        assert!(Options::of(Some(&any("x.Other", Vec::new()))).is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn unknown_fields_are_skipped_and_nonsense_is_refused() {
        let bytes = [vec![0x48, 0x05], field(2, "/p")].concat();
        assert_eq!(Generic::parse(&bytes).unwrap().config_path, "/p");
        for bad in [&[0x12, 0x50][..], &[0x07], &[0x12]] {
            assert!(Generic::parse(bad).is_err(), "{bad:?}");
        }
    }
}
