//! Processor time that a group may have (`cpu.max`). Of a container's own group it is the host that sees to it.

use super::Cgroup;

/// A limit on processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuBandwidth {
    /// Microseconds in each period; `None` for no limit.
    pub quota_us: Option<u64>,
    /// The period, microseconds.
    pub period_us: u64,
}

impl Default for CpuBandwidth {
    fn default() -> Self {
        Self { quota_us: None, period_us: 100_000 }
    }
}

impl Cgroup {
    /// The processor time that it may have.
    #[must_use]
    pub fn bandwidth(&self) -> CpuBandwidth {
        *self.unified.bandwidth.lock()
    }

    /// Changes that.
    pub fn set_bandwidth(&self, bandwidth: CpuBandwidth) {
        *self.unified.bandwidth.lock() = bandwidth;
    }
}
