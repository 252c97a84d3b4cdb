//! Elements of sets and maps.

use abi::netlink::{NLM_F_EXCL, NLM_F_MULTI};
use abi::{Errno, Result};
use netstack::netfilter::ruleset::{MAX_ELEMENTS, Ruleset, Table};
use netstack::netfilter::set::{CONCAT, CONSTANT, Element, INTERVAL, INTERVAL_END, MAP, Set, Value};

use super::super::message::{Attributes, Body, Replies};
use super::attributes::{LIST_ELEM, be32, get_be32, get_userdata, nested, userdata};
use super::tables::find_table;
use super::{Message, Transaction, header, kind, message_type, sets, verdict};

const TABLE: u16 = 1;
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
const SET_ID: u16 = 4;
const KEY: u16 = 1;
const DATA: u16 = 2;
const FLAGS: u16 = 3;
const USERDATA: u16 = 6;
const KEY_END: u16 = 10;
/// What elements of other kinds of sets have.
const UNSUPPORTED: [u16; 4] = [4, 7, 9, 11];
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
/// Elements told in one message.
const CHUNK: usize = 32;

/// `NFT_MSG_GETSETELEM`: all elements of a set, or those that are named.
pub(super) fn get(rules: &Ruleset, message: &Message<'_>, replies: &mut Replies) -> Result<()> {
    let table = find_table(rules, message, TABLE)?;
    let set = table.set(message.text(SET).ok_or(Errno::EINVAL)?).ok_or(Errno::ENOENT)?;
    let mut tell = |elements: &[(&[u8], &Element)], flags| {
        replies.message(message_type(kind::NEWSETELEM), flags, |body| {
            body.put(&header(table.family, rules.generation()));
            body.attr_text(TABLE, &table.name).attr_text(SET, &set.name);
            body.nest(ELEMENTS, |body| {
                for (key, element) in elements {
                    body.nest(LIST_ELEM, |body| describe(table, key, element, body));
                }
            });
        });
    };
    if message.request.is_dump() {
        let all: Vec<_> = set.elements().collect();
        all.chunks(CHUNK).for_each(|chunk| tell(chunk, NLM_F_MULTI));
        replies.done();
        return Ok(());
    }
    for (_, value) in nested(message.attributes, ELEMENTS).ok_or(Errno::EINVAL)? {
        let asked = Attributes(value);
        let key = parse_key(set, asked, KEY)?.ok_or(Errno::EINVAL)?;
        let flags = get_be32(asked, FLAGS).unwrap_or(0);
        let element = set.get(&key, flags & INTERVAL_END != 0).ok_or(Errno::ENOENT)?;
        tell(&[(&*key, element)], 0);
    }
    Ok(())
}

fn describe(table: &Table, key: &[u8], element: &Element, body: &mut Body<'_>) {
    let value = |bytes: &[u8], body: &mut Body<'_>| {
        body.attr(DATA_VALUE, bytes);
    };
    body.nest(KEY, |body| value(key, body));
    if let Some(end) = &element.key_end {
        body.nest(KEY_END, |body| value(end, body));
    }
    match &element.value {
        Value::None => {}
        Value::Data(data) => {
            body.nest(DATA, |body| value(data, body));
        }
        Value::Verdict(verdict) => {
            body.nest(DATA, |body| {
                body.nest(DATA_VERDICT, |body| verdict::encode(table, *verdict, body));
            });
        }
    }
    if element.flags != 0 {
        be32(body, FLAGS, element.flags);
    }
    userdata(body, USERDATA, &element.userdata);
}

/// A key of the set's length.
fn parse_key(set: &Set, attributes: Attributes<'_>, kind: u16) -> Result<Option<Box<[u8]>>> {
    let Some(data) = nested(attributes, kind) else { return Ok(None) };
    let key = data.get(DATA_VALUE).ok_or(Errno::EINVAL)?;
    if key.len() == set.key_len as usize { Ok(Some(key.into())) } else { Err(Errno::EINVAL) }
}

