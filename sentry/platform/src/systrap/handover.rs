//! Handing over between a guest thread and its sentry thread: by a word in the area that both watch, or at the door.
//!
//! The word (`AREA_STATE`) is the guest's to scribble on. What it can reach by that is a thread that goes on with
//! whatever its frame holds, or one whose sentry thread sleeps until somebody interrupts or kills: its own affair.

use std::sync::Arc;
use std::time::{Duration, Instant};

use host::memory::VolatileSlice;
use host::seccomp::Notification;
use stub::layout::{AREA_EVENT_FRAME, AREA_STATE, AREA_TURN, STATE_DOOR, STATE_EVENT, STATE_WATCHED};

use super::affinity;
use super::control::Slot;
use super::cores::Cores;
use super::door::{Answer, Door, Gone};
use super::frame;
use super::place::Company;
use super::spin::{Mode, Policy};

const STATE: usize = AREA_STATE as usize;

/// How long a thread that watches may take to come to the door. An honest one takes microseconds.
const SETTLE: Duration = Duration::from_millis(100);

/// How often a thread may repeat a call of the door that was answered.
const MOST_REPEATED: u32 = 16;

/// A thread of a stub that runs guest code.
#[derive(Debug)]
pub(super) struct GuestThread {
    door: Door,
    area: Arc<Slot>,
    parked: Parked,
    /// How often it was let go on, modulo 2^32.
    turn: u32,
    /// Whom it has met on its core.
    company: Company,
    /// Its id in our pid name space, for signals; harmless if wrong, since they are sent within its process.
    pub(super) tid: i32,
    /// Its area's address in the stub.
    pub(super) area_address: u64,
}

/// Where a stopped thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parked {
    /// At the door, since this notification.
    Door(u64),
    /// It told of an event: it watches the word, or comes to the door.
    Posted,
}

/// What a thread says when it stops; all of it hostile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Where its signal frame lies, or a mark.
    pub(super) frame: u64,
    /// Its segment bases.
    pub(super) fs_base: u64,
    /// See `fs_base`.
    pub(super) gs_base: u64,
}

impl GuestThread {
    /// A thread that stands at `door` since the notification `id`.
    pub(super) fn new(door: Door, id: u64, tid: i32, area: Arc<Slot>, area_address: u64) -> Self {
        Self { door, area, parked: Parked::Door(id), turn: 0, company: Company::new(), tid, area_address }
    }

