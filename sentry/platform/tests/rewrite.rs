//! Rewritten call sites: calls arrive as from a trap, and nothing of the guest shows that there was none.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::sync::atomic::{AtomicBool, Ordering};

use abi::Regs;
use platform::rewrite::{self, WINDOW};
use platform::systrap::HandOver;
use platform::{Answers, Event, PlainActions, Platform};

use self::guest::{CODE, DATA, LEN, Machine, NO_ANSWERS, Process, Thread};

const THUNK: u64 = CODE + 0x8000;

// The site is at byte 2, padding behind the loop.
guest!(padded, "nop", "nop", "2: syscall", "jmp 2b", ".byte 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0");
// The site is at byte 5.
guest!(numbered, "2: mov eax, 39", "syscall", "jmp 2b");
// Counts in r15 the calls that returned what the last one did.
guest!(counting, "xor r15d, r15d", "2: mov eax, 39", "syscall", "inc r15", "jmp 2b");
// Calls rt_sigaction; where it has rbx, the next call is for a signal that does not exist, and r15 is what this returned.
guest!(
    acting,
    "2: mov eax, 13",
    "syscall",
    "mov r15, rax",
    "test rbx, rbx",
    "jz 3f",
    "mov edi, 100",
    "3: jmp 2b"
);
// Uses gs for its own purposes, the site is at byte 0.
guest!(own_gs, "syscall", "wrgsbase rbx", "2: syscall", "jmp 2b", ".byte 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0");

// Moves rbx through a vector register across a call.
guest!(
    vectors,
    "mov eax, 39",
    "movq xmm3, rbx",
    "syscall",
    "movq rbx, xmm3",
    "jmp 2f",
    ".byte 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0",
    "2: syscall",
    "jmp 2b"
);

/// Rewrites the site before `ret`.
fn rewrite(machine: &Machine, process: &Process, code: &[u8], ret: u64, number: u64) {
    let mut window = vec![0; WINDOW as usize];
    window[..code.len()].copy_from_slice(code);
    let regs = Regs { orig_rax: number, ..Regs::default() };
    let site = rewrite::find(&window, CODE, ret, &regs, false).expect("the site can be rewritten");
    let plan = site.plan(THUNK).expect("the thunk is near");
    let thunk = rewrite::CodePatch { addr: THUNK, bytes: plan.thunk.to_vec() };
    for patch in [Some(thunk), plan.padding, Some(plan.site)].into_iter().flatten() {
        let at = process.code() + (patch.addr - CODE);
        machine.direct.slice(at, patch.bytes.len()).unwrap().write(&patch.bytes).unwrap();
    }
}

fn call(thread: &mut Thread) {
    let event = thread.run();
    assert!(matches!(event, Event::RewrittenCall), "{event:?} at {:#x}", thread.regs.rip);
}

/// Every general register with a value of its own.
fn recognizable() -> Regs {
    let plain = Thread::start();
    Regs {
        rax: 39,
        rbx: 0x11,
        rdx: 0x22,
        rsi: 0x33,
        rdi: 0x44,
        rbp: 0x55,
        r8: 0x66,
        r9: 0x77,
        r10: 0x88,
        r12: 0x99,
        r13: 0xaa,
        r14: 0xbb,
        r15: 0xcc,
        rflags: 0xad7,
        ..plain
    }
}

#[test]
fn registers_pass_through_a_call_in_both_directions() {
    let machine = Machine::new();
    for (code, ret) in [(padded(), CODE + 4), (numbered(), CODE + 7)] {
        let process = machine.process(code);
        rewrite(&machine, &process, code, ret, 39);
        let mut thread = process.thread();
        thread.regs = recognizable();
        for _ in 0..3 {
            call(&mut thread);
            let old = recognizable();
            let (cs, ss) = (Regs::USER_CS, Regs::USER_SS);
            let expected = Regs { rip: ret, rcx: ret, r11: old.rflags, orig_rax: 39, cs, ss, ..old };
            assert_eq!(format!("{:?}", thread.regs), format!("{expected:?}"));
        }
        let answered = Regs { rax: 39, rbx: 1, rdx: 2, r12: 3, rsp: thread.regs.rsp - 8, ..thread.regs };
        thread.regs = answered;
        call(&mut thread);
        assert_eq!(format!("{:?}", thread.regs), format!("{answered:?}"));
    }
}

