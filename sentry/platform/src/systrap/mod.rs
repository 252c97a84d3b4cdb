//! *systrap*: one stub process per address space, system calls caught by seccomp.
//!
//! `docs/platform.md` tells how it works and why it is safe. In short: a [`zygote`] is forked from the sentry early on;
//! a stub [`process`] is cloned from it for each address space; its helper thread carries out [`command`]s that change
//! mappings; its guest threads run guest code, and come to the [`door`] with their registers in a signal [`frame`].

mod affinity;
mod call;
mod command;
mod constants;
mod context;
mod control;
mod cores;
mod door;
mod filter;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handover;
mod host_calls;
mod keeper;
mod life;
mod mapped;
mod own;
mod place;
mod posted;
mod process;
mod space;
mod spin;
mod ways;
mod xstate;
mod zygote;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use abi::UserAddr;
use abi::auxv::HWCAP2_FSGSBASE;
use stub::layout::GUEST_END;

pub use host_calls::HOST_CALLS;
pub use spin::HandOver;

use self::constants::Constants;
use self::context::Shared;
use self::control::ControlFile;
use self::cores::Cores;
use self::keeper::Keeper;
use self::life::Registry;
use self::process::Stub;
use self::space::{GUEST_START, StubSpace};
use self::ways::Sums;
use self::xstate::Layout;
use self::zygote::Zygote;
use crate::{AddressSpace, Platform, PlatformError, WaysIn};

/// The systrap platform.
#[derive(Debug)]
pub struct Systrap {
    layout: Layout,
    cores: Arc<Cores>,
    ways: Arc<Sums>,
    // The keeper goes first: it holds stubs and makes new ones.
    keeper: Keeper,
    zygote: Arc<Zygote>,
}

impl Systrap {
    /// Starts the platform for a sandbox whose guests' memory is `memory`; at `clock_page` it has a `vdso::ClockPage`,
    /// for good. To be called before the sentry restricts itself, and early: the first stub is a copy of the calling
    /// process.
    ///
    /// # Errors
    /// `Unsupported` where the host lacks something (the message says what), `Resources` where it gives no process.
    pub fn new(memory: BorrowedFd<'_>, clock_page: u64, hand_over: HandOver) -> Result<Self, PlatformError> {
        require_fsgsbase()?;
        require_rdtscp()?;
        require_user_notify()?;
        let layout = Layout::detect()?;
        host::memory::install_fault_handler();
        life::install_kick_handler()
            .map_err(|errno| PlatformError::Unsupported(format!("signal handler: {errno}")))?;
        let failed = |errno| PlatformError::Resources(format!("control file: {errno}"));
        let control = Arc::new(ControlFile::new().map_err(failed)?);
        let constants = Constants::write(&control.platform_slot()).map_err(failed)?;
        let registry = Arc::new(Registry::default());
        let zygote = Arc::new(Zygote::start(memory, clock_page, control, constants, &registry)?);
        let keeper = Keeper::start(Arc::clone(&zygote))?;
        let cores = Arc::new(Cores::detect(hand_over));
        Ok(Self { layout, cores, ways: Arc::default(), keeper, zygote })
    }
}

impl Platform for Systrap {
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        let stub = self.keeper.take().map_or_else(|| Stub::new(&self.zygote), Ok)?;
        let receive = self.zygote.constants().receive;
        let shared = Shared {
            layout: self.layout,
            keeper: Arc::clone(self.keeper.shared()),
            cores: Arc::clone(&self.cores),
            ways: Arc::clone(&self.ways),
        };
        Ok(Arc::new(StubSpace::new(stub, shared, receive)))
    }

    fn user_range(&self) -> (UserAddr, UserAddr) {
        (UserAddr(GUEST_START), UserAddr(GUEST_END))
    }

    fn xstate_layout(&self) -> (usize, u64) {
        (self.layout.size, self.layout.features)
    }

    fn ways_in(&self) -> WaysIn {
        self.ways.get()
    }
}

/// The stub reads and writes segment bases without the kernel.
fn require_fsgsbase() -> Result<(), PlatformError> {
    // SAFETY: a look-up in the auxiliary vector.
    if unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE == 0 {
        let what = "no FSGSBASE (Linux 5.9 and a CPU of 2012 or later have it)";
        return Err(PlatformError::Unsupported(what.into()));
    }
    Ok(())
}

/// The sentry asks the CPU which core it runs on.
fn require_rdtscp() -> Result<(), PlatformError> {
    const EXTENDED_FEATURES: u32 = 0x8000_0001;
    const RDTSCP: u32 = 1 << 27;
    if std::arch::x86_64::__cpuid(EXTENDED_FEATURES).edx & RDTSCP == 0 {
        return Err(PlatformError::Unsupported("no RDTSCP (CPUs have it, a hypervisor may hide it)".into()));
    }
    Ok(())
}

/// The door is a seccomp user notification.
fn require_user_notify() -> Result<(), PlatformError> {
    host::seccomp::check_user_notify().map_err(|error| {
        PlatformError::Unsupported(format!(
            "no seccomp user notification (Linux 5.9 and later have it): {error}"
        ))
    })
}
