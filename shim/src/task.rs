//! A task: a container with its processes, from Create to Delete.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::CreateTaskRequest;
use containerd_shim_protos::types::task::Status;
use control::stats::Stats;

use crate::bundle::Bundle;
use crate::cgroup;
use crate::error::{Context, Failure, Result};
use crate::io::{self, Names, Owner};
use crate::link::Link;
use crate::mounts;
use crate::oom::Oom;
use crate::options::Options;
use crate::process::Process;
use crate::reaper::{Exit, Reaper};
use crate::runsc::{Runsc, Streams};
use crate::terminal::{ConsoleSocket, Terminal};

/// How long to wait for the end of a process that is certain.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// What tasks need of their shim.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// containerd's name space.
    pub(crate) namespace: String,
    /// The shim's socket, beside which sockets for terminals are made.
    pub(crate) socket: PathBuf,
    /// Who reaps.
    pub(crate) reaper: Reaper,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its id.
    pub(crate) id: String,
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// Its sandbox.
    pub(crate) link: Link,
    /// Whether the sandbox is its alone, or it is the first container there.
    pub(crate) has_sandbox: bool,
    /// Its first process.
    pub(crate) init: Arc<Process>,
    /// Where its host counts kills for lack of memory.
    pub(crate) oom: Option<Arc<Oom>>,
    execs: Mutex<HashMap<String, Arc<Exec>>>,
    /// Its first process has ended: no other is started any more.
    is_over: AtomicBool,
    /// The most processor time that was told.
    used_ns: AtomicU64,
    runsc: Runsc,
    options: Options,
    host: Host,
}

/// A process that was added.
#[derive(Debug)]
pub(crate) struct Exec {
    /// The process.
    pub(crate) process: Arc<Process>,
    /// The file with its description.
    file: PathBuf,
}

/// A process's end, to be waited for.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) process: Arc<Process>,
    pub(crate) ended: Receiver<Exit>,
}

impl Task {
    /// Makes a container. After a failure nothing of it is left.
    pub(crate) fn create(host: &Host, request: &CreateTaskRequest) -> Result<(Self, Ending)> {
        if !request.checkpoint.is_empty() {
            return Err(Failure::Absent("restore from a checkpoint".into()));
        }
        let options = Options::of(request.options.as_ref())?;
        let bundle = PathBuf::from(&request.bundle);
        let config = Bundle::load(&bundle)?;
        let joined = config.joined_sandbox().map(String::from);
        config.prepare()?;
        options.keep_in(&bundle)?;
        let runsc = Runsc::new(&options, &host.namespace, &bundle, &host.reaper);
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let sandbox = joined.as_deref().unwrap_or(&request.id);
        let mut task = Self {
            id: request.id.clone(),
            link: Link::new(runsc.root(), sandbox, &request.id),
            has_sandbox: joined.is_none(),
            init: Arc::new(Process::new(&request.id, "", names)),
            oom: None,
            execs: Mutex::default(),
            is_over: AtomicBool::new(false),
            used_ns: AtomicU64::new(0),
            bundle,
            runsc,
            options,
            host: host.clone(),
        };
        let rootfs = task.bundle.join("rootfs");
        if !request.rootfs.is_empty() {
            std::fs::create_dir_all(&rootfs).context("cannot make the directory of the root")?;
            mounts::mount_all(&request.rootfs, &rootfs)?;
        }
        match task.run_create() {
            Ok(ending) => {
                task.oom = Oom::of(task.init.snapshot().pid);
                Ok((task, ending))
            }
            // One of that id, which is another's, stays.
            Err(failure @ Failure::Exists(_)) => {
                mounts::unmount_all(&rootfs);
                Err(failure)
            }
            Err(failure) => {
                task.remove_rest();
                Err(failure)
            }
        }
    }

    /// Whether both joined the same sandbox.
    pub(crate) fn shares_sandbox(&self, other: &Self) -> bool {
        !self.has_sandbox && !other.has_sandbox && self.link.is_same_sandbox(&other.link)
    }

    fn run_create(&self) -> Result<Ending> {
        let pid_file = self.bundle.join("init.pid");
        let mut command = self.runsc.command("create");
        command.arg("--bundle").arg(&self.bundle).arg("--pid-file").arg(&pid_file);
        let window = self.host.reaper.window();
        let made = self.make(&self.init, command)?;
        let pid = read_pid(&pid_file)?;
        self.init.made(pid, None, made.kept, made.terminal);
        let ended = if self.has_sandbox {
            // The sandbox's process is ours now, and ends as its first container does.
            window.watch(pid.cast_signed())
        } else {
            let (sender, ended) = channel();
            let link = self.link.clone();
            spawn("member", move || {
                let _ = sender.send(link.wait());
            })?;
            ended
        };
        Ok(Ending { process: self.init.clone(), ended })
    }

