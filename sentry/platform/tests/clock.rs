//! Calls that read a clock are answered in the stub, from the page that the platform was made with.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::sync::atomic::{AtomicBool, Ordering};

use host::time::tsc;
use platform::{Answers, Event};
use vdso::ClockLine;

use self::guest::{CLOCK_PAGE, CODE, DATA, LEN, Machine, NO_ANSWERS, Process, Thread};

// Makes the call in rbx with the arguments in rdi and rsi, and one that does not exist, which shows the result in r15.
guest!(calling, "mov eax, ebx", "syscall", "mov r15, rax", "mov eax, 999", "syscall");
// Reads the clock in edi over and over, as long as it does not go back; counts in r15. Several registers stay as they are.
guest!(
    reading,
    "xor r14d, r14d",
    "2: mov eax, 228",
    "syscall",
    "test eax, eax",
    "jnz 3f",
    "imul rax, [rsi], 1000000000",
    "add rax, [rsi + 8]",
    "cmp rax, r14",
    "jb 3f",
    "mov r14, rax",
    "cmp r8, 8",
    "jne 3f",
    "cmp r9, 9",
    "jne 3f",
    "cmp r10, 10",
    "jne 3f",
    "cmp rdx, 2",
    "jne 3f",
    "inc r15",
    "jmp 2b",
    "3: ud2"
);

const CLOCK_GETTIME: u64 = 228;
const GETTIMEOFDAY: u64 = 96;
const TIME: u64 = 201;
const ANSWERS: Answers = Answers { pid: 77, ..NO_ANSWERS };
const REALTIME: u64 = 1_700_000_000_000_000_000;
const BOOTTIME: u64 = 5_000_000_000;

/// Fills the clock page: half a nanosecond a tick.
fn publish(machine: &Machine, span: u64) -> ClockLine {
    let line = ClockLine { base_tsc: tsc(), base_ns: 123_456_789_012, mult: 1 << 31, span };
    let words = [2, line.base_tsc, line.base_ns, line.mult, line.span, 0, REALTIME, BOOTTIME];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    machine.direct.slice(CLOCK_PAGE, bytes.len()).unwrap().write(&bytes).unwrap();
    line
}

/// Makes a call; returns its result where it was answered in the stub.
fn answered_once(thread: &mut Thread, number: u64, arguments: [u64; 2]) -> Option<u64> {
    thread.regs.rip = CODE;
    thread.regs.rbx = number;
    [thread.regs.rdi, thread.regs.rsi] = arguments;
    let others = (2, 8, 9, 10);
    (thread.regs.rdx, thread.regs.r8, thread.regs.r9, thread.regs.r10) = others;
    let event = thread.run();
    assert!(matches!(event, Event::Syscall | Event::RewrittenCall), "{event:?}");
    let regs = thread.regs;
    assert_eq!([regs.rdi, regs.rsi], arguments);
    assert_eq!((regs.rdx, regs.r8, regs.r9, regs.r10), others);
    if regs.orig_rax == 999 {
        return Some(regs.r15);
    }
    assert_eq!(regs.orig_rax, number);
    None
}

/// As [`answered_once`], asked again where it was the sentry's turn, as it is once in a while.
fn answered(thread: &mut Thread, number: u64, arguments: [u64; 2]) -> Option<u64> {
    answered_once(thread, number, arguments).or_else(|| answered_once(thread, number, arguments))
}

fn words(machine: &Machine, process: &Process) -> [u64; 2] {
    let mut bytes = [0; 16];
    machine.direct.slice(process.data, bytes.len()).unwrap().read(&mut bytes).unwrap();
    [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()))
}

#[test]
fn clocks_are_those_of_the_page() {
    let machine = Machine::new();
    let process = machine.process(calling());
    let line = publish(&machine, u64::MAX);
    let mut thread = process.thread();
    assert_eq!(answered(&mut thread, CLOCK_GETTIME, [1, DATA]), None);
    thread.context.set_answers(Some(ANSWERS));
    let between = |call: u64, arguments: [u64; 2], added: u64| {
        let mut thread = process.thread();
        thread.context.set_answers(Some(ANSWERS));
        let before = line.at(tsc()).unwrap() + added;
        let result = answered(&mut thread, call, arguments).unwrap();
        (before, result, line.at(tsc()).unwrap() + added)
    };
    let clocks = [(0, REALTIME), (1, 0), (4, 0), (5, REALTIME), (6, 0), (7, BOOTTIME), (7 << 32, REALTIME)];
    for (clock, added) in clocks {
        let (before, result, after) = between(CLOCK_GETTIME, [clock, DATA], added);
        let [seconds, ns] = words(&machine, &process);
        assert!(ns < 1_000_000_000, "{ns}");
        assert_eq!(result, 0);
        assert!((before..=after).contains(&(seconds * 1_000_000_000 + ns)), "{clock}: {seconds}, {ns}");
    }
    let (before, result, after) = between(GETTIMEOFDAY, [DATA, 0], REALTIME);
    let [seconds, us] = words(&machine, &process);
    assert!(us < 1_000_000 && result == 0, "{us}, {result}");
    assert!((before / 1000..=after / 1000).contains(&(seconds * 1_000_000 + us)), "{seconds}, {us}");
    for at in [0, DATA] {
        let (before, result, after) = between(TIME, [at, 0], REALTIME);
        assert!((before / 1_000_000_000..=after / 1_000_000_000).contains(&result), "{result}");
        assert!(at == 0 || words(&machine, &process)[0] == result);
    }
}

