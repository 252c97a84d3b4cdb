//! Every register survives traps, faults, interrupts and the copy to a new thread.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::time::Duration;

use abi::Regs;
use platform::{Event, Platform};

use self::guest::{CODE, DATA, Machine, Process, RW, STACK_TOP, Thread};

guest!(nothing_but_calls, "2: syscall", "jmp 2b");
guest!(spin_until_flag, "2: cmp dword ptr [rip + 0xffff9], 0", "je 2b", "syscall", "jmp 2b");
guest!(flags, "push rdi", "popfq", "syscall", "pushfq", "pop rsi", "syscall");
guest!(
    red_zone,
    "mov [rsp - 8], rdi",
    "mov [rsp - 128], rsi",
    "syscall",
    "mov rdi, [rsp - 8]",
    "mov rsi, [rsp - 128]",
    "syscall"
);
guest!(bases, "wrfsbase rdi", "wrgsbase rsi", "syscall", "rdfsbase rdi", "rdgsbase rsi", "syscall", "ud2");

// rdi: values; rsi: where to store them; stops between loading and storing with a call, and spins where rdx is set.
guest!(
    all_vectors,
    "vmovdqu64 zmm0, [rdi + 0]",
    "vmovdqu64 zmm1, [rdi + 64]",
    "vmovdqu64 zmm2, [rdi + 128]",
    "vmovdqu64 zmm3, [rdi + 192]",
    "vmovdqu64 zmm4, [rdi + 256]",
    "vmovdqu64 zmm5, [rdi + 320]",
    "vmovdqu64 zmm6, [rdi + 384]",
    "vmovdqu64 zmm7, [rdi + 448]",
    "vmovdqu64 zmm8, [rdi + 512]",
    "vmovdqu64 zmm9, [rdi + 576]",
    "vmovdqu64 zmm10, [rdi + 640]",
    "vmovdqu64 zmm11, [rdi + 704]",
    "vmovdqu64 zmm12, [rdi + 768]",
    "vmovdqu64 zmm13, [rdi + 832]",
    "vmovdqu64 zmm14, [rdi + 896]",
    "vmovdqu64 zmm15, [rdi + 960]",
    "vmovdqu64 zmm16, [rdi + 1024]",
    "vmovdqu64 zmm17, [rdi + 1088]",
    "vmovdqu64 zmm18, [rdi + 1152]",
    "vmovdqu64 zmm19, [rdi + 1216]",
    "vmovdqu64 zmm20, [rdi + 1280]",
    "vmovdqu64 zmm21, [rdi + 1344]",
    "vmovdqu64 zmm22, [rdi + 1408]",
    "vmovdqu64 zmm23, [rdi + 1472]",
    "vmovdqu64 zmm24, [rdi + 1536]",
    "vmovdqu64 zmm25, [rdi + 1600]",
    "vmovdqu64 zmm26, [rdi + 1664]",
    "vmovdqu64 zmm27, [rdi + 1728]",
    "vmovdqu64 zmm28, [rdi + 1792]",
    "vmovdqu64 zmm29, [rdi + 1856]",
    "vmovdqu64 zmm30, [rdi + 1920]",
    "vmovdqu64 zmm31, [rdi + 1984]",
    "kmovq k0, [rdi + 2048]",
    "kmovq k1, [rdi + 2056]",
    "kmovq k2, [rdi + 2064]",
    "kmovq k3, [rdi + 2072]",
    "kmovq k4, [rdi + 2080]",
    "kmovq k5, [rdi + 2088]",
    "kmovq k6, [rdi + 2096]",
    "kmovq k7, [rdi + 2104]",
    "ldmxcsr [rdi + 2112]",
    "fldcw [rdi + 2116]",
    "fld qword ptr [rdi + 2120]",
    "syscall",
    "2: test rdx, rdx",
    "jz 3f",
    "cmp dword ptr [rsi + 4096], 0",
    "je 2b",
    "3:",
    "vmovdqu64 [rsi + 0], zmm0",
    "vmovdqu64 [rsi + 64], zmm1",
    "vmovdqu64 [rsi + 128], zmm2",
    "vmovdqu64 [rsi + 192], zmm3",
    "vmovdqu64 [rsi + 256], zmm4",
    "vmovdqu64 [rsi + 320], zmm5",
    "vmovdqu64 [rsi + 384], zmm6",
    "vmovdqu64 [rsi + 448], zmm7",
    "vmovdqu64 [rsi + 512], zmm8",
    "vmovdqu64 [rsi + 576], zmm9",
    "vmovdqu64 [rsi + 640], zmm10",
    "vmovdqu64 [rsi + 704], zmm11",
    "vmovdqu64 [rsi + 768], zmm12",
    "vmovdqu64 [rsi + 832], zmm13",
    "vmovdqu64 [rsi + 896], zmm14",
    "vmovdqu64 [rsi + 960], zmm15",
    "vmovdqu64 [rsi + 1024], zmm16",
    "vmovdqu64 [rsi + 1088], zmm17",
    "vmovdqu64 [rsi + 1152], zmm18",
    "vmovdqu64 [rsi + 1216], zmm19",
    "vmovdqu64 [rsi + 1280], zmm20",
    "vmovdqu64 [rsi + 1344], zmm21",
    "vmovdqu64 [rsi + 1408], zmm22",
    "vmovdqu64 [rsi + 1472], zmm23",
    "vmovdqu64 [rsi + 1536], zmm24",
    "vmovdqu64 [rsi + 1600], zmm25",
    "vmovdqu64 [rsi + 1664], zmm26",
    "vmovdqu64 [rsi + 1728], zmm27",
    "vmovdqu64 [rsi + 1792], zmm28",
    "vmovdqu64 [rsi + 1856], zmm29",
    "vmovdqu64 [rsi + 1920], zmm30",
    "vmovdqu64 [rsi + 1984], zmm31",
    "kmovq [rsi + 2048], k0",
    "kmovq [rsi + 2056], k1",
    "kmovq [rsi + 2064], k2",
    "kmovq [rsi + 2072], k3",
    "kmovq [rsi + 2080], k4",
    "kmovq [rsi + 2088], k5",
    "kmovq [rsi + 2096], k6",
    "kmovq [rsi + 2104], k7",
    "stmxcsr [rsi + 2112]",
    "fnstcw [rsi + 2116]",
    "fstp qword ptr [rsi + 2120]",
    "syscall",
);
guest!(
    sse_vectors,
    "movdqu xmm0, [rdi + 0]",
    "movdqu xmm1, [rdi + 64]",
    "movdqu xmm2, [rdi + 128]",
    "movdqu xmm3, [rdi + 192]",
    "movdqu xmm4, [rdi + 256]",
    "movdqu xmm5, [rdi + 320]",
    "movdqu xmm6, [rdi + 384]",
    "movdqu xmm7, [rdi + 448]",
    "movdqu xmm8, [rdi + 512]",
    "movdqu xmm9, [rdi + 576]",
    "movdqu xmm10, [rdi + 640]",
    "movdqu xmm11, [rdi + 704]",
    "movdqu xmm12, [rdi + 768]",
    "movdqu xmm13, [rdi + 832]",
    "movdqu xmm14, [rdi + 896]",
    "movdqu xmm15, [rdi + 960]",
    "ldmxcsr [rdi + 2112]",
    "fldcw [rdi + 2116]",
    "fld qword ptr [rdi + 2120]",
    "syscall",
    "movdqu [rsi + 0], xmm0",
    "movdqu [rsi + 64], xmm1",
    "movdqu [rsi + 128], xmm2",
    "movdqu [rsi + 192], xmm3",
    "movdqu [rsi + 256], xmm4",
    "movdqu [rsi + 320], xmm5",
    "movdqu [rsi + 384], xmm6",
    "movdqu [rsi + 448], xmm7",
    "movdqu [rsi + 512], xmm8",
    "movdqu [rsi + 576], xmm9",
    "movdqu [rsi + 640], xmm10",
    "movdqu [rsi + 704], xmm11",
    "movdqu [rsi + 768], xmm12",
    "movdqu [rsi + 832], xmm13",
    "movdqu [rsi + 896], xmm14",
    "movdqu [rsi + 960], xmm15",
    "stmxcsr [rsi + 2112]",
    "fnstcw [rsi + 2116]",
    "fstp qword ptr [rsi + 2120]",
    "syscall",
);

