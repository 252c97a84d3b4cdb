//! NUMA policies on a machine with one node: mbind(2), set_mempolicy(2), get_mempolicy(2), migrate_pages(2),
//! move_pages(2). Policies are checked and have no effect.

use abi::{Errno, PAGE_SIZE, Result, UserAddr, page_ceil};

use crate::syscalls::process::args::memory_of;
use crate::syscalls::table::Args;
use crate::task::{Capability, Tid};
use crate::{CurrentTask, SysResult};

const MPOL_DEFAULT: u32 = 0;
const MPOL_PREFERRED: u32 = 1;
const MPOL_LOCAL: u32 = 4;
const MPOL_MAX: u32 = 7;
const MPOL_MF_MOVE: u32 = 2;
const MPOL_MF_MOVE_ALL: u32 = 4;
const MPOL_F_NODE: u64 = 1;
const MPOL_F_ADDR: u64 = 2;
const MPOL_F_MEMS_ALLOWED: u64 = 4;
/// `MPOL_F_STATIC_NODES`, `MPOL_F_RELATIVE_NODES` and `MPOL_F_NUMA_BALANCING`, which may be added to a mode.
const MODE_FLAGS: u32 = 0xe000;
/// Bits in the longest node mask (a page).
const MAX_NODES: u64 = PAGE_SIZE * 8;

/// Reads a node mask; says whether it names node 0. Other nodes do not exist.
fn read_nodes(task: &CurrentTask, addr: u64, max_node: u64) -> Result<bool> {
    // The number counts one more than there are bits.
    let bits = max_node.saturating_sub(1);
    if bits > MAX_NODES {
        return Err(Errno::EINVAL);
    }
    if addr == 0 || bits == 0 {
        return Ok(false);
    }
    let words = bits.div_ceil(64) as usize;
    let mut raw = vec![0; words * 8];
    task.mm().read(UserAddr(addr), &mut raw)?;
    let used = bits.div_ceil(8) as usize;
    let others = raw[0] & 0xfe != 0 || raw[1..used].iter().any(|&byte| byte != 0);
    if others { Err(Errno::EINVAL) } else { Ok(raw[0] & 1 != 0) }
}

fn check_policy(mode: u32, has_node: bool) -> Result<()> {
    let mode = mode & !MODE_FLAGS;
    match mode {
        MPOL_DEFAULT | MPOL_LOCAL if has_node => Err(Errno::EINVAL),
        MPOL_DEFAULT | MPOL_LOCAL | MPOL_PREFERRED => Ok(()),
        mode if mode < MPOL_MAX && has_node => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// mbind(2).
pub(super) fn mbind(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, len, _, nodes, max_node, _] = args.0;
    let mode = args.uint(2);
    let has_node = read_nodes(task, nodes, max_node)?;
    if args.uint(5) & !7 != 0 || addr % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL.into());
    }
    check_policy(mode, has_node)?;
    let end = page_ceil(len).and_then(|len| addr.checked_add(len)).ok_or(Errno::EINVAL)?;
    if end > addr {
        task.mm().check_mapped(addr..end).map_err(|_| Errno::EFAULT)?;
    }
    Ok(0)
}

/// set_mempolicy(2).
pub(super) fn set_mempolicy(task: &mut CurrentTask, args: Args) -> SysResult {
    let has_node = read_nodes(task, args[1], args[2])?;
    check_policy(args.uint(0), has_node)?;
    Ok(0)
}

/// get_mempolicy(2): the default policy, node 0.
pub(super) fn get_mempolicy(task: &mut CurrentTask, args: Args) -> SysResult {
    let [mode, nodes, max_node, addr, flags, _] = args.0;
    if flags & !(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let allowed = flags & MPOL_F_MEMS_ALLOWED != 0;
    if (allowed && flags & (MPOL_F_NODE | MPOL_F_ADDR) != 0)
        || (flags & MPOL_F_ADDR == 0 && addr != 0)
        || (flags & (MPOL_F_NODE | MPOL_F_ADDR) == MPOL_F_NODE)
        || (nodes != 0 && max_node < 1)
    {
        return Err(Errno::EINVAL.into());
    }
    let mm = task.mm();
    if flags & MPOL_F_ADDR != 0 {
        mm.check_mapped(addr..addr.checked_add(1).ok_or(Errno::EFAULT)?).map_err(|_| Errno::EFAULT)?;
    }
    if mode != 0 {
        // With MPOL_F_NODE the node is told instead, and that is 0 as well.
        mm.write_object(UserAddr(mode), &0i32)?;
    }
    if nodes != 0 {
        let mut mask = vec![0u8; (max_node.min(MAX_NODES).div_ceil(64) * 8) as usize];
        if allowed && let Some(first) = mask.first_mut() {
            *first = 1;
        }
        mm.write(UserAddr(nodes), &mask)?;
    }
    Ok(0)
}

/// migrate_pages(2): everything is where it can be.
pub(super) fn migrate_pages(task: &mut CurrentTask, args: Args) -> SysResult {
    let [pid, max_node, from, to, ..] = args.0;
    read_nodes(task, from, max_node)?;
    if !read_nodes(task, to, max_node)? {
        return Err(Errno::EINVAL.into());
    }
    if pid as Tid != 0 {
        let target = task.pid_ns().task(pid as Tid).ok_or(Errno::ESRCH)?;
        memory_of(task, &target)?;
    }
    Ok(0)
}

/// move_pages(2): tells that each page is on node 0.
pub(super) fn move_pages(task: &mut CurrentTask, args: Args) -> SysResult {
    let [pid, count, pages, nodes, status, _] = args.0;
    let flags = args.uint(5);
    if flags & !(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & MPOL_MF_MOVE_ALL != 0 && !task.creds().capable(Capability::SysNice) {
        return Err(Errno::EPERM.into());
    }
    let own = task.mm();
    let mm = if pid as Tid == 0 {
        own.clone()
    } else {
        let target = task.pid_ns().task(pid as Tid).ok_or(Errno::ESRCH)?;
        memory_of(task, &target)?
    };
    let at = |base: u64, index: u64, size: u64| {
        index.checked_mul(size).and_then(|offset| base.checked_add(offset)).map(UserAddr).ok_or(Errno::EFAULT)
    };
    for index in 0..count {
        if index % 1024 == 0 && task.is_killed() {
            return Err(Errno::EINTR.into());
        }
        let page: u64 = own.read_object(at(pages, index, 8)?)?;
        if nodes != 0 && own.read_object::<i32>(at(nodes, index, 4)?)? != 0 {
            return Err(Errno::ENODEV.into());
        }
        let result = match page.checked_add(1).map(|end| mm.check_mapped(page..end)) {
            Some(Ok(())) => 0,
            _ => -Errno::EFAULT.raw(),
        };
        own.write_object(at(status, index, 4)?, &result)?;
    }
    Ok(0)
}
