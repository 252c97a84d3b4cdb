//! A process's resource limits (`man 2 getrlimit`): each once, its soft part within its hard part.

use std::collections::BTreeSet;

use serde_json::Value;

use super::names::RLIMITS;
use super::shape::Findings;

/// Checks the limits of a process, and takes out those that are not known.
pub(super) fn check(process: &mut Value, path: &str, findings: &mut Findings) {
    let Some(limits) = process.get_mut("rlimits").and_then(Value::as_array_mut) else { return };
    let (mut seen, mut index) = (BTreeSet::new(), 0);
    limits.retain(|limit| {
        let here = format!("{path}.rlimits[{index}]");
        index += 1;
        let Some(name) = limit["type"].as_str() else { return true };
        if !RLIMITS.contains(&name) {
            findings.warning(&here, format!("unknown limit \"{name}\" is ignored"));
            return false;
        }
        if !seen.insert(name.to_string()) {
            findings.problem(&here, format!("limit \"{name}\" is there twice"));
        }
        if let (Some(soft), Some(hard)) = (limit["soft"].as_u64(), limit["hard"].as_u64())
            && soft > hard
        {
            findings.problem(&here, format!("the soft limit {soft} is above the hard limit {hard}"));
        }
        true
    });
}
