//! `/proc/sys/net/{ipv4,ipv6}/{conf,neigh}/INTERFACE`: settings of one interface, of all, and of those to come
//! (`ip-sysctl` in Linux's documentation).
//!
//! Most of them have nothing to act on here. Those are kept, checked for their range and told, so that programs which set
//! them go on. What acts: `forwarding`, `rp_filter`, `send_redirects`, `route_localnet`, `disable_ipv6` and `mtu`, and those
//! of `all` that are settings of the stack ([`super::settings`]). Lock: `values`, a leaf.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use abi::{Errno, Result};
use netstack::{Nic, NicSettings};
use parking_lot::Mutex;

use super::errno;
use super::namespace::NetNamespace;

/// The name, Linux's default, and what may be written.
type Knob = (&'static str, i64, RangeInclusive<i64>);

const ANY: RangeInclusive<i64> = i32::MIN as i64..=i32::MAX as i64;
const NATURAL: RangeInclusive<i64> = 0..=i32::MAX as i64;
const SWITCH: RangeInclusive<i64> = 0..=1;

const V4: &[Knob] = &[
    ("accept_local", 0, ANY),
    ("accept_redirects", 1, ANY),
    ("accept_source_route", 0, ANY),
    ("arp_accept", 0, 0..=2),
    ("arp_announce", 0, ANY),
    ("arp_evict_nocarrier", 1, SWITCH),
    ("arp_filter", 0, ANY),
    ("arp_ignore", 0, ANY),
    ("arp_notify", 0, ANY),
    ("bc_forwarding", 0, ANY),
    ("bootp_relay", 0, ANY),
    ("disable_policy", 0, ANY),
    ("disable_xfrm", 0, ANY),
    ("drop_gratuitous_arp", 0, ANY),
    ("drop_unicast_in_l2_multicast", 0, ANY),
    ("force_igmp_version", 0, ANY),
    ("forwarding", 0, ANY),
    ("igmpv2_unsolicited_report_interval", 10_000, NATURAL),
    ("igmpv3_unsolicited_report_interval", 1000, NATURAL),
    ("ignore_routes_with_linkdown", 0, ANY),
    ("log_martians", 0, ANY),
    ("medium_id", 0, ANY),
    ("promote_secondaries", 0, ANY),
    ("proxy_arp", 0, ANY),
    ("proxy_arp_pvlan", 0, ANY),
    ("route_localnet", 0, ANY),
    ("rp_filter", 0, 0..=2),
    ("secure_redirects", 1, ANY),
    ("send_redirects", 1, ANY),
    ("shared_media", 1, ANY),
    ("src_valid_mark", 0, ANY),
    ("tag", 0, ANY),
];

const V6: &[Knob] = &[
    ("accept_dad", 1, ANY),
    ("accept_ra", 1, ANY),
    ("accept_ra_defrtr", 1, ANY),
    ("accept_ra_from_local", 0, ANY),
    ("accept_ra_min_hop_limit", 1, ANY),
    ("accept_ra_mtu", 1, ANY),
    ("accept_ra_pinfo", 1, ANY),
    ("accept_ra_rtr_pref", 1, ANY),
    ("accept_redirects", 1, ANY),
    ("accept_source_route", 0, ANY),
    ("accept_untracked_na", 0, 0..=2),
    ("addr_gen_mode", 0, 0..=3),
    ("autoconf", 1, ANY),
    ("dad_transmits", 1, ANY),
    ("disable_ipv6", 0, SWITCH),
    ("disable_policy", 0, ANY),
    ("drop_unicast_in_l2_multicast", 0, ANY),
    ("drop_unsolicited_na", 0, ANY),
    ("enhanced_dad", 1, ANY),
    ("force_mld_version", 0, ANY),
    ("force_tllao", 0, ANY),
    ("forwarding", 0, ANY),
    ("hop_limit", 64, 1..=255),
    ("ignore_routes_with_linkdown", 0, ANY),
    ("keep_addr_on_down", 0, ANY),
    ("max_addresses", 16, NATURAL),
    ("mc_forwarding", 0, ANY),
    ("mtu", 1280, 1280..=65_535),
    ("ndisc_notify", 0, ANY),
    ("ndisc_tclass", 0, 0..=255),
    ("proxy_ndp", 0, ANY),
    ("router_solicitation_delay", 1, NATURAL),
    ("router_solicitation_interval", 4, NATURAL),
    ("router_solicitations", -1, ANY),
    ("rpl_seg_enabled", 0, ANY),
    ("seg6_enabled", 0, ANY),
    ("suppress_frag_ndisc", 1, ANY),
    ("temp_prefered_lft", 86_400, NATURAL),
    ("temp_valid_lft", 604_800, NATURAL),
    ("use_oif_addrs_only", 0, ANY),
    ("use_tempaddr", 0, ANY),
];

const NEIGHBOURS: &[Knob] = &[
    ("anycast_delay", 100, NATURAL),
    ("app_solicit", 0, NATURAL),
    ("base_reachable_time", 30, NATURAL),
    ("base_reachable_time_ms", 30_000, NATURAL),
    ("delay_first_probe_time", 5, NATURAL),
    ("gc_stale_time", 60, NATURAL),
    ("locktime", 100, NATURAL),
    ("mcast_resolicit", 0, NATURAL),
    ("mcast_solicit", 3, NATURAL),
    ("proxy_delay", 80, NATURAL),
    ("proxy_qlen", 64, NATURAL),
    ("retrans_time", 100, NATURAL),
    ("retrans_time_ms", 1000, NATURAL),
    ("ucast_solicit", 3, NATURAL),
    ("unres_qlen", 101, NATURAL),
    ("unres_qlen_bytes", 212_992, NATURAL),
];

/// Directories of interfaces below `/proc/sys/net`.
const TREES: [(&str, &[Knob]); 4] =
    [("ipv4/conf", V4), ("ipv4/neigh", NEIGHBOURS), ("ipv6/conf", V6), ("ipv6/neigh", NEIGHBOURS)];

/// What was changed: values by their paths.
#[derive(Debug, Default)]
pub(super) struct Conf {
    values: Mutex<BTreeMap<String, i64>>,
}

impl Conf {
    /// An interface is gone, and its settings with it.
    pub(super) fn forget(&self, interface: &str) {
        self.values.lock().retain(|path, _| place(path).is_none_or(|place| place.interface != interface));
    }

    /// An interface has another name: its settings stay with it.
    pub(super) fn rename(&self, old: &str, new: &str) {
        let mut values = self.values.lock();
        let moved: Vec<_> = values
            .extract_if(.., |path, _| place(path).is_some_and(|place| place.interface == old))
            .collect();
        for (path, value) in moved {
            if let Some(place) = place(&path) {
                values.insert(format!("{}/{new}/{}", place.tree, place.knob.0), value);
            }
        }
    }
}

/// The directories, and the files that each interface has there.
pub(super) fn trees() -> Vec<(&'static str, Vec<&'static str>)> {
    TREES.iter().map(|(tree, knobs)| (*tree, knobs.iter().map(|knob| knob.0).collect())).collect()
}

/// What is in a directory: `all`, `default`, the interfaces.
pub(super) fn interfaces(net: &NetNamespace, tree: &str) -> Vec<String> {
    let general: &[&str] = if tree.ends_with("neigh") { &["default"] } else { &["all", "default"] };
    let nics = net.stack().nics();
    general.iter().map(ToString::to_string).chain(nics.iter().map(|nic| nic.name())).collect()
}

/// A path taken apart.
struct Place<'a> {
    tree: &'static str,
    interface: &'a str,
    knob: &'static Knob,
}

