//! `start`, `kill`, `pause`, `resume`, `delete`: what happens to a container that is there.

use abi::Signal;
use control::{FailureKind, Target};
use oci_spec::runtime::Hooks;
use serde_json::Value;

use super::store::{LockError, Locked, Store};
use super::{SIGKILL, State, Status, current_status, end_process, oci_state, remains};
use crate::error::{Error, Result};
use crate::flags::{Config, Flags};
use crate::hooks::HookSet;
use crate::logging;
use crate::sandbox::{self, ConnectError, ReplyTimeout};

/// A container that is there, locked, with its state brought up to date.
#[derive(Debug)]
pub(crate) struct Container {
    store: Store,
    locked: Locked,
    /// What is known of it.
    pub(crate) state: State,
}

/// Whom `kill` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillTarget {
    /// The first process.
    Init,
    /// Every process.
    All,
    /// One process.
    Process(i32),
    /// A process group.
    Group(i32),
}

impl Container {
    /// Opens a container and brings its state up to date.
    pub(crate) fn open(config: &Config, id: &str) -> Result<Self> {
        let store = Store::new(&config.root);
        let locked = store.lock(id)?;
        Ok(Self::of_locked(store, locked)?)
    }

    /// The container in a locked directory; the directory again where its state cannot be read.
    fn of_locked(store: Store, locked: Locked) -> std::result::Result<Self, Unreadable> {
        let mut state = match locked.read() {
            Ok(state) => state,
            Err(error) => return Err(Unreadable { error, locked }),
        };
        state.status = match current_status(&state, &store) {
            // We have the lock, so nobody is creating it any more.
            Status::Creating => Status::Stopped,
            status => status,
        };
        Ok(Self { store, locked, state })
    }

    fn id(&self) -> &str {
        &self.state.id
    }

    fn save(&self) -> Result<()> {
        self.locked.write(&self.state)
    }

    /// A connection to its sandbox.
    pub(crate) fn connect(
        &self,
        timeout: ReplyTimeout,
    ) -> std::result::Result<control::Client, ConnectError> {
        sandbox::connect(&self.store.socket(&self.state.sandbox_id), self.id(), timeout)
    }

    /// Its configuration as it was at `create`, with the limits that it has now.
    pub(crate) fn config(&self) -> Result<Value> {
        self.locked.read_config()
    }

    /// The configuration with changed limits, for [`Self::keep_config`] once they hold, and all its limits.
    pub(crate) fn with_resources(&self, changes: &Value) -> Result<(Value, Value)> {
        let mut config = self.config()?;
        merge(&mut config["linux"]["resources"], changes);
        let all = config["linux"]["resources"].clone();
        Ok((config, all))
    }

    /// Writes a changed configuration down.
    pub(crate) fn keep_config(&self, config: &Value) -> Result<()> {
        self.locked.write_config(config)
    }

    /// Refuses what makes no sense with a container that has ended; `why` goes on after "container not running".
    pub(crate) fn require_not_stopped(&self, why: &str) -> Result<()> {
        if self.state.status != Status::Stopped {
            return Ok(());
        }
        Err(Error::new(format!("container \"{}\" is stopped: container not running: {why}", self.id())))
    }

    fn wrong_state(&self, wanted: &str) -> Error {
        let status = self.state.status.name();
        // containerd and Docker look for these words.
        let words = if self.state.status == Status::Stopped { ": container not running" } else { "" };
        Error::new(format!("container \"{}\" is {status}{words}; it must be {wanted}", self.id()))
    }

    /// The configuration's hooks; none where it cannot be read.
    fn hooks(&self) -> Option<Hooks> {
        self.config().ok().and_then(|mut config| serde_json::from_value(config["hooks"].take()).ok())
    }

