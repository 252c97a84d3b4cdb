//! The task service: what containerd asks for, call by call.
//!
//! Each connection's calls are answered by several threads; a call that waits holds up no other. The messages of
//! version 2 and 3 of the service are the same, only its name differs: both are served.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::Signal;
use containerd_shim_protos::api;
use containerd_shim_protos::events::task as events;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim::shim_ttrpc::create_task;
use containerd_shim_protos::topics;
use containerd_shim_protos::ttrpc::{self, MethodHandler, TtrpcContext};
use containerd_shim_protos::types::task::ProcessInfo;

use crate::error::{Failure, Result};
use crate::events::{Publisher, timestamp};
use crate::io::Names;
use crate::process::Process;
use crate::reaper::Exit;
use crate::task::{Ending, Host, Task, spawn};
use crate::{log, stats};

/// The tasks of this shim.
///
/// Locks: `table` is taken last, and held for a look alone.
#[derive(Debug)]
pub(crate) struct Service {
    host: Host,
    publisher: Publisher,
    table: Mutex<Table>,
    shutdown: Sender<()>,
}

#[derive(Debug, Default)]
struct Table {
    tasks: HashMap<String, Arc<Task>>,
    /// Those that are being made.
    reserved: HashSet<String>,
}

/// What the server dispatches to.
type Methods = HashMap<String, Box<dyn MethodHandler + Send + Sync>>;

impl Service {
    /// One without tasks; it says on `shutdown` when it is to end.
    pub(crate) fn new(host: Host, publisher: Publisher, shutdown: Sender<()>) -> Self {
        Self { host, publisher, table: Mutex::default(), shutdown }
    }

    /// Waits until all events are told.
    pub(crate) fn finish(&self) {
        self.publisher.finish();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self, id: &str) -> Result<Arc<Task>> {
        let found = self.table().tasks.get(id).cloned();
        found.ok_or_else(|| Failure::NotFound(format!("container {id}")))
    }

    fn process(&self, id: &str, exec_id: &str) -> Result<(Arc<Task>, Arc<Process>)> {
        let task = self.task(id)?;
        let process = task.process(exec_id)?;
        Ok((task, process))
    }

    /// Has the end of a process told when it comes.
    fn watch(self: &Arc<Self>, task: &Arc<Task>, ending: Ending) -> Result<()> {
        let (service, task) = (self.clone(), task.clone());
        spawn("exit", move || {
            let exit = ending.ended.recv().unwrap_or_else(|_| Exit::killed());
            service.ended(&task, &ending.process, exit);
        })
    }

    fn ended(&self, task: &Task, process: &Process, exit: Exit) {
        // Its start is told first.
        let _started = process.starting();
        if process.exec_id.is_empty() {
            task.wait_for_execs();
        }
        if process.exec_id.is_empty() && task.oom.as_ref().is_some_and(|oom| oom.explains(exit)) {
            self.tell_oom(&task.id);
        }
        self.tell_end(task, process, exit);
    }

    fn tell_end(&self, task: &Task, process: &Process, exit: Exit) {
        let pid = process.snapshot().pid;
        let event = events::TaskExit {
            container_id: task.id.clone(),
            id: process.event_id().into(),
            pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..events::TaskExit::default()
        };
        process.set_exit(exit);
        log::debug(format_args!("process {} of {} ended with {}", process.event_id(), task.id, exit.status));
        self.publisher.publish(topics::TASK_EXIT_EVENT_TOPIC, &event);
    }

    fn tell_oom(&self, id: &str) {
        let event = events::TaskOOM { container_id: id.into(), ..events::TaskOOM::default() };
        self.publisher.publish(topics::TASK_OOM_EVENT_TOPIC, &event);
    }

