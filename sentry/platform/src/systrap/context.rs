//! One guest thread: its registers in the signal frame, its stops, its interruption.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::Regs;
use stub::layout::{AREA_FS, AREA_GS, AREA_STACK};

use super::door::Gone;
use super::frame;
use super::handover::{Arrival, GuestThread};
use super::keeper::{self, Overdue, Tenancy};
use super::life::Life;
use super::spin::{Cores, Policy};
use super::xstate::Layout;
use super::zygote::INTERRUPT;
use crate::{Context, Event, Interrupter};

/// Guest code may be running.
const RUNNING: u32 = 1;
/// An interrupt was asked for and not reported yet.
const PENDING: u32 = 2;

/// What a context and its interrupters share.
struct Signalling {
    state: AtomicU32,
    /// How often guest code was left; and what that was when an interrupt was last sent.
    runs: AtomicU32,
    sent_in: AtomicU32,
    is_watched: AtomicBool,
    life: Arc<Life>,
    tid: i32,
    keeper: Arc<keeper::Shared>,
    this: Weak<Self>,
}

impl Signalling {
    fn new(life: Arc<Life>, tid: i32, keeper: Arc<keeper::Shared>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            state: AtomicU32::new(0),
            runs: AtomicU32::new(0),
            sent_in: AtomicU32::new(0),
            is_watched: AtomicBool::new(false),
            life,
            tid,
            keeper,
            this: this.clone(),
        })
    }

    /// Enters guest code, unless an interrupt is pending, which is then taken.
    fn enter(&self) -> bool {
        if self.state.fetch_or(RUNNING, Ordering::SeqCst) & PENDING == 0 {
            return true;
        }
        self.state.store(0, Ordering::SeqCst);
        false
    }

    /// Leaves guest code. An interrupt that is being reported is no longer pending.
    fn leave(&self, is_interrupt: bool) {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let taken = if is_interrupt { RUNNING | PENDING } else { RUNNING };
        self.state.fetch_and(!taken, Ordering::SeqCst);
    }
}

impl Interrupter for Signalling {
    fn interrupt(&self) {
        // The first to ask while guest code runs sends the signal. The thread takes it as soon as it is in guest code,
        // or right after it returns there: then it is one interrupt too many, which is allowed.
        if self.state.fetch_or(PENDING, Ordering::SeqCst) != RUNNING {
            return;
        }
        self.sent_in.store(self.runs.load(Ordering::SeqCst), Ordering::SeqCst);
        self.life.signal_thread(self.tid, INTERRUPT);
        if !self.is_watched.swap(true, Ordering::SeqCst) {
            let this: Weak<Self> = Weak::clone(&self.this);
            self.keeper.watch(this);
        }
    }
}

impl Overdue for Signalling {
    fn has_answered(&self) -> bool {
        let is_waiting = self.state.load(Ordering::SeqCst) == RUNNING | PENDING;
        !is_waiting || self.runs.load(Ordering::SeqCst) != self.sent_in.load(Ordering::SeqCst)
    }

    fn unwatch(&self) {
        self.is_watched.store(false, Ordering::SeqCst);
    }

    fn end(&self) {
        self.life.kill();
    }
}

/// What all contexts of a platform share.
#[derive(Clone)]
pub(super) struct Shared {
    /// The extended state of this CPU.
    pub(super) layout: Layout,
    /// Who ends those that do not answer.
    pub(super) keeper: Arc<keeper::Shared>,
    /// How many guest threads run.
    pub(super) cores: Arc<Cores>,
}

/// A guest thread of a stub process.
pub(super) struct StubContext {
    stub: Arc<Tenancy>,
    /// Taken out only by drop.
    thread: Option<GuestThread>,
    signalling: Arc<Signalling>,
    layout: Layout,
    cores: Arc<Cores>,
    policy: Policy,
    /// Where the current frame and its extended state lie in the area.
    frame: usize,
    xstate: Option<usize>,
    /// What the area's header holds, as far as we last saw it: frame, fs base, gs base.
    header: Header,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Header {
    frame: usize,
    fs_base: u64,
    gs_base: u64,
}

impl StubContext {
    /// A context on `thread`, with an image of extended state that [`Layout`] made or checked.
    pub(super) fn new(
        stub: Arc<Tenancy>,
        thread: GuestThread,
        image: Vec<u8>,
        shared: &Shared,
    ) -> Result<Self, abi::Errno> {
        let (frame, xstate) = frame::write_first(&thread.area(), thread.area_address, &shared.layout, image)?;
        let header = Header { frame, fs_base: 0, gs_base: 0 };
        let signalling = Signalling::new(Arc::clone(stub.life()), thread.tid, Arc::clone(&shared.keeper));
        let context = Self {
            stub,
            thread: Some(thread),
            signalling,
            layout: shared.layout,
            cores: Arc::clone(&shared.cores),
            policy: Policy::new(),
            frame,
            xstate: Some(xstate),
            header,
        };
        context.write_header(header)?;
        Ok(context)
    }

