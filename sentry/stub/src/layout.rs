//! Where things lie in a stub process and in the control file, and the format of commands.
//!
//! The control file is a memfd of *slots*. Slot 0 belongs to the platform (constants, the zygote's commands); every
//! stub has one slot of commands, and every guest thread one slot that is its *area*.

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// The end of guest addresses; everything from here to [`TASK_END`] is the stub's.
pub const GUEST_END: u64 = 0x7ff0_0000_0000;
/// The end of user space with four-level page tables.
pub const TASK_END: u64 = 0x7fff_ffff_f000;

/// The code, read and execute only.
pub const IMAGE: u64 = GUEST_END;
/// Bytes of address space that the code takes.
pub const IMAGE_SIZE: u64 = 4 * PAGE;
/// Filters, message headers: read-only, the same in every stub.
pub const CONSTANTS: u64 = IMAGE + 0x10_0000;
/// The zygote's commands; unmapped in stubs.
pub const ZYGOTE_RING: u64 = IMAGE + 0x20_0000;
/// This stub's commands: read-only.
pub const COMMANDS: u64 = IMAGE + 0x30_0000;
/// A page that the kernel may write to on the helper's behalf and nobody reads.
pub const SCRATCH: u64 = IMAGE + 0x40_0000;
/// The page of the guest's memory from which the clocks are read (`vdso::ClockPage`): read-only, the same in every stub.
pub const CLOCK: u64 = IMAGE + 0x50_0000;
/// The first area of a guest thread; each lies at a multiple of its size. Readable and writable.
pub const AREAS: u64 = IMAGE + 0x1_0000_0000;
/// How many areas fit.
pub const MAX_AREAS: u64 = (TASK_END - AREAS) / SLOT_SIZE;

/// Bytes in a slot of the control file.
pub const SLOT_SIZE: u64 = 8 * PAGE;
/// Slots that the control file can have.
pub const MAX_SLOTS: u64 = 1 << 17;

/// In slot 0: the page of constants.
pub const SLOT0_CONSTANTS: u64 = 0;
/// In slot 0: the zygote's command ring.
pub const SLOT0_RING: u64 = PAGE;

/// In a stub's slot: the spawner's ring, one page.
pub const SPAWNER_RING: u64 = 0;
/// In a stub's slot: the ring of the thread that is starting, one page.
pub const STARTER_RING: u64 = PAGE;
/// In the starter's page: room for what its commands point to.
pub const STARTER_DATA: u64 = STARTER_RING + 0xc00;
/// In a stub's slot: the helper's ring, five pages.
pub const HELPER_RING: u64 = 2 * PAGE;
/// Bytes of a stub's slot that it may only read.
pub const COMMANDS_SIZE: u64 = 7 * PAGE;
/// In a stub's slot: the scratch page.
pub const SLOT_SCRATCH: u64 = 7 * PAGE;

/// Entries in a ring of one page.
pub const SMALL_RING: u32 = 32;
/// Entries in the helper's ring.
pub const HELPER_RING_ENTRIES: u32 = 256;

/// In a ring: how many commands have ever been put in (`u32`, a futex).
pub const RING_TAIL: u64 = 0;
/// In a ring: its number of entries minus one (`u32`); a power of two minus one.
pub const RING_MASK: u64 = 4;
/// In a ring: its first entry.
pub const RING_ENTRIES: u64 = 64;

/// Bytes in a command.
pub const ENTRY_SIZE: u64 = 64;
/// In a command: the call's number (`u32`).
pub const ENTRY_NR: u64 = 0;
/// In a command: its flags (`u32`).
pub const ENTRY_FLAGS: u64 = 4;
/// In a command: six arguments.
pub const ENTRY_ARGS: u64 = 8;
/// In a command: a value that flags give a meaning to.
pub const ENTRY_EXTRA: u64 = 56;

