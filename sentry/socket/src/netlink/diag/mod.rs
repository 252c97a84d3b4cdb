//! `NETLINK_SOCK_DIAG`: sockets for `ss` (`man 7 sock_diag`).

mod inet;
mod netlink;
mod unix;

use abi::socket::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX};
use abi::{Errno, Result};
use netstack::Family;

use super::Context;
use super::message::{Replies, Request};

const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// Answers a request.
///
/// # Errors
/// `EINVAL` for another request, `ENOENT` for a family or protocol without sockets to show.
pub(super) fn answer(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if request.kind != SOCK_DIAG_BY_FAMILY {
        return Err(Errno::EINVAL);
    }
    match request.body().first().copied().map(u16::from).ok_or(Errno::EINVAL)? {
        AF_INET => inet::answer(context, Family::V4, request, replies),
        AF_INET6 => inet::answer(context, Family::V6, request, replies),
        AF_NETLINK => netlink::answer(context, request, replies),
        AF_UNIX => unix::answer(context, request, replies),
        _ => Err(Errno::ENOENT),
    }
}