fn distinct() -> Regs {
    let n = 0x0101_0101_0101_0101_u64;
    Regs {
        r8: n,
        r9: 2 * n,
        r10: 3 * n,
        r12: 4 * n,
        r13: 5 * n,
        r14: 6 * n,
        r15: 7 * n,
        rdi: 8 * n,
        rsi: 9 * n,
        rbp: 10 * n,
        rbx: 11 * n,
        rdx: 12 * n,
        rax: 0x1234,
        rsp: STACK_TOP - 0x123,
        rip: CODE,
        rflags: 0x202,
        fs_base: 0x1234_5678_9000,
        gs_base: 0xffff_8000_0000_1000,
        cs: Regs::USER_CS,
        ss: Regs::USER_SS,
        ..Regs::default()
    }
}

/// What a call leaves of `regs`.
fn after_call(regs: Regs) -> Regs {
    let rip = regs.rip + 2;
    Regs { rip, rcx: rip, r11: regs.rflags, orig_rax: regs.rax, ..regs }
}

#[test]
fn general_registers_survive_calls() {
    let machine = Machine::new();
    let process = machine.process(nothing_but_calls());
    let mut thread = process.thread();
    for round in 0..100 {
        let before = Regs { rax: round, rip: CODE, ..distinct() };
        thread.regs = before;
        assert!(matches!(thread.run(), Event::Syscall));
        assert_eq!(thread.regs, after_call(before));
    }
}

