//! Generic netlink: the controller, which says that there is no family but itself.

use abi::netlink::NLM_F_MULTI;
use abi::{Errno, Result};

use super::message::{Replies, Request};

/// `GENL_ID_CTRL`, the controller's family.
const CONTROLLER: u16 = 16;
const CTRL_CMD_NEWFAMILY: u8 = 1;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_VERSION: u16 = 3;
const CTRL_ATTR_HDRSIZE: u16 = 4;
const CTRL_ATTR_MAXATTR: u16 = 5;
const NAME: &str = "nlctrl";

/// Answers a request.
///
/// # Errors
/// `ENOENT` for another family, `EOPNOTSUPP` for another command.
pub(super) fn answer(request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if request.kind != CONTROLLER {
        return Err(Errno::ENOENT);
    }
    let (header, attributes) = request.split(4)?;
    if header[0] != CTRL_CMD_GETFAMILY {
        return Err(Errno::EOPNOTSUPP);
    }
    let by_name = attributes.text(CTRL_ATTR_FAMILY_NAME).map(|name| name == NAME);
    let by_id = attributes.get(CTRL_ATTR_FAMILY_ID).map(|id| id == CONTROLLER.to_ne_bytes());
    let is_dump = request.is_dump();
    if !is_dump && !by_name.or(by_id).ok_or(Errno::EINVAL)? {
        return Err(Errno::ENOENT);
    }
    let flags = if is_dump { NLM_F_MULTI } else { 0 };
    replies.message(CONTROLLER, flags, |body| {
        body.put(&[CTRL_CMD_NEWFAMILY, 2, 0, 0])
            .attr_text(CTRL_ATTR_FAMILY_NAME, NAME)
            .attr(CTRL_ATTR_FAMILY_ID, &CONTROLLER.to_ne_bytes())
            .attr_word(CTRL_ATTR_VERSION, 2)
            .attr_word(CTRL_ATTR_HDRSIZE, 0)
            .attr_word(CTRL_ATTR_MAXATTR, 10);
    });
    if is_dump {
        replies.done();
    }
    Ok(())
}