    fn thread(&self) -> &GuestThread {
        self.thread.as_ref().expect("only drop takes the thread")
    }

    fn write_header(&self, header: Header) -> Result<(), abi::Errno> {
        let thread = self.thread();
        let area = thread.area();
        // The stub calls `rt_sigreturn` with the stack pointer behind the frame's return address.
        let stack = thread.area_address + header.frame as u64 + 8;
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&header.fs_base.to_le_bytes());
        bytes[8..16].copy_from_slice(&header.gs_base.to_le_bytes());
        bytes[16..].copy_from_slice(&stack.to_le_bytes());
        area.sub(AREA_FS as usize, bytes.len())?.write(&bytes).map(|_| ())
    }

    /// Puts `regs` where the thread will load them from.
    fn load(&mut self, regs: &Regs) -> Result<(), Gone> {
        frame::write_registers(&self.thread().area(), self.frame, regs).map_err(|_| Gone)?;
        let header =
            Header { frame: self.frame, fs_base: canonical(regs.fs_base), gs_base: canonical(regs.gs_base) };
        self.write_header(header).map_err(|_| Gone)?;
        self.header = header;
        Ok(())
    }

    /// Lets the thread run until it is at the door again, and takes its registers.
    fn run_to_door(&mut self, regs: &mut Regs) -> Result<Event, Gone> {
        self.load(regs)?;
        let Some(thread) = &mut self.thread else { return Err(Gone) };
        let arrival = thread.run(&mut self.policy, &self.cores)?;
        let area_address = thread.area_address;
        let offset = frame::locate(arrival.frame, area_address).ok_or(Gone)?;
        let stop = frame::read(&thread.area(), area_address, offset, &self.layout).map_err(|_| Gone)?;
        self.frame = offset;
        self.xstate = stop.xstate;
        let old = *regs;
        let Arrival { fs_base, gs_base, .. } = arrival;
        *regs = Regs { fs_base, gs_base, ds: old.ds, es: old.es, fs: old.fs, gs: old.gs, ..stop.regs };
        Ok(stop.event)
    }
}

impl Context for StubContext {
    fn run(&mut self, regs: &mut Regs) -> Event {
        if !self.signalling.enter() {
            return Event::Interrupted;
        }
        let event = self.run_to_door(regs);
        self.signalling.leave(matches!(event, Ok(Event::Interrupted)));
        event.unwrap_or_else(|Gone| {
            // Dead already, or it broke the rules.
            self.stub.life().end();
            Event::Died("the guest's host process ended or misbehaved".into())
        })
    }

    fn interrupter(&self) -> Arc<dyn Interrupter> {
        Arc::clone(&self.signalling) as Arc<dyn Interrupter>
    }

    fn save_xstate(&self, to: &mut [u8]) -> usize {
        let size = self.layout.size.min(to.len());
        let mut image = vec![0; self.layout.size];
        let area = self.thread().area();
        let source = self.xstate.and_then(|at| area.sub(at, self.layout.size).ok());
        let is_read = source.is_some_and(|source| source.read(&mut image).is_ok());
        let image = if is_read { self.layout.sanitize(&image) } else { self.layout.initial() };
        to[..size].copy_from_slice(&image[..size]);
        size
    }

    fn load_xstate(&mut self, from: Option<&[u8]>) {
        let image = from.map_or_else(|| self.layout.initial(), |from| self.layout.sanitize(from));
        let area = self.thread().area();
        let bytes = self.layout.to_frame(image);
        // A thread that hid its frame's extended state from us has itself to blame.
        if let Some(target) = self.xstate.and_then(|at| area.sub(at, bytes.len()).ok()) {
            let _ = target.write(&bytes);
        }
    }
}

impl Drop for StubContext {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stub.release(thread);
        }
    }
}

/// An address that the CPU takes as a segment base, or 0.
const fn canonical(address: u64) -> u64 {
    let top = (address as i64) >> 47;
    if top == 0 || top == -1 { address } else { 0 }
}

const _: () = assert!(AREA_GS == AREA_FS + 8 && AREA_STACK == AREA_FS + 16);
