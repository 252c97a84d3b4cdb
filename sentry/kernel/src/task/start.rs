//! Processes that are started from outside: a container's first one, and those of `runsc exec`.

use std::sync::{Arc, Weak};

use abi::filter::SockFilter;
use abi::seccomp::FilterFlags;
use abi::{Errno, Result};

use super::cgroup::Memberships;
use super::clone::default_actions;
use super::exec::{self, ExecRequest, Prepared};
use super::task::{NewTask, Parent};
use super::thread_group::NewThreadGroup;
use super::{
    Container, ControllingTerminal, Credentials, CurrentTask, Dumpability, Limits, Namespaces, ProcessGroup,
    Session, Task, TaskDetails, ThreadGroup,
};
use crate::Kernel;
use crate::mm::MemoryManager;
use crate::signal::TaskSignals;
use crate::vfs::{FdTable, File, FsContext, Origin, WalkFlags};

/// What a process starts with.
pub struct NewProcess {
    /// The container it belongs to.
    pub container: Arc<Container>,
    /// Name spaces other than pid and user.
    pub namespaces: Namespaces,
    /// Who it is.
    pub creds: Arc<Credentials>,
    /// Root, working directory, umask.
    pub fs: Arc<FsContext>,
    /// Open files.
    pub fds: Arc<FdTable>,
    /// Resource limits.
    pub limits: Limits,
    /// Arguments. The first names the program: a path if it has a slash, else looked for in `search_path`.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// Directories, separated by colons.
    pub search_path: Vec<u8>,
    /// `no_new_privs`.
    pub no_new_privs: bool,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// A seccomp filter that it starts with, and its flags.
    pub seccomp: Option<(Vec<SockFilter>, FilterFlags)>,
    /// The terminal that is to control its session.
    pub terminal: Option<Arc<dyn ControllingTerminal>>,
}

/// What is to be done as the new process, with root's power, before its program is looked for; may change the
/// environment.
pub type SetUp<'a> = &'a dyn Fn(&Task, &mut Vec<Vec<u8>>) -> Result<()>;

impl Kernel {
    /// Makes a process in a session of its own and starts it, `set_up` first. Its end shows in [`ThreadGroup::exit_events`]; nobody
    /// needs to wait for it.
    ///
    /// # Errors
    /// What `set_up` fails with, what execve(2) says of the program (`ENOENT`, `EACCES`, `ENOEXEC`...), `EAGAIN`,
    /// `ENOMEM`.
    pub fn start_process(
        self: &Arc<Self>,
        mut new: NewProcess,
        set_up: SetUp<'_>,
    ) -> Result<Arc<ThreadGroup>> {
        let (argv, mut envp, search_path) = (new.argv.clone(), new.envp.clone(), new.search_path.clone());
        let (terminal, seccomp) = (new.terminal.clone(), new.seccomp.clone());
        let root = Arc::new(Credentials::root(self.user_ns.clone()));
        let creds = std::mem::replace(&mut new.creds, root);
        let task = self.new_first_task(new, &creds)?;
        let prepared = set_up(&task, &mut envp)
            .and_then(|()| {
                task.set_creds((*creds).clone());
                find_program(&task, &search_path, &argv)
            })
            .and_then(|(file, path)| {
                exec::prepare(&task, ExecRequest { file, path, argv, envp, path_vanishes: false })
            })
            .and_then(|prepared| {
                if let Some((program, flags)) = seccomp {
                    task.install_filter(program, flags, None)?;
                }
                Ok(prepared)
            })
            .inspect_err(|_| task.forget())?;
        self.launch(&task, prepared, terminal)
    }

    /// `owner` is whose process it will be.
    fn new_first_task(self: &Arc<Self>, new: NewProcess, owner: &Credentials) -> Result<Arc<Task>> {
        let seat = new.container.seat(&self.tasks)?;
        let pid = new.container.pid_ns().allocate(&[])?;
        let group = Arc::new_cyclic(|this: &Weak<ThreadGroup>| {
            let session = Session::new(&pid, this);
            let process_group = ProcessGroup::new(&pid, &session);
            process_group.add(this);
            let args = NewThreadGroup {
                container: new.container,
                cgroups: Memberships::new(),
                parent: Parent::default(),
                process_group,
                actions: default_actions(),
                limits: new.limits,
                oom_score_adj: new.oom_score_adj,
                personality: 0,
                dumpability: Dumpability { is_dumpable: true, guardian: owner.user_ns.clone() },
            };
            ThreadGroup::new(self, this, args)
        });
        let now = self.timekeeper.monotonic().0;
        let mut details = TaskDetails::initial(now);
        details.no_new_privs = new.no_new_privs;
        details.exit_signal = None;
        let charge = self.tasks.accounts.get(owner.uid).charge_process(u64::MAX);
        let task = Task::new(NewTask {
            kernel: self.clone(),
            group,
            pid,
            mm: MemoryManager::new(&self.platform, &self.memory)?,
            creds: new.creds,
            fds: new.fds,
            fs: new.fs,
            namespaces: Arc::new(new.namespaces),
            signals: TaskSignals::default(),
            details,
            charge,
            seat,
            sem_undo: None,
        });
        task.thread_group().set_leader(&task);
        task.join_container_session(task.thread_group().container())?;
        Ok(task)
    }

    fn launch(
        self: &Arc<Self>,
        task: &Arc<Task>,
        prepared: Prepared,
        terminal: Option<Arc<dyn ControllingTerminal>>,
    ) -> Result<Arc<ThreadGroup>> {
        let group = task.thread_group().clone();
        let regs = prepared.regs();
        let context = prepared.install(task);
        group.set_executed();
        task.fd_table().close_on_exec(task);
        {
            let tree = self.tasks.tree();
            if task.container().has_ended(&tree) {
                drop(tree);
                task.forget();
                return Err(Errno::ESRCH);
            }
            group.add_thread(task);
            let ns = task.pid_ns();
            if ns.init().is_none() {
                group.become_init(&ns);
            }
            self.tasks.insert(&tree, &group);
            self.tasks.show_task(&tree, task);
        }
        if let Some(terminal) = terminal {
            let session = group.session();
            terminal.associate(&session, &group.process_group());
            session.set_terminal(Some(terminal));
        }
        if task.is_to_freeze() {
            task.wake().add(super::Work::FREEZE);
        }
        if self.task_threads.start(Box::new(CurrentTask::new(task.clone(), regs, context))).is_err() {
            task.abandon();
            return Err(Errno::EAGAIN);
        }
        Ok(group)
    }
}

impl Task {
    /// Gives back what a task that was never linked holds.
    fn forget(&self) {
        self.leave_fd_table(FdTable::new());
        self.pid().set_task(None);
    }
}

/// Opens the program that `argv[0]` names, as a shell would find it.
fn find_program(task: &Task, search_path: &[u8], argv: &[Vec<u8>]) -> Result<(Arc<File>, Vec<u8>)> {
    let name = argv.first().filter(|name| !name.is_empty()).ok_or(Errno::ENOENT)?;
    if name.contains(&b'/') {
        return open_program(task, name).map(|file| (file, name.clone()));
    }
    let mut failure = Errno::ENOENT;
    for directory in search_path.split(|byte| *byte == b':') {
        let mut path = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
        path.push(b'/');
        path.extend_from_slice(name);
        match open_program(task, &path) {
            Ok(file) => return Ok((file, path)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn open_program(task: &Task, path: &[u8]) -> Result<Arc<File>> {
    let (root, start) = task.fs().root_and_cwd();
    exec::open_executable(task, &Origin { root, start }, path, WalkFlags::FOLLOW)
}
