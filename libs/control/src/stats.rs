//! What `runsc events` prints of a container: the form that runc has, which Docker and containerd read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The `data` of a `stats` event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
    /// Traffic by interface.
    #[serde(default, rename = "network_interfaces")]
    pub network_interfaces: Vec<NetworkInterface>,
}

/// Processor time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Nanoseconds used.
    pub usage: CpuUsage,
}

/// Nanoseconds of processor time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuUsage {
    /// In the (guest's) kernel.
    #[serde(default)]
    pub kernel: u64,
    /// In programs.
    #[serde(default)]
    pub user: u64,
    /// Both.
    #[serde(default)]
    pub total: u64,
    /// By processor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
}

/// Memory by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes of page cache.
    #[serde(default)]
    pub cache: u64,
    /// All memory.
    #[serde(default)]
    pub usage: MemoryEntry,
    /// Memory with swap.
    #[serde(default)]
    pub swap: MemoryEntry,
    /// The kernel's.
    #[serde(default)]
    pub kernel: MemoryEntry,
    /// The kernel's for TCP.
    #[serde(default, rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// Named counters of the kernel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
}

/// One kind of memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryEntry {
    /// The limit, 0 where there is none.
    pub limit: u64,
    /// Used now.
    #[serde(default)]
    pub usage: u64,
    /// The most used.
    #[serde(default)]
    pub max: u64,
    /// How often the limit was hit.
    #[serde(default)]
    pub failcnt: u64,
}

/// Processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// Now.
    #[serde(default)]
    pub current: u64,
    /// At most, 0 where there is no limit.
    #[serde(default)]
    pub limit: u64,
}

/// Counters of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkInterface {
    /// Its name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Errors on receipt.
    pub rx_errors: u64,
    /// Packets dropped on receipt.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Errors on sending.
    pub tx_errors: u64,
    /// Packets dropped on sending.
    pub tx_dropped: u64,
}
