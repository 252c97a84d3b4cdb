//! System calls on files and directories.

use super::table::Row;

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[];
