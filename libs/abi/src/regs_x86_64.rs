//! General registers of an x86-64 guest thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// All integer state of a guest thread. Extended state (x87, SSE, AVX…) stays with the platform's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "the names are the architecture's")]
#[repr(C)]
pub struct Regs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The number of the system call being served, `u64::MAX` (-1) outside one: what decides about restarting.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}
// The order is that of `struct user_regs_struct` (`asm/user_64.h`), so that PTRACE_GETREGS is a copy.

impl Regs {
    /// User code and stack segment selectors of 64-bit Linux.
    pub const USER_CS: u64 = 0x33;
    /// See [`Self::USER_CS`].
    pub const USER_SS: u64 = 0x2b;
    /// The flags a guest may set: CF PF AF ZF SF TF DF OF RF AC ID, as in Linux's `FIX_EFLAGS` plus TF and ID.
    pub const USER_FLAGS: u64 = 0x0025_0dd5;

    /// The six arguments of a system call.
    #[must_use]
    pub const fn syscall_args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }
}