    /// Runs the container's program.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.state.status != Status::Created {
            return Err(self.wrong_state("created to be started"));
        }
        let document = self.config()?;
        if document["hooks"]["startContainer"].as_array().is_some_and(|hooks| !hooks.is_empty()) {
            logging::warning(
                "$.hooks.startContainer: these hooks would run inside the sandbox and are skipped",
            );
        }
        if let Err(failure) = self.start_program() {
            if let StartFailure::Fatal(_) = failure {
                self.stop();
            }
            return Err(failure.into());
        }
        self.state.status = Status::Running;
        self.save()?;
        let (hooks, state) = (self.hooks(), oci_state(&self.state, None));
        // The specification (since 1.2): the container is stopped.
        HookSet::new("poststart", hooks.as_ref(), &state).run().inspect_err(|_| self.stop())
    }

    /// Ends it because its start has failed.
    fn stop(&mut self) {
        self.end();
        self.state.status = Status::Stopped;
        let _ = self.save();
    }

    fn start_program(&self) -> std::result::Result<(), StartFailure> {
        let client = self.connect(ReplyTimeout::Work).map_err(Error::from)?;
        if self.state.is_root() {
            let config = Config::new(&Flags::from_given(&self.state.flags)?)?;
            crate::network::donate(&config, self.state.sandbox.as_ref(), &client)?;
        }
        let pid = client.start(self.id()).map_err(|error| match error.kind() {
            FailureKind::WrongState => StartFailure::NotOurs(error.into()),
            _ if error.is_gone() => self.death_notice("starting the program").into(),
            _ => Error::from(error).into(),
        })?;
        logging::debug(format!("container {} runs as process {pid} of its sandbox", self.id()));
        Ok(())
    }

    /// The end of what the container's own processes printed, for an error message.
    pub(crate) fn last_words(&self) -> String {
        sandbox::last_words(self.locked.path())
    }

    /// Says how the sandbox went away, as far as can be known.
    fn death_notice(&self, stage: &str) -> Error {
        let process = self.state.sandbox.and_then(|sandbox| sandbox.open_any());
        let _ = process.as_ref().map(|process| process.wait_ended(Some(std::time::Duration::from_secs(1))));
        let how = process.and_then(|process| process.reap_now().ok());
        let how = how.map_or_else(|| "ended".into(), sandbox::told_end);
        let said = self.last_words();
        let said = if said.is_empty() { String::new() } else { format!("; it printed: {said:?}") };
        Error::new(format!("the sandbox {how} while {stage}{said}: --debug-log=FILE tells more"))
    }

    /// Ends what runs of it: the sandbox of a first container, the processes of another.
    fn end(&self) {
        if self.state.is_root() {
            self.state.sandbox.into_iter().for_each(end_process);
        } else if let Ok(client) = self.connect(ReplyTimeout::Short)
            && let Err(error) = client.destroy(self.id())
        {
            logging::debug(format!("destroying {}: {error}", self.id()));
        }
        self.state.gofer.into_iter().chain(self.state.broker).for_each(end_process);
    }

    /// Sends a signal.
    pub(crate) fn kill(&self, target: KillTarget, signal: i32) -> Result<()> {
        let running = matches!(self.state.status, Status::Created | Status::Running | Status::Paused);
        if !running {
            // `kill --all` is how callers make sure that nothing is left: nothing is.
            return if target == KillTarget::All {
                Ok(())
            } else {
                Err(self.wrong_state("running to get a signal"))
            };
        }
        let waiting = self.state.status == Status::Created;
        let is_kill = signal == SIGKILL && (waiting || self.state.status == Status::Paused);
        if target_is_whole(target) && (is_kill || waiting && ends_by_default(signal)) {
            self.end();
            return Ok(());
        }
        if waiting && target_is_whole(target) {
            // What waits to be started has no handlers: it would ignore this one, or stop for nobody.
            return Ok(());
        }
        let container = self.id().to_string();
        let to = match target {
            KillTarget::Init => Target::Init { container },
            KillTarget::All => Target::All { container },
            KillTarget::Process(pid) => Target::Process { container, pid },
            KillTarget::Group(pgid) => Target::Group { container, pgid },
        };
        let client = self.connect(ReplyTimeout::Short);
        let sent = client.map_err(Error::from).and_then(|client| {
            client.signal(to, signal).map_err(|error| match error.kind() {
                FailureKind::NotFound => Error::new(format!("{error}: no such process")),
                _ => error.into(),
            })
        });
        match sent {
            // A sandbox that does not listen any more must still end.
            Err(error) if signal == SIGKILL && target_is_whole(target) && self.state.is_root() => {
                logging::debug(format!("killing the sandbox itself: {error}"));
                self.end();
                Ok(())
            }
            other => other,
        }
    }

    /// Stops every process in its tracks.
    pub(crate) fn pause(&mut self) -> Result<()> {
        if self.state.status != Status::Running {
            return Err(self.wrong_state("running to be paused"));
        }
        self.connect(ReplyTimeout::Work)?.pause(self.id())?;
        self.state.status = Status::Paused;
        self.save()
    }

    /// Lets a paused container go on.
    pub(crate) fn resume(&mut self) -> Result<()> {
        if self.state.status != Status::Paused {
            return Err(self.wrong_state("paused to be resumed"));
        }
        self.connect(ReplyTimeout::Short)?.resume(self.id())?;
        self.state.status = Status::Running;
        self.save()
    }

    /// Removes what is left of a container that does not run.
    pub(crate) fn delete(self) -> Result<()> {
        if !matches!(self.state.status, Status::Stopped | Status::Created) {
            let advice = "kill it first, or use --force";
            return Err(Error::new(format!("{}; {advice}", self.wrong_state("stopped to be deleted"))));
        }
        self.end_and_delete()
    }

    /// Ends a container, and removes what is left of it.
    fn end_and_delete(self) -> Result<()> {
        self.end();
        let stopped = Self { state: State { status: Status::Stopped, ..self.state }, ..self };
        if let Some(cgroup) = stopped.state.cgroup.as_ref().filter(|cgroup| cgroup.is_ours()) {
            end_rest(&cgroup.own_pids());
            cgroup.remove();
        }
        let (hooks, state) = (stopped.hooks(), oci_state(&stopped.state, None));
        HookSet::new("poststop", hooks.as_ref(), &state).run_all();
        stopped.locked.remove()
    }
}

