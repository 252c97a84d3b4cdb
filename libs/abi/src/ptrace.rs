//! ptrace(2) (`linux/ptrace.h`, `asm/ptrace-abi.h`).
#![allow(missing_docs, reason = "Linux's names: man 2 ptrace")]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Requests.
pub mod request {
    pub const TRACEME: u64 = 0;
    pub const PEEKTEXT: u64 = 1;
    pub const PEEKDATA: u64 = 2;
    pub const PEEKUSER: u64 = 3;
    pub const POKETEXT: u64 = 4;
    pub const POKEDATA: u64 = 5;
    pub const POKEUSER: u64 = 6;
    pub const CONT: u64 = 7;
    pub const KILL: u64 = 8;
    pub const SINGLESTEP: u64 = 9;
    pub const GETREGS: u64 = 12;
    pub const SETREGS: u64 = 13;
    pub const GETFPREGS: u64 = 14;
    pub const SETFPREGS: u64 = 15;
    pub const ATTACH: u64 = 16;
    pub const DETACH: u64 = 17;
    pub const SYSCALL: u64 = 24;
    pub const ARCH_PRCTL: u64 = 30;
    pub const SYSEMU: u64 = 31;
    pub const SETOPTIONS: u64 = 0x4200;
    pub const GETEVENTMSG: u64 = 0x4201;
    pub const GETSIGINFO: u64 = 0x4202;
    pub const SETSIGINFO: u64 = 0x4203;
    pub const GETREGSET: u64 = 0x4204;
    pub const SETREGSET: u64 = 0x4205;
    pub const SEIZE: u64 = 0x4206;
    pub const INTERRUPT: u64 = 0x4207;
    pub const LISTEN: u64 = 0x4208;
    pub const PEEKSIGINFO: u64 = 0x4209;
    pub const GETSIGMASK: u64 = 0x420a;
    pub const SETSIGMASK: u64 = 0x420b;
    pub const SECCOMP_GET_FILTER: u64 = 0x420c;
    pub const SECCOMP_GET_METADATA: u64 = 0x420d;
    pub const GET_SYSCALL_INFO: u64 = 0x420e;
}

bitflags! {
    /// `PTRACE_O_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct TraceOptions: u64 {
        const TRACESYSGOOD = 0x1;
        const TRACEFORK = 0x2;
        const TRACEVFORK = 0x4;
        const TRACECLONE = 0x8;
        const TRACEEXEC = 0x10;
        const TRACEVFORKDONE = 0x20;
        const TRACEEXIT = 0x40;
        const TRACESECCOMP = 0x80;
        const EXITKILL = 0x10_0000;
        const SUSPEND_SECCOMP = 0x20_0000;
    }
}

/// `PTRACE_EVENT_*`.
pub mod event {
    pub const FORK: i32 = 1;
    pub const VFORK: i32 = 2;
    pub const CLONE: i32 = 3;
    pub const EXEC: i32 = 4;
    pub const VFORK_DONE: i32 = 5;
    pub const EXIT: i32 = 6;
    pub const SECCOMP: i32 = 7;
    pub const STOP: i32 = 128;
}

/// `PTRACE_EVENTMSG_SYSCALL_ENTRY`: what `PTRACE_GETEVENTMSG` tells where a call begins.
pub const EVENTMSG_SYSCALL_ENTRY: u64 = 1;
/// `PTRACE_EVENTMSG_SYSCALL_EXIT`: where it has ended.
pub const EVENTMSG_SYSCALL_EXIT: u64 = 2;

/// Register sets of `PTRACE_GETREGSET` (`linux/elf.h`).
pub const NT_PRSTATUS: u64 = 1;
/// The FXSAVE area.
pub const NT_PRFPREG: u64 = 2;
/// The XSAVE area.
pub const NT_X86_XSTATE: u64 = 0x202;

/// Where the general registers end in `struct user`.
pub const USER_REGS_SIZE: u64 = 216;
/// Where the debug registers stand in `struct user`.
pub const USER_DEBUG_REGS: u64 = 848;
/// The size of `struct user`.
pub const USER_SIZE: u64 = 912;

/// `struct ptrace_peeksiginfo_args`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PeekSiginfoArgs {
    pub off: u64,
    pub flags: u32,
    pub nr: i32,
}

/// `PTRACE_PEEKSIGINFO_SHARED`.
pub const PEEKSIGINFO_SHARED: u32 = 1;

/// `struct ptrace_syscall_info`, with the longest of its variants.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SyscallInfo {
    pub op: u8,
    pub pad: [u8; 3],
    pub arch: u32,
    pub instruction_pointer: u64,
    pub stack_pointer: u64,
    /// Entry: number and arguments. Exit: result and, in one byte, whether it is an error.
    pub words: [u64; 7],
    /// At a seccomp stop: the filter's data.
    pub ret_data: u32,
    pub reserved: u32,
}
