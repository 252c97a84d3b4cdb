//! The alternate signal stack (`man 2 sigaltstack`).

use abi::signal::{MINSIGSTKSZ, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, StackT};
use abi::{Errno, Result, UserAddr};

use super::AltStack;
use crate::CurrentTask;

impl CurrentTask {
    /// Sets the alternate stack; `min_size` is what must fit.
    ///
    /// # Errors
    /// `EPERM` while the thread runs on the current one, `EINVAL` for flags, `ENOMEM` where it is too small.
    pub(crate) fn set_alt_stack(&self, new: StackT, min_size: u64) -> Result<()> {
        let mut own = self.signals.lock();
        if own.alt_stack.holds(self.regs.rsp) {
            return Err(Errno::EPERM);
        }
        let mode = new.ss_flags & !SS_AUTODISARM;
        if mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0 {
            return Err(Errno::EINVAL);
        }
        let autodisarm = new.ss_flags & SS_AUTODISARM != 0;
        own.alt_stack = if mode == SS_DISABLE {
            AltStack { base: UserAddr::NULL, size: 0, autodisarm }
        } else if new.ss_size < min_size {
            return Err(Errno::ENOMEM);
        } else {
            AltStack { base: UserAddr(new.ss_sp), size: new.ss_size, autodisarm }
        };
        Ok(())
    }

    /// The smallest stack that sigaltstack(2) takes.
    #[must_use]
    pub(crate) fn min_alt_stack(&self) -> u64 {
        MINSIGSTKSZ
    }
}
