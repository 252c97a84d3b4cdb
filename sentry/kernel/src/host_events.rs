//! Readiness of host descriptors: one thread sleeps on the host's epoll and passes on what it hears.
//!
//! The thread starts with the first descriptor that is watched, and sleeps while nothing happens. Lock: `sources` is a
//! leaf; sources are told without it.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::{Errno, Result};
use host::epoll::Epoll;
use parking_lot::Mutex;
use waiter::Events;

/// Somebody who wants to hear of a host descriptor's readiness.
pub trait HostSource: Send + Sync {
    /// The descriptor's readiness has changed to include `events`, as far as the host knows.
    fn ready(&self, events: Events);
}

struct Shared {
    epoll: Epoll,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    by_token: HashMap<u64, Weak<dyn HostSource>>,
    /// With how many entries the dead ones are looked for next.
    sweep_at: usize,
}

impl Sources {
    fn insert(&mut self, token: u64, source: Weak<dyn HostSource>) {
        const FEW: usize = 64;
        if self.by_token.len() >= self.sweep_at {
            self.by_token.retain(|_, source| source.strong_count() > 0);
            self.sweep_at = (self.by_token.len() * 2).max(FEW);
        }
        self.by_token.insert(token, source);
    }
}

/// Watches host descriptors.
pub struct Readiness {
    shared: Mutex<Option<Arc<Shared>>>,
    next: AtomicU64,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { shared: Mutex::new(None), next: AtomicU64::new(1) }
    }
}

impl Readiness {
    /// Tells `source` of changes of `fd` until it is closed. Says whether there will be any: a regular file and the
    /// like are always ready.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`, `EAGAIN` where the host has no thread to give.
    pub fn watch(&self, fd: BorrowedFd<'_>, source: &Weak<dyn HostSource>) -> Result<bool> {
        match self.add(fd, source, Epoll::add) {
            Ok(()) => Ok(true),
            Err(Errno::EPERM) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Tells `source` when the other end of `fd`, a socket or pipe, is closed, and of nothing else.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn watch_end(&self, fd: BorrowedFd<'_>, source: &Weak<dyn HostSource>) -> Result<()> {
        self.add(fd, source, Epoll::add_end)
    }

    fn add(
        &self,
        fd: BorrowedFd<'_>,
        source: &Weak<dyn HostSource>,
        add: fn(&Epoll, BorrowedFd<'_>, u64) -> Result<()>,
    ) -> Result<()> {
        let shared = self.shared()?;
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        shared.sources.lock().insert(token, source.clone());
        add(&shared.epoll, fd, token).inspect_err(|_| {
            shared.sources.lock().by_token.remove(&token);
        })
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        let mut slot = self.shared.lock();
        if let Some(shared) = &*slot {
            return Ok(shared.clone());
        }
        let shared = Arc::new(Shared { epoll: Epoll::new()?, sources: Mutex::default() });
        let runner = shared.clone();
        std::thread::Builder::new()
            .name("host-events".into())
            .stack_size(128 << 10)
            .spawn(move || runner.run())
            .map_err(|_| Errno::EAGAIN)?;
        *slot = Some(shared.clone());
        Ok(shared)
    }
}

impl Shared {
    fn run(&self) {
        while let Ok(events) = self.epoll.wait() {
            for (token, bits) in events {
                let source = self.sources.lock().by_token.get(&token).and_then(Weak::upgrade);
                if let Some(source) = source {
                    source.ready(normalize(bits));
                }
            }
        }
    }
}

/// Host events as guests know them: readable means normal data as well.
#[must_use]
pub fn normalize(bits: u32) -> Events {
    let mut events = Events::from_bits_truncate(bits);
    if events.contains(Events::IN) {
        events |= Events::RDNORM;
    }
    if events.contains(Events::OUT) {
        events |= Events::WRNORM;
    }
    events
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readiness")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use parking_lot::{Condvar, Mutex};
    use waiter::Events;

    use super::{HostSource, Readiness};

    #[derive(Default)]
    struct Heard(Mutex<Events>, Condvar);

    impl HostSource for Heard {
        fn ready(&self, events: Events) {
            *self.0.lock() |= events;
            self.1.notify_all();
        }
    }

    #[test]
    fn a_pipe_tells_of_data_and_a_file_never() {
        let readiness = Readiness::default();
        let heard = Arc::new(Heard::default());
        let source: Arc<dyn HostSource> = heard.clone();
        let source: Weak<dyn HostSource> = Arc::downgrade(&source);
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(readiness.watch(reader.as_fd(), &source), Ok(true));
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(readiness.watch(file.as_fd(), &source), Ok(false));
        writer.write_all(b"x").unwrap();
        let mut events = heard.0.lock();
        while !events.contains(Events::IN) {
            assert!(!heard.1.wait_for(&mut events, Duration::from_secs(10)).timed_out());
        }
    }

    #[test]
    fn an_end_is_heard_of_and_data_is_not() {
        let readiness = Readiness::default();
        let heard = Arc::new(Heard::default());
        let source: Arc<dyn HostSource> = heard.clone();
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        readiness.watch_end(ours.as_fd(), &Arc::downgrade(&source)).unwrap();
        theirs.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(heard.0.lock().is_empty());
        drop(theirs);
        let mut events = heard.0.lock();
        while !events.contains(Events::HUP) {
            assert!(!heard.1.wait_for(&mut events, Duration::from_secs(10)).timed_out());
        }
    }
}
