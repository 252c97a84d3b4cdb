//! Options of `SOL_SOCKET` (man 7 socket).

use crate::base::config::Config;
use bpf::Program;
use std::sync::Arc;
use std::time::Duration;

/// Smallest buffers that `SO_RCVBUF` and `SO_SNDBUF` give (after doubling).
const MIN_RCVBUF: usize = 2304;
const MIN_SNDBUF: usize = 4608;

/// How received packets are time-stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Timestamps {
    /// Not at all.
    #[default]
    Off,
    /// `SO_TIMESTAMP`
    Micros,
    /// `SO_TIMESTAMPNS`
    Nanos,
}

/// Options of `SOL_SOCKET`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct BaseOptions {
    /// `SO_REUSEADDR`
    pub reuse_addr: bool,
    /// `SO_REUSEPORT`
    pub reuse_port: bool,
    /// `SO_BROADCAST`
    pub broadcast: bool,
    /// `SO_KEEPALIVE`
    pub keepalive: bool,
    /// `SO_OOBINLINE`
    pub oob_inline: bool,
    /// `SO_DONTROUTE`
    pub dont_route: bool,
    /// `SO_NO_CHECK`
    pub no_check: bool,
    /// `SO_RXQ_OVFL`
    pub rxq_overflow: bool,
    /// `SO_TIMESTAMP`, `SO_TIMESTAMPNS`
    pub timestamps: Timestamps,
    /// `SO_LINGER`
    pub linger: Option<Duration>,
    /// `SO_PRIORITY`
    pub priority: u32,
    /// `SO_MARK`
    pub mark: u32,
    /// `SO_BINDTODEVICE` as an interface index, 0 for none.
    pub device: u32,
    /// `SO_RCVLOWAT`
    pub rcv_lowat: usize,
    /// `SO_ATTACH_FILTER`: which packets the socket wants, and how much of them.
    pub filter: Option<Arc<Program>>,
    /// The owner's user id: who may share a port by `SO_REUSEPORT`.
    pub uid: u32,
    /// The owner's group id.
    pub gid: u32,
    /// The number that the owner shows for the socket (`/proc/net/tcp`, sock_diag).
    pub inode: u32,
    rcv_buf: usize,
    snd_buf: usize,
    rcv_locked: bool,
    snd_locked: bool,
}

impl BaseOptions {
    pub(super) const fn new(rcv_buf: usize, snd_buf: usize) -> Self {
        Self {
            reuse_addr: false,
            reuse_port: false,
            broadcast: false,
            keepalive: false,
            oob_inline: false,
            dont_route: false,
            no_check: false,
            rxq_overflow: false,
            timestamps: Timestamps::Off,
            linger: None,
            priority: 0,
            mark: 0,
            device: 0,
            rcv_lowat: 1,
            filter: None,
            uid: 0,
            gid: 0,
            inode: 0,
            rcv_buf,
            snd_buf,
            rcv_locked: false,
            snd_locked: false,
        }
    }

    /// `SO_RCVBUF` as getsockopt gives it (doubled already).
    #[must_use]
    pub const fn rcv_buf(&self) -> usize {
        self.rcv_buf
    }

    /// `SO_SNDBUF` as getsockopt gives it.
    #[must_use]
    pub const fn snd_buf(&self) -> usize {
        self.snd_buf
    }

    /// Whether `SO_RCVBUF` was set, which ends automatic tuning.
    #[must_use]
    pub const fn is_rcv_locked(&self) -> bool {
        self.rcv_locked
    }

    /// Whether `SO_SNDBUF` was set.
    #[must_use]
    pub const fn is_snd_locked(&self) -> bool {
        self.snd_locked
    }

    /// `SO_RCVBUF`: limited to `rmem_max`, then doubled.
    pub fn set_rcv_buf(&mut self, bytes: i32, config: &Config) {
        self.force_rcv_buf(usize::try_from(bytes).unwrap_or(usize::MAX).min(config.rmem_max));
    }

    /// `SO_RCVBUFFORCE`.
    pub fn force_rcv_buf(&mut self, bytes: usize) {
        self.rcv_buf = bytes.min(i32::MAX as usize / 2).saturating_mul(2).max(MIN_RCVBUF);
        self.rcv_locked = true;
    }

    /// `SO_SNDBUF`: limited to `wmem_max`, then doubled.
    pub fn set_snd_buf(&mut self, bytes: i32, config: &Config) {
        self.force_snd_buf(usize::try_from(bytes).unwrap_or(usize::MAX).min(config.wmem_max));
    }

    /// `SO_SNDBUFFORCE`.
    pub fn force_snd_buf(&mut self, bytes: usize) {
        self.snd_buf = bytes.min(i32::MAX as usize / 2).saturating_mul(2).max(MIN_SNDBUF);
        self.snd_locked = true;
    }

    /// Automatic tuning raises the receive buffer.
    pub(crate) fn tune_rcv_buf(&mut self, bytes: usize) {
        if !self.rcv_locked {
            self.rcv_buf = self.rcv_buf.max(bytes);
        }
    }

    /// Automatic tuning raises the send buffer.
    pub(crate) fn tune_snd_buf(&mut self, bytes: usize) {
        if !self.snd_locked {
            self.snd_buf = self.snd_buf.max(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::options::Options;

    #[test]
    fn buffers_double_and_are_bounded() {
        let config = Config::default();
        let mut options = Options::new(&config, true);
        options.base.set_rcv_buf(1, &config);
        assert_eq!(options.base.rcv_buf(), MIN_RCVBUF);
        options.base.set_snd_buf(-1, &config);
        assert_eq!(options.base.snd_buf(), config.wmem_max * 2);
        assert!(options.base.is_snd_locked());
    }
}