#[test]
fn ways_in_are_counted() {
    let machine = Machine::with_hand_over(HandOver::Door);
    let process = machine.process(padded());
    let mut thread = process.thread();
    assert!(matches!(thread.run(), Event::Syscall));
    rewrite(&machine, &process, padded(), CODE + 4, 39);
    for _ in 0..3 {
        call(&mut thread);
    }
    let ways = machine.platform.ways_in();
    assert_eq!((ways.answered, ways.rewritten, ways.trapped, ways.others), (0, 3, 1, 0));
    assert_eq!((ways.watched, ways.asleep), (0, 4));
}

#[test]
fn what_only_a_frame_can_load_is_loaded() {
    let machine = Machine::new();
    let process = machine.process(padded());
    rewrite(&machine, &process, padded(), CODE + 4, 39);
    let mut thread = process.thread();
    call(&mut thread);
    // Another place, with other values in what a call destroys, and another fs.
    let regs = Regs { rip: CODE + 1, rcx: 5, r11: 6, fs_base: DATA, ..thread.regs };
    thread.regs = regs;
    call(&mut thread);
    assert_eq!((thread.regs.fs_base, thread.regs.gs_base, thread.regs.rip), (DATA, 0, CODE + 4));
}

#[test]
fn extended_state_survives_a_call_and_can_be_seen_and_replaced() {
    const XMM3: usize = 160 + 3 * 16;
    let machine = Machine::new();
    let process = machine.process(vectors());
    let ret = CODE + vectors().windows(2).position(|two| two == [0x0f, 5]).unwrap() as u64 + 2;
    rewrite(&machine, &process, vectors(), ret, 39);
    let mut thread = process.thread();
    thread.regs.rbx = 0x1234;
    call(&mut thread);
    let mut image = vec![0; platform::XSTATE_MAX];
    let size = thread.context.save_xstate(&mut image);
    assert_eq!(image[XMM3..XMM3 + 2], [0x34, 0x12]);
    thread.syscall();
    assert_eq!(thread.regs.rbx, 0x1234);
    // Again, and this time it is replaced while the thread stands at the site.
    thread.regs.rip = CODE;
    call(&mut thread);
    image[XMM3..XMM3 + 2].copy_from_slice(&[0x78, 0x56]);
    thread.context.load_xstate(Some(&image[..size]));
    thread.syscall();
    assert_eq!(thread.regs.rbx, 0x5678);
}

#[test]
fn a_guest_with_a_gs_of_its_own_traps_and_keeps_it() {
    let machine = Machine::new();
    let process = machine.process(own_gs());
    rewrite(&machine, &process, own_gs(), CODE + 9, 39);
    for base in [DATA, 0x10, u64::from(u32::MAX) << 12] {
        let mut thread = process.thread();
        thread.syscall();
        thread.regs.rbx = base;
        match thread.run() {
            Event::Syscall => assert!((THUNK..THUNK + 64).contains(&thread.regs.rip)),
            Event::Fault(_) => assert!((THUNK..THUNK + 64).contains(&thread.regs.rip)),
            other => panic!("{other:?}"),
        }
        assert_eq!(thread.regs.gs_base, base);
    }
}

#[test]
fn the_stub_answers_what_it_was_told() {
    let machine = Machine::new();
    let process = machine.process(counting());
    rewrite(&machine, &process, counting(), CODE + 10, 39);
    let mut thread = process.thread();
    call(&mut thread);
    thread.context.set_answers(Some(Answers { pid: 77, ..NO_ANSWERS }));
    let interrupter = thread.context.interrupter();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) {
                std::thread::sleep(std::time::Duration::from_micros(300));
                interrupter.interrupt();
            }
        });
        let (mut count, mut interruptions) = (thread.regs.r15, 0);
        while interruptions < 300 {
            match thread.run() {
                Event::Interrupted => interruptions += 1,
                // Interrupted between `mov` and `syscall`, it goes on with the latter, which is still there.
                Event::Syscall => thread.regs.rax = 39,
                other => panic!("{other:?}"),
            }
            let Regs { rip, rax, r15, .. } = thread.regs;
            assert!(r15 >= count, "{r15} after {count}");
            assert!(is_guest(rip), "interrupted at {rip:#x}");
            assert!(matches!(rax, 39 | 77), "{rax}");
            count = r15;
        }
        is_done.store(true, Ordering::SeqCst);
        assert!(count > 1000, "{count}");
    });
    thread.context.set_answers(None);
    while !matches!(thread.run(), Event::RewrittenCall) {
        thread.regs.rax = 39;
    }
}

