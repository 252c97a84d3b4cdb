//! Pipes and FIFOs (`man 7 pipe`, `man 7 fifo`).
//!
//! A [`Pipe`] is the buffer, a [`PipeEnd`] one open end of it. Locks: `Pipe::state`, held over copies to and from guest
//! memory; of two pipes the one at the lower address first.

mod ring;
mod splice;

use std::sync::Arc;

use abi::fcntl::ioctl::FIONREAD;
use abi::{Errno, OpenFlags, PAGE_SIZE, Result};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::{File, FileOps, WriteAt};
use crate::Task;
use crate::limits::{PIPE_MAX_SIZE, PIPE_USER_PAGES_SOFT};
use crate::mm::{IoDst, IoSrc};
use crate::task::{AccountCharge, Capability, Counter, UserAccount};
use ring::Ring;
pub use splice::{Drain, Reservation};

/// Writes of up to this many bytes are atomic.
pub const PIPE_BUF: usize = 4096;
/// The size of a new pipe.
pub const DEFAULT_SIZE: usize = 64 << 10;
/// The size of a new pipe of a user who has too many.
const SMALL_SIZE: usize = 8 << 10;

#[derive(Debug)]
struct State {
    ring: Ring,
    capacity: usize,
    /// Bytes of room that are spoken for.
    reserved: usize,
    /// Somebody writes the first bytes elsewhere: nobody else reads meanwhile.
    is_draining: bool,
    readers: usize,
    writers: usize,
    /// How often each side was opened: what the open of a FIFO waits for.
    reader_opens: u64,
    writer_opens: u64,
    /// What is counted for its maker.
    charge: Option<AccountCharge>,
}

impl State {
    /// Bytes that may be written now.
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.ring.len() + self.reserved)
    }

    /// Whether a write of up to `PIPE_BUF` bytes succeeds: when poll(2) says "writable".
    fn is_writable(&self) -> bool {
        self.room() >= PIPE_BUF && self.ring.packets() < self.capacity / PIPE_BUF
    }

    /// Takes up to `len` bytes that `fill` provides; `EAGAIN` where there is no room, `EPIPE` without readers.
    fn store(
        &mut self,
        len: usize,
        is_packet: bool,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        if self.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let mut done = 0;
        while done < len {
            let want = if is_packet { (len - done).min(PIPE_BUF) } else { len - done };
            let room = self.room();
            let is_blocked = room == 0
                || (want <= PIPE_BUF && room < want && (is_packet || done == 0))
                || (is_packet && self.ring.packets() >= self.capacity / PIPE_BUF);
            if is_blocked {
                break;
            }
            let want = want.min(room);
            let stored = match self.ring.push_with(want, is_packet, fill) {
                Ok(stored) => stored,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            done += stored;
            if stored < want {
                break;
            }
        }
        if done == 0 && len > 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    /// `EAGAIN` where it is empty and has writers, or is being drained; whether there is anything to read.
    fn check_readable(&self) -> Result<bool> {
        match self.ring.is_empty() {
            false if self.is_draining => Err(Errno::EAGAIN),
            false => Ok(true),
            true if self.writers == 0 => Ok(false),
            true => Err(Errno::EAGAIN),
        }
    }
}

/// For whom a pipe's pages are counted.
#[derive(Debug)]
pub struct PipeOwner {
    account: Arc<UserAccount>,
    /// Has CAP_SYS_RESOURCE.
    has_resource: bool,
    /// Has that or CAP_SYS_ADMIN: counted, but not limited.
    is_unlimited: bool,
}

impl PipeOwner {
    /// The user that `task` runs as.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let creds = task.creds();
        let has_resource = creds.capable(Capability::SysResource);
        let is_unlimited = has_resource || creds.capable(Capability::SysAdmin);
        Self { account: task.account(), has_resource, is_unlimited }
    }

    /// The sentry itself.
    #[must_use]
    pub fn sentry() -> Self {
        Self { account: Arc::default(), has_resource: true, is_unlimited: true }
    }

    fn charge(&self, bytes: usize) -> Option<AccountCharge> {
        let limit = if self.is_unlimited { u64::MAX } else { PIPE_USER_PAGES_SOFT };
        self.account.charge(Counter::PipePages, bytes as u64 / PAGE_SIZE, limit)
    }
}

