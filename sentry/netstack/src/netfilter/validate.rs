//! Whether a table may be put in force: how deep its chains jump, and whether expressions stand where they work.
//!
//! Chains lead to chains and to maps of verdicts, maps to chains. Each is looked at once, and leads to another one once
//! however many of its rules or elements do, so that the work grows with the size of the table and no faster.

use super::Hook;
use super::expr::Expr;
use super::ruleset::{BaseChain, Chain, ChainKind, Invalid, MAX_DEPTH, Table};
use std::collections::{HashMap, HashSet};

/// What chains lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Node {
    Chain(u64),
    /// A map of verdicts.
    Map(u64),
}

impl Node {
    fn after(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Verdict(verdict) => verdict.chain().map(Self::Chain),
            Expr::Lookup { set, is_verdict: true, .. } => Some(Self::Map(*set)),
            _ => None,
        }
    }
}

/// Where an expression works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Need {
    /// Bits of hooks.
    hooks: u32,
    nat_only: bool,
    /// It is one of iptables' extensions.
    is_extension: bool,
}

impl Need {
    fn of(expr: &Expr) -> Option<Self> {
        let (hooks, nat_only) = expr.restriction()?;
        Some(Self { hooks, nat_only, is_extension: matches!(expr, Expr::Match(_) | Expr::Target(_)) })
    }

    fn check(self, base: &BaseChain) -> Result<(), Invalid> {
        match self.hooks & base.hook.bit() != 0 && (!self.nat_only || base.kind == ChainKind::Nat) {
            true => Ok(()),
            false if self.is_extension => Err(Invalid::MisplacedExtension),
            false => Err(Invalid::Misplaced),
        }
    }
}

/// What the rules of a chain lead to and need, each once.
#[derive(Debug, Default)]
struct Outline {
    next: HashSet<Node>,
    needs: HashSet<Need>,
}

impl Outline {
    fn of(chain: &Chain) -> Self {
        let mut outline = Self::default();
        for expr in chain.rules.iter().flat_map(|rule| &rule.exprs) {
            outline.next.extend(Node::after(expr));
            outline.needs.extend(Need::of(expr));
        }
        outline
    }
}

/// The chains of a table and what leads where.
struct Graph<'a> {
    table: &'a Table,
    outlines: HashMap<u64, Outline>,
}

impl Graph<'_> {
    fn next(&self, node: Node) -> impl Iterator<Item = Node> {
        let (chain, map) = match node {
            Node::Chain(handle) => (self.outlines.get(&handle), None),
            Node::Map(handle) => (None, self.table.sets.get(&handle)),
        };
        let direct = chain.into_iter().flat_map(|outline| outline.next.iter().copied());
        direct.chain(map.into_iter().flat_map(|map| map.targets().map(Node::Chain)))
    }

    /// How deep jumps from a node go. `depths` holds what is known; `None` there is a node that is being looked at.
    fn depth(
        &self,
        node: Node,
        depths: &mut HashMap<Node, Option<usize>>,
        level: usize,
    ) -> Result<usize, Invalid> {
        match depths.get(&node) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err(Invalid::TooDeep),
            None if level > MAX_DEPTH => return Err(Invalid::TooDeep),
            None => {}
        }
        depths.insert(node, None);
        let mut deepest = 0;
        for next in self.next(node) {
            let step = usize::from(matches!(next, Node::Chain(_)));
            deepest = deepest.max(step + self.depth(next, depths, level + step)?);
        }
        if deepest >= MAX_DEPTH {
            return Err(Invalid::TooDeep);
        }
        depths.insert(node, Some(deepest));
        Ok(deepest)
    }

    /// Checks the places of the chains that a base chain leads to and that are not `seen` yet.
    fn check_places(&self, from: u64, base: &BaseChain, seen: &mut HashSet<Node>) -> Result<(), Invalid> {
        let from = Node::Chain(from);
        let mut open = Vec::from_iter(seen.insert(from).then_some(from));
        while let Some(node) = open.pop() {
            if let Node::Chain(handle) = node
                && let Some(outline) = self.outlines.get(&handle)
            {
                outline.needs.iter().try_for_each(|need| need.check(base))?;
            }
            open.extend(self.next(node).filter(|next| seen.insert(*next)));
        }
        Ok(())
    }
}

/// Checks a table.
///
/// # Errors
/// See [`Invalid`].
pub(super) fn check(table: &Table) -> Result<(), Invalid> {
    let outlines = table.chains.iter().map(|(handle, chain)| (*handle, Outline::of(chain))).collect();
    let graph = Graph { table, outlines };
    let bases = || table.chains.iter().filter_map(|(handle, chain)| Some((*handle, chain.base.as_ref()?)));
    let mut depths = HashMap::new();
    for (handle, _) in bases() {
        graph.depth(Node::Chain(handle), &mut depths, 0)?;
    }
    // What base chains of each kind lead to.
    let mut reached: HashMap<(Hook, ChainKind), HashSet<Node>> = HashMap::new();
    for (handle, base) in bases() {
        graph.check_places(handle, base, reached.entry((base.hook, base.kind)).or_default())?;
    }
    Ok(())
}