    /// Runs `runsc create` or `runsc exec` with the streams of a process.
    fn make(&self, process: &Process, mut command: std::process::Command) -> Result<Made> {
        let owner = Owner {
            id: &self.id,
            namespace: &self.host.namespace,
            uid: self.options.io_uid,
            gid: self.options.io_gid,
        };
        let (ends, kept) = io::open(&process.names, owner, &self.host.reaper)?;
        if !process.names.terminal {
            command.arg(&self.id);
            self.runsc.call(command, ends.into())?;
            return Ok(Made { kept, terminal: None });
        }
        let socket = ConsoleSocket::new(&self.host.socket)?;
        command.arg("--console-socket").arg(socket.path()).arg(&self.id);
        self.runsc.call(command, Streams::null())?;
        let terminal = Terminal::copy(socket.take()?, ends)?;
        Ok(Made { kept, terminal: Some(terminal) })
    }

    fn execs(&self) -> MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container's first process, or the one with that id.
    pub(crate) fn process(&self, exec_id: &str) -> Result<Arc<Process>> {
        if exec_id.is_empty() { Ok(self.init.clone()) } else { Ok(self.exec(exec_id)?.process.clone()) }
    }

    fn exec(&self, exec_id: &str) -> Result<Arc<Exec>> {
        let found = self.execs().get(exec_id).cloned();
        found.ok_or_else(|| Failure::NotFound(format!("process {exec_id} of container {}", self.id)))
    }

    /// Adds a process, described as the OCI specification does; it does not run yet.
    pub(crate) fn add_exec(&self, exec_id: &str, names: Names, description: &[u8]) -> Result<()> {
        if exec_id.is_empty() || exec_id.contains('/') {
            return Err(Failure::Invalid(format!("{exec_id:?} is no id of a process")));
        }
        let what = "the process's description is malformed";
        let parsed = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(description);
        let mut process = parsed.map_err(|error| Failure::Invalid(format!("{what}: {error}")))?;
        process.insert("terminal".into(), names.terminal.into());
        let process = serde_json::Value::Object(process);
        let mut execs = self.execs();
        if execs.contains_key(exec_id) {
            return Err(Failure::Exists(format!("process {exec_id}")));
        }
        let file = self.bundle.join(format!("{exec_id}-process.json"));
        std::fs::write(&file, process.to_string()).context("cannot write the process's description")?;
        let process = Arc::new(Process::new(&self.id, exec_id, names));
        execs.insert(exec_id.into(), Arc::new(Exec { process, file }));
        Ok(())
    }

    /// Runs the program that was created.
    pub(crate) fn start(&self) -> Result<u32> {
        let mut command = self.runsc.command("start");
        command.arg(&self.id);
        self.runsc.quiet(command)?;
        self.init.set_status(Status::RUNNING);
        Ok(self.init.snapshot().pid)
    }

    /// Runs a process that was added. One that cannot be started is not tried again.
    pub(crate) fn start_exec(&self, exec_id: &str) -> Result<(u32, Ending)> {
        let exec = self.exec(exec_id)?;
        let known = exec.process.snapshot();
        known.require_not_ended()?;
        if known.pid != 0 {
            return Err(Failure::NotNow(format!("process {exec_id} was started before")));
        }
        self.run_exec(exec_id, &exec).inspect_err(|_| exec.process.abandon())
    }

    fn run_exec(&self, exec_id: &str, exec: &Exec) -> Result<(u32, Ending)> {
        if self.is_over.load(Ordering::Acquire) {
            return Err(Failure::NotFound("process already finished".into()));
        }
        let process = &exec.process;
        let file = |kind: &str| self.bundle.join(format!("{exec_id}-{kind}.pid"));
        let (host, guest) = (file("host"), file("guest"));
        let mut command = self.runsc.command("exec");
        command.arg("--process").arg(&exec.file).arg("--detach");
        command.arg("--pid-file").arg(&host).arg("--internal-pid-file").arg(&guest);
        let window = self.host.reaper.window();
        let made = self.make(process, command);
        let pids = read_pid(&host).and_then(|pid| Ok((pid, read_pid(&guest)?)));
        for file in [&host, &guest] {
            let _ = std::fs::remove_file(file);
        }
        let made = made?;
        let (pid, guest) = pids?;
        process.made(pid, Some(guest.cast_signed()), made.kept, made.terminal);
        process.set_status(Status::RUNNING);
        Ok((pid, Ending { process: process.clone(), ended: window.watch(pid.cast_signed()) }))
    }

    /// Sends a signal to a process, or to all of the container.
    pub(crate) fn kill(&self, exec_id: &str, signal: u32, all: bool) -> Result<()> {
        let process = self.process(exec_id)?;
        let known = process.snapshot();
        known.require_not_ended()?;
        let mut command = self.runsc.command("kill");
        if !exec_id.is_empty() {
            let running = || Failure::NotNow(format!("process {exec_id} does not run"));
            command.arg(format!("--pid={}", known.guest_pid.ok_or_else(running)?));
        } else if all {
            command.arg("--all");
        }
        command.arg(&self.id).arg(signal.to_string());
        self.runsc.quiet(command)
    }

