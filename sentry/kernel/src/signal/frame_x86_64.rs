//! The signal frame on x86-64, laid out as Linux does it (`arch/x86/kernel/signal_64.c`, `fpu/signal.c`).
//!
//! From high to low addresses: the red zone that the interrupted function may use, the extended state (64-byte
//! aligned) with its second magic number, and `struct rt_sigframe`, placed so that the handler starts with the stack as
//! after a call. rt_sigreturn(2) reads it all back; nothing that it finds there is trusted.

use abi::signal::{SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, SaFlags, StackT};
use abi::ucontext_x86_64::{
    FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, FPX_SW_OFFSET, FXSAVE_SIZE, FpxSwBytes, RtSigFrame, SigContext,
    UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS, UContext,
};
use abi::{Errno, Regs, Result, SigInfo, SigSet, UserAddr};
use platform::XSTATE_MAX;
use zerocopy::{FromBytes, IntoBytes};

use super::{AltStack, SigAction};
use crate::CurrentTask;

/// Below the stack pointer a function may keep data without moving it.
const RED_ZONE: u64 = 128;
const XSTATE_ALIGN: u64 = 64;
const FRAME_ALIGN: u64 = 16;
const FLAG_TF: u64 = 1 << 8;
const FLAG_DF: u64 = 1 << 10;
const FLAG_RF: u64 = 1 << 16;
/// What rt_sigreturn(2) takes from the frame (Linux's `FIX_EFLAGS`).
const FIX_FLAGS: u64 = 0x0005_0dd5;

/// The hardware's view of the last fault, shown in the frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapInfo {
    /// Trap number.
    pub trap: u64,
    /// Error code.
    pub error: u64,
    /// Faulting address.
    pub addr: u64,
}

impl CurrentTask {
    /// Pushes a frame for `action`'s handler and points the registers at it. `mask` is what will be blocked again after
    /// the handler.
    ///
    /// # Errors
    /// `EFAULT` where the stack cannot take it.
    pub(super) fn push_signal_frame(
        &mut self,
        signal: i32,
        info: &SigInfo,
        action: &SigAction,
        mask: SigSet,
    ) -> Result<()> {
        let alt_stack = self.signals.lock().alt_stack;
        let (xstate_size, xfeatures) = self.kernel().platform.xstate_layout();
        let mut sp = self.regs.rsp.wrapping_sub(RED_ZONE);
        let mut is_on_alt_stack = alt_stack.holds(self.regs.rsp);
        let mut enters_alt_stack = false;
        if action.flags.contains(SaFlags::ONSTACK) && !is_on_alt_stack && alt_stack.size != 0 {
            sp = alt_stack.base.0.wrapping_add(alt_stack.size);
            (is_on_alt_stack, enters_alt_stack) = (true, true);
        }
        let fpstate = sp.wrapping_sub(xstate_size as u64 + 4) & !(XSTATE_ALIGN - 1);
        let frame_size = size_of::<RtSigFrame>() as u64;
        let frame = (fpstate.wrapping_sub(frame_size) & !(FRAME_ALIGN - 1)).wrapping_sub(8);
        // Running off the alternate stack must not overwrite what lies below it.
        let overflows = is_on_alt_stack && !alt_stack.spans(frame);
        if overflows && (enters_alt_stack || alt_stack.holds(self.regs.rsp)) {
            return Err(Errno::EFAULT);
        }
        let mm = self.mm();
        self.write_xstate(fpstate, xstate_size, xfeatures)?;
        let image = RtSigFrame {
            pretcode: action.restorer.0,
            uc: UContext {
                uc_flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
                uc_link: 0,
                uc_stack: alt_stack.to_guest(self.regs.rsp),
                uc_mcontext: self.signal_context(mask, fpstate),
                uc_sigmask: mask,
            },
            info: *info,
        };
        mm.write_object(UserAddr(frame), &image)?;
        if alt_stack.autodisarm {
            self.signals.lock().alt_stack = AltStack::default();
        }
        self.enter_handler(signal, frame, action.handler);
        Ok(())
    }

    fn enter_handler(&mut self, signal: i32, frame: u64, handler: u64) {
        let uc = frame + std::mem::offset_of!(RtSigFrame, uc) as u64;
        let info = frame + std::mem::offset_of!(RtSigFrame, info) as u64;
        let regs = &mut self.regs;
        (regs.rdi, regs.rsi, regs.rdx, regs.rax) = (signal as u64, info, uc, 0);
        (regs.rip, regs.rsp) = (handler, frame);
        (regs.cs, regs.ss) = (Regs::USER_CS, Regs::USER_SS);
        regs.rflags &= !(FLAG_DF | FLAG_RF | FLAG_TF);
        self.context.load_xstate(None);
    }

