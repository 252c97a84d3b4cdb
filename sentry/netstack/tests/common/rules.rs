#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "test code; not every test uses everything"
)]
//! Short ways to put rules in force.

use netstack::netfilter::Hook;
use netstack::netfilter::expr::*;
use netstack::netfilter::ruleset::*;
use netstack::*;
use std::sync::Arc;

/// A rule set of one table for both families, with one base chain for each hook and kind that is asked for.
pub struct Rules(Ruleset);

impl Rules {
    pub fn new() -> Self {
        let mut rules = Ruleset::default();
        rules.add_table(INET, "t".into(), 0, Box::default());
        Self(rules)
    }

    /// Adds a rule to the base chain of a hook and kind.
    pub fn rule(self, hook: Hook, kind: ChainKind, exprs: Vec<Expr>) -> Self {
        self.rule_at(0, hook, kind, exprs)
    }

    fn rule_at(mut self, priority: i32, hook: Hook, kind: ChainKind, exprs: Vec<Expr>) -> Self {
        let table = self.0.table_mut(INET, "t").unwrap();
        let name = format!("{hook:?}-{kind:?}-{priority}");
        let existing = table.chain(&name).map(|chain| chain.handle);
        let handle = existing.unwrap_or_else(|| {
            let handle = table.new_handle();
            let base = Some(BaseChain { hook, priority, kind, drops: false, count: None });
            let chain = Chain { name, handle, base, rules: Vec::new(), userdata: Box::default() };
            table.chains.insert(handle, Arc::new(chain));
            handle
        });
        let number = table.new_handle();
        let rule = Arc::new(Rule { handle: number, exprs, userdata: Box::default() });
        table.chain_mut(handle).unwrap().rules.push(rule);
        self
    }

    pub fn filter(self, hook: Hook, exprs: Vec<Expr>) -> Self {
        self.rule(hook, ChainKind::Filter, exprs)
    }

    /// As [`Rules::filter`], for packets whose connections nobody has looked for yet.
    pub fn raw(self, hook: Hook, exprs: Vec<Expr>) -> Self {
        self.rule_at(-300, hook, ChainKind::Filter, exprs)
    }

    pub fn nat(self, hook: Hook, exprs: Vec<Expr>) -> Self {
        self.rule(hook, ChainKind::Nat, exprs)
    }

    pub fn install(self, stack: &Stack) {
        self.0.validate().unwrap();
        let base = stack.netfilter().rules().generation();
        stack.netfilter().commit(base, self.0).unwrap();
    }
}

pub fn register(number: u32) -> Register {
    Register::from_number(number, 4).unwrap()
}

/// On only for packets of a protocol to a port.
pub fn to_port(protocol: u8, port: u16) -> Vec<Expr> {
    let one = register(1);
    vec![
        Expr::Meta(one, MetaKey::L4Proto),
        Expr::Compare(one, Comparison::Equal, Box::new([protocol])),
        Expr::Payload { to: one, base: Base::Transport, offset: 2, len: 2 },
        Expr::Compare(one, Comparison::Equal, port.to_be_bytes().into()),
    ]
}

/// The destination, or the source, becomes an IPv4 address and perhaps a port.
pub fn translate(side: Side, ip: [u8; 4], port: Option<u16>) -> Vec<Expr> {
    let (one, two) = (register(1), register(2));
    let mut exprs = vec![Expr::Immediate(one, ip.into())];
    exprs.extend(port.map(|port| Expr::Immediate(two, port.to_be_bytes().into())));
    let port = port.map(|_| (two, two));
    exprs.push(Expr::Nat(Nat { side, family: IPV4, addr: Some((one, one)), port, flags: 0 }));
    exprs
}

/// The destination becomes a port of this host.
pub fn redirect(port: u16) -> Vec<Expr> {
    let one = register(1);
    let port_register = Some((one, one));
    vec![Expr::Immediate(one, port.to_be_bytes().into()), Expr::Redirect { port: port_register, flags: 0 }]
}

/// On only for packets whose connection state is one of `NF_CT_STATE_*` bits.
pub fn in_state(bits: u32) -> Vec<Expr> {
    let one = register(1);
    vec![
        Expr::Ct { to: one, key: CtKey::State, is_reply: None },
        Expr::Bitwise {
            from: one,
            to: one,
            len: 4,
            op: BitOp::MaskXor(bits.to_ne_bytes().into(), Box::new([0; 4])),
        },
        Expr::Compare(one, Comparison::NotEqual, Box::new([0; 4])),
    ]
}

pub fn and(mut left: Vec<Expr>, right: Vec<Expr>) -> Vec<Expr> {
    left.extend(right);
    left
}

pub fn drop_it() -> Vec<Expr> {
    vec![Expr::Verdict(Verdict::Drop)]
}
