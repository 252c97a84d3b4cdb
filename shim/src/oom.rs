//! Kills for lack of memory: the host's killer takes guest processes first, so a container may live on after one, and
//! is told of at once. Version 1 of cgroups tells by an event counter, version 2 by a change of a file.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use control::cgroup::oom_kills;
use host::fs::{Inotify, WatchMask};

use crate::cgroup;
use crate::error::{Context, Result};
use crate::reaper::Exit;

/// The status of a process that was killed.
const KILLED: u32 = 128 + 9;

/// A cgroup's count of such kills.
#[derive(Debug)]
pub(crate) struct Oom {
    file: PathBuf,
    /// As many were told of.
    told: AtomicU64,
    stopped: PipeReader,
    stop: Mutex<Option<PipeWriter>>,
}

impl Oom {
    /// That of the cgroup of process `pid`. There is none without a cgroup of its own.
    pub(crate) fn of(pid: u32) -> Option<Arc<Self>> {
        let file = cgroup::of(pid)?.oom_file()?;
        let told = AtomicU64::new(oom_kills(&file)?);
        let (stopped, stop) = pipe().ok()?;
        Some(Arc::new(Self { file, told, stopped, stop: Mutex::new(Some(stop)) }))
    }

    /// Whether there were kills that nobody was told of; they count as told.
    fn has_new(&self) -> bool {
        oom_kills(&self.file).is_some_and(|now| self.told.fetch_max(now, Ordering::Relaxed) < now)
    }

    /// Whether a container that ended like this was killed for lack of memory and nobody was told.
    pub(crate) fn explains(&self, exit: Exit) -> bool {
        exit.status == KILLED && self.has_new()
    }

    /// Ends [`Self::watch`].
    pub(crate) fn stop(&self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Calls `tell` for each new kill, until [`Self::stop`].
    pub(crate) fn watch(&self, tell: impl Fn()) -> Result<()> {
        let source = Source::of(&self.file)?;
        loop {
            let ready = host::poll::any_readable([source.fd(), self.stopped.as_fd()], None);
            if ready.context("cannot wait")?[1] {
                return Ok(());
            }
            source.take()?;
            if self.has_new() {
                tell();
            }
        }
    }
}

/// What becomes readable when there is news.
enum Source {
    Counter(File),
    Watch(Inotify),
}

impl Source {
    fn of(file: &Path) -> Result<Self> {
        let control = file.with_file_name("cgroup.event_control");
        if control.exists() {
            let counter = File::from(host::poll::event_counter().context("no event counter")?);
            let events = File::open(file).context(file.display())?;
            let order = format!("{} {}", counter.as_raw_fd(), events.as_raw_fd());
            std::fs::write(&control, order).context(control.display())?;
            return Ok(Self::Counter(counter));
        }
        let watch = Inotify::new().context("no inotify")?;
        watch.watch(file.as_os_str().as_bytes(), WatchMask::MODIFY).context(file.display())?;
        Ok(Self::Watch(watch))
    }

    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Counter(counter) => counter.as_fd(),
            Self::Watch(watch) => watch.as_fd(),
        }
    }

    /// Takes what is there, so that it is readable no longer.
    fn take(&self) -> Result<()> {
        match self {
            Self::Counter(counter) => (&mut &*counter).read(&mut [0; 8]).map(drop).context("cannot read"),
            Self::Watch(watch) => watch.wait(&mut [0; 4096]).map(drop).context("cannot read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::Oom;
    use crate::reaper::Exit;

    #[test]
    fn each_kill_is_told_once() {
        let file = std::env::temp_dir().join(format!("shim-oom-{}", std::process::id()));
        std::fs::write(&file, "oom 0\noom_kill 0\n").unwrap();
        let (stopped, stop) = std::io::pipe().unwrap();
        let oom = Arc::new(Oom {
            file: file.clone(),
            told: AtomicU64::new(0),
            stopped,
            stop: Mutex::new(Some(stop)),
        });
        assert!(!oom.explains(Exit::killed()));
        std::fs::write(&file, "oom 1\noom_kill 2\n").unwrap();
        assert!(!oom.explains(Exit::now(0)));
        assert!(oom.explains(Exit::killed()) && !oom.explains(Exit::killed()));
        let told = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                oom.watch(|| {
                    told.fetch_add(1, Ordering::Relaxed);
                    oom.stop();
                })
            });
            // Written again and again: the watch may not be there yet at first.
            let mut kills = 2;
            while !watcher.is_finished() {
                kills += 1;
                std::fs::write(&file, format!("oom_kill {kills}\n")).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            watcher.join().unwrap().unwrap();
        });
        assert!(told.load(Ordering::Relaxed) >= 1);
        std::fs::remove_file(file).unwrap();
    }
}
