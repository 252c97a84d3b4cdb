//! Faults and exceptions are reported as Linux would describe them, and execution goes on where the kernel says.

mod guest;

use abi::UserAddr;
use platform::{Event, Exception, Fault, MapOp, MapSource};

use self::guest::{CODE, DATA, Machine, Process, RO, RW, Thread};

guest!(load, "mov rax, [rdi]", "syscall");
guest!(store, "mov [rdi], rax", "syscall");
guest!(jump, "jmp rdi");
guest!(divide, "xor edx, edx", "mov eax, 1", "xor ecx, ecx", "div ecx", "syscall");
guest!(undefined, "ud2", "syscall");
guest!(breakpoint, "int3", "syscall");
guest!(step, "nop", "nop", "syscall");
guest!(old_call, "mov eax, 20", "int 0x80", "syscall");
guest!(vsyscall, "mov rax, 0xffffffffff600400", "call rax", "syscall");
guest!(
    sse_divide,
    "mov dword ptr [rsp], 0x1f00",
    "ldmxcsr [rsp]",
    "pxor xmm0, xmm0",
    "divss xmm0, xmm0",
    "syscall"
);

fn start(machine: &Machine, code: &[u8], rdi: u64) -> (Process, Thread) {
    let process = machine.process(code);
    let mut thread = process.thread();
    thread.regs.rdi = rdi;
    (process, thread)
}

fn fault(thread: &mut Thread) -> Fault {
    match thread.run() {
        Event::Fault(fault) => fault,
        other => panic!("expected a fault, got {other:?}"),
    }
}

fn exception(thread: &mut Thread) -> Exception {
    match thread.run() {
        Event::Exception(exception) => exception,
        other => panic!("expected an exception, got {other:?}"),
    }
}

#[test]
fn a_missing_page_faults_and_the_access_can_be_repeated() {
    let machine = Machine::new();
    let (process, mut thread) = start(&machine, load(), 0x7654_3210_0008);
    let got = fault(&mut thread);
    assert_eq!(
        (got.addr, got.write, got.execute, got.signal, got.trap),
        (0x7654_3210_0008, false, false, 11, 14)
    );
    assert_eq!(thread.regs.rip, CODE);
    let page = machine.allocate(4096);
    machine.direct.slice(page + 8, 4).unwrap().store_u32(0, 77).unwrap();
    let (addr, source) = (UserAddr(0x7654_3210_0000), MapSource::Memory(page));
    process.space.apply(&[MapOp::Map { addr, len: 4096, prot: RW, source, populate: false }]).unwrap();
    assert_eq!(thread.syscall().0, 77);
}

#[test]
fn a_store_to_a_read_only_page_faults() {
    let machine = Machine::new();
    let (process, mut thread) = start(&machine, store(), DATA + 16);
    process.space.apply(&[MapOp::Protect { addr: UserAddr(DATA), len: 4096, prot: RO }]).unwrap();
    let got = fault(&mut thread);
    assert_eq!((got.addr, got.write, got.signal, got.code), (DATA + 16, true, 11, 2));
    process.space.apply(&[MapOp::Protect { addr: UserAddr(DATA), len: 4096, prot: RW }]).unwrap();
    thread.syscall();
}

#[test]
fn a_fetch_from_data_faults() {
    let machine = Machine::new();
    let (_process, mut thread) = start(&machine, jump(), DATA);
    let got = fault(&mut thread);
    assert_eq!((got.addr, got.execute, thread.regs.rip), (DATA, true, DATA));
}

#[test]
fn a_non_canonical_address_is_a_protection_fault() {
    let machine = Machine::new();
    let (_process, mut thread) = start(&machine, load(), 0x8000_0000_0000_0000);
    let got = fault(&mut thread);
    assert_eq!((got.addr, got.signal, got.code, got.trap), (0, 11, 128, 13));
}

#[test]
fn the_page_behind_a_file_is_a_bus_error() {
    let machine = Machine::new();
    let (process, mut thread) = start(&machine, load(), 0x1000_1000);
    let file = host::memory::memfd(c"short", 4096).unwrap();
    let source = MapSource::File(std::os::fd::AsFd::as_fd(&file), 0);
    let map = MapOp::Map { addr: UserAddr(0x1000_0000), len: 8192, prot: RO, source, populate: false };
    process.space.apply(&[map]).unwrap();
    let got = fault(&mut thread);
    assert_eq!((got.addr, got.signal), (0x1000_1000, 7));
}

#[test]
fn exceptions_keep_their_signal_and_code() {
    let machine = Machine::new();
    let (_process, mut thread) = start(&machine, divide(), 0);
    let got = exception(&mut thread);
    assert_eq!((got.signal, got.code, got.addr, got.trap), (8, 1, CODE + 9, 0));
    let (_process, mut thread) = start(&machine, undefined(), 0);
    let got = exception(&mut thread);
    assert_eq!((got.signal, got.addr, got.trap), (4, CODE, 6));
    let (_process, mut thread) = start(&machine, breakpoint(), 0);
    let got = exception(&mut thread);
    assert_eq!((got.signal, got.trap, thread.regs.rip), (5, 3, CODE + 1));
    let (_process, mut thread) = start(&machine, sse_divide(), 0);
    let got = exception(&mut thread);
    assert_eq!((got.signal, got.trap), (8, 19));
}

#[test]
fn the_trap_flag_steps_one_instruction() {
    let machine = Machine::new();
    let (_process, mut thread) = start(&machine, step(), 0);
    thread.regs.rflags |= 0x100;
    let got = exception(&mut thread);
    assert_eq!((got.signal, got.code, thread.regs.rip), (5, 2, CODE + 1));
    thread.regs.rflags |= 0x100;
    exception(&mut thread);
    assert_eq!(thread.regs.rip, CODE + 2);
    thread.regs.rflags &= !0x100;
    thread.syscall();
}

#[test]
fn a_32_bit_call_is_told_apart() {
    let machine = Machine::new();
    let (_process, mut thread) = start(&machine, old_call(), 0);
    assert!(matches!(thread.run(), Event::CompatSyscall));
    assert_eq!((thread.regs.orig_rax, thread.regs.rip), (20, CODE + 7));
    thread.syscall();
}

#[test]
fn the_vsyscall_page_is_a_call_or_a_fetch_fault() {
    let machine = Machine::new();
    let (_process, mut thread) = start(&machine, vsyscall(), 0);
    match thread.run() {
        Event::Syscall => assert_eq!((thread.regs.orig_rax, thread.regs.rip), (201, CODE + 9)),
        Event::Fault(fault) => {
            assert_eq!(fault.addr, 0xffff_ffff_ff60_0400);
            assert!(fault.execute);
        }
        other => panic!("{other:?}"),
    }
}
