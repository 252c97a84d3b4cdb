//! systemd's driver: a container's cgroup is that of a transient scope, which systemd makes when it is asked over D-Bus
//! (`org.freedesktop.systemd1(5)`). The limits are told to systemd as properties, so that it does not undo them, and
//! written to the files as well: systemd has no property for some of them.

mod bus;
mod message;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use host::process::{Namespaces, Process, clone_process};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use self::bus::{Bus, CallFailure};
use self::message::{Method, Value, Writer};
use super::path::UnitName;
use super::{v1, v2};
use crate::error::{Context, Error, Result};
use crate::logging;
use crate::spec::cpu_list;

/// There where systemd runs (`man 3 sd_booted`).
const BOOTED: &str = "/run/systemd/system";

/// Whether systemd runs on this host.
pub(super) fn is_running() -> bool {
    Path::new(BOOTED).exists()
}

/// The version of cgroups, which decides about the names of properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Version 1, or hybrid.
    One,
    /// Version 2 alone.
    Two,
}

/// A process that does nothing but be the first in a scope: there is none without a process. It ends on drop.
#[derive(Debug)]
pub(crate) struct Holder {
    process: Process,
    end: Option<UnixStream>,
}

impl Holder {
    /// Makes one.
    pub(super) fn start() -> Result<Self> {
        let what = "cannot make a process for the new scope";
        let (ours, mut theirs) = UnixStream::pair().context(what)?;
        let mut ours = Some(ours);
        let child = || {
            // In the child's copy: it waits for the end of the parent's.
            ours.take();
            let _ = theirs.read(&mut [0]);
            0
        };
        let process = clone_process(Namespaces::empty(), None, child).context(what)?;
        Ok(Self { process, end: ours })
    }

    /// Its pid.
    fn pid(&self) -> u32 {
        self.process.pid().unsigned_abs()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end.take();
        let _ = self.process.reap();
    }
}

/// A unit of ours, as it is written down before systemd is asked for it: its description tells it from one of the same
/// name that is somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// Its name.
    name: String,
    /// What systemd says of it; no other unit has the same.
    description: String,
}

impl Unit {
    /// A unit that does not exist yet.
    pub(super) fn new(name: &UnitName) -> Self {
        let mut nonce = [0; 8];
        host::random::fill(&mut nonce);
        let nonce = u64::from_le_bytes(nonce);
        Self { name: name.name.clone(), description: format!("runsc container {} ({nonce:016x})", name.name) }
    }
}

/// Has systemd start the scope `ours` with the holder in it.
pub(super) fn start(
    unit: &UnitName,
    ours: &Unit,
    holder: &Holder,
    resources: &Json,
    version: Version,
) -> Result<()> {
    if unit.name.ends_with(".slice") {
        let advice = "a container is a scope: give it a name without .slice";
        return Err(Error::new(format!("$.linux.cgroupsPath names the slice {}: {advice}", unit.name)));
    }
    let mut all = vec![
        ("Description", Value::Text(ours.description.clone())),
        ("DefaultDependencies", Value::Bool(false)),
        ("MemoryAccounting", Value::Bool(true)),
        ("CPUAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        ("Slice", Value::Text(unit.slice.clone())),
        ("Delegate", Value::Bool(true)),
        ("PIDs", Value::Pids(vec![holder.pid()])),
    ];
    all.extend(properties(resources, version));
    let mut bus = Bus::connect()?;
    bus.call(manager("Subscribe"), "", &Writer::default())?;
    let mut rule = Writer::default();
    rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
    let add_match = Method {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        name: "AddMatch",
    };
    bus.call(add_match, "s", &rule)?;
    let job = match start_transient(&mut bus, &unit.name, &all) {
        // One of this name has failed, and nobody has looked at it since.
        Err(CallFailure::Refused(name, _)) if name.ends_with(".UnitExists") => {
            bus.call(manager("ResetFailedUnit"), "s", &one(&unit.name))?;
            start_transient(&mut bus, &unit.name, &all)
        }
        other => other,
    };
    let job = match job {
        Err(CallFailure::Refused(name, _)) if name.ends_with(".UnitExists") => {
            return Err(Error::new(format!(
                "the unit {} runs already, perhaps for another container: give $.linux.cgroupsPath a name of its own, or \
                 stop it with `systemctl stop {}`",
                unit.name, unit.name
            )));
        }
        other => other?,
    };
    let ended = bus.wait("JobRemoved", |values| values.get(1).is_some_and(|path| *path == job))?;
    match ended.get(3).map(String::as_str) {
        Some("done") => Ok(()),
        how => Err(Error::new(format!(
            "systemd did not start {} ({}): see `journalctl -u {}`",
            unit.name,
            how.unwrap_or("no result"),
            unit.name
        ))),
    }
}

/// Calls `StartTransientUnit`; the result is the job's path.
fn start_transient(
    bus: &mut Bus,
    name: &str,
    all: &[(&str, Value)],
) -> std::result::Result<String, CallFailure> {
    let mut body = Writer::default();
    body.text(name);
    body.text("replace");
    body.properties(all);
    body.no_units();
    let values = bus.call(manager("StartTransientUnit"), "ssa(sv)a(sa(sv))", &body)?;
    Ok(values.into_iter().next().unwrap_or_default())
}

/// Changes a unit's limits.
pub(super) fn set(unit: &Unit, resources: &Json, version: Version) -> Result<()> {
    let changed = properties(resources, version);
    if changed.is_empty() {
        return Ok(());
    }
    let mut body = Writer::default();
    body.text(&unit.name);
    // Until the unit ends, and not in a file.
    body.number(1);
    body.properties(&changed);
    Bus::connect()?.call(manager("SetUnitProperties"), "sba(sv)", &body)?;
    Ok(())
}

/// Ends a unit with what is in it, and forgets it. One that is gone is fine: a scope goes with its last process. So is
/// one that is not ours: it stays as it is.
pub(super) fn stop(unit: &Unit) {
    if let Err(error) = Bus::connect().and_then(|mut bus| stop_on(&mut bus, unit)) {
        logging::warning(format!("{} may stay: {error}", unit.name));
    }
}

/// Whether a unit is there, and ours.
pub(super) fn is_there(unit: &Unit) -> bool {
    Bus::connect().and_then(|mut bus| is_ours(&mut bus, unit)).unwrap_or(false)
}

fn is_ours(bus: &mut Bus, unit: &Unit) -> Result<bool> {
    Ok(description(bus, &unit.name)?.is_some_and(|description| description == unit.description))
}

fn stop_on(bus: &mut Bus, unit: &Unit) -> Result<()> {
    if !is_ours(bus, unit)? {
        logging::debug(format!("{} is gone, or another container's", unit.name));
        return Ok(());
    }
    let mut body = one(&unit.name);
    body.text("replace");
    for (method, signature, body) in [("StopUnit", "ss", body), ("ResetFailedUnit", "s", one(&unit.name))] {
        unless_gone(bus.call(manager(method), signature, &body))?;
    }
    Ok(())
}

/// The description of a unit, where there is such a one.
fn description(bus: &mut Bus, name: &str) -> Result<Option<String>> {
    let Some(path) = unless_gone(bus.call(manager("GetUnit"), "s", &one(name)))? else { return Ok(None) };
    let Some(path) = path.into_iter().next() else { return Ok(None) };
    let get = Method {
        destination: "org.freedesktop.systemd1",
        path: &path,
        interface: "org.freedesktop.DBus.Properties",
        name: "Get",
    };
    let mut property = one("org.freedesktop.systemd1.Unit");
    property.text("Description");
    let values = unless_gone(bus.call(get, "ss", &property))?;
    Ok(values.and_then(|values| values.into_iter().next()))
}

/// What a call about a unit has returned; nothing where the unit is gone, or goes meanwhile.
fn unless_gone(called: std::result::Result<Vec<String>, CallFailure>) -> Result<Option<Vec<String>>> {
    match called {
        Err(CallFailure::Refused(name, _))
            if name.ends_with(".NoSuchUnit") || name.ends_with(".UnknownObject") =>
        {
            Ok(None)
        }
        other => Ok(Some(other?)),
    }
}

fn manager(name: &str) -> Method<'_> {
    Method {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        name,
    }
}

