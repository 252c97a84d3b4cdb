//! Tables for people.

use std::fmt::Write;

use super::results::{Results, Row, Samples};
use super::runner::Runner;
use super::statistics::{geometric_mean, median, spread};

const BASE: &str = "native";
const OURS: &str = "rampart";

/// One line an operation: each runner's median and spread, and its ratio to native.
pub(crate) fn table(results: &Results, runners: &[Runner]) -> String {
    let mut text = format!("{:<28}", "operation");
    for runner in runners {
        let _ = write!(text, "{:>18}{:>8}", runner.name(), ratio_head(runner));
    }
    text.push('\n');
    for row in &results.rows {
        let _ = write!(text, "{:<28}", format!("{} ({})", row.name, row.variant));
        for runner in runners {
            let shown = results.samples(runner.name(), row).map_or_else(|| "?".into(), figure);
            let ratio = ratio(results, runner.name(), row).map_or_else(String::new, |r| format!("{r:.2}"));
            let ratio = if runner.name() == BASE { String::new() } else { ratio };
            let _ = write!(text, "{shown:>18}{ratio:>8}");
        }
        text.push('\n');
    }
    let _ = write!(text, "{:<28}", "geometric mean");
    for runner in runners {
        let ratios: Vec<f64> =
            results.rows.iter().filter_map(|row| ratio(results, runner.name(), row)).collect();
        let mean = geometric_mean(&ratios).map_or_else(String::new, |mean| format!("{mean:.2}"));
        let _ = write!(text, "{:>18}{mean:>8}", "");
    }
    text.push('\n');
    failures(results, runners, &mut text);
    text
}

/// What has become of our figures since `earlier`, as a part of what they were. Native ones tell how far the machine
/// itself differs.
pub(crate) fn comparison(results: &Results, earlier: &Results) -> String {
    let mut text =
        format!("\n{:<28}{:>12}{:>12}{:>8}{:>10}\n", "operation", "before", "now", "now/b.", "native");
    for row in &results.rows {
        let change = |runner| Some((median_of(earlier, runner, row)?, median_of(results, runner, row)?));
        let Some((before, now)) = change(OURS) else { continue };
        let native = change(BASE).map_or_else(String::new, |(before, now)| format!("{:.2}", now / before));
        let name = format!("{} ({})", row.name, row.variant);
        let _ = writeln!(
            text,
            "{name:<28}{:>12}{:>12}{:>8.2}{native:>10}",
            time(before),
            time(now),
            now / before
        );
    }
    text
}

fn failures(results: &Results, runners: &[Runner], text: &mut String) {
    for row in &results.rows {
        for runner in runners {
            let samples = results.samples(runner.name(), row);
            if let Some(why) = samples.and_then(|samples| samples.failure.as_deref()) {
                let _ = writeln!(text, "{} ({}) in {}: {why}", row.name, row.variant, runner.name());
            }
        }
    }
}

fn ratio_head(runner: &Runner) -> &'static str {
    if runner.name() == BASE { "" } else { "x" }
}

fn median_of(results: &Results, runner: &str, row: &Row) -> Option<f64> {
    median(&results.samples(runner, row)?.nanoseconds)
}

fn ratio(results: &Results, runner: &str, row: &Row) -> Option<f64> {
    Some(median_of(results, runner, row)? / median_of(results, BASE, row)?)
}

fn figure(samples: &Samples) -> String {
    let (Some(median), Some(spread)) = (median(&samples.nanoseconds), spread(&samples.nanoseconds)) else {
        return "failed".into();
    };
    format!("{} ±{:.0}%", time(median), spread * 100.0)
}

/// Three digits and a unit.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::{comparison, time};
    use crate::bench::results::Results;

    #[test]
    fn times_have_a_fitting_unit() {
        assert_eq!([time(99.4), time(1500.0), time(2.5e6)], ["99 ns", "1.50 µs", "2.50 ms"]);
    }

    #[test]
    fn a_comparison_shows_our_change_and_the_machines() {
        let (mut before, mut now) = (Results::new(), Results::new());
        for (results, ours) in [(&mut before, "call 400"), (&mut now, "call 100")] {
            results.add("rampart", "raw", ours);
            results.add("native", "raw", "call 100");
        }
        let text = comparison(&now, &before);
        assert!(text.contains("0.25") && text.contains("1.00"), "{text}");
    }
}
