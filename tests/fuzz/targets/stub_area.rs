//! What the sentry reads of a stub whose pages the guest has written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    platform::systrap::fuzzing::area(bytes);
});
