//! `runsc doctor`.

use std::path::PathBuf;

use clap::Args;

use crate::docker::DAEMON_JSON;
use crate::doctor::{Finding, Level, examine};
use crate::error::Result;

/// `runsc doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// How to print: text or json.
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
    /// Docker's configuration file.
    #[arg(long = "config_file", alias = "config-file", default_value = DAEMON_JSON)]
    config_file: PathBuf,
}

impl Doctor {
    /// Prints what was found; exit status 1 where something does not work.
    pub(crate) fn run(&self) -> Result<u8> {
        let findings = examine(&self.config_file);
        if self.format == "json" {
            let list: Vec<_> = findings.iter().map(Finding::to_json).collect();
            say!("{:#}", serde_json::Value::from(list));
        } else {
            for finding in &findings {
                say!("{:<7} {}: {}", finding.level.name(), finding.subject, finding.what);
                if let Some(fix) = &finding.fix {
                    say!("        fix: {fix}");
                }
            }
        }
        Ok(u8::from(findings.iter().any(|finding| finding.level == Level::Failure)))
    }
}
