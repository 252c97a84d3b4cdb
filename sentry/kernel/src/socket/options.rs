//! The options of level `SOL_SOCKET` that every family keeps in the same way (`man 7 socket`).
//!
//! Lock: `values`, a leaf.

use std::sync::Arc;

use abi::socket::so;
use abi::time::Timeval;
use abi::{Errno, Result};
use parking_lot::Mutex;
use zerocopy::{FromBytes, IntoBytes};

use crate::Task;
use crate::task::{Capability, UserNamespace};

/// `net.core.rmem_default`, `wmem_default`.
const DEFAULT_BUFFER: u32 = 212_992;
/// `net.core.rmem_max`, `wmem_max`: what an unprivileged guest may ask for (before Linux doubles it).
const MAX_BUFFER: u32 = 4 << 20;
/// The smallest buffers, doubled (`SOCK_MIN_SNDBUF`, `SOCK_MIN_RCVBUF`).
const MIN_SNDBUF: u32 = 4608;
const MIN_RCVBUF: u32 = 2304;

/// `SO_LINGER`: whether close waits, and for how many seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linger {
    /// Whether it does.
    pub on: bool,
    /// Seconds.
    pub seconds: u32,
}

#[derive(Clone, Copy, Debug)]
struct Values {
    /// The Boolean options: [`bit`] of each.
    flags: u64,
    send_buffer: u32,
    receive_buffer: u32,
    send_timeout_ns: Option<i64>,
    receive_timeout_ns: Option<i64>,
    linger: Linger,
    priority: i32,
    mark: i32,
    low_water: i32,
    /// `SO_PEEK_OFF`: where the next peek begins; negative where each begins with what would be read next.
    peek_offset: i32,
    /// `SO_RCVBUF` was set by the guest: no autotuning.
    receive_buffer_locked: bool,
    /// `SO_SNDBUF` was.
    send_buffer_locked: bool,
}

/// The common options of one socket.
#[derive(Debug)]
pub struct SocketOptions {
    values: Mutex<Values>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        let values = Values {
            flags: 0,
            send_buffer: DEFAULT_BUFFER,
            receive_buffer: DEFAULT_BUFFER,
            send_timeout_ns: None,
            receive_timeout_ns: None,
            linger: Linger::default(),
            priority: 0,
            mark: 0,
            low_water: 1,
            peek_offset: -1,
            receive_buffer_locked: false,
            send_buffer_locked: false,
        };
        Self { values: Mutex::new(values) }
    }
}

const BOOLEANS: &[i32] = &[
    so::DEBUG,
    so::REUSEADDR,
    so::DONTROUTE,
    so::BROADCAST,
    so::KEEPALIVE,
    so::OOBINLINE,
    so::NO_CHECK,
    so::REUSEPORT,
    so::PASSCRED,
    so::TIMESTAMP,
    so::TIMESTAMPNS,
    so::PASSSEC,
    so::RXQ_OVFL,
    so::ZEROCOPY,
    so::PASSPIDFD,
];

/// Where a Boolean option is kept: no two of them have the same.
const fn bit(name: i32) -> u64 {
    1 << (name & 63)
}

impl SocketOptions {
    /// What a connection has whose listener has `listener`: the same.
    #[must_use]
    pub fn inherited(listener: &Self) -> Self {
        Self { values: Mutex::new(*listener.values.lock()) }
    }

    /// Takes over from a listener what the ends of connections within the host inherit (`unix(7)`): whether credentials,
    /// security labels and process descriptors come with messages.
    pub fn inherit_passing(&self, listener: &Self) {
        const PASSING: u64 = bit(so::PASSCRED) | bit(so::PASSSEC) | bit(so::PASSPIDFD);
        let inherited = listener.values.lock().flags & PASSING;
        let flags = &mut self.values.lock().flags;
        *flags = *flags & !PASSING | inherited;
    }

