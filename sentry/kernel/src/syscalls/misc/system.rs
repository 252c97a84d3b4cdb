//! `man 2 uname`, `man 2 sysinfo`, `man 2 sethostname`, `man 2 vhangup`, `man 2 reboot`, `man 2 sysfs`.

use abi::{Errno, PAGE_SIZE, Signal, UserAddr};
use zerocopy::{Immutable, IntoBytes};

use crate::syscalls::table::Args;
use crate::task::{Capability, ExitStatus, UtsNamespace};
use crate::version::{MACHINE, MACHINE_32, RELEASE, SYSNAME, VERSION};
use crate::{CurrentTask, SysResult, Task};

/// Bytes of a name in `struct new_utsname`, the NUL included.
const NAME_LEN: usize = 65;

fn field(text: &str) -> [u8; NAME_LEN] {
    let mut field = [0; NAME_LEN];
    let len = text.len().min(NAME_LEN - 1);
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field
}

/// The flag of personality(2) for programs that fear a version above 2.6.
const UNAME26: u32 = 0x0002_0000;

/// The kind of personality(2) that is told of a 32-bit processor, and the bits that hold the kind.
const PER_LINUX32: u32 = 8;
const PER_MASK: u32 = 0xff;

/// The release as one of 2.6: 6.12 is 2.6.72.
fn release_26() -> String {
    let digits = RELEASE.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(RELEASE.len());
    let (number, rest) = RELEASE.split_at(digits);
    let minor = number.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap_or(0);
    format!("2.6.{}{rest}", minor + 60)
}

pub(super) fn uname(task: &mut CurrentTask, args: Args) -> SysResult {
    let uts = task.namespaces().uts.clone();
    let (host, domain) = (uts.host_name(), uts.domain_name());
    let domain = if domain.is_empty() { "(none)" } else { &domain };
    let personality = task.thread_group().personality();
    let release = if personality & UNAME26 != 0 { release_26() } else { RELEASE.to_owned() };
    let machine = if personality & PER_MASK == PER_LINUX32 { MACHINE_32 } else { MACHINE };
    let names = [SYSNAME, &host, &release, VERSION, machine, domain].map(field);
    task.mm().write_object(args.addr(0), &names)?;
    Ok(0)
}

/// Reads a new name for the task's UTS name space, if it may change that.
fn new_name(task: &Task, args: &Args) -> abi::Result<(std::sync::Arc<UtsNamespace>, String)> {
    let uts = task.namespaces().uts.clone();
    if !task.creds().has_in(uts.user_ns(), Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(args.int(1)).map_err(|_| Errno::EINVAL)?;
    if len >= NAME_LEN {
        return Err(Errno::EINVAL);
    }
    let mut name = vec![0; len];
    task.mm().read(args.addr(0), &mut name)?;
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

/// `1 << SI_LOAD_SHIFT`
const LOAD_UNIT: f64 = 65536.0;

pub(super) fn sysinfo(task: &mut CurrentTask, args: Args) -> SysResult {
    let kernel = task.kernel();
    let total = kernel.total_memory();
    let info = Sysinfo {
        uptime: kernel.timekeeper.monotonic().0 / abi::time::NSEC_PER_SEC,
        loads: kernel.tasks.load_averages().map(|load| (load * LOAD_UNIT) as u64),
        totalram: total,
        freeram: total.saturating_sub(kernel.memory.used()),
        procs: u16::try_from(kernel.tasks.len()).unwrap_or(u16::MAX),
        mem_unit: 1,
        ..Sysinfo::default()
    };
    task.mm().write_object(args.addr(0), &info)?;
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

/// `LINUX_REBOOT_MAGIC1`, and the second ones.
const REBOOT_MAGIC: u32 = 0xfee1_dead;
const REBOOT_MAGICS: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
/// `LINUX_REBOOT_CMD_*`.
const RESTART: u32 = 0x0123_4567;
const RESTART2: u32 = 0xa1b2_c3d4;
const HALT: u32 = 0xcdef_0123;
const POWER_OFF: u32 = 0x4321_fedc;

/// As in every pid name space but the host's: its first process ends as if by a signal that says what was asked for.
pub(super) fn reboot(task: &mut CurrentTask, args: Args) -> SysResult {
    let [magic, magic2, command, ..] = args.0.map(|arg| arg as u32);
    let pid_ns = task.pid_ns();
    if !task.creds().has_in(pid_ns.user_ns(), Capability::SysBoot) {
        return Err(Errno::EPERM.into());
    }
    if magic != REBOOT_MAGIC || !REBOOT_MAGICS.contains(&magic2) {
        return Err(Errno::EINVAL.into());
    }
    let signal = match command {
        RESTART | RESTART2 => Signal::HUP,
        HALT | POWER_OFF => Signal::INT,
        _ => return Err(Errno::EINVAL.into()),
    };
    if let Some(init) = pid_ns.init() {
        init.kill(ExitStatus::Killed { signal, core: false });
    }
    task.task().begin_exit(ExitStatus::Exited(0));
    Ok(0)
}

/// The file-system types, by number and by name.
pub(super) fn sysfs(task: &mut CurrentTask, args: Args) -> SysResult {
    let [option, name_or_index, buffer, ..] = args.0;
    let types = task.kernel().vfs.fs_types();
    match option as i32 {
        1 => {
            let name = task.mm().read_cstring(UserAddr(name_or_index), PAGE_SIZE as usize)?;
            let index = types.iter().position(|fs_type| fs_type.name().as_bytes() == name);
            Ok(index.ok_or(Errno::EINVAL)? as u64)
        }
        2 => {
            let fs_type = types.get(name_or_index as u32 as usize).ok_or(Errno::EINVAL)?;
            let text = [fs_type.name().as_bytes(), b"\0"].concat();
            task.mm().write(UserAddr(buffer), &text)?;
            Ok(0)
        }
        3 => Ok(types.len() as u64),
        _ => Err(Errno::EINVAL.into()),
    }
}
