//! Reading clocks: `man 2 clock_gettime`, `gettimeofday`, `time`, `adjtimex`.

use abi::time::Timeval;
use abi::{Errno, Timespec, UserAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::time::{Clock, ClockId};
use crate::{CurrentTask, SysResult, Task};

/// The resolution of the coarse clocks: a tick of a 250 Hz kernel.
const COARSE_NS: i64 = 4_000_000;

pub(super) fn clock_gettime(task: &mut CurrentTask, args: Args) -> SysResult {
    let clock = Clock::resolve(task, args.int(0))?;
    let now = Timespec::from_ns(clock.now(&task.kernel().timekeeper));
    task.mm().write_object(args.addr(1), &now)?;
    Ok(0)
}

pub(super) fn clock_getres(task: &mut CurrentTask, args: Args) -> SysResult {
    let raw = args.int(0);
    Clock::resolve(task, raw)?;
    let is_coarse =
        matches!(ClockId::from_raw(raw), Some(ClockId::RealtimeCoarse | ClockId::MonotonicCoarse));
    if args[1] != 0 {
        let resolution = Timespec::from_ns(if is_coarse { COARSE_NS } else { 1 });
        task.mm().write_object(args.addr(1), &resolution)?;
    }
    Ok(0)
}

pub(super) fn clock_settime(task: &mut CurrentTask, args: Args) -> SysResult {
    if ClockId::from_raw(args.int(0)) != Some(ClockId::Realtime) {
        return Err(Errno::EINVAL.into());
    }
    super::read_timespec(task, args.addr(1))?;
    Err(Errno::EPERM.into())
}

pub(super) fn gettimeofday(task: &mut CurrentTask, args: Args) -> SysResult {
    if args[0] != 0 {
        let now = Timeval::from_ns(task.kernel().timekeeper.realtime_ns());
        task.mm().write_object(args.addr(0), &now)?;
    }
    if args[1] != 0 {
        // struct timezone: minutes west of Greenwich and daylight saving, both always 0.
        task.mm().write_object(args.addr(1), &[0_i32; 2])?;
    }
    Ok(0)
}

pub(super) fn settimeofday(task: &mut CurrentTask, args: Args) -> SysResult {
    if args[0] != 0 {
        let time: Timeval = task.mm().read_object(args.addr(0))?;
        if !time.is_valid() {
            return Err(Errno::EINVAL.into());
        }
    }
    Err(Errno::EPERM.into())
}

pub(super) fn time(task: &mut CurrentTask, args: Args) -> SysResult {
    let seconds = task.kernel().timekeeper.realtime_ns().div_euclid(abi::time::NSEC_PER_SEC);
    if args[0] != 0 {
        task.mm().write_object(args.addr(0), &seconds)?;
    }
    Ok(seconds as u64)
}

/// `struct timex` of x86-64.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Timex {
    modes: u32,
    pad0: u32,
    offset: i64,
    freq: i64,
    maxerror: i64,
    esterror: i64,
    status: i32,
    pad1: i32,
    constant: i64,
    precision: i64,
    tolerance: i64,
    time: Timeval,
    tick: i64,
    ppsfreq: i64,
    jitter: i64,
    shift: i32,
    pad2: i32,
    stabil: i64,
    jitcnt: i64,
    calcnt: i64,
    errcnt: i64,
    stbcnt: i64,
    tai: i32,
    reserved: [i32; 11],
}

/// `STA_UNSYNC`, and the state that goes with it.
const STA_UNSYNC: i32 = 0x40;
const TIME_ERROR: u64 = 5;
/// `ADJ_OFFSET_SS_READ`: a read in spite of its bits.
const ADJ_OFFSET_SS_READ: u32 = 0xa001;

fn adjust(task: &Task, addr: UserAddr) -> SysResult {
    let mut timex: Timex = task.mm().read_object(addr)?;
    if timex.modes != 0 && timex.modes != ADJ_OFFSET_SS_READ {
        return Err(Errno::EPERM.into());
    }
    timex = Timex {
        modes: timex.modes,
        maxerror: 16_000_000,
        esterror: 16_000_000,
        status: STA_UNSYNC,
        constant: 2,
        precision: 1,
        tolerance: 32_768_000,
        time: Timeval::from_ns(task.kernel().timekeeper.realtime_ns()),
        tick: 10_000,
        ..Timex::default()
    };
    task.mm().write_object(addr, &timex)?;
    Ok(TIME_ERROR)
}

pub(super) fn adjtimex(task: &mut CurrentTask, args: Args) -> SysResult {
    adjust(task, args.addr(0))
}

pub(super) fn clock_adjtime(task: &mut CurrentTask, args: Args) -> SysResult {
    match ClockId::from_raw(args.int(0)) {
        Some(ClockId::Realtime) => adjust(task, args.addr(1)),
        Some(_) => Err(Errno::EOPNOTSUPP.into()),
        None => Err(Errno::EINVAL.into()),
    }
}

/// Alarm clocks wake a sleeping machine, which takes a capability.
pub(crate) fn check_alarm_clock(task: &Task, raw: i32) -> abi::Result<()> {
    let is_alarm = matches!(ClockId::from_raw(raw), Some(ClockId::RealtimeAlarm | ClockId::BoottimeAlarm));
    if is_alarm && !task.creds().capable(Capability::WakeAlarm) { Err(Errno::EPERM) } else { Ok(()) }
}
