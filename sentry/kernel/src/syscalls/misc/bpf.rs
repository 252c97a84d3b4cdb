//! bpf(2), as far as container managers need it: programs that decide which devices a control group may use.

use std::any::Any;
use std::mem::offset_of;
use std::sync::Arc;

use abi::{Errno, OpenFlags, Result, UserAddr};
use bpf::DeviceProgram;
use host::heap::{self, Purpose};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::task::cgroup::{AttachFlags, Cgroup, DeviceFilter};
use crate::vfs::{AnonKind, Fd, File, FileOps};
use crate::{CurrentTask, SysResult, Task};

const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;

/// `BPF_PROG_TYPE_CGROUP_DEVICE`, `BPF_CGROUP_DEVICE`.
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// `BPF_PROG_TYPE_CGROUP_SKB`: libraries load such a program to see whether programs can be attached to groups at all.
/// It can be attached nowhere.
const PROG_TYPE_CGROUP_SKB: u32 = 8;
/// `BPF_F_QUERY_EFFECTIVE`.
const QUERY_EFFECTIVE: u32 = 1;
/// Instructions at most.
const MAX_INSTRUCTIONS: u32 = 4096;
/// About what a program takes besides its instructions.
const PROGRAM_COST: u64 = 512;
/// `struct bpf_prog_info` up to and with the name.
const INFO_LEN: usize = 80;

/// `union bpf_attr`: the longest that is looked at, of which each command has its own view.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Attr([u64; 18]);

/// `BPF_PROG_LOAD`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// `BPF_PROG_ATTACH`, `BPF_PROG_DETACH`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct AttachAttr {
    target_fd: Fd,
    attach_bpf_fd: Fd,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: Fd,
}

/// `BPF_PROG_QUERY`. Told of are the flags, the programs' numbers, and how many there are.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct QueryAttr {
    target_fd: Fd,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct InfoAttr {
    bpf_fd: Fd,
    info_len: u32,
    info: u64,
}

impl Attr {
    fn view<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<T> {
        T::read_from_prefix(self.0.as_bytes()).map(|(view, _)| view).map_err(|_| Errno::EINVAL)
    }
}

/// The group whose directory a descriptor is.
fn group(task: &Task, fd: Fd) -> Result<Arc<Cgroup>> {
    task.fd_table().get(fd)?.path().inode().cgroup().cloned().ok_or(Errno::EBADF)
}

/// The program behind a descriptor.
fn filter(task: &Task, fd: Fd) -> Result<Arc<DeviceFilter>> {
    let any: Arc<dyn Any + Send + Sync> = task.fd_table().get(fd)?.ops().clone();
    let program = any.downcast::<LoadedProgram>().map_err(|_| Errno::EINVAL)?;
    if let LoadedProgram::Device(filter) = &*program { Ok(filter.clone()) } else { Err(Errno::EINVAL) }
}

/// Where a field of what is at `at` is.
fn field(at: UserAddr, offset: usize) -> Result<UserAddr> {
    at.checked_add(offset as u64).ok_or(Errno::EFAULT)
}

/// A program as an open file.
#[derive(Debug)]
enum LoadedProgram {
    Device(Arc<DeviceFilter>),
    /// About packets: without effect.
    Packet,
}

impl FileOps for LoadedProgram {
    fn is_seekable(&self) -> bool {
        false
    }

    fn fdinfo(&self) -> String {
        let (kind, id) = match self {
            Self::Device(filter) => (PROG_TYPE_CGROUP_DEVICE, filter.id()),
            Self::Packet => (PROG_TYPE_CGROUP_SKB, 0),
        };
        format!("prog_type:\t{kind}\nprog_jited:\t0\nprog_id:\t{id}\n")
    }
}

fn open(task: &Task, program: LoadedProgram) -> SysResult {
    let kind = AnonKind::Named("bpf-prog");
    let file: Arc<File> =
        task.kernel().vfs.anon_file(kind, Arc::new(program), OpenFlags::RDWR, &task.creds());
    Ok(task.install_fd(file, true)? as u64)
}

