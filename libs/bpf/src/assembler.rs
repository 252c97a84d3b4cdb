//! A small assembler: instructions with labels instead of distances.
//!
//! Only forward jumps exist, so a label is placed after every jump to it. A conditional jump reaches 255
//! instructions; [`Assembler::finish`] says so if one would have to reach further.

use abi::filter::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_MAXINSNS, BPF_RET, BPF_W, SockFilter,
};

const LOAD: u16 = BPF_LD | BPF_W | BPF_ABS;
const AND: u16 = BPF_ALU | BPF_AND | BPF_K;
const RET: u16 = BPF_RET | BPF_K;
const JUMP: u16 = BPF_JMP | BPF_JA;

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
            Self::Eq => BPF_JEQ,
            Self::Gt => BPF_JGT,
            Self::Ge => BPF_JGE,
            Self::Set => BPF_JSET,
        };
        BPF_JMP | BPF_K | op
    }
}

/// A program that classic BPF cannot express: a conditional jump spans more than 255 instructions, a label was never
/// placed or placed before a jump to it, or there are more than [`BPF_MAXINSNS`] instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter is too long")]
pub struct TooLong;

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

    /// Loads the 32-bit word at `offset` into the accumulator.
    pub fn load(&mut self, offset: u32) {
        self.push(LOAD, offset);
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

    /// Ends with `value`.
    pub fn ret(&mut self, value: u32) {
        self.push(RET, value);
    }

    fn push(&mut self, code: u16, k: u32) {
        self.code.push(Pending { code, k, jump: None });
    }

    /// The program with every label resolved.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn finish(self) -> Result<Vec<SockFilter>, TooLong> {
        if self.code.len() > BPF_MAXINSNS {
            return Err(TooLong);
        }
        self.code.iter().enumerate().map(|(at, insn)| self.resolve(at, *insn)).collect()
    }

    fn resolve(&self, at: usize, insn: Pending) -> Result<SockFilter, TooLong> {
        let Pending { code, k, jump } = insn;
        let Some((yes, no)) = jump else {
            return Ok(SockFilter::statement(code, k));
        };
        if code == JUMP {
            let distance = u32::try_from(self.distance(at, yes)?).map_err(|_| TooLong)?;
            return Ok(SockFilter::statement(code, distance));
        }
        let near = |target| u8::try_from(self.distance(at, target)?).map_err(|_| TooLong);
        Ok(SockFilter { code, jt: near(yes)?, jf: near(no)?, k })
    }

    fn distance(&self, at: usize, target: Target) -> Result<usize, TooLong> {
        match target {
            Target::Next => Ok(0),
            Target::To(label) => self.places[label.0].and_then(|to| to.checked_sub(at + 1)).ok_or(TooLong),
        }
    }
}
