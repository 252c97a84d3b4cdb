//! The `runsc` binary. See the library.
#![forbid(unsafe_code)]

/// What guests make the sentry allocate is limited by what is counted here.
#[global_allocator]
static HEAP: host::heap::CountingHeap = host::heap::CountingHeap;

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(runtime::main(std::env::args_os().collect()))
}
