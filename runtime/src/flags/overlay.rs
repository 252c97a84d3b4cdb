//! `--overlay2`: which mounts get a writable layer that stays in the sandbox's memory.
//!
//! gVisor can keep a layer's pages in a file instead: `self` asks for one where that is possible and falls back to
//! memory, which is what it means here; `dir=/PATH` demands one, and is refused.

use crate::error::{Error, Result};

/// The flag's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OverlaySetting {
    /// Whether bind mounts get one as well as the root.
    pub(crate) all_mounts: bool,
    /// The largest size in bytes.
    pub(crate) size: Option<u64>,
}

/// Reads the flag's value; `None` for `none`.
pub(crate) fn parse(value: &str) -> Result<Option<OverlaySetting>> {
    let bad = |why: &str| {
        Error::new(format!(
            "flag --overlay2 has the value \"{value}\": {why} (wanted: none, or {{root|all}}:memory[,size=SIZE])"
        ))
    };
    if value == "none" || value.is_empty() {
        return Ok(None);
    }
    let (mounts, rest) = value.split_once(':').ok_or_else(|| bad("there is no ':'"))?;
    let all_mounts = match mounts {
        "root" => false,
        "all" => true,
        _ => return Err(bad("before ':' stands root or all")),
    };
    let mut parts = rest.split(',');
    match parts.next().unwrap_or("") {
        "memory" | "self" => {}
        other if other.starts_with("dir=") => {
            return Err(bad("layers cannot be kept in files yet: use memory, and size= to limit it"));
        }
        _ => return Err(bad("after ':' stands memory")),
    }
    let mut size = None;
    for part in parts {
        let text = part.strip_prefix("size=").ok_or_else(|| bad("only size= may follow"))?;
        size = Some(parse_size(text).ok_or_else(|| bad("the size is a number with k, m, g or t after it"))?);
    }
    Ok(Some(OverlaySetting { all_mounts, size }))
}

/// Bytes, with an optional unit of 1024s.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(['b', 'B']).trim_end_matches('i');
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        (at, 't' | 'T') => (&text[..at], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::{parse, parse_size};

    #[test]
    fn values() {
        assert_eq!(parse("none").unwrap(), None);
        let root = parse("root:self").unwrap().unwrap();
        assert_eq!((root.all_mounts, root.size), (false, None));
        assert!(parse("all:dir=/var/x").unwrap_err().to_string().contains("in files"));
        let all = parse("all:memory,size=2g").unwrap().unwrap();
        assert_eq!((all.all_mounts, all.size), (true, Some(2 << 30)));
        for bad in ["root", "some:memory", "root:disk", "all:dir=x", "root:memory,big", "root:memory,size=x"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_size("64KiB"), Some(65536));
        assert_eq!(parse_size("99999999999t"), None);
        assert_eq!(parse_size("é"), None);
    }
}
