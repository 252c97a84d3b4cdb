//! `runsc create`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use clap::Args;

use crate::container::create::{CreateOptions, create};
use crate::error::{Context, Error, Result};
use crate::flags::Flags;
use crate::sandbox::identity::settle_privilege;

/// The flags that `create` and `run` share.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The container's id.
    pub(crate) id: String,
    /// Directory with config.json; the current one by default.
    #[arg(long, short = 'b', default_value = ".")]
    bundle: PathBuf,
    /// Unix socket that a new terminal is sent to.
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// File for the pid of the sandbox.
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// File for messages to the user.
    #[arg(long)]
    user_log: Option<PathBuf>,
    /// Descriptor M of this process becomes descriptor N of the program.
    #[arg(long = "pass-fd", value_name = "M:N")]
    pass_fds: Vec<String>,
    /// Not supported: descriptor of the program to execute.
    #[arg(long, hide = true, value_name = "FD", value_parser = no_exec_fd)]
    exec_fd: Option<i32>,
    /// Accepted for runc's sake.
    #[arg(long, hide = true)]
    no_pivot: bool,
    /// Accepted for runc's sake.
    #[arg(long, hide = true)]
    no_new_keyring: bool,
    /// Runc's form of --pass-fd: the first N descriptors after standard error.
    #[arg(long, hide = true, default_value_t = 0)]
    preserve_fds: i32,
}

impl CreateArgs {
    /// What the container code wants.
    pub(crate) fn options(&self, attached: bool) -> Result<CreateOptions> {
        let mut pairs = self.pass_fds.clone();
        pairs.extend((3..self.preserve_fds.clamp(0, 1000).saturating_add(3)).map(|fd| format!("{fd}:{fd}")));
        Ok(CreateOptions {
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            config: None,
            console_socket: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            pass_fds: inherited(&pairs)?,
            user_log: self.user_log.clone(),
            attached,
        })
    }
}

/// A descriptor's number for the program, with the descriptor.
pub(super) type PassedFds = Vec<(i32, OwnedFd)>;

/// Says of `--exec-fd` that it is not there.
pub(super) fn no_exec_fd(_value: &str) -> std::result::Result<i32, &'static str> {
    Err("programs cannot be passed by descriptor: name a file of the container in process.args")
}

/// Copies of descriptors that this process was started with.
pub(super) fn inherited(pairs: &[String]) -> Result<PassedFds> {
    let parse = |pair: &String| -> Result<(i32, OwnedFd)> {
        let bad = || Error::new(format!("flag --pass-fd has the value \"{pair}\" and wants M:N"));
        let (ours, theirs) = pair.split_once(':').unwrap_or((pair, pair));
        let ours = ours.parse::<i32>().map_err(|_| bad())?;
        let theirs = theirs.parse::<i32>().ok().filter(|fd| *fd > 2).ok_or_else(bad)?;
        // By way of /proc: a number on a command line is not a descriptor that we may own.
        let copy = host::process::duplicate_inherited(ours).with_context(|| {
            format!("flag --pass-fd names descriptor {ours}, which this process was not started with")
        })?;
        Ok((theirs, copy))
    };
    pairs.iter().map(parse).collect()
}

/// `runsc create`.
#[derive(Debug, Args)]
#[command(trailing_var_arg = false)]
pub(crate) struct Create {
    #[command(flatten)]
    args: CreateArgs,
}

impl std::ops::Deref for Create {
    type Target = CreateArgs;

    fn deref(&self) -> &CreateArgs {
        &self.args
    }
}

impl Create {
    /// Makes the container.
    pub(crate) fn run(&self, flags: &Flags) -> Result<u8> {
        let mut flags = flags.clone();
        settle_privilege(&mut flags)?;
        create(&flags, &self.args.options(false)?).map(|_| 0)
    }
}
