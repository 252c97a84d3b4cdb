//! A platform without a processor, for unit tests of the kernel.
//!
//! It keeps what a stub would have mapped, and [`FakeGuest`] does loads and stores by it as a guest's processor would:
//! what is mapped works, anything else is a fault for the memory manager. Contexts run nothing.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Weak};

use abi::{Regs, Signal, UserAddr};
use parking_lot::Mutex;
use platform::posted::{Grant, Log, PostBox};
use platform::{
    AddressSpace, Context, Event, Fault, Interrupter, MapOp, MapSource, Platform, PlatformError, Protection,
    WaysIn, XSTATE_MAX,
};
use segment::{Segment, SegmentMap};

use crate::mm::{FaultSignal, MemoryFile, MemoryManager};

/// Where fake guests may have mappings.
const BOUNDS: (UserAddr, UserAddr) = (UserAddr(0x1_0000), UserAddr(0x7fff_0000_0000));

/// A fault that does nothing.
const NO_FAULT: Fault =
    Fault { addr: 0, write: false, execute: false, signal: 0, code: 0, trap: 0, error: 0 };

/// See the module.
pub(crate) struct FakePlatform {
    memory: Arc<MemoryFile>,
    spaces: Mutex<Vec<Weak<FakeSpace>>>,
}

impl FakePlatform {
    /// A platform and its memory.
    pub(crate) fn new(memory_limit: u64) -> (Arc<Self>, Arc<MemoryFile>) {
        host::memory::install_fault_handler();
        let memory = MemoryFile::new(memory_limit).expect("a memory file");
        (Arc::new(Self { memory: memory.clone(), spaces: Mutex::default() }), memory)
    }

    /// A new address space with somebody in it.
    pub(crate) fn guest(self: &Arc<Self>) -> FakeGuest {
        let platform: Arc<dyn Platform> = self.clone();
        self.enter(MemoryManager::new(&platform, &self.memory).expect("an address space"))
    }

    /// Somebody in the address space of `mm`.
    pub(crate) fn enter(&self, mm: Arc<MemoryManager>) -> FakeGuest {
        let wanted = Arc::as_ptr(mm.address_space()).cast::<()>();
        let spaces = self.spaces.lock();
        let space =
            spaces.iter().filter_map(Weak::upgrade).find(|space| Arc::as_ptr(space).cast::<()>() == wanted);
        FakeGuest { mm, space: space.expect("made by this platform") }
    }
}

impl Platform for FakePlatform {
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        let space = Arc::new(FakeSpace { memory: self.memory.clone(), state: Mutex::default() });
        self.spaces.lock().push(Arc::downgrade(&space));
        Ok(space)
    }

    fn user_range(&self) -> (UserAddr, UserAddr) {
        BOUNDS
    }

    fn xstate_layout(&self) -> (usize, u64) {
        (XSTATE_MAX, 7)
    }

    fn ways_in(&self) -> WaysIn {
        WaysIn::default()
    }
}

#[derive(Clone)]
enum Source {
    Memory(u64),
    File(Arc<OwnedFd>, u64),
}

#[derive(Clone)]
struct Shown {
    source: Source,
    prot: Protection,
}

impl Segment for Shown {
    fn split_off(&mut self, at: u64) -> Self {
        let source = match &self.source {
            Source::Memory(offset) => Source::Memory(offset + at),
            Source::File(file, offset) => Source::File(file.clone(), offset + at),
        };
        Self { source, prot: self.prot }
    }

    fn continues(&self, _len: u64, _next: &Self) -> bool {
        false
    }
}

#[derive(Default)]
struct State {
    shown: SegmentMap<Shown>,
    hand_offs: usize,
    refuse: bool,
}

/// What a stub would have mapped.
pub(crate) struct FakeSpace {
    memory: Arc<MemoryFile>,
    state: Mutex<State>,
}

impl FakeSpace {
    /// Batches carried out so far.
    pub(crate) fn hand_offs(&self) -> usize {
        self.state.lock().hand_offs
    }

    /// Whether mappings are refused from now on, as a host at its limit does.
    pub(crate) fn refuse_mappings(&self, refuse: bool) {
        self.state.lock().refuse = refuse;
    }

    /// Moves bytes until the first that is not mapped with the right; returns how many.
    fn move_bytes(&self, addr: u64, bytes: &mut [u8], write: bool) -> usize {
        let state = self.state.lock();
        let mut done = 0;
        while done < bytes.len() {
            let at = addr + done as u64;
            let Some((range, shown)) = state.shown.get(at) else { break };
            if !(if write { shown.prot.write } else { shown.prot.read }) {
                break;
            }
            let len = (bytes.len() - done).min((range.end - at) as usize);
            let part = &mut bytes[done..done + len];
            let ok = match &shown.source {
                Source::Memory(offset) => {
                    let slice =
                        self.memory.slice(offset + (at - range.start), len).expect("inside the memory file");
                    (if write { slice.write(part) } else { slice.read(part) }).is_ok()
                }
                Source::File(file, offset) => {
                    let file = std::fs::File::from(file.try_clone().expect("a descriptor"));
                    let offset = offset + (at - range.start);
                    if write {
                        file.write_all_at(part, offset).is_ok()
                    } else {
                        read_padded(&file, part, offset)
                    }
                }
            };
            if !ok {
                break;
            }
            done += len;
        }
        done
    }
}

