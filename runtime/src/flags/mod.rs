//! The global flags: gVisor's names, with what each of them does here.
//!
//! [`table`] lists them; [`Flags`] holds the values of one invocation, defaults included; [`Config`] is the typed view
//! that the rest of the program uses. An annotation `dev.gvisor.flag.NAME` may change some of them for one container.

mod config;
mod overlay;
mod table;

use std::collections::BTreeMap;

pub(crate) use config::{Config, FileAccess, LogFormat};
pub(crate) use overlay::{OverlaySetting, parse_size};
pub(crate) use table::FLAGS;

use crate::error::{Error, Result};

/// The form of a flag's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `true` or `false`; alone it means `true`.
    Bool,
    /// A whole number.
    Int,
    /// Anything.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// What we do about a flag.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Support {
    /// What its help says.
    Works,
    /// Nothing, because of this; any value is accepted.
    NoOp(&'static str),
    /// Any value but the default is an error with this remedy.
    Refused(&'static str),
}

/// One global flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Its name without dashes.
    pub(crate) name: &'static str,
    /// The form of its value.
    pub(crate) kind: Kind,
    /// Its value when not given.
    pub(crate) default: &'static str,
    /// What we do about it.
    pub(crate) support: Support,
    /// What it is for.
    pub(crate) help: &'static str,
}

/// Finds a flag by its name.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// The prefix of annotations that change flags.
const ANNOTATION_PREFIX: &str = "dev.gvisor.flag.";

/// Flags that an annotation may always change: none of them widens what a guest can do.
const OVERRIDABLE: &[&str] = &[
    "debug",
    "debug-command",
    "debug-to-user-log",
    "strace",
    "strace-syscalls",
    "strace-log-size",
    "strace-event",
    "host-uds",
    "net-disconnect-ok",
    "reproduce-nftables",
    "overlay2",
    "oci-seccomp",
    "pause-external-networking",
    "allow-connected-on-save",
    "qdisc",
    "mount-cgroup-v2",
];

/// The values of all flags: those that were given, and the defaults of the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// Sets one flag from the command line.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let flag = find(name).ok_or_else(|| Error::new(unknown(name)))?;
        let value = checked(flag, value)?;
        if let Support::Refused(why) = flag.support
            && value != flag.default
        {
            return Err(Error::new(format!("flag --{name} is not supported: {why}")));
        }
        self.0.insert(flag.name, value);
        Ok(())
    }

    /// Sets a flag that nobody has set: a default that depends on the caller.
    pub(crate) fn set_default(&mut self, name: &str, value: &str) -> Result<()> {
        if self.is_given(name) { Ok(()) } else { self.set(name, value) }
    }

    /// A flag's value. Every name in the table has one.
    pub(crate) fn get(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(value) => value,
            None => find(name).map_or("", |flag| flag.default),
        }
    }

    /// Whether it was set, be it to its default.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether a boolean flag is set.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get(name) == "true"
    }

    /// A number's value.
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.get(name).parse().unwrap_or(-1)
    }

    /// The values that were given, by name: what a container's state keeps.
    pub(crate) fn given(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
    }

    /// Flags as [`Self::given`] wrote them down.
    pub(crate) fn from_given(given: &BTreeMap<String, String>) -> Result<Self> {
        let mut flags = Self::default();
        given.iter().try_for_each(|(name, value)| flags.set(name, value))?;
        Ok(flags)
    }

    /// Applies the `dev.gvisor.flag.NAME` annotations of a container.
    pub(crate) fn apply_annotations(&mut self, annotations: &BTreeMap<String, String>) -> Result<()> {
        let free = self.is_set("allow-flag-override");
        for (key, value) in annotations {
            let Some(name) = key.strip_prefix(ANNOTATION_PREFIX) else { continue };
            if !free && !self.may_override(name, value) {
                let why = "start runsc with --allow-flag-override if whoever writes annotations is trusted";
                return Err(Error::new(format!("annotation {key}={value} may not change this flag: {why}")));
            }
            self.set(name, value).map_err(|error| Error::new(format!("annotation {key}: {error}")))?;
        }
        Ok(())
    }

    fn may_override(&self, name: &str, value: &str) -> bool {
        let same = self.get(name) == value;
        same || OVERRIDABLE.contains(&name)
            && match name {
                "oci-seccomp" => value == "true",
                "overlay2" => matches!(
                    value.split_once(':').map(|(_, medium)| medium.split(',').next().unwrap_or("")),
                    None | Some("memory" | "self")
                ),
                "qdisc" => value == "tbf",
                _ => true,
            }
    }
}

