//! The figures of one session, and the file they are kept in.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// An operation in one build of the program, in the order in which they were measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The build.
    pub(crate) variant: String,
    /// The operation.
    pub(crate) name: String,
}

/// What rounds of one row gave with one runner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Samples {
    /// Nanoseconds, one a round.
    pub(crate) nanoseconds: Vec<f64>,
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

    /// Adds what the program printed in one round.
    pub(crate) fn add(&mut self, runner: &str, variant: &str, output: &str) {
        for line in output.lines() {
            let Some((name, rest)) = line.split_once(' ') else { continue };
            let row = self.index(Row { variant: variant.into(), name: name.into() });
            let all = self.samples.entry(runner.into()).or_default();
            all.resize(all.len().max(row + 1), Samples::default());
            match rest.parse() {
                Ok(value) => all[row].nanoseconds.push(value),
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

    fn position(&self, row: &Row) -> Option<usize> {
        self.rows.iter().position(|other| other == row)
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
    use super::{Results, Row};

    #[test]
    fn rounds_are_collected_by_row_and_failures_kept() {
        let mut results = Results::new();
        results.add("native", "raw", "a 1.5\nb 2\n");
        results.add("native", "raw", "a 2.5\nb - pipe: no\nnoise\n");
        let row = |name: &str| Row { variant: "raw".into(), name: name.into() };
        assert_eq!(results.samples("native", &row("a")).unwrap().nanoseconds, [1.5, 2.5]);
        assert_eq!(results.samples("native", &row("b")).unwrap().failure.as_deref(), Some("pipe: no"));
        assert_eq!(results.samples("other", &row("a")), None);
        let text = serde_json::to_vec(&results).unwrap();
        assert_eq!(serde_json::from_slice::<Results>(&text).unwrap(), results);
    }
}