/// The call makes a child: there, go on with the ring at `extra`.
pub const FLAG_CHILD: u32 = 1;
/// The result must be `extra`; otherwise the process ends.
pub const FLAG_EXPECT: u32 = 2;
/// Carry out also after a failure, and a failure of this one counts for nothing.
pub const FLAG_ALWAYS: u32 = 4;
/// Report the result at the door.
pub const FLAG_KEEP: u32 = 8;
/// Not a call: report at the door and wait there.
pub const FLAG_DOOR: u32 = 16;
/// Not a call: become a guest thread whose stack lies at the first argument.
pub const FLAG_ENTER: u32 = 32;
/// Carry out only after a failure, which is thereby dealt with.
pub const FLAG_ON_ERROR: u32 = 64;

/// The number of the call that is the door. No such call exists.
pub const DOOR_NR: u32 = 0x0d00;
/// What the door answers: go on.
pub const DOOR_GO_ON: i64 = 0;
/// What the door answers: end this thread. Larger values are the address of an area: begin with the frame that its
/// header names. Negative ones are the host's, where nobody listens any more.
pub const DOOR_EXIT: i64 = 1;

/// In an area: how the thread and the sentry hand over, one of `STATE_*`. This and what follows is one cache line.
pub const AREA_STATE: u64 = 0x08;
/// In an area: the `fs` base to load.
pub const AREA_FS: u64 = 0x10;
/// In an area: the `gs` base to load.
pub const AREA_GS: u64 = 0x18;
/// In an area: the stack pointer with which to call `rt_sigreturn`.
pub const AREA_STACK: u64 = 0x20;
/// In an area: where the frame of an event that was told lies.
pub const AREA_EVENT_FRAME: u64 = 0x28;
/// In an area: the `fs` base at an event that was told.
pub const AREA_EVENT_FS: u64 = 0x30;
/// In an area: the `gs` base at an event that was told.
pub const AREA_EVENT_GS: u64 = 0x38;

/// In an area: minus its address; how a rewritten call site makes sure that `gs` still points here.
pub const AREA_SELF: u64 = 0x40;
/// In an area: not zero where the sentry wants the thread back (`u32`).
pub const AREA_INTERRUPT: u64 = 0x48;
/// In an area: how a thread that came by a rewritten call site goes on, one of `RESUME_*` (`u32`).
pub const AREA_RESUME: u64 = 0x4c;
/// In an area: which answers hold, a [`hold_bit`] for each kind (`u32`).
pub const AREA_ANSWERS_HOLD: u64 = 0x50;
/// In an area: how often the sentry has let the thread go on (`u32`).
pub const AREA_TURN: u64 = 0x54;
/// In an area: [`AREA_TURN`] when [`AREA_XSTATE`] was last filled in (`u32`).
pub const AREA_XSTATE_TURN: u64 = 0x58;
/// In an area: the results of calls that the stub answers itself, in the order of [`ANSWERED`].
pub const AREA_ANSWERS: u64 = 0x60;

/// In an area: how many calls the stub has answered (`u64`).
pub const AREA_ANSWERED: u64 = 0xa0;

