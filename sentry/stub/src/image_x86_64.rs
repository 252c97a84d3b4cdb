//! The stub's code.
//!
//! Four routines, none of which has a stack or reads memory that a guest can write, except where it is that guest's
//! own state:
//!
//! - `boot`: the zygote's first steps: unmap everything but this code, map it at its final place.
//! - `operator`: a loop that carries out the commands of a ring that only the sentry can write. The zygote, and a
//!   stub's spawner and helper threads, never leave it. `r12` ring, `r13` next command, `r14` first error, `r15` its
//!   index, `rbp` the result to report.
//! - `call`: where rewritten call sites end up (`docs/platform.md`), with the area's address in `r11` and that of the
//!   instruction behind the site in `rcx`. Answers the call from the area, posts it there, or saves the registers there.
//! - `handler`: the signal handler of guest threads.
//!
//! The last two tell the sentry, by the state word if it watches that and else at the door; `r12` is then the area and
//! `ebx` says which of them it was, and so how to go on: through the frame, or behind the call site.
//!
//! An interrupt that hits `call` on its way to the sentry is dropped by the handler, since the thread gets there anyway;
//! from the instruction that looks at `AREA_INTERRUPT` on it is not. `rsp` is a scratch register in `call`: signals
//! are handled on a stack of their own.
//!
//! Each `syscall` instruction that a guest thread may execute is a *site* with a filter test of its own.

use core::arch::global_asm;

