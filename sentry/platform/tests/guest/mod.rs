//! A kernel for tests: loads machine code into a memory file, maps it into address spaces and runs contexts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(dead_code, reason = "every test file uses a part")]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::{Regs, UserAddr};
use host::memory::{Mapping, memfd};
use platform::systrap::{HandOver, Systrap};
use platform::{
    AddressSpace, AnsweredCalls, Answers, Context, Event, MapOp, MapSource, PlainActions, Platform,
    Protection,
};

pub(crate) const RX: Protection = Protection { read: true, write: false, execute: true };
pub(crate) const RW: Protection = Protection { read: true, write: true, execute: false };
pub(crate) const RO: Protection = Protection { read: true, write: false, execute: false };
pub(crate) const NONE: Protection = Protection { read: false, write: false, execute: false };

/// A thread of which nothing is known, and that may make all calls.
pub(crate) const NO_ANSWERS: Answers = Answers {
    calls: AnsweredCalls::ALL,
    pid: 0,
    tid: 0,
    parent: 0,
    uid: 0,
    effective_uid: 0,
    gid: 0,
    effective_gid: 0,
    actions: PlainActions { unset: 0, plain: 0, restorer: 0 },
    limits: [[0; 2]; 16],
};

/// Where [`Machine::process`] puts code, data and stack.
pub(crate) const CODE: u64 = 0x40_0000;
pub(crate) const DATA: u64 = 0x50_0000;
pub(crate) const STACK_TOP: u64 = 0x60_0000;
const PAGES: u64 = 16;
pub(crate) const LEN: u64 = PAGES * 4096;
const FILE_SIZE: u64 = 256 << 20;
/// Where in the memory file the stub's clock page is.
pub(crate) const CLOCK_PAGE: u64 = 0;

/// Declares a piece of guest code: `guest!(name, "instruction", ...)` makes `fn name() -> &'static [u8]`.
#[macro_export]
macro_rules! guest {
    ($name:ident, $($line:literal),+ $(,)?) => {
        std::arch::global_asm!(
            ".pushsection .rodata.guest,\"a\",@progbits",
            // The function below may come to be in another object.
            concat!(".globl guest_start_", stringify!($name), ", guest_end_", stringify!($name)),
            concat!("guest_start_", stringify!($name), ":"),
            $($line,)+
            concat!("guest_end_", stringify!($name), ":"),
            ".popsection",
        );

        fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("guest_start_", stringify!($name))]
                static START: u8;
                #[link_name = concat!("guest_end_", stringify!($name))]
                static END: u8;
            }
            // SAFETY: the symbols delimit the bytes assembled above.
            unsafe {
                let start = &raw const START;
                std::slice::from_raw_parts(start, (&raw const END) as usize - start as usize)
            }
        }
    };
}

/// A platform with its memory file.
pub(crate) struct Machine {
    pub(crate) platform: Systrap,
    pub(crate) memory: OwnedFd,
    pub(crate) direct: Mapping,
    next: AtomicU64,
}

impl Machine {
    /// With the hand-over that the environment variable `HAND_OVER` names.
    pub(crate) fn new() -> Self {
        let hand_over = match std::env::var("HAND_OVER").as_deref() {
            Ok("watch") => HandOver::Watch,
            Ok("door") => HandOver::Door,
            _ => HandOver::Adaptive,
        };
        Self::with_hand_over(hand_over)
    }

    pub(crate) fn with_hand_over(hand_over: HandOver) -> Self {
        let memory = memfd(c"guest-memory", FILE_SIZE).unwrap();
        let direct = Mapping::shared(memory.as_fd(), 0, FILE_SIZE as usize, true).unwrap();
        let platform = Systrap::new(memory.as_fd(), CLOCK_PAGE, hand_over).unwrap();
        Self { platform, memory, direct, next: AtomicU64::new(CLOCK_PAGE + 4096) }
    }

    /// Fresh bytes of the memory file.
    pub(crate) fn allocate(&self, len: u64) -> u64 {
        let at = self.next.fetch_add(len, Ordering::SeqCst);
        assert!(at + len <= FILE_SIZE, "the test's memory file is full");
        at
    }

    /// An address space with code, a page run of data, and a stack.
    pub(crate) fn process(&self, code: &[u8]) -> Process {
        let space = self.platform.new_address_space().unwrap();
        let memory = self.allocate(3 * LEN);
        self.direct.slice(memory, code.len()).unwrap().write(code).unwrap();
        let map = |addr, prot, from| MapOp::Map {
            addr: UserAddr(addr),
            len: LEN,
            prot,
            source: MapSource::Memory(from),
            populate: true,
        };
        let ops =
            [map(CODE, RX, memory), map(DATA, RW, memory + LEN), map(STACK_TOP - LEN, RW, memory + 2 * LEN)];
        space.apply(&ops).unwrap();
        Process { space, data: memory + LEN }
    }
}

/// An address space made by [`Machine::process`].
pub(crate) struct Process {
    pub(crate) space: Arc<dyn AddressSpace>,
    /// Where its data lies in the memory file.
    pub(crate) data: u64,
}

impl Process {
    pub(crate) fn thread(&self) -> Thread {
        Thread { context: self.space.new_context(None).unwrap(), regs: Thread::start() }
    }

    /// Where its code lies in the memory file.
    pub(crate) fn code(&self) -> u64 {
        self.data - LEN
    }
}

/// A context with its registers.
pub(crate) struct Thread {
    pub(crate) context: Box<dyn Context>,
    pub(crate) regs: Regs,
}

impl Thread {
    /// The registers of a new thread.
    pub(crate) fn start() -> Regs {
        Regs { rip: CODE, rsp: STACK_TOP - 64, rflags: 0x202, ..Regs::default() }
    }

    pub(crate) fn run(&mut self) -> Event {
        self.context.run(&mut self.regs)
    }

    /// Runs to the next system call and gives its number and arguments.
    pub(crate) fn syscall(&mut self) -> (u64, [u64; 6]) {
        match self.run() {
            Event::Syscall => (self.regs.orig_rax, self.regs.syscall_args()),
            other => panic!("expected a system call, got {other:?} at {:#x}", self.regs.rip),
        }
    }

    /// Answers the current system call and runs to the next.
    pub(crate) fn answer(&mut self, value: u64) -> (u64, [u64; 6]) {
        self.regs.rax = value;
        self.syscall()
    }
}
