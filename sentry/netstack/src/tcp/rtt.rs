//! Round-trip time and retransmission timeout (RFC 6298, with Linux's bounds), and the windowed minimum.

use crate::base::time::Instant;
use std::time::Duration;

/// Bounds of the retransmission timeout.
pub(crate) const MIN_RTO: Duration = Duration::from_millis(200);
pub(crate) const MAX_RTO: Duration = Duration::from_secs(120);
/// Before anything was measured.
pub(crate) const INITIAL_RTO: Duration = Duration::from_secs(1);
/// How long a minimum counts (`tcp_min_rtt_wlen`).
const MIN_WINDOW: Duration = Duration::from_secs(300);

/// The estimator of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {
    srtt: Option<Duration>,
    var: Duration,
    min: Option<(Duration, Instant)>,
    /// Doublings of the timeout since the last progress.
    pub(crate) backoff: u32,
}

impl Rtt {
    pub(crate) const fn new() -> Self {
        Self { srtt: None, var: Duration::ZERO, min: None, backoff: 0 }
    }

    /// Takes a measurement.
    pub(crate) fn sample(&mut self, rtt: Duration, now: Instant) {
        let rtt = rtt.max(Duration::from_micros(1));
        match self.srtt {
            None => {
                self.srtt = Some(rtt);
                self.var = rtt / 2;
            }
            Some(srtt) => {
                self.var = (self.var * 3 + srtt.abs_diff(rtt)) / 4;
                self.srtt = Some((srtt * 7 + rtt) / 8);
            }
        }
        if self.min.is_none_or(|(min, at)| rtt <= min || now.since(at) > MIN_WINDOW) {
            self.min = Some((rtt, now));
        }
    }

    pub(crate) const fn srtt(&self) -> Option<Duration> {
        self.srtt
    }

    pub(crate) const fn var(&self) -> Duration {
        self.var
    }

    pub(crate) fn min(&self) -> Option<Duration> {
        self.min.map(|(min, _)| min)
    }

    /// The timeout without backing off.
    pub(crate) fn base_rto(&self) -> Duration {
        match self.srtt {
            None => INITIAL_RTO,
            Some(srtt) => (srtt + (self.var * 4).max(MIN_RTO)).min(MAX_RTO),
        }
    }

    /// The timeout now.
    pub(crate) fn rto(&self) -> Duration {
        self.base_rto()
            .saturating_mul(1u32.checked_shl(self.backoff.min(16)).unwrap_or(u32::MAX))
            .min(MAX_RTO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_rtt_gives_srtt_plus_the_minimum() {
        let mut rtt = Rtt::new();
        assert_eq!(rtt.rto(), INITIAL_RTO);
        for n in 0..100 {
            rtt.sample(Duration::from_millis(50), Instant::from_millis(n * 50));
        }
        assert_eq!(rtt.srtt(), Some(Duration::from_millis(50)));
        assert_eq!(rtt.rto(), Duration::from_millis(250));
        rtt.backoff = 3;
        assert_eq!(rtt.rto(), Duration::from_secs(2));
        rtt.backoff = 40;
        assert_eq!(rtt.rto(), MAX_RTO);
    }
}
