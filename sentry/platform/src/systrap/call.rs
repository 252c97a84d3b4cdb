//! A guest thread that came by a rewritten call site: its registers lie in its area, its extended state is still in
//! the processor.
//!
//! What a call returns with is written back and loaded by the stub, which is possible as long as the kernel leaves
//! alone what only a signal frame can change ([`can_return`]).

use abi::{Regs, Result};
use host::memory::VolatileSlice;
use stub::layout::{AREA_CALL, AREA_POSTED_RESULT, CALL_WORDS, IMAGE};
use stub::{Entry, address_of};

use super::frame::{general_registers, general_words};

/// Single steps, which would stop in the stub; and what never belongs to user code.
const FLAGS_BEYOND: u64 = !Regs::USER_FLAGS | 1 << 8;
/// Bits of the flags that are always as they are: the second, and interrupts being on.
const FLAGS_FIXED: u64 = 1 << 9 | 1 << 1;

/// What a comparison or an exchange says where it found equal values.
const ZERO_FLAG: u64 = 1 << 6;

/// The registers at a call, as the instruction itself would have left them for the kernel.
pub(super) fn read(area: &VolatileSlice<'_>) -> Result<Regs> {
    let mut words = [0; 8 * CALL_WORDS];
    area.sub(AREA_CALL as usize, words.len())?.read(&mut words)?;
    let regs = general_registers(&words);
    let number = regs.rax & u64::from(u32::MAX);
    Ok(Regs { rcx: regs.rip, r11: regs.rflags, orig_rax: number, ..regs })
}

/// Puts registers where the stub loads them from.
pub(super) fn write(area: &VolatileSlice<'_>, regs: &Regs) -> Result<()> {
    let words = general_words(regs);
    area.sub(AREA_CALL as usize, words.len())?.write(&words).map(|_| ())
}

/// Whether the stub can load `regs` where a call came with `came`.
pub(super) fn can_return(came: &Regs, regs: &Regs) -> bool {
    regs.rcx == regs.rip
        && regs.r11 == regs.rflags
        && regs.rflags & FLAGS_BEYOND & !FLAGS_FIXED == 0
        && regs.fs_base == came.fs_base
        && regs.gs_base == came.gs_base
}

/// Whether a thread was stopped where the stub looks at guest memory for a call that is to be posted.
pub(super) fn is_posting(regs: &Regs) -> bool {
    (address_of(Entry::CallPostSaved, IMAGE)..address_of(Entry::CallPosted, IMAGE)).contains(&regs.rip)
}

/// Makes the registers of a thread that was about to post a call those at the call.
pub(super) fn undo_posting(area: &VolatileSlice<'_>, regs: &mut Regs) -> Result<()> {
    let call = read(area)?;
    let Regs { rbx, rbp, r12, r13, r14, r15, .. } = *regs;
    *regs = Regs { rbx, rbp, r12, r13, r14, r15, ..call };
    Ok(())
}

/// Where a thread in the stub was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In guest code.
    Guest,
    /// On the way from a call site to its answer; the registers are now those at the site.
    Entering,
    /// On the way back into guest code: nothing of what was to be loaded has been in use.
    Leaving,
}

/// Finds out where a thread was interrupted that stood at `regs.rip`, and makes `regs` those of guest code.
pub(super) fn unwind(area: &VolatileSlice<'_>, regs: &mut Regs) -> Result<Place> {
    let at = |entry| address_of(entry, IMAGE);
    let rip = regs.rip;
    if (at(Entry::CallCommitted)..at(Entry::SigReturn)).contains(&rip) {
        return Ok(Place::Leaving);
    }
    if !(at(Entry::Call)..at(Entry::CallSave)).contains(&rip) {
        return Ok(Place::Guest);
    }
    if (at(Entry::CallPostSaved)..at(Entry::CallSave)).contains(&rip) {
        let is_posted = match rip {
            _ if rip == at(Entry::CallPosted) => regs.rflags & ZERO_FLAG != 0,
            _ => (at(Entry::CallPosted)..at(Entry::CallPostUndo)).contains(&rip),
        };
        undo_posting(area, regs)?;
        if is_posted {
            regs.rax = area.load_u32(AREA_POSTED_RESULT as usize)?.into();
        } else {
            regs.rip = regs.rip.wrapping_sub(2);
        }
        regs.orig_rax = u64::MAX;
        return Ok(Place::Entering);
    }
    let saved = read(area)?;
    let flags = regs.rflags;
    if rip >= at(Entry::CallHasRsp) {
        regs.rsp = saved.rsp;
    }
    if rip >= at(Entry::CallHasFlags) {
        regs.rflags = saved.rflags;
    }
    // `rcx` is behind the site. Before it was answered, the call is made again.
    let is_exchanged = match rip {
        _ if rip == at(Entry::CallExchanged) => flags & ZERO_FLAG != 0,
        _ => (at(Entry::CallExchanged)..at(Entry::CallNotExchanged)).contains(&rip),
    };
    let is_answered = (at(Entry::CallAnswered)..at(Entry::CallOwn)).contains(&rip);
    regs.rip = if is_answered || is_exchanged { regs.rcx } else { regs.rcx.wrapping_sub(2) };
    if is_exchanged {
        regs.rax = 0;
    } else if (at(Entry::CallOwnSaved)..at(Entry::CallPost)).contains(&rip) {
        regs.rax = saved.rax;
    }
    Ok(Place::Entering)
}
