//! What the platform costs: `cargo run --release -p platform --example trap_cost`.

#[path = "../tests/guest/mod.rs"]
#[allow(clippy::unwrap_used, unreachable_pub, reason = "an example for developers")]
mod guest;

use std::time::Instant;

use abi::UserAddr;
use platform::{MapOp, MapSource, Platform};

use self::guest::{Machine, RW};

guest!(call_forever, "2: mov eax, 39", "syscall", "jmp 2b");
guest!(work_forever, "2: mov ecx, 3000", "3: dec ecx", "jnz 3b", "mov eax, 39", "syscall", "jmp 2b");

fn report(what: &str, count: u32, mut action: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..count {
        action();
    }
    println!("{what:<55} {:>10.0} ns", start.elapsed().as_nanos() as f64 / f64::from(count));
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
    let space = machine.platform.new_address_space().expect("space");
    report("new context and drop (idle thread reused)", 1000, || drop(space.new_context(None)));
    let mut contexts = Vec::new();
    report("new context, kept", 200, || contexts.push(space.new_context(None)));
}

fn traps_in_parallel(machine: &Machine, threads: u32) {
    const COUNT: u32 = 30_000;
    let process = machine.process(call_forever());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let mut thread = process.thread();
            scope.spawn(move || (0..COUNT).for_each(|_| drop(thread.run())));
        }
    });
    let each = start.elapsed().as_nanos() as f64 / f64::from(COUNT);
    println!("{:<55} {each:>10.0} ns", format!("trap round trip, {threads} threads at once"));
}
