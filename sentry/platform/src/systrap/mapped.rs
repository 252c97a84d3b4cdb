//! Which addresses of a guest address space are mapped: what lets a change of rights skip holes.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of addresses as disjoint, non-adjacent ranges.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    /// From start to end.
    ranges: BTreeMap<u64, u64>,
}

impl Mapped {
    /// Adds a range.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        // Whatever touches the range from the left or begins inside it becomes part of it.
        while let Some((&other, &other_end)) = self.ranges.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            self.ranges.remove(&other);
            start = start.min(other);
            end = end.max(other_end);
        }
        self.ranges.insert(start, end);
    }

    /// Removes a range.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        let Range { start, end } = range;
        while let Some((&other, &other_end)) = self.ranges.range(..end).next_back() {
            if other_end <= start {
                break;
            }
            self.ranges.remove(&other);
            if other_end > end {
                self.ranges.insert(end, other_end);
            }
            if other < start {
                self.ranges.insert(other, start);
            }
        }
    }

    /// The parts of `range` that are in the set.
    pub(super) fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.ranges.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        self.ranges
            .range(first..range.end.max(first))
            .map(move |(start, end)| (*start).max(range.start)..(*end).min(range.end))
            .filter(|part| part.start < part.end)
    }
}

#[cfg(test)]
mod tests {
    use super::Mapped;

    #[test]
    fn behaves_like_a_set_of_numbers() {
        let mut mapped = Mapped::default();
        let mut model = [false; 64];
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (start, len) = ((seed >> 33) % 56, (seed >> 45) % 9);
            let range = start..start + len;
            let cells = &mut model[start as usize..(start + len) as usize];
            if seed >> 60 & 1 == 0 {
                mapped.insert(range);
                cells.fill(true);
            } else {
                mapped.remove(range);
                cells.fill(false);
            }
            let (from, to) = ((seed >> 20) % 64, (seed >> 26) % 65);
            let parts: Vec<u64> = mapped.within(from..to).flatten().collect();
            let expected: Vec<u64> = (from..to).filter(|n| model[*n as usize]).collect();
            assert_eq!(parts, expected);
        }
    }
}