pub(super) fn bpf(task: &mut CurrentTask, args: Args) -> SysResult {
    let creds = task.creds();
    let is_allowed = creds.capable(Capability::SysAdmin)
        || creds.capable(Capability::Bpf) && creds.capable(Capability::NetAdmin);
    if !is_allowed {
        return Err(Errno::EPERM.into());
    }
    let attr: Attr = task.mm().read_extensible(args.addr(1), u64::from(args.uint(2)), 0)?;
    match args.uint(0) {
        PROG_LOAD => load(task, &attr.view()?),
        PROG_ATTACH => attach(task, &attr.view()?),
        PROG_DETACH => detach(task, &attr.view()?),
        PROG_QUERY => query(task, &attr.view()?, args.addr(1)),
        PROG_GET_FD_BY_ID => {
            let id: u32 = attr.view()?;
            let filter = task.kernel().tasks.cgroups.device_filters.get(id).ok_or(Errno::ENOENT)?;
            open(task, LoadedProgram::Device(filter))
        }
        OBJ_GET_INFO_BY_FD => tell(task, &attr.view()?, args.addr(1)),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn load(task: &Task, attr: &LoadAttr) -> SysResult {
    if !matches!(attr.prog_type, PROG_TYPE_CGROUP_DEVICE | PROG_TYPE_CGROUP_SKB) {
        return Err(Errno::EINVAL.into());
    }
    if attr.insn_cnt == 0 || attr.insn_cnt > MAX_INSTRUCTIONS {
        return Err(Errno::E2BIG.into());
    }
    let len = attr.insn_cnt as usize * 8;
    heap::room_for(len as u64 + PROGRAM_COST, Purpose::Lasting)?;
    let mut source = vec![0; len];
    task.mm().read(UserAddr(attr.insns), &mut source)?;
    let program = DeviceProgram::new(&source).map_err(|_| Errno::EINVAL)?;
    if attr.prog_type == PROG_TYPE_CGROUP_SKB {
        return open(task, LoadedProgram::Packet);
    }
    let filters = &task.kernel().tasks.cgroups.device_filters;
    open(task, LoadedProgram::Device(filters.add(program, attr.prog_name)))
}

fn attach(task: &Task, attr: &AttachAttr) -> SysResult {
    let flags = AttachFlags::from_bits(attr.attach_flags).ok_or(Errno::EINVAL)?;
    let group = group(task, attr.target_fd)?;
    if attr.attach_type != CGROUP_DEVICE {
        return Err(Errno::EINVAL.into());
    }
    let program = filter(task, attr.attach_bpf_fd)?;
    let is_replacing = flags.contains(AttachFlags::REPLACE);
    let replaced = is_replacing.then(|| filter(task, attr.replace_bpf_fd)).transpose()?;
    group.attach_device_filter(&task.kernel().tasks.cgroups, &program, flags, replaced.as_ref())?;
    Ok(0)
}

fn detach(task: &Task, attr: &AttachAttr) -> SysResult {
    if attr.attach_type != CGROUP_DEVICE {
        return Err(Errno::EINVAL.into());
    }
    let group = group(task, attr.target_fd)?;
    let program = filter(task, attr.attach_bpf_fd).ok();
    group.detach_device_filter(&task.kernel().tasks.cgroups, program.as_ref())?;
    Ok(0)
}

fn query(task: &Task, attr: &QueryAttr, at: UserAddr) -> SysResult {
    if attr.attach_type != CGROUP_DEVICE || attr.query_flags & !QUERY_EFFECTIVE != 0 {
        return Err(Errno::EINVAL.into());
    }
    let group = group(task, attr.target_fd)?;
    let (flags, filters) = if attr.query_flags == QUERY_EFFECTIVE {
        (AttachFlags::empty(), group.effective_device_filters())
    } else {
        group.device_filters()
    };
    let ids: Vec<u32> = filters.iter().map(|filter| filter.id()).collect();
    let (mm, room) = (task.mm(), attr.prog_cnt as usize);
    mm.write_object(field(at, offset_of!(QueryAttr, attach_flags))?, &flags.bits())?;
    mm.write_object(field(at, offset_of!(QueryAttr, prog_cnt))?, &(ids.len() as u32))?;
    if room == 0 || attr.prog_ids == 0 || ids.is_empty() {
        return Ok(0);
    }
    mm.write(UserAddr(attr.prog_ids), ids[..ids.len().min(room)].as_bytes())?;
    if room < ids.len() { Err(Errno::ENOSPC.into()) } else { Ok(0) }
}

fn tell(task: &Task, attr: &InfoAttr, at: UserAddr) -> SysResult {
    let filter = filter(task, attr.bpf_fd)?;
    let mut info = [0; INFO_LEN];
    info[..4].copy_from_slice(&PROG_TYPE_CGROUP_DEVICE.to_le_bytes());
    info[4..8].copy_from_slice(&filter.id().to_le_bytes());
    info[64..].copy_from_slice(filter.name());
    let len = (attr.info_len as usize).min(INFO_LEN);
    task.mm().write(UserAddr(attr.info), &info[..len])?;
    task.mm().write_object(field(at, offset_of!(InfoAttr, info_len))?, &(len as u32))?;
    Ok(0)
}
