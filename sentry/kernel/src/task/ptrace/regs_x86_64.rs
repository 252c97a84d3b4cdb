//! A stopped tracee's registers as ptrace(2) shows them.

use abi::ptrace::{NT_PRFPREG, NT_PRSTATUS, NT_X86_XSTATE, USER_DEBUG_REGS, USER_REGS_SIZE, USER_SIZE};
use abi::ucontext_x86_64::{FPX_SW_OFFSET, FXSAVE_SIZE};
use abi::{Errno, Regs, Result, UserAddr};
use zerocopy::IntoBytes;

use super::Stopped;
use crate::task::Task;

/// A set of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterSet {
    /// General registers.
    General,
    /// The FXSAVE area.
    Fpu,
    /// The XSAVE area.
    Xstate,
}

impl RegisterSet {
    /// The set with this note number.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn from_note(note: u64) -> Result<Self> {
        match note {
            NT_PRSTATUS => Ok(Self::General),
            NT_PRFPREG => Ok(Self::Fpu),
            NT_X86_XSTATE => Ok(Self::Xstate),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Takes only what user code may have.
fn sanitized(old: &Regs, new: Regs) -> Result<Regs> {
    if new.fs_base >= UserAddr::END.0 || new.gs_base >= UserAddr::END.0 {
        return Err(Errno::EIO);
    }
    let rflags = (old.rflags & !Regs::USER_FLAGS) | (new.rflags & Regs::USER_FLAGS);
    Ok(Regs { cs: Regs::USER_CS, ss: Regs::USER_SS, rflags, ..new })
}

impl Stopped {
    /// The bytes of a set; `features` is what XCR0 has.
    #[must_use]
    pub fn read_set(&self, set: RegisterSet, features: u64) -> Vec<u8> {
        match set {
            RegisterSet::General => self.regs.as_bytes().to_vec(),
            RegisterSet::Fpu => self.xstate[..FXSAVE_SIZE.min(self.xstate.len())].to_vec(),
            RegisterSet::Xstate => {
                let mut image = self.xstate.clone();
                if let Some(at) = image.get_mut(FPX_SW_OFFSET..FPX_SW_OFFSET + 8) {
                    at.copy_from_slice(&features.to_ne_bytes());
                }
                image
            }
        }
    }

    /// Replaces the start of a set.
    ///
    /// # Errors
    /// `EINVAL` for a length that does not fit, `EIO` for values that no guest can have.
    pub fn write_set(&mut self, set: RegisterSet, bytes: &[u8]) -> Result<()> {
        match set {
            RegisterSet::General => {
                let mut regs = self.regs;
                let room = regs.as_mut_bytes();
                if bytes.len() > room.len() || !bytes.len().is_multiple_of(8) {
                    return Err(Errno::EINVAL);
                }
                room[..bytes.len()].copy_from_slice(bytes);
                self.regs = sanitized(&self.regs, regs)?;
            }
            RegisterSet::Fpu | RegisterSet::Xstate => {
                let is_whole = match set {
                    RegisterSet::Fpu => bytes.len() == FXSAVE_SIZE,
                    _ => bytes.len() == self.xstate.len(),
                };
                if !is_whole {
                    return Err(Errno::EINVAL);
                }
                self.xstate[..bytes.len()].copy_from_slice(bytes);
                self.xstate_changed = true;
            }
        }
        Ok(())
    }
}

impl Task {
    /// `PTRACE_PEEKUSER`.
    ///
    /// # Errors
    /// `EIO` for an offset that is not a word of `struct user`.
    pub fn peek_user(&self, offset: u64) -> Result<u64> {
        if !offset.is_multiple_of(8) || offset >= USER_SIZE {
            return Err(Errno::EIO);
        }
        let mut trace = self.trace.lock();
        if offset >= USER_DEBUG_REGS {
            return Ok(trace.debug_regs().get(((offset - USER_DEBUG_REGS) / 8) as usize));
        }
        let stopped = trace.stopped.as_ref().ok_or(Errno::ESRCH)?;
        let word = stopped.regs.as_bytes().get(offset as usize..offset as usize + 8);
        Ok(word.and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes))
    }

    /// `PTRACE_POKEUSER`.
    ///
    /// # Errors
    /// `EIO` for an offset that cannot be written, `EINVAL` for a value that is not allowed.
    pub fn poke_user(&self, offset: u64, value: u64) -> Result<()> {
        if !offset.is_multiple_of(8) || offset >= USER_SIZE {
            return Err(Errno::EIO);
        }
        let mut trace = self.trace.lock();
        if offset >= USER_DEBUG_REGS {
            return trace.debug_regs().set(((offset - USER_DEBUG_REGS) / 8) as usize, value);
        }
        if offset >= USER_REGS_SIZE {
            return Err(Errno::EIO);
        }
        let stopped = trace.stopped.as_mut().ok_or(Errno::ESRCH)?;
        let mut regs = stopped.regs;
        regs.as_mut_bytes()[offset as usize..offset as usize + 8].copy_from_slice(&value.to_ne_bytes());
        stopped.regs = sanitized(&stopped.regs, regs)?;
        Ok(())
    }
}
