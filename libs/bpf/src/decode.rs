//! From `struct sock_filter` to operations, one at a time.

use abi::filter::{
    BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_B, BPF_DIV, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ,
    BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM, BPF_MEMWORDS,
    BPF_MISC, BPF_MOD, BPF_MSH, BPF_MUL, BPF_NEG, BPF_OR, BPF_RET, BPF_RSH, BPF_ST, BPF_STX, BPF_SUB,
    BPF_TAX, BPF_TXA, BPF_W, BPF_X, BPF_XOR, SockFilter,
};
use abi::seccomp::SeccompData;

use crate::{Ancillary, Dialect, Invalid, Size};

/// Arithmetic on the accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Or,
    And,
    Lsh,
    Rsh,
    Neg,
    Xor,
}

/// How a branch compares the accumulator with its operand, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

/// Where an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Const(u32),
    X,
}

/// One decoded instruction. Jump targets are absolute; A is the accumulator, X the index register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    LoadAbsolute(i32, Size),
    LoadIndirect(i32, Size),
    LoadAncillary(Ancillary),
    LoadA(u32),
    LoadX(u32),
    LoadASize,
    LoadXSize,
    /// X becomes the length of the IP header that begins there (`BPF_MSH`).
    LoadXHeaderLen(i32),
    LoadAMemory(u8),
    LoadXMemory(u8),
    StoreA(u8),
    StoreX(u8),
    Alu(Alu, Operand),
    Jump(u16),
    Branch(Test, Operand, u16, u16),
    Return(u32),
    ReturnA,
    MoveAToX,
    MoveXToA,
}

/// Decodes instruction `at` of a program of `len`.
pub(crate) fn decode(one: &SockFilter, at: usize, len: usize, dialect: Dialect) -> Result<Op, Invalid> {
    let SockFilter { code, jt, jf, k } = *one;
    let rest = code & !7;
    Ok(match code & 7 {
        BPF_LD => decode_load(rest, k, dialect)?,
        BPF_LDX => decode_load_x(rest, k, dialect)?,
        BPF_ST if rest == 0 => Op::StoreA(slot(k)?),
        BPF_STX if rest == 0 => Op::StoreX(slot(k)?),
        BPF_ALU => decode_alu(rest, k, dialect)?,
        BPF_JMP if rest == BPF_JA => Op::Jump(target(at, k, len)?),
        BPF_JMP => {
            let test = match rest & !BPF_X {
                BPF_JEQ => Test::Equal,
                BPF_JGT => Test::Greater,
                BPF_JGE => Test::GreaterOrEqual,
                BPF_JSET => Test::AnyBit,
                _ => return Err(Invalid),
            };
            Op::Branch(test, operand(rest, k), target(at, jt.into(), len)?, target(at, jf.into(), len)?)
        }
        BPF_RET => match rest {
            BPF_K => Op::Return(k),
            BPF_A => Op::ReturnA,
            _ => return Err(Invalid),
        },
        BPF_MISC => match rest {
            BPF_TAX => Op::MoveAToX,
            BPF_TXA => Op::MoveXToA,
            _ => return Err(Invalid),
        },
        _ => return Err(Invalid),
    })
}

fn decode_load(rest: u16, k: u32, dialect: Dialect) -> Result<Op, Invalid> {
    const SECCOMP_DATA: u32 = size_of::<SeccompData>() as u32;
    let offset = k.cast_signed();
    match (rest & !(BPF_H | BPF_B), dialect) {
        // With other sizes these are no instructions.
        (BPF_IMM | BPF_MEM | BPF_LEN, _) if rest & (BPF_H | BPF_B) != BPF_W => Err(Invalid),
        (BPF_IMM, _) => Ok(Op::LoadA(k)),
        (BPF_MEM, _) => Ok(Op::LoadAMemory(slot(k)?)),
        (BPF_LEN, _) => Ok(Op::LoadASize),
        (BPF_ABS, Dialect::Seccomp) => {
            let is_word = size(rest)? == Size::Word && k.is_multiple_of(4) && k < SECCOMP_DATA;
            if is_word { Ok(Op::LoadAbsolute(offset, Size::Word)) } else { Err(Invalid) }
        }
        (BPF_ABS, Dialect::Socket) => {
            let size = size(rest)?;
            Ok(Ancillary::of(offset)?.map_or(Op::LoadAbsolute(offset, size), Op::LoadAncillary))
        }
        (BPF_IND, Dialect::Socket) => Ok(Op::LoadIndirect(offset, size(rest)?)),
        _ => Err(Invalid),
    }
}

fn decode_load_x(rest: u16, k: u32, dialect: Dialect) -> Result<Op, Invalid> {
    const HEADER_LEN: u16 = BPF_MSH | BPF_B;
    match rest {
        BPF_IMM => Ok(Op::LoadX(k)),
        BPF_MEM => Ok(Op::LoadXMemory(slot(k)?)),
        BPF_LEN => Ok(Op::LoadXSize),
        HEADER_LEN if dialect == Dialect::Socket => Ok(Op::LoadXHeaderLen(k.cast_signed())),
        _ => Err(Invalid),
    }
}

fn decode_alu(rest: u16, k: u32, dialect: Dialect) -> Result<Op, Invalid> {
    let operand = operand(rest, k);
    let alu = match rest & !BPF_X {
        BPF_ADD => Alu::Add,
        BPF_SUB => Alu::Sub,
        BPF_MUL => Alu::Mul,
        BPF_DIV => Alu::Div,
        BPF_MOD if dialect == Dialect::Socket => Alu::Mod,
        BPF_OR => Alu::Or,
        BPF_AND => Alu::And,
        BPF_LSH => Alu::Lsh,
        BPF_RSH => Alu::Rsh,
        BPF_NEG if operand != Operand::X => Alu::Neg,
        BPF_XOR => Alu::Xor,
        _ => return Err(Invalid),
    };
    match (alu, operand) {
        (Alu::Div | Alu::Mod, Operand::Const(0)) | (Alu::Lsh | Alu::Rsh, Operand::Const(32..)) => {
            Err(Invalid)
        }
        _ => Ok(Op::Alu(alu, operand)),
    }
}

fn operand(rest: u16, k: u32) -> Operand {
    if rest & BPF_X == 0 { Operand::Const(k) } else { Operand::X }
}

fn size(rest: u16) -> Result<Size, Invalid> {
    match rest & (BPF_H | BPF_B) {
        BPF_W => Ok(Size::Word),
        BPF_H => Ok(Size::Half),
        BPF_B => Ok(Size::Byte),
        _ => Err(Invalid),
    }
}

/// A word of the scratch memory.
fn slot(k: u32) -> Result<u8, Invalid> {
    u8::try_from(k).ok().filter(|slot| usize::from(*slot) < BPF_MEMWORDS).ok_or(Invalid)
}

/// A jump target behind instruction `at`.
fn target(at: usize, distance: u32, len: usize) -> Result<u16, Invalid> {
    let to = usize::try_from(distance).ok().and_then(|distance| (at + 1).checked_add(distance));
    to.filter(|to| *to < len).and_then(|to| u16::try_from(to).ok()).ok_or(Invalid)
}
