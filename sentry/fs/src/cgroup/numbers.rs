//! Numbers as they are written to files of groups.

use std::collections::BTreeSet;

use abi::{Errno, Result};
use kernel::task::cgroup::CpuBandwidth;

use super::file::UNLIMITED;

/// Bytes as Linux takes them: with a unit, or less than none for no limit.
pub(super) fn parse_bytes(text: &str) -> Result<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return Err(Errno::EINVAL),
    };
    let number: i64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    let bytes = if number < 0 { UNLIMITED } else { number.checked_mul(1 << shift).unwrap_or(UNLIMITED) };
    Ok(bytes.min(UNLIMITED) / 4096 * 4096)
}

/// A number as Linux's `kstrtoll` takes it: decimal, hexadecimal behind `0x`, octal behind `0`.
fn parse_number(text: &str) -> Result<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(Errno::EINVAL);
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).map_err(|_| Errno::ERANGE)
}

/// Processors or memory nodes as `0-2,5` names them, in ascending order.
fn parse_set(text: &str) -> Result<BTreeSet<u16>> {
    let mut set = BTreeSet::new();
    for range in text.split([',', ' ', '\t', '\n']).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let parse = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u16>().map_err(|_| Errno::EINVAL),
            false => Err(Errno::EINVAL),
        };
        let (first, last) = (parse(first)?, parse(last)?);
        if first > last {
            return Err(Errno::EINVAL);
        }
        set.extend(first..=last);
    }
    Ok(set)
}

fn show_set(set: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &number in set {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let show = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    ranges.into_iter().map(show).collect::<Vec<_>>().join(",")
}

/// A list of processors or memory nodes, all of them in the list `present`, as it is shown.
///
/// # Errors
/// `EINVAL`.
pub(super) fn kept_set(text: &str, present: &str) -> Result<String> {
    let set = parse_set(text)?;
    if set.is_subset(&parse_set(present)?) { Ok(show_set(&set)) } else { Err(Errno::EINVAL) }
}

/// A number from `lowest` to `highest`; `beyond` is what others give.
pub(super) fn number(text: &str, lowest: i64, highest: i64, beyond: Errno) -> Result<i64> {
    let number = parse_number(text)?;
    if (lowest..=highest).contains(&number) { Ok(number) } else { Err(beyond) }
}

pub(super) fn kept_number(text: &str, lowest: i64, highest: i64, beyond: Errno) -> Result<String> {
    number(text, lowest, highest, beyond).map(|number| number.to_string())
}

/// What `cpu.max` is told: a quota or `max`, and perhaps a period; microseconds.
pub(super) fn parse_bandwidth(text: &str, period_us: u64) -> Result<CpuBandwidth> {
    let mut words = text.split_whitespace();
    let at_least_1000 =
        |text: &str, highest| number(text, 1000, highest, Errno::EINVAL).map(i64::unsigned_abs);
    let quota_us = match words.next().ok_or(Errno::EINVAL)? {
        "max" => None,
        text => Some(at_least_1000(text, i64::MAX)?),
    };
    let period_us = words.next().map_or(Ok(period_us), |text| at_least_1000(text, 1_000_000))?;
    if words.next().is_some() { Err(Errno::EINVAL) } else { Ok(CpuBandwidth { quota_us, period_us }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("64M"), Ok(64 << 20));
        assert_eq!(parse_bytes("5000"), Ok(4096));
        assert_eq!(parse_bytes("-1"), Ok(UNLIMITED));
        assert_eq!(parse_bytes("9999999999G"), Ok(UNLIMITED));
        assert_eq!(parse_bytes("many"), Err(Errno::EINVAL));
        assert_eq!(parse_bytes("1X"), Err(Errno::EINVAL));
    }

    #[test]
    fn numbers_have_bases_and_bounds() {
        let any = |text| number(text, i64::MIN, i64::MAX, Errno::ERANGE);
        assert_eq!(["10", "0x1f", "017", "-3", "+4", "0"].map(any), [10, 31, 15, -3, 4, 0].map(Ok));
        for bad in ["", "-", "0x", "08", "1 2", "x", "+-1", "--1"] {
            assert_eq!(any(bad), Err(Errno::EINVAL), "{bad}");
        }
        assert_eq!(any("99999999999999999999"), Err(Errno::ERANGE));
        assert_eq!(number("7", 0, 6, Errno::EINVAL), Err(Errno::EINVAL));
    }

    #[test]
    fn sets_are_shown_in_order() {
        assert_eq!(kept_set("3,0-1,2,5", "0-7"), Ok("0-3,5".into()));
        assert_eq!(kept_set("", "0"), Ok(String::new()));
        for bad in ["3-1", "1-2-3", "8", "0-8", "-1", "1-", "a", "70000", "+1"] {
            assert_eq!(kept_set(bad, "0-7"), Err(Errno::EINVAL), "{bad}");
        }
    }

    #[test]
    fn a_bandwidth_keeps_its_period() {
        let limit = |quota_us, period_us| Ok(CpuBandwidth { quota_us, period_us });
        assert_eq!(parse_bandwidth("50000", 70_000), limit(Some(50_000), 70_000));
        assert_eq!(parse_bandwidth("max 20000", 70_000), limit(None, 20_000));
        for bad in ["", "10", "max 1", "max 2000 3", "5000 2000000", "x"] {
            assert_eq!(parse_bandwidth(bad, 1), Err(Errno::EINVAL), "{bad}");
        }
    }
}