/// A container whose state cannot be read.
struct Unreadable {
    error: Error,
    locked: Locked,
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Self {
        unreadable.error
    }
}

/// Why a container was not started.
enum StartFailure {
    /// Another `start` came first: what runs is not ours to end.
    NotOurs(Error),
    /// It cannot run: it is to end.
    Fatal(Error),
}

impl From<Error> for StartFailure {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

impl From<StartFailure> for Error {
    fn from(failure: StartFailure) -> Self {
        let (StartFailure::NotOurs(error) | StartFailure::Fatal(error)) = failure;
        error
    }
}

/// Lays an OCI `resources` object over another. Callers say 0, "" or null where they change nothing.
fn merge(old: &mut Value, new: &Value) {
    if let (Value::Object(old), Value::Object(new)) = (&mut *old, new) {
        for (name, value) in new {
            merge(old.entry(name).or_insert(Value::Null), value);
        }
    } else if !(new.is_null() || new.as_i64() == Some(0) || new.as_str() == Some("")) {
        *old = new.clone();
    }
}

/// Whether a signal ends who has no handler for it (`man 7 signal`).
fn ends_by_default(signal: i32) -> bool {
    use Signal as S;
    let others = [S::CHLD, S::CONT, S::STOP, S::TSTP, S::TTIN, S::TTOU, S::URG, S::WINCH];
    !others.iter().any(|other| other.number() == signal)
}

fn target_is_whole(target: KillTarget) -> bool {
    matches!(target, KillTarget::Init | KillTarget::All)
}

/// Processes that are still in the cgroup of a container that has ended: what a crash left.
fn end_rest(pids: &[i32]) {
    for pid in pids.iter().filter(|pid| **pid > 0 && **pid as u32 != std::process::id()) {
        if let Ok(process) = host::process::Process::open(*pid)
            && process.signal(SIGKILL).is_ok()
        {
            let _ = process.wait_ended(Some(super::END_TIMEOUT));
        }
    }
}

/// How long `delete --force` leaves another invocation alone.
const FORCE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// Removes a container whose state cannot be read, and one that is not there: after this there is none of that id.
pub(crate) fn force_delete(config: &Config, id: &str) -> Result<()> {
    let store = Store::new(&config.root);
    let locked = match store.lock_within(id, FORCE_TIMEOUT) {
        Err(LockError::Held { .. }) => {
            end_holders_processes(&store, id);
            store.lock(id)
        }
        other => other,
    };
    let locked = match locked {
        Ok(locked) => locked,
        Err(LockError::Missing { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match Container::of_locked(store.clone(), locked) {
        Ok(container) => container.end_and_delete(),
        Err(Unreadable { error, locked }) => {
            logging::warning(format!("{error}: what is left of it is removed"));
            remains::end_processes(store.root(), id);
            remains::remove_cgroup(&locked);
            locked.remove()
        }
    }
}

/// Ends the processes of a container that another invocation holds: whoever does waits for one of these.
fn end_holders_processes(store: &Store, id: &str) {
    logging::warning(format!("container \"{id}\" is in use: its processes are ended"));
    match store.peek(id) {
        Ok(state) => {
            let sandbox = state.sandbox.filter(|_| state.is_root());
            sandbox.into_iter().chain(state.gofer).chain(state.broker).for_each(end_process);
        }
        Err(_) => remains::end_processes(store.root(), id),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn what_is_not_said_stays() {
        let mut limits = json!({"cpu": {"quota": 50_000, "cpus": "0-1"}, "memory": {"limit": 4096}});
        super::merge(
            &mut limits,
            &json!({"cpu": {"quota": 0, "cpus": "1", "shares": 9}, "pids": {"limit": 5}, "memory": null}),
        );
        let expected = json!({"cpu": {"quota": 50_000, "cpus": "1", "shares": 9}, "memory": {"limit": 4096}, "pids": {"limit": 5}});
        assert_eq!(limits, expected);
        let mut none = json!(null);
        super::merge(&mut none, &json!({"cpu": {"quota": -1}}));
        assert_eq!(none, json!({"cpu": {"quota": -1}}));
    }
}
