//! The `runsc` binary. See the library.
#![forbid(unsafe_code)]

/// What guests make the sentry allocate is limited by what is counted here.
#[global_allocator]
static HEAP: host::heap::CountingHeap = host::heap::CountingHeap;

fn main() -> std::process::ExitCode {
    let argv = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    std::process::ExitCode::from(runtime::main(argv))
}
