//! Guest addresses and page arithmetic.

use core::fmt;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;

/// An address in a guest's address space. Nothing is known of it: any 64-bit value may come from a guest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserAddr(pub u64);

impl UserAddr {
    /// The null address.
    pub const NULL: Self = Self(0);
    /// The end of what guests can address (Linux's `TASK_SIZE_MAX`).
    pub const END: Self = Self(0x7fff_ffff_f000);

    /// Whether this is address 0.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// This address plus `bytes`, or `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Rounded down to a page.
    #[must_use]
    pub const fn page_floor(self) -> Self {
        Self(page_floor(self.0))
    }

    /// Whether it lies on a page boundary.
    #[must_use]
    pub const fn is_page_aligned(self) -> bool {
        self.0.is_multiple_of(PAGE_SIZE)
    }
}

impl fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::LowerHex for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// `value` rounded down to a multiple of the page size.
#[must_use]
pub const fn page_floor(value: u64) -> u64 {
    value & !(PAGE_SIZE - 1)
}

/// `value` rounded up to a multiple of the page size, or `None` on overflow.
#[must_use]
pub const fn page_ceil(value: u64) -> Option<u64> {
    match value.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(page_floor(sum)),
        None => None,
    }
}
