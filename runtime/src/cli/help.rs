//! `runsc help`, `flags`, `commands`: the commands, and the topics `platforms`, `syscalls`, `seccomp`.

use clap::{Args, CommandFactory};
use control::network::NetworkMode;
use host::seccomp::{ArgCheck, Rule};

use super::Cli;
use super::table::Table;
use crate::error::{Error, Result};
use crate::flags::{FLAGS, Support};

/// `runsc help`.
#[derive(Debug, Args)]
pub(crate) struct Help {
    /// A command, or platforms, syscalls, seccomp.
    topic: Option<String>,
    /// Form of the table of system calls.
    #[arg(long, default_value = "table", value_parser = ["table", "csv", "json"])]
    format: String,
    /// File for the table.
    #[arg(long, short = 'o')]
    filename: Option<std::path::PathBuf>,
    /// Accepted for gVisor's sake: linux.
    #[arg(long, hide = true, value_parser = ["linux", "all"])]
    os: Option<String>,
    /// Accepted for gVisor's sake: amd64.
    #[arg(long, hide = true, value_parser = ["amd64", "all"])]
    arch: Option<String>,
}

impl Help {
    /// Prints it.
    pub(crate) fn run(&self) -> Result<u8> {
        match self.topic.as_deref() {
            None => overview(),
            Some("platforms") => {
                say!("systrap: traps system calls by seccomp; needs nothing of the host (default)");
            }
            Some("seccomp") => seccomp(),
            Some("syscalls") => super::syscalls::print(&self.format, self.filename.as_deref())?,
            Some(name) => {
                let mut cli = Cli::command();
                let command = cli.find_subcommand_mut(name);
                let command = command.ok_or_else(|| {
                    let unknown = || format!("no command or topic \"{name}\": try `runsc help`");
                    Error::new(super::absent::advice(name).unwrap_or_else(unknown))
                })?;
                say_raw!("{}", command.clone().bin_name(format!("runsc {name}")).render_long_help());
            }
        }
        Ok(0)
    }
}

/// The list of commands.
pub(super) fn overview() {
    say!("runsc runs containers in sandboxes with a kernel of their own.\n");
    say!("Usage: runsc [GLOBAL FLAGS] COMMAND [FLAGS] [ARGUMENTS]\n\nCommands:");
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        say!("  {:10} {about}", command.get_name());
    }
    say!("\n`runsc flags` lists the global flags, `runsc help COMMAND` a command's own.");
    say!("Topics: `runsc help platforms`, `runsc help syscalls`, `runsc help seccomp`.");
}

/// `runsc flags`.
#[derive(Debug, Args)]
pub(crate) struct FlagList {}

impl FlagList {
    /// Prints the list.
    pub(crate) fn run(&self) -> Result<u8> {
        for flag in FLAGS {
            let note = match flag.support {
                Support::Works => String::new(),
                Support::NoOp(why) => format!(" [accepted without effect: {why}]"),
                Support::Refused(why) => format!(" [not supported: {why}]"),
            };
            say!("  --{}={}\n        {}{note}", flag.name, flag.default, flag.help);
        }
        Ok(0)
    }
}

/// `runsc commands`.
#[derive(Debug, Args)]
pub(crate) struct CommandList {}

impl CommandList {
    /// Prints the list.
    pub(crate) fn run(&self) -> Result<u8> {
        for command in Cli::command().get_subcommands() {
            say!("{}", command.get_name());
        }
        Ok(0)
    }
}

/// The allow-lists, from the tables that the filters are built from.
fn seccomp() {
    let sandbox = ::boot::filter::rules;
    for (who, rules) in [
        ("sandbox", sandbox(NetworkMode::Sandbox)),
        ("sandbox with --network=host", sandbox(NetworkMode::Host)),
        ("broker of --network=host", control::broker::RULES.to_vec()),
        ("gofer", ::gofer::SECCOMP_RULES.to_vec()),
        ("process that exec --detach leaves behind", crate::container::stand_in::RULES.to_vec()),
    ] {
        let mut names: Vec<&str> = rules.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        if rules.contains(&::gofer::DOOR_RULE) {
            names.retain(|name| *name != ::gofer::DOOR_RULE.name);
            say!(
                "The door of the {who} is a number without a call: a notification to the sandbox, for which it waits."
            );
        }
        say!("The {who} may make {} system calls; any other one ends it:", names.len());
        let mut table = Table::new(&["  CALL", "WHERE"]);
        for rule in &rules {
            table.row([format!("  {}", rule.name), conditions(rule)]);
        }
        say!("{table}");
    }
}

fn conditions(rule: &Rule) -> String {
    if rule.args.is_empty() {
        return "any arguments".into();
    }
    rule.args.iter().map(condition).collect::<Vec<_>>().join(" and ")
}

fn condition(check: &ArgCheck) -> String {
    match check {
        ArgCheck::Eq(arg, value) => format!("arg{arg} == {value:#x}"),
        ArgCheck::Eq32(arg, value) => format!("arg{arg} == {value:#x}"),
        ArgCheck::OneOf(arg, values) => {
            format!("arg{arg} in {values:#x?}").replace(['\n', ' '], "").replace(",]", "]")
        }
        ArgCheck::OneOf32(arg, values) => {
            format!("arg{arg} in {values:#x?}").replace(['\n', ' '], "").replace(",]", "]")
        }
        ArgCheck::Masked { arg, mask, value } => format!("arg{arg} & {mask:#x} == {value:#x}"),
        ArgCheck::AtMost(arg, value) => format!("arg{arg} <= {value:#x}"),
    }
}