/// What the C library sets where `r12` is: the default action with a restorer.
fn plain_action(process: &Process, machine: &Machine, at: u64) {
    let words = [0, 0x0400_0000, 0x1234_u64, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    machine.direct.slice(process.data + at, bytes.len()).unwrap().write(&bytes).unwrap();
}

#[test]
fn plain_signal_actions_are_told_and_set_in_the_stub() {
    let machine = Machine::new();
    let process = machine.process(acting());
    rewrite(&machine, &process, acting(), CODE + 7, 13);
    plain_action(&process, &machine, 0);
    let mut thread = process.thread();
    let arguments = |signal: u64, new: u64, old: u64| {
        move |regs: &mut Regs| {
            (regs.rip, regs.rdi, regs.rsi, regs.rdx, regs.r10) = (CODE, signal, new, old, 8);
        }
    };
    let (unset, restorer) = (!0, 0x1234);
    let actions = PlainActions { unset, plain: 1 << 4, restorer };
    thread.context.set_answers(Some(Answers { actions, ..NO_ANSWERS }));
    // Not the stub's to answer: the sentry sees these as calls with all their arguments.
    for (signal, new, old) in
        [(0, 0, DATA + 64), (65, 0, DATA + 64), (9, DATA, 0), (17, DATA, DATA + 64), (10, DATA, DATA + 31)]
    {
        arguments(signal, new, old)(&mut thread.regs);
        call(&mut thread);
        let Regs { orig_rax, rdi, rsi, rdx, r10, .. } = thread.regs;
        assert_eq!((orig_rax, rdi, rsi, rdx, r10), (13, signal, new, old, 8));
    }
    // Memory that is not there: the same.
    for (new, old) in [(0, 0x10_0000), (0x10_0000, 0), (0, DATA + LEN - 8), (DATA, 0x10_0000), (DATA, !31)] {
        arguments(10, new, old)(&mut thread.regs);
        call(&mut thread);
        assert_eq!((thread.regs.orig_rax, thread.regs.rsi, thread.regs.rdx), (13, new, old));
    }
    assert_eq!(thread.context.take_set_actions().plain, 0);
    // Answered: the call after that, which is the sentry's, shows the result of the one before in r15.
    arguments(10, DATA, 0)(&mut thread.regs);
    thread.regs.rbx = 1;
    call(&mut thread);
    assert_eq!((thread.regs.r15, thread.regs.rdi), (0, 100));
    assert_eq!(thread.context.take_set_actions(), PlainActions { plain: 1 << 9, unset, restorer: 0x1234 });
    assert_eq!(thread.context.take_set_actions().plain, 0);
    // Set and asked for in one: what it was, which is another thing the second time.
    for (round, old) in [[0; 4], [0, 0x0400_0000, restorer, 0]].into_iter().enumerate() {
        arguments(11, DATA, DATA + 64)(&mut thread.regs);
        call(&mut thread);
        assert_eq!((thread.regs.r15, thread.regs.rdi), (0, 100));
        let mut bytes = [0; 32];
        machine.direct.slice(process.data + 64, bytes.len()).unwrap().read(&mut bytes).unwrap();
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!((words, round), (old.to_vec(), round));
    }
    assert_eq!(thread.context.take_set_actions().plain, 1 << 10);
}

/// In the guest's own code, thunks included.
fn is_guest(rip: u64) -> bool {
    (CODE..CODE + 0x1_0000).contains(&rip)
}

#[test]
fn interrupts_are_neither_lost_nor_seen_in_the_stub() {
    let machine = Machine::new();
    let process = machine.process(counting());
    rewrite(&machine, &process, counting(), CODE + 10, 39);
    let mut thread = process.thread();
    let interrupter = thread.context.interrupter();
    let (mut calls, mut interruptions) = (0_u64, 0);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) {
                interrupter.interrupt();
                for _ in 0..2000 {
                    std::hint::spin_loop();
                }
            }
        });
        while interruptions < 3000 {
            match thread.run() {
                // Interrupted between `mov` and `syscall`, it goes on with the latter, which is still there.
                Event::RewrittenCall | Event::Syscall => {
                    assert_eq!((thread.regs.r15, thread.regs.orig_rax), (calls, 39));
                    calls += 1;
                    thread.regs.rax = 1000 + calls;
                }
                Event::Interrupted => {
                    interruptions += 1;
                    assert!(is_guest(thread.regs.rip), "{:#x}", thread.regs.rip);
                }
                other => panic!("{other:?}"),
            }
        }
        is_done.store(true, Ordering::SeqCst);
    });
    assert!(calls > 100, "{calls}");
}
