//! Allow-lists as tables, and their translation: a binary search by number, then the argument checks.

use super::bpf::{Assembler, Cond, Field, Label};
use super::{Action, Error, Program};

/// Calls of the x32 ABI carry this bit in their number and are never meant.
const X32_BIT: u32 = 0x4000_0000;
/// `AUDIT_ARCH_X86_64`.
pub(super) const ARCH: u32 = 0xc000_003e;

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
    let groups: Vec<&[Rule]> = sorted.chunk_by(|a, b| a.nr == b.nr).collect();
    let mut asm = Assembler::new();
    let (foreign, native) = (asm.label(), asm.label());
    asm.load(Field::Arch);
    asm.require(Cond::Eq, ARCH, foreign);
    asm.load(Field::Nr);
    asm.require(Cond::Ge, X32_BIT, native);
    asm.place(foreign);
    asm.ret(default);
    asm.place(native);
    search(&mut asm, &groups, matched, default);
    Program::new(asm.finish()?)
}

/// Emits code that, with the number in the accumulator, ends in an action.
fn search(asm: &mut Assembler, groups: &[&[Rule]], matched: Action, default: Action) {
    if groups.len() <= 2 {
        for group in groups {
            let (mine, next) = (asm.label(), asm.label());
            asm.jump_if(Cond::Eq, number(group), mine);
            asm.jump(next);
            asm.place(mine);
            alternatives(asm, group, matched, default);
            asm.place(next);
        }
        asm.ret(default);
        return;
    }
    let (low, high) = groups.split_at(groups.len() / 2);
    let (upper, lower) = (asm.label(), asm.label());
    asm.require(Cond::Ge, number(high[0]), lower);
    asm.jump(upper);
    asm.place(lower);
    search(asm, low, matched, default);
    asm.place(upper);
    search(asm, high, matched, default);
}

fn number(group: &[Rule]) -> u32 {
    // A number that is no `u32` is no call: it compares equal to nothing that passed the x32 test.
    u32::try_from(group[0].nr).unwrap_or(u32::MAX)
}

fn alternatives(asm: &mut Assembler, group: &[Rule], matched: Action, default: Action) {
    for rule in group {
        let fail = asm.label();
        for check in rule.args {
            one_check(asm, *check, fail);
        }
        asm.ret(matched);
        if rule.args.is_empty() {
            return;
        }
        asm.place(fail);
    }
    asm.ret(default);
}

/// Emits a check that falls through where it holds and jumps to `fail` otherwise.
fn one_check(asm: &mut Assembler, check: ArgCheck, fail: Label) {
    match check {
        ArgCheck::Eq(arg, value) => equal(asm, arg, u64::MAX, value, fail),
        ArgCheck::Masked { arg, mask, value } => equal(asm, arg, mask, value, fail),
        ArgCheck::Eq32(arg, value) => equal(asm, arg, u64::from(u32::MAX), u64::from(value), fail),
        ArgCheck::OneOf32(arg, values) => {
            let good = asm.label();
            asm.load(Field::ArgLow(arg));
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
                equal(asm, arg, u64::MAX, *value, next);
                asm.jump(good);
                asm.place(next);
            }
            asm.jump(fail);
            asm.place(good);
        }
        ArgCheck::AtMost(arg, limit) => at_most(asm, arg, limit, fail),
    }
}

fn equal(asm: &mut Assembler, arg: u8, mask: u64, value: u64, fail: Label) {
    let halves = [(Field::ArgHigh(arg), mask >> 32, value >> 32), (Field::ArgLow(arg), mask, value)];
    for (field, mask, value) in halves {
        let (mask, value) = (mask as u32, value as u32);
        if mask == 0 && value == 0 {
            continue;
        }
        asm.load(field);
        if mask != u32::MAX {
            asm.and(mask);
        }
        asm.require(Cond::Eq, value, fail);
    }
}

fn at_most(asm: &mut Assembler, arg: u8, limit: u64, fail: Label) {
    let (high, low) = ((limit >> 32) as u32, limit as u32);
    let good = asm.label();
    asm.load(Field::ArgHigh(arg));
    asm.jump_if(Cond::Gt, high, fail);
    asm.require(Cond::Eq, high, good);
    asm.load(Field::ArgLow(arg));
    asm.jump_if(Cond::Gt, low, fail);
    asm.place(good);
}
