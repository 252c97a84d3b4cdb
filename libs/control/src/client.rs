//! The command line tool's end of a control socket: one method per call.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use host::unix::{self, Kind};
use serde_json::Value;

use crate::boot::ContainerConfig;
use crate::failure::{Failure, FailureKind};
use crate::network::NetworkPlan;
use crate::reply::{ContainerState, ProcessRow, Reply, WaitStatus};
use crate::request::{Exec, Request, Target};
use crate::stats::Stats;
use crate::wire::{Channel, WireError, WireLoss};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The sandbox refused.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The sandbox could not be asked: it is gone, stuck, or speaks another version.
    #[error("the sandbox did not answer \"{call}\": {source}{}", advice(.source))]
    Wire {
        /// The call.
        call: &'static str,
        /// What happened.
        source: WireError,
    },
    /// An answer to another question.
    #[error("the sandbox answered \"{call}\" with something else: it is of another version of this program")]
    Unexpected {
        /// The call.
        call: &'static str,
    },
}

impl CallError {
    /// Its sort; everything that is not a refusal counts as the host's.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Refused(failure) => failure.kind,
            Self::Wire { .. } => FailureKind::Host,
            Self::Unexpected { .. } => FailureKind::Internal,
        }
    }

    /// Whether the sandbox is gone, rather than unwilling, stuck or not understood.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Wire { source, .. } if source.loss() == WireLoss::Closed)
    }
}

/// What a person can do about it.
fn advice(error: &WireError) -> &'static str {
    match error.loss() {
        WireLoss::TimedOut => {
            " (`runsc debug --stacks` may tell what it does, `runsc delete --force` ends it in any case)"
        }
        WireLoss::Closed | WireLoss::Broken => "",
    }
}

/// A connection to a sandbox. Calls on it are answered one after the other.
#[derive(Debug)]
pub struct Client(Channel);

impl Client {
    /// Connects to the sandbox that listens at `socket`; with a limit, each wait ends with `EAGAIN` after so long.
    ///
    /// # Errors
    /// What `connect(2)` says.
    pub fn connect(socket: &Path, limit: Option<Duration>) -> abi::Result<Self> {
        let connection = match limit {
            Some(limit) => unix::connect_within(socket, Kind::Stream, limit),
            None => unix::connect(socket, Kind::Stream),
        };
        connection.map(Self::new)
    }

