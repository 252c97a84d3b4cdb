//! The ioctls of a tun file (Linux's `drivers/net/tun.c`).

use std::sync::Arc;

use abi::{Errno, Result, UserAddr};
use kernel::Task;
use netstack::{LinkConfig, Mac, Nic, NicKind, Offloads};

use super::file::{Attached, TunFile};
use super::header::{Layout, TunFlags, VNET};
use super::link::{self, TunLink};
use crate::inet::{errno, hardware_type};

const TUNSETNOCSUM: u32 = 0x4004_54c8;
const TUNSETDEBUG: u32 = 0x4004_54c9;
const TUNSETIFF: u32 = 0x4004_54ca;
const TUNSETPERSIST: u32 = 0x4004_54cb;
const TUNSETOWNER: u32 = 0x4004_54cc;
const TUNSETGROUP: u32 = 0x4004_54ce;
const TUNGETFEATURES: u32 = 0x8004_54cf;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
const TUNGETIFF: u32 = 0x8004_54d2;
const TUNGETSNDBUF: u32 = 0x8004_54d3;
const TUNSETSNDBUF: u32 = 0x4004_54d4;
const TUNGETVNETHDRSZ: u32 = 0x8004_54d7;
const TUNSETVNETHDRSZ: u32 = 0x4004_54d8;
const TUNSETCARRIER: u32 = 0x4004_54e2;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCSIFHWADDR: u32 = 0x8924;

/// Bytes of a `struct ifreq`, and of the name that it begins with.
const IFREQ: usize = 40;
const NAME: usize = 16;
/// `TUN_F_CSUM`, and `TUN_F_TSO4 | TUN_F_TSO6`; all of which the kernel knows.
const OFFLOAD_CHECKSUM: u64 = 0x1;
const OFFLOAD_SEGMENTS: u64 = 0x6;
const OFFLOAD_ECN: u64 = 0x8;
/// Interfaces of a name space that guests may make.
const MAX_LINKS: usize = 1024;

