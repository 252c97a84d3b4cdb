//! Command lines as Go's `flag` package reads them, turned into what clap reads.
//!
//! Go knows one kind of flag: `-name`, `--name`, `-name=value`, `-name value`; a boolean takes a value only after `=`.
//! Global flags stand before the command, the command's flags before its first other argument.

use clap::{ArgAction, Command};

use crate::error::{Error, Result};
use crate::flags::{self, Flags, Kind};

/// The command line, split.
#[derive(Debug)]
pub(crate) struct Split {
    /// The global flags.
    pub(crate) flags: Flags,
    /// The command and what follows it.
    pub(crate) rest: Vec<String>,
    /// Whether help was asked for.
    pub(crate) help: bool,
    /// Whether the version was asked for.
    pub(crate) version: bool,
}

/// Takes the global flags off the front of the arguments (without the program's name). The first that makes no sense is
/// the failure; the others are read all the same, so that `--log` says where it is to be told.
pub(crate) fn split_globals(args: &[String]) -> (Split, Result<()>) {
    let mut split = Split { flags: Flags::default(), rest: Vec::new(), help: false, version: false };
    let mut outcome = Ok(());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some((name, value)) = as_flag(arg) else {
            if arg != "--" {
                split.rest.push(arg.clone());
            }
            split.rest.extend(args.cloned());
            break;
        };
        match name {
            "help" | "h" => split.help = true,
            "version" | "v" => split.version = true,
            _ => {
                let flag = flags::find(name);
                let value = match (value, flag.map(|flag| flag.kind)) {
                    (Some(value), _) => Some(value),
                    (None, Some(Kind::Bool) | None) => Some("true"),
                    (None, Some(_)) => args.next().map(String::as_str),
                };
                let set = match value {
                    Some(value) => split.flags.set(name, value),
                    None => Err(Error::new(format!("flag --{name} needs a value: --{name}=VALUE"))),
                };
                outcome = outcome.and(set);
            }
        }
    }
    (split, outcome)
}

/// Name and value of a flag; `None` for what is not one (`-`, `--`, words).
pub(super) fn as_flag(arg: &str) -> Option<(&str, Option<&str>)> {
    let body = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    if body.is_empty() || body.starts_with('-') || body.starts_with('=') {
        return None;
    }
    Some(match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    })
}

/// Rewrites the flags in front of a command's first other argument to the form that clap reads. What is not one of the
/// command's flags is left as it is, for clap to complain about.
pub(crate) fn rewrite(command: &Command, args: &[String]) -> Vec<String> {
    let mut out = Vec::with_capacity(args.len());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some((name, value)) = as_flag(arg) else {
            out.push(arg.clone());
            // The topics of `help` have flags of their own, which follow them.
            if command.get_name() == "help" && arg != "--" {
                continue;
            }
            out.extend(args.cloned());
            break;
        };
        let known = command.get_arguments().find(|known| {
            known.get_long() == Some(name)
                || known.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
                || name.len() == 1 && known.get_short() == name.chars().next()
        });
        let Some(known) = known else {
            // Not as a cluster of short flags, which Go does not have.
            let dash = if name.len() > 1 && !arg.starts_with("--") { "-" } else { "" };
            out.push(format!("{dash}{arg}"));
            continue;
        };
        let long = known.get_long().unwrap_or(name);
        let is_switch =
            matches!(known.get_action(), ArgAction::SetTrue | ArgAction::Help | ArgAction::Version);
        match (is_switch, value) {
            // `--flag=false` is the flag's absence.
            (true, Some(value)) => match flags::parse_bool(value) {
                Some(true) => out.push(format!("--{long}")),
                Some(false) => {}
                None => out.push(arg.clone()),
            },
            (true, None) => out.push(format!("--{long}")),
            // A boolean that is true unless it is said otherwise.
            (false, None) if known.get_num_args().is_some_and(|range| range.min_values() == 0) => {
                out.push(format!("--{long}"));
            }
            (false, Some(value)) => out.push(format!("--{long}={value}")),
            (false, None) => {
                // An argument that looks like a flag is still this one's value, as in Go.
                match args.next() {
                    Some(value) => out.push(format!("--{long}={value}")),
                    None => out.push(format!("--{long}")),
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{rewrite, split_globals};
    use crate::cli::Cli;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn globals_are_taken_off() {
        let read = |text| match split_globals(&words(text)) {
            (split, Ok(())) => split,
            (_, Err(error)) => panic!("{text}: {error}"),
        };
        let split = read("-root /r --log=x -debug --network none run -d c");
        assert_eq!((split.flags.get("root"), split.flags.get("log")), ("/r", "x"));
        assert!(split.flags.is_set("debug"));
        assert_eq!(split.flags.get("network"), "none");
        assert_eq!(split.rest, words("run -d c"));
        let split = read("-debug=false --systemd-cgroup -- state c");
        assert!(!split.flags.is_set("debug") && split.flags.is_set("systemd-cgroup"));
        assert_eq!(split.rest, words("state c"));
        assert!(read("--version").version);
        let refused = |text| split_globals(&words(text)).1.unwrap_err().to_string();
        assert!(refused("--root").contains("needs a value"));
        assert!(refused("--bogus x").contains("unknown flag"));
    }

    #[test]
    fn a_bad_flag_does_not_hide_the_log() {
        for text in ["--log=x --bogus create c", "--bogus --log=x create c", "--network=odd -log x create c"]
        {
            let (split, outcome) = split_globals(&words(text));
            assert!(outcome.is_err(), "{text}");
            assert_eq!((split.flags.get("log"), split.rest), ("x", words("create c")), "{text}");
        }
    }

    #[test]
    fn commands_get_clap_flags() {
        let cli = Cli::command();
        let of = |name: &str, line: &str| rewrite(cli.find_subcommand(name).unwrap(), &words(line)).join(" ");
        assert_eq!(of("create", "-bundle /b -pid-file=/p c"), "--bundle=/b --pid-file=/p c");
        assert_eq!(of("create", "--bundle /b --console-socket /s c"), "--bundle=/b --console-socket=/s c");
        assert_eq!(of("run", "-detach=false c"), "c");
        assert_eq!(of("run", "-d -bundle=x c"), "--detach --bundle=x c");
        assert_eq!(
            of("exec", "-user 1:2 -env A=-x c ls -l -detach"),
            "--user=1:2 --env=A=-x c ls -l -detach"
        );
        assert_eq!(of("kill", "--all c KILL"), "--all c KILL");
        assert_eq!(of("delete", "-force c"), "--force c");
        assert_eq!(of("update", "-resources - c"), "--resources=- c");
        assert_eq!(of("kill", "-bogus c"), "--bogus c");
        assert_eq!(of("do", "-version=1 ls"), "--version=1 ls");
        assert_eq!(of("help", "syscalls -format csv -os linux"), "syscalls --format=csv --os=linux");
        assert_eq!(of("install", "-clobber -runtime r -- --debug"), "--clobber --runtime=r -- --debug");
        assert_eq!(of("install", "-clobber=false"), "--clobber=false");
    }
}
