//! Memory accesses that survive a fault, and the signal handler that makes them do so.
//!
//! Each routine has exactly one instruction that may fault, and is exported so that it is there for the table below. The handler compares the faulting `rip` with those
//! addresses and continues behind the instruction, where the routine reports the failure. Any other SIGSEGV or SIGBUS
//! is a bug of ours: the default action is restored and the instruction runs again, so that the process dies of it.

use std::arch::naked_asm;
use std::sync::Once;

/// Copies `len` bytes; returns how many were *not* copied (0 = all).
///
/// # Safety
/// Each side must be valid for `len` bytes or lie in a [`super::memory::Mapping`].
#[unsafe(naked)]
#[unsafe(export_name = "host_copy")]
pub(crate) unsafe extern "C" fn copy(to: *mut u8, from: *const u8, len: usize) -> usize {
    naked_asm!(
        "mov rcx, rdx",
        ".globl host_fault_copy",
        "host_fault_copy:",
        "rep movsb",
        ".globl host_fixup_copy",
        "host_fixup_copy:",
        "mov rax, rcx",
        "ret"
    )
}

/// Zeroes `len` bytes; returns how many were not.
///
/// # Safety
/// As [`copy`].
#[unsafe(naked)]
#[unsafe(export_name = "host_zero")]
pub(crate) unsafe extern "C" fn zero(to: *mut u8, len: usize) -> usize {
    naked_asm!(
        "mov rcx, rsi",
        "xor eax, eax",
        ".globl host_fault_zero",
        "host_fault_zero:",
        "rep stosb",
        ".globl host_fixup_zero",
        "host_fixup_zero:",
        "mov rax, rcx",
        "ret"
    )
}

/// The low half is the value, bit 32 tells of a fault.
#[unsafe(naked)]
#[unsafe(export_name = "host_raw_load")]
unsafe extern "C" fn raw_load(from: *const u32) -> u64 {
    naked_asm!(
        ".globl host_fault_load",
        "host_fault_load:",
        "mov eax, [rdi]",
        "ret",
        ".globl host_fixup_load",
        "host_fixup_load:",
        "mov rax, 0x100000000",
        "ret"
    )
}

#[unsafe(naked)]
#[unsafe(export_name = "host_raw_compare_exchange")]
unsafe extern "C" fn raw_compare_exchange(at: *mut u32, old: u32, new: u32) -> u64 {
    naked_asm!(
        "mov eax, esi",
        ".globl host_fault_cas",
        "host_fault_cas:",
        "lock cmpxchg [rdi], edx",
        "mov eax, eax",
        "ret",
        ".globl host_fixup_cas",
        "host_fixup_cas:",
        "mov rax, 0x100000000",
        "ret"
    )
}

#[unsafe(naked)]
#[unsafe(export_name = "host_raw_store")]
unsafe extern "C" fn raw_store(at: *mut u32, value: u32) -> u64 {
    naked_asm!(
        "xor eax, eax",
        ".globl host_fault_store",
        "host_fault_store:",
        "mov [rdi], esi",
        "ret",
        ".globl host_fixup_store",
        "host_fixup_store:",
        "mov eax, 1",
        "ret"
    )
}

/// Stores; says whether that faulted.
///
/// # Safety
/// `at` must be aligned and in a mapping.
pub(crate) unsafe fn store_u32(at: *mut u32, value: u32) -> bool {
    // SAFETY: forwarded.
    unsafe { raw_store(at, value) != 0 }
}

/// Stores; returns 1 on a fault.
#[unsafe(naked)]
#[unsafe(export_name = "host_raw_store64")]
unsafe extern "C" fn raw_store64(at: *mut u64, value: u64) -> u64 {
    naked_asm!(
        "xor eax, eax",
        ".globl host_fault_store64",
        "host_fault_store64:",
        "mov [rdi], rsi",
        "ret",
        ".globl host_fixup_store64",
        "host_fixup_store64:",
        "mov eax, 1",
        "ret"
    )
}

