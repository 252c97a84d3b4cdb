//! Sets and maps: elements that rules look registers up in.

use super::expr::Verdict;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `NFT_SET_*`: the set belongs to one rule.
pub const ANONYMOUS: u32 = 1;
/// It is not changed once a rule uses it.
pub const CONSTANT: u32 = 2;
/// Its elements are ends of intervals.
pub const INTERVAL: u32 = 4;
/// Its elements have values.
pub const MAP: u32 = 8;
/// Its keys are several fields, each a multiple of four bytes.
pub const CONCAT: u32 = 0x80;
/// `NFT_SET_ELEM_INTERVAL_END`: the element is the first key behind an interval.
pub const INTERVAL_END: u32 = 1;
/// `NFT_DATA_VERDICT`
pub const DATA_VERDICT: u32 = 0xffff_ff00;

/// What a map's element holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: a set.
    None,
    /// Bytes.
    Data(Box<[u8]>),
    /// A verdict.
    Verdict(Verdict),
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// `NFT_SET_ELEM_*`
    pub flags: u32,
    /// The highest key of a range of concatenated fields.
    pub key_end: Option<Box<[u8]>>,
    /// What it maps to.
    pub value: Value,
    /// Text of the user's program.
    pub userdata: Box<[u8]>,
}

impl Element {
    const fn ends_interval(&self) -> bool {
        self.flags & INTERVAL_END != 0
    }

    /// The chain that its verdict leads to.
    fn target(&self) -> Option<u64> {
        match &self.value {
            Value::Verdict(verdict) => verdict.chain(),
            _ => None,
        }
    }
}

/// Elements are ordered by key; the end of one interval stands before the beginning of the next at the same key.
type Position = (Box<[u8]>, bool);

/// A set or map.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name in its table.
    pub name: String,
    /// Its number.
    pub handle: u64,
    /// The number by which a transaction calls it before it has a name.
    pub id: u32,
    /// `NFT_SET_*`
    pub flags: u32,
    /// The user's program's number for the kind of keys.
    pub key_type: u32,
    /// Bytes of a key.
    pub key_len: u32,
    /// The kind of values, and their bytes.
    pub data_type: u32,
    /// Bytes of a value.
    pub data_len: u32,
    /// `NFT_SET_POL_*`
    pub policy: u32,
    /// How many elements it may have; 0 for no limit of its own.
    pub size: u32,
    /// Bytes of each field of a concatenation.
    pub fields: Vec<u32>,
    /// Text of the user's program.
    pub userdata: Box<[u8]>,
    /// How many rules look into it.
    pub uses: u32,
    contents: Arc<Contents>,
}

/// The elements of a set, and how many of them lead to each chain.
#[derive(Clone, Debug, Default)]
struct Contents {
    elements: BTreeMap<Position, Element>,
    references: BTreeMap<u64, u32>,
}

impl Contents {
    fn insert(&mut self, at: Position, element: Element) {
        if let Some(target) = element.target() {
            *self.references.entry(target).or_default() += 1;
        }
        self.elements.insert(at, element);
    }

    fn remove(&mut self, at: &Position) -> bool {
        let Some(element) = self.elements.remove(at) else { return false };
        if let Some(target) = element.target()
            && let Some(count) = self.references.get_mut(&target)
        {
            *count -= 1;
            if *count == 0 {
                self.references.remove(&target);
            }
        }
        true
    }
}

impl Set {
    /// A set without elements.
    #[must_use]
    pub fn new(name: String, flags: u32, key_len: u32) -> Self {
        Self {
            name,
            handle: 0,
            id: 0,
            flags,
            key_type: 0,
            key_len,
            data_type: 0,
            data_len: 0,
            policy: 0,
            size: 0,
            fields: Vec::new(),
            userdata: Box::default(),
            uses: 0,
            contents: Arc::default(),
        }
    }

    /// Whether the set is a map to verdicts.
    #[must_use]
    pub const fn is_verdict_map(&self) -> bool {
        self.flags & MAP != 0 && self.data_type == DATA_VERDICT
    }

    /// The elements in order.
    pub fn elements(&self) -> impl Iterator<Item = (&[u8], &Element)> {
        self.contents.elements.iter().map(|((key, _), element)| (&**key, element))
    }

    /// The chains that its verdicts lead to, and how many elements lead to each.
    pub fn references(&self) -> impl Iterator<Item = (u64, u32)> {
        self.contents.references.iter().map(|(target, count)| (*target, *count))
    }