    /// Has it told when the host kills processes of the container for lack of memory.
    fn watch_oom(self: &Arc<Self>, task: &Task) -> Result<()> {
        let Some(oom) = task.oom.clone().filter(|_| task.has_sandbox) else { return Ok(()) };
        let (service, id) = (self.clone(), task.id.clone());
        spawn("oom", move || {
            if let Err(error) = oom.watch(|| service.tell_oom(&id)) {
                log::warning(format_args!("the memory of {id} is not watched: {error}"));
            }
        })
    }

    fn create_task(self: &Arc<Self>, request: &api::CreateTaskRequest) -> Result<u32> {
        {
            let mut table = self.table();
            if table.tasks.contains_key(&request.id) || !table.reserved.insert(request.id.clone()) {
                return Err(Failure::Exists(format!("container {}", request.id)));
            }
        }
        let made = Task::create(&self.host, request);
        let mut table = self.table();
        table.reserved.remove(&request.id);
        let (mut task, ending) = made?;
        if let Some(sibling) = table.tasks.values().find(|other| other.shares_sandbox(&task)) {
            // A kill is the end of one of them, and is not told of another.
            task.oom = sibling.oom.clone();
        }
        let task = Arc::new(task);
        table.tasks.insert(request.id.clone(), task.clone());
        drop(table);
        self.tell_created(&task, request);
        if let Err(failure) = self.watch(&task, ending) {
            // Nobody would learn of its end.
            self.table().tasks.remove(&request.id);
            task.remove_rest();
            return Err(failure);
        }
        if let Err(failure) = self.watch_oom(&task) {
            log::warning(format_args!("the memory of {} is not watched: {failure}", task.id));
        }
        Ok(task.init.snapshot().pid)
    }

    fn tell_created(&self, task: &Task, request: &api::CreateTaskRequest) {
        let names = &task.init.names;
        let io = events::TaskIO {
            stdin: names.stdin.clone(),
            stdout: names.stdout.clone(),
            stderr: names.stderr.clone(),
            terminal: names.terminal,
            ..events::TaskIO::default()
        };
        let event = events::TaskCreate {
            container_id: task.id.clone(),
            bundle: request.bundle.clone(),
            rootfs: request.rootfs.clone(),
            io: Some(io).into(),
            pid: task.init.snapshot().pid,
            ..events::TaskCreate::default()
        };
        self.publisher.publish(topics::TASK_CREATE_EVENT_TOPIC, &event);
    }

    fn start_process(self: &Arc<Self>, id: &str, exec_id: &str) -> Result<u32> {
        let (task, process) = self.process(id, exec_id)?;
        let _starting = process.starting();
        if exec_id.is_empty() {
            let pid = task.start()?;
            let event = events::TaskStart { container_id: id.into(), pid, ..events::TaskStart::default() };
            self.publisher.publish(topics::TASK_START_EVENT_TOPIC, &event);
            return Ok(pid);
        }
        let (pid, ending) = task.start_exec(exec_id)?;
        let event = events::TaskExecStarted {
            container_id: id.into(),
            exec_id: exec_id.into(),
            pid,
            ..events::TaskExecStarted::default()
        };
        self.publisher.publish(topics::TASK_EXEC_STARTED_EVENT_TOPIC, &event);
        if let Err(failure) = self.watch(&task, ending) {
            // Nobody would learn of its end, so it comes at once.
            if let Err(failure) = task.kill(exec_id, Signal::KILL.number().unsigned_abs(), false) {
                log::warning(format_args!("{exec_id} of {id} is left running: {failure}"));
            }
            self.tell_end(&task, &process, Exit::killed());
            return Err(failure);
        }
        Ok(pid)
    }

    fn delete_process(&self, id: &str, exec_id: &str) -> Result<(u32, Exit)> {
        let task = self.task(id)?;
        if !exec_id.is_empty() {
            return task.delete_exec(exec_id);
        }
        let exit = task.delete()?;
        // Waits until the watching thread, which holds this, has told the end: that comes before the removal.
        drop(task.init.starting());
        self.table().tasks.remove(id);
        let pid = task.init.snapshot().pid;
        let event = events::TaskDelete {
            container_id: id.into(),
            pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..events::TaskDelete::default()
        };
        self.publisher.publish(topics::TASK_DELETE_EVENT_TOPIC, &event);
        Ok((pid, exit))
    }

