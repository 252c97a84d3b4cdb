//! What state the machine's cores were in: figures of two sessions can be compared only where it was the same.

use std::path::Path;

use anyhow::{Context, Result};

use super::places::Places;
use super::runner::Runner;

/// The operation that tells: a byte to a process on another core and back.
const DISTANT: &str = "ping-other-core";
/// Nanoseconds that this takes at most where the other core need not be woken from a halt.
const AWAKE: f64 = 20_000.0;

/// A sentence on how quickly another core answers, and one on how busy the machine is with other things.
pub(crate) fn describe(native: &Runner, places: &Places, program: &Path) -> Result<String> {
    let output = native.output(places, program, &["40".into(), DISTANT.into()])?;
    let there_and_back = output.trim().strip_prefix(DISTANT).and_then(|rest| rest.trim().parse::<f64>().ok());
    let cores = std::thread::available_parallelism()?;
    let answer = match there_and_back {
        None => "there is one core".to_owned(),
        Some(ns) => {
            let state = if ns > AWAKE { "halted" } else { "busy" };
            format!("other cores are {state} (a byte to another core and back takes {:.0} µs)", ns / 1e3)
        }
    };
    Ok(format!("{cores} cores; {answer}; {:.0} % of them are used by others", busy_share()? * 100.0))
}

/// The part of all cores' time that is used while this program waits.
fn busy_share() -> Result<f64> {
    let before = times()?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    let after = times()?;
    let spent = |index: usize| (after[index].saturating_sub(before[index])) as f64;
    let all: f64 = (0..after.len().min(before.len())).map(spent).sum();
    Ok(if all > 0.0 { 1.0 - (spent(3) + spent(4)) / all } else { 0.0 })
}

/// The first line of `/proc/stat`; fields 3 and 4 are idle time.
fn times() -> Result<Vec<u64>> {
    let text = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line = text.lines().next().context("an empty /proc/stat")?;
    let times: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    anyhow::ensure!(times.len() > 4, "a short /proc/stat");
    Ok(times)
}
