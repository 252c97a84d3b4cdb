//! `runsc spec`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::error::{Context, Error, Result};
use crate::spec::default;

/// `runsc spec`.
#[derive(Debug, Args)]
pub(crate) struct Spec {
    /// Directory for config.json.
    #[arg(long, short = 'b', default_value = ".")]
    bundle: PathBuf,
    /// Working directory of the program.
    #[arg(long, default_value = "/")]
    cwd: String,
    /// Network name space to join.
    #[arg(long)]
    netns: Option<String>,
    /// The program with its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Spec {
    /// Writes the file.
    pub(crate) fn run(&self) -> Result<u8> {
        let args = if self.args.is_empty() { vec!["sh".to_string()] } else { self.args.clone() };
        let netns = self.netns.as_deref().filter(|path| !path.is_empty());
        let config = default::config(&args, &self.cwd, "rootfs", netns);
        let path = self.bundle.join("config.json");
        let shown = path.display();
        let mut file = match std::fs::File::create_new(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::new(format!("{shown} is there already: move it away first")));
            }
            Err(error) => return Err(Error::new(format!("cannot make {shown}: {error}"))),
        };
        writeln!(file, "{config:#}").with_context(|| format!("cannot write {shown}"))?;
        Ok(0)
    }
}
