//! System calls on processes, credentials, namespaces, ptrace, scheduling.

mod arch_prctl_x86_64;
pub(crate) mod args;
mod capabilities;
mod clone;
mod credentials;
mod exec;
mod exit;
pub(super) mod futex;
mod futex2;
mod ids;
mod kcmp;
mod namespaces;
mod personality;
mod pidfd;
mod prctl;
mod priority;
mod ptrace;
mod rlimit;
mod robust_list;
mod rusage;
mod sched;
mod seccomp;
mod set_mm;
mod wait;

use abi::Errno;

use super::table::{Arg, Row};

const CLONE_FLAGS: Arg = Arg::Flags(&[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"),
    (0x2000, "CLONE_PTRACE"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x1_0000, "CLONE_THREAD"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x8_0000, "CLONE_SETTLS"),
    (0x10_0000, "CLONE_PARENT_SETTID"),
    (0x20_0000, "CLONE_CHILD_CLEARTID"),
    (0x80_0000, "CLONE_UNTRACED"),
    (0x100_0000, "CLONE_CHILD_SETTID"),
    (0x200_0000, "CLONE_NEWCGROUP"),
    (0x400_0000, "CLONE_NEWUTS"),
    (0x800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x8000_0000, "CLONE_IO"),
    (17, "SIGCHLD"),
]);

const WAIT_FLAGS: Arg = Arg::Flags(&[
    (1, "WNOHANG"),
    (2, "WUNTRACED"),
    (4, "WEXITED"),
    (8, "WCONTINUED"),
    (0x100_0000, "WNOWAIT"),
    (0x2000_0000, "__WNOTHREAD"),
    (0x4000_0000, "__WALL"),
    (0x8000_0000, "__WCLONE"),
]);

const FUTEX_OP: Arg = Arg::Enum(&[
    (0, "FUTEX_WAIT"),
    (1, "FUTEX_WAKE"),
    (128, "FUTEX_WAIT_PRIVATE"),
    (129, "FUTEX_WAKE_PRIVATE"),
    (131, "FUTEX_REQUEUE_PRIVATE"),
    (132, "FUTEX_CMP_REQUEUE_PRIVATE"),
    (133, "FUTEX_WAKE_OP_PRIVATE"),
    (134, "FUTEX_LOCK_PI_PRIVATE"),
    (135, "FUTEX_UNLOCK_PI_PRIVATE"),
    (137, "FUTEX_WAIT_BITSET_PRIVATE"),
    (138, "FUTEX_WAKE_BITSET_PRIVATE"),
    (393, "FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME"),
]);

const ARCH_CODE: Arg = Arg::Enum(&[
    (0x1001, "ARCH_SET_GS"),
    (0x1002, "ARCH_SET_FS"),
    (0x1003, "ARCH_GET_FS"),
    (0x1004, "ARCH_GET_GS"),
]);

