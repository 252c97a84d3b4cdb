//! Congestion control: CUBIC (RFC 9438) and Reno (RFC 5681), and proportional rate reduction (RFC 9937).
//!
//! Windows are in bytes. The scoreboard says how much is in flight; this says how much may be.

use crate::base::config::Congestion;
use crate::base::time::Instant;
use std::time::Duration;

/// Initial window in segments (RFC 6928).
const INITIAL_SEGMENTS: u64 = 10;
/// CUBIC's constants.
const C: f64 = 0.4;
const BETA: f64 = 0.7;

/// Window of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) algorithm: Congestion,
    pub(crate) cwnd: u64,
    pub(crate) ssthresh: u64,
    pub(crate) mss: u64,
    /// Acknowledged bytes not yet turned into window in congestion avoidance.
    credit: u64,
    cubic: Cubic,
    prr: Option<Prr>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cubic {
    epoch: Option<Instant>,
    /// Window before the last reduction, in segments.
    w_max: f64,
    /// What Reno would have, in segments.
    w_est: f64,
    /// Window at the beginning of the epoch.
    start: f64,
    /// Time until the window is back at `w_max`, seconds.
    k: f64,
}

/// Proportional rate reduction during a recovery.
#[derive(Clone, Copy, Debug, Default)]
struct Prr {
    delivered: u64,
    out: u64,
    /// Flight when the recovery began.
    flight: u64,
}

impl Window {
    pub(crate) fn new(algorithm: Congestion, mss: u64) -> Self {
        Self {
            algorithm,
            cwnd: INITIAL_SEGMENTS * mss,
            ssthresh: u64::MAX,
            mss,
            credit: 0,
            cubic: Cubic::default(),
            prr: None,
        }
    }

    /// The segment size became known or changed; the window stays the same number of segments at the beginning.
    pub(crate) fn set_mss(&mut self, mss: u64) {
        if self.ssthresh == u64::MAX && self.cwnd == INITIAL_SEGMENTS * self.mss {
            self.cwnd = INITIAL_SEGMENTS * mss;
        }
        self.mss = mss.max(1);
    }

    pub(crate) const fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Data was acknowledged outside recovery, and the window was in use.
    pub(crate) fn on_ack(&mut self, mut acked: u64, now: Instant, srtt: Option<Duration>, ceiling: u64) {
        if self.in_slow_start() {
            let step = acked.min(self.ssthresh - self.cwnd);
            self.cwnd += step;
            acked -= step;
        }
        if acked > 0 && !self.in_slow_start() {
            match self.algorithm {
                Congestion::Reno => self.grow_by_one_per(acked, self.cwnd),
                Congestion::Cubic => self.cubic_ack(acked, now, srtt.unwrap_or(Duration::from_millis(100))),
            }
        }
        self.cwnd = self.cwnd.min(ceiling.max(self.mss * 2));
    }

    /// One segment more for each `per` acknowledged bytes.
    fn grow_by_one_per(&mut self, acked: u64, per: u64) {
        self.credit += acked;
        let per = per.max(1);
        if self.credit >= per {
            self.cwnd += self.mss * (self.credit / per);
            self.credit %= per;
        }
    }

    fn cubic_ack(&mut self, acked: u64, now: Instant, srtt: Duration) {
        let mss = self.mss as f64;
        let window = self.cwnd as f64 / mss;
        let cubic = &mut self.cubic;
        let epoch = *cubic.epoch.get_or_insert_with(|| {
            cubic.start = window;
            cubic.w_est = window;
            if cubic.w_max < window {
                cubic.w_max = window;
            }
            cubic.k = ((cubic.w_max - window) / C).cbrt();
            now
        });
        let t = (now.since(epoch) + srtt).as_secs_f64();
        let target = cubic.w_max + C * (t - cubic.k).powi(3);
        // RFC 9438 4.3: grow at least as Reno with the same reduction would.
        let alpha = if cubic.w_est < cubic.w_max { 3.0 * (1.0 - BETA) / (1.0 + BETA) } else { 1.0 };
        cubic.w_est += alpha * (acked as f64 / mss) / window;
        let target = target.clamp(window, window * 1.5).max(cubic.w_est);
        let per = if target > window { window / (target - window) } else { 100.0 * window };
        // Never more than one segment for two acknowledged.
        let per = (per.max(2.0) * mss) as u64;
        self.grow_by_one_per(acked, per);
    }

    /// A loss or a congestion mark: the threshold goes down. `in_flight` is what was under way.
    pub(crate) fn reduce(&mut self, in_flight: u64) {
        let floor = 2 * self.mss;
        let basis = self.cwnd.min(in_flight.max(floor));
        self.ssthresh = match self.algorithm {
            Congestion::Reno => basis / 2,
            Congestion::Cubic => {
                let window = self.cwnd as f64 / self.mss as f64;
                let cubic = &mut self.cubic;
                // Fast convergence: give way to newer flows.
                cubic.w_max = if window < cubic.w_max { window * (1.0 + BETA) / 2.0 } else { window };
                cubic.epoch = None;
                (basis as f64 * BETA) as u64
            }
        }
        .max(floor);
        self.credit = 0;
    }