    fn add_exec(&self, request: &api::ExecProcessRequest) -> Result<()> {
        let task = self.task(&request.id)?;
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        task.add_exec(&request.exec_id, names, &request.spec.value)?;
        let event = events::TaskExecAdded {
            container_id: request.id.clone(),
            exec_id: request.exec_id.clone(),
            ..events::TaskExecAdded::default()
        };
        self.publisher.publish(topics::TASK_EXEC_ADDED_EVENT_TOPIC, &event);
        Ok(())
    }

    fn task_stats(&self, id: &str) -> Result<api::StatsResponse> {
        let stats = Some(stats::encode(&self.task(id)?.stats()?)?).into();
        Ok(api::StatsResponse { stats, ..api::StatsResponse::default() })
    }

    fn pids(&self, id: &str) -> Result<api::PidsResponse> {
        let task = self.task(id)?;
        task.init.snapshot().require_not_ended()?;
        let info = |pid: u32| ProcessInfo { pid, ..ProcessInfo::default() };
        let rows = task.link.processes().unwrap_or_else(|failure| {
            log::warning(format_args!("{failure}"));
            Vec::new()
        });
        let mut processes: Vec<_> = rows.iter().map(|row| info(row.pid.unsigned_abs())).collect();
        if processes.is_empty() {
            // One that was only created has none yet, and a busy sandbox does not answer; but a container without
            // processes is one that containerd, when it starts, takes for dead and removes.
            processes.push(info(task.init.snapshot().pid));
        }
        Ok(api::PidsResponse { processes, ..api::PidsResponse::default() })
    }
}

/// The service as the server has it: the calls, and what each is made of.
#[derive(Clone, Debug)]
pub(crate) struct Calls(pub(crate) Arc<Service>);

impl Calls {
    /// All calls under both names of the service.
    pub(crate) fn methods(&self) -> Methods {
        let methods = create_task(Arc::new(self.clone()));
        let old = create_task(Arc::new(self.clone()));
        let old = old.into_iter().map(|(path, call)| (path.replace("task.v3", "task.v2"), call));
        methods.into_iter().chain(old).collect()
    }
}

fn done(result: Result<()>) -> ttrpc::Result<api::Empty> {
    result?;
    Ok(api::Empty::new())
}

fn exited_at(
    exit: Option<Exit>,
) -> MessageField<containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp> {
    exit.map(|exit| timestamp(exit.at)).into()
}

impl containerd_shim_protos::Task for Calls {
    fn state(&self, _: &TtrpcContext, request: api::StateRequest) -> ttrpc::Result<api::StateResponse> {
        let (task, process) = self.0.process(&request.id, &request.exec_id)?;
        let (known, names) = (process.snapshot(), &process.names);
        Ok(api::StateResponse {
            id: task.id.clone(),
            bundle: task.bundle.display().to_string(),
            pid: known.pid,
            status: known.status.into(),
            stdin: names.stdin.clone(),
            stdout: names.stdout.clone(),
            stderr: names.stderr.clone(),
            terminal: names.terminal,
            exit_status: known.exit.map_or(0, |exit| exit.status),
            exited_at: exited_at(known.exit),
            exec_id: request.exec_id,
            ..api::StateResponse::default()
        })
    }

    fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> ttrpc::Result<api::CreateTaskResponse> {
        let pid = self.0.create_task(&request)?;
        Ok(api::CreateTaskResponse { pid, ..api::CreateTaskResponse::default() })
    }

    fn start(&self, _: &TtrpcContext, request: api::StartRequest) -> ttrpc::Result<api::StartResponse> {
        let pid = self.0.start_process(&request.id, &request.exec_id)?;
        Ok(api::StartResponse { pid, ..api::StartResponse::default() })
    }

