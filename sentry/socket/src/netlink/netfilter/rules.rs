//! Rules.

use std::sync::Arc;

use abi::netlink::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE};
use abi::{Errno, Result};
use netstack::netfilter::ruleset::{Chain, MAX_RULES, Rule, Ruleset, Table};

use super::super::message::{Attributes, Body, Replies};
use super::attributes::{LIST_ELEM, be64, get_be32, get_be64, get_userdata, nested, userdata};
use super::{Message, Transaction, expr, header, kind, message_type, tables};

const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const EXPRESSIONS: u16 = 4;
const POSITION: u16 = 6;
const USERDATA: u16 = 7;
const CHAIN_ID: u16 = 11;
/// Expressions of one rule (`NFT_RULE_MAXEXPRS`).
const MAX_EXPRS: usize = 128;
/// Bytes of one rule's expressions: so that they can be told in one attribute.
const MAX_BYTES: usize = 32 << 10;

/// `NFT_MSG_GETRULE`; counts begin anew where it `resets`.
pub(super) fn get(rules: &Ruleset, message: &Message<'_>, resets: bool, replies: &mut Replies) -> Result<()> {
    let mut tell = |table: &Table, chain: &Chain, at: usize, flags| {
        replies.message(message_type(kind::NEWRULE), flags, |body| {
            body.put(&header(table.family, rules.generation()));
            describe(table, chain, at, resets, body);
        });
    };
    if !message.request.is_dump() {
        let table = tables::find_table(rules, message, TABLE)?;
        let chain = table.chain(message.text(CHAIN).ok_or(Errno::EINVAL)?).ok_or(Errno::ENOENT)?;
        let handle = get_be64(message.attributes, HANDLE).ok_or(Errno::EINVAL)?;
        let at = position(chain, handle)?;
        tell(table, chain, at, 0);
        return Ok(());
    }
    let (table_name, chain_name) = (message.text(TABLE), message.text(CHAIN));
    for table in rules.tables.iter().filter(|table| message.wants(table.family)) {
        if table_name.is_some_and(|wanted| wanted != table.name) {
            continue;
        }
        for chain in
            table.chains.values().filter(|chain| chain_name.is_none_or(|wanted| wanted == chain.name))
        {
            (0..chain.rules.len()).for_each(|at| tell(table, chain, at, NLM_F_MULTI));
        }
    }
    replies.done();
    Ok(())
}

fn describe(table: &Table, chain: &Chain, at: usize, resets: bool, body: &mut Body<'_>) {
    let Some(rule) = chain.rules.get(at) else { return };
    body.attr_text(TABLE, &table.name).attr_text(CHAIN, &chain.name);
    be64(body, HANDLE, rule.handle);
    if let Some(before) = at.checked_sub(1).and_then(|at| chain.rules.get(at)) {
        be64(body, POSITION, before.handle);
    }
    body.nest(EXPRESSIONS, |body| {
        for step in &rule.exprs {
            body.nest(LIST_ELEM, |body| expr::encode(table, step, resets, body));
        }
    });
    userdata(body, USERDATA, &rule.userdata);
}

/// Where a rule stands.
fn position(chain: &Chain, handle: u64) -> Result<usize> {
    chain.rules.iter().position(|rule| rule.handle == handle).ok_or(Errno::ENOENT)
}

/// The chain that a message names, by name or by the batch's number.
fn chain_of(transaction: &Transaction, message: &Message<'_>) -> Result<u64> {
    let table = transaction.table(message, TABLE)?;
    let found = match (message.text(CHAIN), get_be32(message.attributes, CHAIN_ID)) {
        (Some(name), _) => table.chain(name).map(|chain| chain.handle),
        (None, Some(id)) => transaction.chain_by_id(table, id),
        (None, None) => return Err(Errno::EINVAL),
    };
    found.ok_or(Errno::ENOENT)
}

