//! OCI hooks: programs of the host that are told of a container's life (`config.md`, "POSIX-platform Hooks").
//!
//! Each gets the container's state as JSON on its standard input. A hook that fails or takes longer than its timeout
//! fails the operation, except after the container's end, where it is only logged.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use host::poll::any_readable;
use host::process::Process;
use host::signal::SignalFd;
use oci_spec::runtime::{Hook, Hooks};
use serde_json::Value;

use crate::container::SIGKILL;
use crate::error::{Context, Error, Result};
use crate::logging;

/// What of a hook's standard error is repeated to the user.
const SHOWN_ERROR: usize = 4096;

/// The hooks of one stage with the state that they are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookSet<'a> {
    /// The stage's name in the configuration.
    pub(crate) stage: &'static str,
    /// The hooks.
    pub(crate) hooks: &'a [Hook],
    /// The state.
    pub(crate) state: &'a Value,
}

/// The hooks of a stage.
fn of_stage<'a>(hooks: Option<&'a Hooks>, stage: &str) -> &'a [Hook] {
    let Some(hooks) = hooks else { return &[] };
    let list = match stage {
        "prestart" => hooks.prestart(),
        "createRuntime" => hooks.create_runtime(),
        "createContainer" => hooks.create_container(),
        "startContainer" => hooks.start_container(),
        "poststart" => hooks.poststart(),
        "poststop" => hooks.poststop(),
        _ => &None,
    };
    list.as_deref().unwrap_or_default()
}

impl<'a> HookSet<'a> {
    /// Those of a stage.
    pub(crate) fn new(stage: &'static str, hooks: Option<&'a Hooks>, state: &'a Value) -> Self {
        Self { stage, hooks: of_stage(hooks, stage), state }
    }

    /// Runs them in order; the first failure ends it.
    pub(crate) fn run(&self) -> Result<()> {
        for (index, hook) in self.hooks.iter().enumerate() {
            let name = format!("hook $.hooks.{}[{index}] ({})", self.stage, hook.path().display());
            run(hook, self.state).with_context(|| format!("{name} failed"))?;
        }
        Ok(())
    }

    /// Runs them in the process that sets the container's files up: they are told its pid, as the host counts.
    pub(crate) fn run_inside(&self) -> Result<()> {
        if self.hooks.is_empty() {
            return Ok(());
        }
        // The host's /proc is still there, whatever pid name space we are in.
        let own = std::fs::read_link("/proc/self").context("cannot find our own pid")?;
        let mut state = self.state.clone();
        state["pid"] = own.to_str().and_then(|pid| pid.parse::<i32>().ok()).unwrap_or(0).into();
        HookSet { state: &state, ..*self }.run()
    }

    /// Runs them all; failures are logged.
    pub(crate) fn run_all(&self) {
        for hook in self.hooks {
            if let Err(error) = run(hook, self.state) {
                logging::warning(format!("{} hook {} failed: {error}", self.stage, hook.path().display()));
            }
        }
    }
}

fn run(hook: &Hook, state: &Value) -> Result<()> {
    let mut command = Command::new(hook.path());
    if let Some((name, args)) = hook.args().as_ref().and_then(|args| args.split_first()) {
        command.arg0(name).args(args);
    }
    command.env_clear();
    for (key, value) in hook.env().iter().flatten().filter_map(|entry| entry.split_once('=')) {
        command.env(key, value);
    }
    // Files, not pipes: whoever reads or writes them, or does not, waits for nobody.
    let (mut input, output) = (memory_file()?, memory_file()?);
    input
        .write_all(state.to_string().as_bytes())
        .and_then(|()| input.rewind())
        .context("its input cannot be written")?;
    let errors = output.try_clone().context("its output cannot be kept")?;
    command.stdin(input).stdout(Stdio::null()).stderr(errors).process_group(0);
    host::signal::unblock_all_in(&mut command);
    let mut child = command.spawn().context("it cannot be started")?;
    let limit =
        hook.timeout().filter(|limit| *limit > 0).map(|limit| Duration::from_secs(limit.unsigned_abs()));
    let group = child.id() as i32;
    let process = Process::open(group).context("it cannot be waited for")?;
    if !wait_for(&process, group, limit).context("it cannot be waited for")? {
        // Not only it, but what it has started; the group is there until it is reaped.
        let _ = host::signal::send_to_group(group, SIGKILL);
        let _ = child.wait();
        let limit = limit.unwrap_or_default().as_secs();
        return Err(Error::new(format!("it took longer than its timeout of {limit} s and was killed")));
    }
    let status = child.wait().context("it cannot be waited for")?;
    if status.success() {
        return Ok(());
    }
    let mut said = vec![0; SHOWN_ERROR];
    let got = output.read_at(&mut said, 0).unwrap_or(0);
    said.truncate(got);
    let said = String::from_utf8_lossy(&said);
    Err(Error::new(format!("{status}; it said: {:?}", said.trim())))
}

/// Waits for a hook's end, at most for `limit`; says whether it came. Signals that we hold back for the container's
/// program go to the hook meanwhile: who wants an end of it gets one.
fn wait_for(hook: &Process, group: i32, limit: Option<Duration>) -> abi::Result<bool> {
    let signals = SignalFd::of_blocked()?;
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let ready = any_readable([hook.as_fd(), signals.as_fd()], left)?;
        if ready[0] {
            return Ok(true);
        }
        if !ready[1] {
            return Ok(false);
        }
        let signal = signals.next()?;
        logging::info(format!("signal {} goes to the hook", signal));
        let _ = host::signal::send_to_group(group, signal);
    }
}

fn memory_file() -> Result<File> {
    host::memory::memfd(c"hook", 0).map(File::from).context("the host gives no memory file for it")
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{Hook, HookBuilder};
    use serde_json::json;

    use super::HookSet;

    fn shell(script: &str, timeout: i64) -> Hook {
        let args = ["sh", "-c", script].map(String::from).to_vec();
        HookBuilder::default().path("/bin/sh").args(args).timeout(timeout).build().unwrap()
    }

    fn run(hook: Hook) -> Result<(), String> {
        let state = json!({"id": "c"});
        HookSet { stage: "prestart", hooks: &[hook], state: &state }.run().map_err(|error| error.to_string())
    }

    #[test]
    fn hooks_get_the_state_and_may_fail() {
        run(shell("grep -q '\"id\":\"c\"'", 10)).unwrap();
        let error = run(shell("echo no >&2; exit 3", 10)).unwrap_err();
        assert!(
            error.contains("$.hooks.prestart[0]") && error.contains("3") && error.contains("no"),
            "{error}"
        );
        // Nobody of its group outlives a hook that is too slow, and no signal is blocked for it.
        let mark = std::env::temp_dir().join(format!("runsc-hook-{}", std::process::id()));
        let script = format!("sleep 20 & echo $! > {}; wait", mark.display());
        assert!(run(shell(&script, 1)).unwrap_err().contains("timeout"));
        let sleeper: i32 = std::fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
        std::fs::remove_file(&mark).unwrap();
        let left = host::process::Process::open(sleeper);
        assert!(left.is_err() || left.unwrap().wait_ended(Some(std::time::Duration::from_secs(10))).unwrap());
        run(shell("grep -q '^SigBlk:.0*$' /proc/self/status", 10)).unwrap();
        // More on standard error than a pipe holds, and a state that nobody reads.
        run(shell("exec <&-; head -c 1000000 /dev/zero >&2", 10)).unwrap();
        let missing = HookBuilder::default().path("/nonexistent").build().unwrap();
        assert!(run(missing).unwrap_err().contains("cannot be started"));
    }
}
