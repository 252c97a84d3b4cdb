//! `SO_ATTACH_FILTER`: a guest's classic BPF program for a socket. Extended programs there are none.

use std::sync::Arc;

use abi::{Errno, Result, UserAddr};
use host::heap::{self, Purpose};
use kernel::Task;
use netstack::{Filter, Instruction};

use crate::inet::errno;

/// Bytes of a `sock_filter`.
const INSTRUCTION: usize = 8;

/// Reads the program that a `sock_fprog` names.
///
/// # Errors
/// `EINVAL` for a program that Linux refuses, `EFAULT`, `ENOMEM` where guests make the sentry keep too much already.
pub(crate) fn read(task: &Task, value: &[u8]) -> Result<Arc<Filter>> {
    let head: &[u8; 16] = value.first_chunk().ok_or(Errno::EINVAL)?;
    let (count, rest) = head.split_at(8);
    let count = usize::from(u16::from_ne_bytes([count[0], count[1]]));
    let at = rest.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    let len = count * INSTRUCTION;
    heap::room_for(len as u64, Purpose::Process).map_err(|_| Errno::ENOMEM)?;
    let mut program = vec![0; len];
    task.mm().read(UserAddr(at), &mut program)?;
    let program = program.chunks_exact(INSTRUCTION).map(decode).collect();
    Filter::new(program).map(Arc::new).map_err(errno)
}

/// The program as `struct sock_filter`s; none for no filter.
pub(crate) fn encode(filter: Option<&Filter>) -> Vec<u8> {
    filter.map_or(&[][..], Filter::program).iter().flat_map(encode_one).collect()
}

fn encode_one(instruction: &Instruction) -> [u8; INSTRUCTION] {
    let Instruction { code, jt, jf, k } = *instruction;
    let ([c0, c1], [k0, k1, k2, k3]) = (code.to_ne_bytes(), k.to_ne_bytes());
    [c0, c1, jt, jf, k0, k1, k2, k3]
}

fn decode(bytes: &[u8]) -> Instruction {
    Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}
