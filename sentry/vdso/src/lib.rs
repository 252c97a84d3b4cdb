//! The vDSO that guests get: clock reads and `getcpu` without a system call.
//!
//! [`IMAGE`] is an ELF shared object for the guest. It reads the [`ClockPage`], which the kernel maps read-only directly
//! before it and updates. Where the page does not vouch for the clock (no stable TSC, or parameters that have grown
//! old), the vDSO makes the system call, and the kernel takes the opportunity to publish fresh parameters: so an idle
//! sandbox needs no timer to keep its clocks right. The stub reads the same page by the same instructions
//! ([`read_clock`]) where a guest makes the calls.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod clock_page;
mod read_clock_x86_64;

pub use clock_page::{CLOCK_PAGE_SIZE, ClockLine, ClockPage};

/// The shared object, to be mapped readable and executable.
pub static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vdso.so"));

#[cfg(test)]
mod tests {
    #[test]
    fn image_is_a_small_shared_object() {
        assert_eq!(&super::IMAGE[..4], b"\x7fELF");
        assert_eq!(super::IMAGE[16], 3, "ET_DYN");
        assert!(super::IMAGE.windows(20).any(|bytes| bytes == b"__vdso_clock_gettime"));
    }
}
