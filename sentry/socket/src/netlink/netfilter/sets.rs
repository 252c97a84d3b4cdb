//! Sets and maps.

use std::sync::Arc;

use abi::netlink::{NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE};
use abi::{Errno, Result};
use netstack::netfilter::expr::REGISTERS;
use netstack::netfilter::ruleset::{Ruleset, Table};
use netstack::netfilter::set::{ANONYMOUS, CONCAT, CONSTANT, DATA_VERDICT, INTERVAL, MAP, Set};

use super::super::message::{Attributes, Body, Replies};
use super::attributes::{
    LIST_ELEM, be32, be64, get_be32, get_be64, get_userdata, need_be32, nested, userdata,
};
use super::tables::{find_table, new_name};
use super::{Message, Transaction, header, kind, message_type};

const TABLE: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 3;
const KEY_TYPE: u16 = 4;
const KEY_LEN: u16 = 5;
const DATA_TYPE: u16 = 6;
const DATA_LEN: u16 = 7;
const POLICY: u16 = 8;
const DESC: u16 = 9;
const ID: u16 = 10;
const TIMEOUT: u16 = 11;
const USERDATA: u16 = 13;
const HANDLE: u16 = 16;
const DESC_SIZE: u16 = 1;
const DESC_CONCAT: u16 = 2;
const FIELD_LEN: u16 = 1;
/// Sets of a table at most.
const MAX_SETS: usize = 4096;

/// `NFT_MSG_GETSET`
pub(super) fn get(rules: &Ruleset, message: &Message<'_>, replies: &mut Replies) -> Result<()> {
    let mut tell = |table: &Table, set: &Set, flags| {
        replies.message(message_type(kind::NEWSET), flags, |body| {
            body.put(&header(table.family, rules.generation())).attr_text(TABLE, &table.name);
            describe(set, body);
        });
    };
    if !message.request.is_dump() {
        let table = find_table(rules, message, TABLE)?;
        let set = table.set(message.text(NAME).ok_or(Errno::EINVAL)?).ok_or(Errno::ENOENT)?;
        tell(table, set, 0);
        return Ok(());
    }
    let wanted = message.text(TABLE);
    for table in rules.tables.iter().filter(|table| message.wants(table.family)) {
        if wanted.is_none_or(|wanted| wanted == table.name) {
            table.sets.values().for_each(|set| tell(table, set, NLM_F_MULTI));
        }
    }
    replies.done();
    Ok(())
}

fn describe(set: &Set, body: &mut Body<'_>) {
    body.attr_text(NAME, &set.name);
    be64(body, HANDLE, set.handle);
    if set.flags != 0 {
        be32(body, FLAGS, set.flags);
    }
    be32(body, KEY_TYPE, set.key_type);
    be32(body, KEY_LEN, set.key_len);
    if set.flags & MAP != 0 {
        be32(body, DATA_TYPE, set.data_type);
        be32(body, DATA_LEN, set.data_len);
    }
    if set.policy != 0 {
        be32(body, POLICY, set.policy);
    }
    userdata(body, USERDATA, &set.userdata);
    body.nest(DESC, |body| {
        if set.size != 0 {
            be32(body, DESC_SIZE, set.size);
        }
        if set.fields.len() > 1 {
            body.nest(DESC_CONCAT, |body| {
                for field in &set.fields {
                    body.nest(LIST_ELEM, |body| be32(body, FIELD_LEN, *field));
                }
            });
        }
    });
}

