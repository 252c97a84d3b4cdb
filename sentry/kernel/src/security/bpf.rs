//! Classic BPF as seccomp(2) takes it: checked once, then run for each system call (`bpf_check_classic`,
//! `seccomp_check_filter` in Linux's tree). Programs have no loops, so a checked one always ends.

use abi::seccomp::{BPF_MAXINSNS, SeccompData, SockFilter};
use abi::{Errno, Result};
use zerocopy::IntoBytes;

const DATA_SIZE: u32 = size_of::<SeccompData>() as u32;
/// Number and architecture, which come before what differs from call to call.
const FIXED_BYTES: usize = 8;
/// Scratch words.
const MEMORY: usize = 16;

const CLASS_LD: u16 = 0;
const CLASS_LDX: u16 = 1;
const CLASS_ST: u16 = 2;
const CLASS_STX: u16 = 3;
const CLASS_ALU: u16 = 4;
const CLASS_JMP: u16 = 5;
const CLASS_RET: u16 = 6;
const CLASS_MISC: u16 = 7;
const MODE_IMM: u16 = 0x00;
const MODE_ABS: u16 = 0x20;
const MODE_MEM: u16 = 0x60;
const MODE_LEN: u16 = 0x80;
const SOURCE_X: u16 = 0x08;
const RET_A: u16 = 0x10;
const MISC_TXA: u16 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    Lsh,
    Rsh,
    Neg,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

/// Where an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Const(u32),
    X,
}

/// One decoded instruction. Jump targets are absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    LoadData(usize),
    LoadA(u32),
    LoadX(u32),
    LoadAMemory(usize),
    LoadXMemory(usize),
    StoreA(usize),
    StoreX(usize),
    Alu(Alu, Operand),
    Jump(usize),
    Branch(Test, Operand, usize, usize),
    Return(u32),
    ReturnA,
    MoveAToX,
    MoveXToA,
}

/// A checked program.
#[derive(Debug)]
pub(crate) struct Program {
    ops: Vec<Op>,
    source: Vec<SockFilter>,
}

impl Program {
    /// Checks a program.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn new(source: Vec<SockFilter>) -> Result<Self> {
        if source.is_empty() || source.len() > BPF_MAXINSNS {
            return Err(Errno::EINVAL);
        }
        let decoded = source.iter().enumerate().map(|(at, one)| decode(one, at, source.len()));
        let ops = decoded.collect::<Result<Vec<_>>>()?;
        if !matches!(ops.last(), Some(Op::Return(_) | Op::ReturnA)) {
            return Err(Errno::EINVAL);
        }
        check_memory(&ops)?;
        Ok(Self { ops, source })
    }

    /// Its length in instructions.
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// The instructions as they came.
    pub(crate) fn source(&self) -> &[SockFilter] {
        &self.source
    }

    /// Whether it says `verdict` of a call whatever its arguments and the place that it comes from: found by running
    /// it until it looks at either (as Linux's `seccomp_is_const_allow`).
    pub(crate) fn always_says(&self, verdict: u32, nr: i32, arch: u32) -> bool {
        let data = SeccompData { nr, arch, instruction_pointer: 0, args: [0; 6] };
        self.interpret(&data, FIXED_BYTES) == Some(verdict)
    }

    /// What it says of a call.
    pub(crate) fn run(&self, data: &SeccompData) -> u32 {
        self.interpret(data, size_of::<SeccompData>()).unwrap_or(0)
    }

    /// Runs it; `None` where it reads beyond the first `known` bytes of the data.
    fn interpret(&self, data: &SeccompData, known: usize) -> Option<u32> {
        let bytes = data.as_bytes();
        let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [0_u32; MEMORY], 0);
        while let Some(op) = self.ops.get(at) {
            at += 1;
            let value = |operand: Operand| match operand {
                Operand::Const(value) => value,
                Operand::X => x,
            };
            match *op {
                Op::LoadData(offset) if offset + 4 > known => return None,
                Op::LoadData(offset) => a = load(bytes, offset),
                Op::LoadA(value) => a = value,
                Op::LoadX(value) => x = value,
                Op::LoadAMemory(slot) => a = memory[slot],
                Op::LoadXMemory(slot) => x = memory[slot],
                Op::StoreA(slot) => memory[slot] = a,
                Op::StoreX(slot) => memory[slot] = x,
                Op::Alu(alu, operand) => match calculate(alu, a, value(operand)) {
                    Some(result) => a = result,
                    // Division by zero ends the program with 0: the thread is killed.
                    None => return Some(0),
                },
                Op::Jump(to) => at = to,
                Op::Branch(test, operand, yes, no) => {
                    at = if holds(test, a, value(operand)) { yes } else { no };
                }
                Op::Return(value) => return Some(value),
                Op::ReturnA => return Some(a),
                Op::MoveAToX => x = a,
                Op::MoveXToA => a = x,
            }
        }
        Some(0)
    }
}

