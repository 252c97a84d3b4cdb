//! System calls on everything that fits nowhere else.

use super::table::Row;

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[];
