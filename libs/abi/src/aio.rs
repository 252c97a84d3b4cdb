//! Asynchronous I/O of the kernel's own kind (`linux/aio_abi.h`; `man 2 io_submit`).
#![allow(missing_docs, reason = "Linux's names; man 2 io_submit")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const IOCB_CMD_PREAD: u16 = 0;
pub const IOCB_CMD_PWRITE: u16 = 1;
pub const IOCB_CMD_FSYNC: u16 = 2;
pub const IOCB_CMD_FDSYNC: u16 = 3;
pub const IOCB_CMD_PREADV: u16 = 7;
pub const IOCB_CMD_PWRITEV: u16 = 8;

/// In `aio_flags`: count the completion in the eventfd `aio_resfd`.
pub const IOCB_FLAG_RESFD: u32 = 1;
/// In `aio_flags`: `aio_reqprio` is an I/O priority.
pub const IOCB_FLAG_IOPRIO: u32 = 2;

/// `struct iocb`: a request.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Iocb {
    pub aio_data: u64,
    pub aio_key: u32,
    pub aio_rw_flags: u32,
    pub aio_lio_opcode: u16,
    pub aio_reqprio: i16,
    pub aio_fildes: u32,
    pub aio_buf: u64,
    pub aio_nbytes: u64,
    pub aio_offset: i64,
    pub aio_reserved2: u64,
    pub aio_flags: u32,
    pub aio_resfd: u32,
}

/// `struct io_event`: a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoEvent {
    pub data: u64,
    pub obj: u64,
    pub res: i64,
    pub res2: i64,
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_linux_s() {
        assert_eq!((size_of::<super::Iocb>(), size_of::<super::IoEvent>()), (64, 32));
    }
}