    /// Its area's bytes, which the guest can write at any time.
    pub(super) fn area(&self) -> VolatileSlice<'_> {
        self.area.memory()
    }

    /// Its area.
    pub(super) const fn slot(&self) -> &Arc<Slot> {
        &self.area
    }

    /// How often it was let go on, as calls say it.
    pub(super) const fn turn(&self) -> u32 {
        self.turn
    }

    /// Whether its last event was watched for.
    pub(super) fn was_watched(&self) -> bool {
        self.parked == Parked::Posted
    }

    /// Makes sure that it is stopped whatever its process does: one that watches soon comes to the door.
    pub(super) fn settle(&mut self) -> Result<(), Gone> {
        if self.parked == Parked::Posted {
            let at_door = self.door.wait_briefly(SETTLE)?;
            self.parked = Parked::Door(at_door.id);
            // What it would say if it repeated this call.
            self.turn = at_door.args[3] as u32;
        }
        Ok(())
    }

    /// Brings a settled thread to where a new one stands, whatever its registers, signal mask and signal stack are now:
    /// the door's answer names its area, which was wiped, and it leaves by way of a frame of ours that leads back to
    /// the door. Nobody else of its process may run.
    pub(super) fn start_over(&mut self) -> Result<(), Gone> {
        let Parked::Door(mut id) = self.parked else { return Err(Gone) };
        self.turn = self.turn.wrapping_add(1);
        frame::write_restart(&self.area(), self.area_address, self.turn).map_err(|_| Gone)?;
        for _ in 0..MOST_REPEATED {
            self.door.open_with(id, Answer::Begin(self.area_address))?;
            let at_door = self.door.wait_briefly(SETTLE)?;
            id = at_door.id;
            self.parked = Parked::Door(id);
            if at_door.args[3] as u32 == self.turn {
                return Ok(());
            }
        }
        Err(Gone)
    }

    /// Makes it end where it stands at the door. Says whether it was told to.
    pub(super) fn dismiss(&self) -> bool {
        matches!(self.parked, Parked::Door(id) if self.door.dismiss(id))
    }

    /// Waits for its end after it was dismissed; says whether it came.
    pub(super) fn wait_ended(&self) -> bool {
        self.door.wait_deserted(Duration::from_secs(1))
    }

    /// Its area, once it has ended.
    pub(super) fn area_left_behind(&self) -> Option<(u64, Arc<Slot>)> {
        self.door.is_deserted().then(|| (self.area_address, Arc::clone(&self.area)))
    }

    /// Lets it run until it stops again.
    pub(super) fn run(&mut self, policy: &mut Policy, cores: &Cores) -> Result<Arrival, Gone> {
        self.turn = self.turn.wrapping_add(1);
        self.area().store_u32(AREA_TURN as usize, self.turn).map_err(|_| Gone)?;
        let mode = policy.resume(cores);
        let arrival = match mode {
            Mode::Door => self.run_to_door(policy, cores),
            Mode::Begin | Mode::Watch => {
                self.resume(mode, policy, cores).and_then(|mode| self.wait(mode, policy, cores))
            }
        };
        cores.leave();
        arrival
    }

    /// As [`Self::run`], on a core that it shares with no other pair, if that can be had.
    fn run_to_door(&mut self, policy: &mut Policy, cores: &Cores) -> Result<Arrival, Gone> {
        let mut core = affinity::current_core();
        let is_crowded = cores.places.enter(core);
        if let Some(vacant) = self.company.meet(is_crowded, &cores.places, &cores.affinity) {
            cores.places.leave(core);
            cores.affinity.go_to(vacant);
            cores.places.enter(vacant);
            core = vacant;
        }
        let mode = self.resume(Mode::Door, policy, cores);
        let arrival = mode.and_then(|mode| self.wait(mode, policy, cores));
        cores.places.leave(core);
        arrival
    }

    /// Lets it go on; says how its next event is to be waited for.
    fn resume(&mut self, mode: Mode, policy: &mut Policy, cores: &Cores) -> Result<Mode, Gone> {
        let next = if mode == Mode::Door { STATE_DOOR } else { STATE_WATCHED };
        if self.parked == Parked::Posted {
            let before = self.area().compare_exchange_u32(STATE, STATE_EVENT, next).map_err(|_| Gone)?;
            if before == STATE_EVENT {
                return Ok(mode);
            }
            // It got tired: the sentry took long.
            policy.end_session();
            self.parked = Parked::Door(self.door.wait()?.id);
            return self.open(Mode::Door, cores);
        }
        self.open(mode, cores)
    }

    fn open(&mut self, mode: Mode, cores: &Cores) -> Result<Mode, Gone> {
        let Parked::Door(id) = self.parked else { return Err(Gone) };
        // A session goes on without a wake-up only while both sides watch. One that was interrupted begins anew.
        if mode == Mode::Begin {
            self.area().store_u32(STATE, STATE_WATCHED).map_err(|_| Gone)?;
            cores.affinity.send_away(self.tid);
            self.door.open_elsewhere(id)?;
            return Ok(mode);
        }
        self.area().store_u32(STATE, STATE_DOOR).map_err(|_| Gone)?;
        self.door.open(id)?;
        Ok(Mode::Door)
    }

    fn wait(&mut self, mode: Mode, policy: &mut Policy, cores: &Cores) -> Result<Arrival, Gone> {
        if mode != Mode::Door {
            cores.take_second();
            let is_told = self.watch(mode.patience());
            cores.leave_second();
            if mode == Mode::Begin {
                cores.affinity.let_anywhere(self.tid);
            }
            if is_told {
                self.parked = Parked::Posted;
                policy.seen();
                return self.told();
            }
            policy.end_session();
        }
        let at_door = self.next_at_door()?;
        self.parked = Parked::Door(at_door.id);
        policy.came_to_door();
        let [frame, fs_base, gs_base, ..] = at_door.args;
        Ok(Arrival { frame, fs_base, gs_base })
    }

    /// Waits until it comes to the door with an event of this turn.
    ///
    /// Where a signal hits a thread at the very moment of our answer, the host may take the answer and still have the
    /// thread make its call again. That one was dealt with already.
    fn next_at_door(&self) -> Result<Notification, Gone> {
        for _ in 0..MOST_REPEATED {
            let at_door = self.door.wait()?;
            if at_door.args[3] as u32 == self.turn {
                return Ok(at_door);
            }
            self.door.open(at_door.id)?;
        }
        Err(Gone)
    }

    /// Watches for an event for this long; says whether one came.
    fn watch(&self, patience: Duration) -> bool {
        let area = self.area();
        // The clock is not looked at for an event that comes at once.
        let mut start = None;
        loop {
            for _ in 0..32 {
                if area.load_u32(STATE) == Ok(STATE_EVENT) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.get_or_insert_with(Instant::now).elapsed() > patience {
                // From now on it has to come to the door, unless it was faster.
                return area.compare_exchange_u32(STATE, STATE_WATCHED, STATE_DOOR) == Ok(STATE_EVENT);
            }
        }
    }

    fn told(&self) -> Result<Arrival, Gone> {
        let mut bytes = [0; 24];
        let event = self.area().sub(AREA_EVENT_FRAME as usize, bytes.len()).map_err(|_| Gone)?;
        event.read(&mut bytes).map_err(|_| Gone)?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Ok(Arrival { frame: word(0), fs_base: word(8), gs_base: word(16) })
    }
}
