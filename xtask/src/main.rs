//! Tasks of this repository's developers: `cargo xtask TASK`.

mod bench;

use clap::Parser;

/// Tasks of this repository's developers.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Measures guest operations natively, in our sandbox and in others, side by side.
    Bench(bench::Options),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Bench(options) => bench::run(&options),
    }
}
