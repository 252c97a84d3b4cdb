//! Posted calls: carried out by the stub from what it was granted, as a whole or not at all, whatever stops the thread.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::sync::atomic::{AtomicBool, Ordering};

use abi::Regs;
use platform::posted::{Control, Grant, Log, Moved, Record};
use platform::rewrite::{self, WINDOW};
use platform::{Event, MapOp};

use self::guest::{CODE, DATA, Machine, Process, Thread};

const THUNK: u64 = CODE + 0x8000;
const READ: u64 = 0;
const WRITE: u64 = 1;
const SENDTO: u64 = 44;
const RECVFROM: u64 = 45;
const CLOSE: u64 = 3;
const READV: u64 = 19;
const WRITEV: u64 = 20;
const SENDMSG: u64 = 46;
const EPOLL_CTL: u64 = 233;
/// Where tests put buffer lists and message headers.
const LISTS: u64 = DATA + 0x1000;

// The site is at byte 2, padding behind the loop: one call, and stop at the next, which is not rewritten.
guest!(once, "nop", "nop", "syscall", "int3", ".byte 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0");
// Calls for ever with the registers as they are, adds up in r15 what was returned.
guest!(
    again,
    "nop",
    "nop",
    "2: syscall",
    "add r15, rax",
    "inc r14",
    "mov eax, r13d",
    "jmp 2b",
    ".byte 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0"
);

// Finds its area by gs and writes the word itself.
guest!(liar, "rdgsbase rax", "mov [rax + 0xc0], ebx", "syscall");

/// Rewrites the site at byte 2.
fn rewrite(machine: &Machine, process: &Process, code: &[u8]) {
    let mut window = vec![0; WINDOW as usize];
    window[..code.len()].copy_from_slice(code);
    let site =
        rewrite::find(&window, CODE, CODE + 4, &Regs::default(), false).expect("the site can be rewritten");
    let plan = site.plan(THUNK).expect("the thunk is near");
    let thunk = rewrite::CodePatch { addr: THUNK, bytes: plan.thunk.to_vec() };
    for patch in [Some(thunk), plan.padding, Some(plan.site)].into_iter().flatten() {
        let at = process.code() + (patch.addr - CODE);
        machine.direct.slice(at, patch.bytes.len()).unwrap().write(&patch.bytes).unwrap();
    }
}

struct Guest {
    machine: Machine,
    process: Process,
    thread: Thread,
}

impl Guest {
    fn new(code: &[u8]) -> Self {
        let machine = Machine::new();
        let process = machine.process(code);
        rewrite(&machine, &process, code);
        let thread = process.thread();
        Self { machine, process, thread }
    }

    fn call(&mut self, number: u64, args: [u64; 6]) -> Event {
        let [rdi, rsi, rdx, r10, r8, r9] = args;
        self.thread.regs = Regs {
            rax: number,
            rbx: 0x11,
            rbp: 0x55,
            r12: 0x99,
            r13: 0xaa,
            r14: 0xbb,
            r15: 0xcc,
            rflags: 0xad7,
            ..Thread::start()
        };
        self.thread.regs = Regs { rdi, rsi, rdx, r10, r8, r9, ..self.thread.regs };
        self.thread.run()
    }

    /// A call that is posted: what it returned. All other registers must be as they were.
    fn posted(&mut self, number: u64, args: [u64; 6]) -> u64 {
        let event = self.call(number, args);
        assert!(matches!(event, Event::Exception(_)), "{event:?} at {:#x}", self.thread.regs.rip);
        self.check_registers(args);
        self.thread.regs.rax
    }

    /// A call that is left to the kernel.
    fn not_posted(&mut self, number: u64, args: [u64; 6]) {
        let event = self.call(number, args);
        assert!(matches!(event, Event::RewrittenCall), "{event:?} at {:#x}", self.thread.regs.rip);
        let regs = &self.thread.regs;
        assert_eq!((regs.rax, regs.orig_rax, regs.rip), (number, number, CODE + 4));
        self.check_registers(args);
    }

