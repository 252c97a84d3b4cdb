//! `PR_SET_MM`: where the kernel shows a program's parts (`man 2 PR_SET_MM`).

use abi::{Errno, PAGE_SIZE, UserAddr};

use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::{CurrentTask, SysResult};

const START_CODE: u64 = 1;
const END_CODE: u64 = 2;
const START_DATA: u64 = 3;
const END_DATA: u64 = 4;
const START_STACK: u64 = 5;
const START_BRK: u64 = 6;
const BRK: u64 = 7;
const ARG_START: u64 = 8;
const ARG_END: u64 = 9;
const ENV_START: u64 = 10;
const ENV_END: u64 = 11;
const AUXV: u64 = 12;
/// The longest auxiliary vector, bytes.
const MAX_AUXV: u64 = 46 * 8;

pub(super) fn set_mm(task: &CurrentTask, args: &Args) -> SysResult {
    let [_, what, addr, len, ..] = args.0;
    if !task.creds().capable(Capability::SysResource) {
        return Err(Errno::EPERM.into());
    }
    let mm = task.mm();
    if what == AUXV {
        if addr == 0 || len > MAX_AUXV {
            return Err(Errno::EINVAL.into());
        }
        let mut auxv = vec![0; len as usize];
        mm.read(UserAddr(addr), &mut auxv)?;
        mm.update_image(|image| image.auxv = auxv.into());
        return Ok(0);
    }
    let (low, high) = mm.bounds();
    if addr < low.0.max(PAGE_SIZE) || addr >= high.0 {
        return Err(Errno::EINVAL.into());
    }
    if what == START_BRK || what == BRK {
        mm.declare_heap(|heap| *(if what == BRK { &mut heap.end } else { &mut heap.start }) = addr)?;
        return Ok(0);
    }
    let mut result = Ok(0);
    mm.update_image(|image| match what {
        START_CODE => image.start_code = addr,
        END_CODE => image.end_code = addr,
        START_DATA => image.start_data = addr,
        END_DATA => image.end_data = addr,
        START_STACK => image.start_stack = addr,
        ARG_START => image.arg_start = addr,
        ARG_END => image.arg_end = addr,
        ENV_START => image.env_start = addr,
        ENV_END => image.env_end = addr,
        _ => result = Err(Errno::EINVAL.into()),
    });
    result
}
