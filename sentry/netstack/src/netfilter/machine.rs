//! The machine that evaluates chains.

use super::conntrack::Tracked;
use super::expr::{Base, BitOp, Comparison, Expr, REGISTERS, Register, Verdict};
use super::fields::{self, Field};
use super::nat;
use super::passing::Passing;
use super::ruleset::{Chain, Rule, Table};
use super::set::Value;
use crate::core::Core;

/// What one packet may cost at one hook, in all chains there together: expressions, rules, ends of chains, and elements
/// of sets that are looked at. Nested jumps could otherwise keep a thread for hours.
pub(super) const MAX_WORK: u32 = 500_000;

/// What a base chain has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Accept,
    Drop,
}

/// How a step of a rule ended.
enum Step {
    /// On with the next one.
    Next,
    /// The rule does not hold.
    Break,
    Verdict(Verdict),
}

/// What evaluation of one base chain works with.
pub(super) struct Machine<'a, 'b> {
    pub(super) core: &'a Core,
    pub(super) table: &'a Table,
    pub(super) packet: &'a mut Passing<'b>,
    registers: [u8; REGISTERS],
}

impl<'a, 'b> Machine<'a, 'b> {
    pub(super) fn new(core: &'a Core, table: &'a Table, packet: &'a mut Passing<'b>) -> Self {
        Self { core, table, packet, registers: [0; REGISTERS] }
    }

