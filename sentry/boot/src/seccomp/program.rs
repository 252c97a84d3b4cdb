//! From verdicts by call number to classic BPF: a binary search for the number, then the conditions on arguments.
//!
//! Only conditions read arguments, so that the kernel can tell which calls are allowed whatever they are.

use std::collections::BTreeMap;

use abi::filter::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
    SockFilter,
};
use abi::seccomp::{AUDIT_ARCH_X86_64, ret};

const LOAD: u16 = BPF_LD | BPF_W | BPF_ABS;
const AND: u16 = BPF_ALU | BPF_AND | BPF_K;
const JUMP: u16 = BPF_JMP | BPF_JA;
const IF_EQUAL: u16 = BPF_JMP | BPF_JEQ | BPF_K;
const IF_GREATER: u16 = BPF_JMP | BPF_JGT | BPF_K;
const IF_GREATER_OR_EQUAL: u16 = BPF_JMP | BPF_JGE | BPF_K;
const RETURN: u16 = BPF_RET | BPF_K;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// `arg & mask` compared with `value`, as unsigned numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) arg: u32,
    pub(super) test: Test,
    pub(super) mask: u64,
    pub(super) value: u64,
}

/// What is returned where all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) action: u32,
}

/// What is returned for a call: that of the first rule which holds, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) rules: Vec<Rule>,
    pub(super) otherwise: u32,
    /// A rule without conditions has been seen: no other counts any more.
    pub(super) is_settled: bool,
}

impl Verdict {
    /// The same for every argument.
    pub(super) fn always(action: u32) -> Self {
        Self { rules: Vec::new(), otherwise: action, is_settled: false }
    }
}

/// The program. Calls without a verdict get `default`, and those behind number `newest.0` get `newest.1`.
pub(super) fn generate(calls: &BTreeMap<u32, Verdict>, default: u32, newest: (u32, u32)) -> Vec<SockFilter> {
    let mut program = vec![
        SockFilter::statement(LOAD, ARCHITECTURE),
        SockFilter { code: IF_EQUAL, jt: 1, jf: 0, k: AUDIT_ARCH_X86_64 },
        SockFilter::statement(RETURN, ret::KILL_PROCESS),
        SockFilter::statement(LOAD, NUMBER),
    ];
    search(&segments(calls, default, newest), &mut program);
    program
}

/// Ranges of numbers with one verdict, by their first number; the first begins at 0.
fn segments(calls: &BTreeMap<u32, Verdict>, default: u32, newest: (u32, u32)) -> Vec<(u32, Verdict)> {
    let mut segments: Vec<(u32, Verdict)> = Vec::new();
    let mut push = |from: u32, verdict: Verdict| {
        let is_same = segments.last().is_some_and(|(_, last)| {
            last.rules.is_empty() && verdict.rules.is_empty() && last.otherwise == verdict.otherwise
        });
        if !is_same {
            segments.push((from, verdict));
        }
    };
    let mut next = 0;
    for (&number, verdict) in calls {
        if number > next {
            push(next, Verdict::always(default));
        }
        push(number, verdict.clone());
        next = number + 1;
    }
    if next <= newest.0 {
        push(next, Verdict::always(default));
        next = newest.0 + 1;
    }
    push(next, Verdict::always(newest.1));
    segments
}

/// Code that finds the number in the accumulator among `segments`.
fn search(segments: &[(u32, Verdict)], program: &mut Vec<SockFilter>) {
    let middle = segments.len() / 2;
    if middle == 0 {
        if let Some((_, verdict)) = segments.first() {
            judge(verdict, program);
        }
        return;
    }
    // The jump over the lower half may be longer than a branch reaches.
    program.push(SockFilter { code: IF_GREATER_OR_EQUAL, jt: 0, jf: 1, k: segments[middle].0 });
    let jump = program.len();
    program.push(SockFilter::statement(JUMP, 0));
    search(&segments[..middle], program);
    program[jump].k = (program.len() - jump - 1) as u32;
    search(&segments[middle..], program);
}

/// Code that returns a verdict.
fn judge(verdict: &Verdict, program: &mut Vec<SockFilter>) {
    for rule in &verdict.rules {
        let checks: Vec<_> = rule.conditions.iter().map(check).collect();
        let mut left: usize = checks.iter().map(Vec::len).sum();
        for check in checks {
            for (at, step) in check.iter().enumerate() {
                left -= 1;
                let rest = check.len() - at - 1;
                program.push(step.resolve(rest as u8, left as u8 + 1));
            }
        }
        program.push(SockFilter::statement(RETURN, rule.action));
    }
    program.push(SockFilter::statement(RETURN, verdict.otherwise));
}

/// Where a step goes on.
#[derive(Clone, Copy, Debug)]
enum To {
    Next,
    /// To the next condition.
    Holds,
    /// To the next rule.
    Fails,
}

/// An instruction of a condition.
#[derive(Clone, Copy, Debug)]
struct Step {
    code: u16,
    k: u32,
    yes: To,
    no: To,
}

impl Step {
    fn plain(code: u16, k: u32) -> Self {
        Self { code, k, yes: To::Next, no: To::Next }
    }

    /// With the distances to the end of the condition and to the next rule.
    fn resolve(self, holds: u8, fails: u8) -> SockFilter {
        let distance = |to| match to {
            To::Next => 0,
            To::Holds => holds,
            To::Fails => fails,
        };
        SockFilter { code: self.code, jt: distance(self.yes), jf: distance(self.no), k: self.k }
    }
}

/// The steps of a condition: the upper half of the argument, and where that does not decide, the lower.
fn check(condition: &Condition) -> Vec<Step> {
    let Condition { arg, test, mask, value } = *condition;
    let (high, low) = ((value >> 32) as u32, value as u32);
    let offset = ARGUMENTS + 8 * arg;
    let load = |offset: u32, mask: u32| {
        let and = (mask != u32::MAX).then(|| Step::plain(AND, mask));
        std::iter::once(Step::plain(LOAD, offset)).chain(and)
    };
    let mut steps: Vec<Step> = load(offset + 4, (mask >> 32) as u32).collect();
    let step = |code, k, yes, no| Step { code, k, yes, no };
    match test {
        Test::Equal => steps.push(step(IF_EQUAL, high, To::Next, To::Fails)),
        Test::NotEqual => steps.push(step(IF_EQUAL, high, To::Next, To::Holds)),
        Test::Greater | Test::GreaterOrEqual => {
            steps.push(step(IF_GREATER, high, To::Holds, To::Next));
            steps.push(step(IF_EQUAL, high, To::Next, To::Fails));
        }
        Test::Less | Test::LessOrEqual => {
            steps.push(step(IF_GREATER, high, To::Fails, To::Next));
            steps.push(step(IF_EQUAL, high, To::Next, To::Holds));
        }
    }
    steps.extend(load(offset, mask as u32));
    steps.push(match test {
        Test::Equal => step(IF_EQUAL, low, To::Next, To::Fails),
        Test::NotEqual => step(IF_EQUAL, low, To::Fails, To::Next),
        Test::Greater => step(IF_GREATER, low, To::Next, To::Fails),
        Test::GreaterOrEqual => step(IF_GREATER_OR_EQUAL, low, To::Next, To::Fails),
        Test::Less => step(IF_GREATER_OR_EQUAL, low, To::Fails, To::Next),
        Test::LessOrEqual => step(IF_GREATER, low, To::Fails, To::Next),
    });
    steps
}
