//! What was sent and is not acknowledged: SACK state, losses, and time-based loss detection (RFC 2018, RFC 6675,
//! RACK of RFC 8985).
//!
//! Positions are 64-bit places in sequence space (0 is the SYN). Entries are contiguous from `una`; an entry may be
//! several segments long when it was sent as one for the device to cut, and is then split at segment borders.

use crate::base::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// One sent range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// When it was last sent.
    pub(crate) sent_at: Instant,
    pub(crate) first_sent: Instant,
    pub(crate) retransmits: u32,
    pub(crate) is_sacked: bool,
    pub(crate) is_lost: bool,
    /// Lost, and sent again since.
    pub(crate) is_retransmitted: bool,
}

impl Sent {
    const fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it is lost and was not sent again.
    const fn is_to_resend(&self) -> bool {
        self.is_lost && !self.is_retransmitted && !self.is_sacked
    }

    /// What the range contributes to the data in flight.
    const fn in_flight(&self) -> u64 {
        if self.is_sacked || self.is_lost && !self.is_retransmitted { 0 } else { self.len() }
    }
}

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered {
    /// Bytes newly known to have arrived.
    pub(crate) bytes: u64,
    /// Round-trip time of a range that was sent once.
    pub(crate) rtt: Option<Duration>,
    /// Bytes newly acknowledged cumulatively.
    pub(crate) acked: u64,
    /// A range that had been sent again was acknowledged.
    pub(crate) retransmitted: bool,
    /// New SACK information.
    pub(crate) sacked: u64,
}

/// The ranges in flight.
#[derive(Debug)]
pub(crate) struct Scoreboard {
    sent: VecDeque<Sent>,
    /// Bytes in flight.
    pipe: u64,
    sacked: u64,
    lost: u64,
    /// No range that is to be sent again ends before this position.
    lost_from: u64,
    rack: Rack,
}

#[derive(Clone, Copy, Debug)]
struct Rack {
    /// When the latest-sent range that was delivered was sent, and its end.
    xmit: Instant,
    end: u64,
    rtt: Duration,
    /// Highest end that was delivered.
    fack: u64,
    has_reordering: bool,
    /// Multiplier of the reordering window; raised by DSACKs.
    mult: u32,
    persist: u32,
}

impl Scoreboard {
    pub(crate) const fn new() -> Self {
        let rack = Rack {
            xmit: Instant::ZERO,
            end: 0,
            rtt: Duration::ZERO,
            fack: 0,
            has_reordering: false,
            mult: 1,
            persist: 0,
        };
        Self { sent: VecDeque::new(), pipe: 0, sacked: 0, lost: 0, lost_from: 0, rack }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Bytes in flight.
    pub(crate) const fn pipe(&self) -> u64 {
        self.pipe
    }

    /// Bytes that SACK reported.
    pub(crate) const fn sacked(&self) -> u64 {
        self.sacked
    }

    /// Bytes lost and not sent again.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) const fn has_reordering(&self) -> bool {
        self.rack.has_reordering
    }