    // Not part of the run loop, whose stack every thread keeps for good: the image is as large as a page.
    #[inline(never)]
    fn write_xstate(&mut self, at: u64, size: usize, xfeatures: u64) -> Result<()> {
        let mut image = [0; XSTATE_MAX + 4];
        let size = size.min(XSTATE_MAX);
        self.context.save_xstate(&mut image[..size]);
        let software = FpxSwBytes {
            magic1: FP_XSTATE_MAGIC1,
            extended_size: size as u32 + 4,
            xfeatures,
            xstate_size: size as u32,
            padding: [0; 7],
        };
        image[FPX_SW_OFFSET..FXSAVE_SIZE].copy_from_slice(software.as_bytes());
        image[size..size + 4].copy_from_slice(&FP_XSTATE_MAGIC2.to_ne_bytes());
        self.mm().write(UserAddr(at), &image[..size + 4])
    }

    fn signal_context(&self, mask: SigSet, fpstate: u64) -> SigContext {
        let regs = &self.regs;
        SigContext {
            r8: regs.r8,
            r9: regs.r9,
            r10: regs.r10,
            r11: regs.r11,
            r12: regs.r12,
            r13: regs.r13,
            r14: regs.r14,
            r15: regs.r15,
            di: regs.rdi,
            si: regs.rsi,
            bp: regs.rbp,
            bx: regs.rbx,
            dx: regs.rdx,
            ax: regs.rax,
            cx: regs.rcx,
            sp: regs.rsp,
            ip: regs.rip,
            flags: regs.rflags,
            cs: Regs::USER_CS as u16,
            gs: 0,
            fs: 0,
            ss: Regs::USER_SS as u16,
            err: self.trap.error,
            trapno: self.trap.trap,
            oldmask: mask.0,
            cr2: self.trap.addr,
            fpstate,
            reserved: [0; 8],
        }
    }

    /// rt_sigreturn(2): takes the context back from the frame that the stack pointer is behind. Returns `rax`.
    ///
    /// # Errors
    /// `EFAULT` where the frame cannot be read or makes no sense.
    pub(crate) fn pop_signal_frame(&mut self) -> Result<u64> {
        let frame: RtSigFrame = self.mm().read_object(UserAddr(self.regs.rsp.wrapping_sub(8)))?;
        let context = &frame.uc.uc_mcontext;
        let xstate = self.read_xstate(context.fpstate)?;
        self.set_blocked(frame.uc.uc_sigmask);
        let regs = &mut self.regs;
        regs.r8 = context.r8;
        regs.r9 = context.r9;
        regs.r10 = context.r10;
        regs.r11 = context.r11;
        regs.r12 = context.r12;
        regs.r13 = context.r13;
        regs.r14 = context.r14;
        regs.r15 = context.r15;
        (regs.rdi, regs.rsi, regs.rbp, regs.rbx) = (context.di, context.si, context.bp, context.bx);
        (regs.rdx, regs.rax, regs.rcx) = (context.dx, context.ax, context.cx);
        (regs.rsp, regs.rip) = (context.sp, context.ip);
        (regs.cs, regs.ss) = (Regs::USER_CS, Regs::USER_SS);
        regs.rflags = (regs.rflags & !FIX_FLAGS) | (context.flags & FIX_FLAGS);
        // Outside any call: nothing is to be restarted.
        regs.orig_rax = u64::MAX;
        self.context.load_xstate(xstate.as_deref());
        // As Linux, a bad stack in the frame is ignored.
        let _ = self.set_alt_stack(frame.uc.uc_stack, 0);
        Ok(self.regs.rax)
    }

    /// The extended state that a frame refers to: `None` where it has none (the initial state).
    fn read_xstate(&self, at: u64) -> Result<Option<Vec<u8>>> {
        if at == 0 {
            return Ok(None);
        }
        let (size, _) = self.kernel().platform.xstate_layout();
        let size = size.min(XSTATE_MAX);
        let mm = self.mm();
        let mut image = vec![0; FXSAVE_SIZE];
        mm.read(UserAddr(at), &mut image)?;
        let software = FpxSwBytes::read_from_bytes(&image[FPX_SW_OFFSET..]).map_err(|_| Errno::EFAULT)?;
        let fits = software.magic1 == FP_XSTATE_MAGIC1
            && software.xstate_size as usize >= FXSAVE_SIZE + 64
            && software.xstate_size as usize <= size
            && software.xstate_size < software.extended_size;
        if !fits {
            return Ok(Some(image));
        }
        let behind = at.checked_add(u64::from(software.xstate_size)).ok_or(Errno::EFAULT)?;
        if mm.read_object::<u32>(UserAddr(behind))? != FP_XSTATE_MAGIC2 {
            return Ok(Some(image));
        }
        image.resize(software.xstate_size as usize, 0);
        mm.read(UserAddr(at), &mut image)?;
        Ok(Some(image))
    }
}

impl AltStack {
    /// As a guest sees it, with the stack pointer at `sp`.
    #[must_use]
    pub fn to_guest(&self, sp: u64) -> StackT {
        let mut flags = if self.size == 0 {
            SS_DISABLE
        } else if self.holds(sp) {
            SS_ONSTACK
        } else {
            0
        };
        if self.autodisarm {
            flags |= SS_AUTODISARM;
        }
        StackT { ss_sp: self.base.0, ss_flags: flags, pad: 0, ss_size: self.size }
    }
}
