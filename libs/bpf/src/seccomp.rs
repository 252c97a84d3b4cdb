//! What seccomp filters are made of: words of `struct seccomp_data`, a search for the call's number, comparisons of
//! arguments.

use super::assembler::{Assembler, Cond, Label};

/// A 32-bit word of `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The call's number.
    Nr,
    /// `AUDIT_ARCH_*`.
    Arch,
    /// The low half of the address behind the `syscall` instruction.
    IpLow,
    /// Its high half.
    IpHigh,
    /// The low half of an argument, `0..6`.
    ArgLow(u8),
    /// The high half of an argument.
    ArgHigh(u8),
}

impl Field {
    /// Where it is.
    #[must_use]
    pub const fn offset(self) -> u32 {
        match self {
            Self::Nr => 0,
            Self::Arch => 4,
            Self::IpLow => 8,
            Self::IpHigh => 12,
            Self::ArgLow(index) => 16 + 8 * index as u32,
            Self::ArgHigh(index) => 20 + 8 * index as u32,
        }
    }
}

/// How an argument is compared, as an unsigned number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is the value.
    Equal,
    /// It is another.
    NotEqual,
    /// It is below the value.
    Less,
    /// It is the value or below.
    LessOrEqual,
    /// It is above the value.
    Greater,
    /// It is the value or above.
    GreaterOrEqual,
}

/// `arg & mask` compared with `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The argument's index, `0..6`.
    pub arg: u8,
    /// How it is compared.
    pub test: Test,
    /// The bits that are looked at.
    pub mask: u64,
    /// With what.
    pub value: u64,
}

impl Condition {
    /// Code that falls through where the condition holds and jumps to `fail` otherwise: it looks at the upper half of
    /// the argument, and where that does not decide, at the lower.
    pub fn require(self, asm: &mut Assembler, fail: Label) {
        let Self { arg, test, mask, value } = self;
        let holds = asm.label();
        if !self.is_trivial(mask >> 32, value >> 32) {
            load(asm, Field::ArgHigh(arg), (mask >> 32) as u32);
            let high = (value >> 32) as u32;
            match test {
                Test::Equal => asm.require(Cond::Eq, high, fail),
                Test::NotEqual => asm.require(Cond::Eq, high, holds),
                Test::Greater | Test::GreaterOrEqual => {
                    asm.jump_if(Cond::Gt, high, holds);
                    asm.require(Cond::Eq, high, fail);
                }
                Test::Less | Test::LessOrEqual => {
                    asm.jump_if(Cond::Gt, high, fail);
                    asm.require(Cond::Eq, high, holds);
                }
            }
        }
        if !self.is_trivial(mask & HALF, value & HALF) {
            load(asm, Field::ArgLow(arg), mask as u32);
            let low = value as u32;
            match test {
                Test::Equal => asm.require(Cond::Eq, low, fail),
                Test::NotEqual => asm.jump_if(Cond::Eq, low, fail),
                Test::Greater => asm.require(Cond::Gt, low, fail),
                Test::GreaterOrEqual => asm.require(Cond::Ge, low, fail),
                Test::Less => asm.jump_if(Cond::Ge, low, fail),
                Test::LessOrEqual => asm.jump_if(Cond::Gt, low, fail),
            }
        }
        asm.place(holds);
    }

    /// Whether no bit of a half is looked at and none is wanted.
    fn is_trivial(self, mask: u64, value: u64) -> bool {
        self.test == Test::Equal && mask == 0 && value == 0
    }
}

const HALF: u64 = u32::MAX as u64;

fn load(asm: &mut Assembler, field: Field, mask: u32) {
    asm.load(field.offset());
    if mask != u32::MAX {
        asm.and(mask);
    }
}

/// Code that, with a call's number in the accumulator, goes to what `judge` emits for the range that it is in. Ranges
/// are sorted by their first number and reach to the next one's; numbers below the first belong to that. What `judge`
/// emits must end in a return.
pub fn search<T>(asm: &mut Assembler, ranges: &[(u32, T)], judge: &mut impl FnMut(&mut Assembler, &T)) {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let [(middle, verdict), rest @ ..] = high else { return };
    if low.is_empty() && rest.is_empty() {
        judge(asm, verdict);
        return;
    }
    // The way over the lower half may be longer than a conditional jump reaches.
    let (lower, upper) = (asm.label(), asm.label());
    asm.require(Cond::Ge, *middle, lower);
    asm.jump(upper);
    asm.place(lower);
    search(asm, low, judge);
    asm.place(upper);
    search(asm, high, judge);
}
