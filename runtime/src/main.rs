//! The `runsc` binary. See the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    let argv = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    std::process::ExitCode::from(runtime::main(argv))
}
