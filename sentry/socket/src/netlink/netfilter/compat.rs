//! `NFNL_SUBSYS_NFT_COMPAT`: which revisions of its extensions iptables may use.

use abi::{Errno, Result};
use netstack::netfilter::xt::{Match, Target};

use super::super::message::Replies;
use super::attributes::{be32, need_be32};
use super::{Message, NFT_COMPAT, header};

const NAME: u16 = 1;
const REVISION: u16 = 2;
const TYPE: u16 = 3;

/// `NFNL_MSG_COMPAT_GET`
pub(super) fn get(message: &Message<'_>, replies: &mut Replies) -> Result<()> {
    if message.kind() != 0 {
        return Err(Errno::EINVAL);
    }
    let name = message.text(NAME).ok_or(Errno::EINVAL)?;
    let revision = need_be32(message.attributes, REVISION)?;
    let is_target = need_be32(message.attributes, TYPE)? == 1;
    let best = if is_target { Target::best_revision(name) } else { Match::best_revision(name) };
    let best = best.ok_or(Errno::ENOENT)?;
    if revision > best {
        return Err(Errno::EPROTONOSUPPORT);
    }
    replies.message(NFT_COMPAT << 8, 0, |body| {
        body.put(&header(message.family, 0)).attr_text(NAME, name);
        be32(body, REVISION, best);
        be32(body, TYPE, u32::from(is_target));
    });
    Ok(())
}
