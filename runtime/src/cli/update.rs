//! `runsc update`.

use clap::Args;
use serde_json::{Value, json};

use crate::container::life::Container;
use crate::error::{Context, Error, Result};
use crate::flags::{Config, parse_size};
use crate::logging;
use crate::sandbox::ReplyTimeout;
use crate::sandbox::machine::shown_cpus;
use crate::spec;
use crate::undo::Undo;

/// `runsc update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// File with linux.resources of the OCI specification; - is standard input.
    #[arg(long, short = 'r')]
    resources: Option<String>,
    /// Weight of block I/O, 10 to 1000.
    #[arg(long)]
    blkio_weight: Option<u64>,
    /// Microseconds of a period.
    #[arg(long)]
    cpu_period: Option<u64>,
    /// Microseconds of processor time in a period; -1 for no limit.
    #[arg(long, allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Microseconds that may be saved up.
    #[arg(long)]
    cpu_burst: Option<u64>,
    /// Relative weight.
    #[arg(long)]
    cpu_share: Option<u64>,
    /// 1 to run only when nothing else does.
    #[arg(long)]
    cpu_idle: Option<i64>,
    /// Accepted; real-time scheduling is not offered.
    #[arg(long, hide = true)]
    cpu_rt_period: Option<u64>,
    /// Accepted; real-time scheduling is not offered.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    /// Processors, as in 0-2,7.
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Memory nodes.
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Bytes of memory, with k, m or g; -1 for no limit.
    #[arg(long, allow_hyphen_values = true)]
    memory: Option<String>,
    /// Bytes of memory to keep when the host is short of it.
    #[arg(long, allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Bytes of memory and swap; -1 for no limit.
    #[arg(long, allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Processes; -1 for no limit.
    #[arg(long, allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Not supported.
    #[arg(long, hide = true)]
    l3_cache_schema: Option<String>,
    /// Not supported.
    #[arg(long, hide = true)]
    mem_bw_schema: Option<String>,
    /// The container's id.
    pub(crate) id: String,
}

impl Update {
    /// Changes the limits.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        if self.l3_cache_schema.is_some() || self.mem_bw_schema.is_some() {
            return Err(Error::new(
                "cache and memory bandwidth schemas are not supported: leave the flag out",
            ));
        }
        let resources = self.resources()?;
        let container = Container::open(config, &self.id)?;
        container.require_not_stopped("its limits limit nothing any more")?;
        let (changed, all) = container.with_resources(&resources)?;
        let old = container.config()?["linux"]["resources"].clone();
        let client = container.connect(ReplyTimeout::Short)?;
        let update = |limits: &Value, all: &Value| {
            client.update(&self.id, limits.clone(), shown_cpus(all, config.cpus_from_quota))
        };
        let back = previous(&resources, &old);
        // All of it holds in the end, or nothing.
        let mut undo = Undo::default();
        match &container.state.cgroup {
            Some(cgroup) if cgroup.is_pods => logging::warning(
                "the container is one of a pod, whose limits whoever made it has to change: these hold inside only",
            ),
            Some(cgroup) => {
                undo.push(|| warn_stays(cgroup.apply(&with_counterparts(&back, &old))));
                cgroup.apply(&with_counterparts(&resources, &all))?;
            }
            None => logging::warning("the container has no cgroup on the host: the limits hold inside only"),
        }
        undo.push(|| warn_stays(update(&back, &old).map_err(Error::from)));
        update(&resources, &all)?;
        container.keep_config(&changed)?;
        undo.keep();
        Ok(0)
    }

    /// The changes that are asked for, by a file and by flags.
    fn resources(&self) -> Result<Value> {
        let mut resources = match self.resources.as_deref() {
            None => json!({}),
            Some("-") => {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut std::io::stdin(), &mut text)
                    .context("cannot read standard input")?;
                spec::parse(&text, "standard input")?
            }
            Some(path) => spec::parse(&spec::read_text(path.as_ref())?, path)?,
        };
        spec::check_resources(&mut resources, "the resources")?;
        let mut set = |section: &str, name: &str, value: Option<Value>| {
            if let Some(value) = value {
                resources[section][name] = value;
            }
        };
        set("blockIO", "weight", self.blkio_weight.map(Into::into));
        set("cpu", "period", self.cpu_period.map(Into::into));
        set("cpu", "quota", self.cpu_quota.map(Into::into));
        set("cpu", "burst", self.cpu_burst.map(Into::into));
        set("cpu", "shares", self.cpu_share.map(Into::into));
        set("cpu", "idle", self.cpu_idle.map(Into::into));
        set("cpu", "realtimePeriod", self.cpu_rt_period.map(Into::into));
        set("cpu", "realtimeRuntime", self.cpu_rt_runtime.map(Into::into));
        set("cpu", "cpus", self.cpuset_cpus.clone().map(Into::into));
        set("cpu", "mems", self.cpuset_mems.clone().map(Into::into));
        set("memory", "limit", bytes(self.memory.as_deref())?);
        set("memory", "reservation", bytes(self.memory_reservation.as_deref())?);
        set("memory", "swap", bytes(self.memory_swap.as_deref())?);
        set("pids", "limit", self.pids_limit.map(Into::into));
        spec::check_resources(&mut resources, "the resources")?;
        Ok(resources)
    }
}

