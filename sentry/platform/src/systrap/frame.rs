//! The kernel's signal frame (`struct rt_sigframe`), where a stopped guest thread's registers lie.
//!
//! It stands in the thread's area, which the guest can write: everything here is read once, checked, and taken as the
//! guest's own statement about itself.

use abi::seccomp::AUDIT_ARCH_X86_64;
use abi::{Regs, Result};
use host::memory::VolatileSlice;
use stub::layout::{
    AREA_FIRST_FRAME, AREA_SIGNAL_STACK, AREA_STACK, CALL_WORDS, FRAME_RIP, IMAGE, INTERRUPT, SLOT_SIZE,
};
use stub::{Entry, address_of};

use super::xstate::{Layout, TRAILER};
use crate::{Event, Exception, Fault};

// Offsets in the frame: a return address, `struct ucontext` with `struct sigcontext`, `siginfo_t`.
const UC_FLAGS: usize = 8;
const UC_STACK: usize = 24;
const GREGS: usize = 48;
const SELECTORS: usize = 192;
const ERROR: usize = 200;
const TRAP: usize = 208;
const CR2: usize = 224;
const FPSTATE: usize = 232;
const UC_SIGMASK: usize = 304;
const SIGINFO: usize = 312;
const SI_CODE: usize = SIGINFO + 8;
const SI_ADDR: usize = SIGINFO + 16;
const SI_SYSCALL: usize = SIGINFO + 24;
const SI_ARCH: usize = SIGINFO + 28;
/// Bytes of the frame that we look at.
const USED: usize = SIGINFO + 32;

/// Where a frame of our making has its extended state, from its start on; aligned as XRSTOR wants it.
const OUR_XSTATE: usize = 448;