fn place(path: &str) -> Option<Place<'_>> {
    TREES.iter().find_map(|(tree, knobs)| {
        let (interface, name) = path.strip_prefix(tree)?.strip_prefix('/')?.rsplit_once('/')?;
        let knob = knobs.iter().find(|knob| knob.0 == name)?;
        Some(Place { tree, interface, knob })
    })
}

impl Place<'_> {
    /// The interface; `Ok(None)` for `all` and `default`.
    fn nic(&self, net: &NetNamespace) -> Result<Option<std::sync::Arc<Nic>>> {
        match self.interface {
            "all" if self.tree.ends_with("conf") => Ok(None),
            "default" => Ok(None),
            name => net.stack().nic_by_name(name).map(Some).ok_or(Errno::ENOENT),
        }
    }

    /// Where the stack's interfaces have the setting.
    fn of_stack<'a>(&self, settings: &'a mut NicSettings) -> Option<Switch<'a>> {
        Some(match (self.tree, self.knob.0) {
            ("ipv4/conf", "forwarding") => Switch::Bool(&mut settings.forwards),
            ("ipv4/conf", "rp_filter") => Switch::Number(&mut settings.rp_filter),
            ("ipv4/conf", "send_redirects") => Switch::Bool(&mut settings.send_redirects),
            ("ipv4/conf", "route_localnet") => Switch::Bool(&mut settings.route_localnet),
            ("ipv6/conf", "forwarding") => Switch::Bool(&mut settings.forwards_v6),
            _ => return None,
        })
    }

    /// The setting of IPv6 that lives with the interface.
    fn is_v6(&self, name: &str) -> bool {
        self.tree == "ipv6/conf" && self.knob.0 == name
    }
}

