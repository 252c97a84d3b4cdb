//! Queueing disciplines: `RTM_GETQDISC`. Every link sends at once (`noqueue`), and there is no way to change that.

use abi::netlink::{NLM_F_MULTI, RTM_NEWQDISC};
use abi::{Errno, Result};

use super::super::Context;
use super::super::message::{Replies, Request};

/// Bytes of `struct tcmsg`.
const HEADER: usize = 20;
const TC_H_ROOT: u32 = u32::MAX;
const TCA_KIND: u16 = 1;
/// What Linux counts as users of a discipline that one queue of a link has.
const USERS: u32 = 2;

/// Dumps the discipline of each link, or of the one whose number the request holds.
pub(super) fn get(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if !request.is_dump() {
        return Err(Errno::EOPNOTSUPP);
    }
    let wanted = request.body().get(4..8).and_then(|bytes| bytes.first_chunk::<4>());
    let wanted = wanted.map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    for nic in context.net.stack().nics().iter().filter(|nic| nic.is_up()) {
        if wanted != 0 && wanted != nic.index {
            continue;
        }
        replies.message(RTM_NEWQDISC, NLM_F_MULTI, |body| {
            let mut header = [0; HEADER];
            header[4..8].copy_from_slice(&nic.index.to_ne_bytes());
            header[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
            header[16..20].copy_from_slice(&USERS.to_ne_bytes());
            body.put(&header).attr_text(TCA_KIND, "noqueue");
        });
    }
    replies.done();
    Ok(())
}