    /// Number of ranges.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    /// When the oldest unacknowledged range was first sent.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.sent.front().map(|sent| sent.first_sent)
    }

    /// New data was sent.
    pub(crate) fn push(&mut self, start: u64, end: u64, now: Instant) {
        self.sent.push_back(Sent {
            start,
            end,
            sent_at: now,
            first_sent: now,
            retransmits: 0,
            is_sacked: false,
            is_lost: false,
            is_retransmitted: false,
        });
        self.pipe += end - start;
    }

    fn change(&mut self, at: usize, f: impl FnOnce(&mut Sent)) {
        let sent = &mut self.sent[at];
        let before = *sent;
        f(sent);
        let after = *sent;
        let lost = |s: &Sent| if s.is_to_resend() { s.len() } else { 0 };
        if after.is_to_resend() {
            self.lost_from = self.lost_from.min(after.start);
        }
        self.pipe = self.pipe - before.in_flight() + after.in_flight();
        self.lost = self.lost - lost(&before) + lost(&after);
        let sacked = |s: &Sent| if s.is_sacked { s.len() } else { 0 };
        self.sacked = self.sacked - sacked(&before) + sacked(&after);
    }

    /// Cuts the range `at` in two at `place`.
    fn split(&mut self, at: usize, place: u64) {
        let whole = self.sent[at];
        if place <= whole.start || place >= whole.end {
            return;
        }
        self.sent[at].end = place;
        self.sent.insert(at + 1, Sent { start: place, ..whole });
    }

    /// Everything before `una` is acknowledged.
    pub(crate) fn ack(&mut self, una: u64, now: Instant) -> Delivered {
        let mut delivered = Delivered::default();
        while let Some(front) = self.sent.front().copied() {
            if front.start >= una {
                break;
            }
            if front.end > una {
                self.split(0, una);
                continue;
            }
            delivered.acked += front.len();
            if !front.is_sacked {
                delivered.bytes += front.len();
                self.note_delivered(&front, now, &mut delivered);
            }
            delivered.retransmitted |= front.retransmits > 0;
            self.change(0, |sent| {
                sent.is_sacked = false;
                sent.is_lost = false;
            });
            self.pipe -= front.len();
            self.sent.pop_front();
        }
        delivered
    }

    /// `start..end` arrived, says a SACK block.
    pub(crate) fn sack(&mut self, start: u64, end: u64, mss: u64, now: Instant, delivered: &mut Delivered) {
        let mut at = self.sent.partition_point(|sent| sent.end <= start);
        while let Some(sent) = self.sent.get(at).copied() {
            if sent.start >= end {
                break;
            }
            if sent.is_sacked {
                at += 1;
                continue;
            }
            if sent.start < start || sent.end > end {
                // Cut at a segment border inside the block; what a block covers only in part is not sacked.
                let mss = mss.max(1);
                let from = sent.start + (start.saturating_sub(sent.start)).div_ceil(mss) * mss;
                let to = if end >= sent.end { sent.end } else { sent.start + (end - sent.start) / mss * mss };
                if from >= to {
                    at += 1;
                    continue;
                }
                self.split(at, to);
                if from > sent.start {
                    self.split(at, from);
                    at += 1;
                }
                continue;
            }
            delivered.bytes += sent.len();
            delivered.sacked += sent.len();
            self.note_delivered(&sent, now, delivered);
            self.change(at, |sent| sent.is_sacked = true);
            at += 1;
        }
    }

    /// RACK steps 1 to 3: remembers what was delivered last, and notices reordering.
    fn note_delivered(&mut self, sent: &Sent, now: Instant, delivered: &mut Delivered) {
        let rtt = now.since(sent.sent_at);
        let rack = &mut self.rack;
        if sent.retransmits == 0 {
            delivered.rtt = Some(rtt);
            if sent.end < rack.fack {
                rack.has_reordering = true;
            }
        } else if rtt < rack.rtt / 2 {
            // An answer to the original, not to the retransmission.
            rack.fack = rack.fack.max(sent.end);
            return;
        }
        rack.fack = rack.fack.max(sent.end);
        if sent.sent_at > rack.xmit || sent.sent_at == rack.xmit && sent.end > rack.end {
            rack.xmit = sent.sent_at;
            rack.end = sent.end;
            rack.rtt = rtt;
        }
    }

    /// A DSACK told of a needless retransmission: the reordering window widens for some round trips.
    pub(crate) fn on_dsack(&mut self) {
        self.rack.mult = (self.rack.mult + 1).min(20);
        self.rack.persist = 16;
    }

    /// A recovery ended.
    pub(crate) fn on_recovered(&mut self) {
        self.rack.persist = self.rack.persist.saturating_sub(1);
        if self.rack.persist == 0 {
            self.rack.mult = 1;
        }
    }

    /// RACK steps 4 and 5: marks as lost what was sent well before something that was delivered. Gives when to look
    /// again.
    pub(crate) fn detect(
        &mut self,
        min_rtt: Duration,
        srtt: Duration,
        in_recovery: bool,
        mss: u64,
        now: Instant,
    ) -> Option<Instant> {
        let rack = self.rack;
        if rack.xmit == Instant::ZERO {
            return None;
        }
        let is_certain = !rack.has_reordering && (in_recovery || self.sacked >= 3 * mss);
        let window = if is_certain { Duration::ZERO } else { (min_rtt / 4 * rack.mult).min(srtt) };
        let mut next: Option<Instant> = None;
        for at in 0..self.sent.len() {
            let sent = self.sent[at];
            if sent.start >= rack.fack.max(rack.end) {
                break;
            }
            let is_open = sent.in_flight() > 0;
            let is_older = sent.sent_at < rack.xmit || sent.sent_at == rack.xmit && sent.end < rack.end;
            if !is_open || !is_older {
                continue;
            }
            let due = sent.sent_at + rack.rtt + window;
            if due <= now {
                self.change(at, |sent| {
                    sent.is_lost = true;
                    sent.is_retransmitted = false;
                });
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        next
    }

    /// Duplicate acknowledgements without SACK: the first range is lost.
    pub(crate) fn mark_first_lost(&mut self, mss: u64) {
        if let Some(first) = self.sent.front().copied() {
            self.split(0, first.start + mss);
            self.change(0, |sent| {
                sent.is_lost = true;
                sent.is_retransmitted = false;
            });
        }
    }

    /// A retransmission timeout: everything not reported is lost. Where the peer turned out to have reneged, also
    /// what it reported.
    pub(crate) fn mark_all_lost(&mut self) -> bool {
        let reneged = self.sent.front().is_some_and(|sent| sent.is_sacked);
        for at in 0..self.sent.len() {
            self.change(at, |sent| {
                if reneged {
                    sent.is_sacked = false;
                }
                if !sent.is_sacked {
                    sent.is_lost = true;
                    sent.is_retransmitted = false;
                }
            });
        }
        reneged
    }

    /// A reduction turned out to be a mistake: nothing is lost.
    pub(crate) fn unmark_lost(&mut self) {
        for at in 0..self.sent.len() {
            self.change(at, |sent| sent.is_lost = false);
        }
    }

    /// The first range that is to be sent again, cut to `max`.
    pub(crate) fn next_lost(&mut self, max: u64) -> Option<Sent> {
        if self.lost == 0 {
            return None;
        }
        let first = self.sent.partition_point(|sent| sent.end <= self.lost_from);
        let at = first + self.sent.range(first..).position(Sent::is_to_resend)?;
        self.lost_from = self.sent[at].start;
        let place = self.sent[at].start + max;
        self.split(at, place);
        Some(self.sent[at])
    }

    /// The last range, cut to `max` from its end: what a loss probe repeats.
    pub(crate) fn last(&mut self, max: u64) -> Option<Sent> {
        let at = self.sent.len().checked_sub(1)?;
        let whole = self.sent[at];
        if whole.len() > max {
            self.split(at, whole.end - max);
        }
        self.sent.back().copied()
    }

    /// The range at `start` was sent again.
    pub(crate) fn on_retransmit(&mut self, start: u64, now: Instant) {
        let at = self.sent.partition_point(|sent| sent.start < start);
        if self.sent.get(at).is_some_and(|sent| sent.start == start) {
            self.change(at, |sent| {
                sent.sent_at = now;
                sent.retransmits = sent.retransmits.saturating_add(1);
                sent.is_retransmitted = true;
            });
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    #[cfg(test)]
    fn check(&self) {
        let sum = |f: fn(&Sent) -> u64| self.sent.iter().map(f).sum::<u64>();
        assert_eq!(self.pipe, sum(Sent::in_flight));
        assert_eq!(self.sacked, sum(|s| if s.is_sacked { s.len() } else { 0 }));
        assert_eq!(
            self.lost,
            sum(|s| if s.is_lost && !s.is_retransmitted && !s.is_sacked { s.len() } else { 0 })
        );
        for (a, b) in self.sent.iter().zip(self.sent.iter().skip(1)) {
            assert!(a.end == b.start && a.start < a.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Send(u64),
        Ack(u64),
        Sack(u64, u64),
        Detect,
        Retransmit,
        Timeout,
        Probe,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (1u64..20_000).prop_map(Op::Send),
            (0u64..30_000).prop_map(Op::Ack),
            (0u64..60_000, 1u64..20_000).prop_map(|(at, len)| Op::Sack(at, len)),
            Just(Op::Detect),
            Just(Op::Retransmit),
            Just(Op::Timeout),
            Just(Op::Probe),
        ]
    }

    proptest! {
        #[test]
        fn sums_stay_right(ops in prop::collection::vec(op(), 1..120)) {
            const MSS: u64 = 1000;
            let mut board = Scoreboard::new();
            let (mut una, mut nxt, mut now) = (1, 1, Instant::from_millis(1));
            for op in ops {
                now += Duration::from_millis(3);
                match op {
                    Op::Send(len) => {
                        board.push(nxt, nxt + len, now);
                        nxt += len;
                    }
                    Op::Ack(by) => {
                        una = (una + by).min(nxt);
                        board.ack(una, now);
                    }
                    Op::Sack(at, len) => {
                        let mut delivered = Delivered::default();
                        board.sack(una + at, una + at + len, MSS, now, &mut delivered);
                        prop_assert_eq!(delivered.bytes, delivered.sacked);
                    }
                    Op::Detect => {
                        let ms = Duration::from_millis;
                        board.detect(ms(5), ms(10), false, MSS, now);
                    }
                    Op::Retransmit => {
                        let first = board.sent.iter().find(|sent| sent.is_to_resend()).map(|sent| sent.start);
                        prop_assert_eq!(board.next_lost(MSS).map(|sent| sent.start), first);
                        if let Some(sent) = board.next_lost(MSS) {
                            prop_assert!(sent.end - sent.start <= MSS);
                            board.on_retransmit(sent.start, now);
                        }
                    }
                    Op::Timeout => {
                        board.mark_all_lost();
                    }
                    Op::Probe => {
                        if let Some(sent) = board.last(MSS) {
                            board.on_retransmit(sent.start, now);
                        }
                    }
                }
                board.check();
                prop_assert!(board.len() as u64 <= (nxt - una) / MSS * 3 + 200);
                prop_assert_eq!(board.is_empty(), una == nxt);
            }
        }
    }

    #[test]
    fn three_sacked_segments_make_the_first_lost_at_once() {
        let ms = Duration::from_millis;
        let mut board = Scoreboard::new();
        for n in 0..5 {
            board.push(1 + n * 1000, 1001 + n * 1000, Instant::from_millis(100 + n));
        }
        let mut delivered = Delivered::default();
        board.sack(1001, 3001, 1000, Instant::from_millis(150), &mut delivered);
        let again = board.detect(ms(48), ms(50), false, 1000, Instant::from_millis(150));
        assert!(board.lost() == 0 && again.is_some());
        board.sack(3001, 4001, 1000, Instant::from_millis(151), &mut delivered);
        board.detect(ms(48), ms(50), false, 1000, Instant::from_millis(151));
        assert_eq!((board.lost(), board.sacked()), (1000, 3000));
        assert_eq!(board.next_lost(1000).map(|s| s.start), Some(1));
        assert_eq!(board.pipe(), 1000);
    }

    #[test]
    fn reordering_is_waited_for() {
        let ms = Duration::from_millis;
        let mut board = Scoreboard::new();
        for n in 0..6 {
            board.push(1 + n * 1000, 1001 + n * 1000, Instant::from_millis(100));
        }
        let at = Instant::from_millis(140);
        let mut delivered = Delivered::default();
        board.sack(2001, 3001, 1000, at, &mut delivered);
        board.sack(1001, 2001, 1000, at, &mut delivered);
        board.sack(3001, 5001, 1000, at, &mut delivered);
        assert!(board.has_reordering());
        let again = board.detect(ms(40), ms(40), false, 1000, at);
        assert_eq!((board.lost(), again), (0, Some(at + ms(10))));
        board.detect(ms(40), ms(40), false, 1000, at + ms(10));
        assert_eq!(board.lost(), 1000);
    }
}
