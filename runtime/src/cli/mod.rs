//! The command line: global flags, then a command, one file each.

/// Prints a line on standard output. A reader that has gone away is no failure of ours.
macro_rules! say {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($what)*);
    }};
}

/// The same without the line's end.
macro_rules! say_raw {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($what)*);
    }};
}

mod absent;
mod args;
mod boot;
mod broker;
mod commands;
mod create;
mod debug;
mod do_;
mod doctor;
mod events;
mod exec;
mod features;
mod gofer;
mod help;
mod install;
mod list;
mod ps;
mod run;
mod spec;
mod state_dir;
mod syscalls;
mod table;
mod update;
mod wait;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::container::store::check_id;
use crate::error::{Error, Result};
use crate::flags::{Config, Flags};
use crate::logging::{self, Level};

/// The newest version of the OCI runtime specification that we know.
pub(crate) const OCI_VERSION: &str = "1.2.1";
/// The version that `--version` tells.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs containers in sandboxes with a kernel of their own.
#[derive(Debug, Parser)]
#[command(name = "runsc", disable_version_flag = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a container; `start` runs its program.
    Create(create::Create),
    /// Run the program of a created container.
    Start(commands::Start),
    /// Make a container, run its program, and wait for it.
    Run(run::Run),
    /// Run a further program in a running container.
    Exec(exec::Exec),
    /// Print a container's state as JSON.
    State(commands::State),
    /// List containers.
    List(list::List),
    /// List a container's processes.
    Ps(ps::Ps),
    /// Send a signal to a container.
    Kill(commands::Kill),
    /// Remove a container.
    Delete(commands::Delete),
    /// Stop every process of a container in its tracks.
    Pause(commands::Pause),
    /// Let a paused container go on.
    Resume(commands::Resume),
    /// Wait for a container to end, and print its exit status.
    Wait(wait::Wait),
    /// Print what a container uses, once or again and again.
    Events(events::Events),
    /// Change a container's limits.
    Update(update::Update),
    /// Look into a sandbox that runs.
    Debug(debug::Debug),
    /// Write a configuration to start from.
    Spec(spec::Spec),
    /// Print what this runtime can do, as JSON.
    Features(features::Features),
    /// Run a command on the host's files, read-only below an overlay that is thrown away.
    Do(do_::Do),
    /// Make Docker know this runtime.
    Install(install::Install),
    /// Make Docker forget it.
    Uninstall(install::Uninstall),
    /// Look at this host: what works, what does not, and what to do about it.
    Doctor(doctor::Doctor),
    /// Show help for a command or a topic.
    Help(help::Help),
    /// List the global flags.
    Flags(help::FlagList),
    /// List the commands.
    Commands(help::CommandList),
    /// Become a sandbox; for this program itself.
    #[command(hide = true)]
    Boot(boot::Boot),
    /// Become a broker; for this program itself.
    #[command(hide = true)]
    Broker(broker::Broker),
    /// Become a gofer; for this program itself.
    #[command(hide = true)]
    Gofer(gofer::Gofer),
}

impl Command {
    /// What this program runs itself as, straight from the words: building the parser takes longer than they do, and
    /// its memory would be the sandbox's for good.
    fn role(words: &[String]) -> Option<Self> {
        let [role, id, root, rest @ ..] = words else { return None };
        let (id, _state_root) = (id.clone(), root.clone());
        match (role.as_str(), rest) {
            ("boot", []) => Some(Self::Boot(boot::Boot { id, _state_root })),
            ("gofer", []) => Some(Self::Gofer(gofer::Gofer { id, _state_root })),
            ("broker", []) => Some(Self::Broker(broker::Broker { id, _state_root, raw: false })),
            ("broker", [flag]) if flag == "--raw" => {
                Some(Self::Broker(broker::Broker { id, _state_root, raw: true }))
            }
            _ => None,
        }
    }

    /// The container it is about, for the names of logs; empty where there is none or more than one.
    fn id(&self) -> &str {
        match self {
            Self::Create(command) => &command.id,
            Self::Start(command) => &command.id,
            Self::Run(command) => &command.create.id,
            Self::Exec(command) => &command.id,
            Self::State(command) => &command.id,
            Self::Ps(command) => &command.id,
            Self::Kill(command) => &command.id,
            Self::Pause(command) => &command.id,
            Self::Resume(command) => &command.id,
            Self::Wait(command) => &command.id,
            Self::Events(command) => &command.id,
            Self::Update(command) => &command.id,
            Self::Debug(command) => &command.id,
            _ => "",
        }
    }

