//! `exec`: a further process in a running container.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use control::{Client, Exec, Target};
use host::process::{Namespaces, clone_process, enter};
use serde_json::{Value, json};

use super::attach::{Attached, hold_signals};
use super::create::write_pid_file;
use super::life::Container;
use super::stand_in::StandIn;
use super::{SIGKILL, Status};
use crate::console::{self, Streams, Wanted};
use crate::error::{Context, Error, Result};
use crate::flags::Config;
use crate::logging;
use crate::process_id::ProcessId;
use crate::sandbox::ReplyTimeout;
use crate::sandbox::fds::FdTable;
use crate::spec::{self, names};
use crate::undo::Undo;

/// What `exec` is asked for.
#[derive(Debug, Default)]
pub(crate) struct ExecOptions {
    /// The container.
    pub(crate) id: String,
    /// The process as an OCI document, instead of the fields below.
    pub(crate) process: Option<PathBuf>,
    /// The program with its arguments.
    pub(crate) args: Vec<String>,
    /// The working directory.
    pub(crate) cwd: Option<String>,
    /// `NAME=value`, added to the container's own.
    pub(crate) env: Vec<String>,
    /// `UID[:GID]`.
    pub(crate) user: Option<String>,
    /// Supplementary groups.
    pub(crate) additional_gids: Vec<u32>,
    /// Capabilities, added to the container's own.
    pub(crate) capabilities: Vec<String>,
    /// Whether a terminal is wanted even where our streams are none.
    pub(crate) terminal: bool,
    /// Whether to return when the process runs.
    pub(crate) detach: bool,
    /// Where the pid of the process that stands for it on the host goes.
    pub(crate) pid_file: Option<PathBuf>,
    /// Where its pid in the sandbox goes.
    pub(crate) internal_pid_file: Option<PathBuf>,
    /// Where a new terminal is to be sent.
    pub(crate) console_socket: Option<PathBuf>,
    /// Descriptors for the program: (number there, ours).
    pub(crate) pass_fds: Vec<(i32, OwnedFd)>,
}

/// Runs the process; its exit status where we stay with it.
pub(crate) fn exec(config: &Config, options: &ExecOptions) -> Result<u8> {
    let container = Container::open(config, &options.id)?;
    if container.state.status != Status::Running {
        let status = container.state.status.name();
        return Err(Error::new(format!(
            "container \"{}\" is {status}: container not running: a program can only be added to a running one",
            options.id
        )));
    }
    let document = container.config()?;
    let process = process_document(options, &document["process"])?;
    let (client, waiter) = (container.connect(ReplyTimeout::Work)?, container.connect(ReplyTimeout::Wait)?);
    let sandbox = container.state.sandbox;
    // The container's lock is not held while the process runs.
    drop(container);
    let signals = hold_signals()?;
    let streams = console::streams(&Wanted {
        terminal: process["terminal"].as_bool().unwrap_or(false),
        socket: options.console_socket.as_deref(),
        size: console::size_of(&process),
        attached: !options.detach,
    })?;
    let pid = start(options, process, &streams, &client)?;
    let mut undo = Undo::default();
    undo.push(|| {
        let target = Target::Process { container: options.id.clone(), pid };
        if let Err(error) = client.signal(target, SIGKILL) {
            logging::debug(format!("process {pid} was not killed: {error}"));
        }
    });
    if let Some(path) = &options.internal_pid_file {
        write_pid_file(path, pid)?;
    }
    let status = if options.detach {
        join_pids(&options.id, sandbox)?;
        detach(options, pid, &streams, &waiter, &client)?
    } else {
        if let Some(path) = &options.pid_file {
            write_pid_file(path, std::process::id() as i32)?;
        }
        let terminal = streams.terminal.then(|| streams.fds[0].as_fd());
        let attached = Attached { container: &options.id, pid: Some(pid), terminal };
        let status = attached.wait(&waiter, &client, &signals)?;
        status.map_or(128 + SIGKILL as u8, control::WaitStatus::exit_status)
    };
    undo.keep();
    Ok(status)
}

fn start(options: &ExecOptions, process: Value, streams: &Streams, client: &Client) -> Result<i32> {
    let copy = |fd: &OwnedFd| fd.try_clone().context("cannot pass a descriptor");
    let mut fds = FdTable::default();
    let mut stdio = [0; 3];
    for (index, fd) in stdio.iter_mut().zip(&streams.fds) {
        *index = fds.add(copy(fd)?);
    }
    let pass_fds =
        options.pass_fds.iter().map(|(guest, fd)| Ok((*guest, fds.add(copy(fd)?)))).collect::<Result<_>>()?;
    let mut process = process;
    process["terminal"] = streams.terminal.into();
    let exec = Exec { container: options.id.clone(), process, stdio, pass_fds, window: streams.window };
    Ok(client.exec(exec, &fds.borrowed())?)
}