/// The rest of the last page of a file reads as zeros.
fn read_padded(file: &std::fs::File, to: &mut [u8], offset: u64) -> bool {
    let size = file.metadata().expect("a file").len();
    if offset + to.len() as u64 > size.next_multiple_of(4096) {
        return false;
    }
    to.fill(0);
    let inside = size.saturating_sub(offset).min(to.len() as u64) as usize;
    file.read_exact_at(&mut to[..inside], offset).is_ok()
}

impl AddressSpace for FakeSpace {
    fn apply(&self, ops: &[MapOp<'_>]) -> Result<(), PlatformError> {
        let mut state = self.state.lock();
        state.hand_offs += 1;
        for op in ops {
            match *op {
                MapOp::Map { addr, len, prot, source, .. } => {
                    if state.refuse {
                        return Err(PlatformError::Mapping(abi::Errno::ENOMEM));
                    }
                    let source = match source {
                        MapSource::Memory(offset) => Source::Memory(offset),
                        MapSource::File(fd, offset) => {
                            Source::File(Arc::new(fd.try_clone_to_owned().expect("a descriptor")), offset)
                        }
                    };
                    state.shown.remove(addr.0..addr.0 + len);
                    state.shown.insert(addr.0..addr.0 + len, Shown { source, prot });
                }
                MapOp::Unmap { addr, len } => drop(state.shown.remove(addr.0..addr.0 + len)),
                MapOp::Protect { addr, len, prot } => {
                    state.shown.update(addr.0..addr.0 + len, |_, shown| shown.prot = prot);
                }
            }
        }
        Ok(())
    }

    fn new_context(&self, _parent: Option<&mut dyn Context>) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(IdleContext))
    }
}

/// Does loads and stores in an address space.
pub(crate) struct FakeGuest {
    /// The kernel's side.
    pub(crate) mm: Arc<MemoryManager>,
    /// The platform's side.
    pub(crate) space: Arc<FakeSpace>,
}

impl FakeGuest {
    /// Loads bytes as guest code would; the signal it would get otherwise.
    pub(crate) fn load(&self, addr: u64, to: &mut [u8]) -> Result<(), FaultSignal> {
        self.touch(addr, to, false)
    }

    /// Loads one byte.
    pub(crate) fn peek(&self, addr: u64) -> Result<u8, FaultSignal> {
        let mut byte = [0];
        self.load(addr, &mut byte).map(|()| byte[0])
    }

    /// Stores bytes.
    pub(crate) fn store(&self, addr: u64, from: &[u8]) -> Result<(), FaultSignal> {
        self.touch(addr, &mut from.to_vec(), true)
    }

    fn touch(&self, addr: u64, bytes: &mut [u8], write: bool) -> Result<(), FaultSignal> {
        let (mut done, mut faults) = (0, 0);
        loop {
            let moved = self.space.move_bytes(addr + done as u64, &mut bytes[done..], write);
            done += moved;
            if done == bytes.len() {
                return Ok(());
            }
            faults = if moved == 0 { faults + 1 } else { 0 };
            assert!(faults < 4, "a fault at {:#x} is not resolved", addr + done as u64);
            let fault = Fault { addr: addr + done as u64, write, signal: Signal::SEGV.number(), ..NO_FAULT };
            self.mm.resolve(&fault)?;
        }
    }
}

/// A guest thread that never runs.
struct IdleContext;

impl Context for IdleContext {
    fn run(&mut self, _regs: &mut Regs) -> Event {
        Event::Died("there is no processor".into())
    }

    fn interrupter(&self) -> Arc<dyn Interrupter> {
        Arc::new(NoInterrupter)
    }

    fn save_xstate(&mut self, to: &mut [u8]) -> usize {
        to[..XSTATE_MAX].fill(0);
        XSTATE_MAX
    }

    fn load_xstate(&mut self, _from: Option<&[u8]>) {}

    fn set_answers(&mut self, _answers: Option<platform::Answers>) {}

    fn take_set_actions(&mut self) -> platform::PlainActions {
        platform::PlainActions::default()
    }

    fn show_mask(&mut self, _mask: Option<u64>, _may_change: bool) {}

    fn take_told(&mut self) -> platform::Told {
        platform::Told::default()
    }

    fn post_box(&self) -> Arc<dyn PostBox> {
        Arc::new(NoPostBox)
    }
}

struct NoPostBox;

impl PostBox for NoPostBox {
    fn open(&self, _grants: &[Grant<'_>], _epoll: Option<u32>) {}

    fn close(&self) -> Log {
        Log::default()
    }

    fn has_records(&self) -> bool {
        false
    }
}

struct NoInterrupter;

impl Interrupter for NoInterrupter {
    fn interrupt(&self) {}

    fn hold_mask(&self) -> Option<u64> {
        None
    }

    fn revoke_answers(&self) {}

    fn stand_back(&self) {}

    fn linger(&self, is_over: &dyn Fn() -> bool) -> bool {
        is_over()
    }
}