/// In an area: the signals, one bit each from the lowest on, whose action is all zeros: the default, never set (`u64`);
/// of these, not those of [`AREA_ACTIONS_PLAIN`].
pub const AREA_ACTIONS_UNSET: u64 = 0xa8;
/// In an area: the signals that the thread blocks, with [`MASK_KNOWN`] and [`MASK_OPEN`] in the places of those that
/// nobody can block (`u64`). The stub changes it by exchanging it.
pub const AREA_MASK: u64 = 0xb0;
/// In an area: the address that a C library sets as the place where handlers return to (`u64`).
pub const AREA_ACTIONS_RESTORER: u64 = 0xb8;
/// In an area: the word of posted calls (`u32`): [`POSTED_OPEN`] while some may be posted, and how many bytes of the log
/// are in use. The stub's only way to post a call is to exchange it.
pub const AREA_POSTED: u64 = 0xc0;
/// In an area: what the call that is being posted returns (`u32`).
pub const AREA_POSTED_RESULT: u64 = 0xc4;
/// In an area: [`AREA_POSTED`] as it was when the posting of a call began (`u32`).
pub const AREA_POSTED_WORD: u64 = 0xc8;
/// In an area: the descriptor of the epoll instance whose watches may be changed (`u32`).
pub const AREA_POSTED_EPOLL: u64 = 0xcc;
/// In an area: the one buffer of such a call, as an `iovec`.
pub const AREA_POSTED_BUFFER: u64 = 0xd0;
/// In an area: the signals whose action is the default, set with nothing but [`AREA_ACTIONS_RESTORER`] (`u64`). The
/// stub adds signals of the other set, by exchanging this one.
pub const AREA_ACTIONS_PLAIN: u64 = 0xe0;
/// In an area: what the thread has told of itself since the sentry last looked, some of `TOLD_*` (`u32`).
pub const AREA_TOLD: u64 = 0xe8;
/// In an area: how many trapped calls the stub could have answered (`u32`).
pub const AREA_TRAPS: u64 = 0xec;
/// In an area: what set_robust_list(2) was told (`u64`).
pub const AREA_ROBUST_LIST: u64 = 0xf0;
/// In an area: what set_tid_address(2) was told (`u64`).
pub const AREA_TID_ADDRESS: u64 = 0xf8;
/// In [`AREA_MASK`], for `SIGKILL`: the stub may change the others.
pub const MASK_OPEN: u32 = 1 << 8;
/// In [`AREA_MASK`], for `SIGSTOP`: the sentry has filled it in.
pub const MASK_KNOWN: u32 = 1 << 18;
/// In [`AREA_TOLD`]: [`AREA_ROBUST_LIST`] holds.
pub const TOLD_ROBUST_LIST: u32 = 1;
/// In [`AREA_TOLD`]: [`AREA_TID_ADDRESS`] holds.
pub const TOLD_TID_ADDRESS: u32 = 2;
/// Of so many calls that trap and that the stub could answer, one goes to the sentry, which counts what traps.
pub const TRAPS_COUNTED: u32 = 8;

/// In [`AREA_POSTED`]: calls may be posted. The sign bit.
pub const POSTED_OPEN: u32 = 1 << 31;
/// In an area: what may be posted, [`GRANTS`] entries of [`GRANT_SIZE`] bytes. Descriptor `fd` has entry `fd % GRANTS`:
/// the number (`u32`), where prepared input begins and how much there is (`u16` each), how many bytes may be written
/// (`u32`), and some of `GRANT_*` (`u32`).
pub const AREA_GRANTS: u64 = 0x200;
/// Entries in [`AREA_GRANTS`].
pub const GRANTS: usize = 16;
/// Bytes of an entry in [`AREA_GRANTS`].
pub const GRANT_SIZE: u64 = 16;
/// In a grant: the descriptor may be closed.
pub const GRANT_CLOSE: u32 = 1;
/// In a grant: how the instance of [`AREA_POSTED_EPOLL`] watches the descriptor may be changed.
pub const GRANT_CONTROL: u32 = 2;
/// In a grant: that instance watches it. Kept by the stub.
pub const GRANT_WATCHED: u32 = 4;
/// In an area: the process's limits, soft and hard, by number (`RLIMIT_*`).
pub const AREA_LIMITS: u64 = 0x300;
/// Entries in [`AREA_LIMITS`].
pub const LIMITS_LEN: usize = 16;
/// In an area: the log of posted calls. A record is the descriptor (`u32`) and the number of bytes (`u32`), with
/// [`RECORD_MESSAGE`] by the kind of call, and with [`RECORD_WRITE`] where they were written; those follow, up to a
/// multiple of eight. A descriptor that was closed has [`RECORD_CLOSE`] and no bytes, one whose watch was changed
/// [`RECORD_CONTROL`] with the operation and [`CONTROL_SIZE`] more bytes, the first of which are the event.
pub const AREA_LOG: u64 = 2 * PAGE;
/// Bytes in the log.
pub const LOG_SIZE: u64 = PAGE;
/// In a record's length: it is of bytes that were written.
pub const RECORD_WRITE: u32 = 1 << 31;
/// In a record's length: the call was one for sockets, not read(2) or write(2).
pub const RECORD_MESSAGE: u32 = 1 << 30;
/// In a record's length: the descriptor was closed.
pub const RECORD_CLOSE: u32 = 1 << 29;
/// In a record's length: it is the operation of an epoll_ctl(2).
pub const RECORD_CONTROL: u32 = 1 << 28;
/// What follows in a record with [`RECORD_CONTROL`]: a `struct epoll_event`, up to a multiple of eight.
pub const CONTROL_SIZE: u64 = 16;
/// In an event's flags: `EPOLLEXCLUSIVE`.
pub const EVENT_EXCLUSIVE: u32 = 1 << 28;
/// In an area: prepared input.
pub const AREA_INPUT: u64 = 3 * PAGE;
/// Bytes of prepared input.
pub const INPUT_SIZE: u64 = PAGE;