    fn check_registers(&self, args: [u64; 6]) {
        let regs = &self.thread.regs;
        assert_eq!([regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9], args);
        assert_eq!(
            [regs.rbx, regs.rbp, regs.r12, regs.r13, regs.r14, regs.r15],
            [0x11, 0x55, 0x99, 0xaa, 0xbb, 0xcc]
        );
        assert_eq!((regs.rcx, regs.rflags, regs.rsp), (CODE + 4, 0xad7, Thread::start().rsp));
    }

    fn data(&self, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.machine.direct.slice(self.process.data, len).unwrap().read(&mut data).unwrap();
        data
    }

    fn set_data(&self, data: &[u8]) {
        self.machine.direct.slice(self.process.data, data.len()).unwrap().write(data).unwrap();
    }

    /// Puts words where lists are.
    fn set_lists(&self, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let at = self.process.data + (LISTS - DATA);
        self.machine.direct.slice(at, bytes.len()).unwrap().write(&bytes).unwrap();
    }

    fn open(&self, grants: &[Grant<'_>]) {
        self.thread.context.post_box().open(grants, None);
    }

    fn close(&self) -> Log {
        self.thread.context.post_box().close()
    }
}

const fn read(fd: u64, len: u64) -> [u64; 6] {
    [fd, DATA, len, 0x77, 0x88, 0x99]
}

const fn message(fd: u64, len: u64, flags: u64) -> [u64; 6] {
    [fd, DATA, len, flags, 0, 0]
}

#[test]
fn reads_take_what_was_prepared_in_pieces() {
    let mut guest = Guest::new(once());
    guest.open(&[
        Grant { fd: 5, input: b"hello, world", credit: 0, ..Grant::default() },
        Grant { fd: 6, input: b"other", credit: 0, ..Grant::default() },
    ]);
    assert_eq!(guest.posted(READ, read(5, 5)), 5);
    assert_eq!(guest.data(6), b"hello\0");
    assert_eq!(guest.posted(RECVFROM, message(6, 100, 0x40)), 5);
    assert_eq!(guest.data(6), b"other\0");
    assert_eq!(guest.posted(READ, read(5, 100)), 7);
    assert_eq!(guest.data(7), b", world");
    for args in [read(5, 1), read(7, 1), read(21, 1), read(u64::from(u32::MAX), 1), read(6, 0)] {
        guest.not_posted(READ, args);
    }
    let log = guest.close();
    let records: Vec<_> = log.records().collect();
    let expected = [(5, false, 5), (6, true, 5), (5, false, 7)];
    let expected = expected.map(|(fd, is_message, len)| Record { fd, is_message, moved: Moved::Input(len) });
    assert_eq!(records, expected);
    guest.not_posted(READ, read(5, 1));
    assert_eq!(guest.close().records().count(), 0);
}

#[test]
fn writes_are_posted_within_their_credit() {
    let mut guest = Guest::new(once());
    guest.open(&[Grant { fd: 9, input: b"", credit: 12, ..Grant::default() }]);
    guest.set_data(b"abcdefghijklmnopq");
    guest.not_posted(WRITE, read(9, 13));
    guest.not_posted(SENDTO, message(9, 3, 1));
    guest.not_posted(SENDTO, [9, DATA, 3, 0, DATA, 16]);
    guest.not_posted(READ, read(9, 3));
    assert_eq!(guest.posted(WRITE, read(9, 9)), 9);
    guest.set_data(b"XYZ");
    assert_eq!(guest.posted(SENDTO, message(9, 3, 0x4040)), 3);
    guest.not_posted(WRITE, read(9, 1));
    assert!(guest.thread.context.post_box().has_records());
    let log = guest.close();
    let records: Vec<_> = log.records().collect();
    let expected = [(false, &b"abcdefghi"[..]), (true, b"XYZ")];
    let expected =
        expected.map(|(is_message, data)| Record { fd: 9, is_message, moved: Moved::Output(data) });
    assert_eq!(records, expected);
    assert!(!guest.thread.context.post_box().has_records());
}

const fn vector(fd: u64, count: u64) -> [u64; 6] {
    [fd, LISTS, count, 0x77, 0x88, 0x99]
}

#[test]
fn several_buffers_are_one_record() {
    let mut guest = Guest::new(once());
    guest.open(&[Grant { fd: 4, input: b"abcdefgh", credit: 12, ..Grant::default() }]);
    guest.set_data(b"0123456789");
    guest.set_lists(&[DATA + 2, 3, DATA, 0, DATA + 7, 2]);
    assert_eq!(guest.posted(WRITEV, vector(4, 3)), 5);
    // A header: no address, its length, the list, how many, no control messages.
    guest.set_lists(&[0, 16, LISTS + 56, 2, DATA, 0, 99, DATA, 1, DATA + 5, 2]);
    assert_eq!(guest.posted(SENDMSG, [4, LISTS, 0x4040, 1, 2, 3]), 3);
    guest.set_data(&[b'.'; 16]);
    guest.set_lists(&[DATA + 1, 2, DATA + 8, 3, DATA + 4, 100, DATA, 100]);
    assert_eq!(guest.posted(READV, vector(4, 4)), 8);
    assert_eq!(guest.data(13), b".ab.fgh.cde..");
    let log = guest.close();
    let records: Vec<_> = log.records().collect();
    let record = |is_message, moved| Record { fd: 4, is_message, moved };
    let expected = [
        record(false, Moved::Output(b"23478")),
        record(true, Moved::Output(b"056")),
        record(false, Moved::Input(8)),
    ];
    assert_eq!(records, expected);
}

#[test]
fn lists_that_are_not_plain_are_the_kernels_to_judge() {
    let mut guest = Guest::new(once());
    guest.open(&[Grant { fd: 4, input: b"abc", credit: 12, ..Grant::default() }]);
    let nowhere = 0x10_0000;
    // Too much in all; nothing at all; too many; lists and buffers that are nowhere, or beyond the guest's memory.
    guest.set_lists(&[DATA, 7, DATA, 6]);
    guest.not_posted(WRITEV, vector(4, 2));
    guest.not_posted(WRITEV, vector(4, 0));
    guest.not_posted(WRITEV, vector(4, 1025));
    guest.not_posted(WRITEV, vector(4, u64::MAX));
    guest.not_posted(WRITEV, [4, nowhere, 1, 1, 2, 3]);
    guest.not_posted(READV, [4, u64::MAX - 15, 1, 1, 2, 3]);
    for (base, len) in [(nowhere, 1), (DATA, 1 << 47), (DATA, u64::MAX), (1 << 63, 0), (u64::MAX, 2)] {
        guest.set_lists(&[DATA, 1, base, len]);
        guest.not_posted(WRITEV, vector(4, 2));
    }
    for (base, len) in [(DATA, 1 << 47), (DATA, u64::MAX), (1 << 63, 0)] {
        // What comes behind all input is looked at, too.
        guest.set_lists(&[DATA, 100, base, len]);
        guest.not_posted(READV, vector(4, 2));
    }
    for header in [[DATA, 16, LISTS + 56, 1, 0, 0], [0, 0, LISTS + 56, 1, DATA, 16], [0, 0, nowhere, 1, 0, 0]]
    {
        guest.set_lists(&[&header[..], &[0, DATA, 1]].concat());
        guest.not_posted(SENDMSG, [4, LISTS, 0, 1, 2, 3]);
    }
    guest.set_lists(&[0, 0, LISTS + 56, 1, 0, 0, 0, DATA, 1]);
    guest.not_posted(SENDMSG, [4, LISTS, 1, 1, 2, 3]);
    guest.not_posted(SENDMSG, [4, nowhere, 0, 1, 2, 3]);
    guest.not_posted(SENDMSG, [4, 1 << 63, 0, 1, 2, 3]);
    assert_eq!(guest.close().records().count(), 0);
}

#[test]
fn what_was_closed_is_no_descriptor() {
    let mut guest = Guest::new(once());
    let grant = |fd, may_close| Grant { fd, input: b"abc", credit: 12, may_close, watched: None };
    guest.open(&[grant(4, true), grant(5, false)]);
    let close = |fd| [fd, 1, 2, 3, 4, 5];
    guest.not_posted(CLOSE, close(5));
    guest.not_posted(CLOSE, close(20));
    assert_eq!(guest.posted(READ, read(4, 1)), 1);
    assert_eq!(guest.posted(CLOSE, close(4)), 0);
    guest.not_posted(CLOSE, close(4));
    guest.not_posted(CLOSE, close(u64::from(u32::MAX)));
    guest.not_posted(READ, read(4, 1));
    guest.not_posted(WRITE, read(4, 1));
    assert_eq!(guest.posted(READ, read(5, 9)), 3);
    let log = guest.close();
    let moved: Vec<_> = log.records().map(|record| (record.fd, record.moved)).collect();
    assert_eq!(moved, [(4, Moved::Input(1)), (4, Moved::Closed), (5, Moved::Input(3))]);
    guest.not_posted(CLOSE, close(4));
}

const ADD: u64 = 1;
const REMOVE: u64 = 2;
const MODIFY: u64 = 3;

const fn control(epoll: u64, operation: u64, fd: u64) -> [u64; 6] {
    [epoll, operation, fd, LISTS, 0x88, 0x99]
}

#[test]
fn watches_change_where_the_outcome_is_known() {
    let mut guest = Guest::new(once());
    let grants = [(4, Some(true)), (5, Some(false)), (6, None)].map(|(fd, watched)| Grant {
        fd,
        input: b"abc",
        credit: 12,
        watched,
        ..Grant::default()
    });
    guest.open(&grants);
    guest.not_posted(EPOLL_CTL, control(9, MODIFY, 4));
    guest.close();
    guest.thread.context.post_box().open(&grants, Some(9));
    // The event's flags are the first half of the first word.
    guest.set_lists(&[7 << 32 | 5, 8]);
    for args in [
        control(8, MODIFY, 4),
        control(9, ADD, 4),
        control(9, 0, 4),
        control(9, 4, 4),
        control(9, u64::MAX, 4),
        control(9, REMOVE, 5),
        control(9, MODIFY, 5),
        control(9, ADD, 6),
        control(9, MODIFY, 6),
        control(9, ADD, 7),
        [9, MODIFY, 4, 0x10_0000, 1, 2],
        [9, MODIFY, 4, 1 << 63, 1, 2],
    ] {
        guest.not_posted(EPOLL_CTL, args);
    }
    assert_eq!(guest.posted(EPOLL_CTL, control(9, MODIFY, 4)), 0);
    // Where it is removed, nobody looks at the event.
    assert_eq!(guest.posted(EPOLL_CTL, [9, REMOVE, 4, 0x10_0000, 1, 2]), 0);
    guest.not_posted(EPOLL_CTL, control(9, REMOVE, 4));
    guest.not_posted(EPOLL_CTL, control(9, MODIFY, 4));
    assert_eq!(guest.posted(READ, read(4, 2)), 2);
    assert_eq!(guest.posted(EPOLL_CTL, control(9, ADD, 5)), 0);
    assert_eq!(guest.posted(EPOLL_CTL, control(9, ADD, 4)), 0);
    guest.not_posted(EPOLL_CTL, control(9, ADD, 4));
    // Exclusive watches are the kernel's.
    guest.set_lists(&[1 << 28, 0]);
    guest.not_posted(EPOLL_CTL, control(9, MODIFY, 4));
    let log = guest.close();
    let moved: Vec<_> = log.records().map(|record| (record.fd, record.moved)).collect();
    let control = |operation, events, data| Moved::Watched(Control { operation, events, data });
    assert_eq!((moved[0], moved[2]), ((4, control(3, 5, 8 << 32 | 7)), (4, Moved::Input(2))));
    assert!(matches!(moved[1], (4, Moved::Watched(Control { operation: 2, .. }))));
    assert_eq!(moved[3..], [(5, control(1, 5, 8 << 32 | 7)), (4, control(1, 5, 8 << 32 | 7))]);
    guest.not_posted(EPOLL_CTL, control_of(4));
}

const fn control_of(fd: u64) -> [u64; 6] {
    control(9, MODIFY, fd)
}

#[test]
fn a_log_is_filled_with_changes_and_no_further() {
    let mut guest = Guest::new(once());
    guest.set_lists(&[1, 0]);
    let grant = Grant { fd: 4, input: b"i", credit: 12, watched: Some(true), ..Grant::default() };
    guest.thread.context.post_box().open(&[grant], Some(9));
    let most = Grant::LOG / 24;
    for _ in 0..most {
        assert_eq!(guest.posted(EPOLL_CTL, control(9, MODIFY, 4)), 0);
    }
    guest.not_posted(EPOLL_CTL, control(9, MODIFY, 4));
    // What lies behind the log is as it was.
    assert_eq!(guest.posted(READ, read(4, 5)), 1);
    assert_eq!(guest.data(1), b"i");
    assert_eq!(guest.close().records().count(), most + 1);
}

#[test]
fn a_full_log_leaves_calls_to_the_kernel() {
    let mut guest = Guest::new(once());
    guest.open(&[Grant { fd: 2, input: b"", credit: 1 << 20, ..Grant::default() }]);
    guest.not_posted(WRITE, read(2, Grant::LOG as u64));
    let most = (Grant::LOG - Grant::OVERHEAD) as u64;
    assert_eq!(guest.posted(WRITE, read(2, most)), most);
    guest.not_posted(WRITE, read(2, 1));
}

#[test]
fn a_bad_buffer_is_the_kernels_to_judge() {
    let mut guest = Guest::new(once());
    let nowhere = 0x10_0000;
    guest.open(&[Grant { fd: 5, input: b"hello", credit: 100, ..Grant::default() }]);
    guest.not_posted(READ, [5, nowhere, 5, 1, 2, 3]);
    guest.not_posted(WRITE, [5, nowhere, 5, 1, 2, 3]);
    // The end of what is mapped: some of it can be copied.
    guest.not_posted(WRITE, [5, DATA + 0x1_0000 - 3, 5, 1, 2, 3]);
    // Linux looks at all of a buffer before it reads.
    guest.not_posted(READ, [5, DATA, 1 << 47, 1, 2, 3]);
    guest.not_posted(READ, [5, DATA, u64::MAX, 1, 2, 3]);
    assert_eq!(guest.close().records().count(), 0);
    // It goes on behind the call with what the kernel says.
    guest.thread.regs.rax = 0x1234;
    let event = guest.thread.run();
    assert!(matches!(event, Event::Exception(_)), "{event:?}");
    assert_eq!((guest.thread.regs.rax, guest.thread.regs.rbx), (0x1234, 0x11));
    // Memory that may only be read.
    let ops = [MapOp::Protect { addr: abi::UserAddr(DATA), len: 4096, prot: guest::RO }];
    guest.process.space.apply(&ops).unwrap();
    guest.open(&[Grant { fd: 5, input: b"hello", credit: 100, ..Grant::default() }]);
    guest.not_posted(READ, read(5, 5));
    assert_eq!(guest.posted(WRITE, read(5, 5)), 5);
}

/// What a thread that writes and is stopped all the time has posted is what it was told.
#[test]
fn interrupts_and_closings_lose_nothing() {
    for (number, args) in [(WRITE, read(3, 7)), (READ, read(3, 7)), (WRITEV, vector(3, 2))] {
        let mut guest = Guest::new(again());
        guest.set_data(b"0123456789");
        guest.set_lists(&[DATA, 3, DATA + 3, 4]);
        let interrupter = guest.thread.context.interrupter();
        let post_box = guest.thread.context.post_box();
        let is_done = AtomicBool::new(false);
        let [rdi, rsi, rdx, ..] = args;
        guest.thread.regs = Regs { rax: number, rdi, rsi, rdx, r13: number, ..guest.thread.regs };
        let (mut told, mut rounds, mut posted) = (0, 0, 0);
        let input = [b'i'; 700];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut wait = 0;
                while !is_done.load(Ordering::SeqCst) {
                    interrupter.interrupt();
                    wait = (wait + 7) % 3000;
                    for _ in 0..wait {
                        std::hint::spin_loop();
                    }
                }
            });
            while rounds < 6000 {
                rounds += 1;
                post_box.open(&[Grant { fd: 3, input: &input, credit: 700, ..Grant::default() }], None);
                let event = guest.thread.run();
                for record in post_box.close().records() {
                    posted += match record.moved {
                        Moved::Input(len) if number == READ => len as u64,
                        Moved::Output(b"0123456") if number != READ => 7,
                        other => panic!("{other:?}"),
                    };
                }
                let regs = &guest.thread.regs;
                let is_at_call = match event {
                    Event::RewrittenCall | Event::Syscall => true,
                    Event::Interrupted => false,
                    other => panic!("{other:?}"),
                };
                assert_eq!([regs.rdi, regs.rsi, regs.rdx, regs.r13], [rdi, rsi, rdx, number]);
                assert!((CODE..CODE + 0x1_0000).contains(&regs.rip), "{:#x}", regs.rip);
                if is_at_call {
                    // All was used up: this one the kernel carries out.
                    assert_eq!(regs.orig_rax, number);
                    guest.thread.regs.rax = 7;
                    told += 7;
                }
            }
            is_done.store(true, Ordering::SeqCst);
        });
        // It may stand between a call and the addition.
        let returned = guest.thread.regs.r15;
        let sum = told + posted;
        assert!(sum.abs_diff(returned) <= 7, "{returned} of {told} + {posted}");
        assert!(posted > 700 * 7, "{posted}");
    }
}

