//! The traits between the kernel and the place where guest code runs.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use abi::{Regs, UserAddr};

use crate::AnsweredCalls;
use crate::posted::PostBox;

/// The most bytes of extended state (an XSAVE image in standard format, AVX-512 included) a context can hold.
pub const XSTATE_MAX: usize = 2816;

/// What can go wrong below the kernel. None of these is the guest's `errno`.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The host process that holds the address space is gone or no longer answers. The guest process dies of it.
    #[error("the guest's host process is gone: {0}")]
    Dead(String),
    /// The host refused a mapping (its limit on mappings or memory).
    #[error("the host refused a mapping: {0}")]
    Mapping(abi::Errno),
    /// A new host process or thread could not be made.
    #[error("cannot make a host process or thread for guest code: {0}")]
    Resources(String),
    /// The host lacks something that the platform cannot do without.
    #[error("this host cannot run the platform: {0}")]
    Unsupported(String),
}

/// Makes address spaces; one per sandbox.
pub trait Platform: Send + Sync {
    /// An address space without any guest mapping.
    ///
    /// # Errors
    /// `Resources` where the host has no process to give.
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError>;

    /// Guest mappings lie in `min..max` (page-aligned): what is above belongs to the platform.
    fn user_range(&self) -> (UserAddr, UserAddr);

    /// Bytes of extended state in use on this CPU (XSAVE area size for the enabled features, at most [`XSTATE_MAX`]),
    /// and the feature mask (XCR0 as far as it is exposed to guests).
    fn xstate_layout(&self) -> (usize, u64);

    /// How guests have come in up to now, as far as it has been added up.
    fn ways_in(&self) -> WaysIn;
}

/// How often guests came in by which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WaysIn {
    /// Calls that needed no kernel.
    pub answered: u64,
    /// Calls from [rewritten](crate::rewrite) sites, without a trap.
    pub rewritten: u64,
    /// Calls that trapped.
    pub trapped: u64,
    /// Faults, exceptions and interrupts.
    pub others: u64,
    /// Hand-overs to a kernel thread that watched for them.
    pub watched: u64,
    /// Hand-overs to one that slept.
    pub asleep: u64,
}

impl fmt::Display for WaysIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, rewritten, trapped, others, watched, asleep } = self;
        write!(f, "calls: {answered} answered at once, {rewritten} without a trap, {trapped} with; ")?;
        write!(f, "{others} faults and interrupts; hand-overs: {watched} watched for, {asleep} at the door")
    }
}

/// Access rights of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Protection {
    /// Loads are allowed.
    pub read: bool,
    /// Stores are allowed.
    pub write: bool,
    /// Instruction fetches are allowed.
    pub execute: bool,
}

/// What a mapping shows.
#[derive(Clone, Copy, Debug)]
pub enum MapSource<'a> {
    /// The sandbox's memory file, from this byte on.
    Memory(u64),
    /// A host file donated by a gofer, from this byte on. The descriptor need only live for the call.
    File(BorrowedFd<'a>, u64),
}

/// One change to an address space. Addresses and lengths are page multiples inside [`Platform::user_range`].
#[derive(Clone, Copy, Debug)]
pub enum MapOp<'a> {
    /// Maps `source` shared at `addr`, replacing what is there. `populate` asks for page tables to be filled now.
    Map {
        /// Where.
        addr: UserAddr,
        /// Bytes.
        len: u64,
        /// With which rights.
        prot: Protection,
        /// What.
        source: MapSource<'a>,
        /// Whether to fill page tables at once.
        populate: bool,
    },
    /// Removes whatever is mapped in the range.
    Unmap {
        /// From here.
        addr: UserAddr,
        /// Bytes.
        len: u64,
    },
    /// Changes the rights of what is mapped in the range; holes in it are skipped.
    Protect {
        /// From here.
        addr: UserAddr,
        /// Bytes.
        len: u64,
        /// The new rights.
        prot: Protection,
    },
}

/// One guest address space.
pub trait AddressSpace: Send + Sync {
    /// Carries out `ops` in order, as one hand-off where possible. When it returns, no guest thread of this address
    /// space can use a right that was taken away.
    ///
    /// # Errors
    /// The first failure; earlier operations stay done.
    fn apply(&self, ops: &[MapOp<'_>]) -> Result<(), PlatformError>;

    /// A context for a new guest thread. Its extended state is a copy of `parent`'s, or the architecture's initial one.
    ///
    /// # Errors
    /// `Resources` where no host thread can be had.
    fn new_context(&self, parent: Option<&mut dyn Context>) -> Result<Box<dyn Context>, PlatformError>;
}

/// The kind of access that faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address accessed. Zero for a general protection fault (non-canonical address).
    pub addr: u64,
    /// It was a store.
    pub write: bool,
    /// It was an instruction fetch.
    pub execute: bool,
    /// Linux's `si_signo` for it: `SIGSEGV` (11) or `SIGBUS` (7).
    pub signal: i32,
    /// The `si_code` that the host reported.
    pub code: i32,
    /// The hardware trap number and error code as Linux puts them in `sigcontext`.
    pub trap: u64,
    /// See `trap`.
    pub error: u64,
}

/// A CPU exception other than a page fault, as the signal the host made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// `SIGFPE`, `SIGILL` or `SIGTRAP`.
    pub signal: i32,
    /// The host's `si_code` (for example `FPE_INTDIV`, `TRAP_TRACE`).
    pub code: i32,
    /// The host's `si_addr`.
    pub addr: u64,
    /// The hardware trap number and error code as Linux puts them in `sigcontext`.
    pub trap: u64,
    /// See `trap`.
    pub error: u64,
}

