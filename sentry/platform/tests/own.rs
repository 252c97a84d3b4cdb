//! Calls by which a thread changes what only it has: carried out in the stub, whether they trap or not, and told later.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::sync::atomic::{AtomicBool, Ordering};

use platform::{AnsweredCalls, Answers, Event, Told};

use self::guest::{CODE, DATA, Machine, NO_ANSWERS, Thread};

// Makes the call in rbx with the arguments in rdi, rsi, rdx; then one that does not exist, which shows the result in r15.
guest!(calling, "mov eax, ebx", "mov r10d, 8", "syscall", "mov r15, rax", "mov eax, 999", "syscall");

// The same with r12 as the fourth argument.
guest!(
    calling_with_four,
    "mov eax, ebx",
    "mov r10, r12",
    "syscall",
    "mov r15, rax",
    "mov eax, 999",
    "syscall"
);

// Blocks what rdi and r12 say and what r13 points to, asks for the mask before, and compares; counts in r15.
guest!(
    changing,
    "2: mov eax, 14",
    "xor edi, edi",
    "mov rsi, r12",
    "mov rdx, r13",
    "mov r10d, 8",
    "syscall",
    "cmp qword ptr [r13], 0",
    "jne 3f",
    "mov eax, 14",
    "mov edi, 1",
    "syscall",
    "mov rcx, [r12]",
    "cmp [r13], rcx",
    "jne 3f",
    "inc r15",
    "jmp 2b",
    "3: ud2"
);

const ANSWERS: Answers = Answers { tid: 77, ..NO_ANSWERS };

/// Makes a call; returns its result where it was carried out in the stub.
fn carried_out(thread: &mut Thread, number: u64, arguments: [u64; 3]) -> Option<u64> {
    thread.regs.rip = CODE;
    thread.regs.rbx = number;
    [thread.regs.rdi, thread.regs.rsi, thread.regs.rdx] = arguments;
    let event = thread.run();
    assert!(matches!(event, Event::Syscall | Event::RewrittenCall), "{event:?}");
    let regs = thread.regs;
    assert_eq!([regs.rdi, regs.rsi, regs.rdx], arguments);
    if regs.orig_rax == 999 {
        return Some(regs.r15);
    }
    assert_eq!(regs.orig_rax, number);
    // Once in a while the sentry is asked, whatever it is.
    None
}

/// As [`carried_out`], asked again where it was the sentry's turn.
fn in_stub(thread: &mut Thread, number: u64, arguments: [u64; 3]) -> Option<u64> {
    carried_out(thread, number, arguments).or_else(|| carried_out(thread, number, arguments))
}

#[test]
fn what_a_thread_changes_is_told_at_its_next_event() {
    let machine = Machine::new();
    let process = machine.process(calling());
    let set = machine.direct.slice(process.data, 8).unwrap();
    set.write(&0xff_u64.to_le_bytes()).unwrap();
    let mut thread = process.thread();
    thread.context.set_answers(Some(ANSWERS));
    // Nothing without a mask to change.
    assert_eq!(in_stub(&mut thread, 14, [0, DATA, 0]), None);
    thread.context.show_mask(Some(0x1000), true);
    assert_eq!(in_stub(&mut thread, 14, [0, DATA, DATA + 16]), Some(0));
    assert_eq!(thread.context.take_told(), Told { mask: Some(0x10ff), ..Told::default() });
    let mut old = [0; 8];
    machine.direct.slice(process.data + 16, 8).unwrap().read(&mut old).unwrap();
    assert_eq!(u64::from_le_bytes(old), 0x1000);
    assert_eq!(thread.context.take_told(), Told::default());
    assert_eq!(in_stub(&mut thread, 273, [5, 24, 0]), Some(0));
    assert_eq!(in_stub(&mut thread, 218, [6, 0, 0]), Some(77));
    assert_eq!(in_stub(&mut thread, 334, [0, 0, 0]), Some(38_u64.wrapping_neg()));
    let told = Told { mask: None, robust_list: Some(5), tid_address: Some(6) };
    assert_eq!(thread.context.take_told(), told);
    assert_eq!(in_stub(&mut thread, 158, [0x1002, DATA, 0]), Some(0));
    assert_eq!(thread.regs.fs_base, DATA);
    // Not the stub's: other arguments, memory that is not there, both sets in one place.
    let others = [
        (14, [3, DATA, 0]),
        (14, [0, DATA, DATA + 4]),
        (14, [0, 0x10_0000, 0]),
        (14, [0, 0, 0x10_0000]),
        (14, [0, !7, 0]),
        (273, [5, 25, 0]),
        (158, [0x1003, DATA, 0]),
        (158, [0x1002, 1 << 60, 0]),
    ];
    for (number, arguments) in others {
        assert_eq!(in_stub(&mut thread, number, arguments), None, "{number} {arguments:x?}");
    }
    assert_eq!(thread.context.take_told(), Told::default());
    // Held: the mask stays what it is.
    assert_eq!(thread.context.interrupter().hold_mask(), Some(0x10ff));
    assert_eq!(in_stub(&mut thread, 14, [1, DATA, 0]), None);
    thread.context.show_mask(Some(0x10ff), false);
    assert_eq!(in_stub(&mut thread, 14, [1, DATA, 0]), None);
    thread.context.show_mask(None, false);
    assert_eq!(thread.context.interrupter().hold_mask(), None);
}

