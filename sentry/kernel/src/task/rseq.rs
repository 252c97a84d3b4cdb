//! Restartable sequences: rseq(2) (`Documentation/userspace-api/rseq.rst` and `kernel/rseq.c` in Linux's tree).
//!
//! A registered area shows the processor that the thread runs on. The host's scheduler is not ours, so a thread may
//! move without our hearing of it; guests see processor 0 there, which they may share with other threads only as long
//! as a critical section is aborted whenever it could have been interrupted: at each signal. Because that does not
//! hold for preemption, the area keeps `cpu_id` at -1 ("not registered for use") on more than one processor.

use abi::{Result, SigInfo, Signal, UserAddr};

use super::{CurrentTask, RseqArea};

/// Field offsets in `struct rseq`.
const CPU_ID_START: u64 = 0;
const CPU_ID: u64 = 4;
const CRITICAL_SECTION: u64 = 8;
const NODE_ID: u64 = 20;
const MM_CID: u64 = 24;
/// The size of the original structure; longer ones have the later fields.
pub const RSEQ_MIN_LEN: u32 = 32;

/// `struct rseq_cs`.
#[derive(Clone, Copy, Debug, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
struct CriticalSection {
    version: u32,
    flags: u32,
    start_ip: u64,
    post_commit_offset: u64,
    abort_ip: u64,
}

impl CurrentTask {
    /// Brings the registered area up to date; what cannot be written is deadly, as on Linux.
    pub(super) fn update_rseq(&mut self) {
        let Some(area) = self.details.lock().rseq else { return };
        if self.write_rseq(&area).is_err() {
            self.force_signal(SigInfo::from_fault(Signal::SEGV, abi::signal::SI_KERNEL, area.addr.0));
        }
    }

    fn write_rseq(&self, area: &RseqArea) -> Result<()> {
        let mm = self.mm();
        let at = |offset: u64| UserAddr(area.addr.0.wrapping_add(offset));
        let cpu = self.current_cpu();
        mm.write_object(at(CPU_ID_START), &cpu)?;
        mm.write_object(at(CPU_ID), &cpu)?;
        mm.write_object(at(NODE_ID), &0_u32)?;
        mm.write_object(at(MM_CID), &0_u32)
    }

    /// The processor that guests are told: the lowest that the task may run on.
    #[must_use]
    pub fn current_cpu(&self) -> u32 {
        let details = self.details.lock();
        let mut first = 0;
        for word in &details.affinity {
            if *word != 0 {
                return first + word.trailing_zeros();
            }
            first += 64;
        }
        0
    }

    /// Sends a critical section that a signal interrupts to its abort handler.
    pub(crate) fn abort_rseq(&mut self) {
        let Some(area) = self.details.lock().rseq else { return };
        if self.try_abort_rseq(&area).is_err() {
            self.force_signal(SigInfo::from_fault(Signal::SEGV, abi::signal::SI_KERNEL, area.addr.0));
        }
    }

    fn try_abort_rseq(&mut self, area: &RseqArea) -> Result<()> {
        let mm = self.mm();
        let pointer_at = UserAddr(area.addr.0.wrapping_add(CRITICAL_SECTION));
        let pointer: u64 = mm.read_object(pointer_at)?;
        if pointer == 0 {
            return Ok(());
        }
        let section: CriticalSection = mm.read_object(UserAddr(pointer))?;
        let is_inside = self.regs.rip.wrapping_sub(section.start_ip) < section.post_commit_offset;
        mm.write_object(pointer_at, &0_u64)?;
        if !is_inside {
            return Ok(());
        }
        let signature: u32 = mm.read_object(UserAddr(section.abort_ip.wrapping_sub(4)))?;
        let is_sound = section.version == 0 && signature == area.signature;
        let aborts_itself = section.abort_ip.wrapping_sub(section.start_ip) < section.post_commit_offset;
        if !is_sound || aborts_itself {
            return Err(abi::Errno::EINVAL);
        }
        self.regs.rip = section.abort_ip;
        Ok(())
    }
}
