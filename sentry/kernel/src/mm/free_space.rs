//! Free ranges of the memory file, found by place and by size. Pure bookkeeping, no locks of its own.

use std::collections::BTreeSet;
use std::ops::Range;

use segment::SegmentMap;

/// A set of byte ranges that merges neighbours and finds the smallest range that is large enough.
#[derive(Debug, Default)]
pub(crate) struct FreeSpace {
    by_place: SegmentMap<()>,
    /// (length, start) of every segment of `by_place`.
    by_size: BTreeSet<(u64, u64)>,
    total: u64,
}

impl FreeSpace {
    /// Bytes in the set.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Adds a range that is not in the set.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if let Some((before, ())) =
            self.by_place.below(range.start).filter(|(before, ())| before.end == range.start)
        {
            self.by_size.remove(&(before.end - before.start, before.start));
        }
        if let Some((after, ())) = self.by_place.get(range.end) {
            self.by_size.remove(&(after.end - after.start, after.start));
        }
        self.total += range.end - range.start;
        let start = range.start;
        self.by_place.insert(range, ());
        if let Some((merged, ())) = self.by_place.get(start) {
            self.by_size.insert((merged.end - merged.start, merged.start));
        }
    }

    /// Takes `len` bytes from the top of the smallest range that has them. Filling from the top makes successive
    /// allocations neighbours in the same order as mappings are laid out.
    pub(crate) fn take(&mut self, len: u64) -> Option<u64> {
        let &(found, start) = self.by_size.range((len, 0)..).next()?;
        let at = start + found - len;
        self.take_at(at..at + len).then_some(at)
    }

    /// Takes exactly this range, if all of it is in the set.
    pub(crate) fn take_at(&mut self, range: Range<u64>) -> bool {
        let Some((whole, ())) = self.by_place.get(range.start) else { return false };
        if range.end > whole.end || range.start >= range.end {
            return false;
        }
        self.by_size.remove(&(whole.end - whole.start, whole.start));
        self.by_place.remove(range.clone());
        for rest in [whole.start..range.start, range.end..whole.end] {
            if rest.start < rest.end {
                self.by_size.insert((rest.end - rest.start, rest.start));
            }
        }
        self.total -= range.end - range.start;
        true
    }

    /// Empties the set.
    pub(crate) fn take_all(&mut self) -> Vec<Range<u64>> {
        let all = self.by_place.iter().map(|(range, ())| range).collect();
        *self = Self::default();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::FreeSpace;

    #[test]
    fn smallest_fit_from_the_top_and_merging() {
        let mut free = FreeSpace::default();
        free.insert(0..100);
        assert_eq!(free.take(10), Some(90));
        assert_eq!(free.take(10), Some(80));
        free.insert(90..100);
        assert_eq!(free.take(5), Some(95), "the smaller range is preferred");
        free.insert(95..100);
        free.insert(80..90);
        assert_eq!(free.total(), 100);
        assert!(free.take_at(40..60));
        assert!(!free.take_at(50..70));
        assert_eq!(free.take(41), None);
        assert_eq!(free.take(40), Some(0), "of equal ranges the lower");
        assert_eq!(free.take_all(), vec![60..100]);
        assert_eq!(free.total(), 0);
    }
}
