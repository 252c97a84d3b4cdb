//! Conditions that let some of many packets through: a rate, every so many, by chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::super::expr::Limit;
use super::super::super::passing::Passing;
use super::super::Fields;
use crate::base::error::{Error, Result};
use crate::core::Core;

/// A second in the units of `xt_rateinfo` (`XT_LIMIT_SCALE`).
const LIMIT_SCALE: u64 = 10_000;

/// `struct xt_rateinfo`.
#[derive(Clone, Debug)]
pub(in super::super) struct Rate(Arc<Limit>);

impl Rate {
    pub(super) fn parse(f: Fields<'_>) -> Result<Self> {
        let (average, burst) = (f.word(0), f.word(4));
        if average == 0 || burst == 0 {
            return Err(Error::Invalid);
        }
        // One packet in so many ten-thousandths is ten thousand in so many seconds.
        Ok(Self(Limit::new(LIMIT_SCALE, average.into(), burst, false, false)))
    }

    pub(super) fn holds(&self, core: &Core, packet: &Passing<'_>) -> bool {
        self.0.allows(packet.bytes.len(), core.now().nanos())
    }
}

/// `XT_STATISTIC_MODE_*`.
const MODE_RANDOM: u16 = 0;
const MODE_NTH: u16 = 1;
/// `XT_STATISTIC_INVERT`.
const INVERT: u16 = 1;

/// `struct xt_statistic_info`.
#[derive(Clone, Debug)]
pub(in super::super) struct Statistic {
    choice: Choice,
    is_inverted: bool,
}

#[derive(Clone, Debug)]
enum Choice {
    /// So many of 2^31.
    Random { chance: u32 },
    /// Every so many packets, and where it stands.
    Nth { every: u32, at: Arc<AtomicU32> },
}

impl Statistic {
    pub(super) fn parse(f: Fields<'_>) -> Result<Self> {
        let choice = match f.half(0) {
            MODE_RANDOM => Choice::Random { chance: f.word(4) },
            MODE_NTH => {
                let every = f.word(4).saturating_add(1);
                let first = f.word(8);
                if first >= every {
                    return Err(Error::Invalid);
                }
                Choice::Nth { every, at: Arc::new(AtomicU32::new((every - first) % every)) }
            }
            _ => return Err(Error::Invalid),
        };
        Ok(Self { choice, is_inverted: f.half(2) & INVERT != 0 })
    }

    pub(super) fn holds(&self, core: &Core) -> bool {
        let is_chosen = match &self.choice {
            Choice::Random { chance } => core.random.next_u32() >> 1 < *chance,
            Choice::Nth { every, at } => {
                let next = |at: u32| Some((at + 1) % every);
                let before = at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(0);
                (before + 1) % every == 0
            }
        };
        is_chosen != self.is_inverted
    }
}
