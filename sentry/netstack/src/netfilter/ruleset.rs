//! Tables, chains, rules: what is in force, and how it is checked before it is.
//!
//! A [`Ruleset`] is a value: cloning it copies pointers, a change copies the table and the chain that it concerns.

use super::expr::{Count, Expr, Verdict};
use super::set::{self, Set};
use super::{Hook, validate};
use crate::base::addr::Family;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// `NFPROTO_INET`: both families.
pub const INET: u8 = 1;
/// `NFPROTO_IPV4`
pub const IPV4: u8 = 2;
/// `NFPROTO_IPV6`
pub const IPV6: u8 = 10;

/// How deep chains may jump into each other (`NFT_JUMP_STACK_SIZE`).
pub const MAX_DEPTH: usize = 16;
/// Tables of a stack.
pub const MAX_TABLES: usize = 256;
/// Chains of all tables.
pub const MAX_CHAINS: usize = 16_384;
/// Rules of all tables.
pub const MAX_RULES: usize = 65_536;
/// Expressions of all rules.
pub const MAX_EXPRS: usize = 1 << 20;
/// Sets of all tables.
pub const MAX_SETS: usize = 65_536;
/// Elements of all sets.
pub const MAX_ELEMENTS: usize = 262_144;
/// Elements of a set that lookups go through one after the other.
pub const MAX_SCANNED: usize = 4096;
/// Base chains that ask for the packets of one family at one hook (`MAX_HOOK_COUNT`).
pub const MAX_HOOKED: usize = 1024;

/// What a base chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChainKind {
    /// Passing or dropping.
    Filter,
    /// Translation: asked about the first packet of each connection.
    Nat,
    /// As filter; a packet that it changes finds its way anew.
    Route,
}

impl ChainKind {
    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Filter, Self::Nat, Self::Route].into_iter().find(|kind| kind.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Route => "route",
        }
    }
}

/// What makes a chain one that packets come to by themselves.
#[derive(Clone, Debug)]
pub struct BaseChain {
    /// Where.
    pub hook: Hook,
    /// In what order, lowest first.
    pub priority: i32,
    /// What for.
    pub kind: ChainKind,
    /// What becomes of packets that no rule decides about: dropped, or accepted.
    pub drops: bool,
    /// How many those were, where that is counted.
    pub count: Option<Arc<Count>>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its number in its table.
    pub handle: u64,
    /// Its steps.
    pub exprs: Vec<Expr>,
    /// Text of the user's program.
    pub userdata: Box<[u8]>,
}

impl Rule {
    /// The sets that it looks into.
    pub fn sets(&self) -> impl Iterator<Item = u64> {
        self.exprs.iter().filter_map(|expr| match expr {
            Expr::Lookup { set, .. } => Some(*set),
            _ => None,
        })
    }
}

/// A chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name in its table.
    pub name: String,
    /// Its number in its table.
    pub handle: u64,
    /// What makes it a base chain.
    pub base: Option<BaseChain>,
    /// Its rules in order.
    pub rules: Vec<Arc<Rule>>,
    /// Text of the user's program.
    pub userdata: Box<[u8]>,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// `NFPROTO_*`
    pub family: u8,
    /// Its name in its family.
    pub name: String,
    /// Its number.
    pub handle: u64,
    /// `NFT_TABLE_F_*`
    pub flags: u32,
    /// Text of the user's program.
    pub userdata: Box<[u8]>,
    /// Chains by number, which is their order.
    pub chains: BTreeMap<u64, Arc<Chain>>,
    /// Sets by number.
    pub sets: BTreeMap<u64, Arc<Set>>,
    last_handle: u64,
}

impl Table {
    /// `NFT_TABLE_F_DORMANT`: its chains are not asked.
    pub const DORMANT: u32 = 1;

    /// A table without chains.
    #[must_use]
    pub fn new(family: u8, name: String) -> Self {
        Self {
            family,
            name,
            handle: 0,
            flags: 0,
            userdata: Box::default(),
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
            last_handle: 0,
        }
    }

