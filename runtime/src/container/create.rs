//! `create`: everything up to the moment before the program runs.
//!
//! Each step notes how it is taken back; whatever fails, nothing of the container stays. The pid file comes last: its
//! presence says that all the rest is there.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use control::SharedNamespaces;
use control::annotations::POD_CGROUP;
use host::fs::{NewFile, replace_file};
use oci_spec::runtime::LinuxNamespaceType;
use serde_json::Value;

use super::store::{Locked, Store};
use super::{State, Status, manager, oci_state};
use crate::cgroup::{self, CgroupRecord, Layout, Made, Sharing};
use crate::console::{self, Streams, Wanted};
use crate::error::{Context, Error, Result};
use crate::flags::{Config, Flags};
use crate::hooks::HookSet;
use crate::logging;
use crate::process_id::ProcessId;
use crate::sandbox::fds::FdTable;
use crate::sandbox::spawn::Pending;
use crate::sandbox::{self, ContainerPlan, ReplyTimeout};
use crate::spec::annotations::{PodRole, pod_role, unknown};
use crate::spec::{Spec, mounts};
use crate::undo::Undo;

/// What `create` is asked for.
#[derive(Debug, Default)]
pub(crate) struct CreateOptions {
    /// The id.
    pub(crate) id: String,
    /// The bundle.
    pub(crate) bundle: PathBuf,
    /// A configuration made by the caller, instead of the bundle's.
    pub(crate) config: Option<Value>,
    /// Where a new terminal is to be sent.
    pub(crate) console_socket: Option<PathBuf>,
    /// Where the sandbox's pid is to be written.
    pub(crate) pid_file: Option<PathBuf>,
    /// Descriptors for the program: (number there, ours).
    pub(crate) pass_fds: Vec<(i32, OwnedFd)>,
    /// Where messages to the user go, such as calls that the sandbox's kernel lacks.
    pub(crate) user_log: Option<PathBuf>,
    /// Whether we stay until the container ends.
    pub(crate) attached: bool,
}

/// A created container.
#[derive(Debug)]
pub(crate) struct Created {
    /// Its streams; its terminal is ours as long as they live.
    pub(crate) streams: Streams,
}

/// Makes a container.
pub(crate) fn create(flags: &Flags, options: &CreateOptions) -> Result<Created> {
    super::store::check_id(&options.id)?;
    let spec = match &options.config {
        Some(json) => Spec::from_json(json.clone(), &options.bundle, "the configuration")?,
        None => Spec::load(&options.bundle)?,
    };
    let mut flags = flags.clone();
    flags.apply_annotations(&spec.annotations)?;
    for key in unknown(&spec.annotations) {
        logging::warning(format!("annotation {key} is ignored: it is not a supported one"));
    }
    manager::keep_root_visible(&mut flags, &spec)?;
    let config = Config::new(&flags)?;
    let store = Store::new(&config.root);
    let role = pod_role(&spec.annotations)?;
    let files = mounts::plan(&spec, &config)?;
    let locked = store.create(&options.id)?;
    let dir = locked.path().to_path_buf();
    let mut undo = Undo::default();
    undo.push(|| {
        let _ = std::fs::remove_dir_all(&dir);
    });
    let mut maker =
        Maker { options, spec: &spec, flags: &flags, config: &config, store: &store, locked: &locked };
    let stopped = State { status: Status::Stopped, ..maker.state(&options.id, None) };
    let stopped = oci_state(&stopped, None);
    let hooks = spec.oci.hooks().as_ref();
    // What the other hooks made is theirs to clean up.
    undo.push(move || HookSet::new("poststop", hooks, &stopped).run_all());
    let created = match role {
        PodRole::Alone => {
            spec.refuse_others_namespaces()?;
            maker.sandbox(&files, &mut undo)?
        }
        PodRole::Sandbox => maker.sandbox(&files, &mut undo)?,
        PodRole::Member(sandbox_id) => maker.member(&sandbox_id, &files, &mut undo)?,
    };
    undo.keep();
    Ok(created)
}

struct Maker<'a> {
    options: &'a CreateOptions,
    spec: &'a Spec,
    flags: &'a Flags,
    config: &'a Config,
    store: &'a Store,
    locked: &'a Locked,
}