/// Answers an ioctl.
pub(super) fn ioctl(file: &TunFile, task: &Task, command: u32, arg: u64) -> Result<u64> {
    let (mm, at) = (task.mm(), UserAddr(arg));
    match command {
        TUNSETIFF => return set_interface(file, task, at),
        TUNGETFEATURES => {
            let all = TunFlags::TUN | TunFlags::TAP | TunFlags::NO_PI | TunFlags::ONE_QUEUE;
            mm.write_object(at, &u32::from((all | TunFlags::VNET_HDR).bits()))?;
            return Ok(0);
        }
        _ => {}
    }
    let attached = file.attached()?;
    match command {
        TUNGETIFF => mm.write(at, &describe(&attached))?,
        TUNSETNOCSUM | TUNSETDEBUG => {}
        TUNSETPERSIST => attached.link.change(|state| state.is_persistent = arg != 0),
        TUNSETOWNER => {
            let owner = task.creds().user_ns.to_kernel_uid(arg as u32).ok_or(Errno::EINVAL)?;
            attached.link.change(|state| state.owner = Some(owner));
        }
        TUNSETGROUP => {
            let group = task.creds().user_ns.to_kernel_gid(arg as u32).ok_or(Errno::EINVAL)?;
            attached.link.change(|state| state.group = Some(group));
        }
        TUNSETOFFLOAD => set_offloads(&attached, arg)?,
        // What is written is received at once: nothing waits to be sent.
        TUNGETSNDBUF => mm.write_object(at, &i32::MAX)?,
        TUNSETSNDBUF if mm.read_object::<i32>(at)? <= 0 => return Err(Errno::EINVAL),
        TUNSETSNDBUF => {}
        TUNGETVNETHDRSZ => mm.write_object(at, &(*file.vnet_len.lock() as i32))?,
        TUNSETVNETHDRSZ => set_header_len(file, mm.read_object(at)?)?,
        TUNSETCARRIER => {
            let has_carrier = mm.read_object::<u32>(at)? != 0;
            attached.link.change(|state| state.has_carrier = has_carrier);
            file.net.announce_changed(&attached.nic);
        }
        SIOCGIFHWADDR => {
            let mut request = describe(&attached);
            request[NAME..].fill(0);
            request[NAME..NAME + 2].copy_from_slice(&hardware_type(&attached.nic).to_ne_bytes());
            request[NAME + 2..NAME + 8].copy_from_slice(&attached.nic.mac().0);
            mm.write(at, &request)?;
        }
        SIOCSIFHWADDR => {
            let mut request = [0; IFREQ];
            mm.read(at, &mut request)?;
            let mac: [u8; 6] = request[NAME + 2..NAME + 8].try_into().map_err(|_| Errno::EINVAL)?;
            file.net.stack().set_mac(&attached.nic, Mac(mac)).map_err(errno)?;
        }
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

/// The `struct ifreq` of an interface: name and flags.
fn describe(attached: &Attached) -> [u8; IFREQ] {
    /// `IFF_NOFILTER`: nothing is filtered. Linux gives it the bit of `IFF_NO_PI`.
    const NO_FILTER: TunFlags = TunFlags::NO_PI;
    let mut request = [0; IFREQ];
    put(&mut request, &attached.nic, attached.layout.flags | NO_FILTER);
    request
}

fn put(request: &mut [u8; IFREQ], nic: &Nic, flags: TunFlags) {
    let name = nic.name();
    let len = name.len().min(NAME - 1);
    request[..NAME].fill(0);
    request[..len].copy_from_slice(&name.as_bytes()[..len]);
    request[NAME..NAME + 2].copy_from_slice(&flags.bits().to_ne_bytes());
}

/// `TUNSETIFF`: makes an interface, or takes one up that is there and has no other end.
fn set_interface(file: &TunFile, task: &Task, at: UserAddr) -> Result<u64> {
    let mm = task.mm();
    let mut request = [0; IFREQ];
    mm.read(at, &mut request)?;
    let mut attached = file.attached.lock();
    if attached.as_ref().is_some_and(|attached| !attached.link.state().is_gone) {
        return Err(Errno::EEXIST);
    }
    let flags = u16::from_ne_bytes([request[NAME], request[NAME + 1]]);
    let flags = TunFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let modes = flags & (TunFlags::TUN | TunFlags::TAP);
    if modes != TunFlags::TUN && modes != TunFlags::TAP {
        return Err(Errno::EINVAL);
    }
    let name = request[..NAME].split(|byte| *byte == 0).next().unwrap_or_default();
    let name = std::str::from_utf8(name).map_err(|_| Errno::EINVAL)?;
    let layout = Layout { flags: flags - TunFlags::EXCL, vnet_len: *file.vnet_len.lock() };
    file.reader.clear();
    let (nic, link) = match file.net.stack().nic_by_name(name) {
        Some(nic) => {
            let link = take_up(file, task, &nic, layout, flags.contains(TunFlags::EXCL))?;
            (nic, link)
        }
        None => make(file, task, name, layout)?,
    };
    put(&mut request, &nic, layout.flags);
    file.net.announce_changed(&nic);
    *attached = Some(Attached { nic, link, layout });
    drop(attached);
    mm.write(at, &request)?;
    Ok(0)
}

/// Becomes the other end of an interface that is there.
fn take_up(
    file: &TunFile,
    task: &Task,
    nic: &Arc<Nic>,
    layout: Layout,
    must_be_new: bool,
) -> Result<Arc<TunLink>> {
    if must_be_new {
        return Err(Errno::EBUSY);
    }
    let link = link::of(nic).filter(|_| nic.kind == layout.kind()).ok_or(Errno::EINVAL)?;
    let (state, creds) = (link.state(), task.creds());
    let is_owners = state.owner.is_none_or(|owner| owner == creds.euid);
    let is_groups = state.group.is_none_or(|group| group == creds.egid || creds.groups.contains(&group));
    if !(is_owners && is_groups) || state.owner.is_none() && state.group.is_none() {
        file.net.check_admin(task)?;
    }
    if link.attach(layout.flags, &file.reader) { Ok(link) } else { Err(Errno::EBUSY) }
}

fn make(file: &TunFile, task: &Task, name: &str, layout: Layout) -> Result<(Arc<Nic>, Arc<TunLink>)> {
    file.net.check_admin(task)?;
    let stack = file.net.stack();
    if stack.nics().len() >= MAX_LINKS {
        return Err(Errno::ENOSPC);
    }
    let pattern = if layout.kind() == NicKind::Ip { "tun%d" } else { "tap%d" };
    let name = if name.is_empty() { pattern } else { name };
    let link = TunLink::new(stack.budget(), layout.flags, &file.reader);
    let config = LinkConfig { kind: layout.kind(), name: name.to_owned(), ..LinkConfig::default() };
    let nic = stack.add_device(&config, link.clone()).map_err(errno)?;
    Ok((nic, link))
}

/// `TUNSETOFFLOAD`.
fn set_offloads(attached: &Attached, bits: u64) -> Result<()> {
    let is_known = bits & !(OFFLOAD_CHECKSUM | OFFLOAD_SEGMENTS | OFFLOAD_ECN) == 0;
    let has_checksum = bits & OFFLOAD_CHECKSUM != 0;
    if !is_known || !has_checksum && bits != 0 {
        return Err(Errno::EINVAL);
    }
    // Without the header nobody would be told.
    let has_header = attached.layout.flags.contains(TunFlags::VNET_HDR);
    let offloads = Offloads {
        tx_checksum: has_header && has_checksum,
        segmentation: has_header && bits & OFFLOAD_SEGMENTS == OFFLOAD_SEGMENTS,
    };
    attached.link.change(|state| state.offloads = offloads);
    Ok(())
}

/// `TUNSETVNETHDRSZ`.
fn set_header_len(file: &TunFile, len: i32) -> Result<()> {
    /// Longer ones Linux takes too; nobody has one.
    const MAX: usize = 256;
    let len = usize::try_from(len).ok().filter(|len| (VNET..=MAX).contains(len)).ok_or(Errno::EINVAL)?;
    *file.vnet_len.lock() = len;
    if let Some(attached) = file.attached.lock().as_mut() {
        attached.layout.vnet_len = len;
    }
    Ok(())
}
