//! This program's command line, as containerd writes it: flags in Go's spelling, then a command.

use std::path::PathBuf;

use crate::error::{Failure, Result};

/// What the program is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    /// Be the shim.
    #[default]
    Serve,
    /// Print the address of a shim.
    Start,
    /// Clean up after one.
    Delete,
    /// Print the version.
    Version,
    /// Describe this runtime.
    Info,
}

/// The command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) action: Action,
    /// containerd's name space.
    pub(crate) namespace: String,
    /// The container, or for a shim its group.
    pub(crate) id: String,
    /// containerd's socket.
    pub(crate) address: String,
    /// The bundle, for `delete`.
    pub(crate) bundle: PathBuf,
    /// containerd's program.
    pub(crate) publish_binary: String,
    /// The socket that a shim listens on.
    pub(crate) socket: PathBuf,
    pub(crate) is_debug: bool,
}

impl Args {
    /// Understands a command line, without the program's name.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut args = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                args.command(&word)?;
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (flag, None),
            };
            if args.switch(name, value.as_deref()) {
                continue;
            }
            let missing = || Failure::Invalid(format!("flag -{name} has no value"));
            args.set(name, value.or_else(|| words.next()).ok_or_else(missing)?)?;
        }
        Ok(args)
    }

    fn command(&mut self, word: &str) -> Result<()> {
        self.action = match word {
            "start" => Action::Start,
            "delete" => Action::Delete,
            other => return Err(Failure::Invalid(format!("{other:?} is neither start nor delete"))),
        };
        Ok(())
    }

    /// Flags without a value; whether `name` is one.
    fn switch(&mut self, name: &str, value: Option<&str>) -> bool {
        let on = !matches!(value, Some("false" | "0" | "f"));
        match name {
            "debug" => self.is_debug = on,
            "v" | "version" if on => self.action = Action::Version,
            "info" if on => self.action = Action::Info,
            "v" | "version" | "info" => {}
            _ => return false,
        }
        true
    }

    fn set(&mut self, name: &str, value: String) -> Result<()> {
        match name {
            "namespace" => self.namespace = value,
            "id" => self.id = value,
            "address" => self.address = value,
            "bundle" => self.bundle = value.into(),
            "publish-binary" => self.publish_binary = value,
            "socket" => self.socket = value.into(),
            other => return Err(Failure::Invalid(format!("there is no flag -{other}"))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Args};

    fn parse(words: &[&str]) -> Option<Args> {
        Args::parse(words.iter().map(ToString::to_string)).ok()
    }

    #[test]
    fn containerds_own_spelling() {
        let words = [
            "-namespace",
            "k8s.io",
            "-address=/c.sock",
            "-publish-binary",
            "/b",
            "-id",
            "x",
            "-debug",
            "start",
        ];
        let args = parse(&words).unwrap();
        assert_eq!((args.action, args.is_debug), (Action::Start, true));
        assert_eq!(
            (args.namespace.as_str(), args.address.as_str(), args.id.as_str()),
            ("k8s.io", "/c.sock", "x")
        );
        let args = parse(&["--bundle", "/bundle", "-debug=false", "delete"]).unwrap();
        assert_eq!(
            (args.action, args.is_debug, args.bundle.to_str()),
            (Action::Delete, false, Some("/bundle"))
        );
        assert_eq!(parse(&[]).unwrap().action, Action::Serve);
        assert_eq!(parse(&["-v"]).unwrap().action, Action::Version);
        assert_eq!(parse(&["-info"]).unwrap().action, Action::Info);
        for bad in [&["-id"][..], &["-x", "1"], &["stop"]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
