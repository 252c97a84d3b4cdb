//! Tables for people.

use std::fmt::Write;

use super::results::{Results, Row, Samples, Unit};
use super::runner::Runner;
use super::statistics::{geometric_mean, median, spread};

const BASE: &str = "native";
/// The base of what the host cannot do without a runtime.
const SECOND_BASE: &str = "runc";
const OURS: &str = "rampart";

/// A table for each variant: one line an operation, with each runner's median and spread, and its ratio to native, or
/// to runc where there is nothing native.
pub(crate) fn table(results: &Results, runners: &[Runner]) -> String {
    let mut text = String::new();
    for rows in results.rows.chunk_by(|a, b| a.variant == b.variant) {
        let _ = write!(text, "\n{:<28}", rows.first().map_or("", |row| &row.variant));
        for runner in runners {
            let _ = write!(text, "{:>18}{:>8}", runner.name(), if runner.is_native() { "" } else { "x" });
        }
        text.push('\n');
        rows.iter().for_each(|row| line(results, runners, row, &mut text));
        mean_line(results, runners, rows, &mut text);
    }
    failures(results, runners, &mut text);
    text
}

fn line(results: &Results, runners: &[Runner], row: &Row, text: &mut String) {
    let _ = write!(text, "{:<28}", row.name);
    for runner in runners {
        let shown =
            results.samples(runner.name(), row).map_or_else(|| "".into(), |all| figure(all, row.unit));
        let ratio = ratio(results, runner.name(), row).map_or_else(String::new, |r| format!("{r:.2}"));
        let ratio = if runner.is_native() { String::new() } else { ratio };
        let _ = write!(text, "{shown:>18}{ratio:>8}");
    }
    text.push('\n');
}

fn mean_line(results: &Results, runners: &[Runner], rows: &[Row], text: &mut String) {
    if rows.iter().any(|row| row.unit != Unit::Time) {
        return;
    }
    let _ = write!(text, "{:<28}", "geometric mean");
    for runner in runners {
        let ratios: Vec<f64> = rows.iter().filter_map(|row| ratio(results, runner.name(), row)).collect();
        let mean = geometric_mean(&ratios).map_or_else(String::new, |mean| format!("{mean:.2}"));
        let _ = write!(text, "{:>18}{mean:>8}", "");
    }
    text.push('\n');
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
            shown(before, row.unit),
            shown(now, row.unit),
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

fn median_of(results: &Results, runner: &str, row: &Row) -> Option<f64> {
    median(&results.samples(runner, row)?.figures)
}

fn ratio(results: &Results, runner: &str, row: &Row) -> Option<f64> {
    let base = median_of(results, BASE, row).or_else(|| median_of(results, SECOND_BASE, row))?;
    Some(median_of(results, runner, row)? / base).filter(|ratio| ratio.is_normal())
}

fn figure(samples: &Samples, unit: Unit) -> String {
    let Some(median) = median(&samples.figures) else { return "failed".into() };
    let spread = spread(&samples.figures).filter(|spread| spread.is_finite()).unwrap_or(0.0);
    format!("{} ±{:.0}%", shown(median, unit), spread * 100.0)
}

fn shown(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Time => time(figure),
        Unit::Bytes if figure < 1e6 => format!("{:.0} KB", figure / 1e3),
        Unit::Bytes => format!("{:.1} MB", figure / 1e6),
        Unit::Times => format!("{figure:.0}"),
    }
}

/// Three digits and a unit.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
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