    /// The next number for an object of this table.
    pub fn new_handle(&mut self) -> u64 {
        self.last_handle += 1;
        self.last_handle
    }

    /// The chain of a name.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&Arc<Chain>> {
        self.chains.values().find(|chain| chain.name == name)
    }

    /// A chain, to be changed.
    pub fn chain_mut(&mut self, handle: u64) -> Option<&mut Chain> {
        self.chains.get_mut(&handle).map(Arc::make_mut)
    }

    /// The set of a name.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<&Arc<Set>> {
        self.sets.values().find(|set| set.name == name)
    }

    /// A set, to be changed.
    pub fn set_mut(&mut self, handle: u64) -> Option<&mut Set> {
        self.sets.get_mut(&handle).map(Arc::make_mut)
    }

    /// How many rules and elements of maps lead to each chain.
    #[must_use]
    pub fn references(&self) -> HashMap<u64, u32> {
        let direct = |expr: &Expr| match expr {
            Expr::Verdict(verdict) => verdict.chain(),
            _ => None,
        };
        let rules = self.chains.values().flat_map(|chain| &chain.rules);
        let jumps = rules.flat_map(|rule| &rule.exprs).filter_map(direct);
        let maps = self.sets.values().flat_map(|set| set.references());
        let mut counts = HashMap::new();
        for (target, count) in jumps.map(|target| (target, 1)).chain(maps) {
            *counts.entry(target).or_default() += count;
        }
        counts
    }

    /// Counts a rule's use of its sets, or ends it; a set of its own goes with it.
    pub fn use_sets(&mut self, rule: &Rule, begins: bool) {
        for handle in rule.sets() {
            let Some(set) = self.set_mut(handle) else { continue };
            if begins {
                set.uses += 1;
                continue;
            }
            set.uses = set.uses.saturating_sub(1);
            if set.uses == 0 && set.flags & set::ANONYMOUS != 0 {
                self.sets.remove(&handle);
            }
        }
    }

    /// Whether it has packets of a family.
    #[must_use]
    pub fn covers(&self, family: Family) -> bool {
        match self.family {
            INET => true,
            IPV4 => family == Family::V4,
            IPV6 => family == Family::V6,
            _ => false,
        }
    }
}

/// A table that came by iptables' socket options instead of netlink: shown only to those who ask there.
#[derive(Clone, Debug)]
pub struct Legacy {
    /// Its chains.
    pub table: Arc<Table>,
    /// Its entries as they came.
    pub entries: Arc<[u8]>,
    /// Where the entries of each hook begin.
    pub starts: [u32; 5],
    /// Where the policies of each hook stand.
    pub policies: [u32; 5],
    /// The count of each entry, and where it stands among the entries.
    pub counts: Vec<(usize, Arc<Count>)>,
}

/// Why a rule set cannot be put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// From a base chain, jumps go in a circle or too deep (`EMLINK`).
    TooDeep,
    /// An expression stands where it cannot work (`EOPNOTSUPP`).
    Misplaced,
    /// So does an extension of iptables (`EINVAL`).
    MisplacedExtension,
    /// There is too much of something (`ENOSPC`).
    TooLarge,
    /// There are too many base chains at a hook (`E2BIG`).
    TooManyHooked,
}

/// All tables of a stack.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    generation: u32,
    /// In order of making.
    pub tables: Vec<Arc<Table>>,
    /// Tables of iptables-legacy.
    pub legacy: Vec<Legacy>,
    last_handle: u64,
}

