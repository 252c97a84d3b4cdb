//! `runsc exec`.

use std::path::PathBuf;

use clap::Args;

use super::create::{inherited, no_exec_fd};
use crate::container::exec::{ExecOptions, exec};
use crate::error::Result;
use crate::flags::Config;

/// `runsc exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The container's id.
    pub(crate) id: String,
    /// The program with its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Working directory in the container.
    #[arg(long)]
    cwd: Option<String>,
    /// Environment variable NAME=VALUE, in addition to the container's; may be repeated.
    #[arg(long, short = 'e')]
    env: Vec<String>,
    /// User, UID[:GID] in numbers.
    #[arg(long, short = 'u')]
    user: Option<String>,
    /// Supplementary group in numbers; may be repeated.
    #[arg(long, short = 'g', value_delimiter = ',')]
    additional_gids: Vec<u32>,
    /// Capability to add; may be repeated.
    #[arg(long, short = 'c', value_delimiter = ',')]
    cap: Vec<String>,
    /// Give the program a terminal.
    #[arg(long, short = 't')]
    tty: bool,
    /// Return when the program runs.
    #[arg(long, short = 'd')]
    detach: bool,
    /// File with the process in the form of the OCI specification.
    #[arg(long, short = 'p')]
    process: Option<PathBuf>,
    /// File for the pid of the process that stands for the program on the host.
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// File for the program's pid in the sandbox.
    #[arg(long)]
    internal_pid_file: Option<PathBuf>,
    /// Unix socket that a new terminal is sent to.
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// Descriptor M of this process becomes descriptor N of the program.
    #[arg(long = "pass-fd", value_name = "M:N")]
    pass_fds: Vec<String>,
    /// Not supported: descriptor of the program to execute.
    #[arg(long, hide = true, value_name = "FD", value_parser = no_exec_fd)]
    exec_fd: Option<i32>,
}

impl Exec {
    /// Runs the program.
    pub(crate) fn run(self, config: &Config) -> Result<u8> {
        let pass_fds = inherited(&self.pass_fds)?;
        let options = ExecOptions {
            id: self.id,
            process: self.process,
            args: self.command,
            cwd: self.cwd,
            env: self.env,
            user: self.user,
            additional_gids: self.additional_gids,
            capabilities: self.cap,
            terminal: self.tty,
            detach: self.detach,
            pid_file: self.pid_file,
            internal_pid_file: self.internal_pid_file,
            console_socket: self.console_socket,
            pass_fds,
        };
        exec(config, &options)
    }
}
