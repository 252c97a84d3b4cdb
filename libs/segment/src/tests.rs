//! The map against an array with one value a unit.

use proptest::prelude::*;

use crate::{Segment, SegmentMap};

const SPACE: u64 = 64;

/// Unit `i` of a segment has value `base + i` (or `base` throughout, where `flat`): what offsets in a file do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    base: u64,
    flat: bool,
}

impl Value {
    fn unit(&self, index: u64) -> u64 {
        if self.flat { self.base } else { self.base + index }
    }
}

impl Segment for Value {
    fn split_off(&mut self, at: u64) -> Self {
        Self { base: self.unit(at), flat: self.flat }
    }

    fn continues(&self, len: u64, next: &Self) -> bool {
        self.flat == next.flat && next.base == self.unit(len)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64, Value),
    Remove(u64, u64),
    Rebase(u64, u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let range = || (0..SPACE, 1..16u64).prop_map(|(start, len)| (start, (start + len).min(SPACE)));
    let value = (0..4u64, any::<bool>()).prop_map(|(base, flat)| Value { base, flat });
    prop_oneof![
        3 => (range(), value).prop_map(|((start, end), value)| Op::Insert(start, end, value)),
        1 => range().prop_map(|(start, end)| Op::Remove(start, end)),
        1 => (range(), 0..4u64).prop_map(|((start, end), base)| Op::Rebase(start, end, base)),
    ]
}

type Model = Vec<Option<(u64, bool)>>;

fn flatten(map: &SegmentMap<Value>) -> Model {
    (0..SPACE)
        .map(|at| map.get(at).map(|(range, value)| (value.unit(at - range.start), value.flat)))
        .collect()
}

fn apply(map: &mut SegmentMap<Value>, model: &mut Model, op: Op) {
    match op {
        Op::Insert(start, end, value) => {
            let vacant = model[start as usize..end as usize].iter().all(Option::is_none);
            assert_eq!(map.is_vacant(start..end), vacant);
            if vacant {
                for at in start..end {
                    model[at as usize] = Some((value.unit(at - start), value.flat));
                }
                map.insert(start..end, value);
            }
        }
        Op::Remove(start, end) => {
            for (range, value) in map.remove(start..end) {
                for at in range.clone() {
                    assert_eq!(model[at as usize].take(), Some((value.unit(at - range.start), value.flat)));
                }
            }
            assert!(model[start as usize..end as usize].iter().all(Option::is_none));
        }
        Op::Rebase(start, end, base) => map.update(start..end, |range, value| {
            *value = Value { base, flat: true };
            for at in range {
                model[at as usize] = Some((base, true));
            }
        }),
    }
}

fn check(map: &SegmentMap<Value>, model: &Model) {
    assert_eq!(&flatten(map), model);
    // Nothing that could be one segment is two.
    let all: Vec<_> = map.iter().collect();
    for pair in all.windows(2) {
        let ((a, av), (b, bv)) = (&pair[0], &pair[1]);
        assert!(a.end <= b.start);
        assert!(a.end < b.start || !av.continues(a.end - a.start, bv), "unmerged: {a:?} {b:?}");
    }
}

fn check_gaps(map: &SegmentMap<Value>, model: &Model, start: u64, end: u64, len: u64, align: u64) {
    let free = |at: u64| model[at as usize].is_none();
    let covered: Vec<u64> = map.gaps(start..end).flatten().collect();
    assert_eq!(covered, (start..end).filter(|&at| free(at)).collect::<Vec<_>>());
    let fits = |at: &u64| at.is_multiple_of(align) && at + len <= end && (*at..at + len).all(free);
    assert_eq!(map.lowest_gap(len, align, start..end), (start..end).find(fits));
    assert_eq!(map.highest_gap(len, align, start..end), (start..end).rev().find(fits));
}

proptest! {
    #[test]
    fn map_behaves_like_an_array(
        ops in prop::collection::vec(op(), 1..40),
        (start, end) in (0..SPACE, 0..=SPACE),
        (len, align) in (1..8u64, 1..5u64),
    ) {
        let (mut map, mut model) = (SegmentMap::new(), vec![None; SPACE as usize]);
        for op in ops {
            apply(&mut map, &mut model, op);
            check(&map, &model);
        }
        if start < end {
            check_gaps(&map, &model, start, end, len, align);
        }
    }
}

#[test]
fn neighbours_are_found() {
    let mut map = SegmentMap::new();
    map.insert(10..20, ());
    map.insert(30..40, ());
    assert_eq!(map.at_or_above(5).map(|(range, ())| range), Some(10..20));
    assert_eq!(map.at_or_above(19).map(|(range, ())| range), Some(10..20));
    assert_eq!(map.at_or_above(20).map(|(range, ())| range), Some(30..40));
    assert_eq!(map.below(30).map(|(range, ())| range), Some(10..20));
    assert_eq!(map.below(10).map(|(range, ())| range), None);
    map.insert(20..30, ());
    assert_eq!(map.len(), 1);
    assert!(map.is_covered(10..40) && !map.is_covered(9..40));
}