fn parse(
    transaction: &Transaction,
    table: &Table,
    set: &Set,
    attributes: Attributes<'_>,
) -> Result<(Box<[u8]>, Element)> {
    if UNSUPPORTED.iter().any(|kind| attributes.get(*kind).is_some()) {
        return Err(Errno::EOPNOTSUPP);
    }
    let key = parse_key(set, attributes, KEY)?.ok_or(Errno::EINVAL)?;
    let key_end = parse_key(set, attributes, KEY_END)?;
    let flags = get_be32(attributes, FLAGS).unwrap_or(0);
    if flags & !INTERVAL_END != 0 || key_end.is_some() && set.flags & CONCAT == 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let ends_interval = flags & INTERVAL_END != 0;
    if ends_interval && set.flags & INTERVAL == 0 {
        return Err(Errno::EINVAL);
    }
    let data = nested(attributes, DATA);
    let value = match data {
        Some(_) if set.flags & MAP == 0 || ends_interval => return Err(Errno::EINVAL),
        None if set.flags & MAP != 0 && !ends_interval => return Err(Errno::EINVAL),
        None => Value::None,
        Some(data) if set.is_verdict_map() => {
            let verdict = nested(data, DATA_VERDICT).ok_or(Errno::EINVAL)?;
            Value::Verdict(verdict::parse(transaction, table, verdict)?)
        }
        Some(data) => {
            let bytes = data.get(DATA_VALUE).filter(|bytes| bytes.len() == set.data_len as usize);
            Value::Data(bytes.ok_or(Errno::EINVAL)?.into())
        }
    };
    let userdata = get_userdata(attributes, USERDATA)?;
    Ok((key, Element { flags, key_end, value, userdata }))
}

/// The table, the set and the elements that a message names.
fn named<'a, 'b>(
    transaction: &'a Transaction,
    message: &Message<'b>,
) -> Result<(&'a Table, &'a Set, Option<Attributes<'b>>)> {
    let table = transaction.table(message, TABLE)?;
    let set = sets::find(table, message.text(SET), get_be32(message.attributes, SET_ID))?;
    Ok((table, set, nested(message.attributes, ELEMENTS)))
}

/// `NFT_MSG_NEWSETELEM`
pub(super) fn add(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let (table, set, elements) = named(transaction, message)?;
    if set.flags & CONSTANT != 0 && set.uses > 0 {
        return Err(Errno::EBUSY);
    }
    let mut parsed = Vec::new();
    for (_, value) in elements.ok_or(Errno::EINVAL)? {
        parsed.push(parse(transaction, table, set, Attributes(value))?);
    }
    // Ends of intervals are no elements of their own to who sets the size.
    let limit = if set.size == 0 { MAX_ELEMENTS } else { set.size as usize * 2 + 1 };
    if set.len() + parsed.len() > limit.min(MAX_ELEMENTS) {
        return Err(Errno::ENFILE);
    }
    let handle = set.handle;
    let set = transaction.table_mut(message, TABLE)?.set_mut(handle).ok_or(Errno::ENOENT)?;
    for (key, element) in parsed {
        let old = set.get(&key, element.flags & INTERVAL_END != 0);
        match old {
            Some(old) if old.value != element.value => return Err(Errno::EBUSY),
            Some(_) if message.has(NLM_F_EXCL) => return Err(Errno::EEXIST),
            Some(_) => {}
            None => {
                set.insert(key, element);
            }
        }
    }
    Ok(())
}

/// `NFT_MSG_DELSETELEM`: those that are named, or all.
pub(super) fn remove(transaction: &mut Transaction, message: &Message<'_>) -> Result<()> {
    let (_, set, elements) = named(transaction, message)?;
    if set.flags & CONSTANT != 0 && set.uses > 0 {
        return Err(Errno::EBUSY);
    }
    let mut keys = Vec::new();
    for (_, value) in elements.unwrap_or(Attributes(&[])) {
        let asked = Attributes(value);
        let key = parse_key(set, asked, KEY)?.ok_or(Errno::EINVAL)?;
        keys.push((key, get_be32(asked, FLAGS).unwrap_or(0) & INTERVAL_END != 0));
    }
    let handle = set.handle;
    let set = transaction.table_mut(message, TABLE)?.set_mut(handle).ok_or(Errno::ENOENT)?;
    if elements.is_none() {
        set.clear();
    }
    let all_there = keys.iter().all(|(key, ends)| set.remove(key, *ends));
    if all_there { Ok(()) } else { Err(Errno::ENOENT) }
}