impl Ruleset {
    /// The number of changes that led here.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) const fn set_generation(&mut self, generation: u32) {
        self.generation = generation;
    }

    /// A table.
    #[must_use]
    pub fn table(&self, family: u8, name: &str) -> Option<&Arc<Table>> {
        self.tables.iter().find(|table| table.family == family && table.name == name)
    }

    /// A table of iptables-legacy.
    #[must_use]
    pub fn legacy(&self, family: u8, name: &str) -> Option<&Legacy> {
        self.legacy.iter().find(|legacy| legacy.table.family == family && legacy.table.name == name)
    }

    /// All tables, whoever made them.
    fn all_tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.iter().chain(self.legacy.iter().map(|legacy| &legacy.table))
    }

    /// A table, to be changed.
    pub fn table_mut(&mut self, family: u8, name: &str) -> Option<&mut Table> {
        let table = self.tables.iter_mut().find(|table| table.family == family && table.name == name)?;
        Some(Arc::make_mut(table))
    }

    /// Adds an empty table.
    pub fn add_table(&mut self, family: u8, name: String, flags: u32, userdata: Box<[u8]>) {
        self.last_handle += 1;
        let table = Table { handle: self.last_handle, flags, userdata, ..Table::new(family, name) };
        self.tables.push(Arc::new(table));
    }

    /// The base chains at a hook that packets of a family come to, those of dormant tables among them.
    fn base_chains(&self, family: Family, hook: Hook) -> impl Iterator<Item = &BaseChain> {
        let tables = self.all_tables().filter(move |table| table.covers(family));
        let bases = tables.flat_map(|table| table.chains.values()).filter_map(|chain| chain.base.as_ref());
        bases.filter(move |base| base.hook == hook)
    }

    /// Checks what a change has made of it.
    ///
    /// # Errors
    /// See [`Invalid`].
    pub fn validate(&self) -> Result<(), Invalid> {
        let chains = || self.all_tables().flat_map(|table| table.chains.values());
        let rules: usize = chains().map(|chain| chain.rules.len()).sum();
        let exprs: usize = chains().flat_map(|chain| &chain.rules).map(|rule| rule.exprs.len()).sum();
        let sets = || self.tables.iter().flat_map(|table| table.sets.values());
        let elements: usize = sets().map(|set| set.len()).sum();
        if self.tables.len() > MAX_TABLES
            || chains().count() > MAX_CHAINS
            || rules > MAX_RULES
            || exprs > MAX_EXPRS
            || sets().count() > MAX_SETS
            || elements > MAX_ELEMENTS
            || sets().any(|set| set.is_scanned() && set.len() > MAX_SCANNED)
        {
            return Err(Invalid::TooLarge);
        }
        for (family, hook) in [Family::V4, Family::V6].into_iter().flat_map(|f| Hook::ALL.map(|h| (f, h))) {
            if self.base_chains(family, hook).count() > MAX_HOOKED {
                return Err(Invalid::TooManyHooked);
            }
        }
        self.all_tables().try_for_each(|table| validate::check(table))
    }
}

/// What is done with a packet at a hook, besides its chains.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Find the packet's connection.
    Track,
    /// Translate addresses.
    Translate,
    /// Ask a chain.
    Chain(Arc<Table>, Arc<Chain>),
    /// The packet has made it: its connection counts from now on.
    Confirm,
}

/// A chain that decides about translation, with its priority.
type NatChain = (i32, Arc<Table>, Arc<Chain>);

/// A rule set made ready for packets.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    pub(super) rules: Arc<Ruleset>,
    steps: [[Vec<(i32, Step)>; 5]; 2],
    nat: [[Vec<NatChain>; 5]; 2],
}

const fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

impl Compiled {
    pub(super) fn new(rules: Arc<Ruleset>) -> Self {
        let mut compiled = Self { rules: Arc::clone(&rules), ..Self::default() };
        for family in [Family::V4, Family::V6] {
            let mut follows = false;
            for table in rules.all_tables().filter(|t| t.covers(family) && t.flags & Table::DORMANT == 0) {
                for chain in table.chains.values() {
                    follows |= chain.rules.iter().flat_map(|rule| &rule.exprs).any(Expr::needs_conntrack);
                    let Some(base) = &chain.base else { continue };
                    let (table, chain) = (Arc::clone(table), Arc::clone(chain));
                    let at = base.hook as usize;
                    if base.kind == ChainKind::Nat {
                        follows = true;
                        compiled.nat[index(family)][at].push((base.priority, table, chain));
                    } else {
                        compiled.steps[index(family)][at].push((base.priority, Step::Chain(table, chain)));
                    }
                }
            }
            if follows {
                compiled.follow(family);
            }
        }
        for hooks in &mut compiled.steps {
            hooks.iter_mut().for_each(|steps| steps.sort_by_key(|(priority, _)| *priority));
        }
        for hooks in &mut compiled.nat {
            hooks.iter_mut().for_each(|chains| chains.sort_by_key(|(priority, ..)| *priority));
        }
        compiled
    }

