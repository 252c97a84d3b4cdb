//! One guest thread: its registers in the signal frame or as a rewritten call left them, its stops, its interruption.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::Regs;
use stub::layout::{
    ACTION_CALL, AREA_ACTIONS_PLAIN, AREA_ACTIONS_RESTORER, AREA_ACTIONS_UNSET, AREA_ANSWERED, AREA_ANSWERS,
    AREA_ANSWERS_HOLD, AREA_FS, AREA_GS, AREA_INTERRUPT, AREA_LIMITS, AREA_POSTED, AREA_RESUME, AREA_SELF,
    AREA_STACK, AREA_STATE, AREA_XSTATE, AREA_XSTATE_TURN, INTERRUPT, LIMITS_LEN, MARK_CALL,
    MARK_INTERRUPTED, RESUME_CALL, RESUME_FRAME, RESUME_RAISE, STATE_ASLEEP, STATE_EVENT,
};

use super::call::{self, Place};
use super::control::Slot;
use super::cores::Cores;
use super::door::Gone;
use super::frame;
use super::handover::{Arrival, GuestThread};
use super::keeper::{self, Overdue, Tenancy};
use super::life::Life;
use super::own::{self, ShownMask};
use super::posted::AreaBox;
use super::spin::Policy;
use super::ways::{Sums, Tally};
use super::xstate::Layout;
use crate::posted::PostBox;
use crate::{AnsweredCalls, Answers, Context, Event, Interrupter, PlainActions, Told};

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
    /// The sentry thread went to sleep since it last let guest code run.
    has_slept: AtomicBool,
    /// The thread was told its signal mask. What its area says of one that was not is its own invention.
    knows_mask: AtomicBool,
    cores: Arc<Cores>,
    life: Arc<Life>,
    tid: i32,
    area: Arc<Slot>,
    keeper: Arc<keeper::Shared>,
    this: Weak<Self>,
}