/// Has our next child born in the sandbox's pid name space. The sandbox is that name space's first process: the kernel
/// ends the others with it and holds its end back until they are reaped. So callers hear of the end of an exec before
/// they hear of the end of its container, as with runc; Docker forgets to tell its client otherwise.
///
/// Where the sandbox has ended already there is nothing to leave behind.
fn join_pids(id: &str, sandbox: Option<ProcessId>) -> Result<()> {
    let Some(sandbox) = sandbox else { return Ok(()) };
    let there = File::open(format!("/proc/{}/ns/pid", sandbox.pid)).ok();
    let (Some(there), Some(_)) = (there, sandbox.open()) else {
        return Err(Error::new(format!(
            "container \"{id}\" is stopped: container not running: it ended as the program was started"
        )));
    };
    if let Err(errno) = enter(there.as_fd(), Namespaces::PID) {
        // A user without privilege may not.
        logging::debug(format!("the process left behind is not in the sandbox's pid name space: {errno}"));
    }
    Ok(())
}

/// Leaves a child behind that stands for the process on the host; its pid is the one in the pid file.
fn detach(
    options: &ExecOptions,
    pid: i32,
    streams: &Streams,
    waiter: &Client,
    teller: &Client,
) -> Result<u8> {
    let terminal = streams.terminal.then(|| streams.fds[0].as_fd());
    let stand_in = StandIn { container: &options.id, pid, terminal, waiter, teller };
    let child = || stand_in.live();
    let process = clone_process(Namespaces::empty(), None, child).context("cannot leave a process behind")?;
    let noted = options.pid_file.as_ref().map_or(Ok(()), |path| write_pid_file(path, process.pid()));
    if noted.is_err() {
        let _ = process.signal(SIGKILL);
        let _ = process.reap();
    }
    noted.map(|()| 0)
}

/// The process as the sandbox is told it: the caller's document, or the container's own with changes.
fn process_document(options: &ExecOptions, own: &Value) -> Result<Value> {
    let mut process = match &options.process {
        Some(path) => spec::parse(&spec::read_text(path)?, &path.display().to_string())?,
        None => changed(options, own)?,
    };
    let origin = options.process.as_deref().unwrap_or(Path::new("the process")).display().to_string();
    spec::check_process(&mut process, &origin)?;
    Ok(process)
}

fn changed(options: &ExecOptions, own: &Value) -> Result<Value> {
    if options.args.is_empty() {
        return Err(Error::new("there is nothing to run: give a program, or --process FILE"));
    }
    let mut process = own.clone();
    process["args"] = json!(options.args);
    if let Some(object) = process.as_object_mut() {
        object.remove("consoleSize");
    }
    if let Some(cwd) = &options.cwd {
        process["cwd"] = json!(cwd);
    }
    if !options.env.is_empty() {
        let mut env = process["env"].as_array().cloned().unwrap_or_default();
        env.extend(options.env.iter().map(|entry| json!(entry)));
        process["env"] = json!(env);
    }
    if let Some(user) = &options.user {
        let (uid, gid) = parse_user(user)?;
        process["user"]["uid"] = uid.into();
        process["user"]["gid"] = gid.unwrap_or(0).into();
        process["user"]["additionalGids"] = json!([]);
    }
    if !options.additional_gids.is_empty() {
        process["user"]["additionalGids"] = json!(options.additional_gids);
    }
    for name in &options.capabilities {
        let name =
            names::capability(name).ok_or_else(|| Error::new(format!("unknown capability \"{name}\"")))?;
        for set in ["bounding", "effective", "permitted", "inheritable"] {
            let mut list = process["capabilities"][set].as_array().cloned().unwrap_or_default();
            list.push(json!(name));
            process["capabilities"][set] = json!(list);
        }
    }
    let is_asked = options.terminal || options.console_socket.is_some();
    process["terminal"] = (is_asked || !options.detach && console::is_interactive()).into();
    Ok(process)
}

/// `UID[:GID]` in numbers: the container's user database is the guest's business.
pub(crate) fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    let bad = || Error::new(format!("the user \"{text}\" is not UID or UID:GID in numbers"));
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid.parse().map_err(|_| bad())?)),
        None => (text, None),
    };
    Ok((uid.parse().map_err(|_| bad())?, gid))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ExecOptions, changed, parse_user};

    #[test]
    fn the_containers_process_is_changed() {
        let own = json!({"args": ["init"], "cwd": "/", "env": ["A=1"], "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
            "capabilities": {"effective": ["CAP_KILL"]}});
        let options = ExecOptions {
            args: vec!["sh".into()],
            env: vec!["B=2".into()],
            user: Some("9".into()),
            capabilities: vec!["net_raw".into()],
            detach: true,
            ..ExecOptions::default()
        };
        let process = changed(&options, &own).unwrap();
        assert_eq!(process["args"], json!(["sh"]));
        assert_eq!(process["env"], json!(["A=1", "B=2"]));
        assert_eq!(process["user"], json!({"uid": 9, "gid": 0, "additionalGids": []}));
        assert_eq!(process["capabilities"]["effective"], json!(["CAP_KILL", "CAP_NET_RAW"]));
        assert_eq!(process["terminal"], json!(false));
        assert!(changed(&ExecOptions::default(), &own).is_err());
        assert_eq!(parse_user("1:2").unwrap(), (1, Some(2)));
        for bad in ["", "root", "1:", "-1", "1:2:3"] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
    }
}
