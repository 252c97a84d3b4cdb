//! The processes of the machine and what they use (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// All processes at one moment.
pub(crate) struct Processes {
    /// Each with its parent and its command line.
    all: BTreeMap<u32, (u32, Vec<u8>)>,
}

/// What some of them use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes, of shared pages a part.
    pub(crate) memory: u64,
    /// Processor time in ticks of 10 ms.
    pub(crate) ticks: u64,
    /// How often their threads got a processor.
    pub(crate) switches: u64,
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            memory: a.memory + b.memory,
            ticks: a.ticks + b.ticks,
            switches: a.switches + b.switches,
        })
    }
}

impl Processes {
    /// Looks at `/proc`.
    pub(crate) fn now() -> Result<Self> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").context("reading /proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // It may be gone already.
            let Some(parent) = stat(&entry.path()).and_then(|stat| stat.get(1)?.parse().ok()) else {
                continue;
            };
            all.insert(pid, (parent, std::fs::read(entry.path().join("cmdline")).unwrap_or_default()));
        }
        Ok(Self { all })
    }

    /// Those with `word` in their command line.
    pub(crate) fn named<'a>(&'a self, word: &'a str) -> impl Iterator<Item = u32> + 'a {
        let has = move |line: &[u8]| line.windows(word.len()).any(|part| part == word.as_bytes());
        self.all.iter().filter(move |(_, (_, line))| has(line)).map(|(&pid, _)| pid)
    }

    /// `seeds` and all their descendants.
    pub(crate) fn family(&self, seeds: &[u32]) -> BTreeSet<u32> {
        let mut family: BTreeSet<u32> = seeds.iter().copied().collect();
        loop {
            let known = family.len();
            let born = self.all.iter().filter(|(_, (parent, _))| family.contains(parent));
            let born: Vec<u32> = born.map(|(&pid, _)| pid).collect();
            family.extend(born);
            if family.len() == known {
                return family;
            }
        }
    }

    /// What `seeds` and their descendants use.
    pub(crate) fn usage_below(&self, seeds: &[u32]) -> Usage {
        self.family(seeds).into_iter().map(|pid| usage(&Path::new("/proc").join(pid.to_string()))).sum()
    }
}

fn usage(process: &Path) -> Usage {
    let rollup = std::fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
    let time =
        |stat: Vec<String>| Some(stat.get(11)?.parse::<u64>().ok()? + stat.get(12)?.parse::<u64>().ok()?);
    let threads = std::fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    Usage {
        memory: field(&rollup, "Pss:") * 1024,
        ticks: stat(process).and_then(time).unwrap_or(0),
        switches: threads.map(|thread| switches(thread.path())).sum(),
    }
}

fn switches(thread: PathBuf) -> u64 {
    let status = std::fs::read_to_string(thread.join("status")).unwrap_or_default();
    field(&status, "voluntary_ctxt_switches:") + field(&status, "nonvoluntary_ctxt_switches:")
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The fields of `stat` from the state on: what stands before may contain blanks.
fn stat(process: &Path) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(process.join("stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(Into::into).collect())
}

#[cfg(test)]
mod tests {
    use super::{Processes, field};

    #[test]
    fn a_family_is_found_by_name_and_descent() {
        let process = |parent, line: &str| (parent, line.as_bytes().to_vec());
        let all = [
            (5, process(1, "runsc-sandbox\0boot\0x1")),
            (7, process(5, "")),
            (9, process(7, "")),
            (8, process(1, "y")),
        ];
        let processes = Processes { all: all.into() };
        let seeds: Vec<u32> = processes.named("x1").collect();
        assert_eq!(processes.family(&seeds).into_iter().collect::<Vec<_>>(), [5, 7, 9]);
    }

    #[test]
    fn fields_are_found_by_the_beginning_of_their_lines() {
        let text = "nonvoluntary_ctxt_switches:\t3\nvoluntary_ctxt_switches:\t12\nPss:  48 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), 12);
        assert_eq!((field(text, "Pss:"), field(text, "Rss:")), (48, 0));
    }
}