    /// Asks a base chain. A packet that has used up its work is dropped.
    pub(super) fn ask(&mut self, base: &'a Chain) -> Decision {
        // Where to go on when a chain returns.
        let mut stack: Vec<(&'a Chain, usize)> = Vec::new();
        let (mut chain, mut at) = (base, 0);
        loop {
            // Rules and ends of chains count too: some have no expressions.
            let verdict = match (self.packet.spend(1), chain.rules.get(at)) {
                (false, _) => Verdict::Drop,
                (true, Some(rule)) => self.evaluate(rule),
                (true, None) => Verdict::Return,
            };
            at += 1;
            match verdict {
                Verdict::Accept => return Decision::Accept,
                Verdict::Drop => return Decision::Drop,
                Verdict::Continue => {}
                Verdict::Return => match stack.pop() {
                    Some(place) => (chain, at) = place,
                    None => return self.policy(base),
                },
                Verdict::Jump(target) | Verdict::Goto(target) => {
                    if matches!(verdict, Verdict::Jump(_)) {
                        stack.push((chain, at));
                    }
                    let Some(next) = self.table.chains.get(&target) else { return Decision::Drop };
                    (chain, at) = (next, 0);
                }
            }
        }
    }

    fn policy(&self, chain: &Chain) -> Decision {
        let Some(base) = &chain.base else { return Decision::Accept };
        if let Some(count) = &base.count {
            count.add(self.packet.bytes.len());
        }
        if base.drops { Decision::Drop } else { Decision::Accept }
    }

    fn evaluate(&mut self, rule: &Rule) -> Verdict {
        for expr in &rule.exprs {
            if !self.packet.spend(1) {
                return Verdict::Drop;
            }
            match self.step(expr) {
                Step::Next => {}
                Step::Break => return Verdict::Continue,
                Step::Verdict(Verdict::Continue) => {}
                Step::Verdict(verdict) => return verdict,
            }
        }
        Verdict::Continue
    }

    /// `len` bytes of the registers.
    pub(super) fn read(&self, from: Register, len: usize) -> &[u8] {
        self.registers.get(from.offset()..from.offset() + len).unwrap_or(&[])
    }

    fn write(&mut self, to: Register, value: &[u8]) {
        write(&mut self.registers, to, value);
    }

    /// Stores a value that may be missing: then the rule does not hold.
    fn load(&mut self, to: Register, value: Option<Field>) -> Step {
        let Some(value) = value else { return Step::Break };
        self.write(to, &value);
        Step::Next
    }

    fn word(&self, from: Register) -> u32 {
        self.read(from, 4).first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    fn step(&mut self, expr: &Expr) -> Step {
        let (core, now) = (self.core, || self.core.now().nanos());
        match expr {
            Expr::Immediate(to, value) => self.write(*to, value),
            Expr::Verdict(verdict) => return Step::Verdict(*verdict),
            Expr::Compare(from, comparison, value) => {
                return on_if(holds(*comparison, self.read(*from, value.len()), value));
            }
            Expr::Range { from, is_inverted, low, high } => {
                let value = self.read(*from, low.len());
                return on_if((value >= &**low && value <= &**high) != *is_inverted);
            }
            Expr::Bitwise { from, to, len, op } => self.bitwise(*from, *to, (*len).into(), op),
            Expr::ByteOrder { from, to, to_network: _, len, size } => {
                let mut value = self.read(*from, (*len).into()).to_vec();
                value.chunks_mut((*size).max(1).into()).for_each(<[u8]>::reverse);
                self.write(*to, &value);
            }
            Expr::Payload { to, base, offset, len } => {
                return self.load_payload(*to, *base, *offset as usize, (*len).into());
            }
            Expr::Meta(to, key) => return self.load(*to, fields::meta(core, self.packet, *key)),
            Expr::SetMark(from) => self.packet.mark = self.word(*from),
            Expr::SetCtMark(from) => {
                let mark = self.word(*from);
                core.netfilter.change_flow(self.packet, |flow| flow.mark = mark);
            }
            Expr::Ct { to, key, is_reply } => {
                return self.load(*to, fields::connection(core, self.packet, *key, *is_reply));
            }
            Expr::Lookup { set, from, to, is_inverted, .. } => {
                return self.lookup(*set, *from, *to, *is_inverted);
            }
            Expr::Counter(count) => count.add(self.packet.bytes.len()),
            Expr::Limit(limit) => {
                return on_if(limit.allows(self.packet.bytes.len(), now()) != limit.is_inverted);
            }
            Expr::Log(_) => {}
            Expr::Reject(how) => {
                core.reject(self.packet, *how);
                return Step::Verdict(Verdict::Drop);
            }
            Expr::Nat(_) | Expr::Masquerade { .. } | Expr::Redirect { .. } => {
                return Step::Verdict(nat::evaluate(self, expr));
            }
            Expr::Fib { to, result, flags } => {
                let value = fields::fib(core, self.packet, *result, *flags);
                self.write(*to, &value);
            }
            Expr::NoTrack => {
                if self.packet.track == Tracked::None {
                    self.packet.track = Tracked::Untracked;
                }
            }
            Expr::Match(extension) => return on_if(extension.holds(core, self.packet)),
            Expr::Target(extension) => return Step::Verdict(extension.apply(core, self.packet)),
        }
        Step::Next
    }

    /// Stores bytes of the packet; where it has no such, the rule does not hold.
    fn load_payload(&mut self, to: Register, base: Base, offset: usize, len: usize) -> Step {
        let bytes = match base {
            Base::Link => return Step::Break,
            Base::Network => &*self.packet.bytes,
            Base::Transport => self.packet.transport(),
        };
        let value = offset.checked_add(len).and_then(|end| bytes.get(offset..end));
        let Some(value) = value else { return Step::Break };
        write(&mut self.registers, to, value);
        Step::Next
    }

    fn bitwise(&mut self, from: Register, to: Register, len: usize, op: &BitOp) {
        let mut value = self.read(from, len).to_vec();
        match op {
            BitOp::MaskXor(mask, xor) => {
                for ((byte, mask), xor) in value.iter_mut().zip(mask.iter()).zip(xor.iter()) {
                    *byte = *byte & mask ^ xor;
                }
            }
            BitOp::ShiftLeft(bits) => shift(
                &mut value,
                |word, carry| {
                    let wide = u64::from(word) << bits;
                    (wide as u32 | carry, (wide >> 32) as u32)
                },
                true,
            ),
            BitOp::ShiftRight(bits) => shift(
                &mut value,
                |word, carry| {
                    let wide = (u64::from(word) << 32) >> bits;
                    ((wide >> 32) as u32 | carry, wide as u32)
                },
                false,
            ),
        }
        self.write(to, &value);
    }

    fn lookup(&mut self, set: u64, from: Register, to: Option<Register>, is_inverted: bool) -> Step {
        let Some(set) = self.table.sets.get(&set) else { return Step::Break };
        let (found, looked_at) = set.lookup(self.read(from, set.key_len as usize));
        if !self.packet.spend(looked_at) {
            return Step::Verdict(Verdict::Drop);
        }
        match (found, is_inverted) {
            (None, false) | (Some(_), true) => Step::Break,
            (None, true) | (Some(Value::None), false) => Step::Next,
            (Some(Value::Verdict(verdict)), false) => Step::Verdict(*verdict),
            (Some(Value::Data(value)), false) => {
                if let Some(to) = to {
                    self.write(to, value);
                }
                Step::Next
            }
        }
    }
}

/// Stores a value, padded to whole registers with zeros.
fn write(registers: &mut [u8; REGISTERS], to: Register, value: &[u8]) {
    let padded = value.len().next_multiple_of(4);
    if let Some(place) = registers.get_mut(to.offset()..to.offset() + padded) {
        place[..value.len()].copy_from_slice(value);
        place[value.len()..].fill(0);
    }
}

const fn on_if(holds: bool) -> Step {
    if holds { Step::Next } else { Step::Break }
}

fn holds(comparison: Comparison, value: &[u8], with: &[u8]) -> bool {
    match comparison {
        Comparison::Equal => value == with,
        Comparison::NotEqual => value != with,
        Comparison::Less => value < with,
        Comparison::LessOrEqual => value <= with,
        Comparison::Greater => value > with,
        Comparison::GreaterOrEqual => value >= with,
    }
}

/// Shifts words of host order, passing what falls out of one on to the next.
fn shift(value: &mut [u8], step: impl Fn(u32, u32) -> (u32, u32), from_last: bool) {
    let (words, _) = value.as_chunks_mut::<4>();
    let mut carry = 0;
    let mut each = |word: &mut [u8; 4]| {
        let (now, next) = step(u32::from_ne_bytes(*word), carry);
        *word = now.to_ne_bytes();
        carry = next;
    };
    if from_last { words.iter_mut().rev().for_each(&mut each) } else { words.iter_mut().for_each(&mut each) }
}