/// A pipe's buffer and what waits for it.
#[derive(Debug)]
pub struct Pipe {
    state: Mutex<State>,
    /// Where readers wait for data and for the last writer's going, writers for room and for the last reader's going,
    /// and who is both for either.
    ready_queue: WaitQueue,
    /// Where the open of a FIFO waits for the other side.
    open_queue: WaitQueue,
}

impl Pipe {
    /// An empty pipe without open ends, counted for `owner`. It is a small one where that user has many already.
    #[must_use]
    pub fn new(owner: &PipeOwner) -> Arc<Self> {
        let (capacity, charge) = match owner.charge(DEFAULT_SIZE) {
            Some(charge) => (DEFAULT_SIZE, Some(charge)),
            None => (SMALL_SIZE, None),
        };
        let state = State {
            ring: Ring::default(),
            capacity,
            reserved: 0,
            is_draining: false,
            readers: 0,
            writers: 0,
            reader_opens: 0,
            writer_opens: 0,
            charge,
        };
        let (ready_queue, open_queue) = (WaitQueue::new(), WaitQueue::new());
        Arc::new(Self { state: Mutex::new(state), ready_queue, open_queue })
    }

    /// A read end and a write end, for pipe(2).
    #[must_use]
    pub fn ends(self: &Arc<Self>) -> (Arc<PipeEnd>, Arc<PipeEnd>) {
        // The reader must see the writer as one that came after it: a hang-up without writers is real.
        let reader = self.open_end(Access::Read);
        let writer = self.open_end(Access::Write);
        (reader, writer)
    }

    /// Bytes it can hold (`F_GETPIPE_SZ`).
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.state.lock().capacity
    }

    /// Changes its size to at least `size` bytes (`F_SETPIPE_SZ`), and returns the new one. From now on it is counted
    /// for `owner`.
    ///
    /// # Errors
    /// `EPERM` above [`PIPE_MAX_SIZE`] or beyond what the user may have in all pipes, `EBUSY` where more is buffered,
    /// `EINVAL` for absurd sizes.
    pub fn set_capacity(&self, size: u64, owner: &PipeOwner) -> Result<usize> {
        let size = usize::try_from(size).ok().filter(|&size| size <= 1 << 31).ok_or(Errno::EINVAL)?;
        let size = size.next_power_of_two().max(PAGE_SIZE as usize);
        let mut state = self.state.lock();
        if size > state.capacity && size > PIPE_MAX_SIZE && !owner.has_resource {
            return Err(Errno::EPERM);
        }
        if state.ring.len() + state.reserved > size || state.ring.packets() > size / PIPE_BUF {
            return Err(Errno::EBUSY);
        }
        let old = state.charge.take();
        let charge = owner.charge(size);
        if charge.is_none() && size > state.capacity {
            state.charge = old;
            return Err(Errno::EPERM);
        }
        state.charge = charge;
        state.capacity = size;
        let is_writable = state.is_writable();
        drop(state);
        if is_writable {
            self.ready_queue.notify(Events::WRITABLE);
        }
        Ok(size)
    }

    /// Bytes in it now (`FIONREAD`).
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.state.lock().ring.len()
    }

    fn open_end(self: &Arc<Self>, access: Access) -> Arc<PipeEnd> {
        let mut state = self.state.lock();
        let opens_before = (state.writers == 0).then_some(state.writer_opens);
        if access.reads() {
            state.readers += 1;
            state.reader_opens += 1;
        }
        if access.writes() {
            state.writers += 1;
            state.writer_opens += 1;
        }
        drop(state);
        self.open_queue.notify(Events::IN);
        Arc::new(PipeEnd { pipe: self.clone(), access, opens_before })
    }

    /// Begins to open a FIFO. The caller waits on [`FifoOpening::queue`] until [`FifoOpening::check`] succeeds.
    ///
    /// # Errors
    /// `ENXIO` for a non-blocking open for writing without a reader; `EINVAL` for an access mode that is none.
    pub fn open_fifo(self: &Arc<Self>, flags: OpenFlags) -> Result<FifoOpening> {
        let is_nonblocking = flags.contains(OpenFlags::NONBLOCK);
        let access = match flags.bits() & OpenFlags::ACCMODE.bits() {
            0 => Access::Read,
            1 => Access::Write,
            2 => Access::Both,
            _ => return Err(Errno::EINVAL),
        };
        let (peers, peer_opens) = {
            let state = self.state.lock();
            match access {
                Access::Read => (state.writers, state.writer_opens),
                _ => (state.readers, state.reader_opens),
            }
        };
        if access == Access::Write && is_nonblocking && peers == 0 {
            return Err(Errno::ENXIO);
        }
        let waits = access != Access::Both && !is_nonblocking && peers == 0;
        let end = self.open_end(access);
        Ok(FifoOpening { end, waits_beyond: waits.then_some(peer_opens) })
    }

    /// Reads what one read(2) may take, through `take`; `EAGAIN` where it is empty and has writers.
    fn read_with(&self, max: usize, take: &mut dyn FnMut(&[u8]) -> Result<usize>) -> Result<usize> {
        if max == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if !state.check_readable()? {
            return Ok(0);
        }
        let was_writable = state.is_writable();
        let count = state.ring.peek_with(max.min(state.ring.readable()), take)?;
        state.ring.consume(count);
        let wakes_writers = !was_writable && state.is_writable();
        drop(state);
        if wakes_writers {
            self.ready_queue.notify(Events::WRITABLE);
        }
        Ok(count)
    }

    /// Writes up to `len` bytes that `fill` provides; `EAGAIN` where there is no room, `EPIPE` without readers.
    fn write_with(
        &self,
        len: usize,
        is_packet: bool,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let mut state = self.state.lock();
        let stored = state.store(len, is_packet, fill)?;
        drop(state);
        if stored > 0 {
            self.ready_queue.notify(Events::READABLE);
        }
        Ok(stored)
    }
}

