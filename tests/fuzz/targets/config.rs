//! The configuration of a bundle: JSON that anybody wrote.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    runtime::fuzzing::config(bytes);
});
