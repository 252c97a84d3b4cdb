//! Tables and chains.

use std::sync::Arc;

use abi::netlink::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLM_F_NONREC, NLM_F_REPLACE};
use abi::{Errno, Result};
use netstack::netfilter::Hook;
use netstack::netfilter::expr::Count;
use netstack::netfilter::ruleset::{BaseChain, Chain, ChainKind, MAX_CHAINS, MAX_TABLES, Ruleset, Table};

use super::super::message::{Attributes, Body, Replies};
use super::attributes::{be32, be64, get_be32, get_be64, get_userdata, need_be32, nested, userdata};
use super::{Message, Transaction, header, kind, message_type};

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_USE: u16 = 3;
const TABLE_HANDLE: u16 = 4;
const TABLE_USERDATA: u16 = 6;

const CHAIN_TABLE: u16 = 1;
const CHAIN_HANDLE: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_USE: u16 = 6;
const CHAIN_TYPE: u16 = 7;
const CHAIN_COUNTERS: u16 = 8;
const CHAIN_FLAGS: u16 = 10;
const CHAIN_ID: u16 = 11;
const CHAIN_USERDATA: u16 = 12;
const HOOK_NUM: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;
/// `NFT_CHAIN_BASE`
const FLAG_BASE: u32 = 1;
/// Translation comes after connections are known.
const PRIORITY_CONNTRACK: i32 = -200;
/// Names of tables, chains and sets are shorter.
const NAME_MAX: usize = 256;

/// A name of something new.
///
/// # Errors
/// `EINVAL` for none, `ENAMETOOLONG`.
pub(super) fn new_name(name: Option<&str>) -> Result<String> {
    let name = name.filter(|name| !name.is_empty()).ok_or(Errno::EINVAL)?;
    if name.len() < NAME_MAX { Ok(name.to_owned()) } else { Err(Errno::ENAMETOOLONG) }
}

impl Transaction {
    /// The table that a message names, to be changed.
    pub(super) fn table_mut(&mut self, message: &Message<'_>, attribute: u16) -> Result<&mut Table> {
        let family = message.table_family()?;
        let name = message.text(attribute).ok_or(Errno::EINVAL)?;
        self.rules.table_mut(family, name).ok_or(Errno::ENOENT)
    }

    /// The table that a message names.
    pub(super) fn table(&self, message: &Message<'_>, attribute: u16) -> Result<&Arc<Table>> {
        find_table(&self.rules, message, attribute)
    }

    /// The chain that this batch gave a number.
    pub(super) fn chain_by_id(&self, table: &Table, id: u32) -> Option<u64> {
        self.chain_ids.get(&(table.handle, id)).copied()
    }
}

/// The table that a message names.
///
/// # Errors
/// `EINVAL`, `ENOENT`.
pub(super) fn find_table<'a>(
    rules: &'a Ruleset,
    message: &Message<'_>,
    attribute: u16,
) -> Result<&'a Arc<Table>> {
    let family = message.table_family()?;
    let name = message.text(attribute).ok_or(Errno::EINVAL)?;
    rules.table(family, name).ok_or(Errno::ENOENT)
}

/// `NFT_MSG_GETTABLE`
pub(super) fn get(rules: &Ruleset, message: &Message<'_>, replies: &mut Replies) -> Result<()> {
    let mut tell = |table: &Table, flags| {
        replies.message(message_type(kind::NEWTABLE), flags, |body| {
            body.put(&header(table.family, rules.generation())).attr_text(TABLE_NAME, &table.name);
            be32(body, TABLE_FLAGS, table.flags);
            be32(body, TABLE_USE, (table.chains.len() + table.sets.len()) as u32);
            be64(body, TABLE_HANDLE, table.handle);
            userdata(body, TABLE_USERDATA, &table.userdata);
        });
    };
    if !message.request.is_dump() {
        tell(find_table(rules, message, TABLE_NAME)?, 0);
        return Ok(());
    }
    rules
        .tables
        .iter()
        .filter(|table| message.wants(table.family))
        .for_each(|table| tell(table, NLM_F_MULTI));
    replies.done();
    Ok(())
}

/// `NFT_MSG_NEWTABLE`
pub(super) fn add(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let family = message.table_family()?;
    let name = new_name(message.text(TABLE_NAME))?;
    let flags = get_be32(message.attributes, TABLE_FLAGS);
    if flags.is_some_and(|flags| flags & !Table::DORMANT != 0) {
        return Err(Errno::EOPNOTSUPP);
    }
    let userdata = get_userdata(message.attributes, TABLE_USERDATA)?;
    if let Some(table) = transaction.rules.table_mut(family, &name) {
        if message.has(NLM_F_EXCL) {
            return Err(Errno::EEXIST);
        }
        if message.has(NLM_F_REPLACE) {
            return Err(Errno::EOPNOTSUPP);
        }
        table.flags = flags.unwrap_or(table.flags);
        return Ok(());
    }
    if transaction.rules.tables.len() >= MAX_TABLES {
        return Err(Errno::ENOSPC);
    }
    transaction.rules.add_table(family, name, flags.unwrap_or(0), userdata);
    Ok(())
}