fn load(bytes: &[u8], offset: usize) -> u32 {
    let word = bytes.get(offset..offset + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_ne_bytes)
}

fn calculate(alu: Alu, a: u32, operand: u32) -> Option<u32> {
    Some(match alu {
        Alu::Add => a.wrapping_add(operand),
        Alu::Sub => a.wrapping_sub(operand),
        Alu::Mul => a.wrapping_mul(operand),
        Alu::Div => a.checked_div(operand)?,
        Alu::Or => a | operand,
        Alu::And => a & operand,
        Alu::Lsh => a.wrapping_shl(operand),
        Alu::Rsh => a.wrapping_shr(operand),
        Alu::Neg => a.wrapping_neg(),
        Alu::Xor => a ^ operand,
    })
}

fn holds(test: Test, a: u32, operand: u32) -> bool {
    match test {
        Test::Equal => a == operand,
        Test::Greater => a > operand,
        Test::GreaterOrEqual => a >= operand,
        Test::AnyBit => a & operand != 0,
    }
}

fn slot(k: u32) -> Result<usize> {
    usize::try_from(k).ok().filter(|slot| *slot < MEMORY).ok_or(Errno::EINVAL)
}

/// A jump target behind instruction `at`.
fn target(at: usize, distance: u32, len: usize) -> Result<usize> {
    let to = usize::try_from(distance).ok().and_then(|distance| (at + 1).checked_add(distance));
    to.filter(|to| *to < len).ok_or(Errno::EINVAL)
}

fn decode(one: &SockFilter, at: usize, len: usize) -> Result<Op> {
    let SockFilter { code, jt, jf, k } = *one;
    let rest = code & !7;
    Ok(match code & 7 {
        CLASS_LD => match rest {
            MODE_ABS if k % 4 == 0 && k < DATA_SIZE => Op::LoadData(k as usize),
            MODE_LEN => Op::LoadA(DATA_SIZE),
            MODE_IMM => Op::LoadA(k),
            MODE_MEM => Op::LoadAMemory(slot(k)?),
            _ => return Err(Errno::EINVAL),
        },
        CLASS_LDX => match rest {
            MODE_LEN => Op::LoadX(DATA_SIZE),
            MODE_IMM => Op::LoadX(k),
            MODE_MEM => Op::LoadXMemory(slot(k)?),
            _ => return Err(Errno::EINVAL),
        },
        CLASS_ST if rest == 0 => Op::StoreA(slot(k)?),
        CLASS_STX if rest == 0 => Op::StoreX(slot(k)?),
        CLASS_ALU => decode_alu(rest, k)?,
        CLASS_JMP => {
            let operand = if code & SOURCE_X != 0 { Operand::X } else { Operand::Const(k) };
            let test = match rest & !SOURCE_X {
                0x00 if code & SOURCE_X == 0 => return target(at, k, len).map(Op::Jump),
                0x10 => Test::Equal,
                0x20 => Test::Greater,
                0x30 => Test::GreaterOrEqual,
                0x40 => Test::AnyBit,
                _ => return Err(Errno::EINVAL),
            };
            Op::Branch(test, operand, target(at, jt.into(), len)?, target(at, jf.into(), len)?)
        }
        CLASS_RET => match rest {
            0 => Op::Return(k),
            RET_A => Op::ReturnA,
            _ => return Err(Errno::EINVAL),
        },
        CLASS_MISC => match rest {
            0 => Op::MoveAToX,
            MISC_TXA => Op::MoveXToA,
            _ => return Err(Errno::EINVAL),
        },
        _ => return Err(Errno::EINVAL),
    })
}

