//! Guest tests: ordinary Linux programs that must pass on the host before they may judge the sandbox.
//!
//! Each `programs/*.c` is compiled and run natively; if that passes, the same binary runs inside `runsc do`. Its first
//! line may ask for more: `// also: static` (linked statically, too), `// also: host network` (with `--network=host`,
//! too), `// also: volume` (its argument is a directory of the host's, as a shared and as an exclusive mount, too),
//! `// runsc: FLAG` (a global flag that it needs). A program passes by exiting with 0; what it prints is shown
//! where it does not. Arguments pick tests by a part of their name. `RUNSC` names the binary under test; without it the
//! release build is made and used.
//!
//! A program that fails is run again, [`ATTEMPTS`] times at most, and called *unsteady* where it passes then: a busy
//! machine may lose a race that the program itself leaves open. With `STEADY=1` in the environment that is a failure,
//! which is how one looks for races of ours.
//!
//! A program that does not pass on the host at all is *unjudged*: the host's kernel is of another kind or has a bug of its
//! own. More than [`UNJUDGED`] of them are a failure, with `STEADY=1` each one.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, fs};

/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a program may try to pass, on the host and in the sandbox.
const ATTEMPTS: usize = 3;
/// How many programs may fail on the host.
const UNJUDGED: usize = 3;
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
        .map(|(source, flavour)| {
            let name = format!("{}{}", stem(source), flavour.suffix);
            (source.clone(), flavour, name)
        })
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<_> = all.iter().filter(|(_, _, name)| is_wanted(name)).collect();
    let is_strict = env::var_os("STEADY").is_some();
    let (next, failed, unsteady) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let unjudged = AtomicUsize::new(0);
    // Most of a test is waiting.
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((source, flavour, name)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (count, what) = match run_one(source, &build.join(name), flavour, &runsc) {
                        Verdict::Passed => continue,
                        Verdict::Unsteady(why) if !is_strict => {
                            (&unsteady, format!("unsteady {name}: passes now, but first: {why}"))
                        }
                        Verdict::FailedNatively(why) if !is_strict => {
                            (&unjudged, format!("unjudged {name}: fails on the host: {why}"))
                        }
                        Verdict::Unsteady(why) | Verdict::FailedNatively(why) | Verdict::Failed(why) => {
                            (&failed, format!("FAIL {name}: {why}"))
                        }
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    println!("{what}");
                }
            });
        }
    });
    let (failed, unsteady, unjudged) = (failed.into_inner(), unsteady.into_inner(), unjudged.into_inner());
    let (passed, skipped) = (chosen.len() - failed - unjudged, all.len() - chosen.len());
    // A leftover directory in /tmp hurts nobody.
    let _ = fs::remove_dir_all(&build);
    println!(
        "{passed} passed ({unsteady} unsteady), {failed} failed, {unjudged} unjudged, {skipped} skipped"
    );
    ExitCode::from(u8::from(failed > 0 || unjudged > UNJUDGED))
}

/// A way to link and run a program.
#[derive(Clone)]
struct Flavour {
    suffix: &'static str,
    link: &'static [&'static str],
    runsc: Vec<String>,
    /// It is given a directory of the host's.
    has_volume: bool,
}

