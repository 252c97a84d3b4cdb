//! `/proc/sys/net`: the stack's settings by their paths.

use abi::{Errno, Result};
use netstack::{BufferSizes, Config, Congestion, Ecn};

use super::conf;
use super::namespace::NetNamespace;

/// A setting that is one number or several.
struct Setting {
    /// Below `/proc/sys/net`.
    path: &'static str,
    get: fn(&Config) -> String,
    /// Takes the numbers that were written; `None` where they make no sense.
    set: fn(&mut Config, &[i64]) -> Option<()>,
}

/// A setting that is one number within a range.
macro_rules! number {
    ($path:literal, $field:ident, $range:expr) => {
        Setting {
            path: $path,
            get: |config| config.$field.to_string(),
            set: |config, values| {
                let [value] = values else { return None };
                config.$field = Some(*value).filter(|value| $range.contains(value))?.try_into().ok()?;
                Some(())
            },
        }
    };
}

/// A setting that is on or off.
macro_rules! switch {
    ($path:literal, $field:ident) => {
        Setting {
            path: $path,
            get: |config| u8::from(config.$field).to_string(),
            set: |config, values| {
                let [value] = values else { return None };
                config.$field = *value != 0;
                Some(())
            },
        }
    };
}

/// A setting that is a range.
macro_rules! range {
    ($path:literal, $field:ident) => {
        Setting {
            path: $path,
            get: |config| format!("{}\t{}", config.$field.0, config.$field.1),
            set: |config, values| {
                let [first, last] = values else { return None };
                config.$field = ((*first).try_into().ok()?, (*last).try_into().ok()?);
                Some(())
            },
        }
    };
}

/// A setting that is three sizes.
macro_rules! sizes {
    ($path:literal, $field:ident) => {
        Setting {
            path: $path,
            get: |config| {
                let BufferSizes { min, default, max } = config.$field;
                format!("{min}\t{default}\t{max}")
            },
            set: |config, values| {
                let [min, default, max] = values else { return None };
                let size =
                    |value: &i64| usize::try_from(*value).ok().filter(|size| *size >= 1 && *size <= 1 << 30);
                config.$field = BufferSizes { min: size(min)?, default: size(default)?, max: size(max)? };
                Some(())
            },
        }
    };
}

const INT: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;
const BUFFER: std::ops::RangeInclusive<i64> = 2304..=1 << 30;

const SETTINGS: &[Setting] = &[
    number!("core/optmem_max", optmem_max, INT),
    number!("core/rmem_default", rmem_default, BUFFER),
    number!("core/rmem_max", rmem_max, BUFFER),
    number!("core/somaxconn", somaxconn, INT),
    number!("core/wmem_default", wmem_default, BUFFER),
    number!("core/wmem_max", wmem_max, BUFFER),
    switch!("ipv4/conf/all/forwarding", ip_forward),
    switch!("ipv4/icmp_echo_ignore_all", icmp_echo_ignore_all),
    switch!("ipv4/icmp_echo_ignore_broadcasts", icmp_echo_ignore_broadcasts),
    number!("ipv4/icmp_msgs_per_sec", icmp_msgs_per_sec, INT),
    number!("ipv4/igmp_max_memberships", igmp_max_memberships, INT),
    number!("ipv4/ip_default_ttl", ip_default_ttl, (1..=255)),
    switch!("ipv4/ip_forward", ip_forward),
    Setting {
        path: "ipv4/ip_local_port_range",
        get: |config| format!("{}\t{}", config.ip_local_port_range.0, config.ip_local_port_range.1),
        set: |config, values| {
            let [first, last] = values else { return None };
            let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
            config.ip_local_port_range = Some((first, last)).filter(|_| first >= 1 && first <= last)?;
            Some(())
        },
    },
    switch!("ipv4/ip_no_pmtu_disc", ip_no_pmtu_disc),
    switch!("ipv4/ip_nonlocal_bind", ip_nonlocal_bind),
    number!("ipv4/ip_unprivileged_port_start", ip_unprivileged_port_start, (0..=65_535)),
    number!("ipv4/ipfrag_high_thresh", ipfrag_high_thresh, INT),
    number!("ipv4/ipfrag_time", ipfrag_time, INT),
    range!("ipv4/ping_group_range", ping_group_range),
    switch!("ipv4/tcp_abort_on_overflow", tcp_abort_on_overflow),
    number!("ipv4/tcp_base_mss", tcp_base_mss, (0..=65_535)),
    number!("ipv4/tcp_challenge_ack_limit", tcp_challenge_ack_limit, INT),
    switch!("ipv4/tcp_dsack", tcp_dsack),
    Setting {
        path: "ipv4/tcp_ecn",
        get: |config| (config.tcp_ecn as u8).to_string(),
        set: |config, values| {
            config.tcp_ecn = match values {
                [0] => Ecn::Off,
                [1] => Ecn::On,
                [2] => Ecn::Accept,
                _ => return None,
            };
            Some(())
        },
    },
    number!("ipv4/tcp_fastopen", tcp_fastopen, INT),
    number!("ipv4/tcp_fin_timeout", tcp_fin_timeout, INT),
    number!("ipv4/tcp_invalid_ratelimit", tcp_invalid_ratelimit, INT),
    number!("ipv4/tcp_keepalive_intvl", tcp_keepalive_intvl, (1..=32_767)),
    number!("ipv4/tcp_keepalive_probes", tcp_keepalive_probes, (1..=255)),
    number!("ipv4/tcp_keepalive_time", tcp_keepalive_time, (1..=32_767_000)),
    number!("ipv4/tcp_limit_output_bytes", tcp_limit_output_bytes, INT),
    number!("ipv4/tcp_max_orphans", tcp_max_orphans, INT),
    number!("ipv4/tcp_max_reordering", tcp_max_reordering, INT),
    number!("ipv4/tcp_max_syn_backlog", tcp_max_syn_backlog, INT),
    number!("ipv4/tcp_max_tw_buckets", tcp_max_tw_buckets, INT),
    number!("ipv4/tcp_min_snd_mss", tcp_min_snd_mss, (48..=65_535)),
    switch!("ipv4/tcp_moderate_rcvbuf", tcp_moderate_rcvbuf),
    number!("ipv4/tcp_mtu_probing", tcp_mtu_probing, (0..=2)),
    number!("ipv4/tcp_notsent_lowat", tcp_notsent_lowat, (0..=u32::MAX as i64)),
    number!("ipv4/tcp_orphan_retries", tcp_orphan_retries, (0..=255)),
    number!("ipv4/tcp_retries1", tcp_retries1, (0..=255)),
    number!("ipv4/tcp_retries2", tcp_retries2, (0..=255)),
    switch!("ipv4/tcp_rfc1337", tcp_rfc1337),
    sizes!("ipv4/tcp_rmem", tcp_rmem),
    switch!("ipv4/tcp_sack", tcp_sack),
    switch!("ipv4/tcp_slow_start_after_idle", tcp_slow_start_after_idle),
    number!("ipv4/tcp_syn_retries", tcp_syn_retries, (1..=127)),
    number!("ipv4/tcp_synack_retries", tcp_synack_retries, (0..=255)),
    number!("ipv4/tcp_syncookies", tcp_syncookies, (0..=2)),
    switch!("ipv4/tcp_timestamps", tcp_timestamps),
    number!("ipv4/tcp_tw_reuse", tcp_tw_reuse, (0..=2)),
    switch!("ipv4/tcp_window_scaling", tcp_window_scaling),
    sizes!("ipv4/tcp_wmem", tcp_wmem),
    switch!("ipv6/bindv6only", bindv6only),
    switch!("ipv6/conf/all/accept_ra", accept_ra),
    number!("ipv6/conf/all/dad_transmits", dad_transmits, (0..=255)),
    switch!("ipv6/conf/all/forwarding", ipv6_forward),
    number!("ipv6/conf/all/hop_limit", ipv6_hop_limit, (1..=255)),
];

