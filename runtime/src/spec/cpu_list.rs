//! Sets of numbers as text (`man 7 cpuset`, "List format").

/// The processors in a list such as `0-2,7`.
pub(crate) fn parse(text: &str) -> Option<Vec<u32>> {
    /// More than any kernel is built for.
    const MAX: u32 = 8192;
    // A set: a list may name one as often as it likes.
    let mut named = vec![false; MAX as usize];
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if first > last || last >= MAX {
            return None;
        }
        named[first as usize..=last as usize].fill(true);
    }
    Some((0..MAX).zip(named).filter_map(|(cpu, is_named)| is_named.then_some(cpu)).collect())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists_are_read() {
        assert_eq!(parse("0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse(&"0-8191,".repeat(10_000)[..69_999]).map(|list| list.len()), Some(8192));
        for bad in ["", "1-", "-1", "2-1", "x", "0-99999999", "1,,2"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