/// In an area: the registers at a rewritten call site, in the order of the kernel's `sigcontext`: r8 to r15, rdi, rsi,
/// rbp, rbx, rdx, rax, rcx, rsp, rip, flags.
pub const AREA_CALL: u64 = 0x100;
/// In [`AREA_CALL`]: words.
pub const CALL_WORDS: usize = 18;

/// Go on behind the call site, with the registers in [`AREA_CALL`].
pub const RESUME_CALL: u32 = 0;
/// Raise a signal, so that there is a whole frame.
pub const RESUME_RAISE: u32 = 1;
/// Go on with the frame behind [`AREA_STACK`].
pub const RESUME_FRAME: u32 = 2;

/// In place of a frame's address: the registers of a call are in [`AREA_CALL`].
pub const MARK_CALL: u64 = 1;
/// In place of a frame's address: interrupted before it went on as [`RESUME_CALL`].
pub const MARK_INTERRUPTED: u64 = 2;

/// Calls that the stub answers while their results are known, by number: getpid, gettid, getppid, getuid, geteuid,
/// getgid, getegid. Each has its answer in an area, in this order.
pub const ANSWERED: [u32; 7] = [39, 186, 110, 102, 107, 104, 108];
/// `rt_sigaction`, which the stub answers for the signals of [`AREA_ACTIONS_UNSET`] and [`AREA_ACTIONS_PLAIN`].
pub const ACTION_CALL: u32 = 13;
/// In place of where its answer lies.
pub const ACTION_MARK: u8 = 8;
/// Calls about the thread itself that the stub carries out, by number, each with what stands in place of where an answer
/// lies: `rt_sigprocmask`, `set_robust_list`, `set_tid_address`, `rseq` (there is none), `arch_prctl` (`ARCH_SET_FS`).
pub const OWN: [(u32, u8); 5] = [
    (14, MASK_MARK),
    (SET_ROBUST_LIST, ROBUST_LIST_MARK),
    (SET_TID_ADDRESS, TID_ADDRESS_MARK),
    (334, RSEQ_MARK),
    (158, FS_MARK),
];
/// `set_robust_list`.
pub const SET_ROBUST_LIST: u32 = 273;
/// `set_tid_address`.
pub const SET_TID_ADDRESS: u32 = 218;
/// See [`OWN`].
pub const MASK_MARK: u8 = 0x10;
/// See [`OWN`].
pub const ROBUST_LIST_MARK: u8 = 0x18;
/// See [`OWN`].
pub const TID_ADDRESS_MARK: u8 = 0x20;
/// See [`OWN`].
pub const RSEQ_MARK: u8 = 0x28;
/// See [`OWN`].
pub const FS_MARK: u8 = 0x30;
/// Calls that the stub answers from [`AREA_LIMITS`], likewise: `prlimit64` of itself, changing nothing, and `getrlimit`.
pub const LIMITS: [(u32, u8); 2] = [(302, LIMIT_MARK), (GETRLIMIT, LIMIT_MARK)];
/// See [`LIMITS`].
pub const LIMIT_MARK: u8 = 0x38;
/// `getrlimit`.
pub const GETRLIMIT: u32 = 97;
/// Calls that make a child, likewise: `clone`, `fork`, `vfork`, `clone3`. The stub saves the extended state, which the child
/// is to have, in [`AREA_XSTATE`], and goes on as with any call.
pub const CHILD_CALLS: [(u32, u8); 4] =
    [(56, CHILD_MARK), (57, CHILD_MARK), (58, CHILD_MARK), (435, CHILD_MARK)];