    /// Speaks on a connected socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self(Channel::new(socket))
    }

    /// Makes any call.
    ///
    /// # Errors
    /// The sandbox's refusal, or why there is no answer.
    pub fn call(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply, CallError> {
        self.send(request, fds)?;
        self.receive(request)
    }

    /// The first half of [`Self::call`], for who has other things to wait for as well.
    ///
    /// # Errors
    /// Where the sandbox is gone.
    pub fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), CallError> {
        self.0.send(request, fds).map_err(|source| CallError::Wire { call: request.name(), source })
    }

    /// The socket; readable when an answer is there.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The second half of [`Self::call`].
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn receive(&self, request: &Request) -> Result<Reply, CallError> {
        let wire = |source| CallError::Wire { call: request.name(), source };
        match self.0.receive::<Reply>().map_err(wire)?.0 {
            Reply::Failed(failure) => Err(failure.into()),
            reply => Ok(reply),
        }
    }

    fn done(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), CallError> {
        match self.call(request, fds)? {
            Reply::Done => Ok(()),
            _ => Err(CallError::Unexpected { call: request.name() }),
        }
    }

    fn started(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<i32, CallError> {
        match self.call(request, fds)? {
            Reply::Started { pid } => Ok(pid),
            _ => Err(CallError::Unexpected { call: request.name() }),
        }
    }

    /// [`Request::CreateContainer`].
    ///
    /// # Errors
    /// As [`Self::call`]; so for all that follow.
    pub fn create_container(&self, config: ContainerConfig, fds: &[BorrowedFd<'_>]) -> Result<(), CallError> {
        self.done(&Request::CreateContainer(Box::new(config)), fds)
    }

    /// [`Request::Network`].
    ///
    /// # Errors
    /// `WrongState` after the first start.
    pub fn network(&self, plan: NetworkPlan, fds: &[BorrowedFd<'_>]) -> Result<(), CallError> {
        self.done(&Request::Network(Box::new(plan)), fds)
    }

    /// [`Request::Start`]; the guest pid.
    ///
    /// # Errors
    /// Among others, `ProgramNotFound` and `ProgramNotExecutable`.
    pub fn start(&self, container: &str) -> Result<i32, CallError> {
        self.started(&Request::Start { container: container.into() }, &[])
    }

    /// [`Request::Exec`]; the guest pid.
    ///
    /// # Errors
    /// Among others, `ProgramNotFound` and `ProgramNotExecutable`.
    pub fn exec(&self, exec: Exec, fds: &[BorrowedFd<'_>]) -> Result<i32, CallError> {
        self.started(&Request::Exec(Box::new(exec)), fds)
    }

    /// [`Request::Signal`].
    ///
    /// # Errors
    /// `NotFound` where there is no such process.
    pub fn signal(&self, target: Target, signal: i32) -> Result<(), CallError> {
        self.done(&Request::Signal { target, signal }, &[])
    }

    /// [`Request::Wait`]; returns when the process has ended.
    ///
    /// # Errors
    /// `NotFound` where there is no such process.
    pub fn wait(&self, container: &str, pid: Option<i32>) -> Result<WaitStatus, CallError> {
        let request = Request::Wait { container: container.into(), pid };
        match self.call(&request, &[])? {
            Reply::Exited(status) => Ok(status),
            _ => Err(CallError::Unexpected { call: request.name() }),
        }
    }

    /// [`Request::Processes`].
    ///
    /// # Errors
    /// `NotFound` where there is no such container.
    pub fn processes(&self, container: &str) -> Result<Vec<ProcessRow>, CallError> {
        let request = Request::Processes { container: container.into() };
        match self.call(&request, &[])? {
            Reply::Processes(rows) => Ok(rows),
            _ => Err(CallError::Unexpected { call: request.name() }),
        }
    }

    /// [`Request::Pause`].
    ///
    /// # Errors
    /// `NotFound` where there is no such container.
    pub fn pause(&self, container: &str) -> Result<(), CallError> {
        self.done(&Request::Pause { container: container.into() }, &[])
    }

    /// [`Request::Resume`].
    ///
    /// # Errors
    /// `NotFound` where there is no such container.
    pub fn resume(&self, container: &str) -> Result<(), CallError> {
        self.done(&Request::Resume { container: container.into() }, &[])
    }

    /// [`Request::State`].
    ///
    /// # Errors
    /// `NotFound` where there is no such container.
    pub fn state(&self, container: &str) -> Result<ContainerState, CallError> {
        let request = Request::State { container: container.into() };
        match self.call(&request, &[])? {
            Reply::State(state) => Ok(state),
            _ => Err(CallError::Unexpected { call: request.name() }),
        }
    }

    /// [`Request::Stats`].
    ///
    /// # Errors
    /// `NotFound` where there is no such container.
    pub fn stats(&self, container: &str) -> Result<Stats, CallError> {
        let request = Request::Stats { container: container.into() };
        match self.call(&request, &[])? {
            Reply::Stats(stats) => Ok(*stats),
            _ => Err(CallError::Unexpected { call: request.name() }),
        }
    }

    /// [`Request::WindowSize`].
    ///
    /// # Errors
    /// `NotFound` where there is no such process or it has no terminal.
    pub fn window_size(
        &self,
        container: &str,
        pid: Option<i32>,
        (rows, columns): (u16, u16),
    ) -> Result<(), CallError> {
        self.done(&Request::WindowSize { container: container.into(), pid, rows, columns }, &[])
    }

    /// [`Request::Destroy`].
    ///
    /// # Errors
    /// `NotFound` where there is no such container.
    pub fn destroy(&self, container: &str) -> Result<(), CallError> {
        self.done(&Request::Destroy { container: container.into() }, &[])
    }

    /// [`Request::Strace`].
    ///
    /// # Errors
    /// `WrongState` where the sandbox has no debug log.
    pub fn strace(&self, calls: Option<Vec<String>>) -> Result<(), CallError> {
        self.done(&Request::Strace { calls }, &[])
    }

    /// [`Request::Update`].
    ///
    /// # Errors
    /// `Invalid` where the limits make no sense.
    pub fn update(&self, container: &str, resources: Value, cpu_count: u32) -> Result<(), CallError> {
        self.done(
            &Request::Update { container: container.into(), resources, cpu_count: Some(cpu_count) },
            &[],
        )
    }

    /// [`Request::Stacks`].
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn stacks(&self) -> Result<String, CallError> {
        match self.call(&Request::Stacks, &[])? {
            Reply::Text(text) => Ok(text),
            _ => Err(CallError::Unexpected { call: Request::Stacks.name() }),
        }
    }
}