fn decode_alu(rest: u16, k: u32) -> Result<Op> {
    let operand = if rest & SOURCE_X != 0 { Operand::X } else { Operand::Const(k) };
    let alu = match rest & !SOURCE_X {
        0x00 => Alu::Add,
        0x10 => Alu::Sub,
        0x20 => Alu::Mul,
        0x30 => Alu::Div,
        0x40 => Alu::Or,
        0x50 => Alu::And,
        0x60 => Alu::Lsh,
        0x70 => Alu::Rsh,
        0x80 if operand != Operand::X => Alu::Neg,
        0xa0 => Alu::Xor,
        _ => return Err(Errno::EINVAL),
    };
    let is_bad = match (alu, operand) {
        (Alu::Div, Operand::Const(0)) => true,
        (Alu::Lsh | Alu::Rsh, Operand::Const(by)) => by >= 32,
        _ => false,
    };
    if is_bad { Err(Errno::EINVAL) } else { Ok(Op::Alu(alu, operand)) }
}

/// Scratch words must be written on every way to where they are read.
fn check_memory(ops: &[Op]) -> Result<()> {
    let mut known = vec![u16::MAX; ops.len() + 1];
    let mut valid = 0_u16;
    for (at, op) in ops.iter().enumerate() {
        valid &= known[at];
        let mut reach = |to: usize, valid: u16| known[to] &= valid;
        match *op {
            Op::StoreA(slot) | Op::StoreX(slot) => valid |= 1 << slot,
            Op::LoadAMemory(slot) | Op::LoadXMemory(slot) if valid & (1 << slot) == 0 => {
                return Err(Errno::EINVAL);
            }
            Op::Jump(to) => {
                reach(to, valid);
                valid = u16::MAX;
            }
            Op::Branch(_, _, yes, no) => {
                reach(yes, valid);
                reach(no, valid);
                valid = u16::MAX;
            }
            Op::Return(_) | Op::ReturnA => valid = u16::MAX,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use abi::Errno;
    use abi::seccomp::{AUDIT_ARCH_X86_64, SeccompData, SockFilter};
    use proptest::prelude::*;

    use super::Program;

    fn op(code: u16, k: u32) -> SockFilter {
        SockFilter { code, jt: 0, jf: 0, k }
    }

    fn data(nr: i32, first: u64) -> SeccompData {
        let args = [first, 0, 0, 0, 0, 0];
        SeccompData { nr, arch: AUDIT_ARCH_X86_64, instruction_pointer: 0x1000, args }
    }

    #[test]
    fn compares_the_number_and_an_argument() {
        let program = Program::new(vec![
            op(0x20, 0),
            SockFilter { code: 0x15, jt: 0, jf: 3, k: 39 },
            op(0x20, 16),
            SockFilter { code: 0x15, jt: 0, jf: 1, k: 7 },
            op(0x06, 0x0005_0001),
            op(0x06, 0x7fff_0000),
        ])
        .unwrap();
        assert_eq!(program.run(&data(39, 7)), 0x0005_0001);
        assert_eq!(program.run(&data(39, 8)), 0x7fff_0000);
        assert_eq!(program.run(&data(40, 7)), 0x7fff_0000);
        let always = |nr| program.always_says(0x7fff_0000, nr, AUDIT_ARCH_X86_64);
        assert!(always(40) && !always(39));
    }

    #[test]
    fn division_by_a_zero_register_kills() {
        let program = Program::new(vec![op(0x00, 5), op(0x01, 0), op(0x3c, 0), op(0x06, 1)]).unwrap();
        assert_eq!(program.run(&data(0, 0)), 0);
    }

    #[test]
    fn bad_programs_are_refused() {
        let ret = op(0x06, 0);
        for bad in [
            vec![],
            vec![op(0x00, 1)],
            vec![op(0x20, 2), ret],
            vec![op(0x20, 64), ret],
            vec![op(0x34, 0), ret],
            vec![op(0x64, 32), ret],
            vec![op(0x05, 1), ret],
            vec![op(0x60, 0), ret],
            vec![op(0x02, 16), ret],
            vec![op(0x30, 0), ret],
            vec![SockFilter { code: 0x15, jt: 0, jf: 1, k: 0 }, ret],
            // Written on one way only.
            vec![SockFilter { code: 0x15, jt: 0, jf: 1, k: 0 }, op(0x02, 3), op(0x60, 3), ret],
        ] {
            assert_eq!(Program::new(bad.clone()).err(), Some(Errno::EINVAL), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_ends(words in prop::collection::vec((0_u16..256, 0_u8..4, 0_u8..4, 0_u32..70), 1..40)) {
            let source = words.into_iter().map(|(code, jt, jf, k)| SockFilter { code, jt, jf, k }).collect();
            if let Ok(program) = Program::new(source) {
                program.run(&data(1, 2));
            }
        }
    }
}
