//! The figures of one session, and the file they are kept in.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a figure counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    /// Nanoseconds; the one that lines need not name.
    #[default]
    Time,
    /// `bytes`.
    Bytes,
    /// `times`.
    Times,
}

/// Something that is measured, in the order in which it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The build of the program, or the section.
    pub(crate) variant: String,
    /// The operation.
    pub(crate) name: String,
    /// What the figures count.
    #[serde(default)]
    pub(crate) unit: Unit,
}

/// What rounds of one row gave with one runner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Samples {
    /// One a round.
    pub(crate) figures: Vec<f64>,
    /// Why there is no figure.
    pub(crate) failure: Option<String>,
}

/// All figures.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// In the order of the program.
    pub(crate) rows: Vec<Row>,
    /// For each runner, as many as there are rows; fewer where later ones were not measured.
    samples: BTreeMap<String, Vec<Samples>>,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds what was printed in one round: lines of "name nanoseconds", "name figure unit" or "name - why not".
    pub(crate) fn add(&mut self, runner: &str, variant: &str, output: &str) {
        for line in output.lines() {
            let Some((name, rest)) = line.split_once(' ') else { continue };
            let (figure, unit) = match rest.split_once(' ') {
                Some((figure, "bytes")) => (figure, Unit::Bytes),
                Some((figure, "times")) => (figure, Unit::Times),
                _ => (rest, Unit::Time),
            };
            let row = self.index(Row { variant: variant.into(), name: name.into(), unit });
            let all = self.samples.entry(runner.into()).or_default();
            all.resize(all.len().max(row + 1), Samples::default());
            match figure.parse() {
                Ok(figure) => all[row].figures.push(figure),
                Err(_) => all[row].failure = Some(rest.trim_start_matches("- ").into()),
            }
        }
    }

    fn index(&mut self, row: Row) -> usize {
        self.position(&row).unwrap_or_else(|| {
            self.rows.push(row);
            self.rows.len() - 1
        })
    }

    /// A row is the same whatever its unit: where one runner failed, there is none.
    fn position(&self, row: &Row) -> Option<usize> {
        self.rows.iter().position(|other| (&other.variant, &other.name) == (&row.variant, &row.name))
    }

    /// What `runner` gave for `row`.
    pub(crate) fn samples(&self, runner: &str, row: &Row) -> Option<&Samples> {
        self.samples.get(runner)?.get(self.position(row)?)
    }

    /// Reads a file that [`Self::save`] wrote.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} holds no figures", path.display()))
    }

    /// Writes all figures to a file.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Results, Row, Unit};

    #[test]
    fn rounds_are_collected_by_row_and_failures_kept() {
        let mut results = Results::new();
        results.add("native", "raw", "a 1.5\nb 2\nc 3 bytes");
        results.add("native", "raw", "a 2.5\nb - pipe: no\nnoise\n");
        let row = |name: &str| Row { variant: "raw".into(), name: name.into(), unit: Unit::Time };
        assert_eq!(results.samples("native", &row("a")).unwrap().figures, [1.5, 2.5]);
        assert_eq!(results.samples("native", &row("b")).unwrap().failure.as_deref(), Some("pipe: no"));
        assert_eq!(results.samples("other", &row("a")), None);
        assert_eq!(results.rows[2].unit, Unit::Bytes);
        let text = serde_json::to_vec(&results).unwrap();
        assert_eq!(serde_json::from_slice::<Results>(&text).unwrap(), results);
    }
}