/// What the calls on real-time scheduling lack.
const HOST_SCHEDULES: &str = "attributes are kept and shown; the host schedules";

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::full(24, "sched_yield", &[], sched::sched_yield),
    Row::full(39, "getpid", &[], ids::getpid),
    Row::full(56, "clone", &[CLONE_FLAGS, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex], clone::clone)
        .takes_memory(),
    Row::full(57, "fork", &[], clone::fork).takes_memory(),
    Row::full(58, "vfork", &[], clone::vfork).takes_memory(),
    Row::full(59, "execve", &[Arg::Path, Arg::StrVec, Arg::StrVec], exec::execve).takes_memory(),
    Row::full(60, "exit", &[Arg::Int], exit::exit),
    Row::full(61, "wait4", &[Arg::Int, Arg::Hex, WAIT_FLAGS, Arg::Hex], wait::wait4),
    Row::full(97, "getrlimit", &[Arg::Int, Arg::Hex], rlimit::getrlimit),
    Row::full(98, "getrusage", &[Arg::Int, Arg::Hex], rusage::getrusage),
    Row::full(100, "times", &[Arg::Hex], rusage::times),
    Row::partial(
        101,
        "ptrace",
        &[Arg::Int, Arg::Int, Arg::Hex, Arg::Hex],
        ptrace::ptrace,
        "hardware watchpoints are emulated by single steps and do not notice reads; no PTRACE_SYSEMU_SINGLESTEP",
    ),
    Row::full(102, "getuid", &[], credentials::getuid),
    Row::full(104, "getgid", &[], credentials::getgid),
    Row::full(105, "setuid", &[Arg::Int], credentials::setuid),
    Row::full(106, "setgid", &[Arg::Int], credentials::setgid),
    Row::full(107, "geteuid", &[], credentials::geteuid),
    Row::full(108, "getegid", &[], credentials::getegid),
    Row::full(109, "setpgid", &[Arg::Int, Arg::Int], ids::setpgid),
    Row::full(110, "getppid", &[], ids::getppid),
    Row::full(111, "getpgrp", &[], ids::getpgrp),
    Row::full(112, "setsid", &[], ids::setsid),
    Row::full(113, "setreuid", &[Arg::Int, Arg::Int], credentials::setreuid),
    Row::full(114, "setregid", &[Arg::Int, Arg::Int], credentials::setregid),
    Row::full(115, "getgroups", &[Arg::Int, Arg::Hex], credentials::getgroups),
    Row::full(116, "setgroups", &[Arg::Int, Arg::Hex], credentials::setgroups),
    Row::full(117, "setresuid", &[Arg::Int, Arg::Int, Arg::Int], credentials::setresuid),
    Row::full(118, "getresuid", &[Arg::Hex, Arg::Hex, Arg::Hex], credentials::getresuid),
    Row::full(119, "setresgid", &[Arg::Int, Arg::Int, Arg::Int], credentials::setresgid),
    Row::full(120, "getresgid", &[Arg::Hex, Arg::Hex, Arg::Hex], credentials::getresgid),
    Row::full(121, "getpgid", &[Arg::Int], ids::getpgid),
    Row::full(122, "setfsuid", &[Arg::Int], credentials::setfsuid),
    Row::full(123, "setfsgid", &[Arg::Int], credentials::setfsgid),
    Row::full(124, "getsid", &[Arg::Int], ids::getsid),
    Row::full(125, "capget", &[Arg::Hex, Arg::Hex], capabilities::capget),
    Row::full(126, "capset", &[Arg::Hex, Arg::Hex], capabilities::capset),
    Row::partial(
        135,
        "personality",
        &[Arg::Hex],
        personality::personality,
        "kept and shown; ADDR_NO_RANDOMIZE alone has an effect",
    ),
    Row::full(140, "getpriority", &[Arg::Int, Arg::Int], priority::getpriority),
    Row::partial(141, "setpriority", &[Arg::Int, Arg::Int, Arg::Int], priority::setpriority, HOST_SCHEDULES),
    Row::partial(142, "sched_setparam", &[Arg::Int, Arg::Hex], sched::setparam, HOST_SCHEDULES),
    Row::full(143, "sched_getparam", &[Arg::Int, Arg::Hex], sched::getparam),
    Row::partial(
        144,
        "sched_setscheduler",
        &[Arg::Int, Arg::Int, Arg::Hex],
        sched::setscheduler,
        HOST_SCHEDULES,
    ),
    Row::full(145, "sched_getscheduler", &[Arg::Int], sched::getscheduler),
    Row::full(146, "sched_get_priority_max", &[Arg::Int], sched::priority_max),
    Row::full(147, "sched_get_priority_min", &[Arg::Int], sched::priority_min),
    Row::full(148, "sched_rr_get_interval", &[Arg::Int, Arg::Hex], sched::rr_get_interval),
    Row::partial(
        157,
        "prctl",
        &[Arg::Int, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex],
        prctl::prctl,
        "PR_SET_TSC cannot forbid rdtsc; PR_SET_MM_MAP and _EXE_FILE, PR_SCHED_CORE, PR_SET_MEMORY_MERGE, PR_SET_SYSCALL_USER_DISPATCH are refused",
    ),
    Row::full(158, "arch_prctl", &[ARCH_CODE, Arg::Hex], arch_prctl_x86_64::arch_prctl),
    Row::full(160, "setrlimit", &[Arg::Int, Arg::Hex], rlimit::setrlimit),
    Row::full(186, "gettid", &[], ids::gettid),
    Row::full(202, "futex", &[Arg::Hex, FUTEX_OP, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex], futex::futex),
    Row::partial(
        203,
        "sched_setaffinity",
        &[Arg::Int, Arg::Size, Arg::Hex],
        sched::setaffinity,
        HOST_SCHEDULES,
    ),
    Row::full(204, "sched_getaffinity", &[Arg::Int, Arg::Size, Arg::Hex], sched::getaffinity),
    Row::full(218, "set_tid_address", &[Arg::Hex], clone::set_tid_address),
    Row::full(231, "exit_group", &[Arg::Int], exit::exit_group),
    Row::full(247, "waitid", &[Arg::Int, Arg::Int, Arg::Hex, WAIT_FLAGS, Arg::Hex], wait::waitid),
    Row::partial(251, "ioprio_set", &[Arg::Int, Arg::Int, Arg::Hex], priority::ioprio_set, HOST_SCHEDULES),
    Row::full(252, "ioprio_get", &[Arg::Int, Arg::Int], priority::ioprio_get),
    Row::partial(272, "unshare", &[CLONE_FLAGS], namespaces::unshare, "CLONE_NEWTIME is refused")
        .takes_memory(),
    Row::full(273, "set_robust_list", &[Arg::Hex, Arg::Size], robust_list::set_robust_list),
    Row::full(274, "get_robust_list", &[Arg::Int, Arg::Hex, Arg::Hex], robust_list::get_robust_list),
    Row::full(302, "prlimit64", &[Arg::Int, Arg::Int, Arg::Hex, Arg::Hex], rlimit::prlimit64),
    Row::full(308, "setns", &[Arg::Fd, CLONE_FLAGS], namespaces::setns),
    Row::full(309, "getcpu", &[Arg::Hex, Arg::Hex, Arg::Hex], sched::getcpu),
    Row::partial(
        312,
        "kcmp",
        &[Arg::Int, Arg::Int, Arg::Int, Arg::Hex, Arg::Hex],
        kcmp::kcmp,
        "no KCMP_EPOLL_TFD",
    ),
    Row::partial(314, "sched_setattr", &[Arg::Int, Arg::Hex, Arg::Hex], sched::setattr, HOST_SCHEDULES),
    Row::full(315, "sched_getattr", &[Arg::Int, Arg::Hex, Arg::Size, Arg::Hex], sched::getattr),
    Row::full(317, "seccomp", &[Arg::Int, Arg::Hex, Arg::Hex], seccomp::seccomp).takes_memory(),
    Row::full(322, "execveat", &[Arg::DirFd, Arg::Path, Arg::StrVec, Arg::StrVec, Arg::Hex], exec::execveat)
        .takes_memory(),
    Row::absent(
        334,
        "rseq",
        Errno::ENOSYS,
        "the host preempts guest threads without our hearing of it, so no processor number would be safe to use",
    ),
    Row::full(
        424,
        "pidfd_send_signal",
        &[Arg::Fd, Arg::Signal, Arg::Hex, Arg::Hex],
        pidfd::pidfd_send_signal,
    ),
    Row::full(434, "pidfd_open", &[Arg::Int, Arg::Hex], pidfd::pidfd_open).takes_memory(),
    Row::partial(435, "clone3", &[Arg::Hex, Arg::Size], clone::clone3, "CLONE_NEWTIME is refused")
        .takes_memory(),
    Row::full(438, "pidfd_getfd", &[Arg::Fd, Arg::Int, Arg::Hex], pidfd::pidfd_getfd).takes_memory(),
    Row::full(
        449,
        "futex_waitv",
        &[Arg::Hex, Arg::Size, Arg::Hex, Arg::Timespec, Arg::Int],
        futex2::futex_waitv,
    ),
    Row::full(454, "futex_wake", &[Arg::Hex, Arg::Hex, Arg::Int, Arg::Hex], futex2::futex_wake),
    Row::full(
        455,
        "futex_wait",
        &[Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Timespec, Arg::Int],
        futex2::futex_wait,
    ),
    Row::full(456, "futex_requeue", &[Arg::Hex, Arg::Hex, Arg::Int, Arg::Int], futex2::futex_requeue),
];
