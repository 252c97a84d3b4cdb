//! Netlink: messages, attributes, and what rtnetlink says in them (`linux/netlink.h`, `linux/rtnetlink.h`,
//! `linux/neighbour.h`; `man 7 netlink`, `man 7 rtnetlink`).
#![allow(missing_docs, reason = "Linux's names: man 7 netlink, man 7 rtnetlink")]

// Types of messages. Those below the least are netlink's own.
pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;
pub const NLMSG_MIN_TYPE: u16 = 16;

// Flags of messages. The upper ones mean different things to different requests and answers.
pub const NLM_F_REQUEST: u16 = 1;
pub const NLM_F_MULTI: u16 = 2;
pub const NLM_F_ACK: u16 = 4;
/// Of requests that get something: all there is.
pub const NLM_F_DUMP: u16 = 0x300;
/// Of requests that make something.
pub const NLM_F_REPLACE: u16 = 0x100;
pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_CREATE: u16 = 0x400;
pub const NLM_F_APPEND: u16 = 0x800;
/// Of requests that delete something: not what is inside.
pub const NLM_F_NONREC: u16 = 0x100;
/// Of answers: the request is not repeated.
pub const NLM_F_CAPPED: u16 = 0x100;

/// An attribute's type without its flags.
pub const NLA_TYPE_MASK: u16 = 0x3fff;
/// Its value consists of attributes.
pub const NLA_F_NESTED: u16 = 0x8000;

// Types of rtnetlink's messages: in fours, to make, delete, get and set something.
pub const RTM_NEWLINK: u16 = 16;
pub const RTM_DELLINK: u16 = 17;
pub const RTM_GETLINK: u16 = 18;
pub const RTM_SETLINK: u16 = 19;
pub const RTM_NEWADDR: u16 = 20;
pub const RTM_DELADDR: u16 = 21;
pub const RTM_GETADDR: u16 = 22;
pub const RTM_NEWROUTE: u16 = 24;
pub const RTM_DELROUTE: u16 = 25;
pub const RTM_GETROUTE: u16 = 26;
pub const RTM_NEWNEIGH: u16 = 28;
pub const RTM_DELNEIGH: u16 = 29;
pub const RTM_GETNEIGH: u16 = 30;
pub const RTM_NEWRULE: u16 = 32;
pub const RTM_GETRULE: u16 = 34;
pub const RTM_NEWQDISC: u16 = 36;
pub const RTM_GETQDISC: u16 = 38;
pub const RTM_NEWNSID: u16 = 88;
pub const RTM_GETNSID: u16 = 90;

// Attributes of neighbours.
pub const NDA_DST: u16 = 1;
pub const NDA_LLADDR: u16 = 2;
pub const NDA_CACHEINFO: u16 = 3;
pub const NDA_MASTER: u16 = 9;

/// Among a route's metrics.
pub const RTAX_MTU: u16 = 2;