/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`.
const ALL_FLAGS: u64 = 7;
const PAGE_FAULT: u64 = 14;
/// Bits of a page fault's error code.
const FAULT_WRITE: u64 = 1 << 1;
const FAULT_FETCH: u64 = 1 << 4;

/// Why a thread came to the door, and with which registers.
pub(super) struct Stop {
    /// What happened.
    pub(super) event: Event,
    /// General registers, except for the segment bases, which are not in the frame.
    pub(super) regs: Regs,
    /// Where the extended state lies in the area, if it does.
    pub(super) xstate: Option<usize>,
}

/// Where in an area the frame at `address` lies, if it lies there whole.
pub(super) fn locate(address: u64, area_address: u64) -> Option<usize> {
    let offset = address.checked_sub(area_address)?;
    (address.is_multiple_of(8) && offset <= SLOT_SIZE - USED as u64).then_some(offset as usize)
}

/// Reads the frame at `offset`.
pub(super) fn read(
    area: &VolatileSlice<'_>,
    area_address: u64,
    offset: usize,
    layout: &Layout,
) -> Result<Stop> {
    let mut frame = [0; USED];
    area.sub(offset, USED)?.read(&mut frame)?;
    let mut regs = general_registers(&frame[GREGS..GREGS + 8 * CALL_WORDS]);
    let event = event(&frame, &mut regs);
    let xstate = word(&frame, FPSTATE)
        .checked_sub(area_address)
        .filter(|at| at.is_multiple_of(64) && *at <= SLOT_SIZE - (layout.size + TRAILER) as u64)
        .map(|at| at as usize);
    Ok(Stop { event, regs, xstate })
}

/// Writes general registers into the frame at `offset`.
pub(super) fn write_registers(area: &VolatileSlice<'_>, offset: usize, regs: &Regs) -> Result<()> {
    let mut bytes = [0; SELECTORS + 8 - GREGS];
    let (general, selectors) = bytes.split_at_mut(8 * CALL_WORDS);
    general.copy_from_slice(&general_words(regs));
    // cs and ss of 64-bit user code, whatever was asked for.
    selectors.copy_from_slice(&(Regs::USER_CS | Regs::USER_SS << 48).to_le_bytes());
    area.sub(offset + GREGS, bytes.len())?.write(&bytes).map(|_| ())
}

/// Builds a frame for a thread that has none, with `xstate` as extended state; returns where both lie. The general
/// registers are still to be written.
pub(super) fn write_first(
    area: &VolatileSlice<'_>,
    area_address: u64,
    layout: &Layout,
    xstate: Vec<u8>,
) -> Result<(usize, usize)> {
    let offset = AREA_FIRST_FRAME as usize;
    let mut frame = [0; OUR_XSTATE];
    let mut put = |at: usize, word: u64| frame[at..at + 8].copy_from_slice(&word.to_le_bytes());
    put(UC_FLAGS, ALL_FLAGS);
    put(UC_STACK, area_address + AREA_SIGNAL_STACK);
    put(UC_STACK + 16, SLOT_SIZE - AREA_SIGNAL_STACK);
    put(FPSTATE, area_address + (offset + OUR_XSTATE) as u64);
    area.sub(offset, frame.len())?.write(&frame)?;
    let image = layout.to_frame(xstate);
    area.sub(offset + OUR_XSTATE, image.len())?.write(&image)?;
    Ok((offset, offset + OUR_XSTATE))
}

/// Puts into a wiped area what a thread needs to get to the door as if it had never run guest code: a header, and a frame
/// with all signals blocked and the initial extended state. It says `turn` there.
pub(super) fn write_restart(area: &VolatileSlice<'_>, area_address: u64, turn: u32) -> Result<()> {
    let offset = AREA_FIRST_FRAME as usize;
    let regs = Regs {
        rip: address_of(Entry::DoorCall, IMAGE),
        r12: area_address,
        r10: turn.into(),
        rsp: area_address + SLOT_SIZE,
        rflags: 1 << 1 | 1 << 9,
        ..Regs::default()
    };
    write_registers(area, offset, &regs)?;
    let at = |field: usize| offset + field;
    area.store_u64(at(UC_FLAGS), ALL_FLAGS)?;
    area.store_u64(at(UC_STACK), area_address + AREA_SIGNAL_STACK)?;
    area.store_u64(at(UC_STACK + 16), SLOT_SIZE - AREA_SIGNAL_STACK)?;
    area.store_u64(at(UC_SIGMASK), u64::MAX)?;
    // The stub calls `rt_sigreturn` with the stack pointer behind the frame's return address.
    area.store_u64(AREA_STACK as usize, area_address + at(UC_FLAGS) as u64)
}

/// General registers in the order of `sigcontext`, flags last.
pub(super) fn general_words(regs: &Regs) -> [u8; 8 * CALL_WORDS] {
    let words = [
        regs.r8,
        regs.r9,
        regs.r10,
        regs.r11,
        regs.r12,
        regs.r13,
        regs.r14,
        regs.r15,
        regs.rdi,
        regs.rsi,
        regs.rbp,
        regs.rbx,
        regs.rdx,
        regs.rax,
        regs.rcx,
        regs.rsp,
        regs.rip,
        // The kernel takes the flags a user may set and ignores the others.
        regs.rflags,
    ];
    let mut bytes = [0; 8 * CALL_WORDS];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The registers that [`general_words`] wrote.
pub(super) fn general_registers(words: &[u8]) -> Regs {
    let greg = |index: usize| word(words, 8 * index);
    Regs {
        r8: greg(0),
        r9: greg(1),
        r10: greg(2),
        r11: greg(3),
        r12: greg(4),
        r13: greg(5),
        r14: greg(6),
        r15: greg(7),
        rdi: greg(8),
        rsi: greg(9),
        rbp: greg(10),
        rbx: greg(11),
        rdx: greg(12),
        rax: greg(13),
        rcx: greg(14),
        rsp: greg(15),
        rip: greg(16),
        rflags: greg(17),
        cs: Regs::USER_CS,
        ss: Regs::USER_SS,
        orig_rax: u64::MAX,
        ..Regs::default()
    }
}

fn event(frame: &[u8; USED], regs: &mut Regs) -> Event {
    let signal = half(frame, SIGINFO) as i32;
    let code = half(frame, SI_CODE) as i32;
    let (addr, trap, error) = (word(frame, SI_ADDR), word(frame, TRAP), word(frame, ERROR));
    match signal {
        libc::SIGSYS if half(frame, SI_ARCH) == AUDIT_ARCH_X86_64 => {
            // `rax` holds the number, except where the host emulated a call of the vsyscall page.
            regs.orig_rax = u64::from(half(frame, SI_SYSCALL));
            Event::Syscall
        }
        libc::SIGSYS => {
            regs.orig_rax = u64::from(half(frame, SI_SYSCALL));
            Event::CompatSyscall
        }
        libc::SIGSEGV | libc::SIGBUS => {
            let is_page_fault = trap == PAGE_FAULT;
            let addr = match (is_page_fault, signal) {
                (true, _) => word(frame, CR2),
                (false, libc::SIGBUS) => addr,
                (false, _) => 0,
            };
            let write = is_page_fault && error & FAULT_WRITE != 0;
            let execute = is_page_fault && error & FAULT_FETCH != 0;
            Event::Fault(Fault { addr, write, execute, signal, code, trap, error })
        }
        libc::SIGFPE | libc::SIGILL | libc::SIGTRAP => {
            Event::Exception(Exception { signal, code, addr, trap, error })
        }
        INTERRUPT => Event::Interrupted,
        _ => Event::Died("a guest thread made up a signal".into()),
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn half(bytes: &[u8; USED], at: usize) -> u32 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(half)
}

// Behind the return address that the handler's stack pointer points to, too.
const _: () = assert!(FRAME_RIP as usize == GREGS + 8 * 16);
