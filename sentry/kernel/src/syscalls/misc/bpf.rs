//! bpf(2), as far as container managers need it: programs that decide which devices a control group may use. Which
//! fields of `union bpf_attr` a command has, is at its function.

use std::any::Any;
use std::sync::Arc;

use abi::{Errno, OpenFlags, Result, UserAddr};
use bpf::DeviceProgram;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::task::cgroup::{AttachFlags, Cgroup, DeviceFilter};
use crate::vfs::{AnonKind, File, FileOps};
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
/// `struct bpf_prog_info` up to and with the name.
const INFO_LEN: usize = 80;

/// `union bpf_attr`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Attr([u32; 36]);

impl Attr {
    /// The 32 bits at byte `at`.
    fn word(&self, at: usize) -> u32 {
        self.0[at / 4]
    }

    fn addr(&self, at: usize) -> UserAddr {
        UserAddr(u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32)
    }

    /// The group whose directory the descriptor at `at` is.
    fn group(&self, task: &Task, at: usize) -> Result<Arc<Cgroup>> {
        let file = task.fd_table().get(self.word(at).cast_signed())?;
        file.path().inode().cgroup().cloned().ok_or(Errno::EBADF)
    }

    /// The program behind the descriptor at `at`.
    fn filter(&self, task: &Task, at: usize) -> Result<Arc<DeviceFilter>> {
        let file = task.fd_table().get(self.word(at).cast_signed())?;
        let any: Arc<dyn Any + Send + Sync> = file.ops().clone();
        let program = any.downcast::<LoadedProgram>().map_err(|_| Errno::EINVAL)?;
        if let LoadedProgram::Device(filter) = &*program { Ok(filter.clone()) } else { Err(Errno::EINVAL) }
    }
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
        PROG_LOAD => load(task, &attr),
        PROG_ATTACH => attach(task, &attr),
        PROG_DETACH => detach(task, &attr),
        PROG_QUERY => query(task, &attr, args.addr(1)),
        PROG_GET_FD_BY_ID => {
            let filter = task.kernel().tasks.cgroups.device_filters.get(attr.word(0)).ok_or(Errno::ENOENT)?;
            open(task, LoadedProgram::Device(filter))
        }
        OBJ_GET_INFO_BY_FD => tell(task, &attr, args.addr(1)),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `prog_type` 0, `insn_cnt` 4, `insns` 8, `prog_name` 48.
fn load(task: &Task, attr: &Attr) -> SysResult {
    if !matches!(attr.word(0), PROG_TYPE_CGROUP_DEVICE | PROG_TYPE_CGROUP_SKB) {
        return Err(Errno::EINVAL.into());
    }
    let count = attr.word(4);
    if count == 0 || count > MAX_INSTRUCTIONS {
        return Err(Errno::E2BIG.into());
    }
    let mut source = vec![0; count as usize * 8];
    task.mm().read(attr.addr(8), &mut source)?;
    let program = DeviceProgram::new(&source).map_err(|_| Errno::EINVAL)?;
    if attr.word(0) == PROG_TYPE_CGROUP_SKB {
        return open(task, LoadedProgram::Packet);
    }
    let mut name = [0; 16];
    name.copy_from_slice(attr.0[12..16].as_bytes());
    open(task, LoadedProgram::Device(task.kernel().tasks.cgroups.device_filters.add(program, name)))
}

/// `target_fd` 0, `attach_bpf_fd` 4, `attach_type` 8, `attach_flags` 12, `replace_bpf_fd` 16.
fn attach(task: &Task, attr: &Attr) -> SysResult {
    let flags = AttachFlags::from_bits(attr.word(12)).ok_or(Errno::EINVAL)?;
    let group = attr.group(task, 0)?;
    if attr.word(8) != CGROUP_DEVICE {
        return Err(Errno::EINVAL.into());
    }
    let filter = attr.filter(task, 4)?;
    let is_replacing = flags.contains(AttachFlags::REPLACE);
    let replaced = is_replacing.then(|| attr.filter(task, 16)).transpose()?;
    group.attach_device_filter(&task.kernel().tasks.cgroups, &filter, flags, replaced.as_ref())?;
    Ok(0)
}

/// As [`attach`].
fn detach(task: &Task, attr: &Attr) -> SysResult {
    if attr.word(8) != CGROUP_DEVICE {
        return Err(Errno::EINVAL.into());
    }
    let group = attr.group(task, 0)?;
    let filter = attr.filter(task, 4).ok();
    group.detach_device_filter(&task.kernel().tasks.cgroups, filter.as_ref())?;
    Ok(0)
}

/// `target_fd` 0, `attach_type` 4, `query_flags` 8, and told of: `attach_flags` 12, at `prog_ids` 16 the numbers, of
/// which there is room for `prog_cnt` 24.
fn query(task: &Task, attr: &Attr, at: UserAddr) -> SysResult {
    if attr.word(4) != CGROUP_DEVICE || attr.word(8) & !QUERY_EFFECTIVE != 0 {
        return Err(Errno::EINVAL.into());
    }
    let group = attr.group(task, 0)?;
    let (flags, filters) = if attr.word(8) == QUERY_EFFECTIVE {
        (AttachFlags::empty(), group.effective_device_filters())
    } else {
        group.device_filters()
    };
    let ids: Vec<u32> = filters.iter().map(|filter| filter.id()).collect();
    let (mm, room) = (task.mm(), attr.word(24) as usize);
    mm.write_object(UserAddr(at.0 + 12), &flags.bits())?;
    mm.write_object(UserAddr(at.0 + 24), &(ids.len() as u32))?;
    if room == 0 || attr.addr(16).0 == 0 || ids.is_empty() {
        return Ok(0);
    }
    mm.write(attr.addr(16), ids[..ids.len().min(room)].as_bytes())?;
    if room < ids.len() { Err(Errno::ENOSPC.into()) } else { Ok(0) }
}

/// `bpf_fd` 0, `info_len` 4, `info` 8.
fn tell(task: &Task, attr: &Attr, at: UserAddr) -> SysResult {
    let filter = attr.filter(task, 0)?;
    let mut info = [0; INFO_LEN];
    info[..4].copy_from_slice(&PROG_TYPE_CGROUP_DEVICE.to_le_bytes());
    info[4..8].copy_from_slice(&filter.id().to_le_bytes());
    info[64..].copy_from_slice(filter.name());
    let len = (attr.word(4) as usize).min(INFO_LEN);
    task.mm().write(attr.addr(8), &info[..len])?;
    task.mm().write_object(UserAddr(at.0 + 4), &(len as u32))?;
    Ok(0)
}
