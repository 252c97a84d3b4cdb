//! Private anonymous memory: faults, rights, copy-on-write, stacks, heap, remapping, limits.

use abi::{Errno, Signal, UserAddr};

use super::{NONE, PAGE, R, RW, map_anon};
use crate::mm::{DiscardFlags, FaultSignal, IoDst, LockKind, MmapArgs, MmapFlags, ProtectRange, RemapFlags};
use crate::testing::{FakeGuest, FakePlatform};

const NO_FLAGS: MmapFlags = MmapFlags::empty();

fn guest() -> FakeGuest {
    FakePlatform::new(1 << 30).0.guest()
}

fn code<T: std::fmt::Debug>(result: Result<T, FaultSignal>) -> (i32, i32) {
    let info = result.unwrap_err();
    (info.signo, info.code)
}

const MAPERR: (i32, i32) = (Signal::SEGV.number(), 1);
const ACCERR: (i32, i32) = (Signal::SEGV.number(), 2);

#[test]
fn small_mappings_take_one_hand_off_and_no_fault() {
    let guest = guest();
    let at = map_anon(&guest, 16 * PAGE, NO_FLAGS);
    guest.store(at + 5, b"hello").unwrap();
    assert_eq!(guest.space.hand_offs(), 1);
    let mut bytes = [1; 8];
    guest.mm.read(UserAddr(at + 4), &mut bytes).unwrap();
    assert_eq!(&bytes, b"\0hello\0\0");
    guest.mm.munmap(UserAddr(at), 16 * PAGE).unwrap();
    assert_eq!(guest.space.hand_offs(), 2);
    assert_eq!(code(guest.peek(at)), MAPERR);
    assert_eq!(guest.mm.read(UserAddr(at), &mut bytes), Err(Errno::EFAULT));
    assert_eq!(guest.mm.memory().allocated(), 0);
}

#[test]
fn neighbours_become_one_mapping() {
    let guest = guest();
    for _ in 0..10 {
        map_anon(&guest, PAGE, NO_FLAGS);
    }
    assert_eq!(guest.mm.vmas().len(), 1);
    assert_eq!(guest.mm.pages.read().map.len(), 1, "frames are neighbours, too");
}

#[test]
fn rights_are_enforced_on_guest_and_sentry() {
    let guest = guest();
    let at = map_anon(&guest, 3 * PAGE, NO_FLAGS);
    guest.store(at, &[1; 3 * PAGE as usize]).unwrap();
    guest.mm.mprotect(UserAddr(at + PAGE), PAGE, R, ProtectRange::Exact).unwrap();
    assert_eq!(code(guest.store(at + PAGE, b"x")), ACCERR);
    assert_eq!(guest.mm.write_some(UserAddr(at + PAGE - 2), b"abcd"), 2);
    assert_eq!(guest.peek(at + PAGE), Ok(1));
    assert_eq!(guest.mm.write_forced(UserAddr(at + PAGE), b"z"), 1);
    assert_eq!(guest.peek(at + PAGE), Ok(b'z'));
    guest.mm.mprotect(UserAddr(at), 3 * PAGE, NONE, ProtectRange::Exact).unwrap();
    assert_eq!(code(guest.peek(at)), ACCERR);
    assert_eq!(guest.mm.read(UserAddr(at), &mut [0]), Err(Errno::EFAULT));
    guest.mm.mprotect(UserAddr(at), 3 * PAGE, RW, ProtectRange::Exact).unwrap();
    assert_eq!(guest.peek(at + PAGE), Ok(b'z'));
    let beyond = guest.mm.mprotect(UserAddr(at), 4 * PAGE, R, ProtectRange::Exact);
    assert_eq!(beyond, Err(Errno::ENOMEM));
    assert_eq!(code(guest.store(at, b"x")), ACCERR, "the mapped part was changed");
}

