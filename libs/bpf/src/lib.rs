//! Classic BPF (McCanne and Jacobson 1993): what seccomp(2) and `SO_ATTACH_FILTER` take from guests; and of extended BPF
//! what decides about devices ([`DeviceProgram`]).
//!
//! [`Program::new`] checks what Linux checks (`bpf_check_classic` and `seccomp_check_filter`): instructions that the
//! [`Dialect`] knows, jumps that only go forward and stay inside, no division by a constant zero, scratch memory that
//! exists and is written before it is read, a return at the end. So a run ends after as many steps as there are
//! instructions. What a program looks at is a [`Data`].
//!
//! The other way round, an [`Assembler`] makes programs, of the pieces in [`seccomp`].
#![forbid(unsafe_code)]

mod assembler;
mod check;
mod data;
mod decode;
mod extended;
mod run;
pub mod seccomp;
#[cfg(test)]
mod tests;

use abi::filter::{BPF_MAXINSNS, SockFilter};

pub use assembler::{Assembler, Cond, Label, TooLong};
pub use data::{Ancillary, Base, Data, Size};
use decode::Op;
pub use extended::DeviceProgram;

/// What a program is for, which decides what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// It looks at aligned words of a `struct seccomp_data`.
    Seccomp,
    /// It looks at a packet and its circumstances.
    Socket,
}

/// A program that Linux refuses with `EINVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid BPF program")]
pub struct Invalid;

/// A checked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    ops: Box<[Op]>,
    source: Box<[SockFilter]>,
}

impl Program {
    /// Checks a program.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn new(source: Vec<SockFilter>, dialect: Dialect) -> Result<Self, Invalid> {
        if source.is_empty() || source.len() > BPF_MAXINSNS {
            return Err(Invalid);
        }
        let decoded =
            source.iter().enumerate().map(|(at, one)| decode::decode(one, at, source.len(), dialect));
        let ops = decoded.collect::<Result<Box<_>, _>>()?;
        check::ends_with_return(&ops)?;
        check::reads_only_what_was_written(&ops)?;
        Ok(Self { ops, source: source.into() })
    }

    /// The instructions as they came.
    #[must_use]
    pub fn source(&self) -> &[SockFilter] {
        &self.source
    }

    /// What it returns of `data`; `None` where it loads what is not in there. A division by zero returns 0.
    pub fn run(&self, data: &impl Data) -> Option<u32> {
        run::run(&self.ops, data)
    }
}
