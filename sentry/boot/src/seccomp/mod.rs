//! The OCI specification's `linux.seccomp` as a filter for guest processes.
//!
//! The profile means what libseccomp makes of it for runc: names that are no system calls are ignored, rules with the
//! default action too, a rule without conditions outweighs those with conditions, and of the others the first that
//! holds counts. A call that is newer than every call of the profile gets `ENOSYS`, so that C libraries fall back on
//! older ones instead of giving up on `EPERM`.

mod program;

use std::collections::BTreeMap;

use abi::Errno;
use abi::filter::SockFilter;
use abi::seccomp::{FilterFlags, ret};
use bpf::seccomp::{Condition, Test};
use control::Failure;
use kernel::syscalls::table::rows;
use serde::Deserialize;
use serde_json::Value;

use program::{Rule, Verdict};

/// A filter as the kernel takes it.
pub(crate) type Filter = (Vec<SockFilter>, FilterFlags);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<SyscallRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SyscallRule {
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<ArgumentRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArgumentRule {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Compiles the `linux.seccomp` of a configuration; `None` where there is none.
///
/// # Errors
/// What of the profile cannot be carried out.
pub(crate) fn compile(seccomp: &Value) -> Result<Option<Filter>, Failure> {
    if seccomp.is_null() {
        return Ok(None);
    }
    let bad = |why: String| Failure::invalid(format!("linux.seccomp: {why}"));
    let profile = Profile::deserialize(seccomp).map_err(|error| bad(error.to_string()))?;
    let default = action(&profile.default_action, profile.default_errno_ret).map_err(bad)?;
    let numbers: BTreeMap<&str, u32> = rows().map(|row| (row.name, row.number as u32)).collect();
    let mut calls: BTreeMap<u32, Verdict> = BTreeMap::new();
    let mut newest = 0;
    for rule in profile.syscalls.iter().flatten() {
        let verdict = action(&rule.action, rule.errno_ret).map_err(bad)?;
        let alternatives = alternatives(rule.args.as_deref().unwrap_or_default()).map_err(bad)?;
        for number in rule.names.iter().filter_map(|name| numbers.get(name.as_str()).copied()) {
            newest = newest.max(number);
            if verdict != default {
                let call = calls.entry(number).or_insert(Verdict::always(default));
                add(call, verdict, &alternatives);
            }
        }
    }
    let unknown = if is_permissive(default) || calls.is_empty() { default } else { errno(Errno::ENOSYS) };
    let program =
        program::generate(&calls, default, (newest, unknown)).map_err(|error| bad(error.to_string()))?;
    Ok(Some((program, flags(profile.flags.as_deref().unwrap_or_default()))))
}

fn errno(errno: Errno) -> u32 {
    ret::ERRNO | errno.raw().unsigned_abs()
}

/// Whether calls that nobody has thought of are let through.
fn is_permissive(action: u32) -> bool {
    matches!(action & ret::ACTION_FULL, ret::ALLOW | ret::LOG | ret::TRACE)
}

/// What a filter returns for an action.
fn action(name: &str, data: Option<u32>) -> Result<u32, String> {
    let data = |default: Errno| data.unwrap_or(default.raw().unsigned_abs()) & ret::DATA;
    Ok(match name {
        "SCMP_ACT_ALLOW" => ret::ALLOW,
        "SCMP_ACT_LOG" => ret::LOG,
        "SCMP_ACT_ERRNO" => ret::ERRNO | data(Errno::EPERM),
        "SCMP_ACT_TRACE" => ret::TRACE | data(Errno::EPERM),
        "SCMP_ACT_TRAP" => ret::TRAP,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => ret::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => ret::KILL_PROCESS,
        "SCMP_ACT_NOTIFY" => {
            return Err(
                "SCMP_ACT_NOTIFY is not supported: no agent on the host can look into a sandbox".into()
            );
        }
        other => return Err(format!("unknown action {other:?}")),
    })
}

/// The conditions of a rule. Several on one argument are alternatives, as runc takes them.
fn alternatives(args: &[ArgumentRule]) -> Result<Vec<Vec<Condition>>, String> {
    let all = args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let repeats = all.iter().enumerate().any(|(at, one)| all[..at].iter().any(|other| other.arg == one.arg));
    Ok(if repeats { all.into_iter().map(|one| vec![one]).collect() } else { vec![all] })
}

fn condition(rule: &ArgumentRule) -> Result<Condition, String> {
    let arg = u8::try_from(rule.index).ok().filter(|arg| *arg < 6);
    let arg = arg.ok_or_else(|| format!("a call has no argument {}", rule.index))?;
    let (test, mask, value) = match rule.op.as_str() {
        "SCMP_CMP_EQ" => (Test::Equal, u64::MAX, rule.value),
        "SCMP_CMP_NE" => (Test::NotEqual, u64::MAX, rule.value),
        "SCMP_CMP_LT" => (Test::Less, u64::MAX, rule.value),
        "SCMP_CMP_LE" => (Test::LessOrEqual, u64::MAX, rule.value),
        "SCMP_CMP_GT" => (Test::Greater, u64::MAX, rule.value),
        "SCMP_CMP_GE" => (Test::GreaterOrEqual, u64::MAX, rule.value),
        "SCMP_CMP_MASKED_EQ" => (Test::Equal, rule.value, rule.value_two),
        other => return Err(format!("unknown operator {other:?}")),
    };
    Ok(Condition { arg, test, mask, value })
}

/// Adds a rule to what is known of a call.
fn add(call: &mut Verdict, action: u32, alternatives: &[Vec<Condition>]) {
    for conditions in alternatives {
        if conditions.is_empty() {
            *call = Verdict { is_settled: true, ..Verdict::always(action) };
        } else if !call.is_settled {
            call.rules.push(Rule { conditions: conditions.clone(), action });
        }
    }
}

fn flags(names: &[String]) -> FilterFlags {
    let flag = |name: &String| match name.as_str() {
        "SECCOMP_FILTER_FLAG_LOG" => FilterFlags::LOG,
        // The process has one thread, and there is no speculation to mitigate here.
        _ => FilterFlags::empty(),
    };
    names.iter().map(flag).collect()
}

#[cfg(test)]
mod tests;
