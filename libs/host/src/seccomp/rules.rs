//! Allow-lists as tables, and their translation: a binary search by number, then the argument checks.

use abi::seccomp::AUDIT_ARCH_X86_64;
use bpf::seccomp::{Condition, Field, Test, search};
use bpf::{Assembler, Cond, Label};

use super::{Action, Error, Program};

/// A condition on one argument. `u8` is the argument's index, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgCheck {
    /// All 64 bits are this value.
    Eq(u8, u64),
    /// The low 32 bits are this value: for `int` arguments, whose upper half the kernel ignores.
    Eq32(u8, u32),
    /// It is one of these values.
    OneOf(u8, &'static [u64]),
    /// The low 32 bits are one of these values.
    OneOf32(u8, &'static [u32]),
    /// `arg & mask == value`.
    Masked {
        /// The argument's index.
        arg: u8,
        /// The bits looked at.
        mask: u64,
        /// What they must be.
        value: u64,
    },
    /// At most this value, unsigned.
    AtMost(u8, u64),
}

impl ArgCheck {
    /// All of `bits` are set, whatever the others are.
    #[must_use]
    pub const fn with(arg: u8, bits: u64) -> Self {
        Self::Masked { arg, mask: bits, value: bits }
    }

    /// None of `bits` is set.
    #[must_use]
    pub const fn without(arg: u8, bits: u64) -> Self {
        Self::Masked { arg, mask: bits, value: 0 }
    }

    const fn index(self) -> u8 {
        match self {
            Self::Eq(arg, _)
            | Self::Eq32(arg, _)
            | Self::OneOf(arg, _)
            | Self::OneOf32(arg, _)
            | Self::AtMost(arg, _)
            | Self::Masked { arg, .. } => arg,
        }
    }
}

/// Allows one call where all checks hold. Several rules for one number are alternatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The call's number (`libc::SYS_*`).
    pub nr: i64,
    /// Its name, for people.
    pub name: &'static str,
    /// What must hold of its arguments.
    pub args: &'static [ArgCheck],
}

impl Rule {
    /// Allows a call whatever its arguments.
    #[must_use]
    pub const fn any(nr: i64, name: &'static str) -> Self {
        Self { nr, name, args: &[] }
    }

    /// Allows a call where all of `args` hold.
    #[must_use]
    pub const fn when(nr: i64, name: &'static str, args: &'static [ArgCheck]) -> Self {
        Self { nr, name, args }
    }
}

/// A filter that allows what a rule allows and does `default` to anything else, including calls of a foreign
/// architecture and of the x32 ABI.
///
/// # Errors
/// [`Error::TooLong`], [`Error::BadArgument`].
pub fn compile(rules: &[Rule], default: Action) -> Result<Program, Error> {
    compile_with(rules, Action::Allow, default)
}

/// As [`compile`], with an action of its own for what the rules match.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(rules: &[Rule], matched: Action, default: Action) -> Result<Program, Error> {
    if let Some(rule) = rules.iter().find(|rule| rule.args.iter().any(|check| check.index() > 5)) {
        return Err(Error::BadArgument(rule.name));
    }
    let mut sorted: Vec<Rule> = Vec::new();
    for rule in rules {
        if !sorted.contains(rule) {
            sorted.push(*rule);
        }
    }
    sorted.sort_by_key(|rule| rule.nr);
    let mut asm = Assembler::new();
    let native = asm.label();
    asm.load(Field::Arch.offset());
    asm.jump_if(Cond::Eq, AUDIT_ARCH_X86_64, native);
    asm.ret(default.encode());
    asm.place(native);
    asm.load(Field::Nr.offset());
    search(&mut asm, &ranges(&sorted), &mut |asm, rules| alternatives(asm, rules, matched, default));
    Program::new(asm.finish()?)
}

/// Sorted rules as ranges of numbers by their first, each with the rules of its one number, or none. Calls of the x32
/// ABI, whose numbers have a bit of their own, are in the last.
fn ranges(sorted: &[Rule]) -> Vec<(u32, &[Rule])> {
    let mut ranges: Vec<(u32, &[Rule])> = Vec::new();
    let mut next = 0;
    for group in sorted.chunk_by(|a, b| a.nr == b.nr) {
        // What is no `u32` is no call.
        let Ok(nr) = u32::try_from(group[0].nr) else { continue };
        if nr > next {
            ranges.push((next, &[]));
        }
        ranges.push((nr, group));
        next = nr.saturating_add(1);
    }
    ranges.push((next, &[]));
    ranges
}

fn alternatives(asm: &mut Assembler, group: &[Rule], matched: Action, default: Action) {
    for rule in group {
        let fail = asm.label();
        for check in rule.args {
            one_check(asm, *check, fail);
        }
        asm.ret(matched.encode());
        if rule.args.is_empty() {
            return;
        }
        asm.place(fail);
    }
    asm.ret(default.encode());
}

/// Emits a check that falls through where it holds and jumps to `fail` otherwise.
fn one_check(asm: &mut Assembler, check: ArgCheck, fail: Label) {
    let whole = |arg, test, value| Condition { arg, test, mask: u64::MAX, value };
    match check {
        ArgCheck::Eq(arg, value) => whole(arg, Test::Equal, value).require(asm, fail),
        ArgCheck::AtMost(arg, limit) => whole(arg, Test::LessOrEqual, limit).require(asm, fail),
        ArgCheck::Masked { arg, mask, value } => {
            Condition { arg, test: Test::Equal, mask, value }.require(asm, fail);
        }
        ArgCheck::Eq32(arg, value) => {
            let (mask, value) = (u64::from(u32::MAX), u64::from(value));
            Condition { arg, test: Test::Equal, mask, value }.require(asm, fail);
        }
        ArgCheck::OneOf32(arg, values) => {
            let good = asm.label();
            asm.load(Field::ArgLow(arg).offset());
            for value in values {
                asm.jump_if(Cond::Eq, *value, good);
            }
            asm.jump(fail);
            asm.place(good);
        }
        ArgCheck::OneOf(arg, values) => {
            let good = asm.label();
            for value in values {
                let next = asm.label();
                whole(arg, Test::Equal, *value).require(asm, next);
                asm.jump(good);
                asm.place(next);
            }
            asm.jump(fail);
            asm.place(good);
        }
    }
}