const CONGESTION: &str = "ipv4/tcp_congestion_control";
/// What can be chosen; these only tell.
const AVAILABLE: &[&str] = &["ipv4/tcp_allowed_congestion_control", "ipv4/tcp_available_congestion_control"];

/// The paths.
pub(super) fn paths() -> Vec<&'static str> {
    // Those of `all` interfaces have a directory that is made elsewhere.
    let numbers = SETTINGS.iter().map(|setting| setting.path).filter(|path| !path.contains("/conf/"));
    numbers.chain([CONGESTION]).chain(AVAILABLE.iter().copied()).collect()
}

/// The value of a setting.
pub(super) fn get(net: &NetNamespace, path: &str) -> Option<String> {
    let config = net.stack().config();
    if path == CONGESTION {
        return Some(config.tcp_congestion_control.name().into());
    }
    if AVAILABLE.contains(&path) {
        let names: Vec<&str> = Congestion::ALL.iter().map(|algorithm| algorithm.name()).collect();
        return Some(names.join(" "));
    }
    let setting = SETTINGS.iter().find(|setting| setting.path == path);
    setting.map(|setting| (setting.get)(&config)).or_else(|| conf::get(net, path))
}

/// Changes a setting.
///
/// # Errors
/// `EINVAL` for what makes no sense, `ENOENT` for an unknown algorithm or interface, `EACCES` for what only tells.
pub(super) fn set(net: &NetNamespace, path: &str, text: &str) -> Result<()> {
    if path == CONGESTION {
        let algorithm = Congestion::from_name(text).ok_or(Errno::ENOENT)?;
        net.stack().update_config(|config| config.tcp_congestion_control = algorithm);
        return Ok(());
    }
    if AVAILABLE.contains(&path) {
        return Err(Errno::EACCES);
    }
    let Some(setting) = SETTINGS.iter().find(|setting| setting.path == path) else {
        return conf::set(net, path, text);
    };
    let values: std::result::Result<Vec<i64>, _> = text.split_whitespace().map(str::parse).collect();
    let values = values.map_err(|_| Errno::EINVAL)?;
    let mut done = None;
    net.stack().update_config(|config| done = (setting.set)(config, &values));
    done.ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use netstack::Config;

    use super::SETTINGS;

    #[test]
    fn what_is_told_can_be_written_back() {
        let mut config = Config::default();
        for setting in SETTINGS {
            let told = (setting.get)(&config);
            let values: Vec<i64> = told.split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert!((setting.set)(&mut config, &values).is_some(), "{}", setting.path);
            assert_eq!((setting.get)(&config), told);
            assert!((setting.set)(&mut config, &[]).is_none(), "{}", setting.path);
        }
    }

    #[test]
    fn paths_are_unique() {
        let mut paths = super::paths();
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), count);
    }
}
