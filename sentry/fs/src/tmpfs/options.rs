//! Mount options of tmpfs (`man 5 tmpfs`).

use abi::{Errno, PAGE_SIZE, Result};

use super::usage::UNLIMITED;

/// Parsed options; what is not given is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) max_pages: Option<u64>,
    pub(super) max_inodes: Option<u64>,
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Options {
    /// Parses `size=64k,mode=1777`. `total_memory` is what percentages are of.
    pub(super) fn parse(text: &[u8], total_memory: u64) -> Result<Self> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let mut options = Self::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            options.apply(key, value, total_memory)?;
        }
        Ok(options)
    }

    fn apply(&mut self, key: &str, value: &str, total_memory: u64) -> Result<()> {
        let id = |value: &str| value.parse().map_err(|_| Errno::EINVAL);
        let unlimited = |count: u64| if count == 0 { UNLIMITED } else { count };
        match key {
            "size" => {
                let bytes = match value.strip_suffix('%') {
                    Some(percent) => {
                        let percent: u64 = percent.parse().map_err(|_| Errno::EINVAL)?;
                        (total_memory / 100).checked_mul(percent).ok_or(Errno::EINVAL)?
                    }
                    None => parse_size(value)?,
                };
                self.max_pages = Some(unlimited(bytes.div_ceil(PAGE_SIZE)));
            }
            "nr_blocks" => self.max_pages = Some(unlimited(parse_size(value)?)),
            "nr_inodes" => self.max_inodes = Some(unlimited(parse_size(value)?)),
            "mode" => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
                self.mode = Some(mode & 0o7777);
            }
            "uid" => self.uid = Some(id(value)?),
            "gid" => self.gid = Some(id(value)?),
            // Hints of no meaning here.
            "huge" | "mpol" | "inode32" | "inode64" | "noswap" | "nr_hugepages" => {}
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }
}

/// A number with a suffix (`memparse` in Linux's tree).
fn parse_size(text: &str) -> Result<u64> {
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&text[..text.len() - 1], 10),
        Some(b'm') => (&text[..text.len() - 1], 20),
        Some(b'g') => (&text[..text.len() - 1], 30),
        Some(b't') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    number.checked_mul(1 << shift).ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use abi::Errno;

    use super::{Options, UNLIMITED};

    #[test]
    fn options_are_parsed_like_linux() {
        let options = Options::parse(b"size=64k,mode=1777,uid=5,nr_inodes=10", 0).unwrap();
        assert_eq!((options.max_pages, options.mode, options.uid), (Some(16), Some(0o1777), Some(5)));
        assert_eq!(options.max_inodes, Some(10));
        assert_eq!(Options::parse(b"size=50%", 8192 * 100).unwrap().max_pages, Some(100));
        assert_eq!(Options::parse(b"size=0", 0).unwrap().max_pages, Some(UNLIMITED));
        for bad in [&b"size="[..], b"size=-1", b"mode=9", b"nonsense", b"size=99999999999t"] {
            assert_eq!(Options::parse(bad, 1 << 30), Err(Errno::EINVAL));
        }
    }
}
