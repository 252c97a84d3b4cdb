//! System calls on clocks and timers.

use super::table::Row;

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[];
