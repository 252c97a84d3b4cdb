//! Verdicts in messages.

use abi::{Errno, Result};
use netstack::netfilter::expr::Verdict;
use netstack::netfilter::ruleset::{Table, chain_name};

use super::super::message::{Attributes, Body};
use super::Transaction;
use super::attributes::{be32, get_be32, need_be32};

const CODE: u16 = 1;
const CHAIN: u16 = 2;
const CHAIN_ID: u16 = 3;

/// `NF_DROP` and its kin, as `u32`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const CONTINUE: u32 = u32::MAX;
const BREAK: u32 = u32::MAX - 1;
const JUMP: u32 = u32::MAX - 2;
const GOTO: u32 = u32::MAX - 3;
const RETURN: u32 = u32::MAX - 4;

/// The verdict in `NFTA_DATA_VERDICT`.
///
/// # Errors
/// `EINVAL`; `ENOENT` for a chain that there is not, `EOPNOTSUPP` for a base chain.
pub(super) fn parse(transaction: &Transaction, table: &Table, attributes: Attributes<'_>) -> Result<Verdict> {
    let code = need_be32(attributes, CODE)?;
    Ok(match code {
        DROP => Verdict::Drop,
        ACCEPT => Verdict::Accept,
        CONTINUE | BREAK => Verdict::Continue,
        RETURN => Verdict::Return,
        JUMP | GOTO => {
            let handle = match (attributes.text(CHAIN), get_be32(attributes, CHAIN_ID)) {
                (Some(name), _) => table.chain(name).map(|chain| chain.handle),
                (None, Some(id)) => transaction.chain_by_id(table, id),
                (None, None) => return Err(Errno::EINVAL),
            };
            let chain = handle.and_then(|handle| table.chains.get(&handle)).ok_or(Errno::ENOENT)?;
            if chain.base.is_some() {
                return Err(Errno::EOPNOTSUPP);
            }
            if code == JUMP { Verdict::Jump(chain.handle) } else { Verdict::Goto(chain.handle) }
        }
        _ => return Err(Errno::EINVAL),
    })
}

/// Writes the attributes of a verdict.
pub(super) fn encode(table: &Table, verdict: Verdict, body: &mut Body<'_>) {
    let code = match verdict {
        Verdict::Drop => DROP,
        Verdict::Accept => ACCEPT,
        Verdict::Continue => CONTINUE,
        Verdict::Return => RETURN,
        Verdict::Jump(_) => JUMP,
        Verdict::Goto(_) => GOTO,
    };
    be32(body, CODE, code);
    if let Some(name) = chain_name(table, verdict) {
        body.attr_text(CHAIN, name);
    }
}