    /// A retransmission timeout: start over from one segment.
    pub(crate) fn collapse(&mut self) {
        self.cwnd = self.mss;
        self.credit = 0;
        self.prr = None;
    }

    /// A recovery begins, with so much in flight.
    pub(crate) fn begin_recovery(&mut self, flight: u64) {
        self.prr = Some(Prr { delivered: 0, out: 0, flight: flight.max(self.mss) });
    }

    /// In a recovery, so much was newly delivered; `pipe` is in flight now.
    pub(crate) fn on_recovery_ack(&mut self, delivered: u64, pipe: u64, made_progress: bool) {
        let Some(prr) = &mut self.prr else { return };
        prr.delivered += delivered;
        let room = if pipe > self.ssthresh {
            let fair =
                (u128::from(prr.delivered) * u128::from(self.ssthresh)).div_ceil(u128::from(prr.flight));
            u64::try_from(fair).unwrap_or(u64::MAX).saturating_sub(prr.out)
        } else {
            // Slow start reduction bound while things go well, else conservative.
            let limit = prr.delivered.saturating_sub(prr.out).max(delivered);
            let limit = if made_progress { limit + self.mss } else { limit };
            limit.min(self.ssthresh - pipe)
        };
        // The first acknowledgement always lets the first retransmission out.
        let room = if prr.out == 0 { room.max(self.mss) } else { room };
        self.cwnd = pipe + room;
    }

    /// So much was sent.
    pub(crate) fn on_sent(&mut self, bytes: u64) {
        if let Some(prr) = &mut self.prr {
            prr.out += bytes;
        }
    }

    /// The recovery is over.
    pub(crate) fn end_recovery(&mut self) {
        if self.prr.take().is_some() {
            self.cwnd = self.ssthresh.max(2 * self.mss);
        }
    }

    /// The reduction was a mistake.
    pub(crate) fn undo(&mut self, cwnd: u64, ssthresh: u64) {
        self.prr = None;
        self.cwnd = self.cwnd.max(cwnd);
        self.ssthresh = self.ssthresh.max(ssthresh);
        self.cubic.epoch = None;
    }

    /// Nothing was sent for `idle`: the window decays (RFC 2861).
    pub(crate) fn restart_after(&mut self, idle: Duration, rto: Duration) {
        let floor = (INITIAL_SEGMENTS * self.mss).min(self.cwnd);
        self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
        let mut left = idle;
        while left > rto && self.cwnd > floor {
            self.cwnd = (self.cwnd / 2).max(floor);
            left -= rto;
        }
        self.cubic.epoch = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1000;

    fn run(algorithm: Congestion, seconds: u64, rtt_ms: u64) -> u64 {
        let mut window = Window::new(algorithm, MSS);
        window.cwnd = 100 * MSS;
        window.reduce(100 * MSS);
        window.begin_recovery(100 * MSS);
        window.end_recovery();
        let rtt = Duration::from_millis(rtt_ms);
        for step in 0..seconds * 1000 / rtt_ms {
            let now = Instant::from_millis(1000 + step * rtt_ms);
            let flight = window.cwnd;
            for _ in 0..flight / MSS {
                window.on_ack(MSS, now, Some(rtt), u64::MAX);
            }
        }
        window.cwnd / MSS
    }

    #[test]
    fn reno_grows_by_one_segment_per_round_trip() {
        assert!((69..=71).contains(&run(Congestion::Reno, 1, 50)), "{}", run(Congestion::Reno, 1, 50));
    }

    #[test]
    fn cubic_returns_to_its_maximum_and_goes_beyond() {
        // K = cbrt(30 / 0.4) = 4.2 s.
        let at_k = run(Congestion::Cubic, 4, 200);
        assert!((90..=106).contains(&at_k), "{at_k}");
        assert!(run(Congestion::Cubic, 10, 200) > 150);
    }

    #[test]
    fn slow_start_doubles() {
        let mut window = Window::new(Congestion::Cubic, MSS);
        for _ in 0..10 {
            window.on_ack(MSS, Instant::ZERO, None, u64::MAX);
        }
        assert_eq!(window.cwnd, 20 * MSS);
    }

    #[test]
    fn prr_sends_in_proportion() {
        let mut window = Window::new(Congestion::Reno, MSS);
        window.cwnd = 20 * MSS;
        window.reduce(20 * MSS);
        window.begin_recovery(20 * MSS);
        let mut pipe = 20 * MSS;
        let mut sent = 0;
        for _ in 0..10 {
            pipe -= MSS;
            window.on_recovery_ack(MSS, pipe, true);
            while pipe + MSS <= window.cwnd {
                pipe += MSS;
                sent += 1;
                window.on_sent(MSS);
            }
        }
        assert!((5..=7).contains(&sent), "{sent}");
        window.end_recovery();
        assert_eq!(window.cwnd, 10 * MSS);
    }
}