#[test]
fn fork_chains_copy_only_what_is_written() {
    let (platform, memory) = FakePlatform::new(1 << 30);
    let parent = platform.guest();
    let at = map_anon(&parent, 256 * PAGE, NO_FLAGS);
    parent.store(at, &[1; 256 * PAGE as usize]).unwrap();
    let before = memory.allocated();
    let child = platform.enter(parent.mm.fork().unwrap());
    let grandchild = platform.enter(child.mm.fork().unwrap());
    assert_eq!(memory.allocated(), before);
    child.store(at + 7, &[2]).unwrap();
    grandchild.mm.write(UserAddr(at + 7), &[3]).unwrap();
    parent.store(at + 8, &[4]).unwrap();
    for (guest, seven, eight) in [(&parent, 1, 4), (&child, 2, 1), (&grandchild, 3, 1)] {
        assert_eq!((guest.peek(at + 7), guest.peek(at + 8)), (Ok(seven), Ok(eight)));
        assert_eq!(guest.mm.load_u32(UserAddr(at + 128 * PAGE)), Ok(0x0101_0101));
    }
    assert!(memory.allocated() <= before + 3 * 16 * PAGE, "chunks, not everything");
    drop((child, grandchild));
    let hand_offs = parent.space.hand_offs();
    parent.store(at + 128 * PAGE, &[9; 64]).unwrap();
    assert_eq!(parent.space.hand_offs(), hand_offs + 1, "a sole owner gets its pages back in bulk");
    drop(parent);
    assert_eq!(memory.allocated(), 0);
}

#[test]
fn small_pieces_are_copied_at_a_fork_and_the_parents_stub_hears_nothing() {
    let (platform, memory) = FakePlatform::new(1 << 30);
    let parent = platform.guest();
    let at = map_anon(&parent, 8 * PAGE, NO_FLAGS);
    parent.store(at + PAGE, b"both").unwrap();
    let hand_offs = parent.space.hand_offs();
    let child = platform.enter(parent.mm.fork().unwrap());
    parent.store(at + PAGE, b"old").unwrap();
    assert_eq!(parent.space.hand_offs(), hand_offs);
    let shown = child.space.hand_offs();
    child.store(at + PAGE, b"new").unwrap();
    assert_eq!(child.space.hand_offs(), shown);
    assert_eq!(parent.mm.read_cstring(UserAddr(at + PAGE), 10), Ok(b"oldh".to_vec()));
    assert_eq!(child.mm.read_cstring(UserAddr(at + PAGE), 10), Ok(b"newh".to_vec()));
    assert_eq!((child.peek(at), parent.peek(at + 2 * PAGE)), (Ok(0), Ok(0)), "holes are holes in both");
    child.store(at, &[7]).unwrap();
    assert_eq!(parent.peek(at), Ok(0));
    drop((parent, child));
    assert_eq!(memory.allocated(), 0);
}

#[test]
fn what_is_stored_to_after_a_fork_is_copied_at_the_next() {
    let (platform, memory) = FakePlatform::new(1 << 30);
    let parent = platform.guest();
    let at = map_anon(&parent, 256 * PAGE, NO_FLAGS);
    parent.store(at, &[1; 256 * PAGE as usize]).unwrap();
    drop(platform.enter(parent.mm.fork().unwrap()));
    parent.store(at + 100 * PAGE, &[2]).unwrap();
    let allocated = memory.allocated();
    let child = platform.enter(parent.mm.fork().unwrap());
    assert!(memory.allocated() > allocated);
    let hand_offs = parent.space.hand_offs();
    parent.store(at + 100 * PAGE, &[3]).unwrap();
    assert_eq!(parent.space.hand_offs(), hand_offs);
    assert_eq!((child.peek(at + 100 * PAGE), child.peek(at)), (Ok(2), Ok(1)));
}

#[test]
fn memory_that_nobody_touches_is_not_shown_to_the_stub() {
    let guest = guest();
    let map_and_unmap = || {
        let at = map_anon(&guest, 16 * PAGE, NO_FLAGS);
        guest.mm.munmap(UserAddr(at), 16 * PAGE).unwrap();
    };
    (0..20).for_each(|_| map_and_unmap());
    let hand_offs = guest.space.hand_offs();
    (0..20).for_each(|_| map_and_unmap());
    assert_eq!(guest.space.hand_offs(), hand_offs);
    let at = map_anon(&guest, 16 * PAGE, NO_FLAGS);
    assert_eq!(guest.space.hand_offs(), hand_offs);
    guest.store(at + 5, b"x").unwrap();
    assert_eq!(guest.peek(at + 5), Ok(b'x'));
    map_anon(&guest, 16 * PAGE, NO_FLAGS);
    assert_eq!(guest.space.hand_offs(), hand_offs + 2, "one by a fault, one at once again");
}

#[test]
fn rights_that_come_and_go_unused_are_not_told_to_the_stub() {
    let guest = guest();
    let at = map_anon(&guest, 4 * PAGE, NO_FLAGS);
    guest.store(at, &[1]).unwrap();
    let protect = |prot| guest.mm.mprotect(UserAddr(at), 4 * PAGE, prot, ProtectRange::Exact).unwrap();
    (0..20).for_each(|_| [R, RW].into_iter().for_each(protect));
    let hand_offs = guest.space.hand_offs();
    (0..20).for_each(|_| [R, RW].into_iter().for_each(protect));
    assert_eq!(guest.space.hand_offs(), hand_offs);
    guest.store(at, &[2]).unwrap();
    assert_eq!(guest.space.hand_offs(), hand_offs + 1);
    protect(R);
    assert_eq!(code(guest.store(at, &[3])), ACCERR);
    assert_eq!(guest.peek(at), Ok(2));
}