impl<'a> Maker<'a> {
    /// A sandbox with this as its first container.
    fn sandbox<'u>(&mut self, files: &mounts::FilePlan, undo: &mut Undo<'u>) -> Result<Created>
    where
        'a: 'u,
    {
        let mut state = self.state(&self.options.id, None);
        let (cgroup, holder) = self.make_cgroup(&state, undo)?.map(|made| (made.record, made.holder)).unzip();
        state.cgroup = cgroup;
        let cgroup = state.cgroup.clone();
        self.write(&state)?;
        let means = self.prepare()?;
        let plan = self.container_plan(files, cgroup.as_ref(), &means);
        let streams = self.streams()?;
        let (mut gofer, socket) = self.spawn_gofer(&plan, &mut state, undo)?;
        let mut fds = FdTable::default();
        let owns_terminal = !self.options.attached;
        let pass = &self.options.pass_fds;
        let root = sandbox::container_config(&plan, socket, &streams, pass, owns_terminal, &mut fds)?;
        let control = self.store.socket(&self.options.id);
        let (mut broker, socket) = sandbox::spawn_broker(&plan)?.unzip();
        state.broker = broker.as_ref().map(|broker| self.note(broker, undo)).transpose()?;
        let mut sandbox = sandbox::spawn_sandbox(&plan, root, fds, socket, &control)?;
        state.sandbox = Some(self.note(&sandbox, undo)?);
        // Written down before either may go on: whatever happens now, `delete --force` finds them.
        self.write(&state)?;
        gofer.go()?;
        if let Some(broker) = &mut broker {
            broker.go()?;
        }
        sandbox.go()?;
        // They hold the cgroup themselves from now on.
        drop(holder);
        self.ready(gofer, "gofer")?;
        broker.map_or(Ok(()), |broker| self.ready(broker, "broker"))?;
        let pid = sandbox.process().pid();
        self.ready(sandbox, "sandbox")?;
        sandbox::spare(pid, &plan)?;
        self.finish(&mut state)?;
        Ok(Created { streams })
    }

    /// One more container in a sandbox that runs.
    fn member<'u>(
        &mut self,
        sandbox_id: &str,
        files: &mounts::FilePlan,
        undo: &mut Undo<'u>,
    ) -> Result<Created>
    where
        'a: 'u,
    {
        let what = || format!("cannot join the sandbox of the pod \"{sandbox_id}\"");
        let pod = self.store.peek(sandbox_id).with_context(what)?;
        let client = sandbox::connect(&self.store.socket(sandbox_id), sandbox_id, ReplyTimeout::Work)
            .with_context(what)?;
        let mut state = self.state(
            sandbox_id,
            pod.cgroup.clone().map(|cgroup| CgroupRecord {
                made: Vec::new(),
                unit: None,
                is_pods: true,
                ..cgroup
            }),
        );
        state.sandbox = pod.sandbox;
        self.write(&state)?;
        let means = self.prepare()?;
        let plan = self.container_plan(files, pod.cgroup.as_ref(), &means);
        let streams = self.streams()?;
        let (mut gofer, socket) = self.spawn_gofer(&plan, &mut state, undo)?;
        self.write(&state)?;
        gofer.go()?;
        self.ready(gofer, "gofer")?;
        let mut fds = FdTable::default();
        let pass = &self.options.pass_fds;
        let mut container = sandbox::container_config(&plan, socket, &streams, pass, false, &mut fds)?;
        container.shares = self.shared_with_pod(&pod);
        client.create_container(container, &fds.borrowed())?;
        let (id, socket) = (self.options.id.clone(), self.store.socket(sandbox_id));
        undo.push(move || {
            if let Ok(client) = sandbox::connect(&socket, &id, ReplyTimeout::Work) {
                let _ = client.destroy(&id);
            }
        });
        self.finish(&mut state)?;
        Ok(Created { streams })
    }

    /// The name spaces that the configuration joins by the path of the pod's.
    fn shared_with_pod(&self, pod: &State) -> SharedNamespaces {
        let joins = |kind, name: &str| match (self.spec.namespace(kind).flatten(), pod.sandbox) {
            (Some(path), Some(sandbox)) => path == Path::new(&format!("/proc/{}/ns/{name}", sandbox.pid)),
            _ => false,
        };
        SharedNamespaces {
            pid: joins(LinuxNamespaceType::Pid, "pid"),
            ipc: joins(LinuxNamespaceType::Ipc, "ipc"),
            uts: joins(LinuxNamespaceType::Uts, "uts"),
        }
    }

    /// Makes the cgroup, which `state` says before it is there.
    fn make_cgroup<'u>(&self, state: &State, undo: &mut Undo<'u>) -> Result<Option<Made>> {
        let note =
            |record: &CgroupRecord| self.write(&State { cgroup: Some(record.clone()), ..state.clone() });
        let Some(path) = self.spec.cgroups_path().filter(|_| !self.config.ignore_cgroups) else {
            return Ok(None);
        };
        let (layout, lenient) = (Layout::of_host(), self.config.rootless);
        let made = match self.pod_cgroup(path) {
            // The pod's: its limits are set by whoever made it, those of one container do not belong there.
            Some(pod) => {
                let mut made =
                    cgroup::create(&layout, pod, &Value::Null, false, Sharing::Pod, lenient, note)?;
                made.iter_mut().for_each(|made| made.record.is_pods = true);
                made
            }
            None => {
                let systemd = self.config.systemd_cgroup;
                cgroup::create(&layout, path, self.spec.resources(), systemd, Sharing::Alone, lenient, note)?
            }
        };
        if let Some(record) = made.as_ref().map(|made| made.record.clone()) {
            undo.push(move || record.remove());
        }
        Ok(made)
    }

    /// The cgroup of the pod, where an annotation names one that the container's own, `path`, is in.
    fn pod_cgroup(&self, path: &str) -> Option<&str> {
        let pod = self.spec.annotations.get(POD_CGROUP)?;
        let is_parent = cgroup::is_ancestor(pod, path, self.config.systemd_cgroup);
        if !is_parent {
            logging::warning(format!(
                "annotation {POD_CGROUP}={pod:?} is ignored: the container's cgroup {path:?} is not in it"
            ));
        }
        is_parent.then_some(pod)
    }

    fn state(&self, sandbox_id: &str, cgroup: Option<CgroupRecord>) -> State {
        State {
            version: super::state::STATE_VERSION,
            id: self.options.id.clone(),
            oci_version: self.spec.oci.version().clone(),
            bundle: self.spec.bundle.clone(),
            annotations: self.spec.annotations.clone(),
            flags: self.flags.given(),
            created: logging::timestamp(std::time::SystemTime::now()),
            owner: host::process::effective_ids().0,
            status: Status::Creating,
            sandbox_id: sandbox_id.into(),
            sandbox: None,
            gofer: None,
            broker: None,
            cgroup,
        }
    }

    fn write(&self, state: &State) -> Result<()> {
        self.locked.write(state)
    }

    /// What its processes need beside its configuration: this binary, and where their own output goes.
    fn prepare(&self) -> Result<(OwnedFd, File)> {
        self.locked.write_config(&self.spec.json)?;
        let output = sandbox::output_file(self.locked.path(), self.config, "boot", &self.options.id)?;
        Ok((sandbox::binary()?, output))
    }

    /// What its processes are made from, in `cgroup`, with what [`Self::prepare`] gave.
    fn container_plan<'o>(
        &'o self,
        files: &'o mounts::FilePlan,
        cgroup: Option<&'o CgroupRecord>,
        (binary, output): &'o (OwnedFd, File),
    ) -> ContainerPlan<'o> {
        ContainerPlan {
            id: &self.options.id,
            config: self.config,
            spec: self.spec,
            files,
            cgroup,
            binary,
            output,
            attached: self.options.attached,
            user_log: self.options.user_log.as_deref(),
        }
    }

    /// Starts the gofer, which runs the hooks that belong to the container's files; also returns the sandbox's end of its
    /// socket.
    fn spawn_gofer(
        &self,
        plan: &ContainerPlan<'_>,
        state: &mut State,
        undo: &mut Undo<'_>,
    ) -> Result<(Pending, OwnedFd)> {
        let shown = oci_state(state, Some(0));
        let (gofer, socket) = sandbox::spawn_gofer(plan, self.hooks("createContainer", &shown))?;
        state.gofer = Some(self.note(&gofer, undo)?);
        Ok((gofer, socket))
    }

    fn streams(&self) -> Result<Streams> {
        console::streams(&Wanted {
            terminal: self.spec.wants_terminal(),
            socket: self.options.console_socket.as_deref(),
            size: console::size_of(&self.spec.json["process"]),
            attached: self.options.attached,
        })
    }

    fn hooks<'h>(&'h self, stage: &'static str, state: &'h Value) -> HookSet<'h> {
        HookSet::new(stage, self.spec.oci.hooks().as_ref(), state)
    }

    /// Notes a new process and that it must go when something fails.
    fn note<'u>(&self, pending: &Pending, undo: &mut Undo<'u>) -> Result<ProcessId> {
        let id = ProcessId::of(pending.process())?;
        undo.push(move || super::end_process(id));
        Ok(id)
    }

    /// Waits until a process is ready; quotes what it printed where it died.
    fn ready(&self, pending: Pending, what: &str) -> Result<()> {
        pending.wait_ready().map(|_| ()).map_err(|error| {
            let said = sandbox::last_words(self.locked.path());
            if said.is_empty() {
                error
            } else {
                Error::new(format!("{error}; the {what} printed: {said:?}")).with_status(error.status())
            }
        })
    }

    /// Hooks, the state, and at last the pid file.
    fn finish(&self, state: &mut State) -> Result<()> {
        let pid = state.sandbox.map_or(0, |sandbox| sandbox.pid);
        // Until they have run the container is not created.
        let shown = oci_state(state, Some(pid));
        self.hooks("prestart", &shown).run()?;
        self.hooks("createRuntime", &shown).run()?;
        state.status = Status::Created;
        self.write(state)?;
        match &self.options.pid_file {
            Some(path) => write_pid_file(path, pid),
            None => Ok(()),
        }
    }
}

/// Writes a pid file in one step.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let path = std::path::absolute(path).context("cannot find the pid file's directory")?;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(Error::new(format!("the pid file's path {} is not a file's", path.display())));
    };
    let new = NewFile { mode: 0o644, owner: None, durable: false };
    File::open(dir)
        .map_err(|error| error.to_string())
        .and_then(|dir| {
            let text = pid.to_string();
            replace_file(dir.as_fd(), name.as_bytes(), text.as_bytes(), new)
                .map_err(|errno| errno.to_string())
        })
        .with_context(|| {
            format!("the pid file's directory must be there and writable: cannot write {}", path.display())
        })
}
