//! Which calls are answered without the kernel: a bit for each kind of call, so that a filter of one leaves the others.

use stub::layout::{ANSWER_PLACES, CHILD_MARK, hold_bit};

/// Calls whose results the platform is told, that read the clocks, or that change what only the thread has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnsweredCalls(u32);

impl AnsweredCalls {
    /// No calls.
    pub const NONE: Self = Self(0);
    /// All that there are.
    pub const ALL: Self = {
        // A call that makes a child is an event in any case: whether it is allowed makes no difference.
        let (mut number, mut bits) = (0, hold_bit(CHILD_MARK));
        while number < ANSWER_PLACES.len() {
            bits |= bit(number);
            number += 1;
        }
        Self(bits)
    };

    /// Those that `is_allowed` is true of, by number; calls that are answered alike only together.
    #[must_use]
    pub fn allowed(is_allowed: impl Fn(u32) -> bool) -> Self {
        let refused = ANSWERED.iter().filter(|(number, _)| !is_allowed((*number).into()));
        Self(refused.fold(Self::ALL.0, |bits, (_, bit)| bits & !bit))
    }

    /// Whether a call is among them.
    #[must_use]
    pub fn contains(self, number: u32) -> bool {
        self.0 & ANSWER_PLACES.get(number as usize).map_or(0, |_| bit(number as usize)) != 0
    }

    /// As the stub is told.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

/// How many calls are answered.
const ANSWERED_LEN: usize = {
    let (mut number, mut len) = (0, 0);
    while number < ANSWER_PLACES.len() {
        len += (bit(number) != 0) as usize;
        number += 1;
    }
    len
};

/// Those calls, with their bits: each new thread has to look at all of them.
const ANSWERED: [(u16, u32); ANSWERED_LEN] = {
    let mut calls = [(0, 0); ANSWERED_LEN];
    let (mut number, mut len) = (0, 0);
    while number < ANSWER_PLACES.len() {
        if bit(number) != 0 {
            calls[len] = (number as u16, bit(number));
            len += 1;
        }
        number += 1;
    }
    calls
};

/// The bit of a call, 0 where it is not answered.
const fn bit(number: usize) -> u32 {
    let place = ANSWER_PLACES[number];
    // The others are posted.
    let is_answered = place != 0 && place.is_multiple_of(8) && place != CHILD_MARK;
    if is_answered { hold_bit(place) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::AnsweredCalls;

    #[test]
    fn a_call_that_is_not_allowed_leaves_the_others() {
        assert_eq!(AnsweredCalls::allowed(|_| true), AnsweredCalls::ALL);
        assert!((0..500).all(|number| !AnsweredCalls::allowed(|_| false).contains(number)));
        let calls = AnsweredCalls::allowed(|number| number != 39 && number != 97);
        // getpid, getrlimit and so prlimit64; read is none at all.
        for (number, is_there) in [
            (39, false),
            (186, true),
            (97, false),
            (302, false),
            (14, true),
            (228, true),
            (0, false),
            (999, false),
        ] {
            assert_eq!(calls.contains(number), is_there, "{number}");
        }
    }
}