/// `NFT_MSG_DELTABLE`: one, all of a family, or all.
pub(super) fn remove(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let tables = &mut transaction.rules.tables;
    let (name, handle) = (message.text(TABLE_NAME), get_be64(message.attributes, TABLE_HANDLE));
    if name.is_none() && handle.is_none() {
        tables.retain(|table| !message.wants(table.family));
        return Ok(());
    }
    let is_named = |table: &Arc<Table>| {
        table.family == message.family
            && handle.map_or_else(|| Some(&*table.name) == name, |handle| table.handle == handle)
    };
    let at = tables.iter().position(is_named).ok_or(Errno::ENOENT)?;
    if message.has(NLM_F_NONREC) && !(tables[at].chains.is_empty() && tables[at].sets.is_empty()) {
        return Err(Errno::EBUSY);
    }
    tables.remove(at);
    Ok(())
}

/// `NFT_MSG_GETCHAIN`
pub(super) fn get_chain(rules: &Ruleset, message: &Message<'_>, replies: &mut Replies) -> Result<()> {
    let mut tell = |table: &Table, chain: &Chain, references: u32, flags| {
        replies.message(message_type(kind::NEWCHAIN), flags, |body| {
            body.put(&header(table.family, rules.generation())).attr_text(CHAIN_TABLE, &table.name);
            describe_chain(chain, references, body);
        });
    };
    if !message.request.is_dump() {
        let table = find_table(rules, message, CHAIN_TABLE)?;
        let chain = table.chain(message.text(CHAIN_NAME).ok_or(Errno::EINVAL)?).ok_or(Errno::ENOENT)?;
        tell(table, chain, table.references().get(&chain.handle).copied().unwrap_or(0), 0);
        return Ok(());
    }
    let wanted = message.text(CHAIN_TABLE);
    let is_wanted =
        |table: &&Arc<Table>| message.wants(table.family) && wanted.is_none_or(|wanted| wanted == table.name);
    for table in rules.tables.iter().filter(is_wanted) {
        let references = table.references();
        for chain in table.chains.values() {
            tell(table, chain, references.get(&chain.handle).copied().unwrap_or(0), NLM_F_MULTI);
        }
    }
    replies.done();
    Ok(())
}

fn describe_chain(chain: &Chain, references: u32, body: &mut Body<'_>) {
    be64(body, CHAIN_HANDLE, chain.handle);
    body.attr_text(CHAIN_NAME, &chain.name);
    if let Some(base) = &chain.base {
        body.nest(CHAIN_HOOK, |body| {
            be32(body, HOOK_NUM, base.hook as u32);
            be32(body, HOOK_PRIORITY, base.priority.cast_unsigned());
        });
        be32(body, CHAIN_POLICY, u32::from(!base.drops));
        body.attr_text(CHAIN_TYPE, base.kind.name());
        if let Some(count) = &base.count {
            let (packets, bytes) = count.read(false);
            body.nest(CHAIN_COUNTERS, |body| {
                be64(body, COUNTER_PACKETS, packets);
                be64(body, COUNTER_BYTES, bytes);
            });
        }
        be32(body, CHAIN_FLAGS, FLAG_BASE);
    }
    be32(body, CHAIN_USE, chain.rules.len() as u32 + references);
    userdata(body, CHAIN_USERDATA, &chain.userdata);
}

/// What `NFTA_CHAIN_HOOK` and its companions make of a chain.
fn parse_base(message: &Message<'_>, hook: Attributes<'_>) -> Result<BaseChain> {
    let number = need_be32(hook, HOOK_NUM)?;
    let hook_point = Hook::from_number(number).ok_or(Errno::EINVAL)?;
    let priority = need_be32(hook, HOOK_PRIORITY)?.cast_signed();
    let name = message.text(CHAIN_TYPE).unwrap_or("filter");
    let kind = ChainKind::from_name(name).ok_or(Errno::ENOENT)?;
    let fits = match kind {
        ChainKind::Filter => true,
        ChainKind::Nat => hook_point != Hook::Forward,
        ChainKind::Route => hook_point == Hook::Output,
    };
    if !fits || kind == ChainKind::Nat && priority <= PRIORITY_CONNTRACK {
        return Err(Errno::EOPNOTSUPP);
    }
    let drops = parse_policy(message)?.unwrap_or(false);
    Ok(BaseChain { hook: hook_point, priority, kind, drops, count: parse_count(message) })
}