    /// Adds what following connections takes, at Linux's priorities (`NF_IP_PRI_*`).
    fn follow(&mut self, family: Family) {
        const CONNTRACK: i32 = -200;
        const DESTINATION: i32 = -100;
        const SOURCE: i32 = 100;
        let hooks = &mut self.steps[index(family)];
        for hook in [Hook::Prerouting, Hook::Output] {
            hooks[hook as usize].push((CONNTRACK, Step::Track));
            hooks[hook as usize].push((DESTINATION, Step::Translate));
        }
        for hook in [Hook::Input, Hook::Postrouting] {
            hooks[hook as usize].push((SOURCE, Step::Translate));
            hooks[hook as usize].push((i32::MAX, Step::Confirm));
        }
    }

    /// The hooks where something is done with packets of a family.
    pub(super) fn hooks(&self, family: Family) -> u32 {
        let steps = &self.steps[index(family)];
        let busy = Hook::ALL.into_iter().filter(|hook| !steps[*hook as usize].is_empty());
        busy.fold(0, |all, hook| all | hook.bit())
    }

    pub(super) fn steps(&self, family: Family, hook: Hook) -> impl Iterator<Item = &Step> {
        self.steps[index(family)][hook as usize].iter().map(|(_, step)| step)
    }

    pub(super) fn nat_chains(&self, family: Family, hook: Hook) -> impl Iterator<Item = (&Table, &Chain)> {
        self.nat[index(family)][hook as usize].iter().map(|(_, table, chain)| (&**table, &**chain))
    }
}

