//! Program loading: ELF, `#!` scripts, the initial stack, the vDSO.

use std::sync::Arc;

use abi::Result;

use crate::Task;
use crate::mm::MemoryManager;
use crate::task::Credentials;
use crate::vfs::File;

/// A program about to be loaded: after `#!` lines have been followed.
#[derive(Clone, Debug)]
pub struct Program {
    /// The ELF file.
    pub file: Arc<File>,
    /// The path given to execve(2) (`AT_EXECFN`).
    pub path: Vec<u8>,
    /// Arguments, with what `#!` lines put before them.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
}

/// Where a loaded program starts.
#[derive(Clone, Copy, Debug)]
pub struct LoadedImage {
    /// The first instruction.
    pub entry: u64,
    /// The stack pointer.
    pub stack_pointer: u64,
}

/// Follows `#!` lines from `file` to the program that is to be loaded.
///
/// # Errors
/// `ENOEXEC`, `ELOOP`, `EACCES`, `ENOENT` for the interpreter; `E2BIG`.
pub fn open_program(
    task: &Task,
    file: Arc<File>,
    path: &[u8],
    argv: Vec<Vec<u8>>,
    envp: Vec<Vec<u8>>,
) -> Result<Program> {
    let _ = task;
    Ok(Program { file, path: path.to_vec(), argv, envp })
}

/// Loads `program` into the empty address space `mm`. `creds` are what the task will have; `is_secure` is `AT_SECURE`.
/// `task` is used for permissions on the interpreter only.
///
/// # Errors
/// `ENOEXEC`, `ELIBBAD`, `ENOMEM`, `E2BIG`, `EACCES`.
pub fn load(
    task: &Task,
    mm: &Arc<MemoryManager>,
    program: &Program,
    creds: &Credentials,
    is_secure: bool,
) -> Result<LoadedImage> {
    let _ = (task, mm, program, creds, is_secure);
    unimplemented!()
}
