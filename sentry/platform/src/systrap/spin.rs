//! When to watch a word instead of sleeping at the door.
//!
//! Watching makes a hand-over ten times cheaper, but takes a second core, and getting the two sides onto two cores
//! costs a wake-up across cores, the dearest thing there is. So it is begun only after a run of short rounds, while
//! cores are to spare, and ended by the first wait that is too long. A session that did not pay makes the next one
//! harder to begin. A guest that computes, sleeps or is idle is never watched.

use std::time::{Duration, Instant};

use super::cores::Cores;

/// The longest that the sentry watches for the next event.
const WATCH: Duration = Duration::from_micros(20);
/// The same for the first event of a session: a core that has halted takes some 50 us to wake on a virtual machine.
const WATCH_FIRST: Duration = Duration::from_micros(150);
/// A round is short where guest code and the sentry took less than this, a switch at the door included.
const SHORT: Duration = Duration::from_micros(25);
/// So many short rounds in a row begin a session, at least and at most.
const FEWEST: u32 = 16;
const MOST: u32 = 1 << 8;
/// A session of this many rounds was worth the wake-up: each saves some 6 us of the door's.
const WORTH_IT: u32 = 32;

/// How guest threads hand over to the sentry and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HandOver {
    /// By a watched word while rounds are short and cores are spare, else at the door.
    #[default]
    Adaptive,
    /// Always at the door: no core is ever busy with waiting.
    Door,
    /// By a watched word whenever both sides are quick enough, whatever that costs. For tests.
    Watch,
}

/// How the next event is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Asleep at the door, on the guest thread's core.
    Door,
    /// Watching; the guest thread must be moved to another core first.
    Begin,
    /// Watching; it is on another core.
    Watch,
}

impl Mode {
    /// How long to watch for the next event.
    pub(super) const fn patience(self) -> Duration {
        match self {
            Self::Door => Duration::ZERO,
            Self::Begin => WATCH_FIRST,
            Self::Watch => WATCH,
        }
    }
}

/// One context's history.
#[derive(Debug)]
pub(super) struct Policy {
    /// Short rounds in a row at the door.
    short: u32,
    /// How many of them begin a session.
    needed: u32,
    /// Rounds of the current session, if one is on.
    session: Option<u32>,
    /// When it last came to the door.
    arrived: Instant,
}

impl Policy {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self { short: 0, needed: FEWEST, session: None, arrived: Instant::now() }
    }

    /// The guest thread is about to go on.
    pub(super) fn resume(&mut self, cores: &Cores) -> Mode {
        let is_room = cores.enter();
        match self.session {
            Some(_) if is_room => Mode::Watch,
            Some(_) => {
                self.session = None;
                self.short = 0;
                Mode::Door
            }
            None if is_room && (self.short >= self.needed || cores.hand_over() == HandOver::Watch) => {
                self.session = Some(0);
                Mode::Begin
            }
            None => Mode::Door,
        }
    }

    /// An event came while its arrival was watched for.
    pub(super) fn seen(&mut self) {
        self.session = self.session.map(|rounds| rounds.saturating_add(1));
    }

    /// An event came to the door.
    pub(super) fn came_to_door(&mut self) {
        let now = Instant::now();
        let is_short = now.duration_since(self.arrived) < SHORT;
        self.arrived = now;
        self.short = if is_short { self.short.saturating_add(1) } else { 0 };
    }

    /// The sentry thread slept while it dealt with the last event: the guest waits for others, not for us.
    pub(super) fn slept(&mut self) {
        self.short = 0;
    }

    /// One side got tired of watching.
    pub(super) fn end_session(&mut self) {
        let Some(rounds) = self.session.take() else { return };
        self.short = 0;
        self.needed = if rounds >= WORTH_IT { self.needed / 2 } else { self.needed.saturating_mul(4) };
        self.needed = self.needed.clamp(FEWEST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::{Cores, FEWEST, HandOver, MOST, Mode, Policy, WORTH_IT};

    fn cores(usable: u32) -> Cores {
        Cores::new(HandOver::Adaptive, usable)
    }

    fn short_round(policy: &mut Policy, cores: &Cores) -> Mode {
        let mode = policy.resume(cores);
        cores.leave();
        match mode {
            Mode::Door => policy.came_to_door(),
            Mode::Begin | Mode::Watch => policy.seen(),
        }
        mode
    }

    #[test]
    fn a_run_of_short_rounds_begins_a_session_where_a_core_is_spare() {
        let (one, two) = (cores(1), cores(2));
        let mut policy = Policy::new();
        for _ in 0..FEWEST {
            assert_eq!(short_round(&mut policy, &two), Mode::Door);
        }
        assert_eq!(short_round(&mut policy, &one), Mode::Door);
        assert_eq!(short_round(&mut policy, &two), Mode::Begin);
        assert_eq!(short_round(&mut policy, &two), Mode::Watch);
        let other = Policy::new().resume(&two);
        assert_eq!((other, short_round(&mut policy, &two)), (Mode::Door, Mode::Door));
    }

    #[test]
    fn sessions_that_do_not_pay_become_rare() {
        let two = cores(2);
        let mut policy = Policy::new();
        let mut begun = 0;
        for _ in 0..100_000 {
            if short_round(&mut policy, &two) == Mode::Begin {
                begun += 1;
                policy.end_session();
            }
        }
        assert!(begun < 410, "{begun}");
        assert_eq!(policy.needed, MOST);
        policy.session = Some(WORTH_IT);
        policy.end_session();
        assert_eq!(policy.needed, MOST / 2);
    }
}
