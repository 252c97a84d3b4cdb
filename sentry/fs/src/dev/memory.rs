//! The memory devices: null, zero, full, random, urandom (`man 4 null`, `man 4 random`).

use std::sync::Arc;

use abi::{DeviceId, Errno, OpenFlags, Result};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc, Mappable, MemoryFile, SharedAnon};
use kernel::vfs::{DeviceDriver, File, FileOps, WriteAt};

use super::kmsg;

/// Major number 1.
#[derive(Debug)]
pub struct MemoryDevices;

/// The major number of the memory devices.
pub(super) const MAJOR: u32 = 1;

impl DeviceDriver for MemoryDevices {
    fn open(&self, task: &Task, id: DeviceId, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(match id.minor {
            3 => Arc::new(Device::Null),
            5 => Arc::new(Device::Zero(task.kernel().memory.clone())),
            7 => Arc::new(Device::Full),
            8 | 9 => Arc::new(Device::Random),
            11 => return kmsg::open(task),
            _ => return Err(Errno::ENXIO),
        })
    }
}

#[derive(Debug)]
enum Device {
    Null,
    /// With where the pages of its mappings come from.
    Zero(Arc<MemoryFile>),
    Full,
    Random,
}

/// More than a guest's address space, a page multiple.
const MAX_MAPPING: u64 = 1 << 62;

/// What is given between two looks for signals: reads of gigabytes take their time.
const CHUNK: usize = 1 << 20;

/// Zeros until the reader has enough or a signal comes.
fn read_zeros(task: &Task, dst: &mut IoDst<'_>) -> Result<usize> {
    let mut done = 0;
    while dst.remaining() > 0 && (done == 0 || !task.wake().is_interrupted()) {
        match dst.put_zeros(dst.remaining().min(CHUNK)) {
            Ok(count) => done += count,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

const RNDGETENTCNT: u32 = 0x8004_5200;
const RNDADDENTROPY: u32 = 0x4008_5203;
const RNDRESEEDCRNG: u32 = 0x5207;

impl FileOps for Device {
    fn read(&self, task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        match self {
            Self::Null => Ok(0),
            Self::Zero(_) | Self::Full => read_zeros(task, dst),
            Self::Random => kernel::random::fill(task, dst),
        }
    }

    fn write(&self, _task: &Task, _file: &File, at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        if matches!(self, Self::Full) {
            return Err(Errno::ENOSPC);
        }
        let count = src.skip(src.remaining());
        let from = if let WriteAt::Offset(offset) = at { offset } else { 0 };
        Ok((count, from.saturating_add(count as u64)))
    }

    fn keeps_position(&self) -> bool {
        false
    }

    /// Each mapping is an object of zeros of its own, as long as any mapping can be.
    fn mappable(&self, _file: &File) -> Result<Arc<dyn Mappable>> {
        match self {
            Self::Zero(memory) => Ok(SharedAnon::new(memory, MAX_MAPPING)),
            _ => Err(Errno::ENODEV),
        }
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        match command {
            RNDGETENTCNT if matches!(self, Self::Random) => {
                task.mm().write_object(abi::UserAddr(arg), &256_i32)?;
                Ok(0)
            }
            RNDADDENTROPY | RNDRESEEDCRNG if matches!(self, Self::Random) => {
                if task.creds().capable(kernel::task::Capability::SysAdmin) {
                    Ok(0)
                } else {
                    Err(Errno::EPERM)
                }
            }
            _ => Err(Errno::ENOTTY),
        }
    }
}
