//! Numbers as they are written to files of groups.

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

/// A number from `lowest` to `highest`; `beyond` is what others give.
pub(super) fn number(text: &str, lowest: i64, highest: i64, beyond: Errno) -> Result<i64> {
    let number = text.parse().map_err(|_| Errno::EINVAL)?;
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
    fn a_bandwidth_keeps_its_period() {
        let limit = |quota_us, period_us| Ok(CpuBandwidth { quota_us, period_us });
        assert_eq!(parse_bandwidth("50000", 70_000), limit(Some(50_000), 70_000));
        assert_eq!(parse_bandwidth("max 20000", 70_000), limit(None, 20_000));
        for bad in ["", "10", "max 1", "max 2000 3", "5000 2000000", "x"] {
            assert_eq!(parse_bandwidth(bad, 1), Err(Errno::EINVAL), "{bad}");
        }
    }
}
