//! Extended BPF, as far as it decides about devices (`BPF_PROG_TYPE_CGROUP_DEVICE`): arithmetic, jumps, and loads from the
//! words that it is given. There are no maps, no helpers and no stack. Linux proves that a program behaves before it takes
//! it; here it is taken if each instruction makes sense, and refuses where it then does not behave.

use crate::Invalid;

/// Instructions at most, and steps of one run.
const MAX_LEN: usize = 4096;
const MAX_STEPS: usize = 65_536;
/// Registers; the last, which would point to the stack, cannot be used.
const REGISTERS: usize = 10;
/// Where the pointer to what a program looks at is at the start.
const CONTEXT: usize = 1;

const CLASS_LD: u8 = 0;
const CLASS_LDX: u8 = 1;
const CLASS_ALU: u8 = 4;
const CLASS_JMP: u8 = 5;
const CLASS_JMP32: u8 = 6;
const CLASS_ALU64: u8 = 7;
/// A load of 64 bits that takes two instructions; one from memory.
const LD_IMM64: u8 = 0x18;
const MODE_MEM: u8 = 0x60;
const SOURCE_REGISTER: u8 = 8;
const ALU_END: u8 = 0xd;
const JMP_CALL: u8 = 8;
const JMP_EXIT: u8 = 9;

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    to: usize,
    from: usize,
    offset: i16,
    constant: i32,
}

impl Instruction {
    fn decode(bytes: [u8; 8]) -> Self {
        let [code, registers, o0, o1, c0, c1, c2, c3] = bytes;
        Self {
            code,
            to: usize::from(registers & 15),
            from: usize::from(registers >> 4),
            offset: i16::from_le_bytes([o0, o1]),
            constant: i32::from_le_bytes([c0, c1, c2, c3]),
        }
    }

    fn class(self) -> u8 {
        self.code & 7
    }

    fn operation(self) -> u8 {
        self.code >> 4
    }

    /// Where a jump that is taken goes.
    fn target(self, at: usize) -> Option<usize> {
        (at + 1).checked_add_signed(isize::from(self.offset))
    }

    /// Whether it is one that there is, with registers that there are.
    fn is_known(self) -> bool {
        let uses_register = self.code & SOURCE_REGISTER != 0;
        let has_registers = self.to < REGISTERS && self.from < REGISTERS;
        let is_plain = self.offset == 0 && (if uses_register { self.constant == 0 } else { self.from == 0 });
        has_registers
            && match self.class() {
                CLASS_LD => self.code == LD_IMM64 && self.from == 0 && self.offset == 0,
                CLASS_LDX => self.code & 0xe0 == MODE_MEM && self.constant == 0,
                CLASS_ALU | CLASS_ALU64 if self.operation() == ALU_END => false,
                CLASS_ALU | CLASS_ALU64 => self.operation() < ALU_END && is_plain,
                CLASS_JMP if self.operation() == JMP_EXIT => self.code == 0x95,
                CLASS_JMP if self.operation() == 0 => self.code == 0x05,
                CLASS_JMP | CLASS_JMP32 => {
                    matches!(self.operation(), 1..=7 | 10..=13) && self.operation() != JMP_CALL
                }
                _ => false,
            }
    }

    fn is_jump(self) -> bool {
        matches!(self.class(), CLASS_JMP | CLASS_JMP32) && self.operation() != JMP_EXIT
    }
}

/// What is in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Unset,
    Number(u64),
    /// The place of a byte of what the program looks at.
    Place(i64),
}

/// A program whose instructions make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProgram {
    /// As it was given, which takes a third of what it does decoded.
    code: Box<[[u8; 8]]>,
}