fn unknown(name: &str) -> String {
    let near = FLAGS.iter().find(|flag| {
        let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
        plain(flag.name) == plain(name)
    });
    match near {
        Some(flag) => format!("unknown flag --{name}: did you mean --{}?", flag.name),
        None => format!("unknown flag --{name}: `runsc flags` lists them"),
    }
}

/// The value in the form that the flag wants, booleans as `true` and `false`.
fn checked(flag: &Flag, value: &str) -> Result<String> {
    let bad = |wanted: String| {
        Error::new(format!("flag --{} has the value \"{value}\" and wants {wanted}", flag.name))
    };
    match flag.kind {
        Kind::Text => Ok(value.to_string()),
        Kind::Bool => {
            parse_bool(value).map(|value| value.to_string()).ok_or_else(|| bad("true or false".into()))
        }
        Kind::Int => value.parse::<i64>().map(|n| n.to_string()).map_err(|_| bad("a whole number".into())),
        Kind::Choice(words) if words.contains(&value) => Ok(value.to_string()),
        Kind::Choice(words) => Err(bad(format!("one of {}", words.join(", ")))),
    }
}

/// Booleans as Go's `flag` package reads them.
pub(crate) fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{FLAGS, Flags, Support, checked};

    #[test]
    fn the_table_is_sound() {
        let names: BTreeSet<_> = FLAGS.iter().map(|flag| flag.name).collect();
        assert_eq!(names.len(), FLAGS.len());
        for flag in FLAGS {
            assert_eq!(checked(flag, flag.default).unwrap(), flag.default, "{}", flag.name);
        }
    }

    /// A flag is said to work only where something asks for its value.
    #[test]
    fn flags_that_work_have_readers() {
        let readers = [
            include_str!("config.rs").split("mod tests").next().unwrap(),
            include_str!("mod.rs").split("mod tests").next().unwrap(),
            include_str!("../logging.rs"),
            include_str!("../sandbox/identity.rs"),
            include_str!("../spec/mounts.rs"),
            include_str!("../network.rs"),
        ];
        for flag in FLAGS.iter().filter(|flag| matches!(flag.support, Support::Works)) {
            let asked = [format!("(\"{}\")", flag.name), format!("number(flags, \"{}\",", flag.name)];
            let is_asked = |text: &&str| asked.iter().any(|asked| text.contains(asked));
            assert!(readers.iter().any(is_asked), "--{} has no reader", flag.name);
        }
    }

    #[test]
    fn values_are_checked() {
        let mut flags = Flags::default();
        flags.set("debug", "1").unwrap();
        assert!(flags.is_set("debug"));
        let refused =
            |flags: &mut Flags, name: &str, value: &str| flags.set(name, value).unwrap_err().to_string();
        assert!(refused(&mut flags, "network", "bridge").contains("one of sandbox, host"));
        assert!(refused(&mut flags, "nvproxy", "true").contains("GPUs are not supported"));
        assert!(refused(&mut flags, "debuglog", "x").contains("did you mean --debug-log"));
        flags.set("nvproxy", "false").unwrap();
    }

    #[test]
    fn what_was_given_can_be_written_down() {
        let mut flags = Flags::default();
        flags.set("network", "host").unwrap();
        flags.set("debug", "1").unwrap();
        let again = Flags::from_given(&flags.given()).unwrap();
        assert_eq!((again.get("network"), again.is_set("debug")), ("host", true));
        assert!(!again.is_given("overlay2"));
    }

    #[test]
    fn annotations_may_not_widen() {
        let one =
            |key: &str, value: &str| BTreeMap::from([(format!("dev.gvisor.flag.{key}"), value.to_string())]);
        let mut flags = Flags::default();
        flags.apply_annotations(&one("strace", "true")).unwrap();
        flags.apply_annotations(&one("overlay2", "all:memory")).unwrap();
        assert!(flags.apply_annotations(&one("overlay2", "all:dir=/etc")).is_err());
        assert!(flags.apply_annotations(&one("network", "host")).is_err());
        assert!(flags.apply_annotations(&one("oci-seccomp", "true")).is_ok());
        flags.set("allow-flag-override", "true").unwrap();
        flags.apply_annotations(&one("network", "host")).unwrap();
        assert_eq!(flags.get("network"), "host");
    }
}
