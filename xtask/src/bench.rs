//! `cargo xtask bench`: what running in a sandbox costs here, beside the host itself and every other sandbox there is.
//!
//! Everything is measured by every [`runner`] in turn, several rounds of that, so that whatever else the machine does
//! meets all of them alike. [`section`] lists what there is: operations of the guest [`program`], alone and in crowds,
//! [`starts`], what [`idle`] sandboxes take, servers on the [`network`], whole programs. [`cores`] says in what state the machine was;
//! [`statistics`] makes one figure of the rounds, [`report`] tables of the figures, [`results`] a file to compare with.

mod bundle;
mod cores;
mod idle;
mod network;
mod places;
mod proc;
mod program;
mod report;
mod results;
mod runner;
mod section;
mod starts;
mod statistics;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::places::Places;
use self::program::{Variant, source_dir};
use self::results::Results;
use self::runner::Runner;
use self::section::Section;

/// What to measure, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Operations, servers and whole programs to measure; all where none is named.
    names: Vec<String>,
    /// A minute's look: fewer rounds, shorter ones, and less work for whole programs.
    #[arg(long)]
    quick: bool,
    /// Rounds; the figure is their median. Whole programs and idle sandboxes take a third of them.
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds that one operation is repeated for in a round.
    #[arg(long)]
    milliseconds: Option<u32>,
    /// What to measure.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "calls,crowds,starts,idle,network,programs"
    )]
    sections: Vec<Section>,
    /// Builds of the program, by what makes the call.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "static,dynamic,raw")]
    variants: Vec<Variant>,
    /// How many do an operation at once, in the section of crowds.
    #[arg(long, value_delimiter = ',', default_value = "2,4,16")]
    crowds: Vec<u32>,
    /// Our binary; built in release where none is named.
    #[arg(long)]
    runsc: Option<PathBuf>,
    /// gVisor's binary, by default $GVISOR_RUNSC or the one in ~/go/bin.
    #[arg(long)]
    gvisor: Option<PathBuf>,
    /// Measure only these, by the names that the table's head shows: native, runc, rampart, gvisor.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Instead of all that: so many sandboxes at once that do nothing, and what they take.
    #[arg(long, value_name = "COUNT")]
    idle_sandboxes: Option<usize>,
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

    fn long_rounds(&self) -> usize {
        self.rounds().div_ceil(3)
    }

    /// The arguments of the program.
    fn program_args(&self, crowd: Option<(&str, u32)>) -> Vec<String> {
        let milliseconds = self.milliseconds.unwrap_or(if self.quick { 10 } else { 40 }).max(1);
        let mut args = vec![milliseconds.to_string()];
        args.extend(crowd.into_iter().flat_map(|(kind, count)| [kind.to_owned(), count.to_string()]));
        args.extend_from_slice(&self.names);
        args
    }
}

/// Builds, measures and reports.
pub(crate) fn run(options: &Options) -> Result<()> {
    let earlier = options.compare.as_deref().map(Results::load).transpose()?;
    let runners = runner::find(options)?;
    anyhow::ensure!(!runners.is_empty(), "nothing to measure with");
    let mut session = Session { options, runners, places: Places::make()?, results: Results::new() };
    session.tell_cores()?;
    match options.idle_sandboxes {
        Some(count) => session.each("idle", 1, |session, runner| {
            if runner.is_native() { Ok(String::new()) } else { idle::crowd(runner, &session.places, count) }
        })?,
        None => session.measure()?,
    }
    session.tell_cores()?;
    print!("{}", report::table(&session.results, &session.runners));
    if let Some(earlier) = earlier {
        print!("{}", report::comparison(&session.results, &earlier));
    }
    if let Some(path) = &options.save {
        session.results.save(path).with_context(|| format!("saving {}", path.display()))?;
    }
    Ok(())
}

struct Session<'a> {
    options: &'a Options,
    runners: Vec<Runner>,
    places: Places,
    results: Results,
}

impl Session<'_> {
    fn tell_cores(&self) -> Result<()> {
        if let Some(native) = self.runners.iter().find(|runner| runner.is_native()) {
            println!("{}", cores::describe(native, &self.places, &program::build(Variant::Static)?)?);
        }
        Ok(())
    }

    fn measure(&mut self) -> Result<()> {
        let options = self.options;
        for section in &options.sections {
            match section {
                Section::Calls => self.calls()?,
                Section::Crowds => self.crowds()?,
                Section::Starts => self.each("starts", options.rounds(), |session, runner| {
                    starts::measure(runner, &session.places)
                })?,
                Section::Idle => self.each("idle", options.long_rounds(), |session, runner| {
                    idle::measure(runner, &session.places)
                })?,
                Section::Network => {
                    let milliseconds =
                        options.milliseconds.unwrap_or(if options.quick { 1000 } else { 3000 });
                    self.each("network", options.long_rounds(), |session, runner| {
                        network::measure(runner, &session.places, milliseconds.max(1), &options.names)
                    })?;
                }
                Section::Programs => self.programs()?,
            }
        }
        Ok(())
    }

    fn calls(&mut self) -> Result<()> {
        let args = self.options.program_args(None);
        for variant in &self.options.variants {
            let program = program::build(*variant)?;
            self.each_output(variant.name(), self.options.rounds(), &program, &args)?;
        }
        Ok(())
    }

    fn crowds(&mut self) -> Result<()> {
        let program = program::build(Variant::Static)?;
        for kind in ["-t", "-p"] {
            for count in &self.options.crowds {
                let args = self.options.program_args(Some((kind, *count)));
                self.each_output("crowds", self.options.long_rounds(), &program, &args)?;
            }
        }
        Ok(())
    }

    fn programs(&mut self) -> Result<()> {
        let script = source_dir().join("workloads.sh").to_string_lossy().into_owned();
        let mut args = vec![script, if self.options.quick { "4" } else { "1" }.into()];
        args.extend_from_slice(&self.options.names);
        self.each_output("programs", self.options.long_rounds(), Path::new("/bin/bash"), &args)
    }

    fn each_output(&mut self, what: &str, rounds: usize, program: &Path, args: &[String]) -> Result<()> {
        self.each(what, rounds, |session, runner| runner.output(&session.places, program, args))
    }

    /// Every runner in turn, so many rounds.
    fn each(
        &mut self,
        what: &str,
        rounds: usize,
        measure: impl Fn(&Self, &Runner) -> Result<String>,
    ) -> Result<()> {
        for round in 1..=rounds {
            for index in 0..self.runners.len() {
                let runner = &self.runners[index];
                eprint!("\r{what} {round}/{rounds} {:<12}", runner.name());
                let output = measure(self, runner)?;
                let name = runner.name();
                self.results.add(name, what, &output);
            }
        }
        eprintln!();
        Ok(())
    }
}
