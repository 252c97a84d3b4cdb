//! Options of level `SOL_PACKET`.

use abi::{Errno, Result};
use kernel::Task;

use super::file::Shared;
use super::ring::{HEADER, Layout, Ring};
use crate::inet::errno;

const ADD_MEMBERSHIP: i32 = 1;
const DROP_MEMBERSHIP: i32 = 2;
const RX_RING: i32 = 5;
const STATISTICS: i32 = 6;
pub(super) const AUXDATA: i32 = 8;
const VERSION: i32 = 10;
pub(super) const HDRLEN: i32 = 11;
const RESERVE: i32 = 12;
const TIMESTAMP: i32 = 17;
const IGNORE_OUTGOING: i32 = 23;
/// `TPACKET_V2`, the only ring there is.
const V2: i32 = 1;
/// `PACKET_MR_PROMISC`; the other kinds add nothing here: links pass all groups on.
const PROMISCUOUS: u16 = 1;
/// `PACKET_MR_MULTICAST`, `PACKET_MR_ALLMULTI`, `PACKET_MR_UNICAST`.
const GROUPS: std::ops::RangeInclusive<u16> = 0..=3;
/// The most that may be left free before each packet.
const MAX_RESERVE: u32 = 4096;

/// What a guest has set.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) aux_data: bool,
    /// Bytes left free before each packet of the ring.
    pub(super) reserve: u32,
    /// `PACKET_VERSION`.
    version: i32,
    /// `PACKET_TIMESTAMP`, kept and without meaning: there is one clock.
    timestamp: i32,
    has_ring: bool,
}

/// The value of an option.
pub(super) fn get(shared: &Shared, name: i32) -> Result<Vec<u8>> {
    let int = |value: i32| Ok(value.to_ne_bytes().to_vec());
    let settings = shared.settings.lock();
    match name {
        STATISTICS => {
            let (packets, drops) = shared.socket.take_statistics();
            Ok([packets.to_ne_bytes(), drops.to_ne_bytes()].concat())
        }
        AUXDATA => int(settings.aux_data.into()),
        VERSION => int(settings.version),
        RESERVE => int(settings.reserve.cast_signed()),
        TIMESTAMP => int(settings.timestamp),
        IGNORE_OUTGOING => int(shared.socket.is_ignoring_outgoing().into()),
        _ => Err(Errno::ENOPROTOOPT),
    }
}

/// `PACKET_HDRLEN`: the length of the header of the version that the caller names.
pub(super) fn header_len(given: &[u8]) -> Result<Vec<u8>> {
    let version = i32::from_ne_bytes(*given.first_chunk().ok_or(Errno::EINVAL)?);
    if version == V2 { Ok((HEADER as i32).to_ne_bytes().to_vec()) } else { Err(Errno::EINVAL) }
}

/// Sets an option.
pub(super) fn set(task: &Task, shared: &Shared, name: i32, value: &[u8]) -> Result<()> {
    let number = || value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).ok_or(Errno::EINVAL);
    match name {
        ADD_MEMBERSHIP | DROP_MEMBERSHIP => change_membership(shared, value, name == ADD_MEMBERSHIP),
        RX_RING => set_ring(task, shared, value),
        AUXDATA => number().map(|on| shared.settings.lock().aux_data = on != 0),
        TIMESTAMP => number().map(|flags| shared.settings.lock().timestamp = flags),
        IGNORE_OUTGOING => match number()? {
            on @ 0..=1 => {
                shared.socket.ignore_outgoing(on == 1);
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        },
        VERSION | RESERVE => {
            let (number, mut settings) = (number()?, shared.settings.lock());
            if settings.has_ring {
                return Err(Errno::EBUSY);
            }
            match (name, u32::try_from(number)) {
                (VERSION, _) if number == V2 => settings.version = number,
                (RESERVE, Ok(reserve)) if reserve <= MAX_RESERVE => settings.reserve = reserve,
                _ => return Err(Errno::EINVAL),
            }
            Ok(())
        }
        _ => Err(Errno::ENOPROTOOPT),
    }
}

/// `struct packet_mreq`.
fn change_membership(shared: &Shared, value: &[u8], joins: bool) -> Result<()> {
    let head: &[u8; 16] = value.first_chunk().ok_or(Errno::EINVAL)?;
    let interface = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
    match u16::from_ne_bytes([head[4], head[5]]) {
        PROMISCUOUS => shared.socket.set_promiscuous(interface, joins).map_err(errno),
        kind if GROUPS.contains(&kind) => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// `struct tpacket_req`: a ring without blocks does away with the one there is.
fn set_ring(task: &Task, shared: &Shared, value: &[u8]) -> Result<()> {
    let head: &[u8; 16] = value.first_chunk().ok_or(Errno::EINVAL)?;
    let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let layout = Layout { block_size: word(0), blocks: word(4), frame_size: word(8), frames: word(12) };
    let mut settings = shared.settings.lock();
    if layout.blocks == 0 {
        settings.has_ring = false;
        drop(settings);
        shared.set_ring(None);
        return Ok(());
    }
    if settings.has_ring {
        return Err(Errno::EBUSY);
    }
    if settings.version != V2 {
        return Err(Errno::EINVAL);
    }
    let ring = Ring::new(&task.kernel().memory, layout, settings.reserve)?;
    settings.has_ring = true;
    drop(settings);
    shared.set_ring(Some(ring));
    Ok(())
}

/// `struct tpacket_auxdata`, for a packet whose link header has `header` bytes.
pub(super) fn aux_data(got: &netstack::Received, header: usize) -> Vec<u8> {
    const USER: u32 = 1;
    let mut data = Vec::with_capacity(20);
    for word in [USER, got.full_len as u32, got.copied as u32] {
        data.extend(word.to_ne_bytes());
    }
    for half in [0, header as u16, 0, 0] {
        data.extend(half.to_ne_bytes());
    }
    data
}
