//! Whose turn it is to receive from a socket: its thread's, or a task's.

use std::time::{Duration, Instant};

use waiter::Others;

/// The thread leaves the socket to a task that it has woken so many times in a row,
const FEWEST: u32 = 4;
/// or, where that was of no use before, so many times at most.
const MOST: u32 = 1 << 14;
/// A task that is woken by its own frames so many times makes up for one time that it was of no use.
const GOOD: u32 = 64;
/// A task that has had other things to do for so long, and finds frames waiting, had better let the thread receive them
/// meanwhile, on another core.
const LONG: Duration = Duration::from_micros(200);

/// Who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The thread.
    Thread,
    /// A task that sleeps.
    Task,
    /// Nobody: the task that did has woken.
    Nobody,
}

/// Why a task does not go on to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A frame has woken it, or it did not have to sleep.
    Awake,
    /// A frame has woken it that was there already.
    AtOnce,
    /// Somebody else has woken it, or its deadline.
    Other,
    /// Frames were for others.
    Passed,
    /// The host does not give any.
    Failed,
}

/// The state of that.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) who: Who,
    /// How many times a task has begun or ended to receive.
    pub(super) changes: u64,
    /// The thread looks now and then.
    pub(super) is_watched: bool,
    /// The task that the thread has woken last, and how many times in a row.
    woken: (usize, u32),
    /// So many times are enough.
    enough: u32,
    /// Ends in a row that were of use, and that were not.
    good: u32,
    useless: u32,
    /// When a task received last, and how long it did not before it did so again.
    ended: Option<Instant>,
    pause: Duration,
}

impl Turn {
    /// It is the thread's.
    pub(super) const fn new() -> Self {
        Self {
            who: Who::Thread,
            changes: 0,
            is_watched: false,
            woken: (0, 0),
            enough: FEWEST,
            good: 0,
            useless: 0,
            ended: None,
            pause: Duration::ZERO,
        }
    }

    /// The thread has woken these. It leaves the socket to a task that is always the same.
    pub(super) fn note_woken(&mut self, others: Others) {
        self.woken = match others {
            // The task has enough to do, and the thread perhaps a core of its own.
            Others::Nobody => return,
            Others::One(task) if task == self.woken.0 => (task, self.woken.1 + 1),
            Others::One(task) => (task, 1),
            Others::Several => (0, 0),
        };
        if self.woken.1 >= self.enough {
            self.woken.1 = 0;
            self.who = Who::Nobody;
        }
    }

    /// A task that would sleep receives, if nobody does.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let is_free = self.who == Who::Nobody;
        if is_free {
            self.who = Who::Task;
            self.changes += 1;
            self.pause = self.ended.map_or(Duration::ZERO, |ended| now.saturating_duration_since(ended));
        }
        is_free
    }

    /// It does no more; says whether it should when it sleeps next.
    pub(super) fn end(&mut self, now: Instant, why: End) -> bool {
        self.changes += 1;
        self.who = Who::Nobody;
        self.ended = Some(now);
        match why {
            End::AtOnce if self.pause > LONG => self.useless += 1,
            End::Awake | End::AtOnce => {
                self.useless = 0;
                self.good += 1;
                if self.good == GOOD {
                    self.good = 0;
                    self.enough = (self.enough / 2).max(FEWEST);
                }
                return true;
            }
            End::Other => self.useless += 1,
            End::Passed | End::Failed => self.useless = FEWEST,
        }
        let goes_on = self.useless < FEWEST;
        if !goes_on {
            self.take_back();
        }
        goes_on
    }

    /// It is the thread's again, since tasks that receive are of no use: more wakes are needed from now on.
    pub(super) fn take_back(&mut self) {
        self.who = Who::Thread;
        self.useless = 0;
        self.good = 0;
        self.ended = None;
        self.enough = (self.enough * 4).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use waiter::Others;

    use super::{End, FEWEST, GOOD, LONG, MOST, Turn, Who};

    /// How many wakes of one task it takes until the thread leaves the socket to it.
    fn wakes_until_left(turn: &mut Turn) -> u32 {
        (1..=MOST + 1)
            .find(|_| {
                turn.note_woken(Others::One(7));
                turn.who == Who::Nobody
            })
            .unwrap()
    }

    #[test]
    fn a_task_that_is_woken_alone_receives_until_that_is_of_no_use() {
        let mut turn = Turn::new();
        assert!(!turn.begin(Instant::now()), "the thread receives");
        assert_eq!(wakes_until_left(&mut turn), FEWEST);
        for _ in 0..10 {
            assert!(turn.begin(Instant::now()));
            assert!(!turn.begin(Instant::now()), "one task at a time");
            assert!(turn.end(Instant::now(), End::Awake));
        }
        for last in 1..=FEWEST {
            assert!(turn.begin(Instant::now()));
            assert_eq!(turn.end(Instant::now(), End::Other), last < FEWEST);
        }
        assert_eq!(turn.who, Who::Thread);
        assert_eq!(wakes_until_left(&mut turn), 4 * FEWEST);
    }

    #[test]
    fn several_tasks_are_left_to_the_thread() {
        let mut turn = Turn::new();
        for _ in 0..100 {
            turn.note_woken(Others::One(1));
            turn.note_woken(Others::One(2));
            turn.note_woken(Others::Several);
            turn.note_woken(Others::Nobody);
        }
        assert_eq!(turn.who, Who::Thread);
        wakes_until_left(&mut turn);
        assert!(turn.begin(Instant::now()));
        assert!(!turn.end(Instant::now(), End::Passed));
        assert_eq!(turn.who, Who::Thread);
    }

    #[test]
    fn mistakes_are_remembered_and_made_up_for() {
        let mut turn = Turn::new();
        for _ in 0..20 {
            wakes_until_left(&mut turn);
            turn.take_back();
        }
        assert_eq!(wakes_until_left(&mut turn), MOST);
        for _ in 0..GOOD {
            assert!(turn.begin(Instant::now()));
            assert!(turn.end(Instant::now(), End::Awake));
        }
        turn.who = Who::Thread;
        assert_eq!(wakes_until_left(&mut turn), MOST / 2);
    }

    #[test]
    fn a_busy_task_is_spared() {
        let mut turn = Turn::new();
        wakes_until_left(&mut turn);
        let mut now = Instant::now();
        let mut work_for = |pause| {
            now += pause;
            assert!(turn.begin(now));
            turn.end(now, End::AtOnce)
        };
        assert!((0..10).all(|_| work_for(LONG / 2)));
        assert!((1..FEWEST).all(|_| work_for(LONG * 2)));
        assert!(!work_for(LONG * 2));
        assert_eq!(turn.who, Who::Thread);
    }
}