#[test]
fn terabytes_cost_nothing_until_touched() {
    let guest = guest();
    let args = MmapArgs { prot: NONE, ..MmapArgs::anonymous(UserAddr::NULL, 1 << 40, MmapFlags::NORESERVE) };
    let at = guest.mm.mmap(args).unwrap().0;
    let middle = at + (1 << 39);
    guest.mm.mprotect(UserAddr(middle), PAGE, RW, ProtectRange::Exact).unwrap();
    guest.store(middle, &[9]).unwrap();
    assert_eq!(guest.peek(middle), Ok(9));
    assert_eq!(code(guest.peek(middle + PAGE)), ACCERR);
    let huge = map_anon(&guest, 1 << 41, MmapFlags::NORESERVE);
    guest.store(huge + (1 << 40), &[7]).unwrap();
    assert!(guest.mm.memory().allocated() <= 4 << 20);
    let refused = guest.mm.mmap(MmapArgs::anonymous(UserAddr::NULL, 1 << 41, NO_FLAGS));
    assert_eq!(refused, Err(Errno::ENOMEM));
    guest.mm.munmap(UserAddr(at), 1 << 40).unwrap();
    assert_eq!(code(guest.peek(middle)), MAPERR);
}

#[test]
fn stacks_grow_to_their_limit_and_keep_a_gap() {
    let guest = guest();
    let top = 0x7000_0000_0000;
    let args = MmapArgs::anonymous(UserAddr(top - PAGE), PAGE, MmapFlags::FIXED | MmapFlags::GROWSDOWN);
    guest.mm.mmap(args).unwrap();
    guest.store(top - (4 << 20), &[1]).unwrap();
    guest.mm.write(UserAddr(top - (7 << 20)), &[1]).unwrap();
    assert_eq!(code(guest.store(top - (9 << 20), &[1])), MAPERR);
    let wall = UserAddr(top - (8 << 20));
    guest.mm.mmap(MmapArgs::anonymous(wall, PAGE, MmapFlags::FIXED)).unwrap();
    assert_eq!(code(guest.store(wall.0 + PAGE, &[1])), MAPERR, "the guard gap");
}

#[test]
fn heap_moves_both_ways() {
    let guest = guest();
    let start = 0x4000_0000;
    guest.mm.set_brk_start(UserAddr(start));
    assert_eq!(guest.mm.brk(UserAddr(0)), UserAddr(start));
    assert_eq!(guest.mm.brk(UserAddr(start + 10_000)), UserAddr(start + 10_000));
    guest.store(start + 9_999, &[5]).unwrap();
    assert_eq!(guest.mm.brk(UserAddr(start + 100_000)), UserAddr(start + 100_000));
    assert_eq!(guest.peek(start + 9_999), Ok(5));
    assert_eq!(guest.mm.brk(UserAddr(start + 1)), UserAddr(start + 1));
    assert_eq!(code(guest.peek(start + PAGE)), MAPERR);
    assert_eq!(guest.mm.brk(UserAddr(start + 10_000)), UserAddr(start + 10_000));
    assert_eq!(guest.peek(start + 9_999), Ok(0));
    guest.mm.mmap(MmapArgs::anonymous(UserAddr(start + (1 << 20)), PAGE, MmapFlags::FIXED)).unwrap();
    assert_eq!(
        guest.mm.brk(UserAddr(start + (2 << 20))),
        UserAddr(start + 10_000),
        "something is in the way"
    );
    guest.mm.limits().set_data(1 << 16);
    assert_eq!(guest.mm.brk(UserAddr(start + (1 << 17))), UserAddr(start + 10_000));
}

