//! `NETLINK_NETFILTER`: packet filters (linux/netfilter/nfnetlink.h). Four subsystems answer: nf_tables, the two questions
//! that iptables asks beside it (which revisions of its extensions there are, and batches), and the connections that are
//! followed.
//!
//! Changes come in batches: all of a batch's messages work on a copy of the rule set, which is put in force at its end
//! if none of them failed. Notifications of changes (`nft monitor`) are not sent.

mod attributes;
mod compat;
mod conntrack;
mod elements;
mod expr;
mod rules;
mod sets;
mod tables;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::HashMap;

use abi::netlink::{NLM_F_ACK, NLM_F_REQUEST};
use abi::{Errno, Result};
use host::heap::{self, Purpose};
use kernel::task::is_current_killed;
use netstack::netfilter::ruleset::{INET, IPV4, IPV6, Invalid, Ruleset};

use super::Context;
use super::message::{Attributes, Replies, Request, Requests};
use crate::bytes::half;
use attributes::be32;

/// `struct nfgenmsg`
const HEADER: usize = 4;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const BATCH_GENID: u16 = 1;
const NF_TABLES: u16 = 10;
const NFT_COMPAT: u16 = 11;
/// `-ERESTART`: the rule set has changed since the batch's author looked.
const ERESTART: Errno = Errno::from_raw(85);

/// `NFT_MSG_*`
mod kind {
    pub(super) const NEWTABLE: u16 = 0;
    pub(super) const GETTABLE: u16 = 1;
    pub(super) const DELTABLE: u16 = 2;
    pub(super) const NEWCHAIN: u16 = 3;
    pub(super) const GETCHAIN: u16 = 4;
    pub(super) const DELCHAIN: u16 = 5;
    pub(super) const NEWRULE: u16 = 6;
    pub(super) const GETRULE: u16 = 7;
    pub(super) const DELRULE: u16 = 8;
    pub(super) const NEWSET: u16 = 9;
    pub(super) const GETSET: u16 = 10;
    pub(super) const DELSET: u16 = 11;
    pub(super) const NEWSETELEM: u16 = 12;
    pub(super) const GETSETELEM: u16 = 13;
    pub(super) const DELSETELEM: u16 = 14;
    pub(super) const NEWGEN: u16 = 15;
    pub(super) const GETGEN: u16 = 16;
    pub(super) const GETOBJ: u16 = 19;
    pub(super) const GETOBJ_RESET: u16 = 21;
    pub(super) const GETFLOWTABLE: u16 = 23;
    pub(super) const GETRULE_RESET: u16 = 25;
}

/// A request to a subsystem, taken apart.
struct Message<'a> {
    request: Request<'a>,
    /// `NFPROTO_*`
    family: u8,
    attributes: Attributes<'a>,
}

impl<'a> Message<'a> {
    fn parse(request: Request<'a>) -> Result<Self> {
        let (header, attributes) = request.split(HEADER)?;
        Ok(Self { request, family: header[0], attributes })
    }

    /// `NFT_MSG_*`
    fn kind(&self) -> u16 {
        self.request.kind & 0xff
    }

    fn has(&self, flag: u16) -> bool {
        self.request.has(flag)
    }

    /// The family, if there are tables of it.
    fn table_family(&self) -> Result<u8> {
        if matches!(self.family, INET | IPV4 | IPV6) { Ok(self.family) } else { Err(Errno::EOPNOTSUPP) }
    }

    /// Whether objects of a family are asked for.
    fn wants(&self, family: u8) -> bool {
        self.family == 0 || self.family == family
    }

    /// The string of an attribute.
    fn text(&self, kind: u16) -> Option<&'a str> {
        self.attributes.text(kind)
    }
}

/// A change in the making.
struct Transaction {
    rules: Ruleset,
    /// What a batch calls its new chains: their tables' handles and a number, to the chains' handles. No handle is ever
    /// given again, so that the number of a chain that is gone, or whose table is, means none.
    chain_ids: HashMap<(u64, u32), u64>,
}

/// What is written before the attributes of a message about the rule set.
fn header(family: u8, generation: u32) -> [u8; HEADER] {
    let [high, low] = (generation as u16).to_be_bytes();
    [family, 0, high, low]
}

/// The type of a message of nf_tables.
const fn message_type(kind: u16) -> u16 {
    NF_TABLES << 8 | kind
}

/// Whether a datagram holds a batch.
pub(super) fn is_batch(bytes: &[u8]) -> bool {
    Requests(bytes).next().is_some_and(|first| first.kind == BATCH_BEGIN)
}

/// Answers a request that stands alone.
///
/// # Errors
/// `EPERM`, `EINVAL` for a subsystem that there is not or a change outside of a batch, and what the object says.
pub(super) fn answer(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    context.check_admin()?;
    let message = Message::parse(*request)?;
    if request.kind >> 8 == conntrack::SUBSYSTEM {
        return conntrack::answer(context, &message, replies);
    }
    if request.kind >> 8 == NFT_COMPAT {
        return compat::get(&message, replies);
    }
    if request.kind >> 8 != NF_TABLES {
        return Err(Errno::EINVAL);
    }
    let rules = context.net.stack().netfilter().rules();
    if message.kind() == kind::GETGEN {
        generation(context, &rules, replies)
    } else {
        tell(&rules, &message, replies)
    }
}