fn parse_policy(message: &Message<'_>) -> Result<Option<bool>> {
    match get_be32(message.attributes, CHAIN_POLICY) {
        None => Ok(None),
        Some(0) => Ok(Some(true)),
        Some(1) => Ok(Some(false)),
        Some(_) => Err(Errno::EINVAL),
    }
}

fn parse_count(message: &Message<'_>) -> Option<Arc<Count>> {
    let counters = nested(message.attributes, CHAIN_COUNTERS)?;
    let (packets, bytes) = (get_be64(counters, COUNTER_PACKETS)?, get_be64(counters, COUNTER_BYTES)?);
    Some(Count::new(packets, bytes))
}

/// `NFT_MSG_NEWCHAIN`: a new one, or another policy, count or name.
pub(super) fn add_chain(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let table = transaction.table_mut(message, CHAIN_TABLE)?;
    let handle = get_be64(message.attributes, CHAIN_HANDLE);
    let name = message.text(CHAIN_NAME);
    let existing = match (handle, name) {
        (Some(handle), _) => Some(*table.chains.get(&handle).map(|_| &handle).ok_or(Errno::ENOENT)?),
        (None, name) => name.and_then(|name| table.chain(name)).map(|chain| chain.handle),
    };
    if let Some(existing) = existing {
        return change_chain(table, existing, message);
    }
    let id = get_be32(message.attributes, CHAIN_ID);
    let name = match (name, id) {
        (None, Some(id)) => format!("__chain{id}"),
        (name, _) => new_name(name)?,
    };
    if table.chains.len() >= MAX_CHAINS {
        return Err(Errno::ENOSPC);
    }
    let hook = nested(message.attributes, CHAIN_HOOK);
    let base = hook.map(|hook| parse_base(message, hook)).transpose()?;
    if base.is_none() && message.attributes.get(CHAIN_POLICY).is_some() {
        return Err(Errno::EOPNOTSUPP);
    }
    let userdata = get_userdata(message.attributes, CHAIN_USERDATA)?;
    let handle = table.new_handle();
    let chain = Chain { name, handle, base, rules: Vec::new(), userdata };
    table.chains.insert(handle, Arc::new(chain));
    if let Some(id) = id {
        let key = (table.handle, id);
        transaction.chain_ids.insert(key, handle);
    }
    Ok(())
}

fn change_chain(table: &mut Table, handle: u64, message: &Message<'_>) -> Result<()> {
    if message.has(NLM_F_EXCL) && message.has(NLM_F_CREATE) {
        return Err(Errno::EEXIST);
    }
    if message.has(NLM_F_REPLACE) {
        return Err(Errno::EOPNOTSUPP);
    }
    let new_name = message.text(CHAIN_NAME).map(|name| new_name(Some(name))).transpose()?;
    if let Some(other) = new_name.as_ref().and_then(|name| table.chain(name))
        && other.handle != handle
    {
        return Err(Errno::EEXIST);
    }
    let policy = parse_policy(message)?;
    let hook = nested(message.attributes, CHAIN_HOOK);
    let wanted = hook.map(|hook| parse_base(message, hook)).transpose()?;
    let chain = table.chain_mut(handle).ok_or(Errno::ENOENT)?;
    match (&mut chain.base, wanted) {
        (Some(base), Some(wanted))
            if (base.hook, base.priority, base.kind) != (wanted.hook, wanted.priority, wanted.kind) =>
        {
            return Err(Errno::EEXIST);
        }
        (None, Some(_)) => return Err(Errno::EEXIST),
        (None, None) if policy.is_some() => return Err(Errno::EOPNOTSUPP),
        (Some(base), _) => {
            base.drops = policy.unwrap_or(base.drops);
            base.count = parse_count(message).or(base.count.take());
        }
        (None, None) => {}
    }
    if let Some(name) = new_name {
        chain.name = name;
    }
    Ok(())
}

/// `NFT_MSG_DELCHAIN`
pub(super) fn remove_chain(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let table = transaction.table_mut(message, CHAIN_TABLE)?;
    let handle = match get_be64(message.attributes, CHAIN_HANDLE) {
        Some(handle) => handle,
        None => table
            .chain(message.text(CHAIN_NAME).ok_or(Errno::EINVAL)?)
            .map(|chain| chain.handle)
            .ok_or(Errno::ENOENT)?,
    };
    let chain = Arc::clone(table.chains.get(&handle).ok_or(Errno::ENOENT)?);
    if message.has(NLM_F_NONREC) && !chain.rules.is_empty() || table.references().contains_key(&handle) {
        return Err(Errno::EBUSY);
    }
    for rule in &chain.rules {
        table.use_sets(rule, false);
    }
    table.chains.remove(&handle);
    Ok(())
}
