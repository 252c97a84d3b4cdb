//! What calls read from guest memory.

use abi::{Errno, UserAddr};

use super::{PAGE, map_anon};
use crate::mm::{MAX_RW_COUNT, MmapFlags};
use crate::testing::FakePlatform;

#[test]
fn structures_of_other_versions() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let at = UserAddr(map_anon(&guest, PAGE, MmapFlags::empty()));
    let read = |size| guest.mm.read_extensible::<[u64; 2]>(at, size, 8);
    guest.mm.write_object(at, &[1u64, 2, 0, 3]).unwrap();
    assert_eq!(read(16), Ok([1, 2]));
    assert_eq!(read(8), Ok([1, 0]), "what an older caller lacks is zero");
    assert_eq!(read(24), Ok([1, 2]), "what a newer one has is zero");
    assert_eq!(read(32), Err(Errno::E2BIG));
    assert_eq!(read(7), Err(Errno::EINVAL));
    assert_eq!(read(PAGE + 1), Err(Errno::E2BIG));
    assert_eq!(read(PAGE), Err(Errno::E2BIG));
    assert_eq!(guest.mm.read_extensible::<[u64; 2]>(UserAddr(0), 16, 8), Err(Errno::EFAULT));
}

#[test]
fn vectors_are_cut_to_what_one_call_moves() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let at = UserAddr(map_anon(&guest, 8 * PAGE, MmapFlags::empty()));
    guest.mm.write_object(at, &[0x1000u64, 5, 0x2000, i64::MAX as u64, 0x3000, 1, 0x4000, u64::MAX]).unwrap();
    let whole = guest.mm.read_iovec(at, 3).unwrap();
    let expected = [(UserAddr(0x1000), 5), (UserAddr(0x2000), MAX_RW_COUNT - 5), (UserAddr(0x3000), 0)];
    assert_eq!(whole.as_slice(), expected);
    assert_eq!(guest.mm.read_iovec(at, 4), Err(Errno::EINVAL), "a negative length");
    assert!(guest.mm.read_iovec(UserAddr(at.0 + PAGE), 1024).is_ok());
    assert_eq!(guest.mm.read_iovec(at, 1025), Err(Errno::EINVAL));
    assert_eq!(guest.mm.read_iovec(UserAddr(0), u64::MAX), Err(Errno::EINVAL));
}