    fn run(self, flags: &Flags) -> Result<u8> {
        let config = || Config::new(flags);
        match self {
            Self::Create(command) => command.run(flags),
            Self::Start(command) => command.run(&config()?),
            Self::Run(command) => command.run(flags),
            Self::Exec(command) => command.run(&config()?),
            Self::State(command) => command.run(&config()?),
            Self::List(command) => command.run(&config()?),
            Self::Ps(command) => command.run(&config()?),
            Self::Kill(command) => command.run(&config()?),
            Self::Delete(command) => command.run(&config()?),
            Self::Pause(command) => command.run(&config()?),
            Self::Resume(command) => command.run(&config()?),
            Self::Wait(command) => command.run(&config()?),
            Self::Events(command) => command.run(&config()?),
            Self::Update(command) => command.run(&config()?),
            Self::Debug(command) => command.run(&config()?),
            Self::Spec(command) => command.run(),
            Self::Features(command) => command.run(),
            Self::Do(command) => command.run(flags),
            Self::Install(command) => command.run(),
            Self::Uninstall(command) => command.run(),
            Self::Doctor(command) => command.run(),
            Self::Help(command) => command.run(),
            Self::Flags(command) => command.run(),
            Self::Commands(command) => command.run(),
            Self::Boot(command) => command.run(),
            Self::Broker(command) => command.run(),
            Self::Gofer(command) => command.run(),
        }
    }
}

/// Runs the program with `argv`; its exit status.
pub fn main(argv: Vec<OsString>) -> u8 {
    let words: Vec<String> = argv.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some(role) = Command::role(&words) {
        return finish(role.run(&Flags::default()));
    }
    let (split, outcome) = args::split_globals(&words);
    let unreadable = argv.iter().enumerate().find(|(_, arg)| arg.to_str().is_none());
    let outcome = match unreadable {
        Some((index, arg)) => Err(Error::new(format!(
            "argument {index}, {arg:?}, is not UTF-8: the configuration of a container, which is JSON, cannot hold it"
        ))),
        None => outcome,
    };
    if let Err(error) = outcome {
        logging::start(&split.flags, split.rest.first().map_or("", String::as_str), "");
        return fail(&error);
    }
    if split.version {
        say!("runsc version {VERSION}\nspec: {OCI_VERSION}");
        return 0;
    }
    if split.help || split.rest.is_empty() {
        help::overview();
        return if split.help { 0 } else { crate::error::FAILED };
    }
    if let Some(advice) = absent::advice(&split.rest[0]) {
        logging::start(&split.flags, &split.rest[0], "");
        return fail(&Error::new(advice));
    }
    let command = match parse(&split.rest) {
        Ok(command) => command,
        Err(error) => return usage(&split, &error),
    };
    // The names of logs contain it.
    if !command.id().is_empty()
        && let Err(error) = check_id(command.id())
    {
        logging::start(&split.flags, &split.rest[0], "");
        return fail(&error);
    }
    logging::start(&split.flags, &split.rest[0], command.id());
    logging::debug(format!("{:?}", split.rest));
    finish(command.run(&split.flags))
}

fn finish(outcome: Result<u8>) -> u8 {
    outcome.unwrap_or_else(|error| fail(&error))
}

fn parse(rest: &[String]) -> std::result::Result<Command, clap::Error> {
    let cli = Cli::command();
    let mut line = vec!["runsc".to_string(), rest[0].clone()];
    match cli.find_subcommand(&rest[0]) {
        Some(command) => line.extend(args::rewrite(command, &rest[1..])),
        None => line.extend_from_slice(&rest[1..]),
    }
    let matches = cli.try_get_matches_from(line)?;
    Cli::from_arg_matches(&matches).map(|cli| cli.command)
}

/// A command line that makes no sense, or a request for help.
fn usage(split: &args::Split, error: &clap::Error) -> u8 {
    let advice = absent::flag_advice(&split.rest).filter(|_| error.use_stderr());
    if advice.is_none() {
        let _ = error.print();
        if !error.use_stderr() {
            return 0;
        }
    }
    logging::start(&split.flags, &split.rest[0], "");
    if let Some(advice) = advice {
        return fail(&Error::new(advice));
    }
    logging::write(Level::Error, error.to_string().lines().next().unwrap_or("usage"));
    crate::error::FAILED
}

/// Tells the user, and whoever reads `--log`.
fn fail(error: &Error) -> u8 {
    logging::write(Level::Error, &error.to_string());
    eprintln!("runsc: {error}");
    error.status()
}
