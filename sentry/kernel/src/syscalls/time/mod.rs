//! System calls on clocks and timers.

mod clocks;
mod interval_timers;
mod posix_timers;
pub(super) mod sleep;

pub(crate) use clocks::check_alarm_clock;
pub(crate) use posix_timers::{read_setting, write_setting};

use abi::time::Timespec;
use abi::{Errno, Result, UserAddr};

use super::table::{Arg, Row};
use crate::Task;

const CLOCKS: Arg = Arg::Enum(&[
    (0, "CLOCK_REALTIME"),
    (1, "CLOCK_MONOTONIC"),
    (2, "CLOCK_PROCESS_CPUTIME_ID"),
    (3, "CLOCK_THREAD_CPUTIME_ID"),
    (4, "CLOCK_MONOTONIC_RAW"),
    (5, "CLOCK_REALTIME_COARSE"),
    (6, "CLOCK_MONOTONIC_COARSE"),
    (7, "CLOCK_BOOTTIME"),
    (8, "CLOCK_REALTIME_ALARM"),
    (9, "CLOCK_BOOTTIME_ALARM"),
    (11, "CLOCK_TAI"),
]);
const ABSTIME: Arg = Arg::Flags(&[(1, "TIMER_ABSTIME")]);
const ITIMERS: Arg = Arg::Enum(&[(0, "ITIMER_REAL"), (1, "ITIMER_VIRTUAL"), (2, "ITIMER_PROF")]);

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::full(35, "nanosleep", &[Arg::Timespec, Arg::Hex], sleep::nanosleep),
    Row::full(36, "getitimer", &[ITIMERS, Arg::Hex], interval_timers::getitimer),
    Row::full(37, "alarm", &[Arg::Size], interval_timers::alarm),
    Row::full(38, "setitimer", &[ITIMERS, Arg::Hex, Arg::Hex], interval_timers::setitimer),
    Row::full(96, "gettimeofday", &[Arg::Hex, Arg::Hex], clocks::gettimeofday),
    Row::partial(
        159,
        "adjtimex",
        &[Arg::Hex],
        clocks::adjtimex,
        "reads only: the host's clock is not ours to set",
    ),
    Row::partial(
        164,
        "settimeofday",
        &[Arg::Hex, Arg::Hex],
        clocks::settimeofday,
        "EPERM: the host's clock is not ours to set",
    ),
    Row::full(201, "time", &[Arg::Hex], clocks::time),
    Row::full(222, "timer_create", &[CLOCKS, Arg::Hex, Arg::Hex], posix_timers::timer_create).takes_memory(),
    Row::full(223, "timer_settime", &[Arg::Int, ABSTIME, Arg::Hex, Arg::Hex], posix_timers::timer_settime),
    Row::full(224, "timer_gettime", &[Arg::Int, Arg::Hex], posix_timers::timer_gettime),
    Row::full(225, "timer_getoverrun", &[Arg::Int], posix_timers::timer_getoverrun),
    Row::full(226, "timer_delete", &[Arg::Int], posix_timers::timer_delete),
    Row::partial(
        227,
        "clock_settime",
        &[CLOCKS, Arg::Timespec],
        clocks::clock_settime,
        "EPERM: the host's clock is not ours to set",
    ),
    Row::full(228, "clock_gettime", &[CLOCKS, Arg::Hex], clocks::clock_gettime),
    Row::full(229, "clock_getres", &[CLOCKS, Arg::Hex], clocks::clock_getres),
    Row::full(230, "clock_nanosleep", &[CLOCKS, ABSTIME, Arg::Timespec, Arg::Hex], sleep::clock_nanosleep),
    Row::partial(
        305,
        "clock_adjtime",
        &[CLOCKS, Arg::Hex],
        clocks::clock_adjtime,
        "reads only: the host's clock is not ours to set",
    ),
];

/// Reads a time-out.
///
/// # Errors
/// `EFAULT`; `EINVAL` where it is negative or its nanoseconds are a second or more.
pub(crate) fn read_timespec(task: &Task, addr: UserAddr) -> Result<Timespec> {
    let time: Timespec = task.mm().read_object(addr)?;
    if time.is_valid() { Ok(time) } else { Err(Errno::EINVAL) }
}
