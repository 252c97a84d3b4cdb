//! What must hold of a program as a whole, once each instruction is known to be one.

use crate::Invalid;
use crate::decode::Op;

pub(crate) fn ends_with_return(ops: &[Op]) -> Result<(), Invalid> {
    if matches!(ops.last(), Some(Op::Return(_) | Op::ReturnA)) { Ok(()) } else { Err(Invalid) }
}

/// Scratch words must be written on every way to where they are read (`check_load_and_stores`).
pub(crate) fn reads_only_what_was_written(ops: &[Op]) -> Result<(), Invalid> {
    // A bit for each word that is written on all ways to an instruction that were seen to jump there.
    let mut written_at = vec![u16::MAX; ops.len()];
    let mut written = 0_u16;
    for (at, op) in ops.iter().enumerate() {
        written &= written_at[at];
        let mut jump = |to: u16| written_at[usize::from(to)] &= written;
        match *op {
            Op::StoreA(slot) | Op::StoreX(slot) => written |= 1 << slot,
            Op::LoadAMemory(slot) | Op::LoadXMemory(slot) if written & (1 << slot) == 0 => {
                return Err(Invalid);
            }
            Op::Jump(to) => {
                jump(to);
                written = u16::MAX;
            }
            Op::Branch(_, _, yes, no) => {
                jump(yes);
                jump(no);
                written = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}