/// `NFT_MSG_NEWSET`. Sets whose elements expire by themselves, are added by packets or hold objects there are not.
pub(super) fn add(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let attributes = message.attributes;
    let flags = get_be32(attributes, FLAGS).unwrap_or(0);
    if flags & !(ANONYMOUS | CONSTANT | INTERVAL | MAP | CONCAT) != 0 || attributes.get(TIMEOUT).is_some() {
        return Err(Errno::EOPNOTSUPP);
    }
    let name = new_name(message.text(NAME))?;
    let key_len = need_be32(attributes, KEY_LEN)?;
    if key_len == 0 || key_len as usize > REGISTERS {
        return Err(Errno::EINVAL);
    }
    let table = transaction.table_mut(message, TABLE)?;
    if table.set(&name).is_some() {
        return match (message.has(NLM_F_EXCL), message.has(NLM_F_REPLACE)) {
            (true, _) => Err(Errno::EEXIST),
            (_, true) => Err(Errno::EOPNOTSUPP),
            _ => Ok(()),
        };
    }
    if table.sets.len() >= MAX_SETS {
        return Err(Errno::ENOSPC);
    }
    let mut set = Set::new(free_name(table, name), flags, key_len);
    set.key_type = get_be32(attributes, KEY_TYPE).unwrap_or(0);
    set.policy = get_be32(attributes, POLICY).unwrap_or(0);
    set.id = get_be32(attributes, ID).unwrap_or(0);
    set.userdata = get_userdata(attributes, USERDATA)?;
    if flags & MAP != 0 {
        (set.data_type, set.data_len) = parse_data(attributes)?;
    }
    if let Some(description) = nested(attributes, DESC) {
        set.size = get_be32(description, DESC_SIZE).unwrap_or(0);
        set.fields = parse_fields(description, key_len)?;
    }
    if flags & INTERVAL != 0 && flags & CONCAT != 0 && set.fields.len() < 2 {
        return Err(Errno::EINVAL);
    }
    set.handle = table.new_handle();
    table.sets.insert(set.handle, Arc::new(set));
    Ok(())
}

/// `__set%d` stands for the first number that is free.
fn free_name(table: &Table, name: String) -> String {
    if !name.contains("%d") {
        return name;
    }
    let numbered = |number: usize| name.replacen("%d", &number.to_string(), 1);
    (0..=table.sets.len()).map(numbered).find(|name| table.set(name).is_none()).unwrap_or(name)
}

fn parse_data(attributes: Attributes<'_>) -> Result<(u32, u32)> {
    let kind = need_be32(attributes, DATA_TYPE)?;
    if kind == DATA_VERDICT {
        return Ok((kind, 0));
    }
    let len = need_be32(attributes, DATA_LEN)?;
    if len == 0 || len as usize > REGISTERS { Err(Errno::EINVAL) } else { Ok((kind, len)) }
}

/// Lengths of the fields of a concatenation, which must make up the key.
fn parse_fields(description: Attributes<'_>, key_len: u32) -> Result<Vec<u32>> {
    let Some(list) = nested(description, DESC_CONCAT) else { return Ok(Vec::new()) };
    let mut fields = Vec::new();
    let mut total = 0;
    for (_, value) in list {
        let len = need_be32(Attributes(value), FIELD_LEN)?;
        if len == 0 || len as usize > REGISTERS || fields.len() >= 16 {
            return Err(Errno::E2BIG);
        }
        fields.push(len);
        total += len.next_multiple_of(4);
    }
    if total == key_len.next_multiple_of(4) { Ok(fields) } else { Err(Errno::EINVAL) }
}

/// `NFT_MSG_DELSET`
pub(super) fn remove(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let table = transaction.table_mut(message, TABLE)?;
    let handle = match get_be64(message.attributes, HANDLE) {
        Some(handle) => handle,
        None => {
            table.set(message.text(NAME).ok_or(Errno::EINVAL)?).map(|set| set.handle).ok_or(Errno::ENOENT)?
        }
    };
    match table.sets.get(&handle) {
        None => Err(Errno::ENOENT),
        Some(set) if set.uses > 0 => Err(Errno::EBUSY),
        Some(_) => {
            table.sets.remove(&handle);
            Ok(())
        }
    }
}

/// The numbers that a batch gave its sets hold until its end.
pub(super) fn forget_ids(rules: &mut Ruleset) {
    for table in &mut rules.tables {
        if table.sets.values().any(|set| set.id != 0) {
            let table = Arc::make_mut(table);
            table.sets.values_mut().filter(|set| set.id != 0).for_each(|set| Arc::make_mut(set).id = 0);
        }
    }
}

/// The set that a name, or else a number of this batch, means.
pub(super) fn find<'a>(table: &'a Table, name: Option<&str>, id: Option<u32>) -> Result<&'a Arc<Set>> {
    let by_id = |id: u32| table.sets.values().find(|set| id != 0 && set.id == id);
    name.and_then(|name| table.set(name)).or_else(|| id.and_then(by_id)).ok_or(Errno::ENOENT)
}
