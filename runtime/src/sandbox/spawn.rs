//! A process that is being set up: made in its name spaces, held until the parent has done its part, executed as
//! another role of this same binary, listened to until it is ready.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use abi::Signal;
use control::Failure;
use control::start::{Outcome, StartSocket, Starter, wait_for};
use host::process::{Ended, ExecError, Namespaces, Process, clone_process};

use super::identity::IdMaps;
use crate::error::{Context, Error, Result};
use crate::logging;

/// A child on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    what: &'static str,
    process: Process,
    start: UnixStream,
}

/// Makes a child for the role `what`. It waits for [`Pending::go`] and then runs `set_up`, which ends by executing
/// something; what it fails with travels to [`Pending::wait_ready`].
pub(crate) fn spawn(
    what: &'static str,
    spaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    set_up: impl FnOnce(BorrowedFd<'_>) -> std::result::Result<Infallible, Failure>,
) -> Result<Pending> {
    let (ours, theirs) = UnixStream::pair().with_context(|| format!("cannot start the {what}"))?;
    let mut ours = Some(ours);
    let child = || {
        // In the child's copy: the wait below must end when the parent does.
        ours.take();
        if (&theirs).read_exact(&mut [0]).is_err() {
            return 1;
        }
        match set_up(theirs.as_fd()) {
            Ok(never) => match never {},
            Err(why) => {
                Starter::new(StartSocket::new(theirs.as_fd())).failed(why);
                1
            }
        }
    };
    let process = clone_process(spaces, cgroup, child).map_err(|errno| refused(what, spaces, errno))?;
    let start = ours.ok_or_else(|| Error::new(format!("cannot start the {what}")))?;
    Ok(Pending { what, process, start })
}

fn refused(what: &str, spaces: Namespaces, errno: abi::Errno) -> Error {
    let advice = match errno {
        abi::Errno::EPERM => "run as root, or with --rootless where the host allows user name spaces",
        abi::Errno::ENOSPC | abi::Errno::EUSERS => {
            "the host's limit on name spaces is reached: raise it with `sysctl user.max_user_namespaces=10000`"
        }
        abi::Errno::EAGAIN => "the limit on processes is reached: see `ulimit -u` and the cgroup's pids.max",
        abi::Errno::ENOMEM => "the host is out of memory, or a name space is out of pids",
        abi::Errno::EINVAL | abi::Errno::ENOSYS => {
            "the host's kernel is too old or lacks a kind of name space"
        }
        _ => "see `man 2 clone3`",
    };
    Error::new(format!("cannot start the {what} in new name spaces ({spaces:?}): {errno}: {advice}"))
}

impl Pending {
    /// The process.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Gives its user name space ids, where it has one.
    pub(crate) fn map_ids(&self, maps: &IdMaps) -> Result<()> {
        maps.write_for(self.process.pid())
    }

    /// Lets it go on. One that has failed already says why in [`Self::wait_ready`].
    pub(crate) fn go(&mut self) -> Result<()> {
        match self.start.write_all(b"g") {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::new(format!("cannot start the {}: {error}", self.what)))
            }
            _ => Ok(()),
        }
    }

    /// Waits until it is ready; says why it is not.
    pub(crate) fn wait_ready(self) -> Result<Process> {
        let (outcome, warnings) = wait_for(&self.start);
        for warning in warnings {
            logging::warning(format!("{}: {warning}", self.what));
        }
        match outcome {
            Outcome::Ready => Ok(self.process),
            Outcome::Failed(failure) => {
                // It ends by itself; reaped so that nothing of it stays.
                let _ = self.process.reap();
                Err(failure.into())
            }
            Outcome::Died(stage) => Err(self.died(stage)),
        }
    }

    fn died(self, stage: Option<String>) -> Error {
        let what = self.what;
        let how = self.process.reap().map_or_else(|_| "is gone".into(), told_end);
        let place = stage.map(|stage| format!(" while {stage}")).unwrap_or_default();
        Error::new(format!("the {what} {how}{place} before it was ready: --debug-log=FILE tells more"))
    }
}

/// What a message says of the end of one of our processes: "exited with …".
pub(crate) fn told_end(end: Ended) -> String {
    match end {
        Ended::Code(code) => format!("exited with status {code}"),
        Ended::Signal(signal) if Signal::new(signal) == Some(Signal::KILL) => {
            "was killed (SIGKILL: by someone, or by the host for lack of memory)".into()
        }
        Ended::Signal(signal) if Signal::new(signal) == Some(Signal::SYS) => {
            "made a system call that its filter forbids (SIGSYS)".into()
        }
        Ended::Signal(signal) => format!("crashed with signal {signal}"),
    }
}

/// This binary as a file that anyone may execute: the sandbox is not root. A binary that only its owner may read is
/// copied to memory.
pub(crate) fn own_binary() -> Result<OwnedFd> {
    let mut file = File::open("/proc/self/exe").context("cannot open the runsc binary")?;
    let meta = file.metadata().context("cannot look at the runsc binary")?;
    if meta.permissions().mode() & 0o5 == 0o5 {
        return Ok(file.into());
    }
    let copy = memfd(c"runsc")?;
    file.rewind()
        .and_then(|()| std::io::copy(&mut file, &mut &copy))
        .context("cannot copy the runsc binary")?;
    copy.set_permissions(std::fs::Permissions::from_mode(0o755)).context("cannot copy the runsc binary")?;
    // A file open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
    Ok(File::open(path).context("cannot reopen the runsc binary")?.into())
}

fn memfd(name: &std::ffi::CStr) -> Result<File> {
    host::memory::memfd(name, 0).map(File::from).context("cannot make a memory file")
}

/// A memory file with a JSON document, at its start.
pub(crate) fn document(value: &impl serde::Serialize) -> Result<OwnedFd> {
    let mut file = memfd(c"config")?;
    let text = serde_json::to_vec(value).context("cannot write the configuration")?;
    file.write_all(&text).and_then(|()| file.rewind()).context("cannot write the configuration")?;
    Ok(file.into())
}

/// Becomes this binary again, in another role: `argv`, no environment, and exactly these descriptors from 0 on.
pub(crate) fn execute(binary: &OwnedFd, argv: &[&str], fds: &[BorrowedFd<'_>]) -> Failure {
    let argv: Vec<CString> = argv.iter().filter_map(|arg| CString::new(*arg).ok()).collect();
    host::signal::unblock_all();
    match host::process::exec(binary.as_fd(), &argv, &[], fds) {
        ExecError::Descriptors(errno) => {
            Failure::host(format!("cannot pass {} descriptors: {errno}: raise `ulimit -n`", fds.len()))
        }
        ExecError::Program(errno) => Failure::host(format!(
            "cannot execute the runsc binary: {errno}: everyone must be able to read and execute it"
        )),
    }
}