    fn delete(&self, _: &TtrpcContext, request: api::DeleteRequest) -> ttrpc::Result<api::DeleteResponse> {
        let (pid, exit) = self.0.delete_process(&request.id, &request.exec_id)?;
        Ok(api::DeleteResponse {
            pid,
            exit_status: exit.status,
            exited_at: exited_at(Some(exit)),
            ..api::DeleteResponse::default()
        })
    }

    fn pids(&self, _: &TtrpcContext, request: api::PidsRequest) -> ttrpc::Result<api::PidsResponse> {
        Ok(self.0.pids(&request.id)?)
    }

    fn pause(&self, _: &TtrpcContext, request: api::PauseRequest) -> ttrpc::Result<api::Empty> {
        self.0.task(&request.id)?.pause()?;
        let event = events::TaskPaused { container_id: request.id, ..events::TaskPaused::default() };
        self.0.publisher.publish(topics::TASK_PAUSED_EVENT_TOPIC, &event);
        Ok(api::Empty::new())
    }

    fn resume(&self, _: &TtrpcContext, request: api::ResumeRequest) -> ttrpc::Result<api::Empty> {
        self.0.task(&request.id)?.resume()?;
        let event = events::TaskResumed { container_id: request.id, ..events::TaskResumed::default() };
        self.0.publisher.publish(topics::TASK_RESUMED_EVENT_TOPIC, &event);
        Ok(api::Empty::new())
    }

    fn checkpoint(&self, _: &TtrpcContext, _: api::CheckpointTaskRequest) -> ttrpc::Result<api::Empty> {
        Err(Failure::Absent("checkpoint".into()).into())
    }

    fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> ttrpc::Result<api::Empty> {
        done(self.0.task(&request.id)?.kill(&request.exec_id, request.signal, request.all))
    }

    fn exec(&self, _: &TtrpcContext, request: api::ExecProcessRequest) -> ttrpc::Result<api::Empty> {
        done(self.0.add_exec(&request))
    }

    fn resize_pty(&self, _: &TtrpcContext, request: api::ResizePtyRequest) -> ttrpc::Result<api::Empty> {
        let (_, process) = self.0.process(&request.id, &request.exec_id)?;
        done(process.resize(request.width, request.height))
    }

    fn close_io(&self, _: &TtrpcContext, request: api::CloseIORequest) -> ttrpc::Result<api::Empty> {
        let (_, process) = self.0.process(&request.id, &request.exec_id)?;
        if request.stdin {
            process.close_stdin();
        }
        Ok(api::Empty::new())
    }

    fn update(&self, _: &TtrpcContext, request: api::UpdateTaskRequest) -> ttrpc::Result<api::Empty> {
        done(self.0.task(&request.id)?.update(&request.resources.value))
    }

    fn wait(&self, _: &TtrpcContext, request: api::WaitRequest) -> ttrpc::Result<api::WaitResponse> {
        let (_, process) = self.0.process(&request.id, &request.exec_id)?;
        let exit = process.wait();
        Ok(api::WaitResponse {
            exit_status: exit.status,
            exited_at: exited_at(Some(exit)),
            ..api::WaitResponse::default()
        })
    }

    fn stats(&self, _: &TtrpcContext, request: api::StatsRequest) -> ttrpc::Result<api::StatsResponse> {
        Ok(self.0.task_stats(&request.id)?)
    }

    fn connect(&self, _: &TtrpcContext, request: api::ConnectRequest) -> ttrpc::Result<api::ConnectResponse> {
        let task_pid = self.0.task(&request.id).map_or(0, |task| task.init.snapshot().pid);
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").into(),
            ..api::ConnectResponse::default()
        })
    }

    fn shutdown(&self, _: &TtrpcContext, _: api::ShutdownRequest) -> ttrpc::Result<api::Empty> {
        // A pod's other containers still need it.
        let table = self.0.table();
        if table.tasks.is_empty() && table.reserved.is_empty() {
            let _ = self.0.shutdown.send(());
        }
        Ok(api::Empty::new())
    }
}
