//! Mapped files and shared memory.

use std::os::unix::fs::FileExt;

use abi::{Errno, Signal, UserAddr};
use parking_lot::Mutex;
use platform::Protection;

use super::{NONE, PAGE, R, RW, TestFile, map_anon, map_file};
use crate::mm::{DiscardFlags, FutexKey, FutexWord, MmapArgs, MmapFlags, ProtectRange, RemapFlags};
use crate::testing::FakePlatform;

#[test]
fn shared_and_private_views_of_a_file() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let file = TestFile::new(&[b'a'; 8192]);
    let shared = map_file(&guest, &file, 8192, RW, MmapFlags::SHARED);
    let private = map_file(&guest, &file, 8192, RW, MmapFlags::empty());
    guest.store(shared, b"shared").unwrap();
    let mut bytes = [0; 6];
    file.file().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"shared");
    guest.load(private, &mut bytes).unwrap();
    assert_eq!(&bytes, b"shared", "untouched private pages show the file");
    guest.store(private, b"own").unwrap();
    guest.mm.read(UserAddr(private), &mut bytes).unwrap();
    assert_eq!(&bytes, b"ownred");
    guest.load(shared, &mut bytes).unwrap();
    assert_eq!(&bytes, b"shared");
    guest.mm.write(UserAddr(shared + 1), b"H").unwrap();
    file.file().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"sHared");
    guest.mm.discard(private..private + 8192, DiscardFlags::empty()).unwrap();
    guest.load(private, &mut bytes).unwrap();
    assert_eq!(&bytes, b"sHared", "discarding shows the file again");
}

#[test]
fn truncated_files_give_bus_errors() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let file = TestFile::new(&[b'a'; 8192]);
    let shared = map_file(&guest, &file, 16384, RW, MmapFlags::SHARED);
    let private = map_file(&guest, &file, 8192, RW, MmapFlags::empty());
    guest.store(private + PAGE, b"x").unwrap();
    let bus = |at| guest.peek(at).map_err(|info| (info.signo, info.code, info.fields[..8].to_vec()));
    let expected = |at: u64| Err((Signal::BUS.number(), 2, at.to_ne_bytes().to_vec()));
    assert_eq!(bus(shared + 8192), expected(shared + 8192));
    file.truncate(4096);
    assert_eq!(bus(shared + PAGE + 1), expected(shared + PAGE + 1));
    assert_eq!(bus(private + PAGE), expected(private + PAGE), "truncation takes private copies, too");
    assert_eq!(guest.peek(shared), Ok(b'a'));
    assert_eq!(guest.mm.write(UserAddr(shared + PAGE), b"x"), Err(Errno::EFAULT));
    file.truncate(12288);
    assert_eq!(guest.peek(shared + PAGE), Ok(0));
    guest.store(shared + 8192, b"z").unwrap();
}

#[test]
fn pieces_of_a_library_are_shown_in_one_hand_off() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let file = TestFile::new(&[b'a'; 8192]);
    let before = guest.space.hand_offs();
    let map = |prot| map_file(&guest, &file, 8192, prot, MmapFlags::MORE_COME);
    let (first, second, gone) = (map(R), map(RW), map(R));
    guest.mm.munmap(UserAddr(gone), 8192).unwrap();
    assert_eq!(guest.space.hand_offs(), before);
    map_anon(&guest, PAGE, MmapFlags::empty());
    assert_eq!((guest.peek(first), guest.peek(second)), (Ok(b'a'), Ok(b'a')));
    assert_eq!(guest.space.hand_offs(), before + 1);
    assert!(guest.peek(gone).is_err());
    let (third, fourth) = (map(R), map(R));
    assert_eq!((guest.peek(third), guest.peek(fourth)), (Ok(b'a'), Ok(b'a')));
    assert_eq!(guest.space.hand_offs(), before + 2, "one fault for both");
}