#[test]
fn remapping_moves_pages() {
    let guest = guest();
    let at = map_anon(&guest, 4 * PAGE, NO_FLAGS);
    guest.store(at, b"grow").unwrap();
    let no_move = guest.mm.mremap(UserAddr(at), 4 * PAGE, 8 * PAGE, RemapFlags::empty(), UserAddr::NULL);
    let wall = guest.mm.mmap(MmapArgs::anonymous(UserAddr(at + 4 * PAGE), PAGE, MmapFlags::FIXED_NOREPLACE));
    assert!(no_move.is_ok() != wall.is_ok());
    let moved =
        guest.mm.mremap(UserAddr(at), 4 * PAGE, 1 << 20, RemapFlags::MAYMOVE, UserAddr::NULL).unwrap().0;
    let mut bytes = [0; 4];
    guest.load(moved, &mut bytes).unwrap();
    assert_eq!(&bytes, b"grow");
    assert_eq!(guest.peek(moved + (1 << 20) - 1), Ok(0));
    let to = 0x1234_5000_0000;
    let flags = RemapFlags::MAYMOVE | RemapFlags::FIXED;
    guest.mm.mremap(UserAddr(moved), 1 << 20, 2 * PAGE, flags, UserAddr(to)).unwrap();
    guest.load(to, &mut bytes).unwrap();
    assert_eq!(&bytes, b"grow");
    assert_eq!(code(guest.peek(moved)), MAPERR);
    assert_eq!(code(guest.peek(to + 2 * PAGE)), MAPERR);
    let dup = guest.mm.mremap(UserAddr(to), 0, PAGE, RemapFlags::MAYMOVE, UserAddr::NULL);
    assert_eq!(dup, Err(Errno::EINVAL), "only shared mappings can be duplicated");
    let keep = RemapFlags::MAYMOVE | RemapFlags::DONTUNMAP;
    let other = guest.mm.mremap(UserAddr(to), 2 * PAGE, 2 * PAGE, keep, UserAddr::NULL).unwrap().0;
    assert_eq!((guest.peek(other), guest.peek(to)), (Ok(b'g'), Ok(0)));
    assert_eq!(guest.mm.mremap(UserAddr(8 * PAGE), PAGE, PAGE, keep, UserAddr::NULL), Err(Errno::EFAULT));
}

#[test]
fn limits_and_bad_arguments() {
    let guest = guest();
    assert_eq!(guest.mm.mmap(MmapArgs::anonymous(UserAddr::NULL, 0, NO_FLAGS)), Err(Errno::EINVAL));
    assert_eq!(guest.mm.mmap(MmapArgs::anonymous(UserAddr::NULL, u64::MAX, NO_FLAGS)), Err(Errno::ENOMEM));
    assert_eq!(guest.mm.mmap(MmapArgs::anonymous(UserAddr(1), PAGE, MmapFlags::FIXED)), Err(Errno::EINVAL));
    assert_eq!(guest.mm.mmap(MmapArgs::anonymous(UserAddr(0), PAGE, MmapFlags::FIXED)), Err(Errno::EPERM));
    let high = MmapArgs::anonymous(UserAddr(u64::MAX - PAGE + 1), PAGE, MmapFlags::FIXED);
    assert_eq!(guest.mm.mmap(high), Err(Errno::ENOMEM));
    let at = map_anon(&guest, PAGE, NO_FLAGS);
    let again = MmapArgs::anonymous(UserAddr(at), PAGE, MmapFlags::FIXED_NOREPLACE);
    assert_eq!(guest.mm.mmap(again), Err(Errno::EEXIST));
    assert_eq!(guest.mm.munmap(UserAddr(at + 1), PAGE), Err(Errno::EINVAL));
    assert_eq!(guest.mm.munmap(UserAddr(at), 0), Err(Errno::EINVAL));
    guest.mm.limits().set_address_space(1 << 20);
    assert_eq!(guest.mm.mmap(MmapArgs::anonymous(UserAddr::NULL, 1 << 20, NO_FLAGS)), Err(Errno::ENOMEM));
    assert_eq!(guest.mm.read(UserAddr(u64::MAX - 2), &mut [0; 8]), Err(Errno::EFAULT));
    assert_eq!(guest.mm.read_cstring(UserAddr(at + PAGE - 3), 10), Ok(vec![]));
    guest.store(at + PAGE - 3, b"abc").unwrap();
    assert_eq!(guest.mm.read_cstring(UserAddr(at + PAGE - 3), 10), Err(Errno::EFAULT));
    assert_eq!(guest.mm.read_cstring(UserAddr(at + PAGE - 3), 3), Err(Errno::ENAMETOOLONG));
}

