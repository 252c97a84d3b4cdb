//! Guests that attack their stub harm nobody but themselves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use abi::{Regs, UserAddr};
use platform::{Event, Platform};
use stub::layout::{
    ACTION_MARK, AREAS, CLOCK, CLOCK_MARK, COMMANDS, CONSTANTS, DOOR_NR, IMAGE, SCRATCH, SLOT_SIZE,
};
use stub::{Entry, address_of};

use self::guest::{DATA, Machine, Process, Thread};

guest!(jump, "jmp rbx");
guest!(call, "2: syscall", "jmp 2b");
guest!(poke, "2: mov [rdi], al", "syscall", "jmp 2b");
// Fills rcx bytes at rdi, over and over, without ever calling.
guest!(
    scribble,
    "mov r8, rdi",
    "mov r9, rcx",
    "2: mov rdi, r8",
    "mov rcx, r9",
    "inc eax",
    "rep stosb",
    "jmp 2b"
);

/// Runs a thread for at most this long before it is interrupted.
fn run_briefly(thread: &mut Thread, limit: Duration) -> Event {
    let interrupter = thread.context.interrupter();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            std::thread::park_timeout(limit);
            if !is_done.load(Ordering::SeqCst) {
                interrupter.interrupt();
            }
        });
        let event = thread.run();
        is_done.store(true, Ordering::SeqCst);
        watch.thread().unpark();
        event
    })
}

fn assert_works(bystander: &mut Thread) {
    bystander.regs.rax = 39;
    assert_eq!(bystander.syscall().0, 39);
}

/// Every byte of the image, entered with registers that make its calls as dangerous as they get.
fn jump_everywhere(registers: impl Fn(&mut Regs)) {
    let machine = Machine::new();
    let peer = machine.process(call());
    let mut bystander = peer.thread();
    let end = stub::image().iter().rposition(|byte| *byte != 0xcc).unwrap() as u64 + 4;
    let mut process: Option<Process> = None;
    for offset in 0..end {
        let own = process.take().unwrap_or_else(|| machine.process(jump()));
        let mut thread = own.thread();
        registers(&mut thread.regs);
        thread.regs.rbx = IMAGE + offset;
        let mut is_alive = true;
        for _ in 0..3 {
            if matches!(run_briefly(&mut thread, Duration::from_millis(2)), Event::Died(_)) {
                is_alive = false;
                break;
            }
        }
        assert_works(&mut bystander);
        process = is_alive.then_some(own);
    }
}

#[test]
fn jumping_into_the_image_with_plain_registers() {
    jump_everywhere(|_| ());
}

#[test]
fn jumping_into_the_image_with_the_door_number() {
    jump_everywhere(|regs| {
        regs.rax = u64::from(DOOR_NR);
        (regs.rdi, regs.rsp, regs.r12) = (AREAS + SLOT_SIZE - 4096, AREAS + SLOT_SIZE - 4096, AREAS);
    });
}

#[test]
fn jumping_into_the_image_with_a_ring_of_ones_own() {
    jump_everywhere(|regs| {
        (regs.r12, regs.r13, regs.r14, regs.rax) = (DATA, 1, 0, 15);
        (regs.rdi, regs.rsp) = (DATA, DATA + 4096);
    });
}

#[test]
fn jumping_into_the_image_with_a_clock_page_of_ones_own() {
    jump_everywhere(|regs| {
        (regs.r11, regs.rsp, regs.rax) = (AREAS, u64::from(CLOCK_MARK), 228);
        (regs.r8, regs.r9, regs.rdi, regs.rsi) = (DATA, 40, DATA, DATA);
    });
}

#[test]
fn jumping_into_the_image_with_an_area_of_ones_own() {
    for area in [DATA, AREAS + SLOT_SIZE] {
        jump_everywhere(|regs| {
            (regs.r11, regs.rsp, regs.rax, regs.rcx) = (area, u64::from(ACTION_MARK), 13, guest::CODE);
            (regs.rdi, regs.rsi, regs.rdx, regs.r10) = (10, DATA, DATA + 64, 8);
        });
    }
}

#[test]
fn only_the_threads_own_memory_can_be_written() {
    let machine = Machine::new();
    let process = machine.process(poke());
    let mut thread = process.thread();
    for address in [IMAGE, CONSTANTS, COMMANDS, COMMANDS + 8192, CLOCK, AREAS + SLOT_SIZE, AREAS - 1] {
        thread.regs.rip = guest::CODE;
        thread.regs.rdi = address;
        match thread.run() {
            Event::Fault(fault) => assert_eq!((fault.addr, fault.write), (address, true)),
            other => panic!("{address:#x}: {other:?}"),
        }
    }
    for address in [SCRATCH, AREAS, AREAS + SLOT_SIZE - 1] {
        thread.regs.rip = guest::CODE;
        thread.regs.rdi = address;
        thread.syscall();
    }
}

#[test]
fn a_thread_that_fills_the_area_of_another_harms_its_own_process_only() {
    let machine = Machine::new();
    let peer = machine.process(call());
    let mut bystander = peer.thread();
    for part in 0..8 {
        let process = machine.process(scribble());
        let mut victim = process.thread();
        let mut attacker = process.thread();
        let length = if part < 7 { 4096 } else { SLOT_SIZE };
        let start = if part < 7 { AREAS + (part + 1) * 4096 } else { AREAS };
        (attacker.regs.rdi, attacker.regs.rcx) = (start, length);
        // The victim only calls.
        let code = machine.direct.slice(process.data, 4).unwrap();
        code.write(&[0x0f, 0x05, 0xeb, 0xfc]).unwrap();
        let prot = guest::RX;
        process.space.apply(&[platform::MapOp::Protect { addr: UserAddr(DATA), len: 4096, prot }]).unwrap();
        victim.regs.rip = DATA;
        std::thread::scope(|scope| {
            scope.spawn(|| run_briefly(&mut attacker, Duration::from_millis(30)));
            for _ in 0..2000 {
                if matches!(run_briefly(&mut victim, Duration::from_millis(50)), Event::Died(_)) {
                    break;
                }
            }
        });
        assert_works(&mut bystander);
    }
}

#[test]
fn a_forged_return_that_blocks_signals_does_not_save_from_the_end() {
    let machine = Machine::new();
    let process = machine.process(jump());
    let mut thread = process.thread();
    // A frame in the data page: everything zero but rip and the mask.
    let mut frame = [0; 440];
    frame[8..16].copy_from_slice(&0_u64.to_le_bytes());
    frame[176..184].copy_from_slice(&(guest::CODE + 2).to_le_bytes());
    frame[192..200].copy_from_slice(&(Regs::USER_CS | Regs::USER_SS << 48).to_le_bytes());
    frame[304..312].fill(0xff);
    machine.direct.slice(process.data, frame.len()).unwrap().write(&frame).unwrap();
    thread.regs.rbx = address_of(Entry::SigReturn, IMAGE) - 2;
    (thread.regs.rax, thread.regs.rsp) = (15, DATA + 8);
    // It goes to where no more code is; with all signals blocked the host ends the process for the fault.
    assert!(matches!(run_briefly(&mut thread, Duration::from_millis(50)), Event::Died(_)));
    let mut bystander = machine.process(call()).thread();
    assert_works(&mut bystander);
    assert!(machine.platform.new_address_space().is_ok());
}
