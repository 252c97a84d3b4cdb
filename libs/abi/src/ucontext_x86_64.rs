//! What a signal handler finds on its stack on x86-64 (`asm/sigcontext.h`, `asm/ucontext.h`, `asm/sigframe.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::signal::{SigInfo, SigSet, StackT};

/// `struct sigcontext_64`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(C)]
pub struct SigContext {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub di: u64,
    pub si: u64,
    pub bp: u64,
    pub bx: u64,
    pub dx: u64,
    pub ax: u64,
    pub cx: u64,
    pub sp: u64,
    pub ip: u64,
    pub flags: u64,
    pub cs: u16,
    pub gs: u16,
    pub fs: u16,
    pub ss: u16,
    pub err: u64,
    pub trapno: u64,
    pub oldmask: u64,
    pub cr2: u64,
    pub fpstate: u64,
    pub reserved: [u64; 8],
}

/// `struct ucontext` as the kernel writes it: the mask has 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(C)]
pub struct UContext {
    pub uc_flags: u64,
    pub uc_link: u64,
    pub uc_stack: StackT,
    pub uc_mcontext: SigContext,
    pub uc_sigmask: SigSet,
}

/// `UC_FP_XSTATE`: the extended state is in XSAVE format.
pub const UC_FP_XSTATE: u64 = 1;
/// `UC_SIGCONTEXT_SS`: `ss` is saved.
pub const UC_SIGCONTEXT_SS: u64 = 2;
/// `UC_STRICT_RESTORE_SS`: `ss` is restored as it stands there.
pub const UC_STRICT_RESTORE_SS: u64 = 4;

/// `struct rt_sigframe`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RtSigFrame {
    /// Where the handler returns to.
    pub pretcode: u64,
    /// The interrupted context.
    pub uc: UContext,
    /// What the signal is about.
    pub info: SigInfo,
}

/// Where `struct _fpx_sw_bytes` stands in the FXSAVE area.
pub const FPX_SW_OFFSET: usize = 464;
/// The size of the FXSAVE area.
pub const FXSAVE_SIZE: usize = 512;
/// The first sign that the area is in XSAVE format.
pub const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// The second, behind the area.
pub const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;

/// `struct _fpx_sw_bytes`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(C)]
pub struct FpxSwBytes {
    pub magic1: u32,
    pub extended_size: u32,
    pub xfeatures: u64,
    pub xstate_size: u32,
    pub padding: [u32; 7],
}
