//! The master side of a pseudo-terminal: what opening `/dev/ptmx` gives (`man 7 pty`, `man 4 ptmx`).

use std::sync::Arc;

use abi::termios::{FIONREAD, TIOCGPKT, TIOCGPTLCK, TIOCGPTN, TIOCGPTPEER, TIOCPKT, TIOCSIG, TIOCSPTLCK};
use abi::{Errno, OpenFlags, Result, Signal, UserAddr};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc};
use kernel::vfs::{Caller, File, FileOps, WriteAt};
use waiter::{Events, WaitQueue};

use super::devpts::{Instance, place_of};
use super::ioctl::{Side, ioctl};
use super::{Replica, Terminal};

/// Longest piece that one call moves.
const MAX_TRANSFER: usize = 64 << 10;

/// An open master.
pub(super) struct Master {
    terminal: Arc<Terminal>,
    instance: Arc<Instance>,
    index: u32,
}

impl Master {
    /// The master of a new terminal of `instance`.
    pub(super) fn new(instance: &Arc<Instance>, terminal: Arc<Terminal>, index: u32) -> Arc<Self> {
        terminal.state.lock().is_locked = true;
        Arc::new(Self { terminal, instance: instance.clone(), index })
    }

    /// `TIOCGPTPEER`: opens the replica without a path.
    fn open_peer(&self, task: &Task, file: &File, flags: u64) -> Result<u64> {
        let flags = OpenFlags::from_bits_truncate(u32::try_from(flags).map_err(|_| Errno::EINVAL)?);
        let inode = self.instance.node(self.index).ok_or(Errno::EIO)?;
        let replica = Replica::open(&self.terminal, Some(task), flags)?;
        let creds = task.creds();
        let caller = Caller { creds: &creds, task: Some(task) };
        let kernel = task.kernel();
        let namespace = task.namespaces().mnt.clone();
        // ttyname(3) wants the name in the devpts that the task sees.
        let path = place_of(kernel, &caller, &namespace, &self.instance, self.index).unwrap_or_else(|| {
            kernel.vfs.unattached_path(&file.path().mount, inode, self.index.to_string().as_bytes())
        });
        let opened = File::new(path, replica, flags, task.creds());
        Ok(task.install_fd(opened, flags.contains(OpenFlags::CLOEXEC))? as u64)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.instance.remove(self.index);
        self.terminal.hang_up_all();
    }
}

impl FileOps for Master {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        dst.put(&self.terminal.read_master(dst.remaining().min(MAX_TRANSFER))?)
    }

    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        if src.remaining() == 0 {
            return Ok((0, 0));
        }
        if !self.terminal.has_room() {
            return Err(Errno::EAGAIN);
        }
        // Typed a little at a time: what finds no room must not have been taken from the source.
        let mut done = 0;
        let mut buffer = [0; 256];
        while src.remaining() > 0 && self.terminal.has_room() {
            let want = src.remaining().min(buffer.len());
            let mut typed = 0;
            let result = src.drain_with(want, &mut |ranges| {
                let mut got = 0;
                for range in ranges {
                    got += range.read(&mut buffer[got..])?;
                }
                typed = self.terminal.type_in(&buffer[..got.min(want)])?;
                Ok(typed)
            });
            match result {
                Ok(count) => done += count,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
            if typed < want {
                break;
            }
        }
        Ok((done, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        self.terminal.poll_master()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.terminal.master_queue)
    }

    fn ioctl(&self, task: &Task, file: &File, command: u32, arg: u64) -> Result<u64> {
        let mm = task.mm();
        let addr = UserAddr(arg);
        match command {
            TIOCGPTN => mm.write_object(addr, &self.index)?,
            TIOCSPTLCK => {
                let on: i32 = mm.read_object(addr)?;
                self.terminal.state.lock().is_locked = on != 0;
            }
            TIOCGPTLCK => {
                let is_locked = self.terminal.state.lock().is_locked;
                mm.write_object(addr, &i32::from(is_locked))?;
            }
            TIOCPKT => {
                let on: i32 = mm.read_object(addr)?;
                let mut state = self.terminal.state.lock();
                if (on != 0) != state.packet.is_some() {
                    state.packet = (on != 0).then_some(0);
                }
            }
            TIOCGPKT => {
                let is_on = self.terminal.state.lock().packet.is_some();
                mm.write_object(addr, &i32::from(is_on))?;
            }
            TIOCGPTPEER => return self.open_peer(task, file, arg),
            TIOCSIG => {
                let signal = i32::try_from(arg).ok().and_then(Signal::new).ok_or(Errno::EINVAL)?;
                self.terminal.signal_foreground(signal);
            }
            FIONREAD => {
                let count = i32::try_from(self.terminal.output_len()).unwrap_or(i32::MAX);
                mm.write_object(addr, &count)?;
            }
            _ => return ioctl(&self.terminal, task, Side::Master, command, arg),
        }
        Ok(0)
    }

    fn fdinfo(&self) -> String {
        format!("tty-index:\t{}\n", self.index)
    }
}
