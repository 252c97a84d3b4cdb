//! Mapping operations: memory, files, rights, holes, limits, and what is refused.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use abi::{Errno, UserAddr};
use platform::{Event, MapOp, MapSource, Platform, PlatformError, Protection};

use self::guest::{Machine, NONE, RO, RW, Thread};

guest!(load_next, "2: mov rax, [rdi]", "syscall", "jmp 2b");
guest!(store_next, "2: mov [rdi], rsi", "syscall", "jmp 2b");

const AT: u64 = 0x1234_0000_0000;

fn memory(addr: u64, len: u64, prot: Protection, from: u64) -> MapOp<'static> {
    MapOp::Map { addr: UserAddr(addr), len, prot, source: MapSource::Memory(from), populate: false }
}

fn protect(addr: u64, len: u64, prot: Protection) -> MapOp<'static> {
    MapOp::Protect { addr: UserAddr(addr), len, prot }
}

fn read(thread: &mut Thread, addr: u64) -> Result<u64, u64> {
    thread.regs.rdi = addr;
    match thread.run() {
        Event::Syscall => Ok(thread.regs.orig_rax),
        Event::Fault(fault) => Err(fault.addr),
        other => panic!("{other:?}"),
    }
}

fn file(pages: u32) -> OwnedFd {
    let fd = host::memory::memfd(c"file", 0).unwrap();
    let mut file = std::fs::File::from(fd);
    for page in 0..pages {
        let mut bytes = [0; 4096];
        bytes[..4].copy_from_slice(&(page + 1000).to_le_bytes());
        file.write_all(&bytes).unwrap();
    }
    file.into()
}

#[test]
fn files_of_a_batch_are_not_mixed_up() {
    let machine = Machine::new();
    let process = machine.process(load_next());
    let mut thread = process.thread();
    let files: Vec<OwnedFd> = (0..40).map(|n| file(n + 1)).collect();
    for prefix in 0..3 {
        let ops: Vec<MapOp<'_>> = files
            .iter()
            .enumerate()
            .map(|(n, file)| MapOp::Map {
                addr: UserAddr(AT + n as u64 * 8192),
                len: 4096,
                prot: RO,
                source: MapSource::File(file.as_fd(), n as u64 * 4096),
                populate: n % 2 == 0,
            })
            .collect();
        process.space.apply(&ops[prefix..]).unwrap();
        for n in prefix as u64..40 {
            assert_eq!(read(&mut thread, AT + n * 8192), Ok(1000 + n));
            assert_eq!(read(&mut thread, AT + n * 8192 + 4096), Err(AT + n * 8192 + 4096));
        }
    }
}

#[test]
fn a_file_opened_for_reading_is_not_mapped_for_writing_and_later_ones_still_work() {
    let machine = Machine::new();
    let process = machine.process(load_next());
    let mut thread = process.thread();
    let read_only: OwnedFd = std::fs::File::open("/proc/self/exe").unwrap().into();
    let good = file(1);
    let map = |fd, prot| MapOp::Map {
        addr: UserAddr(AT),
        len: 4096,
        prot,
        source: MapSource::File(fd, 0),
        populate: false,
    };
    let ops = [map(read_only.as_fd(), RW), map(good.as_fd(), RO)];
    match process.space.apply(&ops) {
        Err(PlatformError::Mapping(errno)) => assert_eq!(errno, Errno::EACCES),
        other => panic!("{other:?}"),
    }
    process.space.apply(&[map(good.as_fd(), RO)]).unwrap();
    assert_eq!(read(&mut thread, AT), Ok(1000));
}

#[test]
fn a_batch_may_be_longer_than_the_ring() {
    let machine = Machine::new();
    let process = machine.process(load_next());
    let mut thread = process.thread();
    let from = machine.allocate(2048 * 4096);
    let ops: Vec<MapOp<'_>> =
        (0..1000).map(|n| memory(AT + n * 8192, 4096, RO, from + (n * 7 % 1000) * 4096)).collect();
    for n in 0..1000 {
        let word = machine.direct.slice(from + (n * 7 % 1000) * 4096, 4).unwrap();
        word.store_u32(0, n as u32).unwrap();
    }
    process.space.apply(&ops).unwrap();
    for n in (0..1000).step_by(37) {
        assert_eq!(read(&mut thread, AT + n * 8192), Ok(n));
    }
}

#[test]
fn protect_skips_holes_and_takes_effect_at_once() {
    let machine = Machine::new();
    let process = machine.process(store_next());
    let mut thread = process.thread();
    let from = machine.allocate(16 * 4096);
    for n in [0, 2, 3, 7] {
        process.space.apply(&[memory(AT + n * 4096, 4096, RW, from + n * 4096)]).unwrap();
    }
    process.space.apply(&[protect(AT - 4096, 10 * 4096, RO)]).unwrap();
    for n in [0, 2, 3, 7] {
        thread.regs.rdi = AT + n * 4096;
        assert!(matches!(thread.run(), Event::Fault(fault) if fault.write && fault.code == 2));
    }
    process.space.apply(&[protect(AT, 8 * 4096, NONE), protect(AT, 8 * 4096, RW)]).unwrap();
    for n in [0, 2, 3, 7] {
        thread.regs.rdi = AT + n * 4096;
        assert!(matches!(thread.run(), Event::Syscall));
    }
    process.space.apply(&[MapOp::Unmap { addr: UserAddr(AT), len: 8 * 4096 }]).unwrap();
    assert!(matches!(thread.run(), Event::Fault(fault) if fault.code == 1));
}

#[test]
fn the_stubs_own_region_is_out_of_reach() {
    let machine = Machine::new();
    let process = machine.process(load_next());
    let (low, high) = machine.platform.user_range();
    let page = machine.allocate(4096);
    let bad = [
        memory(high.0, 4096, RW, page),
        memory(high.0 - 4096, 8192, RW, page),
        memory(u64::MAX - 4095, 4096, RW, page),
        memory(0, 4096, RW, page),
        memory(low.0 - 4096, 4096, RW, page),
        memory(AT + 1, 4096, RW, page),
        memory(AT, 0, RW, page),
        memory(AT, u64::MAX - 4095, RW, page),
        protect(high.0, 4096, RW),
        MapOp::Unmap { addr: high, len: 1 << 36 },
    ];
    for op in bad {
        assert!(matches!(process.space.apply(&[op]), Err(PlatformError::Mapping(Errno::EINVAL))), "{op:?}");
    }
    process.space.apply(&[memory(low.0, 4096, RW, page), memory(high.0 - 4096, 4096, RW, page)]).unwrap();
    assert!(matches!(process.thread().run(), Event::Fault(_)));
}

#[test]
fn too_many_mappings_are_enomem_and_not_fatal() {
    let limit: u64 = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        return;
    }
    let machine = Machine::new();
    let process = machine.process(load_next());
    let mut thread = process.thread();
    let from = machine.allocate(4096);
    let ops: Vec<MapOp<'_>> = (0..limit + 10).map(|n| memory(AT + n * 8192, 4096, RO, from)).collect();
    assert!(matches!(process.space.apply(&ops), Err(PlatformError::Mapping(Errno::ENOMEM))));
    assert_eq!(read(&mut thread, AT), Ok(0));
    process.space.apply(&[MapOp::Unmap { addr: UserAddr(AT), len: (limit + 10) * 8192 }]).unwrap();
    assert_eq!(read(&mut thread, AT), Err(AT));
}
