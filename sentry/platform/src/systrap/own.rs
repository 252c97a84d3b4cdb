//! What a guest thread tells of itself in its area instead of making calls: its signal mask, and what becomes of it at its
//! end.
//!
//! The mask is one word with two bits of our own, in the places of signals that cannot be blocked. The thread changes it by
//! one exchange, the sentry keeps it from doing so by clearing a bit of the word: what it reads then stays so. The area is
//! the guest's to write: whatever it says is its own affair, since it can make the calls as well.

use abi::Result;
use host::memory::VolatileSlice;
use stub::layout::{
    AREA_MASK, AREA_ROBUST_LIST, AREA_TID_ADDRESS, AREA_TOLD, MASK_KNOWN, MASK_OPEN, SET_ROBUST_LIST,
    SET_TID_ADDRESS, TOLD_ROBUST_LIST, TOLD_TID_ADDRESS,
};

use crate::{AnsweredCalls, Told};

const WORD: usize = AREA_MASK as usize;
const FLAGS: u64 = (MASK_OPEN | MASK_KNOWN) as u64;

/// The mask that a thread was shown last.
#[derive(Debug, Default)]
pub(super) struct ShownMask(Option<u64>);

impl ShownMask {
    /// Shows another.
    pub(super) fn show(
        &mut self,
        area: &VolatileSlice<'_>,
        mask: Option<u64>,
        may_change: bool,
    ) -> Result<()> {
        self.0 = mask.map(|mask| mask & !FLAGS);
        let open = if may_change { FLAGS } else { MASK_KNOWN.into() };
        area.store_u64(WORD, self.0.map_or(0, |mask| mask | open))
    }

    /// What the thread, which is stopped, has changed by such of these calls as it may have made.
    pub(super) fn take(&mut self, area: &VolatileSlice<'_>, calls: AnsweredCalls) -> Result<Told> {
        let mask = self.changed(area)?;
        let told = area.load_u32(AREA_TOLD as usize)?;
        if told == 0 {
            return Ok(Told { mask, ..Told::default() });
        }
        area.store_u32(AREA_TOLD as usize, 0)?;
        let value = |call: u32, flag: u32, at: u64| -> Result<Option<u64>> {
            if told & flag != 0 && calls.contains(call) {
                word(area, at as usize).map(Some)
            } else {
                Ok(None)
            }
        };
        Ok(Told {
            mask,
            robust_list: value(SET_ROBUST_LIST, TOLD_ROBUST_LIST, AREA_ROBUST_LIST)?,
            tid_address: value(SET_TID_ADDRESS, TOLD_TID_ADDRESS, AREA_TID_ADDRESS)?,
        })
    }

    /// The mask, if it has changed.
    fn changed(&mut self, area: &VolatileSlice<'_>) -> Result<Option<u64>> {
        let Some(shown) = self.0 else { return Ok(None) };
        let now = word(area, WORD)? & !FLAGS;
        self.0 = Some(now);
        Ok((now != shown).then_some(now))
    }
}

/// Nothing is known to the thread that begins to use this area.
pub(super) fn reset(area: &VolatileSlice<'_>) -> Result<()> {
    area.store_u64(WORD, 0)?;
    area.store_u32(AREA_TOLD as usize, 0)
}

/// Keeps the thread from changing its mask; returns it, if the thread knows it.
pub(super) fn hold(area: &VolatileSlice<'_>) -> Result<Option<u64>> {
    area.and_u32(WORD, !MASK_OPEN)?;
    let now = word(area, WORD)?;
    Ok((now & u64::from(MASK_KNOWN) != 0).then_some(now & !FLAGS))
}

/// A word that nobody writes now, or a hostile guest.
fn word(area: &VolatileSlice<'_>, at: usize) -> Result<u64> {
    Ok(u64::from(area.load_u32(at)?) | u64::from(area.load_u32(at + 4)?) << 32)
}