/// Why a context stopped running guest code. The registers are current for each of them.
#[derive(Clone, Debug)]
pub enum Event {
    /// A 64-bit `syscall`. `rip` is behind the instruction, `orig_rax` holds the number.
    Syscall,
    /// The same, from a call site that was [rewritten](crate::rewrite).
    RewrittenCall,
    /// A 32-bit entry (`int 0x80`, `sysenter`) with this number; unsupported on purpose, answered with `ENOSYS`.
    CompatSyscall,
    /// A memory access that the mappings do not allow.
    Fault(Fault),
    /// Another CPU exception.
    Exception(Exception),
    /// [`Interrupter::interrupt`] was called.
    Interrupted,
    /// The host process or thread is dead or broke the protocol. The guest process must be killed.
    Died(String),
}

/// Makes a running context return; kept by whoever may want to stop a guest thread.
pub trait Interrupter: Send + Sync {
    /// Makes the current or next [`Context::run`] return [`Event::Interrupted`] soon. Cheap where the context is not
    /// running. May be called from any thread, any number of times; several calls may count as one.
    fn interrupt(&self);

    /// Keeps the context's thread from changing its signal mask without an event, until [`Context::show_mask`]; says what
    /// it is now, if the thread has known it. May be called at any time by any thread.
    fn hold_mask(&self) -> Option<u64>;

    /// What [`Context::set_answers`] and [`Context::show_mask`] told holds no longer: calls that begin after this are
    /// events, until it is told anew. May be called at any time by any thread.
    fn revoke_answers(&self);

    /// The context's last event will take a while to be dealt with: its thread shall not use a core to wait for it.
    fn stand_back(&self);

    /// The calling thread has nothing to do until `is_over`, probably within microseconds: waits without sleeping, for
    /// a short time and while no guest thread needs the core. Says whether it is over.
    fn linger(&self, is_over: &dyn Fn() -> bool) -> bool;
}

/// One guest thread's processor state and the host thread it runs on.
pub trait Context: Send {
    /// Loads `regs`, runs guest code until something needs the kernel, and stores the registers back.
    /// Segment selectors and reserved flag bits in `regs` are sanitized, not trusted.
    fn run(&mut self, regs: &mut Regs) -> Event;

    /// A handle to make `run` return.
    fn interrupter(&self) -> Arc<dyn Interrupter>;

    /// Copies the extended state, in the standard (non-compacted) XSAVE format, into `to`; returns its size.
    /// `to` is at least [`Platform::xstate_layout`]'s size.
    fn save_xstate(&mut self, to: &mut [u8]) -> usize;

    /// Replaces the extended state with an XSAVE image, or with a bare 512-byte FXSAVE image. Bits that the CPU would
    /// refuse are masked off, so that a hostile image harms only its own guest. `None` means the initial state.
    fn load_xstate(&mut self, from: Option<&[u8]>);

    /// What rewritten call sites may be answered without an event from now on; nothing where it is `None`. To be
    /// called while the context does not run.
    fn set_answers(&mut self, answers: Option<Answers>);

    /// Lets call sites change which signals the thread blocks instead of making an event of it: these now, and only the
    /// kernel changes that where it is `None` or not `may_change`. To be called while the context does not run; holds until
    /// the next time.
    fn show_mask(&mut self, mask: Option<u64>, may_change: bool);

    /// What the thread has changed about itself since it was last asked. Hostile as any register.
    fn take_told(&mut self) -> Told;

    /// Where the context's thread posts calls.
    fn post_box(&self) -> Arc<dyn PostBox>;

    /// Which signal actions call sites have set by themselves, since they were last asked for: those in
    /// [`PlainActions::plain`], to [`PlainActions::restorer`]. Hostile as any register.
    fn take_set_actions(&mut self) -> PlainActions;
}

/// What a thread has changed about itself without an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// rt_sigprocmask(2): it blocks these signals now.
    pub mask: Option<u64>,
    /// set_robust_list(2).
    pub robust_list: Option<u64>,
    /// set_tid_address(2).
    pub tid_address: Option<u64>,
}

/// Signals whose actions are as programs leave them, one bit each from the lowest on. The caller may ask for them, and
/// set them to the default with nothing but the restorer where no pending signal is forgotten by that. Programs that
/// start others do both for each signal there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainActions {
    /// The action is all zeros.
    pub unset: u64,
    /// It is the default, with this restorer, an empty mask, and no flag but the one that says so.
    pub plain: u64,
    /// Where handlers return to, as the guest's C library has it.
    pub restorer: u64,
}

/// Calls that need no kernel, and the results of those that have one that is known, as they return it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Which are answered. Those that read clocks are from the page that the platform was made with.
    pub calls: AnsweredCalls,
    /// getpid(2).
    pub pid: u64,
    /// gettid(2).
    pub tid: u64,
    /// getppid(2).
    pub parent: u64,
    /// getuid(2).
    pub uid: u64,
    /// geteuid(2).
    pub effective_uid: u64,
    /// getgid(2).
    pub gid: u64,
    /// getegid(2).
    pub effective_gid: u64,
    /// rt_sigaction(2). Nothing where others share the actions.
    pub actions: PlainActions,
    /// prlimit(2) of itself, and getrlimit(2): soft and hard limits, by number.
    pub limits: [[u64; 2]; stub::layout::LIMITS_LEN],
}
