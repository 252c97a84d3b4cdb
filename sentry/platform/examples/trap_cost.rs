//! What the platform costs: `cargo run --release -p platform --example trap_cost [PART-OF-A-NAME]`.

#[path = "../tests/guest/mod.rs"]
#[allow(unreachable_pub, reason = "an example for developers")]
mod guest;

use std::time::Instant;

use abi::UserAddr;
use platform::{MapOp, MapSource, Platform};

use self::guest::{Machine, RW};

guest!(call_forever, "2: mov eax, 39", "syscall", "jmp 2b");
guest!(work_forever, "2: mov ecx, 3000", "3: dec ecx", "jnz 3b", "mov eax, 39", "syscall", "jmp 2b");

/// Nanoseconds of CPU that we and our children have used. Unlike elapsed time it says something on a busy machine, too.
fn cpu_time() -> f64 {
    let parent = format!("PPid:\t{}\n", std::process::id());
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let mut sum = 0.0;
    for entry in std::fs::read_dir("/proc").expect("proc is mounted").flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid != std::process::id().to_string() && !read(format!("/proc/{pid}/status")).contains(&parent) {
            continue;
        }
        for task in std::fs::read_dir(entry.path().join("task")).into_iter().flatten().flatten() {
            let stat = read(task.path().join("schedstat").to_string_lossy().into_owned());
            sum += stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
        }
    }
    // SAFETY: all zeros is a valid `rusage`, and the call fills it.
    let gone = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let ns = |time: libc::timeval| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3;
    sum + ns(gone.ru_utime) + ns(gone.ru_stime)
}

fn report(what: &str, count: u32, action: impl FnMut()) {
    report_each(what, count, count, action);
}

/// Calls `action` so many times, and divides by `each`.
fn report_each(what: &str, count: u32, each: u32, mut action: impl FnMut()) {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if !what.contains(&wanted) {
        return;
    }
    let (cpu, start) = (cpu_time(), Instant::now());
    for _ in 0..count {
        action();
    }
    let elapsed = start.elapsed();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let each = f64::from(each);
    let (elapsed, cpu) = (elapsed.as_nanos() as f64 / each, (cpu_time() - cpu) / each);
    println!("{what:<55} {elapsed:>10.0} ns {cpu:>10.0} ns CPU");
}

fn main() {
    let start = Instant::now();
    let machine = Machine::new();
    println!("{:<55} {:>10} ns", "platform start", start.elapsed().as_nanos());
    let process = machine.process(call_forever());
    let mut thread = process.thread();
    report("trap round trip, warm-up", 1000, || drop(thread.run()));
    report("trap round trip", 100_000, || drop(thread.run()));
    let worker = machine.process(work_forever());
    let mut working = worker.thread();
    report("trap round trip with about 1 us of guest work", 50_000, || drop(working.run()));
    traps_in_parallel(&machine, 2);
    traps_in_parallel(&machine, 4);
    let from = machine.allocate(1 << 20);
    let map = |len, populate| MapOp::Map {
        addr: UserAddr(0x7000_0000),
        len,
        prot: RW,
        source: MapSource::Memory(from),
        populate,
    };
    let unmap = MapOp::Unmap { addr: UserAddr(0x7000_0000), len: 1 << 20 };
    report("map + unmap 64 KiB, two hand-offs", 5000, || {
        process.space.apply(&[map(1 << 16, false)]).expect("map");
        process.space.apply(&[unmap]).expect("unmap");
    });
    report("map populated + unmap 64 KiB, one hand-off", 5000, || {
        process.space.apply(&[map(1 << 16, true), unmap]).expect("map");
    });
    report("new address space and drop", 200, || drop(machine.platform.new_address_space()));
    report("new address space and drop, with a pause of 1 ms", 200, || {
        drop(machine.platform.new_address_space());
        std::thread::sleep(std::time::Duration::from_millis(1));
    });
    let space = machine.platform.new_address_space().expect("space");
    report("new context and drop (idle thread reused)", 1000, || drop(space.new_context(None)));
    let mut contexts = Vec::new();
    report("new context, kept", 200, || contexts.push(space.new_context(None)));
}

fn traps_in_parallel(machine: &Machine, threads: u32) {
    const COUNT: u32 = 30_000;
    let process = machine.process(call_forever());
    let mut ready: Vec<_> = (0..threads).map(|_| process.thread()).collect();
    report_each(&format!("trap round trip, {threads} threads at once"), 1, COUNT, || {
        std::thread::scope(|scope| {
            for mut thread in ready.drain(..) {
                scope.spawn(move || (0..COUNT).for_each(|_| drop(thread.run())));
            }
        });
    });
}
