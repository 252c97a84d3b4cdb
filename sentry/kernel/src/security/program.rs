//! Classic BPF programs of guests: how they come in, and what they say of a call whatever its arguments.

use abi::filter::{BPF_MAXINSNS, SockFilter, SockFprog};
use abi::seccomp::SeccompData;
use abi::{Errno, Result, UserAddr};
use bpf::{Ancillary, Base, Data, Program, Size};
use host::heap::{self, Purpose};
use zerocopy::{FromZeros, IntoBytes};

use crate::Task;

/// Number and architecture, which come before what differs from call to call.
const FIXED_BYTES: usize = 8;

/// Reads the program that a `struct sock_fprog` names.
///
/// # Errors
/// `EINVAL` for a length that none has, `EFAULT`, `ENOMEM` where guests make the sentry keep too much already.
pub fn read_program(task: &Task, program: &SockFprog) -> Result<Vec<SockFilter>> {
    let count = usize::from(program.len);
    if count == 0 || count > BPF_MAXINSNS {
        return Err(Errno::EINVAL);
    }
    heap::room_for((count * size_of::<SockFilter>()) as u64, Purpose::Process).map_err(|_| Errno::ENOMEM)?;
    let mut source = vec![SockFilter::new_zeroed(); count];
    task.mm().read(UserAddr(program.filter), source.as_mut_bytes())?;
    Ok(source)
}

/// Whether a filter says `verdict` of a call whatever its arguments and the place that it comes from: found by running
/// it until it looks at either (as Linux's `seccomp_is_const_allow`).
pub(super) fn always_says(filter: &Program, verdict: u32, nr: i32, arch: u32) -> bool {
    let call = SeccompData { nr, arch, instruction_pointer: 0, args: [0; 6] };
    filter.run(&AnyArguments(call)) == Some(verdict)
}

/// A call of which only number and architecture are known.
struct AnyArguments(SeccompData);

impl Data for AnyArguments {
    fn size(&self) -> u32 {
        self.0.size()
    }

    fn load(&self, base: Base, offset: usize, size: Size) -> Option<u32> {
        if offset < FIXED_BYTES { self.0.load(base, offset, size) } else { None }
    }

    fn ancillary(&self, what: Ancillary) -> u32 {
        self.0.ancillary(what)
    }
}
