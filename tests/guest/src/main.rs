//! Guest tests: ordinary Linux programs that must pass on the host before they may judge the sandbox.
//!
//! Each `programs/*.c` is compiled (dynamically linked, and statically where its first line says `// also: static`) and
//! run natively; if that passes, the same binary runs inside `runsc do` (also with `--network=host` where the first line
//! says `// also: host network`). A program passes by exiting with 0; what it
//! prints is shown where it does not. Arguments pick tests by a part of their name. `RUNSC` names the binary under
//! test; without it the release build is made and used.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs};

/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a program may try to pass on the host.
const NATIVE_ATTEMPTS: usize = 3;
/// How many programs run at a time.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let wanted: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let build = env::temp_dir().join(format!("guest-tests-{}", std::process::id()));
    fs::create_dir_all(&build).expect("the temporary directory is writable");
    let runsc = runsc(&here);
    let mut sources: Vec<PathBuf> = fs::read_dir(here.join("programs"))
        .expect("the programs are beside this file")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "c"))
        .collect();
    sources.sort();
    let all: Vec<(PathBuf, Flavour, String)> = sources
        .iter()
        .flat_map(|source| flavours(source).into_iter().map(move |flavour| (source, flavour)))
        .map(|(source, flavour)| (source.clone(), flavour, format!("{}{}", stem(source), flavour.suffix)))
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<_> = all.iter().filter(|(_, _, name)| is_wanted(name)).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Most of a test is waiting.
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((source, flavour, name)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = run_one(source, &build.join(name), *flavour, &runsc) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("FAIL {name}: {why}");
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    let (passed, skipped) = (chosen.len() - failed, all.len() - chosen.len());
    // A leftover directory in /tmp hurts nobody.
    let _ = fs::remove_dir_all(&build);
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}

/// A way to link a program.
#[derive(Clone, Copy)]
struct Flavour {
    suffix: &'static str,
    flags: &'static [&'static str],
    network: &'static str,
}

fn flavours(source: &Path) -> Vec<Flavour> {
    let text = fs::read_to_string(source).unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let mut all = vec![Flavour { suffix: "", flags: &[], network: "--network=none" }];
    if first.contains("also: static") {
        all.push(Flavour { suffix: "-static", flags: &["-static"], network: "--network=none" });
    }
    if first.contains("also: host network") {
        all.push(Flavour { suffix: "-hostnet", flags: &[], network: "--network=host" });
    }
    all
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn run_one(source: &Path, binary: &Path, flavour: Flavour, runsc: &Path) -> Result<(), String> {
    let mut compile = Command::new("gcc");
    compile
        .args(["-O1", "-g", "-w", "-pthread", "-o"])
        .arg(binary)
        .arg(source)
        .args(flavour.flags)
        .arg("-lrt");
    let compiled = compile.output().map_err(|error| format!("gcc: {error} (install gcc and libc6-dev)"))?;
    if !compiled.status.success() {
        return Err(format!("does not compile:\n{}", String::from_utf8_lossy(&compiled.stderr)));
    }
    let native = run_natively(binary)?;
    if !native.status.success() {
        return Err(format!("fails natively, so it may not judge the sandbox: {}", describe(&native)));
    }
    // Not as the first process: signals and orphans treat that specially.
    let guest =
        run(Command::new(runsc).args([flavour.network, "do", "sh", "-c", "\"$0\"; exit $?"]).arg(binary))?;
    if guest.status.success() { Ok(()) } else { Err(describe(&guest)) }
}

/// Runs the program on the host, again where it fails: a busy host may lose a race that the program leaves open, and
/// that says nothing of the sandbox.
fn run_natively(binary: &Path) -> Result<Output, String> {
    let mut last = run(&mut Command::new(binary))?;
    for _ in 1..NATIVE_ATTEMPTS {
        if last.status.success() {
            break;
        }
        last = run(&mut Command::new(binary))?;
    }
    Ok(last)
}

fn describe(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Runs a command to its end, but not longer than [`LIMIT`].
fn run(command: &mut Command) -> Result<Output, String> {
    let mut limited = Command::new("timeout");
    limited
        .args(["-k", "2", &LIMIT.as_secs().to_string()])
        .arg(command.get_program())
        .args(command.get_args());
    limited.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))
}

/// The binary under test.
fn runsc(here: &Path) -> PathBuf {
    if let Some(path) = env::var_os("RUNSC") {
        return path.into();
    }
    let root = here.join("../..");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status =
        Command::new(cargo).args(["build", "--release", "-p", "runtime"]).current_dir(&root).status();
    assert!(status.is_ok_and(|status| status.success()), "runsc does not build");
    root.join("target/x86_64-unknown-linux-gnu/release/runsc")
}