/// Stores; returns whether it faulted.
///
/// # Safety
/// `at` must be aligned and in a mapping.
pub(crate) unsafe fn store_u64(at: *mut u64, value: u64) -> bool {
    // SAFETY: forwarded.
    unsafe { raw_store64(at, value) != 0 }
}

/// Loads; the flag tells of a fault.
///
/// # Safety
/// `from` must be aligned and in a mapping.
pub(crate) unsafe fn load_u32(from: *const u32) -> (u32, bool) {
    // SAFETY: forwarded.
    let raw = unsafe { raw_load(from) };
    (raw as u32, raw >> 32 != 0)
}

/// Compares and exchanges; the flag tells of a fault.
///
/// # Safety
/// `at` must be aligned and in a mapping.
pub(crate) unsafe fn compare_exchange_u32(at: *mut u32, old: u32, new: u32) -> (u32, bool) {
    // SAFETY: forwarded.
    let raw = unsafe { raw_compare_exchange(at, old, new) };
    (raw as u32, raw >> 32 != 0)
}

/// Clears the bits that `mask` has not, in one step; returns 1 on a fault.
#[unsafe(naked)]
#[unsafe(export_name = "host_raw_and")]
unsafe extern "C" fn raw_and(at: *mut u32, mask: u32) -> u64 {
    naked_asm!(
        "xor eax, eax",
        ".globl host_fault_and",
        "host_fault_and:",
        "lock and [rdi], esi",
        "ret",
        ".globl host_fixup_and",
        "host_fixup_and:",
        "mov eax, 1",
        "ret"
    )
}

/// Clears the bits that `mask` has not; returns whether it faulted.
///
/// # Safety
/// `at` must be aligned and in a mapping.
pub(crate) unsafe fn and_u32(at: *mut u32, mask: u32) -> bool {
    // SAFETY: forwarded.
    unsafe { raw_and(at, mask) != 0 }
}

unsafe extern "C" {
    static host_fault_copy: u8;
    static host_fixup_copy: u8;
    static host_fault_zero: u8;
    static host_fixup_zero: u8;
    static host_fault_load: u8;
    static host_fixup_load: u8;
    static host_fault_store: u8;
    static host_fixup_store: u8;
    static host_fault_cas: u8;
    static host_fixup_cas: u8;
    static host_fault_store64: u8;
    static host_fixup_store64: u8;
    static host_fault_and: u8;
    static host_fixup_and: u8;
}

fn fixup(rip: usize) -> Option<usize> {
    let table = [
        (&raw const host_fault_copy, &raw const host_fixup_copy),
        (&raw const host_fault_zero, &raw const host_fixup_zero),
        (&raw const host_fault_load, &raw const host_fixup_load),
        (&raw const host_fault_store, &raw const host_fixup_store),
        (&raw const host_fault_cas, &raw const host_fixup_cas),
        (&raw const host_fault_store64, &raw const host_fixup_store64),
        (&raw const host_fault_and, &raw const host_fixup_and),
    ];
    table.into_iter().find(|(at, _)| *at as usize == rip).map(|(_, to)| to as usize)
}

extern "C" fn on_fault(signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `ucontext_t` to an SA_SIGINFO handler, and it is ours until we return.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let rip = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
    if let Some(to) = fixup(*rip as usize) {
        *rip = to as i64;
        return;
    }
    // SAFETY: resetting a signal to its default action is async-signal-safe; the instruction faults again and kills us.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Makes faults in shared memory into `EFAULT`. Once a process; later calls do nothing.
pub fn install_fault_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: an all-zero sigaction is a valid value; the handler touches only its own arguments.
            let result = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_fault as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                libc::sigaction(signal, &action, std::ptr::null_mut())
            };
            assert_eq!(result, 0, "sigaction on SIGSEGV and SIGBUS cannot fail");
        }
    });
}
