//! A small assembler for classic BPF as seccomp uses it.
//!
//! Only forward jumps exist, so a label is placed after every jump to it. A conditional jump reaches 255
//! instructions; [`Assembler::finish`] says so if one would have to reach further.

use abi::filter::BPF_MAXINSNS;

use super::{Action, Error};

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;

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
    const fn offset(self) -> u32 {
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

/// How a conditional jump compares the accumulator with its constant (all unsigned).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Any common bit.
    Set,
}

impl Cond {
    const fn code(self) -> u16 {
        let op = match self {
            Self::Eq => libc::BPF_JEQ,
            Self::Gt => libc::BPF_JGT,
            Self::Ge => libc::BPF_JGE,
            Self::Set => libc::BPF_JSET,
        };
        (libc::BPF_JMP | libc::BPF_K | op) as u16
    }
}

/// A place in the program that jumps name before it is known.
#[derive(Clone, Copy, Debug)]
pub struct Label(usize);

#[derive(Clone, Copy, Debug)]
enum Target {
    Next,
    To(Label),
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    code: u16,
    k: u32,
    jump: Option<(Target, Target)>,
}

/// Collects instructions and resolves labels.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Pending>,
    places: Vec<Option<usize>>,
}

impl Assembler {
    /// An empty program.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A label that is not placed yet.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Puts `label` before the next instruction.
    pub fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.code.len());
    }

    /// Loads a field into the accumulator.
    pub fn load(&mut self, field: Field) {
        self.push(LOAD, field.offset());
    }

    /// Masks the accumulator.
    pub fn and(&mut self, mask: u32) {
        self.push(AND, mask);
    }

    /// Goes on where the comparison holds, else jumps to `other`.
    pub fn require(&mut self, cond: Cond, k: u32, other: Label) {
        self.code.push(Pending { code: cond.code(), k, jump: Some((Target::Next, Target::To(other))) });
    }

    /// Jumps to `to` where the comparison holds, else goes on.
    pub fn jump_if(&mut self, cond: Cond, k: u32, to: Label) {
        self.code.push(Pending { code: cond.code(), k, jump: Some((Target::To(to), Target::Next)) });
    }

    /// Jumps, however far.
    pub fn jump(&mut self, to: Label) {
        self.code.push(Pending { code: JUMP, k: 0, jump: Some((Target::To(to), Target::Next)) });
    }

    /// Ends with `action`.
    pub fn ret(&mut self, action: Action) {
        self.push(RET, action.encode());
    }

    fn push(&mut self, code: u16, k: u32) {
        self.code.push(Pending { code, k, jump: None });
    }

    /// The program with every label resolved.
    ///
    /// # Errors
    /// [`Error::TooLong`] where a conditional jump spans more than 255 instructions, a label was never placed or
    /// placed before a jump to it, or the program exceeds what the kernel takes.
    pub fn finish(self) -> Result<Vec<libc::sock_filter>, Error> {
        if self.code.len() > BPF_MAXINSNS {
            return Err(Error::TooLong);
        }
        self.code.iter().enumerate().map(|(at, insn)| self.resolve(at, *insn)).collect()
    }

    fn resolve(&self, at: usize, insn: Pending) -> Result<libc::sock_filter, Error> {
        let Pending { code, k, jump } = insn;
        let Some((yes, no)) = jump else {
            return Ok(libc::sock_filter { code, jt: 0, jf: 0, k });
        };
        if code == JUMP {
            let k = u32::try_from(self.distance(at, yes)?).map_err(|_| Error::TooLong)?;
            return Ok(libc::sock_filter { code, jt: 0, jf: 0, k });
        }
        let near = |target| u8::try_from(self.distance(at, target)?).map_err(|_| Error::TooLong);
        Ok(libc::sock_filter { code, jt: near(yes)?, jf: near(no)?, k })
    }

    fn distance(&self, at: usize, target: Target) -> Result<usize, Error> {
        match target {
            Target::Next => Ok(0),
            Target::To(label) => {
                self.places[label.0].and_then(|to| to.checked_sub(at + 1)).ok_or(Error::TooLong)
            }
        }
    }
}