/// Answers a question about a rule set.
fn tell(rules: &Ruleset, message: &Message<'_>, replies: &mut Replies) -> Result<()> {
    let request = &message.request;
    match message.kind() {
        kind::GETTABLE => tables::get(rules, message, replies),
        kind::GETCHAIN => tables::get_chain(rules, message, replies),
        kind::GETRULE => rules::get(rules, message, false, replies),
        kind::GETRULE_RESET => rules::get(rules, message, true, replies),
        kind::GETSET => sets::get(rules, message, replies),
        kind::GETSETELEM => elements::get(rules, message, replies),
        // There are none.
        kind::GETOBJ | kind::GETOBJ_RESET | kind::GETFLOWTABLE if request.is_dump() => {
            replies.done();
            Ok(())
        }
        kind::GETOBJ | kind::GETOBJ_RESET | kind::GETFLOWTABLE => Err(Errno::ENOENT),
        _ => Err(Errno::EINVAL),
    }
}

/// `NFT_MSG_GETGEN`
fn generation(context: &Context<'_>, rules: &Ruleset, replies: &mut Replies) -> Result<()> {
    let pid = context.task.thread_group().tgid().cast_unsigned();
    replies.message(message_type(kind::NEWGEN), 0, |body| {
        body.put(&header(0, rules.generation()));
        be32(body, 1, rules.generation());
        be32(body, 2, pid);
        body.attr_text(3, &String::from_utf8_lossy(&context.task.comm()));
    });
    Ok(())
}

/// Carries out a batch; each message that failed or asked for it is acknowledged in `acknowledge`.
pub(super) fn batch(
    context: &Context<'_>,
    bytes: &[u8],
    mut acknowledge: impl FnMut(&Request<'_>, Result<()>),
) {
    let mut requests = Requests(bytes);
    let Some(begin) = requests.next() else { return };
    let netfilter = context.net.stack().netfilter();
    let rules = (*netfilter.rules()).clone();
    let base = rules.generation();
    if let Err(error) = check_begin(context, &begin, base) {
        return acknowledge(&begin, Err(error));
    }
    let mut transaction = Transaction::on(rules);
    let mut outcomes = Vec::new();
    let mut ended = false;
    for request in requests {
        if is_current_killed() {
            return;
        }
        if request.kind == BATCH_END {
            ended = true;
            break;
        }
        let outcome =
            if request.has(NLM_F_REQUEST) { transaction.apply(request) } else { Err(Errno::EINVAL) };
        outcomes.push((request, outcome));
    }
    // Without an end the batch was cut off: nothing of it counts.
    let has_failed = !ended || outcomes.iter().any(|(_, outcome)| outcome.is_err());
    let failure = if has_failed { None } else { commit(context, base, transaction).err() };
    for (at, (request, outcome)) in outcomes.iter().enumerate() {
        // What the whole is refused for is told of its last message.
        let is_last = at + 1 == outcomes.len();
        let outcome = if is_last { failure.map_or(*outcome, Err) } else { *outcome };
        if outcome.is_err() || request.has(NLM_F_ACK) {
            acknowledge(request, outcome);
        }
    }
}

fn commit(context: &Context<'_>, base: u32, transaction: Transaction) -> Result<()> {
    context.net.stack().netfilter().commit(base, transaction.finish()?).map_err(|_| ERESTART)
}

fn check_begin(context: &Context<'_>, begin: &Request<'_>, generation: u32) -> Result<()> {
    context.check_admin()?;
    let (header, attributes) = begin.split(HEADER)?;
    let subsystem = half(header, 2).map(u16::from_be);
    if subsystem != Some(NF_TABLES) {
        return Err(Errno::EOPNOTSUPP);
    }
    let wanted = attributes::get_be32(attributes, BATCH_GENID);
    if wanted.is_some_and(|wanted| wanted != 0 && wanted != generation) { Err(ERESTART) } else { Ok(()) }
}

impl Transaction {
    fn on(rules: Ruleset) -> Self {
        Self { rules, chain_ids: HashMap::new() }
    }

    fn apply(&mut self, request: Request<'_>) -> Result<()> {
        // What the change adds must find room, whatever it is.
        heap::room_for(request.whole.len() as u64 * 4, Purpose::Lasting)?;
        if request.kind >> 8 != NF_TABLES {
            return Err(Errno::EINVAL);
        }
        let message = Message::parse(request)?;
        match message.kind() {
            kind::NEWTABLE => tables::add(self, &message),
            kind::DELTABLE => tables::remove(self, &message),
            kind::NEWCHAIN => tables::add_chain(self, &message),
            kind::DELCHAIN => tables::remove_chain(self, &message),
            kind::NEWRULE => rules::add(self, &message),
            kind::DELRULE => rules::remove(self, &message),
            kind::NEWSET => sets::add(self, &message),
            kind::DELSET => sets::remove(self, &message),
            kind::NEWSETELEM => elements::add(self, &message),
            kind::DELSETELEM => elements::remove(self, &message),
            // Stateful objects and flow tables there are none.
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// The rule set that the changes make.
    fn finish(mut self) -> Result<Ruleset> {
        sets::forget_ids(&mut self.rules);
        self.rules.validate().map_err(|invalid| match invalid {
            Invalid::TooDeep => Errno::EMLINK,
            Invalid::Misplaced => Errno::EOPNOTSUPP,
            Invalid::MisplacedExtension => Errno::EINVAL,
            Invalid::TooLarge => Errno::ENOSPC,
            Invalid::TooManyHooked => Errno::E2BIG,
        })?;
        Ok(self.rules)
    }
}
