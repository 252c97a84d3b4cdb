//! A terminal of the host's as the master of a guest's terminal.
//!
//! The host's terminal is in raw mode; line discipline, job control and signals are those of the guest's terminal before
//! it. Locks: `shown` and `typed` serialise the two directions and come before the terminal's state.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use abi::termios::WinSize;
use abi::{OpenFlags, Result};
use host::memory::{VolatileSlice, readv, writev};
use kernel::Kernel;
use kernel::host_events::{HostSource, Readiness, normalize};
use kernel::task::Credentials;
use kernel::vfs::{Caller, File, FileSystem, MountNamespace, VfsPath};
use parking_lot::Mutex;
use waiter::Events;

use super::devpts::{DevPts, Instance, place_below};
use super::terminal::MasterSink;
use super::{Replica, Terminal};

/// Bytes moved at a time: what a host terminal that is ready takes without waiting.
const PIECE: usize = 2048;

/// The host's side of a guest's terminal.
pub(super) struct Console {
    terminal: Arc<Terminal>,
    host: OwnedFd,
    instance: Weak<Instance>,
    index: u32,
    shown: Mutex<()>,
    /// Bytes read from the host that the guest's queue had no room for.
    typed: Mutex<Vec<u8>>,
}

impl Console {
    fn is_ready(&self, events: Events) -> bool {
        host::poll::events_now(self.host.as_fd()).is_ok_and(|bits| normalize(bits).intersects(events))
    }

    /// Shows what there is to show, as far as the host's terminal takes it.
    fn show(&self) {
        // Whoever holds the lock looks again after it has finished, so nothing stays behind.
        loop {
            let Some(guard) = self.shown.try_lock() else { return };
            loop {
                let mut bytes = self.terminal.peek_output(PIECE);
                if bytes.is_empty() || !self.is_ready(Events::OUT | Events::ERR | Events::HUP) {
                    break;
                }
                let range = VolatileSlice::from_mut(&mut bytes);
                match writev(self.host.as_fd(), &[range]) {
                    Ok(count) => self.terminal.consume_output(count),
                    Err(_) => {
                        // The host's terminal is gone; so is what it would have shown.
                        self.terminal.consume_output(usize::MAX);
                        break;
                    }
                }
            }
            drop(guard);
            if self.terminal.output_len() == 0 || !self.is_ready(Events::OUT | Events::ERR | Events::HUP) {
                return;
            }
        }
    }

    /// Types what the host's terminal has, as far as there is room.
    fn fill(&self) {
        let mut typed = self.typed.lock();
        loop {
            if !typed.is_empty() {
                let count = self.terminal.type_in(&typed).unwrap_or(0);
                typed.drain(..count);
                if !typed.is_empty() {
                    return;
                }
            }
            if !self.terminal.has_room() || !self.is_ready(Events::IN | Events::HUP | Events::ERR) {
                return;
            }
            let mut bytes = [0; PIECE];
            match readv(self.host.as_fd(), &[VolatileSlice::from_mut(&mut bytes)]) {
                Ok(count) if count > 0 => typed.extend_from_slice(&bytes[..count]),
                _ => {
                    drop(typed);
                    self.terminal.hang_up_all();
                    return;
                }
            }
        }
    }
}

impl HostSource for Console {
    fn ready(&self, events: Events) {
        if events.intersects(Events::IN | Events::HUP | Events::ERR) {
            self.fill();
        }
        if events.intersects(Events::OUT | Events::HUP | Events::ERR) {
            self.show();
        }
    }
}

impl MasterSink for Console {
    fn output_ready(&self) {
        self.show();
    }

    fn input_wanted(&self) {
        // The reader that made room may be the one that is typing right now.
        if self.typed.try_lock().is_some() {
            self.fill();
        }
    }

    /// The last program is gone: the host's terminal is given back.
    fn closed(&self) {
        self.show();
        if let Some(instance) = self.instance.upgrade() {
            instance.remove(self.index);
        }
    }
}

/// A guest's terminal in front of `host`, a host terminal in raw mode, numbered in the devpts that `namespace` has
/// mounted. Returns the open terminal, for standard input, output and error.
///
/// # Errors
/// What the host says of the descriptor; `ENOSPC` where devpts has no number left.
pub fn open_console(
    kernel: &Arc<Kernel>,
    readiness: &Readiness,
    namespace: &MountNamespace,
    creds: &Arc<Credentials>,
    host: OwnedFd,
    window: Option<(u16, u16)>,
) -> Result<(Arc<File>, Arc<Terminal>)> {
    let (devpts, root) = find_devpts(kernel, namespace);
    let instance = devpts.instance();
    // What the host's terminal says now is newer than what we were told when the process was asked for.
    let size = host::terminal::window_size(host.as_fd()).map(|size| (size.rows, size.columns));
    let size = size.ok().filter(|size| *size != (0, 0));
    let (rows, columns) = size.or(window).unwrap_or((0, 0));
    let mut outcome = Ok(true);
    let mut made = None;
    let (index, terminal) = instance.add_console(kernel, creds.uid, creds.gid, |terminal, index| {
        let console = Arc::new_cyclic(|this: &Weak<Console>| {
            let source: Weak<dyn HostSource> = this.clone();
            outcome = readiness.watch(host.as_fd(), &source);
            Console {
                terminal: terminal.clone(),
                host,
                instance: Arc::downgrade(instance),
                index,
                shown: Mutex::new(()),
                typed: Mutex::default(),
            }
        });
        outcome?;
        let sink: Weak<Console> = Arc::downgrade(&console);
        terminal.set_sink(sink);
        made = Some(console.clone());
        Ok(console)
    })?;
    terminal.set_window(WinSize { ws_row: rows, ws_col: columns, ..WinSize::default() });
    let replica = Replica::open(&terminal, None, OpenFlags::RDWR)?;
    if let Some(console) = made {
        // What was typed before the watch began makes no event.
        console.fill();
    }
    let caller = Caller { creds, task: None };
    let path = place_below(kernel, &caller, &root, index)?;
    Ok((File::new(path, replica, OpenFlags::RDWR, creds.clone()), terminal))
}

/// The devpts that `namespace` shows, with its root; one of its own where there is none.
fn find_devpts(kernel: &Arc<Kernel>, namespace: &MountNamespace) -> (Arc<DevPts>, VfsPath) {
    for mount in namespace.mounts() {
        let fs: Arc<dyn std::any::Any + Send + Sync> = mount.fs().clone();
        if let Ok(devpts) = fs.downcast::<DevPts>() {
            return (devpts, mount.root_path());
        }
    }
    let devpts = DevPts::hidden(kernel);
    let fs: Arc<dyn FileSystem> = devpts.clone();
    let mount = kernel.vfs.new_mount(&fs, b"devpts", abi::mount::MountFlags::empty());
    (devpts, mount.root_path())
}