    /// The chains that its verdicts lead to, each once.
    pub(super) fn targets(&self) -> impl Iterator<Item = u64> {
        self.contents.references.keys().copied()
    }

    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.contents.elements.len()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contents.elements.is_empty()
    }

    /// The element at exactly this key, where it is or is not the end of an interval.
    #[must_use]
    pub fn get(&self, key: &[u8], ends_interval: bool) -> Option<&Element> {
        self.contents.elements.get(&(key.into(), !ends_interval))
    }

    /// Adds an element; false where there is one.
    pub fn insert(&mut self, key: Box<[u8]>, element: Element) -> bool {
        let at = (key, !element.ends_interval());
        if self.contents.elements.contains_key(&at) {
            return false;
        }
        Arc::make_mut(&mut self.contents).insert(at, element);
        true
    }

    /// Takes an element away; false where there is none.
    pub fn remove(&mut self, key: &[u8], ends_interval: bool) -> bool {
        Arc::make_mut(&mut self.contents).remove(&(key.into(), !ends_interval))
    }

    /// Takes all elements away.
    pub fn clear(&mut self) {
        self.contents = Arc::default();
    }

    /// Whether a lookup goes through its elements one after the other: ranges of several fields have no order.
    #[must_use]
    pub const fn is_scanned(&self) -> bool {
        self.flags & (INTERVAL | CONCAT) == INTERVAL | CONCAT
    }

    /// The value for a key, and how many elements were looked at.
    #[must_use]
    pub fn lookup(&self, key: &[u8]) -> (Option<&Value>, u32) {
        if self.is_scanned() {
            let mut looked_at = 0;
            let found = self.elements().find(|(low, element)| {
                looked_at += 1;
                self.holds(low, element, key)
            });
            return (found.map(|(_, element)| &element.value), looked_at);
        }
        let elements = &self.contents.elements;
        let key = (key.into(), true);
        let found = if self.flags & INTERVAL == 0 {
            elements.get(&key)
        } else {
            let before = elements.range(..=key).next_back().map(|(_, element)| element);
            before.filter(|element| !element.ends_interval())
        };
        (found.map(|element| &element.value), 1)
    }

    /// Whether each field of `key` lies between those of an element's ends.
    fn holds(&self, low: &[u8], element: &Element, key: &[u8]) -> bool {
        let high = element.key_end.as_deref().unwrap_or(low);
        let mut at = 0;
        for field in &self.fields {
            let end = at + *field as usize;
            let (Some(low), Some(high), Some(value)) =
                (low.get(at..end), high.get(at..end), key.get(at..end))
            else {
                return false;
            };
            if value < low || value > high {
                return false;
            }
            at = end.next_multiple_of(4);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(flags: u32) -> Element {
        Element { flags, key_end: None, value: Value::None, userdata: Box::default() }
    }

    #[test]
    fn intervals_end_where_they_say() {
        let mut set = Set::new("ports".into(), INTERVAL, 2);
        assert!(set.insert(Box::new([0, 10]), element(0)));
        assert!(set.insert(Box::new([0, 20]), element(INTERVAL_END)));
        assert!(set.insert(Box::new([0, 20]), element(0)), "the next interval begins where the first ends");
        assert!(!set.insert(Box::new([0, 20]), element(0)));
        assert!(set.insert(Box::new([0, 21]), element(INTERVAL_END)));
        let found = |port: u8| set.lookup(&[0, port]).0.is_some();
        assert_eq!([9, 10, 19, 20, 21].map(found), [false, true, true, true, false]);
    }

    #[test]
    fn concatenated_ranges_hold_in_every_field() {
        let mut set = Set::new("pairs".into(), INTERVAL | CONCAT, 8);
        set.fields = vec![4, 2];
        let element = Element { key_end: Some(Box::new([10, 0, 0, 9, 0, 80, 0, 0])), ..element(0) };
        set.insert(Box::new([10, 0, 0, 1, 0, 22, 0, 0]), element);
        assert!(set.lookup(&[10, 0, 0, 5, 0, 80, 0, 0]).0.is_some());
        assert!(set.lookup(&[10, 0, 0, 5, 0, 81, 0, 0]).0.is_none());
        assert!(set.lookup(&[10, 0, 0, 10, 0, 80, 0, 0]).0.is_none());
    }
}