impl DeviceProgram {
    /// Checks a program, the instructions as they are in memory.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn new(source: &[u8]) -> Result<Self, Invalid> {
        let (chunks, rest) = source.as_chunks::<8>();
        if chunks.is_empty() || chunks.len() > MAX_LEN || !rest.is_empty() {
            return Err(Invalid);
        }
        let code: Vec<_> = chunks.iter().map(|bytes| Instruction::decode(*bytes)).collect();
        let mut is_start = vec![false; code.len()];
        let mut at = 0;
        while let Some(one) = code.get(at) {
            if !one.is_known() {
                return Err(Invalid);
            }
            is_start[at] = true;
            at += if one.class() == CLASS_LD { 2 } else { 1 };
        }
        let leads_on = |(at, one): (usize, &Instruction)| {
            let target = || one.target(at).and_then(|target| is_start.get(target).copied()).unwrap_or(false);
            !is_start[at] || !one.is_jump() || target()
        };
        // The second half of a wide load ends no program, nor does what goes on behind it.
        let ends = code.last().is_some_and(|last| matches!(last.code, 0x95 | 0x05));
        if at != code.len() || !ends || !is_start[code.len() - 1] || !code.iter().enumerate().all(leads_on) {
            return Err(Invalid);
        }
        Ok(Self { code: chunks.into() })
    }

    fn instruction(&self, at: usize) -> Option<Instruction> {
        self.code.get(at).map(|bytes| Instruction::decode(*bytes))
    }

    /// What it returns of `data`; `None` where it does what Linux would not have taken it for.
    #[must_use]
    pub fn run(&self, data: &[u8]) -> Option<u32> {
        let mut registers = [Value::Unset; REGISTERS];
        registers[CONTEXT] = Value::Place(0);
        let mut at = 0;
        for _ in 0..MAX_STEPS {
            let one = self.instruction(at)?;
            at += 1;
            match one.class() {
                CLASS_LD => {
                    let upper = self.instruction(at)?.constant;
                    let wide =
                        u64::from(upper.cast_unsigned()) << 32 | u64::from(one.constant.cast_unsigned());
                    registers[one.to] = Value::Number(wide);
                    at += 1;
                }
                CLASS_LDX => registers[one.to] = Value::Number(load(one, registers[one.from], data)?),
                CLASS_ALU | CLASS_ALU64 => registers[one.to] = calculate(one, &registers)?,
                _ if one.operation() == JMP_EXIT => {
                    let Value::Number(result) = registers[0] else { return None };
                    return Some(result as u32);
                }
                _ => {
                    if is_taken(one, &registers)? {
                        at = one.target(at - 1)?;
                    }
                }
            }
        }
        None
    }
}

fn load(one: Instruction, from: Value, data: &[u8]) -> Option<u64> {
    let Value::Place(base) = from else { return None };
    let start = usize::try_from(base.checked_add(i64::from(one.offset))?).ok()?;
    let len = [4, 2, 1, 8][usize::from(one.code >> 3 & 3)];
    let bytes = data.get(start..start.checked_add(len)?)?;
    let mut wide = [0; 8];
    wide[..len].copy_from_slice(bytes);
    Some(u64::from_le_bytes(wide))
}

/// The second operand of a calculation or a comparison.
fn operand(one: Instruction, registers: &[Value; REGISTERS]) -> Value {
    if one.code & SOURCE_REGISTER != 0 {
        registers[one.from]
    } else {
        Value::Number(i64::from(one.constant).cast_unsigned())
    }
}

fn calculate(one: Instruction, registers: &[Value; REGISTERS]) -> Option<Value> {
    const MOVE: u8 = 0xb;
    let (is_wide, second) = (one.class() == CLASS_ALU64, operand(one, registers));
    if one.operation() == MOVE && is_wide {
        return Some(second).filter(|value| *value != Value::Unset);
    }
    if let (Value::Place(place), 0, true) = (registers[one.to], one.operation(), is_wide) {
        let Value::Number(more) = second else { return None };
        return place.checked_add(more.cast_signed()).map(Value::Place);
    }
    let Value::Number(b) = second else { return None };
    let a = match registers[one.to] {
        Value::Number(a) => a,
        _ if one.operation() == MOVE => 0,
        _ => return None,
    };
    let result = if is_wide {
        arithmetic_64(one.operation(), a, b)
    } else {
        arithmetic_32(one.operation(), a as u32, b as u32).map(u64::from)
    };
    result.map(Value::Number)
}

fn arithmetic_64(operation: u8, a: u64, b: u64) -> Option<u64> {
    Some(match operation {
        0x0 => a.wrapping_add(b),
        0x1 => a.wrapping_sub(b),
        0x2 => a.wrapping_mul(b),
        0x3 => a.checked_div(b).unwrap_or(0),
        0x4 => a | b,
        0x5 => a & b,
        0x6 => a.wrapping_shl(b as u32),
        0x7 => a.wrapping_shr(b as u32),
        0x8 => a.wrapping_neg(),
        0x9 => a.checked_rem(b).unwrap_or(a),
        0xa => a ^ b,
        0xb => b,
        0xc => a.cast_signed().wrapping_shr(b as u32).cast_unsigned(),
        _ => return None,
    })
}