    /// What it uses.
    pub(crate) fn stats(&self) -> Result<Stats> {
        self.init.snapshot().require_not_ended()?;
        let mut stats = self.link.stats()?;
        // The host counts the sandbox as a whole, which is this container's where it is the sandbox's first.
        if self.has_sandbox
            && let Some(cgroup) = cgroup::of(self.init.snapshot().pid)
        {
            cgroup.count_into(&mut stats);
            stats.memory.cache = cgroup.inactive_file().unwrap_or(stats.memory.cache);
        }
        // A process that ends while its parent does may be forgotten with its time; readers take differences.
        let total = &mut stats.cpu.usage.total;
        *total = self.used_ns.fetch_max(*total, Ordering::Relaxed).max(*total);
        Ok(stats)
    }

    /// Stops it in its tracks.
    pub(crate) fn pause(&self) -> Result<()> {
        self.simple("pause")?;
        self.init.set_status(Status::PAUSED);
        Ok(())
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.simple("resume")?;
        self.init.set_status(Status::RUNNING);
        Ok(())
    }

    fn simple(&self, name: &str) -> Result<()> {
        self.init.snapshot().require_not_ended()?;
        let mut command = self.runsc.command(name);
        command.arg(&self.id);
        self.runsc.quiet(command)
    }

    /// Changes its limits, `linux.resources` of the OCI specification.
    pub(crate) fn update(&self, resources: &[u8]) -> Result<()> {
        let file = self.bundle.join("resources.json");
        std::fs::write(&file, resources).context("cannot write the new limits")?;
        let mut command = self.runsc.command("update");
        command.arg("--resources").arg(&file).arg(&self.id);
        self.runsc.quiet(command)
    }

    fn unwatch(&self) {
        if let Some(oom) = &self.oom {
            oom.stop();
        }
    }

    /// Removes the container, which has ended or was never started.
    pub(crate) fn delete(&self) -> Result<Exit> {
        if self.init.is_running() {
            return Err(Failure::NotNow(format!("container {} still runs: end it first", self.id)));
        }
        let mut command = self.runsc.command("delete");
        command.arg("--force").arg(&self.id);
        self.runsc.quiet(command)?;
        mounts::unmount_all(&self.bundle.join("rootfs"));
        self.unwatch();
        // One that was only created ends by this.
        self.init.wait_within(END_TIMEOUT);
        for exec in self.execs().values() {
            exec.process.abandon();
        }
        Ok(self.init.snapshot().exit.unwrap_or_else(Exit::killed))
    }

    /// Forgets a process that has ended or was never started.
    pub(crate) fn delete_exec(&self, exec_id: &str) -> Result<(u32, Exit)> {
        let exec = self.exec(exec_id)?;
        if exec.process.is_running() {
            return Err(Failure::NotNow(format!("process {exec_id} still runs: end it first")));
        }
        self.execs().remove(exec_id);
        let _ = std::fs::remove_file(&exec.file);
        let known = exec.process.snapshot();
        exec.process.abandon();
        Ok((known.pid, known.exit.unwrap_or_else(|| Exit::now(0))))
    }

    /// Gives those of its processes that end with it the time to be told first, those that are being started too.
    pub(crate) fn wait_for_execs(&self) {
        self.is_over.store(true, Ordering::Release);
        let deadline = Instant::now() + END_TIMEOUT;
        let execs: Vec<_> = self.execs().values().map(|exec| exec.process.clone()).collect();
        for process in execs {
            drop(process.starting());
            if process.is_running() {
                process.wait_within(deadline.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// Removes what may be left of it, whatever became of it.
    pub(crate) fn remove_rest(&self) {
        remove_rest(&self.runsc, &self.id, &self.bundle);
    }
}

struct Made {
    kept: io::Kept,
    terminal: Option<Terminal>,
}

/// Removes what may be left of a container, whatever became of it.
pub(crate) fn remove_rest(runsc: &Runsc, id: &str, bundle: &Path) {
    let mut command = runsc.command("delete");
    command.arg("--force").arg(id);
    if let Err(failure) = runsc.quiet(command) {
        crate::log::warning(format_args!("container {id} was not removed: {failure}"));
    }
    mounts::unmount_all(&bundle.join("rootfs"));
}

pub(crate) fn read_pid(path: &Path) -> Result<u32> {
    let what = || format!("cannot read the pid in {}", path.display());
    std::fs::read_to_string(path).context(what())?.trim().parse().context(what())
}

/// Starts a thread that mostly waits.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = std::thread::Builder::new().name(name.into()).stack_size(128 << 10);
    builder.spawn(body).map(drop).context("cannot start a thread")
}
