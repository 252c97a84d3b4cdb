//! Signal numbers, sets and `siginfo_t` (`asm-generic/signal.h`, `asm-generic/siginfo.h`; `man 7 signal`).
#![allow(missing_docs, reason = "Linux's names: man 2 sigaction, man 2 sigaltstack")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $number:literal,)*) => {
        impl Signal { $(pub const $name: Self = Self($number);)* }
        const NAMES: &[(u8, &str)] = &[$(($number, stringify!($name)),)*];
    };
}

signals! {
    HUP = 1, INT = 2, QUIT = 3, ILL = 4, TRAP = 5, ABRT = 6, BUS = 7, FPE = 8, KILL = 9, USR1 = 10, SEGV = 11,
    USR2 = 12, PIPE = 13, ALRM = 14, TERM = 15, STKFLT = 16, CHLD = 17, CONT = 18, STOP = 19, TSTP = 20, TTIN = 21,
    TTOU = 22, URG = 23, XCPU = 24, XFSZ = 25, VTALRM = 26, PROF = 27, WINCH = 28, IO = 29, PWR = 30, SYS = 31,
}

impl Signal {
    /// The first real-time signal.
    pub const RTMIN: Self = Self(32);
    /// The highest signal number.
    pub const MAX: u8 = 64;

    /// The signal with this number, if there is one.
    #[must_use]
    pub const fn new(number: i32) -> Option<Self> {
        if number >= 1 && number <= Self::MAX as i32 { Some(Self(number as u8)) } else { None }
    }

    /// The signal of this name, as [`Self::name`] gives it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(number, _)| Self(*number))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// Whether it queues (number 32 and up).
    #[must_use]
    pub const fn is_realtime(self) -> bool {
        self.0 >= 32
    }

    /// Its name without `SIG`, `"RT"` for real-time signals.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(number, _)| *number == self.0).map_or("RT", |(_, name)| name)
    }
}

/// A set of signals, bit `n - 1` for signal `n`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Those that can be neither blocked nor caught.
    pub const UNBLOCKABLE: Self = Self((1 << (9 - 1)) | (1 << (19 - 1)));

    /// The set of one signal.
    #[must_use]
    pub const fn of(signal: Signal) -> Self {
        Self(1 << (signal.0 - 1))
    }

    /// Whether `signal` is in it.
    #[must_use]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    /// With `signal` added.
    #[must_use]
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | Self::of(signal).0)
    }

    /// Without the signals of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lowest signal in it.
    #[must_use]
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { Some(Signal(self.0.trailing_zeros() as u8 + 1)) }
    }
}

/// `siginfo_t`: 128 bytes whose meaning depends on the signal and `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigInfo {
    /// `si_signo`.
    pub signo: i32,
    /// `si_errno`.
    pub errno: i32,
    /// `si_code`.
    pub code: i32,
    /// Alignment.
    pub pad: u32,
    /// The union `_sifields`.
    pub fields: [u8; 112],
}

/// `si_code` for kill(2).
pub const SI_USER: i32 = 0;
/// `si_code` for signals from the kernel.
pub const SI_KERNEL: i32 = 0x80;
/// `si_code` for sigqueue(3).
pub const SI_QUEUE: i32 = -1;
/// `si_code` for POSIX timers.
pub const SI_TIMER: i32 = -2;
/// `si_code` for POSIX message queues.
pub const SI_MESGQ: i32 = -3;
/// `si_code` for tgkill(2).
pub const SI_TKILL: i32 = -6;

impl SigInfo {
    /// An information block without fields.
    #[must_use]
    pub fn new(signal: Signal, code: i32) -> Self {
        Self { signo: signal.number(), errno: 0, code, pad: 0, fields: [0; 112] }
    }

    /// Sent by a process: kill(2), tgkill(2), sigqueue(3).
    #[must_use]
    pub fn from_user(signal: Signal, code: i32, pid: i32, uid: u32) -> Self {
        let mut info = Self::new(signal, code);
        info.fields[0..4].copy_from_slice(&pid.to_ne_bytes());
        info.fields[4..8].copy_from_slice(&uid.to_ne_bytes());
        info
    }