#[test]
fn general_registers_survive_interrupts() {
    let machine = Machine::new();
    let process = machine.process(spin_until_flag());
    let mut thread = process.thread();
    thread.regs = distinct();
    let interrupter = thread.context.interrupter();
    std::thread::scope(|scope| {
        let (done, stop) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            while stop
                .recv_timeout(Duration::from_micros(300))
                .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                interrupter.interrupt();
            }
        });
        for _ in 0..300 {
            match thread.run() {
                Event::Interrupted => {}
                other => panic!("{other:?}"),
            }
            let Regs { rip, rflags, .. } = thread.regs;
            assert!((CODE..CODE + 9).contains(&rip), "{rip:#x}");
            assert_eq!(thread.regs, Regs { rip, rflags, orig_rax: u64::MAX, ..distinct() });
        }
        machine.direct.slice(process.data, 4).unwrap().store_u32(0, 1).unwrap();
        while matches!(thread.run(), Event::Interrupted) {}
        assert_eq!(thread.regs.orig_rax, distinct().rax);
        drop(done);
    });
}

#[test]
fn user_flags_survive() {
    let machine = Machine::new();
    let process = machine.process(flags());
    let mut thread = process.thread();
    // CF PF AF ZF SF DF OF, and ID.
    thread.regs.rdi = 0x0020_0cd5 | 0x202;
    thread.syscall();
    let kept = thread.regs.rflags;
    assert_eq!(kept & 0xcd5, 0xcd5);
    thread.syscall();
    assert_eq!(thread.regs.rsi & 0x0020_0cd5, 0x0020_0cd5);
}

#[test]
fn the_red_zone_is_left_alone() {
    let machine = Machine::new();
    let process = machine.process(red_zone());
    let mut thread = process.thread();
    (thread.regs.rdi, thread.regs.rsi) = (0xaaaa, 0xbbbb);
    thread.syscall();
    (thread.regs.rdi, thread.regs.rsi) = (0, 0);
    thread.syscall();
    assert_eq!((thread.regs.rdi, thread.regs.rsi), (0xaaaa, 0xbbbb));
}

#[test]
fn segment_bases_are_read_and_written() {
    let machine = Machine::new();
    let process = machine.process(bases());
    let mut thread = process.thread();
    (thread.regs.rdi, thread.regs.rsi) = (0x7000_0000_1000, 0x2000);
    thread.syscall();
    assert_eq!((thread.regs.fs_base, thread.regs.gs_base), (0x7000_0000_1000, 0x2000));
    (thread.regs.fs_base, thread.regs.gs_base) = (0x3000, 0xffff_ffff_ffff_f000);
    thread.syscall();
    assert_eq!((thread.regs.rdi, thread.regs.rsi), (0x3000, 0xffff_ffff_ffff_f000));
    // What the CPU would refuse becomes 0 and does no harm.
    thread.regs.fs_base = 0x8000_0000_0000;
    assert!(matches!(thread.run(), Event::Exception(_)));
    assert_eq!(thread.regs.fs_base, 0);
}

