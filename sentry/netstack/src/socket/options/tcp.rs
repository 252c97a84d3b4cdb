//! Options of `IPPROTO_TCP` (man 7 tcp).

use crate::base::config::{Config, Congestion};
use crate::base::error::{Error, Result};
use std::time::Duration;

/// Longest interval that TCP's keepalive options take, seconds.
const MAX_KEEP_SECONDS: u32 = 32_767;
/// Most keepalive probes.
const MAX_KEEP_PROBES: u32 = 127;
/// Most SYN retransmissions.
const MAX_SYN_COUNT: u32 = 127;

/// Options of `IPPROTO_TCP`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct TcpOptions {
    /// `TCP_NODELAY`
    pub nodelay: bool,
    /// `TCP_CORK`
    pub cork: bool,
    /// `TCP_QUICKACK`: `Some` where it was set, which holds until the stack's own mode changes.
    pub quickack: Option<bool>,
    /// `TCP_INQ`
    pub inq: bool,
    /// `TCP_FASTOPEN_CONNECT`
    pub fastopen_connect: bool,
    /// `TCP_FASTOPEN`: length of the queue; accepted and kept.
    pub fastopen: u32,
    /// `TCP_CONGESTION`
    pub congestion: Congestion,
    /// `TCP_USER_TIMEOUT`
    pub user_timeout: Option<Duration>,
    /// `TCP_WINDOW_CLAMP`, 0 for none.
    pub window_clamp: u32,
    /// `TCP_NOTSENT_LOWAT`, 0 for the stack's.
    pub notsent_lowat: u32,
    /// `TCP_THIN_LINEAR_TIMEOUTS`
    pub thin_linear_timeouts: bool,
    keep_idle: Option<Duration>,
    keep_interval: Option<Duration>,
    keep_count: Option<u32>,
    max_seg: u16,
    defer_accept: Duration,
    syn_count: Option<u32>,
    /// `TCP_LINGER2`: `Some(None)` means do not wait in FIN-WAIT-2.
    linger2: Option<Option<Duration>>,
}

fn seconds(value: i32, max: u32) -> Result<Duration> {
    match u32::try_from(value) {
        Ok(n) if (1..=max).contains(&n) => Ok(Duration::from_secs(u64::from(n))),
        _ => Err(Error::Invalid),
    }
}

impl TcpOptions {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            nodelay: false,
            cork: false,
            quickack: None,
            inq: false,
            fastopen_connect: false,
            fastopen: 0,
            congestion: config.tcp_congestion_control,
            user_timeout: None,
            window_clamp: 0,
            notsent_lowat: 0,
            thin_linear_timeouts: false,
            keep_idle: None,
            keep_interval: None,
            keep_count: None,
            max_seg: 0,
            defer_accept: Duration::ZERO,
            syn_count: None,
            linger2: None,
        }
    }

    /// `TCP_KEEPIDLE`
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn set_keep_idle(&mut self, value: i32) -> Result<()> {
        self.keep_idle = Some(seconds(value, MAX_KEEP_SECONDS)?);
        Ok(())
    }

    /// `TCP_KEEPINTVL`
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn set_keep_interval(&mut self, value: i32) -> Result<()> {
        self.keep_interval = Some(seconds(value, MAX_KEEP_SECONDS)?);
        Ok(())
    }

    /// `TCP_KEEPCNT`
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn set_keep_count(&mut self, value: i32) -> Result<()> {
        let count = u32::try_from(value).map_err(|_| Error::Invalid)?;
        if !(1..=MAX_KEEP_PROBES).contains(&count) {
            return Err(Error::Invalid);
        }
        self.keep_count = Some(count);
        Ok(())
    }

    /// `TCP_SYNCNT`
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn set_syn_count(&mut self, value: i32) -> Result<()> {
        let count = u32::try_from(value).map_err(|_| Error::Invalid)?;
        if !(1..=MAX_SYN_COUNT).contains(&count) {
            return Err(Error::Invalid);
        }
        self.syn_count = Some(count);
        Ok(())
    }

    /// `TCP_MAXSEG`: 0 or 88..=32767.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn set_max_seg(&mut self, value: i32) -> Result<()> {
        match u16::try_from(value) {
            Ok(mss) if mss == 0 || (88..=32_767).contains(&mss) => {
                self.max_seg = mss;
                Ok(())
            }
            _ => Err(Error::Invalid),
        }
    }

    /// `TCP_DEFER_ACCEPT`, seconds; negative counts as zero.
    pub fn set_defer_accept(&mut self, value: i32) {
        self.defer_accept = Duration::from_secs(u64::try_from(value).unwrap_or(0));
    }

    /// `TCP_LINGER2`, seconds; negative means that FIN-WAIT-2 is skipped, zero restores the default.
    pub fn set_linger2(&mut self, value: i32) {
        self.linger2 = match value {
            ..0 => Some(None),
            0 => None,
            1..=120 => Some(Some(Duration::from_secs(value.unsigned_abs().into()))),
            _ => Some(Some(Duration::from_secs(120))),
        };
    }

    /// `TCP_USER_TIMEOUT`, milliseconds.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn set_user_timeout(&mut self, value: i32) -> Result<()> {
        let ms = u64::try_from(value).map_err(|_| Error::Invalid)?;
        self.user_timeout = (ms > 0).then(|| Duration::from_millis(ms));
        Ok(())
    }

    /// Time without traffic before the first keepalive probe.
    #[must_use]
    pub fn keep_idle(&self, config: &Config) -> Duration {
        self.keep_idle.unwrap_or(Duration::from_secs(config.tcp_keepalive_time.into()))
    }

    /// Time between keepalive probes.
    #[must_use]
    pub fn keep_interval(&self, config: &Config) -> Duration {
        self.keep_interval.unwrap_or(Duration::from_secs(config.tcp_keepalive_intvl.into()))
    }

    /// Probes that may go unanswered.
    #[must_use]
    pub fn keep_count(&self, config: &Config) -> u32 {
        self.keep_count.unwrap_or(config.tcp_keepalive_probes)
    }

    /// SYN retransmissions.
    #[must_use]
    pub fn syn_count(&self, config: &Config) -> u32 {
        self.syn_count.unwrap_or_else(|| config.tcp_syn_retries.into())
    }

    /// `TCP_MAXSEG` as it was set, 0 for never.
    #[must_use]
    pub const fn max_seg(&self) -> u16 {
        self.max_seg
    }

    /// `TCP_DEFER_ACCEPT`; zero is off.
    #[must_use]
    pub const fn defer_accept(&self) -> Duration {
        self.defer_accept
    }

    /// How long an orphan stays in FIN-WAIT-2; `None` is not at all.
    #[must_use]
    pub fn linger2(&self, config: &Config) -> Option<Duration> {
        self.linger2.unwrap_or(Some(Duration::from_secs(config.tcp_fin_timeout.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::options::Options;

    #[test]
    fn tcp_ranges_are_linux_ranges() {
        let mut tcp = Options::new(&Config::default(), true).tcp;
        assert_eq!(tcp.set_keep_idle(0), Err(Error::Invalid));
        assert_eq!(tcp.set_keep_idle(32_768), Err(Error::Invalid));
        assert_eq!(tcp.set_keep_count(128), Err(Error::Invalid));
        assert_eq!(tcp.set_max_seg(87), Err(Error::Invalid));
        assert_eq!(tcp.set_max_seg(1460), Ok(()));
        assert_eq!(tcp.set_user_timeout(-1), Err(Error::Invalid));
    }
}