/// A setting of the stack.
enum Switch<'a> {
    Bool(&'a mut bool),
    Number(&'a mut u8),
}

impl Switch<'_> {
    fn get(&self) -> i64 {
        match self {
            Self::Bool(value) => i64::from(**value),
            Self::Number(value) => i64::from(**value),
        }
    }

    fn set(self, to: i64) {
        match self {
            Self::Bool(value) => *value = to != 0,
            // In the knob's range, which is a byte's.
            Self::Number(value) => *value = u8::try_from(to).unwrap_or(u8::MAX),
        }
    }
}

/// The stack's settings of an interface, of `default` or of `all`.
fn settings_at(net: &NetNamespace, place: &Place<'_>, nic: Option<&Nic>) -> NicSettings {
    let config = net.stack().config();
    match nic {
        Some(nic) => nic.settings(),
        None if place.interface == "default" => config.nic_default,
        None => config.nic_all,
    }
}

/// Changes the stack's settings of an interface, of `default` or of `all`.
fn change_at(net: &NetNamespace, place: &Place<'_>, nic: Option<&Nic>, f: impl FnOnce(&mut NicSettings)) {
    match nic {
        Some(nic) => nic.change_settings(f),
        None if place.interface == "default" => {
            net.stack().update_config(|config| f(&mut config.nic_default));
        }
        None => net.stack().update_config(|config| f(&mut config.nic_all)),
    }
}

/// The value of a setting.
pub(super) fn get(net: &NetNamespace, path: &str) -> Option<String> {
    let place = place(path)?;
    let nic = place.nic(net).ok()?;
    let mut of_stack = settings_at(net, &place, nic.as_deref());
    if let Some(switch) = place.of_stack(&mut of_stack) {
        return Some(switch.get().to_string());
    }
    let value = match &nic {
        Some(nic) if place.is_v6("disable_ipv6") => i64::from(!nic.has_ipv6()),
        Some(nic) if place.is_v6("mtu") => i64::from(nic.mtu()),
        _ => net.conf().values.lock().get(path).copied().unwrap_or(place.knob.1),
    };
    Some(value.to_string())
}

/// Changes a setting.
///
/// # Errors
/// `ENOENT` where there is none at `path`, `EINVAL` for a value out of range.
pub(super) fn set(net: &NetNamespace, path: &str, text: &str) -> Result<()> {
    let place = place(path).ok_or(Errno::ENOENT)?;
    let nic = place.nic(net)?;
    let value = text.parse().ok().filter(|value| place.knob.2.contains(value)).ok_or(Errno::EINVAL)?;
    if place.of_stack(&mut NicSettings::default()).is_some() {
        change_at(net, &place, nic.as_deref(), |settings| {
            place.of_stack(settings).into_iter().for_each(|switch| switch.set(value));
        });
        return Ok(());
    }
    match &nic {
        Some(nic) if place.is_v6("disable_ipv6") => nic.set_ipv6(value == 0),
        Some(nic) if place.is_v6("mtu") => net.stack().set_mtu(nic, value as u32).map_err(errno)?,
        None if place.is_v6("disable_ipv6") && place.interface == "all" => {
            net.stack().nics().iter().for_each(|nic| nic.set_ipv6(value == 0));
        }
        _ => {}
    }
    net.conf().values.lock().insert(path.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Conf, TREES, place};

    #[test]
    fn defaults_are_in_range_and_names_in_order() {
        for (tree, knobs) in TREES {
            assert!(knobs.is_sorted_by(|a, b| a.0 < b.0), "{tree}");
            for (name, default, range) in knobs {
                assert!(range.contains(default), "{tree} {name}");
            }
        }
    }

    #[test]
    fn settings_go_with_their_interface() {
        let conf = Conf::default();
        let paths = ["ipv4/conf/eth0/rp_filter", "ipv4/conf/eth0.5/rp_filter", "ipv4/conf/all/rp_filter"];
        conf.values.lock().extend(paths.map(|path| (path.to_owned(), 1)));
        let kept = || conf.values.lock().keys().cloned().collect::<Vec<_>>();
        conf.rename("eth0", "wan");
        assert_eq!(kept(), [paths[2], paths[1], "ipv4/conf/wan/rp_filter"]);
        conf.forget("wan");
        assert_eq!(kept(), [paths[2], paths[1]]);
    }

    #[test]
    fn paths_are_taken_apart() {
        let place = |path| place(path).map(|place| (place.tree, place.interface.to_owned(), place.knob.0));
        assert_eq!(place("ipv4/conf/eth0.5/rp_filter"), Some(("ipv4/conf", "eth0.5".into(), "rp_filter")));
        assert_eq!(place("ipv6/neigh/default/locktime"), Some(("ipv6/neigh", "default".into(), "locktime")));
        assert!(place("ipv4/conf/rp_filter").is_none() && place("ipv4/conf/lo/none").is_none());
    }
}
