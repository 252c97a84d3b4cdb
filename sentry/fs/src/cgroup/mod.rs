//! Control groups as file systems (`man 7 cgroups`), whose directories are groups: [`v1`], one for each hierarchy, and
//! [`v2`], the unified one, of which a cgroup name space shows the part below its group. What groups are is
//! [`kernel::task::cgroup`]'s business; what their files say and take, that of `files_v1` and `files_v2`.

mod devices;
mod dir;
mod file;
mod files_v1;
mod files_v2;
mod numbers;
mod usage;
pub mod v1;
pub mod v2;
