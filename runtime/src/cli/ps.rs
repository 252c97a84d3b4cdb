//! `runsc ps`.

use abi::time::NSEC_PER_SEC_U64;
use clap::Args;
use control::ProcessRow;

use super::table::Table;
use crate::container::life::Container;
use crate::container::manager::is_dockers;
use crate::error::Result;
use crate::flags::Config;
use crate::logging::timestamp;
use crate::sandbox::ReplyTimeout;

/// `runsc ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Form of the list; json prints pids only, as runc does.
    #[arg(long, short = 'f', default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// The container's id.
    pub(crate) id: String,
    /// Options for ps(1), which is not used.
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _options: Vec<String>,
}

impl Ps {
    /// Lists them.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        let container = Container::open(config, &self.id)?;
        let rows = container.connect(ReplyTimeout::Short)?.processes(&self.id)?;
        if self.format == "json" {
            let pids: Vec<i32> = match container.state.sandbox {
                // Docker looks for these among the processes of the host, where a guest's pid is somebody else's.
                Some(sandbox) if is_dockers(&container.state.bundle) => vec![sandbox.pid],
                _ => rows.iter().map(|row| row.pid).collect(),
            };
            say!("{}", serde_json::json!(pids));
        } else {
            print_table(&rows);
        }
        Ok(0)
    }
}

/// Prints a container's processes.
pub(super) fn print_table(rows: &[ProcessRow]) {
    let mut table = Table::new(&["UID", "PID", "PPID", "PGID", "C", "TTY", "STIME", "TIME", "CMD"]);
    for row in rows {
        let started =
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(row.start_time.max(0).unsigned_abs());
        let stamp = timestamp(started);
        table.row([
            row.uid.to_string(),
            row.pid.to_string(),
            row.ppid.to_string(),
            row.pgid.to_string(),
            row.cpu_percent.to_string(),
            row.tty.clone(),
            stamp.get(11..16).unwrap_or("").to_string(),
            cpu_time(row.cpu_time_ns),
            row.command.clone(),
        ]);
    }
    table.print();
}

fn cpu_time(ns: u64) -> String {
    let seconds = ns / NSEC_PER_SEC_U64;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
