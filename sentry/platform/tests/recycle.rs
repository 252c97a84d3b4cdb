//! Stubs are used again, and nothing of the last guest process is in them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::collections::BTreeSet;
use std::time::Duration;

use abi::{Regs, UserAddr};
use platform::{Event, MapOp, MapSource};
use stub::layout::{AREAS, IMAGE, SLOT_SIZE};
use stub::{Entry, address_of};

use self::guest::{DATA, Machine, RW, Thread};

guest!(count, "2: lock inc dword ptr [rdi]", "mov eax, 24", "syscall", "jmp 2b");
guest!(load, "2: mov rax, [rdi]", "syscall", "jmp 2b");
guest!(jump, "jmp rbx");

const SECRET: u64 = 0x6000_0000_0000;
/// In the first area: a place that nobody uses.
const SPARE: u64 = AREAS + 3 * 4096;

fn children() -> BTreeSet<String> {
    let parent = format!("PPid:\t{}\n", std::process::id());
    let status = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let names =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().into_string().ok());
    names.filter(|pid| status(pid).contains(&parent)).collect()
}

fn look(thread: &mut Thread, addr: u64) -> Event {
    thread.regs.rdi = addr;
    thread.run()
}

#[test]
fn a_used_stub_is_like_a_new_one() {
    let machine = Machine::new();
    let mut seen = BTreeSet::new();
    for round in 0..40 {
        let process = machine.process(count());
        let secret = machine.allocate(4096);
        let (addr, source) = (UserAddr(SECRET), MapSource::Memory(secret));
        process.space.apply(&[MapOp::Map { addr, len: 4096, prot: RW, source, populate: true }]).unwrap();
        let mut threads: Vec<_> = (0..1 + round % 4).map(|_| process.thread()).collect();
        for thread in &mut threads {
            thread.regs.rdi = DATA;
            thread.syscall();
            thread.regs.rdi = SPARE;
            thread.syscall();
            thread.regs.fs_base = 0x1000;
        }
        assert_eq!(machine.direct.slice(process.data, 4).unwrap().load_u32(0), Ok(threads.len() as u32));
        drop(threads);
        drop(process);
        std::thread::sleep(Duration::from_millis(2));

        let process = machine.process(load());
        let mut thread = process.thread();
        assert!(matches!(look(&mut thread, SECRET), Event::Fault(fault) if fault.code == 1));
        // Its own area is there, other areas are not.
        assert!(matches!(look(&mut thread, AREAS), Event::Syscall));
        assert!(matches!(look(&mut thread, SPARE), Event::Syscall));
        assert_eq!(thread.regs.orig_rax, 0, "of what the last process left there nothing is seen");
        assert!(matches!(look(&mut thread, AREAS + SLOT_SIZE), Event::Fault(_)));
        seen.append(&mut children());
    }
    assert!(seen.len() < 40, "{} processes for 80 address spaces", seen.len());
}

/// A guest thread waits at the door with registers of its own making and is then left to the next process.
#[test]
fn what_a_guest_left_in_a_threads_registers_dies_with_it() {
    let machine = Machine::new();
    for _ in 0..20 {
        let process = machine.process(jump());
        let mut thread = process.thread();
        thread.regs.rbx = address_of(Entry::Door, IMAGE) - 2;
        let frame = AREAS + SLOT_SIZE - 4096;
        let door = u64::from(stub::layout::DOOR_NR);
        thread.regs = Regs { rax: door, rdi: frame, r12: DATA, rsp: DATA + 4096, ..thread.regs };
        thread.run();
        drop((thread, process));
        std::thread::sleep(Duration::from_millis(2));
        let process = machine.process(count());
        let mut thread = process.thread();
        thread.regs.rdi = DATA;
        for _ in 0..10 {
            thread.syscall();
        }
        assert_eq!(machine.direct.slice(process.data, 4).unwrap().load_u32(0), Ok(10));
    }
}

/// As above, with a signal mask and a signal stack of the guest's own making, too.
#[test]
fn what_a_forged_frame_set_up_ends_with_its_process() {
    let machine = Machine::new();
    for _ in 0..20 {
        let process = machine.process(jump());
        let mut thread = process.thread();
        // A `struct rt_sigframe` in words: flags, signal stack, r8 to r15, rdi to rip, selectors, signal mask.
        let mut frame = [0_u64; 40];
        (frame[1], frame[3], frame[5]) = (6, DATA, 0x8000);
        (frame[8], frame[10], frame[14]) = (1, DATA, AREAS + SLOT_SIZE - 4096);
        (frame[19], frame[21], frame[22]) =
            (stub::layout::DOOR_NR.into(), DATA, address_of(Entry::Door, IMAGE) - 2);
        (frame[23], frame[24]) = (0x202, Regs::USER_CS | Regs::USER_SS << 48);
        let bytes: Vec<u8> = frame.iter().flat_map(|word| word.to_le_bytes()).collect();
        machine.direct.slice(process.data, bytes.len()).unwrap().write(&bytes).unwrap();
        let return_site = address_of(Entry::SigReturn, IMAGE) - 2;
        thread.regs = Regs { rax: 15, rbx: return_site, rsp: DATA + 8, ..thread.regs };
        thread.run();
        drop((thread, process));
        std::thread::sleep(Duration::from_millis(2));
        let process = machine.process(count());
        let mut thread = process.thread();
        thread.regs.rdi = DATA;
        let interrupter = thread.context.interrupter();
        for _ in 0..10 {
            interrupter.interrupt();
            assert!(matches!(thread.run(), Event::Interrupted));
            thread.syscall();
        }
        let counted = machine.direct.slice(process.data, 8).unwrap();
        assert_eq!((counted.load_u32(0), counted.load_u32(4)), (Ok(10), Ok(0)));
    }
}