fn one(text: &str) -> Writer {
    let mut body = Writer::default();
    body.text(text);
    body
}

/// The limits of an OCI `resources` object as systemd's properties (`man 5 systemd.resource-control`).
fn properties(resources: &Json, version: Version) -> Vec<(&'static str, Value)> {
    let mut list = Vec::new();
    // Absent ones, and zeros, change nothing; negative ones are no limit.
    let limit =
        |value: &Json| value.as_i64().filter(|n| *n != 0).map(|n| u64::try_from(n).unwrap_or(u64::MAX));
    let mut number = |name, value: Option<u64>| list.extend(value.map(|value| (name, Value::Number(value))));
    let (memory, cpu) = (&resources["memory"], &resources["cpu"]);
    match version {
        Version::One => {
            number("MemoryLimit", limit(&memory["limit"]));
            number("CPUShares", limit(&cpu["shares"]));
            number("BlockIOWeight", limit(&resources["blockIO"]["weight"]));
        }
        Version::Two => {
            number("MemoryMax", limit(&memory["limit"]));
            number("MemoryLow", limit(&memory["reservation"]));
            number("MemorySwapMax", v2::swap(memory).map(|swap| u64::try_from(swap).unwrap_or(u64::MAX)));
            number("CPUWeight", limit(&cpu["shares"]).map(v2::weight));
        }
    }
    number("CPUQuotaPeriodUSec", limit(&cpu["period"]));
    number("CPUQuotaPerSecUSec", limit(&cpu["quota"]).map(|quota| per_second(quota, limit(&cpu["period"]))));
    let tasks = resources["pids"]["limit"].as_i64().filter(|n| *n != 0);
    number("TasksMax", tasks.map(|n| v1::host_pids_limit(n).parse().unwrap_or(u64::MAX)));
    for (name, property) in [("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")] {
        let set = cpu[name].as_str().filter(|text| !text.is_empty()).and_then(cpu_list::parse);
        list.extend(set.filter(|_| version == Version::Two).map(|set| (property, Value::Bytes(bits(&set)))));
    }
    list
}

/// A quota in each period as one in each second. systemd counts in steps of 10 ms, and cuts off what is less than one.
fn per_second(quota: u64, period: Option<u64>) -> u64 {
    const STEP_US: u64 = 10_000;
    if quota == u64::MAX {
        return u64::MAX;
    }
    let whole = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(100_000));
    u64::try_from(whole).ok().and_then(|n| n.checked_next_multiple_of(STEP_US)).unwrap_or(u64::MAX)
}

/// A set of numbers as bits, the first in the lowest of the first byte.
fn bits(set: &[u32]) -> Vec<u8> {
    let len = set.iter().max().map_or(0, |max| *max as usize / 8 + 1);
    let mut bytes = vec![0; len];
    set.iter().for_each(|number| bytes[*number as usize / 8] |= 1 << (number % 8));
    bytes
}
