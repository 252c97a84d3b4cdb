//! `cargo xtask bench`: what one guest operation costs here, natively and in each sandbox that is installed.
//!
//! The [`program`]s are measured by every [`runner`] in turn, several rounds of that, so that whatever else the
//! machine does meets all of them alike. [`statistics`] makes one figure of the rounds, [`report`] a table of the
//! figures, [`results`] a file to compare with later.

mod program;
mod report;
mod results;
mod runner;
mod statistics;

use std::path::PathBuf;

use anyhow::{Context, Result};

use self::program::{Program, Variant};
use self::results::Results;
use self::runner::Runner;

/// What to measure, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Operations to measure; all where none is named.
    names: Vec<String>,
    /// A minute's look: fewer rounds, shorter ones.
    #[arg(long)]
    quick: bool,
    /// Rounds; the figure is their median.
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds that one operation is repeated for in a round.
    #[arg(long)]
    milliseconds: Option<u32>,
    /// Builds of the program, by what makes the call.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "static,raw")]
    variants: Vec<Variant>,
    /// Our binary; built in release where none is named.
    #[arg(long)]
    runsc: Option<PathBuf>,
    /// gVisor's binary, by default $GVISOR_RUNSC or the one in ~/go/bin.
    #[arg(long)]
    gvisor: Option<PathBuf>,
    /// Measure only these, by the names that the table's head shows.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write the figures to this file.
    #[arg(long)]
    save: Option<PathBuf>,
    /// Show how our figures have changed since this file was saved.
    #[arg(long)]
    compare: Option<PathBuf>,
}

impl Options {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 9 }).max(1)
    }

    fn milliseconds(&self) -> u32 {
        self.milliseconds.unwrap_or(if self.quick { 10 } else { 40 }).max(1)
    }
}

/// Builds, measures and reports.
pub(crate) fn run(options: &Options) -> Result<()> {
    let earlier = options.compare.as_deref().map(Results::load).transpose()?;
    let mut runners = runner::find(options)?;
    if !options.only.is_empty() {
        runners.retain(|runner| options.only.iter().any(|name| name == runner.name()));
    }
    anyhow::ensure!(!runners.is_empty(), "nothing to measure with");
    let mut results = Results::new();
    for variant in &options.variants {
        let program = Program::build(*variant)?;
        measure(options, &program, &runners, &mut results)?;
    }
    print!("{}", report::table(&results, &runners));
    if let Some(earlier) = earlier {
        print!("{}", report::comparison(&results, &earlier));
    }
    if let Some(path) = &options.save {
        results.save(path).with_context(|| format!("saving {}", path.display()))?;
    }
    Ok(())
}

fn measure(options: &Options, program: &Program, runners: &[Runner], results: &mut Results) -> Result<()> {
    for round in 1..=options.rounds() {
        for runner in runners {
            eprint!("\r{} {round}/{} {:<12}", program.variant.name(), options.rounds(), runner.name());
            let output = runner.run(program, options.milliseconds(), &options.names)?;
            results.add(runner.name(), program.variant.name(), &output);
        }
    }
    eprintln!();
    Ok(())
}
