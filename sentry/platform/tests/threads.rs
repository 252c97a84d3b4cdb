//! Several threads in one address space, several address spaces, interrupts.

mod guest;

use std::time::{Duration, Instant};

use abi::Regs;
use platform::Event;
use platform::systrap::HandOver;

use self::guest::{CODE, DATA, Machine, STACK_TOP, Thread};

guest!(count, "2: lock inc dword ptr [rdi]", "mov eax, 24", "syscall", "jmp 2b");
guest!(spin, "2: pause", "jmp 2b");

#[test]
fn threads_share_memory_and_keep_their_registers() {
    const THREADS: u32 = 8;
    const ROUNDS: u32 = 2000;
    let machine = Machine::new();
    let process = machine.process(count());
    std::thread::scope(|scope| {
        for n in 0..u64::from(THREADS) {
            let mut thread = process.thread();
            scope.spawn(move || {
                (thread.regs.rdi, thread.regs.r15, thread.regs.fs_base) = (DATA, n, n << 12);
                for _ in 0..ROUNDS {
                    assert_eq!(thread.syscall().0, 24);
                    assert_eq!((thread.regs.r15, thread.regs.fs_base), (n, n << 12));
                }
            });
        }
    });
    assert_eq!(machine.direct.slice(process.data, 4).unwrap().load_u32(0), Ok(THREADS * ROUNDS));
}

#[test]
fn every_way_of_handing_over_gives_the_same() {
    for hand_over in [HandOver::Door, HandOver::Watch, HandOver::Adaptive] {
        let machine = Machine::with_hand_over(hand_over);
        let process = machine.process(count());
        std::thread::scope(|scope| {
            for n in 0..3_u64 {
                let mut thread = process.thread();
                scope.spawn(move || {
                    (thread.regs.rdi, thread.regs.gs_base) = (DATA, n);
                    for round in 0..1000_u32 {
                        thread.syscall();
                        assert_eq!(thread.regs.gs_base, n);
                        if round.is_multiple_of(100) {
                            // Longer than either side watches.
                            std::thread::sleep(Duration::from_micros(200));
                        }
                    }
                });
            }
        });
        // Threads that were left while they watched are used again.
        for _ in 0..20 {
            let mut thread = process.thread();
            thread.regs.rdi = DATA;
            thread.syscall();
        }
        assert_eq!(machine.direct.slice(process.data, 4).unwrap().load_u32(0), Ok(3020));
    }
}

#[test]
fn a_dropped_context_leaves_a_clean_thread_to_the_next() {
    let machine = Machine::new();
    let process = machine.process(count());
    for n in 0..50_u64 {
        let mut thread = process.thread();
        assert_eq!(thread.regs, Regs { rip: CODE, rsp: STACK_TOP - 64, rflags: 0x202, ..Regs::default() });
        (thread.regs.rdi, thread.regs.rbx) = (DATA, n);
        thread.syscall();
        let other = process.thread();
        drop(thread);
        drop(other);
    }
    assert_eq!(machine.direct.slice(process.data, 4).unwrap().load_u32(0), Ok(50));
}

#[test]
fn a_process_that_once_had_many_threads_gives_them_back() {
    fn host_threads() -> usize {
        let tasks = |pid: &str| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        let parent = format!("PPid:\t{}\n", std::process::id());
        let status = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let names =
            std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().into_string().ok());
        names.filter(|pid| status(pid).contains(&parent)).map(|pid| tasks(&pid)).max().unwrap_or(0)
    }
    let machine = Machine::new();
    let process = machine.process(count());
    for _ in 0..3 {
        let mut threads: Vec<_> = (0..120).map(|_| process.thread()).collect();
        for thread in &mut threads {
            thread.regs.rdi = DATA;
            thread.syscall();
        }
        assert!(host_threads() >= 122);
        drop(threads);
        let start = Instant::now();
        while host_threads() > 60 {
            assert!(start.elapsed() < Duration::from_secs(5), "{} threads are left", host_threads());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(machine.direct.slice(process.data, 4).unwrap().load_u32(0), Ok(360));
}

#[test]
fn address_spaces_are_separate() {
    let machine = Machine::new();
    let processes: Vec<_> = (0..6).map(|_| machine.process(count())).collect();
    for (n, process) in (1..).zip(&processes) {
        let mut thread = process.thread();
        thread.regs.rdi = DATA;
        for _ in 0..n {
            thread.syscall();
        }
    }
    for (n, process) in (1..).zip(&processes) {
        assert_eq!(machine.direct.slice(process.data, 4).unwrap().load_u32(0), Ok(n));
    }
}

#[test]
fn address_spaces_can_be_made_by_several_threads_at_once() {
    let machine = Machine::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut thread = machine.process(count()).thread();
                    thread.regs.rdi = DATA;
                    thread.syscall();
                }
            });
        }
    });
}

#[test]
fn a_context_outlives_its_address_space_handle() {
    let machine = Machine::new();
    let mut thread = machine.process(count()).thread();
    thread.regs.rdi = DATA;
    thread.syscall();
    thread.syscall();
}

#[test]
fn an_interrupt_stops_a_spinning_guest() {
    let machine = Machine::new();
    let process = machine.process(spin());
    let mut thread = process.thread();
    let interrupter = thread.context.interrupter();
    let helper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        interrupter.interrupt();
        Instant::now()
    });
    assert!(matches!(thread.run(), Event::Interrupted));
    assert!(helper.join().unwrap().elapsed() < Duration::from_millis(200));
}

#[test]
fn an_interrupt_before_running_is_not_lost_and_counts_once() {
    let machine = Machine::new();
    let process = machine.process(count());
    let Thread { mut context, mut regs } = process.thread();
    regs.rdi = DATA;
    let interrupter = context.interrupter();
    for _ in 0..3 {
        interrupter.interrupt();
        interrupter.interrupt();
        assert!(matches!(context.run(&mut regs), Event::Interrupted));
        assert_eq!(regs.rip, CODE, "no guest code ran");
        assert!(matches!(context.run(&mut regs), Event::Syscall));
        regs.rip = CODE;
    }
}

#[test]
fn interrupts_race_with_calls() {
    let machine = Machine::new();
    let process = machine.process(count());
    let Thread { mut context, mut regs } = process.thread();
    regs.rdi = DATA;
    let interrupter = context.interrupter();
    let (mut calls, mut interrupts) = (0_u32, 0_u32);
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            for _ in 0..2000 {
                interrupter.interrupt();
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        while !sender.is_finished() {
            match context.run(&mut regs) {
                Event::Syscall => calls += 1,
                Event::Interrupted => interrupts += 1,
                other => panic!("{other:?}"),
            }
        }
    });
    while matches!(context.run(&mut regs), Event::Interrupted) {}
    let counted = machine.direct.slice(process.data, 4).unwrap().load_u32(0).unwrap();
    assert!(interrupts > 0);
    assert_eq!(counted, calls + 1);
}
