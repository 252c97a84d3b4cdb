//! Tables as guests could give them, valid and broken.

use netstack::{Config, Instant, ManualClock, Stack};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn stack() -> Stack {
    Stack::new(Arc::new(ManualClock::new(Instant::from_millis(1000))), [0; 16], Config::default())
}

/// `struct ipt_replace` with the entries of a table that nobody has touched, but for one that drops.
fn valid(family: u8) -> Vec<u8> {
    let (layout, kind) = (Layout::of(family), Kind::of("filter").unwrap());
    let legacy = entries::untouched(layout, kind).unwrap();
    let mut value = vec![0; REPLACE_HEADER];
    value[..6].copy_from_slice(b"filter");
    let entries = legacy.counts.len() as u32;
    let numbers = [(32, kind.hooks()), (36, entries), (40, legacy.entries.len() as u32), (84, entries)];
    let starts = legacy.starts.iter().enumerate().map(|(n, start)| (44 + n * 4, *start));
    let policies = legacy.policies.iter().enumerate().map(|(n, policy)| (64 + n * 4, *policy));
    for (at, number) in numbers.into_iter().chain(starts).chain(policies) {
        value[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    value.extend_from_slice(&legacy.entries);
    // The lowest byte of the first verdict: NF_DROP.
    value[REPLACE_HEADER + layout.len + 32] = 0xff;
    value
}

#[test]
fn a_table_is_replaced_and_taken_back() {
    for family in [IPV4, IPV6] {
        let stack = stack();
        let filters = stack.netfilter();
        let (_, counts) = replace(filters, family, &valid(family)).unwrap();
        assert_eq!(counts, [0; 4 * COUNTER]);
        assert!(filters.rules().legacy(family, "filter").is_some());
        let mut open = valid(family);
        open[REPLACE_HEADER + Layout::of(family).len + 32] = 0xfe;
        replace(filters, family, &open).unwrap();
        assert!(filters.rules().legacy(family, "filter").is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing that is written over a valid table makes the parser panic; what is taken can be asked for.
    #[test]
    fn mutated_tables_do_no_harm(
        is_v6: bool,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let family = if is_v6 { IPV6 } else { IPV4 };
        let mut value = valid(family);
        for (at, byte) in changes {
            let at = at.index(value.len());
            value[at] = byte;
        }
        if is_cut {
            value.truncate(cut.index(value.len()));
        }
        let stack = stack();
        let replaced = replace(stack.netfilter(), family, &value);
        prop_assert!(!is_cut || replaced.is_err());
        let rules = stack.netfilter().rules();
        for legacy in &rules.legacy {
            let mut given = legacy.table.name.clone().into_bytes();
            given.resize(NAME, 0);
            prop_assert!(info(&rules, family, &given).is_ok());
            given.extend((legacy.entries.len() as u32).to_ne_bytes());
            prop_assert!(all_entries(&rules, family, &given).is_ok());
        }
    }

    /// Bytes without sense are refused.
    #[test]
    fn senseless_tables_are_refused(is_v6: bool, bytes in vec(any::<u8>(), 0..600)) {
        let family = if is_v6 { IPV6 } else { IPV4 };
        let stack = stack();
        prop_assert!(replace(stack.netfilter(), family, &bytes).is_err());
        // Nor do they make sense as entries of a table that there is.
        let mut value = valid(family);
        let room = value.len() - REPLACE_HEADER;
        let bytes = &bytes[..bytes.len().min(room)];
        value[REPLACE_HEADER..][..bytes.len()].copy_from_slice(bytes);
        let _must_not_panic = replace(stack.netfilter(), family, &value);
        prop_assert!(add_counters(stack.netfilter(), family, bytes).is_err());
        let _must_not_panic = revision(bytes, is_v6);
    }
}
