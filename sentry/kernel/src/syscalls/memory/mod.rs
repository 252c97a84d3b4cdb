//! System calls on memory.

use super::table::Row;

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[];
