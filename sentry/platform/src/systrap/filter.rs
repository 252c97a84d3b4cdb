//! The filters on a stub's threads.
//!
//! All threads have the *family*'s, which the zygote arms. A guest thread has two more, because a chain of filters can have
//! one listener only and the thread must still be able to send that listener away before it is shut in: first *notify*,
//! then *trap*. Of several filters the strictest verdict counts. What a guest thread can execute itself is then:
//!
//! - the door call at the door's site: hands over to the sentry, which takes every argument as hostile;
//! - `rt_sigreturn` at its site: loads registers, a signal mask and a signal stack, all of the thread's own;
//! - `exit` at its site: ends the thread, which its sentry thread learns as it learns of other deaths.
//!
//! Everything else, from wherever and in whichever ABI, raises `SIGSYS`.

use bpf::seccomp::Field;
use bpf::{Assembler, Cond, Label};
use host::seccomp::{Action, ArgCheck, Program, Rule, compile};
use stub::layout::{ARCH, DOOR_NR, IMAGE, IMAGE_SIZE};
use stub::{Entry, address_of};

/// The door is handed over; everything else is left to the next filter.
pub(super) fn notify() -> Program {
    let mut asm = Assembler::new();
    let other = asm.label();
    asm.load(Field::Nr.offset());
    asm.require(Cond::Eq, DOOR_NR, other);
    asm.ret(Action::UserNotif.encode());
    asm.place(other);
    asm.ret(Action::Allow.encode());
    finish(asm)
}

/// All calls trap except at the sites of the image.
pub(super) fn trap() -> Program {
    let sites = [
        (Entry::Door, DOOR_NR),
        (Entry::SigReturn, libc::SYS_rt_sigreturn as u32),
        (Entry::Exit, libc::SYS_exit as u32),
    ];
    let mut asm = Assembler::new();
    let trap = asm.label();
    asm.load(Field::IpHigh.offset());
    asm.require(Cond::Eq, (IMAGE >> 32) as u32, trap);
    asm.load(Field::Arch.offset());
    asm.require(Cond::Eq, ARCH, trap);
    asm.load(Field::IpLow.offset());
    for (site, nr) in sites {
        let other = asm.label();
        asm.require(Cond::Eq, address_of(site, IMAGE) as u32, other);
        allow_number(&mut asm, nr, trap);
        asm.place(other);
    }
    asm.place(trap);
    asm.ret(Action::Trap.encode());
    finish(asm)
}

fn allow_number(asm: &mut Assembler, nr: u32, otherwise: Label) {
    asm.load(Field::Nr.offset());
    asm.require(Cond::Eq, nr, otherwise);
    asm.ret(Action::Allow.encode());
}

/// What any thread of the zygote's family may call, and from the image only. All other filters come on top of this one,
/// which the zygote arms before it makes anybody: a guest thread's leave it three calls of these.
const FAMILY_CALLS: &[Rule] = &[
    Rule::any(DOOR_NR as i64, "the door"),
    Rule::any(libc::SYS_rt_sigreturn, "rt_sigreturn"),
    Rule::any(libc::SYS_futex, "futex"),
    Rule::any(libc::SYS_mmap, "mmap"),
    Rule::any(libc::SYS_munmap, "munmap"),
    Rule::any(libc::SYS_mprotect, "mprotect"),
    Rule::any(libc::SYS_madvise, "madvise"),
    Rule::any(libc::SYS_sendmsg, "sendmsg"),
    Rule::any(libc::SYS_recvmsg, "recvmsg"),
    Rule::any(libc::SYS_close, "close"),
    Rule::any(libc::SYS_dup2, "dup2"),
    Rule::when(libc::SYS_clone, "clone", &[ArgCheck::OneOf(0, &CLONE_FLAGS)]),
    Rule::when(libc::SYS_seccomp, "seccomp", &[ArgCheck::Eq32(0, libc::SECCOMP_SET_MODE_FILTER)]),
    Rule::any(libc::SYS_sigaltstack, "sigaltstack"),
    Rule::when(libc::SYS_prctl, "prctl", &[ArgCheck::Eq32(0, libc::PR_SET_PDEATHSIG as u32)]),
    Rule::any(libc::SYS_getpid, "getpid"),
    Rule::any(libc::SYS_getppid, "getppid"),
    Rule::any(libc::SYS_exit, "exit"),
    Rule::any(libc::SYS_exit_group, "exit_group"),
];

/// A process, and a thread in it.
const CLONE_FLAGS: [u64; 2] = [libc::CLONE_PARENT as u64, super::process::THREAD_FLAGS as u64];

/// The family's calls are allowed to code of the image; all else traps, which ends a thread that blocks signals.
pub(super) fn family() -> Program {
    let table = compile(FAMILY_CALLS, Action::Trap).expect("a short table compiles");
    let mut asm = Assembler::new();
    let (trap, inside) = (asm.label(), asm.label());
    asm.load(Field::IpHigh.offset());
    asm.require(Cond::Eq, (IMAGE >> 32) as u32, trap);
    asm.load(Field::IpLow.offset());
    asm.jump_if(Cond::Ge, (IMAGE + IMAGE_SIZE) as u32, trap);
    asm.jump(inside);
    asm.place(trap);
    asm.ret(Action::Trap.encode());
    asm.place(inside);
    let mut code = asm.finish().expect("short jumps are near");
    code.extend_from_slice(table.instructions());
    Program::new(code).expect("a short program is accepted")
}

/// What the helper is ever told to do. Its commands are the sentry's; the filter is a second wall.
const HELPER_CALLS: &[Rule] = &[
    Rule::any(libc::SYS_mmap, "mmap"),
    Rule::any(libc::SYS_munmap, "munmap"),
    Rule::any(libc::SYS_mprotect, "mprotect"),
    Rule::any(libc::SYS_madvise, "madvise"),
    Rule::any(libc::SYS_recvmsg, "recvmsg"),
    Rule::any(libc::SYS_sendmsg, "sendmsg"),
    Rule::any(libc::SYS_close, "close"),
    Rule::any(libc::SYS_getpid, "getpid"),
    Rule::any(libc::SYS_futex, "futex"),
];

/// The helper's door is handed over, its calls are allowed, all else ends the process.
pub(super) fn helper() -> Program {
    let table = compile(HELPER_CALLS, Action::KillProcess).expect("a short table compiles");
    let mut asm = Assembler::new();
    let other = asm.label();
    asm.load(Field::Nr.offset());
    asm.require(Cond::Eq, DOOR_NR, other);
    asm.ret(Action::UserNotif.encode());
    asm.place(other);
    let mut code = asm.finish().expect("one jump is near");
    code.extend_from_slice(table.instructions());
    Program::new(code).expect("a short program is accepted")
}

fn finish(asm: Assembler) -> Program {
    Program::new(asm.finish().expect("short jumps are near")).expect("a short program is accepted")
}