fn arithmetic_32(operation: u8, a: u32, b: u32) -> Option<u32> {
    Some(match operation {
        0x6 => a.wrapping_shl(b),
        0x7 => a.wrapping_shr(b),
        0xc => a.cast_signed().wrapping_shr(b).cast_unsigned(),
        // The lower half of these does not depend on the upper ones.
        _ => arithmetic_64(operation, a.into(), b.into())? as u32,
    })
}

fn is_taken(one: Instruction, registers: &[Value; REGISTERS]) -> Option<bool> {
    if one.operation() == 0 {
        return Some(true);
    }
    let (Value::Number(a), Value::Number(b)) = (registers[one.to], operand(one, registers)) else {
        return None;
    };
    let (a, b, signed_a, signed_b) = if one.class() == CLASS_JMP {
        (a, b, a.cast_signed(), b.cast_signed())
    } else {
        let (a, b) = (a as u32, b as u32);
        (a.into(), b.into(), a.cast_signed().into(), b.cast_signed().into())
    };
    Some(match one.operation() {
        1 => a == b,
        2 => a > b,
        3 => a >= b,
        4 => a & b != 0,
        5 => a != b,
        6 => signed_a > signed_b,
        7 => signed_a >= signed_b,
        10 => a < b,
        11 => a <= b,
        12 => signed_a < signed_b,
        13 => signed_a <= signed_b,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(code: &[(u8, u8, i16, i32)]) -> Result<DeviceProgram, Invalid> {
        let bytes = code.iter().flat_map(|(code, registers, offset, constant)| {
            let mut one = vec![*code, *registers];
            one.extend(offset.to_le_bytes());
            one.extend(constant.to_le_bytes());
            one
        });
        DeviceProgram::new(&bytes.collect::<Vec<_>>())
    }

    const EXIT: (u8, u8, i16, i32) = (0x95, 0, 0, 0);

    #[test]
    fn words_are_loaded_and_compared() {
        // r2 = *(u32 *)(r1 + 4); r0 = 0; if r2 != 5 goto +1; r0 = 1; exit
        let code = [(0x61, 0x12, 4, 0), (0xb7, 0, 0, 0), (0x55, 2, 1, 5), (0xb7, 0, 0, 1), EXIT];
        let program = program(&code).unwrap();
        let run = |major: u32| program.run(&[[0; 4], major.to_le_bytes(), [0; 4]].concat());
        assert_eq!((run(5), run(6)), (Some(1), Some(0)));
        assert_eq!(program.run(&[0; 4]), None, "beyond the end");
    }

    #[test]
    fn halves_are_calculated_apart() {
        // r0 = -1; (u32) r0 >>= 28; exit
        let shifted = program(&[(0xb7, 0, 0, -1), (0x74, 0, 0, 28), EXIT]).unwrap();
        assert_eq!(shifted.run(&[]), Some(15));
        let wide = program(&[(0x18, 0, 0, 7), (0, 0, 0, 9), (0x77, 0, 0, 32), EXIT]).unwrap();
        assert_eq!(wide.run(&[]), Some(9));
        let by_zero = program(&[(0xb7, 0, 0, 8), (0x37, 0, 0, 0), EXIT]).unwrap();
        assert_eq!(by_zero.run(&[]), Some(0));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(program(&[]).is_err());
        assert!(program(&[(0xb7, 0, 0, 0)]).is_err(), "no end");
        assert!(program(&[(0xb7, 11, 0, 0), EXIT]).is_err(), "no such register");
        assert!(program(&[(0x85, 0, 0, 1), EXIT]).is_err(), "a helper");
        assert!(program(&[(0x05, 0, 1, 0), EXIT]).is_err(), "a jump out of it");
        assert!(
            program(&[(0x05, 0, 1, 0), (0x18, 0, 0, 0), (0, 0, 0, 0), EXIT]).is_err(),
            "into a wide load"
        );
        assert!(program(&[(0x7b, 0x1a, -8, 0), EXIT]).is_err(), "the stack");
    }

    #[test]
    fn what_does_not_behave_ends() {
        assert_eq!(program(&[EXIT]).unwrap().run(&[0; 12]), None, "nothing is returned");
        assert_eq!(program(&[(0x05, 0, -1, 0)]).unwrap().run(&[0; 12]), None, "no end");
        assert_eq!(program(&[(0xbf, 0x10, 0, 0), EXIT]).unwrap().run(&[0; 12]), None, "a place is no number");
    }
}
