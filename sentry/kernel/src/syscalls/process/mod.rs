//! System calls on processes, credentials, namespaces, ptrace, scheduling.

use super::table::Row;

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[];