    /// The value of a Boolean option.
    #[must_use]
    pub fn is_set(&self, name: i32) -> bool {
        self.values.lock().flags & bit(name) != 0
    }

    /// `SO_RCVTIMEO`, nanoseconds; `None` waits for ever.
    #[must_use]
    pub fn receive_timeout_ns(&self) -> Option<i64> {
        self.values.lock().receive_timeout_ns
    }

    /// `SO_SNDTIMEO`, nanoseconds; `None` waits for ever.
    #[must_use]
    pub fn send_timeout_ns(&self) -> Option<i64> {
        self.values.lock().send_timeout_ns
    }

    /// `SO_SNDBUF`, bytes, as getsockopt tells it (doubled).
    #[must_use]
    pub fn send_buffer(&self) -> usize {
        self.values.lock().send_buffer as usize
    }

    /// `SO_RCVBUF`, bytes, as getsockopt tells it (doubled).
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.values.lock().receive_buffer as usize
    }

    /// Whether the guest has fixed the receive buffer.
    #[must_use]
    pub fn is_receive_buffer_locked(&self) -> bool {
        self.values.lock().receive_buffer_locked
    }

    /// Whether the guest has fixed the send buffer.
    #[must_use]
    pub fn is_send_buffer_locked(&self) -> bool {
        self.values.lock().send_buffer_locked
    }

    /// `SO_RCVLOWAT`, bytes.
    #[must_use]
    pub fn low_water(&self) -> usize {
        self.values.lock().low_water.max(1) as usize
    }

    /// `SO_PEEK_OFF`: how many waiting bytes a peek passes over.
    #[must_use]
    pub fn peek_offset(&self) -> usize {
        usize::try_from(self.values.lock().peek_offset).unwrap_or(0)
    }

    /// Moves that, if there is one, by what was peeked or, backwards, by what was read.
    pub fn move_peek_offset(&self, count: usize, is_peek: bool) {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let offset = &mut self.values.lock().peek_offset;
        if *offset >= 0 {
            *offset = if is_peek { offset.saturating_add(count) } else { (*offset - count).max(0) };
        }
    }

    /// `SO_LINGER`.
    #[must_use]
    pub fn linger(&self) -> Linger {
        self.values.lock().linger
    }

    /// The encoded value of option `name`; `None` where it is not one of ours.
    #[must_use]
    pub fn get(&self, name: i32) -> Option<Vec<u8>> {
        let values = *self.values.lock();
        let int = |value: i32| Some(value.to_ne_bytes().to_vec());
        match name {
            so::SNDBUF => int(values.send_buffer as i32),
            so::RCVBUF => int(values.receive_buffer as i32),
            so::SNDLOWAT => int(1),
            so::RCVLOWAT => int(values.low_water),
            so::PRIORITY => int(values.priority),
            so::MARK => int(values.mark),
            so::BUSY_POLL | so::INCOMING_NAPI_ID | so::PREFER_BUSY_POLL | so::TIMESTAMPING => int(0),
            so::INCOMING_CPU => int(-1),
            so::PEEK_OFF => int(values.peek_offset),
            so::SNDTIMEO => Some(encode_timeout(values.send_timeout_ns)),
            so::RCVTIMEO => Some(encode_timeout(values.receive_timeout_ns)),
            so::LINGER => {
                let words = [i32::from(values.linger.on), values.linger.seconds as i32];
                Some(words.as_bytes().to_vec())
            }
            _ if BOOLEANS.contains(&name) => int(i32::from(values.flags & bit(name) != 0)),
            _ => None,
        }
    }

    /// Sets option `name` of a socket whose network `owner` owns; `None` where it is not one of ours.
    pub fn set(
        &self,
        task: &Task,
        owner: &Arc<UserNamespace>,
        name: i32,
        value: &[u8],
    ) -> Option<Result<()>> {
        let creds = task.creds();
        // Who tells packets from others.
        let may_mark =
            || creds.has_in(owner, Capability::NetRaw) || creds.has_in(owner, Capability::NetAdmin);
        Some(match name {
            so::SNDTIMEO => decode_timeout(value).map(|ns| self.values.lock().send_timeout_ns = ns),
            so::RCVTIMEO => decode_timeout(value).map(|ns| self.values.lock().receive_timeout_ns = ns),
            so::SNDLOWAT => Err(Errno::ENOPROTOOPT),
            so::LINGER => decode_linger(value).map(|linger| self.values.lock().linger = linger),
            so::SNDBUFFORCE | so::RCVBUFFORCE if !creds.capable(Capability::NetAdmin) => Err(Errno::EPERM),
            so::MARK if !may_mark() => Err(Errno::EPERM),
            so::PRIORITY
            | so::SNDBUF
            | so::RCVBUF
            | so::RCVLOWAT
            | so::MARK
            | so::SNDBUFFORCE
            | so::RCVBUFFORCE => decode_int(value).and_then(|number| {
                if name == so::PRIORITY && !(0..=6).contains(&number) && !may_mark() {
                    return Err(Errno::EPERM);
                }
                self.set_number(name, number);
                Ok(())
            }),
            so::BUSY_POLL | so::INCOMING_CPU | so::PREFER_BUSY_POLL | so::TIMESTAMPING => {
                decode_int(value).map(|_| ())
            }
            so::PEEK_OFF => decode_int(value).map(|offset| self.values.lock().peek_offset = offset),
            so::ZEROCOPY if !matches!(decode_int(value), Ok(0 | 1)) => Err(Errno::EINVAL),
            _ if BOOLEANS.contains(&name) => decode_int(value).map(|number| {
                let flags = &mut self.values.lock().flags;
                *flags = if number != 0 { *flags | bit(name) } else { *flags & !bit(name) };
            }),
            _ => return None,
        })
    }

    fn set_number(&self, name: i32, number: i32) {
        // A negative size is a large one, except where the limit does not hold.
        let number = if matches!(name, so::SNDBUFFORCE | so::RCVBUFFORCE) { number.max(0) } else { number };
        let doubled = |max: u32, min: u32| number.cast_unsigned().min(max).saturating_mul(2).max(min);
        let mut values = self.values.lock();
        match name {
            so::SNDBUF | so::SNDBUFFORCE => {
                let max = if name == so::SNDBUF { MAX_BUFFER } else { u32::MAX / 4 };
                values.send_buffer = doubled(max, MIN_SNDBUF);
                values.send_buffer_locked = true;
            }
            so::RCVBUF | so::RCVBUFFORCE => {
                let max = if name == so::RCVBUF { MAX_BUFFER } else { u32::MAX / 4 };
                values.receive_buffer = doubled(max, MIN_RCVBUF);
                values.receive_buffer_locked = true;
            }
            so::RCVLOWAT => values.low_water = if number < 0 { i32::MAX } else { number.max(1) },
            so::PRIORITY => values.priority = number,
            _ => values.mark = number,
        }
    }
}

/// The `int` that most options take.
fn decode_int(value: &[u8]) -> Result<i32> {
    i32::read_from_prefix(value).map(|(number, _)| number).map_err(|_| Errno::EINVAL)
}

fn decode_linger(value: &[u8]) -> Result<Linger> {
    let ([on, seconds], _) = <[i32; 2]>::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    Ok(Linger { on: on != 0, seconds: seconds.max(0) as u32 })
}

fn encode_timeout(ns: Option<i64>) -> Vec<u8> {
    Timeval::from_ns(ns.unwrap_or(0)).as_bytes().to_vec()
}

fn decode_timeout(value: &[u8]) -> Result<Option<i64>> {
    let (time, _) = Timeval::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    if !(0..1_000_000).contains(&time.tv_usec) {
        return Err(Errno::EDOM);
    }
    let ns = time.to_ns();
    // Linux: zero waits for ever, a negative time not at all.
    Ok(if ns == 0 { None } else { Some(ns.max(0)) })
}