/// A FIFO that has been opened on this side and may have to wait for the other one.
#[derive(Debug)]
pub struct FifoOpening {
    /// The end.
    pub end: Arc<PipeEnd>,
    waits_beyond: Option<u64>,
}

impl FifoOpening {
    /// Where to wait, for `IN`.
    #[must_use]
    pub fn queue(&self) -> &WaitQueue {
        &self.end.pipe.open_queue
    }

    /// Whether the other side has been opened since.
    ///
    /// # Errors
    /// `EAGAIN` while it has not.
    pub fn check(&self) -> Result<()> {
        let Some(before) = self.waits_beyond else { return Ok(()) };
        let state = self.end.pipe.state.lock();
        let opens = if self.end.access == Access::Read { state.writer_opens } else { state.reader_opens };
        if opens > before { Ok(()) } else { Err(Errno::EAGAIN) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    Both,
}

impl Access {
    fn reads(self) -> bool {
        self != Self::Write
    }

    fn writes(self) -> bool {
        self != Self::Read
    }
}

/// An open end of a pipe; of a FIFO opened for reading and writing, both.
#[derive(Debug)]
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    access: Access,
    /// Where this end was opened while there was no writer: how many had come before. Until the next one comes, their
    /// absence is no hang-up.
    opens_before: Option<u64>,
}

impl PipeEnd {
    /// The pipe.
    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.readers -= usize::from(self.access.reads());
        state.writers -= usize::from(self.access.writes());
        let (has_readers, has_writers) = (state.readers > 0, state.writers > 0);
        drop(state);
        if !has_writers {
            self.pipe.ready_queue.notify(Events::READABLE | Events::HUP);
        }
        if !has_readers {
            self.pipe.ready_queue.notify(Events::WRITABLE | Events::ERR);
        }
    }
}

impl FileOps for PipeEnd {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        if !self.access.reads() {
            return Err(Errno::EBADF);
        }
        self.pipe.read_with(dst.remaining(), &mut |from| dst.put(from))
    }

    fn write(&self, _task: &Task, file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        if !self.access.writes() {
            return Err(Errno::EBADF);
        }
        let is_packet = file.flags().contains(OpenFlags::DIRECT);
        // SIGPIPE is the system-call layer's, as for sockets.
        self.pipe.write_with(src.remaining(), is_packet, &mut |to| src.take(to)).map(|count| (count, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        let state = self.pipe.state.lock();
        let mut events = Events::empty();
        if self.access.reads() {
            if !state.ring.is_empty() && !state.is_draining {
                events |= Events::READABLE;
            }
            if state.writers == 0 && self.opens_before != Some(state.writer_opens) {
                events |= Events::HUP;
            }
        }
        if self.access.writes() {
            if state.is_writable() {
                events |= Events::WRITABLE;
            }
            if state.readers == 0 {
                events |= Events::ERR;
            }
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.ready_queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        if command != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let count = i32::try_from(self.pipe.buffered()).unwrap_or(i32::MAX);
        task.mm().write_object(abi::UserAddr(arg), &count)?;
        Ok(0)
    }
}
