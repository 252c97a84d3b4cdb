//! How large a receive buffer should be: twice of what the application reads in a round trip (dynamic right-sizing, as
//! `tcp_rcv_rtt_update` and `tcp_rcv_space_adjust` of Linux do it).
//!
//! A receiver learns of the round trip in two ways. Time stamps: a segment that echoes one of ours for the first time was
//! sent when that arrived; those that follow with the same echo were not, and would show the time for which the peer had
//! heard nothing new. Windows: it takes a round trip at least until a whole window has arrived that was offered; this
//! works without stamps, and where a round trip is shorter than their tick.

use super::{Connection, Env};
use crate::base::time::Instant;
use crate::tcp::segment::Segment;
use std::time::Duration;

/// An echo older than this tells nothing.
const OLD_ECHO_MS: u32 = 60_000;

/// Automatic tuning of the receive buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct RcvTuning {
    /// Stream offset read at the beginning of the current round trip.
    from: u64,
    began: Instant,
    /// Bytes read in the best round trip so far.
    pub(super) space: u64,
    /// The round trip; zero while it is unknown.
    pub(super) rtt: Duration,
    /// The last of our stamps that came back with data.
    last_echo: u32,
    /// The end of a window and when it was offered.
    window: Option<(u64, Instant)>,
}

impl RcvTuning {
    /// For a connection of which `from` bytes were read, and whose peer begins with a window of `space` bytes.
    pub(super) const fn new(from: u64, space: u64, now: Instant) -> Self {
        Self { from, began: now, space, rtt: Duration::ZERO, last_echo: 0, window: None }
    }

    /// A lower sample holds at once, a higher one by a weight of one in so many: what waits in queues comes late.
    fn sample(&mut self, rtt: Duration, weight: Option<u32>) {
        if self.rtt.is_zero() || rtt < self.rtt {
            self.rtt = rtt;
        } else if let Some(weight) = weight {
            self.rtt += (rtt - self.rtt) / weight;
        }
    }
}

impl Connection {
    /// In-order data has arrived.
    pub(super) fn measure_round_trip(&mut self, env: &Env<'_>, segment: &Segment<'_>) {
        match self.tuning.window {
            Some((end, _)) if self.rcv_nxt < end => {}
            last => {
                if let Some((_, offered)) = last {
                    let rtt = env.now.since(offered).max(Duration::from_micros(1));
                    self.tuning.sample(rtt, None);
                }
                self.tuning.window = Some((self.rcv_adv.max(self.rcv_nxt + 1), env.now));
            }
        }
        let Some((_, echo)) = segment.options.timestamp.filter(|_| self.stamps.is_some()) else { return };
        if std::mem::replace(&mut self.tuning.last_echo, echo) == echo {
            return;
        }
        let age_ms = self.stamp(env.now).wrapping_sub(echo);
        // Less than a full segment may have waited for the application that sent it.
        let is_full = segment.payload.len() as u64 >= self.acks.rcv_mss;
        if is_full && echo != 0 && (1..OLD_ECHO_MS).contains(&age_ms) {
            self.tuning.sample(Duration::from_millis(age_ms.into()), Some(8));
        }
    }

    /// Data was read: after a round trip the buffer may have to grow.
    pub(super) fn tune_receive_buffer(&mut self, env: &mut Env<'_>) {
        let rtt = self.tuning.rtt;
        if !env.config.tcp_moderate_rcvbuf || rtt.is_zero() || env.now.since(self.tuning.began) < rtt {
            return;
        }
        // What still waits shows that the application is slower than the network.
        let read = (self.rx.start() - self.tuning.from).saturating_sub(self.rx.len() as u64);
        if read > self.tuning.space {
            // Slow start may double what comes in the next round trip.
            let growth = (read - self.tuning.space) * 2;
            let window = read * 2 + 16 * self.mss + growth;
            let buffer = usize::try_from(window * 2).unwrap_or(usize::MAX).min(env.config.tcp_rmem.max);
            env.options.base.tune_rcv_buf(buffer);
            self.tuning.space = read;
        }
        self.tuning.from = self.rx.start();
        self.tuning.began = env.now;
    }
}
