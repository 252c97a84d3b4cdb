//! The stub's code.
//!
//! Three routines, none of which has a stack or reads memory that a guest can write, except where it is that guest's
//! own state:
//!
//! - `boot`: the zygote's first steps: unmap everything but this code, map it at its final place.
//! - `operator`: a loop that carries out the commands of a ring that only the sentry can write. The zygote, and a
//!   stub's spawner and helper threads, never leave it. `r12` ring, `r13` next command, `r14` first error, `r15` its
//!   index, `rbp` the result to report.
//! - `handler`: the signal handler of guest threads: tell the sentry, by the state word if it watches that and else at
//!   the door, then return through the frame.
//!
//! Each `syscall` instruction that a guest thread may execute is a *site* with a filter test of its own.

use core::arch::global_asm;

use crate::layout::{
    AREA_EVENT_FRAME, AREA_EVENT_FS, AREA_EVENT_GS, AREA_FS, AREA_GS, AREA_STACK, AREA_STATE, CONSTANTS,
    DOOR_NR, ENTRY_ARGS, ENTRY_EXTRA, ENTRY_FLAGS, ENTRY_NR, FD_CONTROL, FD_TRANSIENT, FLAG_ALWAYS,
    FLAG_CHILD, FLAG_DOOR, FLAG_ENTER, FLAG_EXPECT, FLAG_KEEP, FLAG_ON_ERROR, IMAGE, IMAGE_SIZE,
    RING_ENTRIES, RING_MASK, RING_TAIL, SLOT_SIZE, SLOT0_CONSTANTS, SLOT0_RING, STATE_ASLEEP, STATE_EVENT,
    STATE_WATCHED, STUB_SPINS, TASK_END, ZYGOTE_RING,
};

