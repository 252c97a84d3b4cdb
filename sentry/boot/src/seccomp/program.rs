//! From verdicts by call number to classic BPF: a binary search for the number, then the conditions on arguments.
//!
//! Only conditions read arguments, so that the kernel can tell which calls are allowed whatever they are.

use std::collections::BTreeMap;

use abi::filter::SockFilter;
use abi::seccomp::{AUDIT_ARCH_X86_64, ret};
use bpf::seccomp::{Condition, Field, search};
use bpf::{Assembler, Cond, TooLong};

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
///
/// # Errors
/// [`TooLong`].
pub(super) fn generate(
    calls: &BTreeMap<u32, Verdict>,
    default: u32,
    newest: (u32, u32),
) -> Result<Vec<SockFilter>, TooLong> {
    let mut asm = Assembler::new();
    let native = asm.label();
    asm.load(Field::Arch.offset());
    asm.jump_if(Cond::Eq, AUDIT_ARCH_X86_64, native);
    asm.ret(ret::KILL_PROCESS);
    asm.place(native);
    asm.load(Field::Nr.offset());
    search(&mut asm, &segments(calls, default, newest), &mut judge);
    asm.finish()
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

/// Code that returns a verdict.
fn judge(asm: &mut Assembler, verdict: &Verdict) {
    for rule in &verdict.rules {
        let next = asm.label();
        for condition in &rule.conditions {
            condition.require(asm, next);
        }
        asm.ret(rule.action);
        asm.place(next);
    }
    asm.ret(verdict.otherwise);
}
