//! The asynchronous I/O contexts of an address space (`man 2 io_setup`): completions that nobody has fetched yet.
//!
//! A context is named by the address of a page that is mapped for it, as in Linux; libaio looks there for a ring that
//! it could read without a system call, and finds that there is none.
//!
//! Locks: both are leaves.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use abi::aio::IoEvent;
use abi::{Errno, PAGE_SIZE, Result, UserAddr};
use parking_lot::Mutex;
use platform::Protection;
use waiter::{Events, WaitQueue};

use super::{MemoryManager, MmapArgs, MmapFlags};

/// `fs.aio-max-nr`: most completions that the contexts of an address space may hold.
const MAX_EVENTS: u64 = 65536;
/// The largest size that is one at all: twice as many events must fit into 256 MiB.
const MAX_SIZE: u32 = (0x1000_0000 / 32) / 2;

/// A context.
#[derive(Debug)]
pub struct AioContext {
    size: usize,
    state: Mutex<State>,
    waiters: WaitQueue,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<IoEvent>,
    /// Requests that have a place reserved.
    reserved: usize,
    is_destroyed: bool,
}

/// The contexts of an address space.
#[derive(Debug, Default)]
pub(super) struct AioContexts(Mutex<HashMap<u64, Arc<AioContext>>>);

impl MemoryManager {
    /// io_setup(2): a context for `size` completions.
    ///
    /// # Errors
    /// `EINVAL`, `EAGAIN` beyond the limit, `ENOMEM`.
    pub fn new_aio_context(&self, size: u32) -> Result<UserAddr> {
        if size == 0 || size > MAX_SIZE {
            return Err(Errno::EINVAL);
        }
        let used: u64 = self.aio.0.lock().values().map(|context| context.size as u64).sum();
        if used + u64::from(size) > MAX_EVENTS {
            return Err(Errno::EAGAIN);
        }
        let addr = self.mmap(MmapArgs {
            prot: Protection { read: true, write: true, execute: false },
            name: Some("/[aio] (deleted)"),
            ..MmapArgs::anonymous(UserAddr::NULL, PAGE_SIZE, MmapFlags::empty())
        })?;
        let context = AioContext { size: size as usize, state: Mutex::default(), waiters: WaitQueue::new() };
        self.aio.0.lock().insert(addr.0, Arc::new(context));
        Ok(addr)
    }

    /// The context with this name.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn aio_context(&self, addr: UserAddr) -> Result<Arc<AioContext>> {
        self.aio.0.lock().get(&addr.0).cloned().ok_or(Errno::EINVAL)
    }

    /// io_destroy(2): whoever waits gets `EINVAL`.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn destroy_aio_context(&self, addr: UserAddr) -> Result<()> {
        let context = self.aio.0.lock().remove(&addr.0).ok_or(Errno::EINVAL)?;
        context.state.lock().is_destroyed = true;
        context.waiters.notify(Events::READABLE);
        // The guest may have unmapped the page itself.
        let _ = self.munmap(addr, PAGE_SIZE);
        Ok(())
    }
}

impl AioContext {
    /// Where those who want completions wait.
    #[must_use]
    pub fn waiters(&self) -> &WaitQueue {
        &self.waiters
    }

    /// Keeps a place for the completion of a request.
    ///
    /// # Errors
    /// `EAGAIN` where there is none, `EINVAL` after the context's end.
    pub fn reserve(&self) -> Result<()> {
        let mut state = self.state.lock();
        if state.is_destroyed {
            return Err(Errno::EINVAL);
        }
        if state.events.len() + state.reserved >= self.size {
            return Err(Errno::EAGAIN);
        }
        state.reserved += 1;
        Ok(())
    }

    /// Gives a reserved place back (`None`), or puts the completion there.
    pub fn complete(&self, event: Option<IoEvent>) {
        let mut state = self.state.lock();
        state.reserved = state.reserved.saturating_sub(1);
        state.events.extend(event);
        drop(state);
        self.waiters.notify(Events::READABLE);
    }

    /// Puts completions back that could not be handed over: they come first again.
    pub fn put_back(&self, events: Vec<IoEvent>) {
        let mut state = self.state.lock();
        for event in events.into_iter().rev() {
            state.events.push_front(event);
        }
        drop(state);
        self.waiters.notify(Events::READABLE);
    }

    /// Takes up to `most` completions out, oldest first.
    ///
    /// # Errors
    /// `EAGAIN` where there are none, `EINVAL` after the context's end.
    pub fn take(&self, most: usize) -> Result<Vec<IoEvent>> {
        let mut state = self.state.lock();
        if state.is_destroyed {
            return Err(Errno::EINVAL);
        }
        let count = most.min(state.events.len());
        if count == 0 { Err(Errno::EAGAIN) } else { Ok(state.events.drain(..count).collect()) }
    }
}
