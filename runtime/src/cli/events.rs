//! `runsc events`.

use std::time::Duration;

use clap::Args;
use control::stats::Stats;
use serde_json::json;

use crate::container::life::Container;
use crate::container::{Status, Store};
use crate::error::{Context, Error, Result};
use crate::flags::Config;
use crate::sandbox::ReplyTimeout;

/// `runsc events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Seconds between two of them.
    #[arg(long, default_value = "5")]
    interval: String,
    /// Print one and end.
    #[arg(long)]
    stats: bool,
    /// The container's id.
    pub(crate) id: String,
}

impl Events {
    /// Prints them.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        if self.stats {
            let container = Container::open(config, &self.id)?;
            container.require_not_stopped("it uses nothing any more")?;
            print(&self.id, &stats(&container)?);
            return Ok(0);
        }
        let interval = parse_interval(&self.interval)?;
        // There must be one to begin with. Its end ends the stream, and so does whoever deletes it.
        let mut next = Some(Container::open(config, &self.id)?);
        let mut kills = None;
        while let Some(container) = next.filter(|container| container.state.status != Status::Stopped) {
            let now = container.state.cgroup.as_ref().map_or(0, crate::cgroup::CgroupRecord::oom_kills);
            if kills.is_some_and(|before| now > before) {
                say!("{}", json!({"type": "oom", "id": self.id}));
            }
            kills = Some(now);
            let told = stats(&container);
            let sandbox = container.state.sandbox.and_then(|sandbox| sandbox.open());
            drop(container);
            next = match told {
                Ok(stats) => {
                    print(&self.id, &stats);
                    // The end of the sandbox ends the wait.
                    if let Some(process) = sandbox {
                        process.wait_ended(Some(interval)).context("cannot wait for the sandbox")?;
                    }
                    self.reopen(config)?
                }
                // It may just have ended: that is no failure.
                Err(error) => match self.reopen(config)? {
                    Some(container) if container.state.status != Status::Stopped => return Err(error),
                    other => other,
                },
            };
        }
        Ok(0)
    }

    /// The container, where it is still there.
    fn reopen(&self, config: &Config) -> Result<Option<Container>> {
        match Container::open(config, &self.id) {
            Err(_) if !Store::new(&config.root).exists(&self.id) => Ok(None),
            opened => opened.map(Some),
        }
    }
}

fn stats(container: &Container) -> Result<Stats> {
    let mut stats = container.connect(ReplyTimeout::Short)?.stats(&container.state.id)?;
    // The host's counts are of the whole sandbox: they are this container's where it is alone.
    if let Some(cgroup) = container.state.cgroup.as_ref().filter(|_| container.state.is_root()) {
        cgroup.count_into(&mut stats);
    }
    Ok(stats)
}

fn print(id: &str, stats: &Stats) {
    say!("{}", json!({"type": "stats", "id": id, "data": stats}));
}

/// Seconds, with or without the unit that Go writes.
fn parse_interval(text: &str) -> Result<Duration> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let valid = seconds.filter(|seconds| *seconds > 0.0 && *seconds < 1e6);
    valid
        .map(Duration::from_secs_f64)
        .ok_or_else(|| Error::new(format!("--interval \"{text}\" is not a number of seconds")))
}
