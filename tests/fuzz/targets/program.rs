//! Programs: `#!` lines and ELF headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    kernel::fuzzing::program(bytes);
});
