//! The interpreter.

use abi::filter::BPF_MEMWORDS;

use crate::decode::{Alu, Op, Operand, Test};
use crate::{Base, Data, Size};

/// Runs a checked program; `None` where it loads what `data` does not have.
pub(crate) fn run(ops: &[Op], data: &impl Data) -> Option<u32> {
    let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [0_u32; BPF_MEMWORDS], 0);
    while let Some(op) = ops.get(at) {
        at += 1;
        let value = |operand: Operand| match operand {
            Operand::Const(value) => value,
            Operand::X => x,
        };
        match *op {
            Op::LoadAbsolute(offset, size) => a = load(data, offset, size)?,
            // Linux adds as unsigned words, and takes the sum as signed.
            Op::LoadIndirect(offset, size) => a = load(data, x.cast_signed().wrapping_add(offset), size)?,
            Op::LoadAncillary(what) => a = data.ancillary(what),
            Op::LoadA(value) => a = value,
            Op::LoadX(value) => x = value,
            Op::LoadASize => a = data.size(),
            Op::LoadXSize => x = data.size(),
            Op::LoadXHeaderLen(offset) => x = (load(data, offset, Size::Byte)? & 0xf) * 4,
            Op::LoadAMemory(slot) => a = memory[usize::from(slot)],
            Op::LoadXMemory(slot) => x = memory[usize::from(slot)],
            Op::StoreA(slot) => memory[usize::from(slot)] = a,
            Op::StoreX(slot) => memory[usize::from(slot)] = x,
            Op::Alu(alu, operand) => match calculate(alu, a, value(operand)) {
                Some(result) => a = result,
                None => return Some(0),
            },
            Op::Jump(to) => at = to.into(),
            Op::Branch(test, operand, yes, no) => {
                at = if holds(test, a, value(operand)) { yes } else { no }.into();
            }
            Op::Return(value) => return Some(value),
            Op::ReturnA => return Some(a),
            Op::MoveAToX => x = a,
            Op::MoveXToA => a = x,
        }
    }
    Some(0)
}

fn load(data: &impl Data, offset: i32, size: Size) -> Option<u32> {
    let (base, offset) = Base::split(offset)?;
    data.load(base, offset, size)
}

/// `None` for a division by zero.
fn calculate(alu: Alu, a: u32, operand: u32) -> Option<u32> {
    Some(match alu {
        Alu::Add => a.wrapping_add(operand),
        Alu::Sub => a.wrapping_sub(operand),
        Alu::Mul => a.wrapping_mul(operand),
        Alu::Div => a.checked_div(operand)?,
        Alu::Mod => a.checked_rem(operand)?,
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