use crate::layout::{
    ANSWER_NUMBERS, ANSWER_TABLE, AREA_ANSWERED, AREA_ANSWERS_HOLD, AREA_CALL, AREA_EVENT_FRAME,
    AREA_EVENT_FS, AREA_EVENT_GS, AREA_FS, AREA_GRANTS, AREA_GS, AREA_INPUT, AREA_INTERRUPT, AREA_LOG,
    AREA_POSTED, AREA_POSTED_RESULT, AREA_RESUME, AREA_STACK, AREA_STATE, AREA_TURN, CONSTANTS, DOOR_EXIT,
    DOOR_NR, ENTRY_ARGS, ENTRY_EXTRA, ENTRY_FLAGS, ENTRY_NR, FD_CONTROL, FD_TRANSIENT, FLAG_ALWAYS,
    FLAG_CHILD, FLAG_DOOR, FLAG_ENTER, FLAG_EXPECT, FLAG_KEEP, FLAG_ON_ERROR, FRAME_RIP, GRANTS, GUEST_END,
    IMAGE, IMAGE_SIZE, INTERRUPT, LOG_SIZE, MARK_CALL, MARK_INTERRUPTED, POST_FLAGS, POST_MESSAGE, POST_READ,
    POSTED_OPEN, RECORD_MESSAGE, RECORD_WRITE, RESUME_FRAME, RESUME_RAISE, RING_ENTRIES, RING_MASK,
    RING_TAIL, SLOT_SIZE, SLOT0_CONSTANTS, SLOT0_RING, STATE_ASLEEP, STATE_EVENT, STATE_WATCHED, STUB_SPINS,
    TASK_END, ZYGOTE_RING,
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
    "test rax, rax",                    // nobody is at the other side
    "jnz 9f",
    "xor r14d, r14d",
    "xor r15d, r15d",
    "xor ebp, ebp",
    "jmp 2b",
    "7:",
    "mov rsp, [rbx + {entry_args}]",
    "mov r12, rsp",
    "and r12, -{slot_size}",
    "xor edi, edi",                     // no frame yet
    "xor ebx, ebx",
    "jmp stub_door",
    "9: ud2",

    // A signal: edi is its number, rsp the frame, in this thread's area.
    ".p2align 6",
    ".globl stub_handler",
    ".hidden stub_handler",
    "stub_handler:",
    "cmp edi, {interrupt}",
    "jne 1f",
    "mov rax, [rsp + {frame_rip}]",
    "lea rcx, [rip + stub_call_save]",
    "cmp rax, rcx",
    "jb 1f",
    "lea rcx, [rip + stub_call_committed]",
    "cmp rax, rcx",
    "jae 1f",
    "add rsp, 8",                       // it is on its way to the sentry
    "jmp stub_sigreturn",
    "1:",
    "mov r12, rsp",
    "and r12, -{slot_size}",
    "mov rdi, rsp",
    "rdfsbase rsi",
    "rdgsbase rdx",
    "xor ebx, ebx",
    "jmp stub_tell",

    // A rewritten call site.
    ".p2align 6",
    ".globl stub_call",
    ".hidden stub_call",
    "stub_call:",
    "mov [r11 + {call} + 8 * 15], rsp",
    ".globl stub_call_has_rsp",
    ".hidden stub_call_has_rsp",
    "stub_call_has_rsp:",
    "lea rsp, [r11 + {call} + 8 * 18]",
    "pushfq",
    ".globl stub_call_has_flags",
    ".hidden stub_call_has_flags",
    "stub_call_has_flags:",
    "cmp rax, {answer_table}",
    "jae stub_call_save",
    "movabs rsp, {answer_numbers}",
    "movzx esp, byte ptr [rsp + rax]",
    "test esp, esp",
    "jz stub_call_save",
    "test esp, 7",
    "jnz stub_call_post",
    "cmp dword ptr [r11 + {answers_hold}], 0",
    "je stub_call_save",
    "inc qword ptr [r11 + {answered}]",
    "mov rax, [rsp + r11]",
    ".globl stub_call_answered",
    ".hidden stub_call_answered",
    "stub_call_answered:",
    "lea rsp, [r11 + {call} + 8 * 17]",
    "popfq",
    "mov rsp, [r11 + {call} + 8 * 15]",
    "mov r11, [r11 + {call} + 8 * 17]",
    "jmp rcx",

    // A call that may be posted, if the sentry has granted that; esp says which.
    ".globl stub_call_post",
    ".hidden stub_call_post",
    "stub_call_post:",
    "cmp dword ptr [r11 + {posted}], 0", // open is the sign bit
    "jge stub_call_save",
    "test esp, {post_message}",
    "jz 1f",
    "test r8, r8",                      // no address
    "jnz stub_call_save",
    "test r10d, {post_flags_not}",
    "jnz stub_call_save",
    "1:",
    "test rdx, rdx",
    "jz stub_call_save",
    "mov [r11 + {call}], r8",
    "mov [r11 + {call} + 8], r9",
    "mov [r11 + {call} + 8 * 2], r10",
    "mov [r11 + {call} + 8 * 8], rdi",
    "mov [r11 + {call} + 8 * 9], rsi",
    "mov [r11 + {call} + 8 * 12], rdx",
    "mov [r11 + {call} + 8 * 13], rax",
    "mov [r11 + {call} + 8 * 16], rcx",
    ".globl stub_call_post_saved",
    ".hidden stub_call_post_saved",
    "stub_call_post_saved:",
    "mov rax, rsi",                     // the kernel would refuse a buffer that leads beyond the guest's memory
    "add rax, rdx",
    "jc 9f",
    "movabs rcx, {guest_end}",
    "cmp rax, rcx",
    "ja 9f",
    "mov eax, edi",
    "and eax, {grants_mask}",
    "shl eax, 4",
    "lea r8, [r11 + rax + {grants}]",   // r8: the grant
    "cmp [r8], edi",
    "jne 9f",
    "mov eax, [r11 + {posted}]",        // eax: the word as it is, r9: the log's end
    "test eax, eax",                    // it may have been closed since we looked
    "jns 9f",
    "movzx r9d, ax",
    "test esp, {post_read}",
    "jz 2f",
    "movzx ecx, word ptr [r8 + 6]",     // ecx: how many bytes
    "cmp rdx, rcx",
    "cmovb ecx, edx",
    "test ecx, ecx",
    "jz 9f",
    "movzx edx, word ptr [r8 + 4]",
    "mov rdi, rsi",
    "lea rsi, [r11 + rdx + {input}]",
    "lea r10d, [r9 + 8]",               // r10: the log's new end
    "mov edx, ecx",                     // edx: as the record says it
    "jmp 3f",
    "2:",
    "mov ecx, [r8 + 8]",
    "cmp rdx, rcx",
    "ja 9f",
    "mov ecx, edx",
    "lea rdi, [r11 + r9 + {log} + 8]",
    "lea r10d, [r9 + rcx + 15]",
    "and r10d, -8",
    "or edx, {record_write}",
    "3:",
    "cmp r10d, {log_size}",
    "ja 9f",
    "or r10d, {posted_open}",
    "and esp, {post_message}",
    "shl esp, {message_shift}",
    "or edx, esp",
    "mov esp, [r8]",
    "mov [r11 + r9 + {log}], esp",
    "mov [r11 + r9 + {log} + 4], edx",
    "mov [r11 + {posted_result}], ecx",
    "cld",
    ".globl stub_call_post_copy",
    ".hidden stub_call_post_copy",
    "stub_call_post_copy:",
    "rep movsb",
    "lock cmpxchg [r11 + {posted}], r10d",
    ".globl stub_call_posted",
    ".hidden stub_call_posted",
    "stub_call_posted:",
    "jne 9f",
    "mov eax, [r11 + {posted_result}]",
    "test edx, edx",
    "js 4f",
    "add [r8 + 4], ax",
    "sub [r8 + 6], ax",
    "jmp 5f",
    "4:",
    "sub [r8 + 8], eax",
    "5:",
    "inc qword ptr [r11 + {answered}]",
    "mov r8, [r11 + {call}]",
    "mov r9, [r11 + {call} + 8]",
    "mov r10, [r11 + {call} + 8 * 2]",
    "mov rdi, [r11 + {call} + 8 * 8]",
    "mov rsi, [r11 + {call} + 8 * 9]",
    "mov rdx, [r11 + {call} + 8 * 12]",
    "mov rcx, [r11 + {call} + 8 * 16]",
    "jmp stub_call_answered",
    ".globl stub_call_post_undo",
    ".hidden stub_call_post_undo",
    "stub_call_post_undo:",
    "9:",
    "mov r8, [r11 + {call}]",
    "mov r9, [r11 + {call} + 8]",
    "mov r10, [r11 + {call} + 8 * 2]",
    "mov rdi, [r11 + {call} + 8 * 8]",
    "mov rsi, [r11 + {call} + 8 * 9]",
    "mov rdx, [r11 + {call} + 8 * 12]",
    "mov rax, [r11 + {call} + 8 * 13]",
    "mov rcx, [r11 + {call} + 8 * 16]",

    ".globl stub_call_save",
    ".hidden stub_call_save",
    "stub_call_save:",
    "mov [r11 + {call}], r8",
    "mov [r11 + {call} + 8], r9",
    "mov [r11 + {call} + 8 * 2], r10",
    "mov [r11 + {call} + 8 * 4], r12",
    "mov [r11 + {call} + 8 * 5], r13",
    "mov [r11 + {call} + 8 * 6], r14",
    "mov [r11 + {call} + 8 * 7], r15",
    "mov [r11 + {call} + 8 * 8], rdi",
    "mov [r11 + {call} + 8 * 9], rsi",
    "mov [r11 + {call} + 8 * 10], rbp",
    "mov [r11 + {call} + 8 * 11], rbx",
    "mov [r11 + {call} + 8 * 12], rdx",
    "mov [r11 + {call} + 8 * 13], rax",
    "mov [r11 + {call} + 8 * 16], rcx",
    "mov r12, r11",
    "mov edi, {mark_call}",
    "rdfsbase rsi",
    "rdgsbase rdx",
    "mov ebx, 1",

    // rdi: the frame or a mark, rsi and rdx: segment bases.
    "stub_tell:",
    "mov r10d, [r12 + {area_turn}]",    // what the sentry tells a repeated call of the door by
    "mov eax, {watched}",
    "cmp [r12 + {area_state}], eax",
    "jne stub_door",
    "mov [r12 + {event_frame}], rdi",   // the sentry watches: post the event and watch, too
    "mov [r12 + {event_fs}], rsi",
    "mov [r12 + {event_gs}], rdx",
    "mov ecx, {event}",
    "lock cmpxchg [r12 + {area_state}], ecx",
    "jne stub_door",
    "mov ecx, {spins}",
    "2:",
    "pause",
    "mov eax, [r12 + {area_state}]",
    "cmp eax, {event}",
    "jne 4f",
    "dec ecx",
    "jnz 2b",
    "mov ecx, {asleep}",                // eax still is the event's state
    "lock cmpxchg [r12 + {area_state}], ecx",
    "je stub_door",
    "4:",
    "cmp eax, {asleep}",                // the sentry is going to sleep itself
    "jne stub_go_on",
    ".globl stub_door",
    ".hidden stub_door",
    "stub_door:",                       // door(frame or mark, fs base, gs base, turn)
    "mov eax, {door_nr}",
    "syscall",
    ".globl stub_site_door",
    ".hidden stub_site_door",
    "stub_site_door:",
    "test rax, rax",
    "jz stub_go_on",
    "cmp rax, {door_exit}",
    "jle stub_exit",
    "mov r12, rax",                     // whatever the thread had in its registers: begin with this area's frame
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov fs, eax",
    "mov gs, eax",
    "jmp stub_return",
    "stub_go_on:",
    "test ebx, ebx",
    "jz stub_return",
    "cmp dword ptr [r12 + {resume}], {resume_raise}",
    "je stub_raise",
    "cmp dword ptr [r12 + {interrupt_wanted}], 0",
    ".globl stub_call_committed",
    ".hidden stub_call_committed",
    "stub_call_committed:",
    "jne 3f",
    "cmp dword ptr [r12 + {resume}], {resume_frame}",
    "je stub_return",
    "mov r8, [r12 + {call}]",
    "mov r9, [r12 + {call} + 8]",
    "mov r10, [r12 + {call} + 8 * 2]",
    "mov r13, [r12 + {call} + 8 * 5]",
    "mov r14, [r12 + {call} + 8 * 6]",
    "mov r15, [r12 + {call} + 8 * 7]",
    "mov rdi, [r12 + {call} + 8 * 8]",
    "mov rsi, [r12 + {call} + 8 * 9]",
    "mov rbp, [r12 + {call} + 8 * 10]",
    "mov rbx, [r12 + {call} + 8 * 11]",
    "mov rdx, [r12 + {call} + 8 * 12]",
    "mov rax, [r12 + {call} + 8 * 13]",
    "mov rcx, [r12 + {call} + 8 * 16]",
    "lea rsp, [r12 + {call} + 8 * 17]",
    "popfq",
    "mov rsp, [r12 + {call} + 8 * 15]",
    "mov r11, [r12 + {call} + 8 * 17]",
    "mov r12, [r12 + {call} + 8 * 4]",
    "jmp rcx",
    "3:",
    "mov edi, {mark_interrupted}",
    "rdfsbase rsi",
    "rdgsbase rdx",
    "jmp stub_tell",

    "stub_raise: ud2",

    "stub_return:",
    "mov rax, [r12 + {area_fs}]",
    "wrfsbase rax",
    "mov rax, [r12 + {area_gs}]",
    "wrgsbase rax",
    "mov rsp, [r12 + {area_stack}]",
    "stub_sigreturn:",
    "mov eax, 15",
    "syscall",
    ".globl stub_site_sigreturn",
    ".hidden stub_site_sigreturn",
    "stub_site_sigreturn:",
    ".globl stub_restorer",
    ".hidden stub_restorer",
    "stub_restorer:",
    "ud2",
    "stub_exit:",                       // not wanted any more: exit(0), of this thread alone
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
    door_exit = const DOOR_EXIT,
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
    area_turn = const AREA_TURN,
    call = const AREA_CALL,
    resume = const AREA_RESUME,
    resume_raise = const RESUME_RAISE,
    resume_frame = const RESUME_FRAME,
    interrupt_wanted = const AREA_INTERRUPT,
    interrupt = const INTERRUPT,
    frame_rip = const FRAME_RIP,
    mark_call = const MARK_CALL,
    mark_interrupted = const MARK_INTERRUPTED,
    answers_hold = const AREA_ANSWERS_HOLD,
    answered = const AREA_ANSWERED,
    answer_table = const ANSWER_TABLE,
    answer_numbers = const ANSWER_NUMBERS,
    posted = const AREA_POSTED,
    guest_end = const GUEST_END,
    posted_result = const AREA_POSTED_RESULT,
    posted_open = const POSTED_OPEN,
    post_message = const POST_MESSAGE,
    message_shift = const RECORD_MESSAGE.trailing_zeros() - POST_MESSAGE.trailing_zeros(),
    post_read = const POST_READ,
    post_flags_not = const !POST_FLAGS,
    grants = const AREA_GRANTS,
    grants_mask = const GRANTS - 1,
    input = const AREA_INPUT,
    log = const AREA_LOG,
    log_size = const LOG_SIZE,
    record_write = const RECORD_WRITE,
);