#[test]
fn a_library_as_a_linker_maps_it_is_shown_in_two_hand_offs() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let file = TestFile::new(&[b'a'; 5 * 4096 - 100]);
    let before = guest.space.hand_offs();
    let library = || {
        let at = map_file(&guest, &file, 5 * PAGE, R, MmapFlags::MORE_COME);
        let data = MmapArgs {
            mappable: Some((file.clone(), 2 * PAGE)),
            ..MmapArgs::anonymous(UserAddr(at + 2 * PAGE), 2 * PAGE, MmapFlags::FIXED | MmapFlags::MORE_COME)
        };
        guest.mm.mmap(data).unwrap();
        guest.store(at + 4 * PAGE - 50, &[0; 50]).unwrap();
        guest.mm.mmap(MmapArgs::anonymous(UserAddr(at + 4 * PAGE), PAGE, MmapFlags::FIXED)).unwrap();
        at
    };
    let first = library();
    assert_eq!(guest.space.hand_offs(), before + 1, "headers and data");
    let second = library();
    assert_eq!(guest.space.hand_offs(), before + 2, "the same, and the first one's memory behind the data");
    for at in [first, second] {
        let bytes = [0, 2 * PAGE, 4 * PAGE - 51, 4 * PAGE - 50, 4 * PAGE, 5 * PAGE - 1]
            .map(|offset| guest.peek(at + offset));
        assert_eq!(bytes, [b'a', b'a', b'a', 0, 0, 0].map(Ok));
    }
    guest.store(second + 4 * PAGE, b"bss").unwrap();
    assert_eq!(guest.space.hand_offs(), before + 3, "one fault");
}

#[test]
fn segments_of_programs_are_copied_when_mapped() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let file = TestFile::new(&[b'a'; 5 * 4096 - 100]);
    let at = map_file(&guest, &file, 5 * PAGE, R, MmapFlags::empty());
    let args = MmapArgs {
        mappable: Some((file.clone(), 3 * PAGE)),
        ..MmapArgs::anonymous(UserAddr(at + 3 * PAGE), 2 * PAGE, MmapFlags::FIXED)
    };
    guest.mm.mmap(args).unwrap();
    let hand_offs = guest.space.hand_offs();
    guest.store(at + 3 * PAGE, b"data").unwrap();
    assert_eq!((guest.peek(at + 5 * PAGE - 101), guest.peek(at + 5 * PAGE - 100)), (Ok(b'a'), Ok(0)));
    assert_eq!(guest.space.hand_offs(), hand_offs);
    let mut byte = [0];
    file.file().read_exact_at(&mut byte, 3 * PAGE).unwrap();
    assert_eq!(byte, *b"a");
}

#[test]
fn shared_memory_is_shared_with_children() {
    let (platform, memory) = FakePlatform::new(1 << 30);
    let parent = platform.guest();
    let shared = map_anon(&parent, 4 * PAGE, MmapFlags::SHARED);
    let child = platform.enter(parent.mm.fork().unwrap());
    child.store(shared + PAGE, b"child").unwrap();
    assert_eq!(parent.peek(shared + PAGE), Ok(b'c'));
    let futex = UserAddr(shared + 8);
    let shared_word = FutexWord { addr: futex, is_shared: true };
    let private_word = FutexWord { is_shared: false, ..shared_word };
    assert_eq!(parent.mm.futex_key(shared_word), child.mm.futex_key(shared_word));
    assert_ne!(parent.mm.futex_key(private_word), child.mm.futex_key(private_word));
    assert!(matches!(parent.mm.futex_key(shared_word), Ok(FutexKey::Shared { offset: 8, .. })));
    assert_eq!(parent.mm.compare_exchange_u32(futex, 0, 5), Ok(0));
    assert_eq!(child.mm.load_u32(futex), Ok(5));
    assert_eq!(child.mm.load_u32(UserAddr(shared + 2)), Err(Errno::EINVAL));
    let again = parent.mm.mremap(UserAddr(shared), 0, 4 * PAGE, RemapFlags::MAYMOVE, UserAddr::NULL).unwrap();
    assert_eq!(parent.peek(again.0 + PAGE), Ok(b'c'), "a shared mapping can be had twice");
    drop((parent, child));
    assert_eq!(memory.allocated(), 0);
}

