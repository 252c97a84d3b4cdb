//! `SO_ATTACH_FILTER`: a guest's classic BPF program for a socket. Extended programs there are none.

use std::sync::Arc;

use abi::filter::SockFprog;
use abi::{Errno, Result};
use bpf::{Dialect, Program};
use kernel::Task;
use kernel::security::read_program;
use zerocopy::{FromBytes, IntoBytes};

/// Reads the program that a `sock_fprog` names.
///
/// # Errors
/// `EINVAL` for a program that Linux refuses, `EFAULT`, `ENOMEM` where guests make the sentry keep too much already.
pub(crate) fn read(task: &Task, value: &[u8]) -> Result<Arc<Program>> {
    let (program, _) = SockFprog::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    let source = read_program(task, &program)?;
    Program::new(source, Dialect::Socket).map(Arc::new).map_err(|_| Errno::EINVAL)
}

/// The program as `struct sock_filter`s; none for no filter.
pub(crate) fn encode(filter: Option<&Program>) -> Vec<u8> {
    filter.map_or(&[][..], Program::source).as_bytes().to_vec()
}