/// Values for [`all_vectors`] at the start of the data, room for the results a page further on.
fn vector_process(machine: &Machine, code: &[u8]) -> (Process, Thread, Vec<u8>) {
    let process = machine.process(code);
    let mut values: Vec<u8> = (0..2128_u32).map(|n| (n * 7 + n / 251) as u8).collect();
    values[2112..2116].copy_from_slice(&0x7f80_u32.to_le_bytes());
    values[2116..2118].copy_from_slice(&0x0f7f_u16.to_le_bytes());
    values[2118..2120].fill(0);
    values[2120..].copy_from_slice(&1234.5_f64.to_le_bytes());
    machine.direct.slice(process.data, values.len()).unwrap().write(&values).unwrap();
    let mut thread = process.thread();
    (thread.regs.rdi, thread.regs.rsi) = (DATA, DATA + 4096);
    (process, thread, values)
}

fn results(machine: &Machine, process: &Process) -> Vec<u8> {
    let mut results = vec![0; 2128];
    machine.direct.slice(process.data + 4096, results.len()).unwrap().read(&mut results).unwrap();
    results
}

#[test]
fn sse_and_x87_survive_calls() {
    let machine = Machine::new();
    let (process, mut thread, values) = vector_process(&machine, sse_vectors());
    thread.syscall();
    thread.syscall();
    let results = results(&machine, &process);
    for register in 0..16 {
        assert_eq!(results[register * 64..][..16], values[register * 64..][..16]);
    }
    assert_eq!(results[2112..], values[2112..]);
}

#[test]
fn avx512_survives_calls_and_copies_to_a_new_thread() {
    if !is_x86_feature_detected!("avx512bw") {
        return;
    }
    let machine = Machine::new();
    let (process, mut thread, values) = vector_process(&machine, all_vectors());
    thread.syscall();
    let mut child = Thread {
        context: process.space.new_context(Some(&mut *thread.context)).unwrap(),
        regs: Regs { rsi: DATA + 3 * 4096, ..thread.regs },
    };
    thread.syscall();
    assert!(results(&machine, &process) == values);
    child.syscall();
    let mut copied = vec![0; values.len()];
    machine.direct.slice(process.data + 3 * 4096, copied.len()).unwrap().read(&mut copied).unwrap();
    assert!(copied == values);
}

#[test]
fn avx512_survives_interrupts() {
    if !is_x86_feature_detected!("avx512bw") {
        return;
    }
    let machine = Machine::new();
    let (process, mut thread, values) = vector_process(&machine, all_vectors());
    thread.regs.rdx = 1;
    thread.syscall();
    let interrupter = thread.context.interrupter();
    for _ in 0..50 {
        let later = interrupter.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_micros(200));
                later.interrupt();
            });
            assert!(matches!(thread.run(), Event::Interrupted));
        });
    }
    machine.direct.slice(process.data + 8192, 4).unwrap().store_u32(0, 1).unwrap();
    while matches!(thread.run(), Event::Interrupted) {}
    assert!(results(&machine, &process) == values);
}

#[test]
fn extended_state_can_be_saved_and_replaced() {
    let machine = Machine::new();
    let (process, mut thread, values) = vector_process(&machine, sse_vectors());
    let (size, _) = machine.platform.xstate_layout();
    thread.syscall();
    let mut image = vec![0; size];
    assert_eq!(thread.context.save_xstate(&mut image), size);
    assert_eq!(image[160..176], values[..16], "xmm0");
    image[160..176].fill(0x5a);
    image[176..192].fill(0x5b);
    thread.context.load_xstate(Some(&image));
    thread.syscall();
    let after = results(&machine, &process);
    assert!(after[..16].iter().all(|byte| *byte == 0x5a));
    assert!(after[64..80].iter().all(|byte| *byte == 0x5b));
    assert_eq!(after[128..144], values[128..144], "xmm2");
    // A bare FXSAVE image, garbage, and the initial state are all loadable.
    for from in [Some(&image[..512]), Some(&[0xff; 2816][..]), Some(&[][..]), None] {
        thread.context.load_xstate(from);
        thread.regs.rip = CODE;
        thread.syscall();
    }
}

#[test]
fn a_new_thread_starts_with_the_initial_state() {
    let machine = Machine::new();
    let process = machine.process(sse_vectors());
    let (size, features) = machine.platform.xstate_layout();
    assert!(size >= 576 && features & 3 == 3);
    let mut thread = process.thread();
    let mut image = vec![0xaa; size];
    thread.context.save_xstate(&mut image);
    assert_eq!(image[..2], [0x7f, 3]);
    assert_eq!(image[24..28], 0x1f80_u32.to_le_bytes());
    assert!(image[160..416].iter().all(|byte| *byte == 0));
}

const _: platform::Protection = RW;
