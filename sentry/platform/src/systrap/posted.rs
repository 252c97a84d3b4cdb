//! Posted calls in a guest thread's area: the word that opens and closes them, the grants, the log.
//!
//! The thread posts a call by exchanging the word (`stub_call_post`), from what it read before it copied to what it is
//! with one more record. So a call is posted as a whole or, where the sentry has closed the word meanwhile, not at all.
//! The area is the guest's to write: the log is copied once, and believed as its own statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Result;
use host::memory::VolatileSlice;
use stub::layout::{
    AREA_GRANTS, AREA_INPUT, AREA_LOG, AREA_POSTED, AREA_POSTED_EPOLL, GRANT_CLOSE, GRANT_CONTROL,
    GRANT_SIZE, GRANT_WATCHED, GRANTS, INPUT_SIZE, LOG_SIZE, POSTED_OPEN,
};

use super::control::Slot;
use crate::posted::{Grant, Log, PostBox};

const WORD: usize = AREA_POSTED as usize;
const TABLE: usize = GRANTS * GRANT_SIZE as usize;
/// More often than a thread can post calls that fit its log.
const MOST_EXCHANGES: u64 = LOG_SIZE / 8 + 8;

/// One thread's posted calls.
#[derive(Debug)]
pub(super) struct AreaBox {
    area: Arc<Slot>,
    /// Its thread has a context: the area is not another's.
    is_in_use: AtomicBool,
}

impl AreaBox {
    /// For the thread that has this area.
    pub(super) fn new(area: &Arc<Slot>) -> Arc<Self> {
        Arc::new(Self { area: Arc::clone(area), is_in_use: AtomicBool::new(true) })
    }

    /// The context is gone.
    pub(super) fn retire(&self) {
        self.is_in_use.store(false, Ordering::SeqCst);
    }

    fn memory(&self) -> Option<VolatileSlice<'_>> {
        self.is_in_use.load(Ordering::SeqCst).then(|| self.area.memory())
    }
}

impl PostBox for AreaBox {
    fn open(&self, grants: &[Grant<'_>], epoll: Option<u32>) {
        // A guest that has taken its area away from us posts nothing.
        if let Some(area) = self.memory() {
            let _ = open(&area, grants, epoll);
        }
    }

    fn close(&self) -> Log {
        let closed = self.memory().and_then(|area| close(&area).ok());
        closed.map_or_else(Log::default, Log::new)
    }

    fn has_records(&self) -> bool {
        let word = self.memory().map_or(0, |area| area.load_u32(WORD).unwrap_or(0));
        word & !POSTED_OPEN != 0
    }
}

/// What a grant allows beside reading and writing.
fn flags(grant: &Grant<'_>, epoll: Option<u32>) -> u32 {
    let close = if grant.may_close { GRANT_CLOSE } else { 0 };
    match grant.watched.filter(|_| epoll.is_some()) {
        None => close,
        Some(false) => close | GRANT_CONTROL,
        Some(true) => close | GRANT_CONTROL | GRANT_WATCHED,
    }
}

fn open(area: &VolatileSlice<'_>, grants: &[Grant<'_>], epoll: Option<u32>) -> Result<()> {
    let mut table = [0; TABLE];
    for entry in table.chunks_exact_mut(GRANT_SIZE as usize) {
        // No input and no credit: whatever descriptor this is, nothing can be done with it.
        entry[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    let mut end = 0;
    for grant in grants {
        let behind = end + grant.input.len();
        if behind > INPUT_SIZE as usize {
            return Ok(());
        }
        let place = grant.fd as usize % GRANTS * GRANT_SIZE as usize;
        let entry = &mut table[place..place + GRANT_SIZE as usize];
        entry[..4].copy_from_slice(&grant.fd.to_le_bytes());
        entry[4..6].copy_from_slice(&(end as u16).to_le_bytes());
        entry[6..8].copy_from_slice(&(grant.input.len() as u16).to_le_bytes());
        entry[8..12].copy_from_slice(&grant.credit.to_le_bytes());
        entry[12..16].copy_from_slice(&flags(grant, epoll).to_le_bytes());
        area.sub(AREA_INPUT as usize + end, grant.input.len())?.write(grant.input)?;
        end = behind;
    }
    area.sub(AREA_GRANTS as usize, TABLE)?.write(&table)?;
    area.store_u32(AREA_POSTED_EPOLL as usize, epoll.unwrap_or(u32::MAX))?;
    area.store_u32(WORD, POSTED_OPEN)
}

/// Closes the word; returns the log.
fn close(area: &VolatileSlice<'_>) -> Result<Vec<u8>> {
    for _ in 0..MOST_EXCHANGES {
        let word = area.load_u32(WORD)?;
        if area.compare_exchange_u32(WORD, word, 0)? != word {
            continue;
        }
        let end = (word & !POSTED_OPEN) as usize;
        if word & POSTED_OPEN == 0 || end > LOG_SIZE as usize {
            return Ok(Vec::new());
        }
        let mut log = vec![0; end];
        area.sub(AREA_LOG as usize, end)?.read(&mut log)?;
        return Ok(log);
    }
    // It keeps writing the word by other means than posting.
    area.store_u32(WORD, 0)?;
    Ok(Vec::new())
}