/// Whoever closes the box while the thread runs gets every call that succeeded, and no other.
#[test]
fn a_box_closed_by_another_thread_is_complete() {
    let mut guest = Guest::new(again());
    guest.set_data(b"0123456789");
    let interrupter = guest.thread.context.interrupter();
    let post_box = guest.thread.context.post_box();
    let [rdi, rsi, rdx, ..] = read(3, 7);
    guest.thread.regs = Regs { rax: WRITE, rdi, rsi, rdx, r13: WRITE, ..guest.thread.regs };
    let (mut told, mut posted) = (0, 0);
    for round in 0..3000_u32 {
        post_box.open(&[Grant { fd: 3, input: b"", credit: 1 << 20, ..Grant::default() }], None);
        let log = std::thread::scope(|scope| {
            let closer = scope.spawn(|| {
                for _ in 0..round % 512 {
                    std::hint::spin_loop();
                }
                post_box.close()
            });
            let event = guest.thread.run();
            if matches!(event, Event::RewrittenCall | Event::Syscall) {
                guest.thread.regs.rax = 7;
                told += 7;
            }
            closer.join().unwrap()
        });
        posted += 7 * log.records().count() as u64;
        assert!(!post_box.has_records(), "posted to a closed box in round {round}");
    }
    interrupter.interrupt();
    let _ = guest.thread.run();
    let sum = told + posted;
    assert!(sum.abs_diff(guest.thread.regs.r15) <= 7, "{} of {told} + {posted}", guest.thread.regs.r15);
}

#[test]
fn a_word_that_lies_gives_an_empty_or_a_short_log() {
    for word in [0, 0xffff_ffff, 0x8000_ffff, 0x8000_1001, 0x8000_0fff, 0x8000_0007, 0x7fff_ffff_u32] {
        let machine = Machine::new();
        let process = machine.process(liar());
        let mut thread = process.thread();
        thread
            .context
            .post_box()
            .open(&[Grant { fd: 3, input: b"x", credit: 100, ..Grant::default() }], None);
        thread.regs.rbx = word.into();
        thread.syscall();
        let log = thread.context.post_box().close();
        assert!(log.records().count() <= Grant::LOG / 8);
        assert_eq!(thread.context.post_box().close().records().count(), 0);
    }
}