/// Says what an update that failed has left behind.
fn warn_stays(undone: Result<()>) {
    if let Err(error) = undone {
        logging::warning(format!("some of the new limits stay: {error}"));
    }
}

/// What takes `changes` back, where the limits were `old`: a limit that was none is one of -1.
fn previous(changes: &Value, old: &Value) -> Value {
    let Value::Object(members) = changes else {
        return if old.is_null() { Value::from(-1) } else { old.clone() };
    };
    let is_limit = |name: &str| ["limit", "reservation", "swap", "quota"].contains(&name);
    let taken_back = members
        .iter()
        .filter(|(name, new)| new.is_object() || !old[name.as_str()].is_null() || is_limit(name))
        .map(|(name, new)| (name.clone(), previous(new, &old[name.as_str()])));
    Value::Object(taken_back.collect())
}

/// `changes`, with what the host can set only together with one of them as it is in `all`: a quota and its period, the
/// limit that swap is counted above.
fn with_counterparts(changes: &Value, all: &Value) -> Value {
    let mut whole = changes.clone();
    let mut complete = |section: &str, changed: &str, counterpart: &str| {
        let (has, kept) = (&changes[section], &all[section][counterpart]);
        if !has[changed].is_null() && has[counterpart].is_null() && !kept.is_null() {
            whole[section][counterpart] = kept.clone();
        }
    };
    complete("cpu", "quota", "period");
    complete("cpu", "period", "quota");
    complete("memory", "swap", "limit");
    whole
}

fn bytes(text: Option<&str>) -> Result<Option<Value>> {
    let Some(text) = text else { return Ok(None) };
    if text == "-1" {
        return Ok(Some((-1).into()));
    }
    match parse_size(text).and_then(|size| i64::try_from(size).ok()) {
        Some(size) => Ok(Some(size.into())),
        None => Err(Error::new(format!("\"{text}\" is not a number of bytes such as 512m, or -1"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{previous, with_counterparts};

    #[test]
    fn changes_are_taken_back() {
        let changes = json!({"memory": {"limit": 100, "swap": 150}, "cpu": {"quota": 5, "shares": 7}, "pids": {"limit": 3}});
        let old = json!({"memory": {"limit": 50}, "cpu": {"shares": 2, "period": 9}});
        let expected = json!({"memory": {"limit": 50, "swap": -1}, "cpu": {"quota": -1, "shares": 2}, "pids": {"limit": -1}});
        assert_eq!(previous(&changes, &old), expected);
        assert_eq!(previous(&json!({"cpu": {"shares": 7}}), &json!(null)), json!({"cpu": {}}));
    }

    #[test]
    fn what_belongs_together_is_set_together() {
        let all = json!({"cpu": {"quota": 50_000, "period": 20_000, "shares": 2}, "memory": {"limit": 100, "swap": 150}});
        let whole = |changes| with_counterparts(&changes, &all);
        assert_eq!(
            whole(json!({"cpu": {"period": 20_000}})),
            json!({"cpu": {"period": 20_000, "quota": 50_000}})
        );
        assert_eq!(
            whole(json!({"cpu": {"quota": 50_000}})),
            json!({"cpu": {"period": 20_000, "quota": 50_000}})
        );
        assert_eq!(whole(json!({"memory": {"swap": 150}})), json!({"memory": {"limit": 100, "swap": 150}}));
        for alone in [json!({}), json!({"cpu": {"shares": 2}}), json!({"memory": {"limit": 100}})] {
            assert_eq!(whole(alone.clone()), alone);
        }
        assert_eq!(
            with_counterparts(&json!({"cpu": {"quota": 1}}), &json!({})),
            json!({"cpu": {"quota": 1}})
        );
    }
}
