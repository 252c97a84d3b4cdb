//! `man 2 uname`, `man 2 sysinfo`, `man 2 sethostname`, `man 2 vhangup`.

use abi::{Errno, UserAddr};
use zerocopy::{Immutable, IntoBytes};

use crate::syscalls::table::Args;
use crate::task::{Capability, UtsNamespace};
use crate::version::{MACHINE, RELEASE, SYSNAME, VERSION};
use crate::{CurrentTask, SysResult, Task};

/// Bytes of a name in `struct new_utsname`, the NUL included.
const NAME_LEN: usize = 65;

fn field(text: &str) -> [u8; NAME_LEN] {
    let mut field = [0; NAME_LEN];
    let len = text.len().min(NAME_LEN - 1);
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field
}

pub(super) fn uname(task: &mut CurrentTask, args: Args) -> SysResult {
    let uts = task.namespaces().uts.clone();
    let (host, domain) = (uts.host_name(), uts.domain_name());
    let domain = if domain.is_empty() { "(none)" } else { &domain };
    let names = [SYSNAME, &host, RELEASE, VERSION, MACHINE, domain].map(field);
    task.mm().write_object(UserAddr(args.0[0]), &names)?;
    Ok(0)
}

/// Reads a new name for the task's UTS name space, if it may change that.
fn new_name(task: &Task, args: &Args) -> abi::Result<(std::sync::Arc<UtsNamespace>, String)> {
    let uts = task.namespaces().uts.clone();
    if !task.creds().has_in(uts.user_ns(), Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(args.0[1] as i32).map_err(|_| Errno::EINVAL)?;
    if len >= NAME_LEN {
        return Err(Errno::EINVAL);
    }
    let mut name = vec![0; len];
    task.mm().read(UserAddr(args.0[0]), &mut name)?;
    name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(len));
    Ok((uts, String::from_utf8_lossy(&name).into_owned()))
}

pub(super) fn sethostname(task: &mut CurrentTask, args: Args) -> SysResult {
    let (uts, name) = new_name(task, &args)?;
    uts.set_host_name(&name);
    Ok(0)
}

pub(super) fn setdomainname(task: &mut CurrentTask, args: Args) -> SysResult {
    let (uts, name) = new_name(task, &args)?;
    uts.set_domain_name(&name);
    Ok(0)
}

/// `struct sysinfo` of x86-64.
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Sysinfo {
    uptime: i64,
    loads: [u64; 3],
    totalram: u64,
    freeram: u64,
    sharedram: u64,
    bufferram: u64,
    totalswap: u64,
    freeswap: u64,
    procs: u16,
    pad: u16,
    pad2: u32,
    totalhigh: u64,
    freehigh: u64,
    mem_unit: u32,
    pad3: u32,
}

pub(super) fn sysinfo(task: &mut CurrentTask, args: Args) -> SysResult {
    let kernel = task.kernel();
    let total = kernel.total_memory();
    let info = Sysinfo {
        uptime: kernel.timekeeper.monotonic().0 / abi::time::NSEC_PER_SEC,
        totalram: total,
        freeram: total.saturating_sub(kernel.memory.used()),
        procs: u16::try_from(kernel.tasks.len()).unwrap_or(u16::MAX),
        mem_unit: 1,
        ..Sysinfo::default()
    };
    task.mm().write_object(UserAddr(args.0[0]), &info)?;
    Ok(0)
}

pub(super) fn vhangup(task: &mut CurrentTask, _args: Args) -> SysResult {
    if !task.creds().capable(Capability::SysTtyConfig) {
        return Err(Errno::EPERM.into());
    }
    if let Some(terminal) = task.thread_group().session().terminal() {
        terminal.hang_up();
    }
    Ok(0)
}
