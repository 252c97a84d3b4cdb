//! The `runsc` binary.
#![forbid(unsafe_code)]
fn main() {}
