//! The system-call table: one row per call, the only list of them.

use std::ops::Index;
use std::sync::OnceLock;

use abi::{Errno, UserAddr};

use crate::{CurrentTask, SysResult};

/// The six argument registers.
#[derive(Clone, Copy, Debug)]
pub struct Args(pub [u64; 6]);

impl Args {
    /// An `int`: a descriptor, a pid. The upper half of the register counts for nothing.
    #[must_use]
    pub fn int(self, index: usize) -> i32 {
        self[index] as i32
    }

    /// An `unsigned int`: flags, a mode, an id. The upper half of the register counts for nothing.
    #[must_use]
    pub fn uint(self, index: usize) -> u32 {
        self[index] as u32
    }

    /// A pointer.
    #[must_use]
    pub fn addr(self, index: usize) -> UserAddr {
        UserAddr(self[index])
    }
}

/// A whole register.
impl Index<usize> for Args {
    type Output = u64;

    fn index(&self, index: usize) -> &u64 {
        &self.0[index]
    }
}

/// Carries out a call.
pub type Handler = fn(&mut CurrentTask, Args) -> SysResult;

/// How an argument is shown by `--strace`.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// A descriptor, shown with its path.
    Fd,
    /// A descriptor or `AT_FDCWD`.
    DirFd,
    /// A path string.
    Path,
    /// Another string.
    Str,
    /// A signed number.
    Int,
    /// An unsigned number or size.
    Size,
    /// Hexadecimal: addresses, raw flags.
    Hex,
    /// Octal: modes.
    Mode,
    /// Flags by name: (bit mask, name).
    Flags(&'static [(u64, &'static str)]),
    /// A number by name.
    Enum(&'static [(u64, &'static str)]),
    /// A buffer read by the call, its length being argument N.
    InBuf(usize),
    /// A buffer filled by the call, the length being the return value.
    OutBuf,
    /// A signal number.
    Signal,
    /// A `struct timespec *`.
    Timespec,
    /// A NULL-terminated vector of strings.
    StrVec,
}

/// How complete a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux does it.
    Full,
    /// With what is missing.
    Partial(&'static str),
    /// Not there: the error that every call gets, and why.
    Absent(Errno, &'static str),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The number on x86-64.
    pub number: usize,
    /// The name.
    pub name: &'static str,
    /// The arguments' kinds.
    pub args: &'static [Arg],
    /// How complete it is.
    pub support: Support,
    /// What runs; `None` for absent ones.
    pub handler: Option<Handler>,
    /// Makes something of the caller's that takes memory of the sentry: refused where there is none left.
    pub takes_memory: bool,
}

impl Row {
    /// A complete call.
    #[must_use]
    pub const fn full(number: usize, name: &'static str, args: &'static [Arg], handler: Handler) -> Self {
        Self { number, name, args, support: Support::Full, handler: Some(handler), takes_memory: false }
    }

    /// A call that lacks something.
    #[must_use]
    pub const fn partial(
        number: usize,
        name: &'static str,
        args: &'static [Arg],
        handler: Handler,
        missing: &'static str,
    ) -> Self {
        Self {
            number,
            name,
            args,
            support: Support::Partial(missing),
            handler: Some(handler),
            takes_memory: false,
        }
    }

    /// A call that always fails.
    #[must_use]
    pub const fn absent(number: usize, name: &'static str, errno: Errno, why: &'static str) -> Self {
        Self {
            number,
            name,
            args: &[],
            support: Support::Absent(errno, why),
            handler: None,
            takes_memory: false,
        }
    }

    /// See [`Row::takes_memory`].
    #[must_use]
    pub const fn takes_memory(self) -> Self {
        Self { takes_memory: true, ..self }
    }
}

/// Numbers from here on are unknown to us: `ENOSYS`.
pub const TABLE_LEN: usize = 512;

const FAMILIES: &[&[Row]] = &[
    super::file::TABLE,
    super::ipc::TABLE,
    super::keys::TABLE,
    super::memory::TABLE,
    super::process::TABLE,
    super::signal::TABLE,
    super::socket::TABLE,
    super::time::TABLE,
    super::misc::TABLE,
    super::events::TABLE,
];

/// The row of call `number`.
#[must_use]
pub fn row(number: u64) -> Option<&'static Row> {
    static INDEX: OnceLock<Vec<Option<&'static Row>>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let mut index = vec![None; TABLE_LEN];
        for row in rows() {
            index[row.number] = Some(row);
        }
        index
    });
    usize::try_from(number).ok().and_then(|number| index.get(number).copied().flatten())
}

/// All rows, by family.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    #[test]
    fn every_number_has_at_most_one_row() {
        let mut seen = HashMap::new();
        for row in super::rows() {
            assert!(row.number < super::TABLE_LEN, "{} is out of range", row.name);
            if let Some(other) = seen.insert(row.number, row.name) {
                panic!("{other} and {} are both number {}", row.name, row.number);
            }
        }
    }
}
