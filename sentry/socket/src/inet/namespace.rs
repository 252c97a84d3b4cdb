//! A network name space: one [`Stack`], its timer, its clock; its netlink and unix sockets.

use std::sync::{Arc, Weak};

use abi::netlink::{RTM_DELLINK, RTM_NEWLINK};
use abi::{Errno, Result};
use kernel::task::{Capability, Credentials, OtherNamespace, UserNamespace};
use kernel::time::{MonotonicTime, Timekeeper, Timer, TimerHandler};
use kernel::{Kernel, Task};

use super::conf::Conf;
use super::errno;
use crate::netlink::{Listeners, Numbers, announce_link};
use crate::unix::UnixSockets;
use netstack::{Budget, Clock, Config, Instant, LinkWatcher, Nic, Stack, TimerWaker};

/// The content of a network name space.
#[derive(Debug)]
pub struct NetNamespace {
    stack: Stack,
    netlink: Listeners,
    numbers: Numbers,
    conf: Conf,
    unix: Arc<UnixSockets>,
    timer: Arc<Timer>,
    user_ns: Arc<UserNamespace>,
}

struct KernelClock(Arc<Timekeeper>);

impl Clock for KernelClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.monotonic().0).unwrap_or(0))
    }

    fn wall_ns(&self) -> u64 {
        u64::try_from(self.0.realtime_ns()).unwrap_or(0)
    }
}

/// Moves the kernel timer forward when the stack needs it sooner.
struct Waker(Weak<NetNamespace>);

impl TimerWaker for Waker {
    fn wake_at(&self, deadline: Instant) {
        if let Some(net) = self.0.upgrade() {
            net.timer.set(Some(monotonic(deadline)));
        }
    }
}

fn monotonic(instant: Instant) -> MonotonicTime {
    MonotonicTime(i64::try_from(instant.nanos()).unwrap_or(i64::MAX))
}

impl NetNamespace {
    /// The content of `namespace`: a loopback interface, up where `is_first` (a guest's own come with it down and without
    /// addresses, as on Linux).
    #[must_use]
    pub fn new(kernel: &Kernel, namespace: &OtherNamespace, is_first: bool) -> Arc<Self> {
        let mut seed = [0; 16];
        host::random::fill(&mut seed);
        let clock = Arc::new(KernelClock(Arc::clone(&kernel.timekeeper)));
        let budget = kernel.sockets.shared(Budget::usual);
        let net = Arc::new_cyclic(|this: &Weak<Self>| Self {
            stack: Stack::sharing(&budget, clock, seed, Config::default()),
            netlink: Listeners::default(),
            numbers: Numbers::default(),
            conf: Conf::default(),
            unix: Arc::default(),
            timer: kernel.timers.timer(this.clone()),
            user_ns: namespace.user_ns().clone(),
        });
        let watcher: Weak<Self> = Arc::downgrade(&net);
        net.stack.set_link_watcher(watcher);
        net.stack.set_timer_waker(Arc::new(Waker(Arc::downgrade(&net))));
        match net.stack.add_loopback() {
            Ok(loopback) if is_first => net.stack.set_up(&loopback, true),
            // A fresh stack has room for its first interface.
            Ok(_) | Err(_) => {}
        }
        net
    }

    /// The name space of a task; made where it is the first to ask.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` where it belongs to something else.
    pub fn of(task: &Task) -> Result<Arc<Self>> {
        let kernel = task.kernel();
        let namespace = &task.namespaces().net;
        namespace.content(|| Self::new(kernel, namespace, false)).ok_or(Errno::EAFNOSUPPORT)
    }

    /// Changing it takes CAP_NET_ADMIN over it, whatever name space the task itself is in.
    ///
    /// # Errors
    /// `EPERM`.
    pub(crate) fn check_admin(&self, task: &Task) -> Result<()> {
        if self.allows(&task.creds(), Capability::NetAdmin) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Whether `creds` hold `capability` over it.
    pub(crate) fn allows(&self, creds: &Credentials, capability: Capability) -> bool {
        creds.has_in(&self.user_ns, capability)
    }

    /// The user name space that owns it.
    pub(crate) fn user_ns(&self) -> &Arc<UserNamespace> {
        &self.user_ns
    }

    /// The netlink sockets.
    pub(crate) fn netlink(&self) -> &Listeners {
        &self.netlink
    }

    /// The unix sockets.
    pub(crate) fn unix(&self) -> &Arc<UnixSockets> {
        &self.unix
    }

    /// The settings of its interfaces.
    pub(super) fn conf(&self) -> &Conf {
        &self.conf
    }

    /// Gives an interface another name. Its settings stay with it.
    pub(crate) fn rename_interface(&self, nic: &Nic, name: &str) -> Result<()> {
        let old = nic.name();
        self.stack().rename_nic(nic, name.to_owned()).map_err(errno)?;
        self.conf().rename(&old, name);
        Ok(())
    }

    /// Takes an interface away, with its settings.
    pub(crate) fn remove_interface(&self, nic: &Arc<Nic>) {
        self.stack().remove_nic(nic);
        self.forget_interface(&nic.name());
    }

    /// As [`Self::remove_interface`], and says so to listeners.
    pub(crate) fn remove_announced(&self, nic: &Arc<Nic>) {
        self.remove_interface(nic);
        announce_link(self, nic, RTM_DELLINK);
    }

    /// Tells listeners of an interface that is new or other than it was.
    pub(crate) fn announce_changed(&self, nic: &Arc<Nic>) {
        announce_link(self, nic, RTM_NEWLINK);
    }

    /// An interface is not here any more: its settings go.
    pub(crate) fn forget_interface(&self, name: &str) {
        self.conf().forget(name);
    }

    /// The numbers by which it knows other name spaces.
    pub(crate) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// The TCP/IP stack.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }
}

impl LinkWatcher for NetNamespace {
    fn changed(&self, nic: &Arc<Nic>) {
        self.announce_changed(nic);
    }

    fn gone(&self, nic: &Arc<Nic>) {
        self.forget_interface(&nic.name());
        announce_link(self, nic, RTM_DELLINK);
    }
}

impl TimerHandler for NetNamespace {
    fn fire(&self, _due: MonotonicTime) -> Option<MonotonicTime> {
        self.stack.advance();
        self.stack.next_deadline().map(monotonic)
    }
}
