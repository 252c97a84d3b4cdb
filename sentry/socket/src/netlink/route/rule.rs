//! Routing rules: `RTM_GETRULE`. There are only Linux's own, and no way to change them.

use abi::netlink::{NLM_F_MULTI, RTM_NEWRULE};
use abi::socket::{AF_INET, AF_INET6};
use abi::{Errno, Result};

use super::super::message::{Replies, Request};

const FRA_PRIORITY: u16 = 6;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FR_ACT_TO_TBL: u8 = 1;

/// (family, priority, table): local, main, default.
const RULES: &[(u16, u32, u8)] = &[
    (AF_INET, 0, 255),
    (AF_INET, 32_766, 254),
    (AF_INET, 32_767, 253),
    (AF_INET6, 0, 255),
    (AF_INET6, 32_766, 254),
];

/// Dumps the rules.
pub(super) fn get(request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if !request.is_dump() {
        return Err(Errno::EOPNOTSUPP);
    }
    let wanted = request.body().first().copied().unwrap_or(0);
    for (family, priority, table) in RULES.iter().filter(|rule| wanted == 0 || rule.0 == u16::from(wanted)) {
        replies.message(RTM_NEWRULE, NLM_F_MULTI, |body| {
            body.put(&[*family as u8, 0, 0, 0, *table, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0]);
            body.attr_word(FRA_TABLE, (*table).into()).attr_word(FRA_SUPPRESS_PREFIXLEN, u32::MAX);
            if *priority != 0 {
                body.attr_word(FRA_PRIORITY, *priority);
            }
        });
    }
    replies.done();
    Ok(())
}