#[test]
fn what_the_page_does_not_tell_and_what_cannot_be_written_is_the_sentrys() {
    let machine = Machine::new();
    let process = machine.process(calling());
    publish(&machine, u64::MAX);
    let mut thread = process.thread();
    thread.context.set_answers(Some(ANSWERS));
    let others = [
        (CLOCK_GETTIME, [2, DATA]),
        (CLOCK_GETTIME, [8, DATA]),
        (CLOCK_GETTIME, [u64::MAX, DATA]),
        (CLOCK_GETTIME, [1, 0]),
        (CLOCK_GETTIME, [1, CODE]),
        (CLOCK_GETTIME, [1, DATA + LEN - 8]),
        (CLOCK_GETTIME, [1, stub::layout::AREAS]),
        (CLOCK_GETTIME, [1, !15]),
        (GETTIMEOFDAY, [DATA, DATA]),
        (GETTIMEOFDAY, [0, 0]),
        (GETTIMEOFDAY, [stub::layout::GUEST_END - 8, 0]),
        (TIME, [8, 0]),
        (TIME, [u64::MAX, 0]),
    ];
    for (number, arguments) in others {
        assert_eq!(answered(&mut thread, number, arguments), None, "{number} {arguments:x?}");
    }
    assert_eq!(answered(&mut thread, CLOCK_GETTIME, [1, DATA]), Some(0));
    // A line that has run out, or never held.
    for span in [0, 1] {
        publish(&machine, span);
        assert_eq!(answered(&mut thread, CLOCK_GETTIME, [1, DATA]), None);
    }
    publish(&machine, u64::MAX);
    assert_eq!(answered(&mut thread, CLOCK_GETTIME, [1, DATA]), Some(0));
    // Somebody else takes it back, then its own kernel thread.
    thread.context.interrupter().revoke_answers();
    assert_eq!(answered(&mut thread, CLOCK_GETTIME, [1, DATA]), None);
    thread.context.set_answers(Some(ANSWERS));
    assert_eq!(answered(&mut thread, CLOCK_GETTIME, [1, DATA]), Some(0));
    thread.context.set_answers(None);
    assert_eq!(answered(&mut thread, CLOCK_GETTIME, [1, DATA]), None);
}

#[test]
fn nothing_shows_that_a_reading_was_interrupted() {
    let machine = Machine::new();
    let process = machine.process(reading());
    publish(&machine, u64::MAX);
    let mut thread = process.thread();
    (thread.regs.rdi, thread.regs.rsi, thread.regs.rdx) = (1, DATA, 2);
    (thread.regs.r8, thread.regs.r9, thread.regs.r10) = (8, 9, 10);
    thread.context.set_answers(Some(ANSWERS));
    let interrupter = thread.context.interrupter();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) {
                interrupter.interrupt();
                std::thread::sleep(std::time::Duration::from_micros(30));
            }
        });
        let mut interruptions = 0;
        while interruptions < 2000 {
            match thread.run() {
                Event::Interrupted => interruptions += 1,
                Event::Syscall | Event::RewrittenCall => {
                    // As the kernel carries it out: no time has passed.
                    let bytes: Vec<u8> =
                        [0, thread.regs.r14].iter().flat_map(|word| word.to_le_bytes()).collect();
                    machine.direct.slice(process.data, bytes.len()).unwrap().write(&bytes).unwrap();
                    thread.regs.rax = 0;
                }
                other => panic!("{other:?} after {} readings", thread.regs.r15),
            }
            assert!((CODE..CODE + 0x1000).contains(&thread.regs.rip), "{:#x}", thread.regs.rip);
        }
        is_done.store(true, Ordering::SeqCst);
    });
    assert!(thread.regs.r15 > 1000, "{}", thread.regs.r15);
}
