//! System calls on sockets.

use super::table::Row;

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[];
