//! Tasks: guest threads, the groups they form, and what they own.
//!
//! A [`Task`] is what Linux calls a `task_struct`, a [`ThreadGroup`] is a process. Each task has one sentry thread that
//! runs it; that thread alone holds the [`CurrentTask`], which adds the registers and the platform context.
//!
//! Lock order: the tree ([`TaskSet::tree`]), a process's family, its signal lock, its threads, a task's signals. All
//! other locks in here are leaves. None is held while guest memory is copied or a file is touched.

mod answers;
mod block;
mod call_sites;
pub mod cgroup;
mod clone;
mod container;
mod cpu_limit;
mod cpu_time;
mod crash;
mod credentials;
mod current;
mod details;
pub(crate) mod exec;
mod exec_creds;
mod exec_lock;
mod exit;
mod exit_status;
mod fd;
mod file_caps;
mod futex;
mod io_counts;
mod late_posts;
mod linger;
mod load;
mod login;
mod namespace_file;
mod namespaces;
mod notify;
mod oom;
mod pid;
mod pidfd;
mod posted;
mod ptrace;
mod rlimits;
mod run;
mod scheduling;
pub mod securebits;
mod sentry_threads;
mod session;
mod set_caps;
mod set_ids;
mod setns;
mod start;
mod strace;
mod system_call;
#[expect(clippy::module_inception, reason = "the type that the folder is named for")]
mod task;
mod task_set;
mod thread_group;
mod unshare;
mod user_account;
mod user_ns;
mod vfork;
mod vsyscall_x86_64;
mod wait;
mod wake;

pub use clone::CloneRequest;
pub use container::Container;
pub use cpu_time::{CpuClock, CpuTimes};
pub use credentials::{Capability, CapabilitySet, Credentials};
pub use current::CurrentTask;
pub use details::{DEFAULT_TIMER_SLACK_NS, RestartBlock, RestartCall, TaskDetails};
pub use exec::ExecRequest;
pub use exit_status::ExitStatus;
pub use file_caps::FileCapabilities;
pub use futex::{FutexTable, FutexWait, WaitTarget};
pub use io_counts::{IoCounters, IoCounts};
pub(crate) use late_posts::LatePosts;
pub use login::Login;
pub use namespace_file::{NamespaceFile, NamespaceKind, NamespaceRef};
pub use namespaces::{NamespaceId, NamespaceIds, Namespaces, OtherNamespace, UtsNamespace};
pub(crate) use notify::NS_PER_TICK;
pub use oom::OomKiller;
pub(crate) use oom::set_heap_budget;
pub use pid::{PID_MAX, Pid, PidNamespace, Tid};
pub use pidfd::PidFd;
pub(crate) use posted::PostedCalls;
pub use ptrace::{RegisterSet, Resume, StopKind, Stopped, Trace};
pub use rlimits::Limits;
pub(crate) use run::with_current;
pub use run::{install_panic_report, is_current_killed};
pub use scheduling::{MAX_PRIORITY, Scheduling};
pub(crate) use sentry_threads::TaskThreads;
pub use session::{ControllingTerminal, ProcessGroup, Session};
pub use start::{NewProcess, SetUp};
pub use strace::Strace;
pub use task::Task;
pub use task_set::{TaskSet, Tree, TreeGuard};
pub use thread_group::{Dumpability, ThreadGroup};
pub use user_account::{AccountCharge, Counter, UserAccount, UserAccounts};
pub use user_ns::{IdMap, IdRange, MAX_RANGES, OVERFLOW_ID, UserNamespace};
pub use vfork::VforkDone;
pub use wait::{WaitFor, WaitResult};
pub use wake::{Wake, Work};