#[test]
fn words_are_brought_in_between_looks_at_them() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let file = TestFile::new(&[1; PAGE as usize]);
    let at = UserAddr(map_file(&guest, &file, PAGE, RW, MmapFlags::SHARED));
    file.truncate(0);
    assert_eq!(guest.mm.load_u32(at), Err(Errno::EFAULT));
    file.file().write_all_at(&[1; PAGE as usize], 0).unwrap();
    let lock = Mutex::new(0);
    let value = guest.mm.with_words(|words| {
        let mut looks = lock.try_lock().expect("nothing is brought in with locks held");
        *looks += 1;
        words.load_u32(at)
    });
    assert_eq!((value, *lock.lock()), (Ok(0x0101_0101), 2));
    assert_eq!(guest.mm.with_words(|words| words.compare_exchange_u32(at, 0x0101_0101, 7)), Ok(0x0101_0101));
    assert_eq!(guest.mm.load_u32(at), Ok(7));
}

#[test]
fn read_only_shared_mappings_stay_so() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let file = TestFile::new(&[b'a'; 4096]);
    let args = MmapArgs {
        prot: R,
        may_write: false,
        mappable: Some((file.clone(), 0)),
        ..MmapArgs::anonymous(UserAddr::NULL, PAGE, MmapFlags::SHARED)
    };
    let at = guest.mm.mmap(args).unwrap();
    assert_eq!(guest.mm.mprotect(at, PAGE, RW, ProtectRange::Exact), Err(Errno::EACCES));
    assert_eq!(guest.mm.write_forced(at, b"x"), 0);
    guest.mm.mprotect(at, PAGE, NONE, ProtectRange::Exact).unwrap();
    assert_eq!(guest.mm.read_forced(at, &mut [0]), 1);
}

#[test]
fn host_reads_go_straight_into_guest_memory() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let file = TestFile::new(&[b'q'; 10_000]);
    let at = map_anon(&guest, 4 * PAGE, MmapFlags::empty());
    let mut dst =
        crate::mm::IoDst::user_vec(&guest.mm, &[(UserAddr(at + 1), 5000), (UserAddr(at + 8192), 100)]);
    let mut position = 0;
    let count = dst.fill_with(usize::MAX, &mut |slices| {
        let count = host::memory::preadv(file.host.fd(), slices, position)?;
        position += count as u64;
        Ok(count)
    });
    assert_eq!((count, dst.remaining()), (Ok(5100), 0));
    assert_eq!((guest.peek(at), guest.peek(at + 5000), guest.peek(at + 5001)), (Ok(0), Ok(b'q'), Ok(0)));
    assert_eq!(
        (guest.peek(at + 8191), guest.peek(at + 8291), guest.peek(at + 8292)),
        (Ok(0), Ok(b'q'), Ok(0))
    );
    let mut edge = crate::mm::IoDst::user(&guest.mm, UserAddr(at + 4 * PAGE - 2), 4);
    assert_eq!((edge.put(b"abcd"), edge.put(b"cd")), (Ok(2), Err(Errno::EFAULT)));
    let mut src = crate::mm::IoSrc::user(&guest.mm, UserAddr(at + 4 * PAGE - 2), 4);
    let mut bytes = [0; 4];
    assert_eq!((src.take(&mut bytes), &bytes), (Ok(2), b"ab\0\0"));
}

#[test]
fn a_mapping_from_a_mount_without_execution_stays_so() {
    let guest = FakePlatform::new(1 << 30).0.guest();
    let args = MmapArgs {
        prot: R,
        mappable: Some((TestFile::new(b"code"), 0)),
        may_exec: false,
        ..MmapArgs::anonymous(UserAddr(0), PAGE, MmapFlags::empty())
    };
    let at = guest.mm.mmap(args).unwrap();
    let execute = Protection { execute: true, ..R };
    assert_eq!(guest.mm.mprotect(at, PAGE, execute, ProtectRange::Exact), Err(Errno::EACCES));
    assert_eq!(guest.mm.mprotect(at, PAGE, RW, ProtectRange::Exact), Ok(()));
}