global_asm!(
    ".pushsection .rodata.stub_image,\"a\",@progbits",
    ".p2align 12",
    ".globl stub_image_start",
    ".hidden stub_image_start",
    "stub_image_start:",

    // rdi: where this copy of the image lies.
    ".globl stub_boot",
    ".hidden stub_boot",
    "stub_boot:",
    "mov rbx, rdi",
    "mov eax, 11",                      // munmap(0, rbx)
    "xor edi, edi",
    "mov rsi, rbx",
    "syscall",
    "test rax, rax",
    "jnz 9f",
    "lea rdi, [rbx + {image_size}]",    // munmap(end of this copy, to the end)
    "mov rsi, {task_end}",
    "sub rsi, rdi",
    "mov eax, 11",
    "syscall",
    "test rax, rax",
    "jnz 9f",
    "mov rdi, {image}",                 // mmap(IMAGE, ..., PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, 3, 0)
    "mov esi, {image_size}",
    "mov edx, 5",
    "mov r10d, 0x11",
    "mov r8d, {fd_transient}",
    "xor r9d, r9d",
    "mov eax, 9",
    "syscall",
    "cmp rax, rdi",
    "jne 9f",
    "mov edi, {fd_transient}",          // close(3)
    "mov eax, 3",
    "syscall",
    "mov rdi, {constants}",             // mmap(CONSTANTS, ..., PROT_READ, MAP_SHARED | MAP_FIXED, 1, ...)
    "mov esi, 4096",
    "mov edx, 1",
    "mov r10d, 0x11",
    "mov r8d, {fd_control}",
    "mov r9d, {slot0_constants}",
    "mov eax, 9",
    "syscall",
    "cmp rax, rdi",
    "jne 9f",
    "mov rdi, {zygote_ring}",
    "mov r9d, {slot0_ring}",
    "mov eax, 9",
    "syscall",
    "cmp rax, rdi",
    "jne 9f",
    "mov r12, {zygote_ring}",
    "xor eax, eax",
    "wrfsbase rax",
    "wrgsbase rax",
    "xor esp, esp",
    "lea rcx, [rip + stub_operator]",   // to the operator of the new copy
    "lea rdx, [rip + stub_image_start]",
    "sub rcx, rdx",
    "mov rax, {image}",
    "add rax, rcx",
    "jmp rax",
    "9: ud2",

    // r12: the ring.
    ".p2align 6",
    "stub_operator:",
    "xor r13d, r13d",
    "xor r14d, r14d",
    "xor r15d, r15d",
    "xor ebp, ebp",
    "2:",
    "mov eax, [r12 + {ring_tail}]",
    "cmp eax, r13d",
    "jne 3f",
    "lea rdi, [r12 + {ring_tail}]",     // futex(tail, FUTEX_WAIT, head, no timeout)
    "xor esi, esi",
    "mov edx, r13d",
    "xor r10d, r10d",
    "mov eax, 202",
    "syscall",
    "jmp 2b",
    "3:",
    "mov eax, r13d",
    "inc r13d",
    "and eax, [r12 + {ring_mask}]",
    "shl eax, 6",
    "lea rbx, [r12 + rax + {ring_entries}]",
    "mov ecx, [rbx + {entry_flags}]",
    "test ecx, {door}",
    "jnz 6f",
    "test ecx, {enter}",
    "jnz 7f",
    "test ecx, {on_error}",
    "jnz 31f",
    "test r14, r14",
    "jz 4f",
    "test ecx, {always}",
    "jz 2b",
    "jmp 4f",
    "31:",
    "test r14, r14",
    "jz 2b",
    "xor r14d, r14d",
    "4:",
    "mov eax, [rbx + {entry_nr}]",
    "mov rdi, [rbx + {entry_args}]",
    "mov rsi, [rbx + {entry_args} + 8]",
    "mov rdx, [rbx + {entry_args} + 16]",
    "mov r10, [rbx + {entry_args} + 24]",
    "mov r8, [rbx + {entry_args} + 32]",
    "mov r9, [rbx + {entry_args} + 40]",
    "syscall",
    "mov ecx, [rbx + {entry_flags}]",
    "test ecx, {child}",
    "jz 5f",
    "test rax, rax",
    "jnz 5f",
    "mov r12, [rbx + {entry_extra}]",
    "jmp stub_operator",
    "5:",
    "test ecx, {expect}",
    "jz 51f",
    "cmp rax, [rbx + {entry_extra}]",
    "jne 9f",
    "51:",
    "test ecx, {keep}",
    "jz 52f",
    "mov rbp, rax",
    "52:",
    "test ecx, {always}",
    "jnz 2b",
    "cmp rax, -4095",
    "jb 2b",
    "mov r14, rax",
    "mov r15d, r13d",
    "jmp 2b",
    "6:",                               // door(first error, its index, kept result)
    "mov rdi, r14",
    "mov rsi, r15",
    "mov rdx, rbp",
    "mov eax, {door_nr}",
    "syscall",
    ".globl stub_site_helper_door",
    ".hidden stub_site_helper_door",
    "stub_site_helper_door:",
    "xor r14d, r14d",
    "xor r15d, r15d",
    "xor ebp, ebp",
    "jmp 2b",
    "7:",
    "mov rsp, [rbx + {entry_args}]",
    "mov r12, rsp",
    "and r12, -{slot_size}",
    "xor edi, edi",                     // no frame yet
    "jmp 8f",
    "9: ud2",

    // A signal: rsp is the frame, in this thread's area.
    ".p2align 6",
    ".globl stub_handler",
    ".hidden stub_handler",
    "stub_handler:",
    "mov r12, rsp",
    "and r12, -{slot_size}",
    "mov rdi, rsp",
    "rdfsbase rsi",
    "rdgsbase rdx",
    "mov eax, {watched}",
    "cmp [r12 + {area_state}], eax",
    "jne 8f",
    "mov [r12 + {event_frame}], rdi",   // the sentry watches: post the event and watch, too
    "mov [r12 + {event_fs}], rsi",
    "mov [r12 + {event_gs}], rdx",
    "mov ecx, {event}",
    "lock cmpxchg [r12 + {area_state}], ecx",
    "jne 8f",
    "mov ecx, {spins}",
    "81:",
    "pause",
    "cmp dword ptr [r12 + {area_state}], {event}",
    "jne 82f",
    "dec ecx",
    "jnz 81b",
    "mov eax, {event}",
    "mov ecx, {asleep}",
    "lock cmpxchg [r12 + {area_state}], ecx",
    "jne 82f",
    "8:",                               // door(frame, fs base, gs base)
    "mov eax, {door_nr}",
    "syscall",
    ".globl stub_site_door",
    ".hidden stub_site_door",
    "stub_site_door:",
    "test rax, rax",
    "jnz 83f",
    "82:",
    "mov rax, [r12 + {area_fs}]",
    "wrfsbase rax",
    "mov rax, [r12 + {area_gs}]",
    "wrgsbase rax",
    "mov rsp, [r12 + {area_stack}]",
    "mov eax, 15",
    "syscall",
    ".globl stub_site_sigreturn",
    ".hidden stub_site_sigreturn",
    "stub_site_sigreturn:",
    ".globl stub_restorer",
    ".hidden stub_restorer",
    "stub_restorer:",
    "ud2",
    "83:",                              // not wanted any more: exit(0), of this thread alone
    "xor edi, edi",
    "mov eax, 60",
    "syscall",
    ".globl stub_site_exit",
    ".hidden stub_site_exit",
    "stub_site_exit:",
    "ud2",
    ".globl stub_image_end",
    ".hidden stub_image_end",
    "stub_image_end:",
    ".org stub_image_start + {image_size}, 0xcc", // an error where the code outgrew it
    ".popsection",
    image = const IMAGE,
    image_size = const IMAGE_SIZE,
    task_end = const TASK_END,
    constants = const CONSTANTS,
    zygote_ring = const ZYGOTE_RING,
    fd_transient = const FD_TRANSIENT,
    fd_control = const FD_CONTROL,
    slot0_constants = const SLOT0_CONSTANTS,
    slot0_ring = const SLOT0_RING,
    slot_size = const SLOT_SIZE,
    ring_tail = const RING_TAIL,
    ring_mask = const RING_MASK,
    ring_entries = const RING_ENTRIES,
    entry_nr = const ENTRY_NR,
    entry_flags = const ENTRY_FLAGS,
    entry_args = const ENTRY_ARGS,
    entry_extra = const ENTRY_EXTRA,
    child = const FLAG_CHILD,
    expect = const FLAG_EXPECT,
    always = const FLAG_ALWAYS,
    keep = const FLAG_KEEP,
    on_error = const FLAG_ON_ERROR,
    door = const FLAG_DOOR,
    enter = const FLAG_ENTER,
    door_nr = const DOOR_NR,
    area_state = const AREA_STATE,
    event_frame = const AREA_EVENT_FRAME,
    event_fs = const AREA_EVENT_FS,
    event_gs = const AREA_EVENT_GS,
    watched = const STATE_WATCHED,
    event = const STATE_EVENT,
    asleep = const STATE_ASLEEP,
    spins = const STUB_SPINS,
    area_fs = const AREA_FS,
    area_gs = const AREA_GS,
    area_stack = const AREA_STACK,
);

