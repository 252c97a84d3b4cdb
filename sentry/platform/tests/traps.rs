//! System calls of every kind arrive, and results go back.

mod guest;

use platform::Event;

use self::guest::{CODE, Machine};

guest!(call_forever, "2: mov eax, 39", "syscall", "mov rdi, rax", "jmp 2b");

#[test]
fn calls_arrive_and_results_go_back() {
    let machine = Machine::new();
    let process = machine.process(call_forever());
    let mut thread = process.thread();
    assert_eq!(thread.syscall().0, 39);
    for value in 1..1000_u64 {
        let (nr, args) = thread.answer(value << 32 | value);
        assert_eq!((nr, args[0]), (39, value << 32 | value));
        assert_eq!(thread.regs.rip, CODE + 7);
    }
    assert!(matches!(thread.run(), Event::Syscall));
}