    /// A fault at `addr`.
    #[must_use]
    pub fn from_fault(signal: Signal, code: i32, addr: u64) -> Self {
        let mut info = Self::new(signal, code);
        info.fields[0..8].copy_from_slice(&addr.to_ne_bytes());
        info
    }

    /// A change of a child: `status` is the exit code or signal.
    #[must_use]
    pub fn from_child(code: i32, pid: i32, uid: u32, status: i32, utime: i64, stime: i64) -> Self {
        let mut info = Self::from_user(Signal::CHLD, code, pid, uid);
        info.fields[8..12].copy_from_slice(&status.to_ne_bytes());
        info.fields[16..24].copy_from_slice(&utime.to_ne_bytes());
        info.fields[24..32].copy_from_slice(&stime.to_ne_bytes());
        info
    }

    /// The signal, if `signo` is valid.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        Signal::new(self.signo)
    }
}

/// The default action, as a handler address.
pub const SIG_DFL: u64 = 0;
/// To be ignored, as a handler address.
pub const SIG_IGN: u64 = 1;

bitflags::bitflags! {
    /// `SA_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct SaFlags: u64 {
        const NOCLDSTOP = 0x0000_0001;
        const NOCLDWAIT = 0x0000_0002;
        const SIGINFO = 0x0000_0004;
        const EXPOSE_TAGBITS = 0x0000_0800;
        const RESTORER = 0x0400_0000;
        const ONSTACK = 0x0800_0000;
        const RESTART = 0x1000_0000;
        const NODEFER = 0x4000_0000;
        const RESETHAND = 0x8000_0000;
    }
}

/// `struct sigaction` as rt_sigaction(2) takes it on x86-64.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KernelSigaction {
    pub sa_handler: u64,
    pub sa_flags: u64,
    pub sa_restorer: u64,
    pub sa_mask: SigSet,
}

/// `stack_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackT {
    pub ss_sp: u64,
    pub ss_flags: i32,
    pub pad: u32,
    pub ss_size: u64,
}

/// `SS_ONSTACK`: the thread runs on the alternate stack.
pub const SS_ONSTACK: i32 = 1;
/// `SS_DISABLE`: there is no alternate stack.
pub const SS_DISABLE: i32 = 2;
/// `SS_AUTODISARM`: the alternate stack is forgotten while a handler runs.
pub const SS_AUTODISARM: i32 = i32::MIN;
/// The smallest alternate stack that sigaltstack(2) takes.
pub const MINSIGSTKSZ: u64 = 2048;

/// `si_code` of a `SIGTRAP` for a single step.
pub const TRAP_TRACE: i32 = 2;
/// `si_code` of a `SIGTRAP` for a hardware breakpoint or watchpoint.
pub const TRAP_HWBKPT: i32 = 4;

/// `struct sigevent`: how timers and message queues tell of an event.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names; man 7 sigevent")]
#[repr(C)]
pub struct SigEvent {
    pub value: u64,
    pub signo: i32,
    pub notify: i32,
    pub tid: i32,
    pub pad: [i32; 11],
}

/// By a signal.
pub const SIGEV_SIGNAL: i32 = 0;
/// Not at all.
pub const SIGEV_NONE: i32 = 1;
/// By a thread, which the C library makes.
pub const SIGEV_THREAD: i32 = 2;
/// By a signal to one thread.
pub const SIGEV_THREAD_ID: i32 = 4;

/// `CLD_*`: `si_code` of `SIGCHLD`.
pub mod cld {
    pub const EXITED: i32 = 1;
    pub const KILLED: i32 = 2;
    pub const DUMPED: i32 = 3;
    pub const TRAPPED: i32 = 4;
    pub const STOPPED: i32 = 5;
    pub const CONTINUED: i32 = 6;
}