/// See [`CHILD_CALLS`].
pub const CHILD_MARK: u8 = 0x40;
/// Calls that the stub answers from [`CLOCK`], likewise: `clock_gettime`, `gettimeofday`, `time`.
pub const TIMES: [(u32, u8); 3] = [(228, CLOCK_MARK), (96, TIMEOFDAY_MARK), (201, TIME_MARK)];
/// See [`TIMES`]; the marks from here on are theirs.
pub const CLOCK_MARK: u8 = 0x48;
/// See [`TIMES`].
pub const TIMEOFDAY_MARK: u8 = 0x50;
/// See [`TIMES`].
pub const TIME_MARK: u8 = 0x58;
/// The clocks that the stub reads, by number: which field of the clock page is added, 0 where it does not know them.
pub const CLOCKS: [u8; 8] = {
    let mut fields = [0; 8];
    let mut clock = 0;
    while clock < fields.len() {
        if let Some(field) = vdso::ClockPage::added_for(clock as i32) {
            fields[clock] = field as u8;
        }
        clock += 1;
    }
    fields
};
/// Where constants have [`CLOCKS`].
pub const CLOCK_FIELDS: u64 = ANSWER_NUMBERS - CLOCKS.len() as u64;
/// For `arch_prctl`: the `fs` base.
pub const ARCH_SET_FS: u32 = 0x1002;
/// Signals whose actions only the sentry sets: some cannot be (`SIGKILL`, `SIGSTOP`), and the default of the others is to
/// forget those that are pending (`SIGCHLD`, `SIGCONT`, `SIGURG`, `SIGWINCH`).
pub const ACTIONS_NOT_SET: u64 = 1 << 8 | 1 << 18 | 1 << 16 | 1 << 17 | 1 << 22 | 1 << 27;
/// In a `struct sigaction`, `sa_flags`: there is a restorer.
pub const SA_RESTORER: u32 = 0x0400_0000;
/// Calls that the stub posts, by number, and in place of an answer's place what they are: read, write, close, readv,
/// writev, sendto, recvfrom, sendmsg, epoll_ctl.
pub const POSTABLE: [(u32, u8); 9] = [
    (0, POST_READ),
    (1, POST_WRITE),
    (3, POST_READ | POST_CLOSE),
    (19, POST_READ | POST_VECTOR),
    (20, POST_WRITE | POST_VECTOR),
    (44, POST_WRITE | POST_MESSAGE),
    (45, POST_READ | POST_MESSAGE),
    (46, POST_WRITE | POST_MESSAGE | POST_VECTOR),
    (233, POST_READ | POST_CONTROL),
];
/// A call that can be posted: it reads.
pub const POST_READ: u8 = 1;
/// A call that can be posted: it writes.
pub const POST_WRITE: u8 = 2;
/// A call that can be posted: it has flags and an address.
pub const POST_MESSAGE: u8 = 4;
/// A call that can be posted: it has several buffers, and where it is a message, a header for them.
pub const POST_VECTOR: u8 = 8;
/// A call that can be posted: it closes the descriptor, and has none of the others' arguments.
pub const POST_CLOSE: u8 = 16;
/// A call that can be posted: it changes how its first descriptor, an epoll instance, watches its third argument.
pub const POST_CONTROL: u8 = 32;
/// So many buffers such a call may have (`UIO_MAXIOV`).
pub const MOST_BUFFERS: u32 = 1024;
/// Flags that such a call may have: `MSG_DONTWAIT`, `MSG_NOSIGNAL`.
pub const POST_FLAGS: u32 = 0x4040;
/// Numbers of calls from here on are not looked up.
pub const ANSWER_TABLE: u32 = 440;
/// Where constants have [`ANSWER_PLACES`].
pub const ANSWER_NUMBERS: u64 = CONSTANTS + PAGE - ANSWER_TABLE as u64;
/// For each call's number: where in an area its answer lies or a mark in place of that (a multiple of eight), what kind of
/// postable call it is (no such multiple), or 0.
pub const ANSWER_PLACES: [u8; ANSWER_TABLE as usize] = {
    let mut places = [0; ANSWER_TABLE as usize];
    places[ACTION_CALL as usize] = ACTION_MARK;
    let mut index = 0;
    while index < ANSWERED.len() {
        places[ANSWERED[index] as usize] = AREA_ANSWERS as u8 + 8 * index as u8;
        index += 1;
    }
    let kinds: [&[(u32, u8)]; 5] = [&POSTABLE, &OWN, &LIMITS, &CHILD_CALLS, &TIMES];
    let mut kind = 0;
    while kind < kinds.len() {
        let mut index = 0;
        while index < kinds[kind].len() {
            let (number, place) = kinds[kind][index];
            places[number as usize] = place;
            index += 1;
        }
        kind += 1;
    }
    places
};