fn flavours(source: &Path) -> Vec<Flavour> {
    let text = fs::read_to_string(source).unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let own = first.split_once("runsc: ").and_then(|(_, rest)| rest.split_whitespace().next());
    let flavour = |suffix, link, flag: &str| {
        let network = if flag.starts_with("--network") { None } else { Some("--network=none") };
        let runsc = own.into_iter().chain(network).chain([flag]).map(str::to_owned).collect();
        Flavour { suffix, link, runsc, has_volume: false }
    };
    let mut all = vec![flavour("", &[], "--network=none")];
    if first.contains("also: static") {
        all.push(flavour("-static", &["-static"], "--network=none"));
    }
    if first.contains("also: host network") {
        all.push(flavour("-hostnet", &[], "--network=host"));
    }
    if first.contains("also: volume") {
        for (suffix, access) in [("-shared", "shared"), ("-exclusive", "exclusive")] {
            let flag = format!("--file-access-mounts={access}");
            all.push(Flavour { has_volume: true, ..flavour(suffix, &[], &flag) });
        }
    }
    all
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// How a program fared, and what it said where it failed first.
enum Verdict {
    Passed,
    /// It failed, and passed then.
    Unsteady(String),
    FailedNatively(String),
    Failed(String),
}

/// Compiles and runs a program.
fn run_one(source: &Path, binary: &Path, flavour: &Flavour, runsc: &Path) -> Verdict {
    let mut compile = Command::new("gcc");
    compile
        .args(["-O1", "-g", "-w", "-pthread", "-o"])
        .arg(binary)
        .arg(source)
        .args(flavour.link)
        .arg("-lrt");
    match compile.output() {
        Err(error) => return Verdict::Failed(format!("gcc: {error} (install gcc and libc6-dev)")),
        Ok(compiled) if !compiled.status.success() => {
            return Verdict::Failed(format!(
                "does not compile:\n{}",
                String::from_utf8_lossy(&compiled.stderr)
            ));
        }
        Ok(_) => {}
    }
    let output = binary.with_extension("output");
    let volume = flavour.has_volume.then(|| binary.with_extension("volume"));
    if let Some(Err(error)) = volume.as_ref().map(fs::create_dir_all) {
        return Verdict::Failed(format!("no directory for the volume: {error}"));
    }
    let natively = || {
        let mut program = Command::new(binary);
        program.args(&volume);
        program
    };
    if let Err(why) = attempt(&output, natively) {
        return Verdict::FailedNatively(why);
    }
    let inside = attempt(&output, || {
        let mut guest = Command::new(runsc);
        // Not as the first process: signals and orphans treat that specially.
        guest.args(&flavour.runsc).arg("do");
        if let Some(volume) = &volume {
            guest.arg("--volume").arg(format!("{}:/mnt", volume.display()));
        }
        guest.args(["sh", "-c", "\"$0\" \"$@\"; exit $?"]).arg(binary).args(volume.as_ref().map(|_| "/mnt"));
        guest
    });
    match inside {
        Ok(None) => Verdict::Passed,
        Ok(Some(why)) => Verdict::Unsteady(why),
        Err(why) => Verdict::Failed(why),
    }
}

/// Runs a command until it passes, [`ATTEMPTS`] times at most: how it failed first, if it did.
fn attempt(output: &Path, command: impl Fn() -> Command) -> Result<Option<String>, String> {
    let mut first = None;
    for _ in 0..ATTEMPTS {
        match run(output, &command()) {
            Ok(()) => return Ok(first),
            Err(why) => first = first.or(Some(why)),
        }
    }
    Err(first.unwrap_or_default())
}

/// Runs a command to its end, but not longer than [`LIMIT`]; what it leaves running is killed.
fn run(output: &Path, command: &Command) -> Result<(), String> {
    let limit = LIMIT.as_secs().to_string();
    // To a file: the end of a pipe would only come with the end of the last process that holds it.
    let stderr = fs::File::create(output).map_err(|error| format!("{}: {error}", output.display()))?;
    let stdout = stderr.try_clone();
    let mut limited = Command::new("timeout");
    limited
        .args(["-k", "2", &limit])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(stdout.map_err(|error| error.to_string())?)
        .stderr(stderr);
    let mut child = limited.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let status = child.wait().map_err(|error| format!("{command:?}: {error}"))?;
    // `timeout` leads a process group of its own, which outlives it with whatever the program has forgotten.
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    if status.success() {
        return Ok(());
    }
    let text = fs::read(output).unwrap_or_default();
    Err(format!("{status}\n{}", String::from_utf8_lossy(&text)))
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