impl Signalling {
    fn new(life: Arc<Life>, thread: &GuestThread, shared: &Shared) -> Arc<Self> {
        let (keeper, cores) = (Arc::clone(&shared.keeper), Arc::clone(&shared.cores));
        let (tid, area) = (thread.tid, Arc::clone(thread.slot()));
        Arc::new_cyclic(|this| Self {
            state: AtomicU32::new(0),
            runs: AtomicU32::new(0),
            sent_in: AtomicU32::new(0),
            is_watched: AtomicBool::new(false),
            has_slept: AtomicBool::new(false),
            knows_mask: AtomicBool::new(false),
            cores,
            life,
            tid,
            area,
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
        self.want_back(false);
        false
    }

    /// Tells the stub whether a thread that is on its way back into guest code shall turn round.
    fn want_back(&self, is_wanted: bool) {
        // The area is mapped as long as we are; a guest that removed its page has lost the thread anyway.
        let _ = self.area.memory().store_u32(AREA_INTERRUPT as usize, u32::from(is_wanted));
    }

    /// Leaves guest code. An interrupt that is being reported is no longer pending.
    fn leave(&self, is_interrupt: bool) {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let taken = if is_interrupt { RUNNING | PENDING } else { RUNNING };
        self.state.fetch_and(!taken, Ordering::SeqCst);
        if is_interrupt {
            self.want_back(false);
        }
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
        // Before the signal: the stub drops it where it has yet to look at this.
        self.want_back(true);
        self.life.signal_thread(self.tid, INTERRUPT);
        if !self.is_watched.swap(true, Ordering::SeqCst) {
            let this: Weak<Self> = Weak::clone(&self.this);
            self.keeper.watch(this);
        }
    }

    fn hold_mask(&self) -> Option<u64> {
        let held = own::hold(&self.area.memory()).ok().flatten();
        held.filter(|_| self.knows_mask.load(Ordering::SeqCst))
    }

    fn revoke_answers(&self) {
        // Its own page: a guest that removed it has lost the thread anyway.
        let _ = self.area.memory().store_u32(AREA_ANSWERS_HOLD as usize, 0);
    }

    fn stand_back(&self) {
        self.has_slept.store(true, Ordering::Relaxed);
        let _ = self.area.memory().compare_exchange_u32(AREA_STATE as usize, STATE_EVENT, STATE_ASLEEP);
    }

    fn linger(&self, is_over: &dyn Fn() -> bool) -> bool {
        self.cores.linger(is_over)
    }
}

impl Overdue for Signalling {
    fn unanswered(&self) -> Option<u32> {
        let is_waiting = self.state.load(Ordering::SeqCst) == RUNNING | PENDING;
        let sent_in = self.sent_in.load(Ordering::SeqCst);
        (is_waiting && self.runs.load(Ordering::SeqCst) == sent_in).then_some(sent_in)
    }

    fn set_watched(&self, is_watched: bool) -> bool {
        self.is_watched.swap(is_watched, Ordering::SeqCst)
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
    /// How they came in.
    pub(super) ways: Arc<Sums>,
}

/// A guest thread of a stub process.
pub(super) struct StubContext {
    stub: Arc<Tenancy>,
    /// Taken out only by drop.
    thread: Option<GuestThread>,
    signalling: Arc<Signalling>,
    post_box: Arc<AreaBox>,
    layout: Layout,
    cores: Arc<Cores>,
    policy: Policy,
    ways: Tally,
    /// What the area has, with the signal actions that the stub has told.
    answers: Answers,
    mask: ShownMask,
    state: State,
}

/// Where a stopped thread's registers are.
#[derive(Clone, Copy, Debug)]
enum State {
    /// In a signal frame, and where in the area.
    Frame {
        frame: usize,
        xstate: Option<usize>,
        /// Of our making: no signal led to it.
        is_first: bool,
    },
    /// Where the stub left them at a rewritten call site; the extended state is in the processor. What it came with.
    Call(Regs),
}

impl StubContext {
    /// A context on `thread`, with an image of extended state that [`Layout`] made or checked.
    pub(super) fn new(
        stub: Arc<Tenancy>,
        thread: GuestThread,
        image: Vec<u8>,
        shared: &Shared,
    ) -> Result<Self, abi::Errno> {
        let area = thread.area();
        let state = first_frame(&thread, &shared.layout, image)?;
        area.store_u64(AREA_SELF as usize, thread.area_address.wrapping_neg())?;
        area.store_u32(AREA_INTERRUPT as usize, 0)?;
        area.store_u32(AREA_ANSWERS_HOLD as usize, 0)?;
        area.store_u64(AREA_ANSWERED as usize, 0)?;
        area.store_u32(AREA_POSTED as usize, 0)?;
        // Whoever had the area before may have saved extended state in a turn that is still to come.
        area.store_u32(AREA_XSTATE_TURN as usize, thread.turn())?;
        own::reset(&area)?;
        // As `answers` below says.
        area.sub(AREA_LIMITS as usize, 16 * LIMITS_LEN)?.zero()?;
        for word in [AREA_ACTIONS_UNSET, AREA_ACTIONS_PLAIN, AREA_ACTIONS_RESTORER] {
            area.store_u64(word as usize, 0)?;
        }
        let post_box = AreaBox::new(thread.slot());
        let signalling = Signalling::new(Arc::clone(stub.life()), &thread, shared);
        Ok(Self {
            stub,
            thread: Some(thread),
            signalling,
            post_box,
            layout: shared.layout,
            cores: Arc::clone(&shared.cores),
            policy: Policy::new(),
            ways: Tally::new(&shared.ways),
            answers: Answers::default(),
            mask: ShownMask::default(),
            state,
        })
    }

    fn thread(&self) -> &GuestThread {
        self.thread.as_ref().expect("only drop takes the thread")
    }

    /// Puts `regs` where the thread will load them from.
    fn load(&self, regs: &Regs) -> Result<(), abi::Errno> {
        let area = self.thread().area();
        match self.state {
            State::Call(_) => {
                area.store_u32(AREA_RESUME as usize, RESUME_CALL)?;
                call::write(&area, regs)
            }
            State::Frame { frame, .. } => {
                area.store_u32(AREA_RESUME as usize, RESUME_FRAME)?;
                frame::write_registers(&area, frame, regs)?;
                self.write_header(frame, regs)
            }
        }
    }

    /// Says which frame to return through, and with which segment bases.
    fn write_header(&self, frame: usize, regs: &Regs) -> Result<(), abi::Errno> {
        let own = self.thread().area_address;
        // Where the guest has no use for `gs`, rewritten call sites find the area by it.
        let gs_base = if regs.gs_base == 0 { own } else { canonical(regs.gs_base) };
        // The stub calls `rt_sigreturn` with the stack pointer behind the frame's return address.
        let stack = own + frame as u64 + 8;
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&canonical(regs.fs_base).to_le_bytes());
        bytes[8..16].copy_from_slice(&gs_base.to_le_bytes());
        bytes[16..].copy_from_slice(&stack.to_le_bytes());
        self.thread().area().sub(AREA_FS as usize, bytes.len())?.write(&bytes).map(|_| ())
    }

    /// Lets the thread go on until it stops again.
    fn go(&mut self) -> Result<Arrival, Gone> {
        let Some(thread) = &mut self.thread else { return Err(Gone) };
        if self.signalling.has_slept.load(Ordering::Relaxed) {
            self.signalling.has_slept.store(false, Ordering::Relaxed);
            self.policy.slept();
        }
        thread.run(&mut self.policy, &self.cores)
    }

    /// Lets the thread run until it stops again, and takes its registers.
    fn run_to_door(&mut self, regs: &mut Regs) -> Result<Event, Gone> {
        self.load(regs).map_err(|_| Gone)?;
        let arrival = self.go()?;
        match arrival.frame {
            // On the way back into guest code: nothing has changed.
            MARK_INTERRUPTED => Ok(Event::Interrupted),
            MARK_CALL => self.take_call(regs, arrival).map_err(|_| Gone),
            _ => self.take_frame(regs, arrival),
        }
    }

    /// The registers of a call that came without a signal.
    fn take_call(&mut self, regs: &mut Regs, arrival: Arrival) -> Result<Event, abi::Errno> {
        let came = call::read(&self.thread().area())?;
        *regs = self.with_segments(came, regs, arrival);
        self.state = State::Call(*regs);
        Ok(Event::RewrittenCall)
    }

    /// The registers of a signal frame.
    fn take_frame(&mut self, regs: &mut Regs, arrival: Arrival) -> Result<Event, Gone> {
        let area_address = self.thread().area_address;
        let frame = frame::locate(arrival.frame, area_address).ok_or(Gone)?;
        let area = self.thread().area();
        let mut stop = frame::read(&area, area_address, frame, &self.layout).map_err(|_| Gone)?;
        let place = match stop.event {
            Event::Interrupted => call::unwind(&area, &mut stop.regs).map_err(|_| Gone)?,
            Event::Fault(_) if call::is_posting(&stop.regs) => {
                // The kernel finds out what is wrong with the buffer, or brings it in.
                stop.event = Event::RewrittenCall;
                call::undo_posting(&area, &mut stop.regs).map_err(|_| Gone)?;
                Place::Entering
            }
            _ => Place::Guest,
        };
        let was_first = matches!(self.state, State::Frame { is_first: true, .. });
        if place != Place::Leaving || !was_first {
            self.state = State::Frame { frame, xstate: stop.xstate, is_first: false };
        }
        if place != Place::Leaving {
            *regs = self.with_segments(stop.regs, regs, arrival);
        }
        Ok(stop.event)
    }

    /// `new` with the segment bases that the thread told, and the selectors of `old`.
    fn with_segments(&self, new: Regs, old: &Regs, arrival: Arrival) -> Regs {
        let Arrival { fs_base, gs_base, .. } = arrival;
        let gs_base = if gs_base == self.thread().area_address { 0 } else { gs_base };
        Regs { fs_base, gs_base, ds: old.ds, es: old.es, fs: old.fs, gs: old.gs, ..new }
    }

    /// Makes a thread that stands at a rewritten call site raise a signal, so that all of its state lies in a frame.
    fn make_whole(&mut self) -> Result<(), Gone> {
        self.thread().area().store_u32(AREA_RESUME as usize, RESUME_RAISE).map_err(|_| Gone)?;
        let arrival = self.go()?;
        let area_address = self.thread().area_address;
        let frame = frame::locate(arrival.frame, area_address).ok_or(Gone)?;
        let stop = frame::read(&self.thread().area(), area_address, frame, &self.layout).map_err(|_| Gone)?;
        self.state = State::Frame { frame, xstate: stop.xstate, is_first: false };
        Ok(())
    }

    /// Fills in what the stub answers itself, as far as that is new.
    fn write_answers(&mut self, answers: &Answers) -> Result<(), abi::Errno> {
        let old = self.answers;
        self.answers = *answers;
        let Answers { calls, pid, tid, parent, uid, effective_uid, gid, effective_gid, actions, limits } =
            *answers;
        let area = self.thread().area();
        area.store_u32(AREA_ANSWERS_HOLD as usize, 0)?;
        let words = [pid, tid, parent, uid, effective_uid, gid, effective_gid];
        for (index, word) in words.into_iter().enumerate() {
            area.store_u64(AREA_ANSWERS as usize + 8 * index, word)?;
        }
        if limits != old.limits {
            let mut bytes = [0; 16 * LIMITS_LEN];
            for (to, word) in bytes.chunks_exact_mut(8).zip(limits.as_flattened()) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            area.sub(AREA_LIMITS as usize, bytes.len())?.write(&bytes)?;
        }
        if actions != old.actions {
            area.store_u64(AREA_ACTIONS_UNSET as usize, actions.unset)?;
            area.store_u64(AREA_ACTIONS_PLAIN as usize, actions.plain)?;
            area.store_u64(AREA_ACTIONS_RESTORER as usize, actions.restorer)?;
        }
        area.store_u32(AREA_ANSWERS_HOLD as usize, calls.bits())
    }

    /// Where the stub has saved the extended state at the call that the thread has come with, if it has.
    fn saved_at_call(&self) -> Option<usize> {
        let thread = self.thread();
        let turn = thread.area().load_u32(AREA_XSTATE_TURN as usize);
        let is_saved = matches!(self.state, State::Call(_)) && turn == Ok(thread.turn());
        is_saved.then_some(AREA_XSTATE as usize)
    }

    fn died(&self) -> Event {
        // Dead already, or it broke the rules.
        self.stub.life().end();
        Event::Died("the guest's host process ended or misbehaved".into())
    }
}

/// Builds a frame that no signal made.
fn first_frame(thread: &GuestThread, layout: &Layout, image: Vec<u8>) -> Result<State, abi::Errno> {
    let (frame, xstate) = frame::write_first(&thread.area(), thread.area_address, layout, image)?;
    Ok(State::Frame { frame, xstate: Some(xstate), is_first: true })
}

impl Context for StubContext {
    fn run(&mut self, regs: &mut Regs) -> Event {
        if let State::Call(came) = &self.state
            && !call::can_return(came, regs)
            && self.make_whole().is_err()
        {
            return self.died();
        }
        if !self.signalling.enter() {
            return Event::Interrupted;
        }
        let event = self.run_to_door(regs);
        self.signalling.leave(matches!(event, Ok(Event::Interrupted)));
        if let (Ok(event), Some(thread)) = (&event, &self.thread) {
            self.ways.count(event, thread.was_watched(), &thread.area());
        }
        event.unwrap_or_else(|Gone| self.died())
    }

    fn interrupter(&self) -> Arc<dyn Interrupter> {
        Arc::clone(&self.signalling) as Arc<dyn Interrupter>
    }

    fn save_xstate(&mut self, to: &mut [u8]) -> usize {
        let size = self.layout.size.min(to.len());
        let at = self.saved_at_call().or_else(|| {
            if let State::Call(_) = self.state
                && self.make_whole().is_err()
            {
                self.stub.life().end();
            }
            if let State::Frame { xstate, .. } = self.state { xstate } else { None }
        });
        let mut image = vec![0; self.layout.size];
        let area = self.thread().area();
        let source = at.and_then(|at| area.sub(at, self.layout.size).ok());
        let is_read = source.is_some_and(|source| source.read(&mut image).is_ok());
        let image = if is_read { self.layout.sanitize(&image) } else { self.layout.initial() };
        to[..size].copy_from_slice(&image[..size]);
        size
    }

    fn load_xstate(&mut self, from: Option<&[u8]>) {
        let image = from.map_or_else(|| self.layout.initial(), |from| self.layout.sanitize(from));
        match self.state {
            // No need to ask the thread for what is replaced.
            State::Call(_) => {
                if let Ok(state) = first_frame(self.thread(), &self.layout, image) {
                    self.state = state;
                }
            }
            // A thread that hid its frame's extended state from us has itself to blame.
            State::Frame { xstate, .. } => {
                let area = self.thread().area();
                let bytes = self.layout.to_frame(image);
                if let Some(target) = xstate.and_then(|at| area.sub(at, bytes.len()).ok()) {
                    let _ = target.write(&bytes);
                }
            }
        }
    }

    fn set_answers(&mut self, answers: Option<Answers>) {
        // Its own page: a failure leaves the thread as it is, which asks us then.
        let _ =
            self.write_answers(&answers.unwrap_or(Answers { calls: AnsweredCalls::NONE, ..self.answers }));
    }

    fn take_set_actions(&mut self) -> PlainActions {
        let mut plain = [0; 8];
        let word = self.thread().area().sub(AREA_ACTIONS_PLAIN as usize, plain.len());
        if word.and_then(|word| word.read(&mut plain)).is_err() {
            return PlainActions::default();
        }
        if !self.answers.calls.contains(ACTION_CALL) {
            return PlainActions::default();
        }
        let known = &mut self.answers.actions;
        let set = u64::from_le_bytes(plain) & known.unset & !known.plain;
        known.plain |= set;
        PlainActions { plain: set, ..*known }
    }

    fn show_mask(&mut self, mask: Option<u64>, may_change: bool) {
        let Some(thread) = &self.thread else { return };
        self.signalling.knows_mask.store(mask.is_some(), Ordering::SeqCst);
        // Its own page: a failure leaves it as it is, or all zeros.
        let _ = self.mask.show(&thread.area(), mask, may_change);
    }

    fn take_told(&mut self) -> Told {
        let Some(thread) = &self.thread else { return Told::default() };
        self.mask.take(&thread.area(), self.answers.calls).unwrap_or_default()
    }

    fn post_box(&self) -> Arc<dyn PostBox> {
        Arc::clone(&self.post_box) as Arc<dyn PostBox>
    }
}

impl Drop for StubContext {
    fn drop(&mut self) {
        self.post_box.retire();
        if let Some(thread) = self.thread.take() {
            self.ways.tell(&thread.area());
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