/// The bit of [`AREA_ANSWERS_HOLD`] for calls that have this place or mark in [`ANSWER_PLACES`].
#[must_use]
pub const fn hold_bit(place: u8) -> u32 {
    1 << (place / 8)
}

/// The sentry sleeps: come to the door.
pub const STATE_DOOR: u32 = 0;
/// The sentry watches the word: tell of the event by writing [`STATE_EVENT`].
pub const STATE_WATCHED: u32 = 1;
/// The thread has told of an event and watches the word; any other value lets it go on.
pub const STATE_EVENT: u32 = 2;
/// The thread has told of an event and is at the door or on the way there: tired of watching, or told to stop by the
/// sentry, which writes this where it is going to sleep.
pub const STATE_ASLEEP: u32 = 3;
/// How often the thread looks at the word, with a `pause` each: 15 to 70 microseconds, enough for the calls that change
/// mappings or ask a gofer.
pub const STUB_SPINS: u32 = 1536;

/// In an area: the lowest byte of the signal stack.
pub const AREA_SIGNAL_STACK: u64 = 4 * PAGE;
/// In an area: where the sentry builds a frame for a thread that has none; no signal is ever handled there.
pub const AREA_FIRST_FRAME: u64 = PAGE;
/// In an area: the extended state at a call of [`CHILD_CALLS`], as XSAVE stores it; in the place of a frame that the
/// thread has left.
pub const AREA_XSTATE: u64 = AREA_FIRST_FRAME;
/// What guests have of the extended state, as XSAVE takes it: x87, SSE, AVX, AVX-512 (three parts), protection keys.
pub const XSTATE_OFFERED: u32 = 0b10_1110_0111;

/// The signal that interrupts a guest thread: `SIGURG`.
pub const INTERRUPT: i32 = 23;
/// The signal of calls that trap.
pub const SIGSYS: i32 = 31;
/// In a signal frame, from the handler's stack pointer on: the interrupted instruction's address.
pub const FRAME_RIP: u64 = 176;
/// In a signal frame, likewise: `r11`.
pub const FRAME_R11: u64 = 72;
/// In a signal frame, likewise: `rax`, the call's number where one trapped.
pub const FRAME_RAX: u64 = 152;
/// In a signal frame, likewise: `rcx`.
pub const FRAME_RCX: u64 = 160;
/// In a signal frame, likewise: the flags.
pub const FRAME_FLAGS: u64 = 184;
/// In a signal frame, likewise: where a call trapped (`si_call_addr`).
pub const FRAME_CALL_ADDR: u64 = 328;
/// In a signal frame, likewise: which kind of call trapped (`si_arch`).
pub const FRAME_ARCH: u64 = 340;
/// `AUDIT_ARCH_X86_64`: a 64-bit one.
pub const ARCH: u32 = 0xc000_003e;

/// Descriptors of a stub: the sandbox's memory.
pub const FD_MEMORY: i32 = 0;
/// Descriptors of a stub: the control file.
pub const FD_CONTROL: i32 = 1;
/// Descriptors of a stub: the socket to the sentry.
pub const FD_SOCKET: i32 = 2;
/// Descriptors of a stub: the lowest free one, where whatever it is sent arrives.
pub const FD_TRANSIENT: i32 = 3;

// Both are changed by one instruction, which finds the area by rounding down.
const _: () = assert!(AREA_ACTIONS_PLAIN > AREA_MASK && AREA_ACTIONS_PLAIN - AREA_MASK < SLOT_SIZE);
// The stub tells a mark from an answer's place, and a clock's mark from the others, by which is greater.
const _: () = assert!((TIME_MARK as u64) < AREA_ANSWERS && CHILD_MARK < CLOCK_MARK);
const _: () = assert!(AREA_ANSWERS + 8 * ANSWERED.len() as u64 <= u32::BITS as u64 * 8);
