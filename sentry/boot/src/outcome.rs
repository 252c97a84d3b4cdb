//! How programs end, and why they cannot be started, as the control protocol says it.

use abi::Errno;
use control::{Failure, WaitStatus};
use kernel::task::ExitStatus;

/// How a wait ended, as the control protocol says it.
pub(crate) fn wait_status(status: ExitStatus) -> WaitStatus {
    match status {
        ExitStatus::Exited(code) => WaitStatus::Code(code),
        ExitStatus::Killed { signal, .. } => WaitStatus::Signal(signal.number() as u8),
    }
}

/// Characters of a program's name that a message repeats.
const SHOWN_NAME: usize = 200;

/// A failure to start a program, in the words of the shell, with the kind that the exit status follows from.
pub(crate) fn program_failure(program: &str, errno: Errno) -> Failure {
    use control::FailureKind::{Host, ProgramNotExecutable, ProgramNotFound};
    let (kind, why) = match errno {
        Errno::ENOENT | Errno::ENOTDIR => (
            ProgramNotFound,
            "no such file or directory: check the path and PATH in the container".to_owned(),
        ),
        Errno::EACCES | Errno::EPERM | Errno::EISDIR => (
            ProgramNotExecutable,
            "permission denied: the file must be executable for the container's user".into(),
        ),
        Errno::ENOEXEC => {
            (ProgramNotExecutable, "exec format error: not an x86-64 ELF file or a #! script".into())
        }
        Errno::E2BIG => (
            ProgramNotExecutable,
            "argument list too long: shorten process.args and process.env, of which one text may have 128 KiB".into(),
        ),
        Errno::ELOOP | Errno::ENAMETOOLONG | Errno::ETXTBSY | Errno::EINVAL => {
            (ProgramNotExecutable, errno.to_string())
        }
        other => (Host, other.to_string()),
    };
    let program = match program.char_indices().nth(SHOWN_NAME) {
        Some((end, _)) => format!("{}…", &program[..end]),
        None => program.to_owned(),
    };
    Failure::new(kind, format!("cannot run {program:?}: {why}"))
}