unsafe extern "C" {
    static stub_image_start: u8;
    static stub_image_end: u8;
    static stub_boot: u8;
    static stub_handler: u8;
    static stub_restorer: u8;
    static stub_site_helper_door: u8;
    static stub_door: u8;
    static stub_site_door: u8;
    static stub_site_sigreturn: u8;
    static stub_site_exit: u8;
    static stub_call: u8;
    static stub_call_has_rsp: u8;
    static stub_call_has_flags: u8;
    static stub_call_answered: u8;
    static stub_call_post: u8;
    static stub_call_post_saved: u8;
    static stub_call_post_copy: u8;
    static stub_call_posted: u8;
    static stub_call_post_undo: u8;
    static stub_call_save: u8;
    static stub_call_committed: u8;
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
    /// Where a guest thread calls the door.
    DoorCall,
    /// Behind that call.
    Door,
    /// Behind a guest thread's `rt_sigreturn`.
    SigReturn,
    /// Behind a guest thread's `exit`.
    Exit,
    /// Where rewritten call sites end up.
    Call,
    /// From here on the caller's stack pointer is in the area,
    CallHasRsp,
    /// and its flags.
    CallHasFlags,
    /// From here on the call was answered by the stub.
    CallAnswered,
    /// From here on a call is looked at that might be posted.
    CallPost,
    /// From here on the registers that posting needs are in the area,
    CallPostSaved,
    /// up to here, where bytes are copied from or to guest memory.
    CallPostCopy,
    /// Behind the exchange that posts the call, which the zero flag tells the outcome of. Behind this instruction it
    /// was posted,
    CallPosted,
    /// up to here: it was not, and goes to the sentry.
    CallPostUndo,
    /// From here on the call is on its way to the sentry.
    CallSave,
    /// From here on the thread is on its way back into guest code.
    CallCommitted,
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
        Entry::DoorCall => &raw const stub_door,
        Entry::Door => &raw const stub_site_door,
        Entry::SigReturn => &raw const stub_site_sigreturn,
        Entry::Exit => &raw const stub_site_exit,
        Entry::Call => &raw const stub_call,
        Entry::CallHasRsp => &raw const stub_call_has_rsp,
        Entry::CallHasFlags => &raw const stub_call_has_flags,
        Entry::CallAnswered => &raw const stub_call_answered,
        Entry::CallPost => &raw const stub_call_post,
        Entry::CallPostSaved => &raw const stub_call_post_saved,
        Entry::CallPostCopy => &raw const stub_call_post_copy,
        Entry::CallPosted => &raw const stub_call_posted,
        Entry::CallPostUndo => &raw const stub_call_post_undo,
        Entry::CallSave => &raw const stub_call_save,
        Entry::CallCommitted => &raw const stub_call_committed,
    };
    (symbol as usize - (&raw const stub_image_start) as usize) as u64
}

/// Where `entry` lies in a process that has the image at `base` (a stub has it at [`IMAGE`]).
#[must_use]
pub fn address_of(entry: Entry, base: u64) -> u64 {
    base + offset(entry)
}
