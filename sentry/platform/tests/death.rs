//! Stubs that die, and that nothing is left behind. The tests of this file look at all children of the process and so
//! take turns.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod guest;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::UserAddr;
use platform::{Event, MapOp, MapSource, Platform, PlatformError};

use self::guest::{Machine, RW};

guest!(call, "2: mov eax, 39", "syscall", "jmp 2b");
guest!(spin, "2: pause", "jmp 2b");

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pids of our children, dead ones not yet reaped included.
fn children() -> BTreeSet<i32> {
    let me = std::process::id().to_string();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let after_name = stat.rsplit(')').next().unwrap_or("");
        if after_name.split_whitespace().nth(1) == Some(me.as_str()) {
            found.insert(pid);
        }
    }
    found
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(5), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill(pid: i32) {
    // SAFETY: a plain system call on a child of ours.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

/// Starts with no child left of an earlier test; the zygote is then the first child.
fn machine_with_zygote() -> (Machine, i32) {
    wait_until("the end of other tests' children", || children().is_empty());
    let machine = Machine::new();
    let zygote = *children().first().unwrap();
    (machine, zygote)
}

/// Which stub belongs to an address space cannot be told from outside, so all are killed.
fn kill_stubs(zygote: i32) {
    children().into_iter().filter(|pid| *pid != zygote).for_each(kill);
}

#[test]
fn a_stub_killed_while_running_is_reported_within_milliseconds() {
    let _turn = turn();
    let (machine, zygote) = machine_with_zygote();
    let process = machine.process(spin());
    let mut thread = process.thread();
    let start = Instant::now();
    let killed = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            kill_stubs(zygote);
            Instant::now()
        });
        assert!(matches!(thread.run(), Event::Died(_)));
        killer.join().unwrap()
    });
    assert!(killed - start >= Duration::from_millis(20));
    assert!(killed.elapsed() < Duration::from_millis(100));
    assert!(matches!(thread.run(), Event::Died(_)));
    let map = MapOp::Map {
        addr: UserAddr(0x1000_0000),
        len: 4096,
        prot: RW,
        source: MapSource::Memory(0),
        populate: false,
    };
    assert!(matches!(process.space.apply(&[map]), Err(PlatformError::Dead(_))));
    assert!(process.space.new_context(None).is_err());
}

#[test]
fn a_stub_killed_while_parked_is_noticed_at_the_next_run() {
    let _turn = turn();
    let (machine, zygote) = machine_with_zygote();
    let process = machine.process(call());
    let mut threads = [process.thread(), process.thread()];
    threads[0].syscall();
    kill_stubs(zygote);
    for thread in &mut threads {
        let start = Instant::now();
        assert!(matches!(thread.run(), Event::Died(_)));
        assert!(start.elapsed() < Duration::from_millis(100));
        thread.context.interrupter().interrupt();
    }
    drop(threads);
    // The platform goes on, once it knows that its spare stubs are dead, too.
    std::thread::sleep(Duration::from_millis(50));
    let mut thread = machine.process(call()).thread();
    thread.syscall();
}

/// What a cgroup's freezer and a debugger do to threads: take them out of whatever they wait for, and let them go on.
#[test]
fn stubs_that_are_stopped_and_continued_go_on() {
    let _turn = turn();
    let (machine, zygote) = machine_with_zygote();
    let process = machine.process(call());
    let mut threads = [process.thread(), process.thread()];
    let signal_stubs = |signal| {
        for pid in children().into_iter().filter(|pid| *pid != zygote) {
            // SAFETY: a plain system call on a child of ours.
            assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    for round in 0..5_u64 {
        for thread in &mut threads {
            thread.syscall();
        }
        signal_stubs(libc::SIGSTOP);
        if round % 2 == 0 {
            signal_stubs(libc::SIGCONT);
        } else {
            std::thread::scope(|scope| {
                // The guest is let go, and its mappings are changed, while its process is stopped.
                scope.spawn(|| threads[0].syscall());
                scope.spawn(|| process.thread().syscall());
                std::thread::sleep(Duration::from_millis(20));
                signal_stubs(libc::SIGCONT);
            });
        }
        let unmap = MapOp::Unmap { addr: UserAddr(0x1000_0000), len: 4096 };
        process.space.apply(&[unmap]).unwrap();
    }
}

/// How often any thread of ours or of our children was switched to.
fn switches() -> u64 {
    let mut sum = 0;
    let mut pids = children();
    pids.insert(std::process::id() as i32);
    // SAFETY: a plain system call.
    let me = unsafe { libc::gettid() };
    for pid in pids {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
            if task.file_name().to_str() == Some(me.to_string().as_str()) {
                continue;
            }
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
            sum += counts.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>();
        }
    }
    sum
}

#[test]
fn an_idle_platform_wakes_up_never() {
    let _turn = turn();
    let (machine, _) = machine_with_zygote();
    let processes: Vec<_> = (0..3).map(|_| machine.process(call())).collect();
    let mut threads: Vec<_> = processes.iter().map(guest::Process::thread).collect();
    for thread in &mut threads {
        for _ in 0..200 {
            thread.syscall();
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    let before = switches();
    std::thread::sleep(Duration::from_secs(1));
    // The harness's own threads may be switched to, for tests that wait for their turn; ours are not.
    assert!(switches() - before <= 3, "{} switches", switches() - before);
}

#[test]
fn a_dead_zygote_is_an_error_and_old_processes_go_on() {
    let _turn = turn();
    let (machine, zygote) = machine_with_zygote();
    let process = machine.process(call());
    let mut thread = process.thread();
    thread.syscall();
    kill(zygote);
    wait_until("the zygote's end", || !children().contains(&zygote));
    // Those that are ready are kept: given back, they would be used again and again.
    let mut ready = Vec::new();
    wait_until("an error", || {
        let made = machine.platform.new_address_space();
        let is_error = matches!(made, Err(PlatformError::Resources(_)));
        ready.extend(made);
        is_error
    });
    thread.syscall();
    process.thread().syscall();
}

#[test]
fn nothing_is_left_after_drop() {
    let _turn = turn();
    let (machine, _) = machine_with_zygote();
    let processes: Vec<_> = (0..5).map(|_| machine.process(call())).collect();
    let mut threads: Vec<_> = processes.iter().map(guest::Process::thread).collect();
    for thread in &mut threads {
        thread.syscall();
    }
    assert!(children().len() >= 6);
    drop(processes);
    drop(threads);
    drop(machine);
    wait_until("the end of all children", || children().is_empty());
}

#[test]
fn a_guest_that_ignores_the_interrupt_is_killed_in_the_end() {
    let _turn = turn();
    let (machine, _) = machine_with_zygote();
    let process = machine.process(spin());
    // A forged frame with all signals blocked that goes on spinning.
    let mut frame = [0; 440];
    frame[176..184].copy_from_slice(&guest::CODE.to_le_bytes());
    frame[192..200].copy_from_slice(&(abi::Regs::USER_CS | abi::Regs::USER_SS << 48).to_le_bytes());
    frame[304..312].fill(0xff);
    machine.direct.slice(process.data, frame.len()).unwrap().write(&frame).unwrap();
    let mut thread = process.thread();
    thread.regs.rip = stub::address_of(stub::Entry::SigReturn, stub::layout::IMAGE) - 2;
    (thread.regs.rax, thread.regs.rsp) = (15, guest::DATA + 8);
    let interrupter = thread.context.interrupter();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        interrupter.interrupt();
    });
    let start = Instant::now();
    assert!(matches!(thread.run(), Event::Died(_)));
    assert!(start.elapsed() < Duration::from_secs(30));
}
