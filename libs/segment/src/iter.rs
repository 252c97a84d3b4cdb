//! Walking over a [`SegmentMap`](crate::SegmentMap).

use std::collections::{BTreeMap, btree_map};
use std::ops::Range;

/// All segments.
#[derive(Debug)]
pub struct Iter<'a, V>(btree_map::Iter<'a, u64, (u64, V)>);

impl<'a, V> Iter<'a, V> {
    pub(crate) fn new(map: &'a BTreeMap<u64, (u64, V)>) -> Self {
        Self(map.iter())
    }
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (Range<u64>, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(&start, (end, value))| (start..*end, value))
    }
}

impl<V> DoubleEndedIterator for Iter<'_, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(&start, (end, value))| (start..*end, value))
    }
}

/// The segments that share something with a range.
#[derive(Debug)]
pub struct Overlapping<'a, V>(Option<btree_map::Range<'a, u64, (u64, V)>>);

impl<'a, V> Overlapping<'a, V> {
    pub(crate) fn new(map: &'a BTreeMap<u64, (u64, V)>, range: Range<u64>) -> Self {
        if range.start >= range.end {
            return Self(None);
        }
        let first = match map.range(..=range.start).next_back() {
            Some((&start, (end, _))) if *end > range.start => start,
            _ => range.start,
        };
        Self(Some(map.range(first..range.end)))
    }
}

impl<'a, V> Iterator for Overlapping<'a, V> {
    type Item = (Range<u64>, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next().map(|(&start, (end, value))| (start..*end, value))
    }
}

/// The uncovered parts of a range.
#[derive(Debug)]
pub struct Gaps<'a, V> {
    segments: Overlapping<'a, V>,
    left: Range<u64>,
}

impl<'a, V> Gaps<'a, V> {
    pub(crate) fn new(segments: Overlapping<'a, V>, within: Range<u64>) -> Self {
        Self { segments, left: within }
    }
}

impl<V> Iterator for Gaps<'_, V> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        while self.left.start < self.left.end {
            let (start, end) = match self.segments.next() {
                Some((segment, _)) => (segment.start, segment.end),
                None => (self.left.end, self.left.end),
            };
            let gap = self.left.start..start.min(self.left.end);
            self.left.start = end.max(self.left.start);
            if gap.start < gap.end {
                return Some(gap);
            }
        }
        None
    }
}
