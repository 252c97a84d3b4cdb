//! Debug registers, in software: while a breakpoint is enabled the task is single-stepped and each step compared.
//!
//! Watchpoints on writes notice changes of the value; those on any access notice the same, not reads.

use abi::{Errno, Result, SigInfo, Signal, UserAddr};
use platform::Exception;

use crate::task::CurrentTask;

const COUNT: usize = 4;
const STATUS: usize = 6;
const CONTROL: usize = 7;
const FLAG_TF: u64 = 1 << 8;
const DR6_STEP: u64 = 1 << 14;
/// The kinds of breakpoints in the control register.
const KIND_EXECUTE: u64 = 0;
const KIND_IO: u64 = 2;

/// The debug registers of a task.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DebugRegs {
    regs: [u64; 8],
    values: [u64; COUNT],
}

impl DebugRegs {
    /// The value of register `index`.
    pub(crate) fn get(&self, index: usize) -> u64 {
        self.regs.get(index).copied().unwrap_or(0)
    }

    /// Sets register `index`.
    ///
    /// # Errors
    /// `EINVAL` for an address that no guest can have or a kind that is not offered; `EIO` for registers 4 and 5.
    pub(crate) fn set(&mut self, index: usize, value: u64) -> Result<()> {
        match index {
            0..COUNT if value >> 47 != 0 => return Err(Errno::EINVAL),
            CONTROL => {
                let has_io = (0..COUNT).any(|slot| is_enabled(value, slot) && kind(value, slot) == KIND_IO);
                if has_io {
                    return Err(Errno::EINVAL);
                }
            }
            0..COUNT | STATUS => {}
            _ => return Err(Errno::EIO),
        }
        self.regs[index] = value;
        Ok(())
    }

    fn enabled(&self) -> impl Iterator<Item = usize> + '_ {
        (0..COUNT).filter(|slot| is_enabled(self.regs[CONTROL], *slot))
    }

    pub(super) fn is_watching(&self) -> bool {
        self.enabled().next().is_some()
    }
}

fn is_enabled(control: u64, slot: usize) -> bool {
    control >> (slot * 2) & 3 != 0
}

fn kind(control: u64, slot: usize) -> u64 {
    control >> (16 + slot * 4) & 3
}

fn len(control: u64, slot: usize) -> usize {
    match control >> (18 + slot * 4) & 3 {
        0 => 1,
        1 => 2,
        3 => 4,
        _ => 8,
    }
}

impl CurrentTask {
    /// Whether the next run of guest code is to be of one instruction, for a tracer.
    pub(in crate::task) fn must_step(&self) -> bool {
        self.is_traced() && (self.is_stepped || self.trace.lock().debug.is_watching())
    }

    /// Notes the values that are watched, before guest code runs.
    pub(in crate::task) fn note_watched(&mut self) {
        let mut debug = self.trace.lock().debug;
        if !debug.is_watching() {
            return;
        }
        for slot in 0..COUNT {
            debug.values[slot] = self.watched_value(&debug, slot);
        }
        self.trace.lock().debug.values = debug.values;
    }

    fn watched_value(&self, debug: &DebugRegs, slot: usize) -> u64 {
        let mut bytes = [0; 8];
        let len = len(debug.regs[CONTROL], slot);
        match self.mm().read(UserAddr(debug.regs[slot]), &mut bytes[..len]) {
            Ok(()) => u64::from_ne_bytes(bytes),
            Err(_) => 0,
        }
    }

    /// An exception with `SIGTRAP`: says whether it was a step of the tracer's and is dealt with.
    pub(in crate::task) fn trace_trap(&mut self, exception: Exception) -> bool {
        if exception.code != abi::signal::TRAP_TRACE || !self.must_step() {
            return false;
        }
        self.regs.rflags &= !FLAG_TF;
        let debug = self.trace.lock().debug;
        let mut hits = 0;
        for slot in debug.enabled() {
            let is_hit = if kind(debug.regs[CONTROL], slot) == KIND_EXECUTE {
                self.regs.rip == debug.regs[slot]
            } else {
                self.watched_value(&debug, slot) != debug.values[slot]
            };
            hits |= u64::from(is_hit) << slot;
        }
        let step = if self.is_stepped { DR6_STEP } else { 0 };
        if hits | step == 0 {
            return true;
        }
        self.trace.lock().debug.regs[STATUS] = hits | step;
        let code = if hits != 0 { abi::signal::TRAP_HWBKPT } else { abi::signal::TRAP_TRACE };
        self.force_signal(SigInfo::from_fault(Signal::TRAP, code, self.regs.rip));
        true
    }
}