unsafe extern "C" {
    static stub_image_start: u8;
    static stub_image_end: u8;
    static stub_boot: u8;
    static stub_handler: u8;
    static stub_restorer: u8;
    static stub_site_helper_door: u8;
    static stub_site_door: u8;
    static stub_site_sigreturn: u8;
    static stub_site_exit: u8;
}

/// A place in the image that the sentry must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Where a copy of the image starts the zygote; takes the copy's address in `rdi`.
    Boot,
    /// The signal handler.
    Handler,
    /// What the kernel is told is the handler's return address; nobody returns there.
    Restorer,
    /// Behind the helper's door call.
    HelperDoor,
    /// Behind a guest thread's door call.
    Door,
    /// Behind a guest thread's `rt_sigreturn`.
    SigReturn,
    /// Behind a guest thread's `exit`.
    Exit,
}

/// The image's bytes.
#[must_use]
pub fn image() -> &'static [u8] {
    let start = &raw const stub_image_start;
    let len = (&raw const stub_image_end) as usize - start as usize;
    // SAFETY: the two symbols delimit one section of read-only data.
    unsafe { core::slice::from_raw_parts(start, len) }
}

/// Where `entry` lies in the image, from its start.
fn offset(entry: Entry) -> u64 {
    let symbol = match entry {
        Entry::Boot => &raw const stub_boot,
        Entry::Handler => &raw const stub_handler,
        Entry::Restorer => &raw const stub_restorer,
        Entry::HelperDoor => &raw const stub_site_helper_door,
        Entry::Door => &raw const stub_site_door,
        Entry::SigReturn => &raw const stub_site_sigreturn,
        Entry::Exit => &raw const stub_site_exit,
    };
    (symbol as usize - (&raw const stub_image_start) as usize) as u64
}

/// Where `entry` lies in a process that has the image at `base` (a stub has it at [`IMAGE`]).
#[must_use]
pub fn address_of(entry: Entry, base: u64) -> u64 {
    base + offset(entry)
}
