//! System calls on everything that fits nowhere else.

mod bpf;
mod log;
mod random;
mod system;

use abi::Errno;

use super::table::{Arg, Row};

const LOG_ACTIONS: Arg = Arg::Enum(&[
    (2, "SYSLOG_ACTION_READ"),
    (3, "SYSLOG_ACTION_READ_ALL"),
    (4, "SYSLOG_ACTION_READ_CLEAR"),
    (5, "SYSLOG_ACTION_CLEAR"),
    (9, "SYSLOG_ACTION_SIZE_UNREAD"),
    (10, "SYSLOG_ACTION_SIZE_BUFFER"),
]);

const GONE: &str = "Linux has removed it or never had it";
const HARDWARE: &str = "there is no hardware to reach";
const MODULES: &str = "there are no modules";

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::full(63, "uname", &[Arg::Hex], system::uname),
    Row::partial(
        99,
        "sysinfo",
        &[Arg::Hex],
        system::sysinfo,
        "load averages are 0: nothing counts while nobody asks",
    ),
    Row::full(103, "syslog", &[LOG_ACTIONS, Arg::Hex, Arg::Int], log::syslog),
    Row::full(139, "sysfs", &[Arg::Int, Arg::Hex, Arg::Hex], system::sysfs),
    Row::full(153, "vhangup", &[], system::vhangup),
    Row::full(169, "reboot", &[Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex], system::reboot),
    Row::full(170, "sethostname", &[Arg::InBuf(1), Arg::Size], system::sethostname),
    Row::full(171, "setdomainname", &[Arg::InBuf(1), Arg::Size], system::setdomainname),
    Row::full(318, "getrandom", &[Arg::OutBuf, Arg::Size, Arg::Hex], random::getrandom),
    Row::absent(134, "uselib", Errno::ENOSYS, GONE),
    Row::absent(154, "modify_ldt", Errno::ENOSYS, "there are no 16-bit segments"),
    Row::absent(156, "_sysctl", Errno::ENOSYS, GONE),
    Row::absent(163, "acct", Errno::ENOSYS, "process accounting is the container manager's"),
    Row::absent(167, "swapon", Errno::ENOSYS, "there is no swap space"),
    Row::absent(168, "swapoff", Errno::ENOSYS, "there is no swap space"),
    Row::absent(172, "iopl", Errno::ENOSYS, HARDWARE),
    Row::absent(173, "ioperm", Errno::ENOSYS, HARDWARE),
    Row::absent(174, "create_module", Errno::ENOSYS, GONE),
    Row::absent(175, "init_module", Errno::ENOSYS, MODULES),
    Row::absent(176, "delete_module", Errno::ENOSYS, MODULES),
    Row::absent(177, "get_kernel_syms", Errno::ENOSYS, GONE),
    Row::absent(178, "query_module", Errno::ENOSYS, GONE),
    Row::absent(179, "quotactl", Errno::ENOSYS, "no file system here has quotas"),
    Row::absent(180, "nfsservctl", Errno::ENOSYS, GONE),
    Row::absent(181, "getpmsg", Errno::ENOSYS, GONE),
    Row::absent(182, "putpmsg", Errno::ENOSYS, GONE),
    Row::absent(183, "afs_syscall", Errno::ENOSYS, GONE),
    Row::absent(184, "tuxcall", Errno::ENOSYS, GONE),
    Row::absent(185, "security", Errno::ENOSYS, GONE),
    Row::absent(205, "set_thread_area", Errno::ENOSYS, "there are no 32-bit tasks"),
    Row::absent(211, "get_thread_area", Errno::ENOSYS, "there are no 32-bit tasks"),
    Row::absent(212, "lookup_dcookie", Errno::ENOSYS, GONE),
    Row::absent(214, "epoll_ctl_old", Errno::ENOSYS, GONE),
    Row::absent(215, "epoll_wait_old", Errno::ENOSYS, GONE),
    Row::absent(236, "vserver", Errno::ENOSYS, GONE),
    Row::absent(246, "kexec_load", Errno::ENOSYS, "there is no machine to start anew"),
    Row::absent(298, "perf_event_open", Errno::ENOENT, "there are no performance counters"),
    Row::absent(300, "fanotify_init", Errno::ENOSYS, "inotify is there"),
    Row::absent(301, "fanotify_mark", Errno::ENOSYS, "inotify is there"),
    Row::absent(313, "finit_module", Errno::ENOSYS, MODULES),
    Row::absent(320, "kexec_file_load", Errno::ENOSYS, "there is no machine to start anew"),
    Row::partial(
        321,
        "bpf",
        &[Arg::Int, Arg::Hex, Arg::Size],
        bpf::bpf,
        "programs that decide about a control group's devices, without maps, helpers and stack; nothing else",
    )
    .takes_memory(),
    Row::absent(323, "userfaultfd", Errno::ENOSYS, "page faults are not handed to guests"),
    Row::absent(425, "io_uring_setup", Errno::ENOSYS, "not yet"),
    Row::absent(426, "io_uring_enter", Errno::ENOSYS, "not yet"),
    Row::absent(427, "io_uring_register", Errno::ENOSYS, "not yet"),
    Row::absent(443, "quotactl_fd", Errno::ENOSYS, "no file system here has quotas"),
    Row::absent(444, "landlock_create_ruleset", Errno::EOPNOTSUPP, "not yet"),
    Row::absent(445, "landlock_add_rule", Errno::EOPNOTSUPP, "not yet"),
    Row::absent(446, "landlock_restrict_self", Errno::EOPNOTSUPP, "not yet"),
];