/// A verdict's chain by name, for messages.
#[must_use]
pub fn chain_name(table: &Table, verdict: Verdict) -> Option<&str> {
    table.chains.get(&verdict.chain()?).map(|chain| chain.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::expr::Register;
    use super::super::set::{Element, Value};
    use super::*;

    fn table_of(jumps: &[&[u64]]) -> Ruleset {
        let mut rules = Ruleset::default();
        rules.add_table(IPV4, "t".into(), 0, Box::default());
        let table = rules.table_mut(IPV4, "t").unwrap();
        for (at, jumps) in jumps.iter().enumerate() {
            let handle = at as u64;
            let rule = |to: &u64| {
                let exprs = vec![Expr::Verdict(Verdict::Jump(*to))];
                Arc::new(Rule { handle: 0, exprs, userdata: Box::default() })
            };
            let base = (at == 0).then_some(BaseChain {
                hook: Hook::Input,
                priority: 0,
                kind: ChainKind::Filter,
                drops: false,
                count: None,
            });
            let rules = jumps.iter().map(rule).collect();
            let chain = Chain { name: at.to_string(), handle, base, rules, userdata: Box::default() };
            table.chains.insert(handle, Arc::new(chain));
        }
        rules
    }

    #[test]
    fn circles_and_depths_are_refused() {
        assert_eq!(table_of(&[&[1, 2], &[2], &[]]).validate(), Ok(()));
        assert_eq!(table_of(&[&[1], &[2], &[1]]).validate(), Err(Invalid::TooDeep));
        assert_eq!(table_of(&[&[0]]).validate(), Err(Invalid::TooDeep));
        assert_eq!(table_of(&[&[], &[1]]).validate(), Ok(()), "no packet comes there");
        let long: Vec<Vec<u64>> = (1..=20).map(|next| if next < 20 { vec![next] } else { vec![] }).collect();
        let long: Vec<&[u64]> = long.iter().map(Vec::as_slice).collect();
        assert_eq!(table_of(&long).validate(), Err(Invalid::TooDeep));
        assert_eq!(table_of(&long[4..].iter().map(|_| &[][..]).collect::<Vec<_>>()).validate(), Ok(()));
    }

    #[test]
    fn looking_often_into_a_large_map_costs_once() {
        let chains = 1 + MAX_CHAINS / 2;
        let mut rules = table_of(&vec![&[][..]; chains]);
        let table = rules.table_mut(IPV4, "t").unwrap();
        let mut map = Set::new("m".into(), set::MAP, 4);
        map.data_type = set::DATA_VERDICT;
        let jump = |to| Value::Verdict(Verdict::Jump(to));
        let element = |value| Element { flags: 0, key_end: None, value, userdata: Box::default() };
        for key in 0..100_000_u32 {
            let to = 1 + u64::from(key) % (chains as u64 - 1);
            assert!(map.insert(Box::from(key.to_be_bytes()), element(jump(to))));
        }
        table.sets.insert(1, Arc::new(map));
        let from = Register::from_number(8, 4).unwrap();
        let look = Expr::Lookup { set: 1, from, to: None, is_verdict: true, is_inverted: false };
        let rule = Arc::new(Rule { handle: 1, exprs: vec![look; 128], userdata: Box::default() });
        table.chain_mut(0).unwrap().rules = vec![rule; 8_000];
        // Looking at each element for each lookup would take hours.
        assert_eq!(rules.validate(), Ok(()));
        // A circle through the map, and what the map says when an element goes.
        let table = rules.table_mut(IPV4, "t").unwrap();
        let last = u32::MAX.to_be_bytes();
        table.set_mut(1).unwrap().insert(Box::from(last), element(jump(0)));
        assert_eq!(table.references().get(&0), Some(&1));
        assert_eq!(rules.validate(), Err(Invalid::TooDeep));
        assert!(rules.table_mut(IPV4, "t").unwrap().set_mut(1).unwrap().remove(&last, false));
        assert_eq!(rules.validate(), Ok(()));
    }

    #[test]
    fn there_is_only_so_much_at_a_hook_and_in_a_set_that_is_scanned() {
        let mut rules = table_of(&vec![&[][..]; MAX_HOOKED + 1]);
        let table = rules.table_mut(IPV4, "t").unwrap();
        let base = table.chains[&0].base.clone();
        for handle in 1..MAX_HOOKED as u64 {
            table.chain_mut(handle).unwrap().base = base.clone();
        }
        assert_eq!(rules.validate(), Ok(()));
        let table = rules.table_mut(IPV4, "t").unwrap();
        table.chain_mut(MAX_HOOKED as u64).unwrap().base = base;
        assert_eq!(rules.validate(), Err(Invalid::TooManyHooked));
        let table = rules.table_mut(IPV4, "t").unwrap();
        table.chain_mut(0).unwrap().base = None;

        let mut ranges = Set::new("s".into(), set::INTERVAL | set::CONCAT, 4);
        ranges.fields = vec![2, 2];
        for key in 0..=MAX_SCANNED as u32 {
            let element = Element { flags: 0, key_end: None, value: Value::None, userdata: Box::default() };
            ranges.insert(Box::from(key.to_be_bytes()), element);
        }
        table.sets.insert(1, Arc::new(ranges));
        assert_eq!(rules.validate(), Err(Invalid::TooLarge));
        rules.table_mut(IPV4, "t").unwrap().set_mut(1).unwrap().remove(&[0; 4], false);
        assert_eq!(rules.validate(), Ok(()));
    }

    #[test]
    fn expressions_stand_where_they_work() {
        let mut rules = table_of(&[&[]]);
        let table = rules.table_mut(IPV4, "t").unwrap();
        let exprs = vec![Expr::Masquerade { port: None, flags: 0 }];
        let rule = Arc::new(Rule { handle: 1, exprs, userdata: Box::default() });
        table.chain_mut(0).unwrap().rules.push(rule);
        assert_eq!(rules.validate(), Err(Invalid::Misplaced));
    }
}
