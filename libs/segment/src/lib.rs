//! An interval map: ranges of `u64` with values, never overlapping, split and merged as needed.
//!
//! What address spaces, page tables and free lists are made of. Keys are half-open ranges. Neighbours whose values
//! say that one [continues](Segment::continues) the other become one segment, so the map stays as small as the data
//! allows. All operations touch only the segments of the range they are about.
#![forbid(unsafe_code)]

mod iter;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

pub use iter::{Gaps, Iter, Overlapping};

/// A value that covers a range and can be cut.
pub trait Segment: Sized {
    /// Cuts off and returns what lies from `at` units behind the start on; `self` keeps the front.
    /// `at` is more than 0 and less than the segment's length.
    fn split_off(&mut self, at: u64) -> Self;

    /// Whether `next`, which begins where `self` ends after `len` units, is its seamless continuation. If so, `self`
    /// with the sum of both lengths means the same as the two.
    fn continues(&self, len: u64, next: &Self) -> bool;
}

/// A range without further meaning: all neighbours merge.
impl Segment for () {
    fn split_off(&mut self, _at: u64) -> Self {}

    fn continues(&self, _len: u64, _next: &Self) -> bool {
        true
    }
}

/// The map. `V` is cloned never, split and merged through [`Segment`].
#[derive(Clone, Debug)]
pub struct SegmentMap<V> {
    /// By start: (end, value).
    map: BTreeMap<u64, (u64, V)>,
}

impl<V> Default for SegmentMap<V> {
    fn default() -> Self {
        Self { map: BTreeMap::new() }
    }
}

impl<V> SegmentMap<V> {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether nothing is covered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The segment that covers `at`.
    #[must_use]
    pub fn get(&self, at: u64) -> Option<(Range<u64>, &V)> {
        let (&start, (end, value)) = self.map.range(..=at).next_back()?;
        (at < *end).then_some((start..*end, value))
    }

    /// The segment that covers `at`, to be changed in place. The change must not affect how it merges.
    #[must_use]
    pub fn get_mut(&mut self, at: u64) -> Option<(Range<u64>, &mut V)> {
        let (&start, (end, value)) = self.map.range_mut(..=at).next_back()?;
        (at < *end).then_some((start..*end, value))
    }

    /// The first segment that ends behind `at`: the one covering it, or the next above.
    #[must_use]
    pub fn at_or_above(&self, at: u64) -> Option<(Range<u64>, &V)> {
        self.get(at)
            .or_else(|| self.map.range(at..).next().map(|(&start, (end, value))| (start..*end, value)))
    }

    /// The last segment that begins below `at`.
    #[must_use]
    pub fn below(&self, at: u64) -> Option<(Range<u64>, &V)> {
        self.map.range(..at).next_back().map(|(&start, (end, value))| (start..*end, value))
    }

    /// All segments in ascending order; can be walked from the top with `rev`.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, V> {
        Iter::new(&self.map)
    }

    /// The segments that share at least one unit with `range`, each in full length, in ascending order.
    #[must_use]
    pub fn overlapping(&self, range: Range<u64>) -> Overlapping<'_, V> {
        Overlapping::new(&self.map, range)
    }

    /// The parts of `range` that no segment covers.
    #[must_use]
    pub fn gaps(&self, range: Range<u64>) -> Gaps<'_, V> {
        Gaps::new(self.overlapping(range.clone()), range)
    }

    /// Whether nothing in `range` is covered.
    #[must_use]
    pub fn is_vacant(&self, range: Range<u64>) -> bool {
        self.overlapping(range).next().is_none()
    }

    /// Whether all of `range` is covered.
    #[must_use]
    pub fn is_covered(&self, range: Range<u64>) -> bool {
        self.gaps(range).next().is_none()
    }

    /// The highest start of `len` uncovered units inside `within`, whose result is a multiple of `align`.
    #[must_use]
    pub fn highest_gap(&self, len: u64, align: u64, within: Range<u64>) -> Option<u64> {
        let mut top = within.end;
        let fits = |bottom: u64, top: u64| {
            let start = top.checked_sub(len)? / align * align;
            (start >= bottom).then_some(start)
        };
        for (&start, &(end, _)) in self.map.range(..within.end).rev() {
            if let Some(found) = fits(end.max(within.start), top) {
                return Some(found);
            }
            top = top.min(start);
            if top <= within.start {
                return None;
            }
        }
        fits(within.start, top)
    }

    /// The lowest start of `len` uncovered units inside `within`, whose result is a multiple of `align`.
    #[must_use]
    pub fn lowest_gap(&self, len: u64, align: u64, within: Range<u64>) -> Option<u64> {
        self.gaps(within).find_map(|gap| {
            let start = gap.start.checked_next_multiple_of(align)?;
            (start.checked_add(len)? <= gap.end).then_some(start)
        })
    }
}

impl<V: Segment> SegmentMap<V> {
    /// Adds a segment and merges it with its neighbours where they continue each other.
    ///
    /// # Panics
    /// Where `range` is empty or not vacant: a bug of the caller, who would lose what is there.
    pub fn insert(&mut self, range: Range<u64>, value: V) {
        assert!(range.start < range.end, "an empty segment");
        assert!(self.is_vacant(range.clone()), "a segment over another");
        self.map.insert(range.start, (range.end, value));
        self.merge_at(range.end);
        self.merge_at(range.start);
    }

    /// Takes everything out of `range`, cutting segments at its ends; what lay there comes back in ascending order.
    pub fn remove(&mut self, range: Range<u64>) -> Vec<(Range<u64>, V)> {
        if range.start >= range.end {
            return Vec::new();
        }
        self.split_at(range.start);
        self.split_at(range.end);
        let starts: Vec<u64> = self.map.range(range).map(|(&start, _)| start).collect();
        let take = |start| self.map.remove(&start).map(|(end, value)| (start..end, value));
        starts.into_iter().filter_map(take).collect()
    }

    /// Lets `change` edit every segment in `range`, cut at its ends, then merges what can be merged.
    pub fn update(&mut self, range: Range<u64>, mut change: impl FnMut(Range<u64>, &mut V)) {
        if range.start >= range.end {
            return;
        }
        self.split_at(range.start);
        self.split_at(range.end);
        let mut seams = vec![range.end];
        for (&start, (end, value)) in self.map.range_mut(range) {
            change(start..*end, value);
            seams.push(start);
        }
        for seam in seams {
            self.merge_at(seam);
        }
    }

    /// Cuts the segment that covers `at` in two, unless it begins there.
    fn split_at(&mut self, at: u64) {
        let Some((&start, (end, value))) = self.map.range_mut(..at).next_back() else { return };
        if *end > at {
            let tail = (*end, value.split_off(at - start));
            *end = at;
            self.map.insert(at, tail);
        }
    }

    /// Joins the segments on both sides of `at` where they continue each other.
    fn merge_at(&mut self, at: u64) {
        let Some((next_end, next)) = self.map.get(&at) else { return };
        let Some((&start, (end, value))) = self.map.range(..at).next_back() else { return };
        if *end != at || !value.continues(at - start, next) {
            return;
        }
        let next_end = *next_end;
        self.map.remove(&at);
        if let Some((end, _)) = self.map.get_mut(&start) {
            *end = next_end;
        }
    }
}