/// `NFT_MSG_NEWRULE`: at an end of its chain, beside another rule, or in place of one.
pub(super) fn add(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let handle = chain_of(transaction, message)?;
    let table = transaction.table(message, TABLE)?;
    let chain = table.chains.get(&handle).ok_or(Errno::ENOENT)?;
    let old = get_be64(message.attributes, HANDLE);
    let at = match old {
        Some(old) => {
            let at = position(chain, old)?;
            if message.has(NLM_F_EXCL) {
                return Err(Errno::EEXIST);
            }
            if !message.has(NLM_F_REPLACE) {
                return Err(Errno::EOPNOTSUPP);
            }
            at
        }
        None if !message.has(NLM_F_CREATE) || message.has(NLM_F_REPLACE) => return Err(Errno::EINVAL),
        None => place_for(chain, message)?,
    };
    let replaces = old.is_some();
    if !replaces && chain.rules.len() >= MAX_RULES {
        return Err(Errno::ENOSPC);
    }
    let exprs = match nested(message.attributes, EXPRESSIONS) {
        Some(list) => parse_exprs(transaction, table, list)?,
        None => Vec::new(),
    };
    let userdata = get_userdata(message.attributes, USERDATA)?;
    let table = transaction.table_mut(message, TABLE)?;
    let mut rule = Rule { handle: 0, exprs, userdata };
    rule.handle = table.new_handle();
    table.use_sets(&rule, true);
    let chain = table.chain_mut(handle).ok_or(Errno::ENOENT)?;
    if replaces {
        let old = std::mem::replace(&mut chain.rules[at], Arc::new(rule));
        table.use_sets(&old, false);
    } else {
        chain.rules.insert(at, Arc::new(rule));
    }
    Ok(())
}

/// Where a new rule goes: behind or before the one that is named, else at the end or the beginning.
fn place_for(chain: &Chain, message: &Message<'_>) -> Result<usize> {
    let appends = message.has(NLM_F_APPEND);
    Ok(match get_be64(message.attributes, POSITION) {
        Some(beside) => position(chain, beside)? + usize::from(appends),
        None if appends => chain.rules.len(),
        None => 0,
    })
}

fn parse_exprs(
    transaction: &Transaction,
    table: &Table,
    list: Attributes<'_>,
) -> Result<Vec<netstack::netfilter::expr::Expr>> {
    if list.0.len() > MAX_BYTES {
        return Err(Errno::EMSGSIZE);
    }
    let mut exprs = Vec::new();
    for (kind, value) in list {
        if kind != LIST_ELEM {
            return Err(Errno::EINVAL);
        }
        if exprs.len() >= MAX_EXPRS {
            return Err(Errno::EINVAL);
        }
        exprs.push(expr::parse(transaction, table, Attributes(value))?);
    }
    Ok(exprs)
}

/// `NFT_MSG_DELRULE`: one, all of a chain, or all of a table.
pub(super) fn remove(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let named = message.text(CHAIN).is_some() || message.attributes.get(CHAIN_ID).is_some();
    let chain = if named { Some(chain_of(transaction, message)?) } else { None };
    let table = transaction.table_mut(message, TABLE)?;
    let Some(chain) = chain else {
        let all: Vec<_> = table.chains.keys().copied().collect();
        all.into_iter().for_each(|chain| flush(table, chain));
        return Ok(());
    };
    let Some(handle) = get_be64(message.attributes, HANDLE) else {
        flush(table, chain);
        return Ok(());
    };
    let chain = table.chain_mut(chain).ok_or(Errno::ENOENT)?;
    let at = position(chain, handle)?;
    let old = chain.rules.remove(at);
    table.use_sets(&old, false);
    Ok(())
}

fn flush(table: &mut Table, chain: u64) {
    let Some(chain) = table.chain_mut(chain).filter(|chain| !chain.rules.is_empty()) else { return };
    for rule in std::mem::take(&mut chain.rules) {
        table.use_sets(&rule, false);
    }
}
