//! The vDSO's code. Not a cargo target: `build.rs` compiles it to one freestanding object.
#![no_std]

#[path = "../clock_page.rs"]
mod clock_page;
#[path = "../read_clock_x86_64.rs"]
mod read_clock_x86_64;

use clock_page::{ClockLine, ClockPage};
use core::arch::asm;
use core::arch::x86_64::__rdtscp;
use core::mem::offset_of;
use core::ptr::read_volatile;

const LINE: usize = offset_of!(ClockPage, monotonic);
const NSEC_PER_SEC: u64 = 1_000_000_000;
const SYS_GETTIMEOFDAY: i64 = 96;
const SYS_TIME: i64 = 201;
const SYS_CLOCK_GETTIME: i64 = 228;
const SYS_CLOCK_GETRES: i64 = 229;

#[repr(C)]
pub struct Timespec {
    sec: u64,
    nsec: u64,
}

#[repr(C)]
pub struct Timeval {
    sec: u64,
    usec: u64,
}

fn page() -> *const ClockPage {
    let page: *const ClockPage;
    // SAFETY: takes the address of a symbol that the linker script defines; touches nothing.
    unsafe { asm!(".hidden vdso_clock_page", "lea {}, [rip + vdso_clock_page]", out(reg) page, options(nomem, nostack, preserves_flags)) };
    page
}

/// `clock`, in nanoseconds; `None`: ask the kernel.
#[inline(always)]
fn read_clock(clock: i32) -> Option<u64> {
    let added = ClockPage::added_for(clock)?;
    let ns: u64;
    // SAFETY: the kernel maps the page directly before this image, readable for as long as the image is; `added` is the
    // place of one of its words. Nothing is written.
    unsafe {
        asm!(read_clock!(),
            clock_sequence = const offset_of!(ClockPage, sequence),
            clock_base_tsc = const LINE + offset_of!(ClockLine, base_tsc),
            clock_base_ns = const LINE + offset_of!(ClockLine, base_ns),
            clock_mult = const LINE + offset_of!(ClockLine, mult),
            clock_span = const LINE + offset_of!(ClockLine, span),
            in("r8") page(), in("r9") added, out("rax") ns, out("rdx") _, out("r10") _,
            options(nostack));
    }
    (ns != u64::MAX).then_some(ns)
}

/// # Safety
/// `second` must be what call `number` takes as its second argument.
unsafe fn system_call(number: i64, first: u64, second: u64) -> i64 {
    let result;
    // SAFETY: forwarded to the caller; a system call clobbers only rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") first, in("rsi") second,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// # Safety
/// As clock_gettime(2): `to` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_gettime(clock: i32, to: *mut Timespec) -> i32 {
    match read_clock(clock) {
        // SAFETY: the caller's promise.
        Some(ns) => unsafe {
            to.write(Timespec { sec: ns / NSEC_PER_SEC, nsec: ns % NSEC_PER_SEC });
            0
        },
        // SAFETY: as clock_gettime(2).
        None => unsafe { system_call(SYS_CLOCK_GETTIME, clock as u64, to as u64) as i32 },
    }
}

/// # Safety
/// As gettimeofday(2): non-null pointers are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_gettimeofday(to: *mut Timeval, zone: *mut [i32; 2]) -> i32 {
    match read_clock(0) {
        // SAFETY: the caller's promise.
        Some(ns) => unsafe {
            if !to.is_null() {
                to.write(Timeval { sec: ns / NSEC_PER_SEC, usec: ns % NSEC_PER_SEC / 1000 });
            }
            if !zone.is_null() {
                zone.write([0, 0]);
            }
            0
        },
        // SAFETY: as gettimeofday(2).
        None => unsafe { system_call(SYS_GETTIMEOFDAY, to as u64, zone as u64) as i32 },
    }
}

/// # Safety
/// As time(2): `to` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_time(to: *mut u64) -> i64 {
    let Some(ns) = read_clock(0) else {
        // SAFETY: as time(2).
        return unsafe { system_call(SYS_TIME, to as u64, 0) };
    };
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.write(ns / NSEC_PER_SEC) };
    }
    (ns / NSEC_PER_SEC) as i64
}

/// # Safety
/// As clock_getres(2): `to` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_getres(clock: i32, to: *mut Timespec) -> i32 {
    if !matches!(clock, 0 | 1 | 4 | 7) {
        // SAFETY: as clock_getres(2).
        return unsafe { system_call(SYS_CLOCK_GETRES, clock as u64, to as u64) as i32 };
    }
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.write(Timespec { sec: 0, nsec: 1 }) };
    }
    0
}

/// # Safety
/// As getcpu(2): non-null pointers are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_getcpu(cpu: *mut u32, node: *mut u32, _unused: *mut u8) -> i32 {
    let mut aux = 0;
    // SAFETY: every CPU that runs a 64-bit Linux of the last ten years has the instruction; `aux` is live.
    unsafe { __rdtscp(&raw mut aux) };
    // SAFETY: the kernel maps the page directly before this image.
    let count = unsafe { read_volatile(&raw const (*page()).cpu_count) } as u32;
    // SAFETY: the caller's promise.
    unsafe {
        if !cpu.is_null() {
            cpu.write(if count == 0 { 0 } else { (aux & 0xfff) % count });
        }
        if !node.is_null() {
            node.write(0);
        }
    }
    0
}

macro_rules! alias {
    ($($weak:literal = $name:literal)*) => { $(core::arch::global_asm!(
        concat!(".weak ", $weak), concat!(".set ", $weak, ", ", $name), concat!(".type ", $weak, ", @function"));)* };
}
alias! {
    "clock_gettime" = "__vdso_clock_gettime" "gettimeofday" = "__vdso_gettimeofday" "time" = "__vdso_time"
    "clock_getres" = "__vdso_clock_getres" "getcpu" = "__vdso_getcpu"
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