#[test]
fn what_is_locked_is_counted_and_brought_in() {
    let guest = guest();
    let (start, mm) = (0x5000_0000, &guest.mm);
    mm.set_brk_start(UserAddr(start));
    mm.limits().set_locked(64 * PAGE);
    let plain = map_anon(&guest, 128 * PAGE, NO_FLAGS);
    mm.lock_all(None, LockKind::Now.flags()).unwrap();
    let used = mm.memory().used();
    let locked = map_anon(&guest, 32 * PAGE, NO_FLAGS);
    assert_eq!(mm.memory().used(), used + 32 * PAGE);
    assert_eq!(mm.mmap(MmapArgs::anonymous(UserAddr::NULL, 33 * PAGE, NO_FLAGS)), Err(Errno::EAGAIN));
    assert_eq!(mm.brk(UserAddr(start + 33 * PAGE)), UserAddr(start));
    assert_eq!(mm.brk(UserAddr(start + 16 * PAGE)), UserAddr(start + 16 * PAGE));
    assert_eq!(mm.memory().used(), used + 48 * PAGE);
    let grow = |to| mm.mremap(UserAddr(locked), 32 * PAGE, to, RemapFlags::MAYMOVE, UserAddr::NULL);
    assert_eq!(grow(49 * PAGE), Err(Errno::EAGAIN));
    grow(48 * PAGE).unwrap();
    assert_eq!(mm.memory().used(), used + 64 * PAGE);
    assert_eq!(mm.lock(plain..plain + PAGE, LockKind::OnFault), Err(Errno::ENOMEM));
    assert_eq!(mm.lock_all(Some(LockKind::Now.flags()), LockKind::Now.flags()), Err(Errno::ENOMEM));
    mm.unlock(start..start + 16 * PAGE).unwrap();
    mm.lock(plain..plain + 16 * PAGE, LockKind::OnFault).unwrap();
    assert_eq!(mm.memory().used(), used + 64 * PAGE, "on fault");
}

#[test]
fn discarding_gives_zeros_and_memory_back() {
    let guest = guest();
    let at = map_anon(&guest, 8 * PAGE, NO_FLAGS);
    guest.store(at, &[1; 8 * PAGE as usize]).unwrap();
    let used = guest.mm.memory().used();
    let hand_offs = guest.space.hand_offs();
    guest.mm.discard(at..at + 4 * PAGE, DiscardFlags::empty()).unwrap();
    assert_eq!(guest.space.hand_offs(), hand_offs, "done in place");
    assert_eq!(guest.mm.memory().used(), used - 4 * PAGE);
    assert_eq!((guest.peek(at), guest.peek(at + 4 * PAGE)), (Ok(0), Ok(1)));
    let child = guest.mm.fork().unwrap();
    guest.mm.discard(at..at + 8 * PAGE, DiscardFlags::empty()).unwrap();
    assert_eq!(guest.peek(at + 4 * PAGE), Ok(0));
    assert_eq!(child.load_u32(UserAddr(at + 4 * PAGE)), Ok(0x0101_0101));
    assert_eq!(guest.mm.discard(at..at + 9 * PAGE, DiscardFlags::empty()), Err(Errno::ENOMEM));
}

#[test]
fn a_host_that_refuses_mappings_is_out_of_memory() {
    let guest = guest();
    // More than fork(2) copies at once.
    let at = map_anon(&guest, 128 * PAGE, NO_FLAGS);
    guest.store(at, b"kept").unwrap();
    let child = guest.mm.fork().unwrap();
    guest.space.refuse_mappings(true);
    let refused = guest.mm.mmap(MmapArgs::anonymous(UserAddr::NULL, PAGE, NO_FLAGS));
    assert_eq!(refused, Err(Errno::ENOMEM));
    assert!(guest.store(at, b"lost").is_err());
    guest.space.refuse_mappings(false);
    guest.store(at + 4, b"!").unwrap();
    let mut bytes = [0; 5];
    guest.load(at, &mut bytes).unwrap();
    assert_eq!(&bytes, b"kept!");
    assert_eq!(child.read_cstring(UserAddr(at), 10), Ok(b"kept".to_vec()));
}

#[test]
fn an_iovec_is_filled_in_one_call() {
    let guest = guest();
    let at = map_anon(&guest, 4 * PAGE, NO_FLAGS);
    let ranges = [(UserAddr(at + 1), 3), (UserAddr(at + 2 * PAGE), 2), (UserAddr(at + PAGE), 4)];
    let (mut calls, mut dst) = (0, IoDst::user_vec(&guest.mm, &ranges));
    let filled = dst.fill_with(8, &mut |slices| {
        calls += 1;
        slices.iter().try_fold(0, |done, slice| Ok(done + slice.write(&b"abcdefgh"[done..])?))
    });
    assert_eq!((filled, calls, dst.remaining()), (Ok(8), 1, 1));
    let mut bytes = [0; 4];
    guest.mm.read(UserAddr(at + PAGE), &mut bytes).unwrap();
    assert_eq!(&bytes, b"fgh\0");
}