#[test]
fn calls_that_are_not_allowed_leave_the_others() {
    let machine = Machine::new();
    let process = machine.process(calling());
    let mut thread = process.thread();
    let calls = AnsweredCalls::allowed(|number| number != 273 && number != 39);
    thread.context.set_answers(Some(Answers { calls, ..ANSWERS }));
    for (number, answer) in [(273, None), (39, None), (186, Some(77)), (218, Some(77)), (107, Some(0))] {
        assert_eq!(in_stub(&mut thread, number, [5, 24, 0]), answer, "{number}");
    }
    assert_eq!(thread.context.take_told(), Told { tid_address: Some(5), ..Told::default() });
    thread.context.set_answers(Some(ANSWERS));
    assert_eq!(in_stub(&mut thread, 273, [5, 24, 0]), Some(0));
    thread.context.interrupter().revoke_answers();
    assert_eq!(in_stub(&mut thread, 186, [0; 3]), None);
    thread.context.set_answers(None);
    assert_eq!(in_stub(&mut thread, 273, [6, 24, 0]), None);
    assert_eq!(thread.context.take_told(), Told::default());
}

#[test]
fn limits_are_told_in_the_stub() {
    let machine = Machine::new();
    let process = machine.process(calling_with_four());
    let mut thread = process.thread();
    let mut limits = [[0; 2]; 16];
    limits[3] = [1 << 40, u64::MAX];
    thread.context.set_answers(Some(Answers { limits, ..NO_ANSWERS }));
    let told = || {
        let mut bytes = [0; 16];
        let slice = machine.direct.slice(process.data, bytes.len()).unwrap();
        slice.read(&mut bytes).unwrap();
        slice.zero().unwrap();
        [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()))
    };
    thread.regs.r12 = DATA;
    assert_eq!(in_stub(&mut thread, 302, [1 << 32, 3, 0]), Some(0));
    assert_eq!(told(), limits[3]);
    // To be changed, of another process, of nothing that there is.
    for arguments in [[0, 3, DATA], [77, 3, 0], [0, 16, 0], [0, u64::MAX, 0]] {
        assert_eq!(in_stub(&mut thread, 302, arguments), None, "{arguments:x?}");
    }
    for old in [0, 8, CODE, 0x10_0000, !15] {
        thread.regs.r12 = old;
        assert_eq!(in_stub(&mut thread, 302, [0, 3, 0]), None, "{old:x}");
    }
    assert_eq!(in_stub(&mut thread, 97, [3, DATA, 0]), Some(0));
    assert_eq!(told(), limits[3]);
    for arguments in [[3, 0, 0], [16, DATA, 0], [3, !15, 0], [3, CODE, 0]] {
        assert_eq!(in_stub(&mut thread, 97, arguments), None, "{arguments:x?}");
    }
}

#[test]
fn a_change_is_made_once_whatever_interrupts_it() {
    let machine = Machine::new();
    let process = machine.process(changing());
    machine.direct.slice(process.data, 8).unwrap().write(&0xff_u64.to_le_bytes()).unwrap();
    let mut thread = process.thread();
    (thread.regs.r12, thread.regs.r13) = (DATA, DATA + 16);
    thread.context.set_answers(Some(ANSWERS));
    thread.context.show_mask(Some(0), true);
    let interrupter = thread.context.interrupter();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) {
                interrupter.interrupt();
                interrupter.hold_mask();
                std::thread::sleep(std::time::Duration::from_micros(30));
            }
        });
        let (mut mask, mut interruptions) = (0, 0);
        while interruptions < 2000 {
            let event = thread.run();
            mask = thread.context.take_told().mask.unwrap_or(mask);
            match event {
                Event::Interrupted => interruptions += 1,
                Event::Syscall | Event::RewrittenCall => {
                    // As the kernel carries it out.
                    machine.direct.slice(process.data + 16, 8).unwrap().write(&mask.to_le_bytes()).unwrap();
                    mask = if thread.regs.rdi == 0 { mask | 0xff } else { mask & !0xff };
                    thread.regs.rax = 0;
                }
                other => panic!("{other:?} after {} changes, mask {mask:#x}", thread.regs.r15),
            }
            thread.context.show_mask(Some(mask), true);
        }
        is_done.store(true, Ordering::SeqCst);
    });
    assert!(thread.regs.r15 > 1000, "{}", thread.regs.r15);
}
