//! sysfs (`man 5 sysfs`): the processors, the links of the network, the devices in memory, and the skeleton that programs
//! look for. There are no other devices to show.

mod devices;
mod net;

use std::sync::Arc;

use abi::Result;
use kernel::Kernel;
use kernel::task::NamespaceKind;
use kernel::vfs::{Caller, FileSystem, FileSystemType, Inode, MountOwner};

use crate::synth::{Builder, Inodes, SynthFs};

/// The type `sysfs`.
#[derive(Debug)]
pub struct SysfsType;

/// "0-3": a range of processors.
fn cpu_range(count: usize) -> String {
    match count {
        0 | 1 => "0\n".into(),
        _ => format!("0-{}\n", count - 1),
    }
}

/// A bit map of the first `count` processors, or of one.
fn cpu_mask(cpus: std::ops::Range<usize>, count: usize) -> String {
    let groups = count.div_ceil(32).max(1);
    let word = |group: usize| {
        (0..32).filter(|bit| cpus.contains(&(group * 32 + bit))).fold(0_u32, |w, bit| w | 1 << bit)
    };
    let words: Vec<String> =
        (0..groups)
            .rev()
            .map(|group| {
                if group == groups - 1 {
                    format!("{:x}", word(group))
                } else {
                    format!("{:08x}", word(group))
                }
            })
            .collect();
    words.join(",") + "\n"
}

fn cpu_dir(dir: Builder, cpu: usize, count: usize) -> Builder {
    let dir = dir.dir("topology", |topology| {
        topology
            .file("core_cpus", 0o444, cpu_mask(cpu..cpu + 1, count))
            .file("core_cpus_list", 0o444, format!("{cpu}\n"))
            .file("core_id", 0o444, format!("{cpu}\n"))
            .file("core_siblings", 0o444, cpu_mask(0..count, count))
            .file("core_siblings_list", 0o444, cpu_range(count))
            .file("die_id", 0o444, "0\n")
            .file("package_cpus", 0o444, cpu_mask(0..count, count))
            .file("package_cpus_list", 0o444, cpu_range(count))
            .file("physical_package_id", 0o444, "0\n")
            .file("thread_siblings", 0o444, cpu_mask(cpu..cpu + 1, count))
            .file("thread_siblings_list", 0o444, format!("{cpu}\n"))
    });
    let dir = dir.dir("cache", |dir| {
        let caches =
            [("1", "Data", "32K", 64), ("1", "Instruction", "32K", 64), ("2", "Unified", "1024K", 1024)];
        (0..).zip(caches).fold(dir, |dir, (index, (level, kind, size, sets))| {
            dir.dir(&format!("index{index}"), |cache| {
                cache
                    .file("coherency_line_size", 0o444, "64\n")
                    .file("level", 0o444, format!("{level}\n"))
                    .file("number_of_sets", 0o444, format!("{sets}\n"))
                    .file("shared_cpu_list", 0o444, format!("{cpu}\n"))
                    .file("shared_cpu_map", 0o444, cpu_mask(cpu..cpu + 1, count))
                    .file("size", 0o444, format!("{size}\n"))
                    .file("type", 0o444, format!("{kind}\n"))
                    .file("ways_of_associativity", 0o444, "8\n")
            })
        })
    });
    let dir = dir.link("node0", "../../node/node0");
    if cpu == 0 { dir } else { dir.file("online", 0o644, "1\n") }
}

fn system_dir(dir: Builder, kernel: &Kernel) -> Builder {
    let count = kernel.config.cpu_count.max(1);
    let dir = dir.dir("cpu", |dir| {
        let dir = dir
            .file("isolated", 0o444, "\n")
            .file("kernel_max", 0o444, "8191\n")
            .file("offline", 0o444, "\n")
            .file("online", 0o444, cpu_range(count))
            .file("possible", 0o444, cpu_range(count))
            .file("present", 0o444, cpu_range(count))
            .dir("smt", |dir| dir.file("active", 0o444, "0\n").file("control", 0o644, "notsupported\n"))
            .dir("vulnerabilities", |dir| dir);
        (0..count).fold(dir, |dir, cpu| dir.dir(&format!("cpu{cpu}"), |dir| cpu_dir(dir, cpu, count)))
    });
    let total = kernel.total_memory() >> 10;
    dir.dir("node", |dir| {
        dir.file("online", 0o444, "0\n")
            .file("possible", 0o444, "0\n")
            .file("has_cpu", 0o444, "0\n")
            .file("has_memory", 0o444, "0\n")
            .file("has_normal_memory", 0o444, "0\n")
            .dir("node0", |node| {
                let node = node
                    .file("cpulist", 0o444, cpu_range(count))
                    .file("cpumap", 0o444, cpu_mask(0..count, count))
                    .file("distance", 0o444, "10\n")
                    .file(
                        "meminfo",
                        0o444,
                        format!("Node 0 MemTotal:       {total} kB\nNode 0 MemFree:        {total} kB\n"),
                    );
                (0..count)
                    .fold(node, |node, cpu| node.link(&format!("cpu{cpu}"), format!("../../cpu/cpu{cpu}")))
            })
    })
}

fn kernel_dir(dir: Builder) -> Builder {
    dir.dir("mm", |dir| {
        dir.dir("transparent_hugepage", |dir| {
            dir.file("enabled", 0o644, "always madvise [never]\n")
                .file("defrag", 0o644, "always defer defer+madvise madvise [never]\n")
                .file("hpage_pmd_size", 0o444, "2097152\n")
                .file("shmem_enabled", 0o644, "always within_size advise [never] deny force\n")
        })
        .dir("hugepages", |dir| dir)
    })
    .dir("debug", |dir| dir)
    .dir("security", |dir| dir)
    .dir("tracing", |dir| dir)
    .file("fscaps", 0o444, "1\n")
    .file("profiling", 0o644, "0\n")
    .file("uevent_seqnum", 0o444, "0\n")
    .file("uevent_helper", 0o644, "\n")
    .file("notes", 0o444, "")
}

/// The whole tree.
fn tree(inodes: &Inodes, kernel: &Kernel) -> Arc<dyn Inode> {
    let dmi = |dir: Builder| {
        dir.file("board_vendor", 0o444, "rampart\n").file("product_name", 0o444, "rampart\n").file(
            "sys_vendor",
            0o444,
            "rampart\n",
        )
    };
    Builder::new(inodes)
        .dir("block", |dir| dir)
        .dir("bus", |dir| {
            ["cpu", "pci", "usb", "platform"].iter().fold(dir, |dir, bus| {
                dir.dir(bus, |bus| bus.dir("devices", |dir| dir).dir("drivers", |dir| dir))
            })
        })
        .dir("class", |dir| {
            let empty = ["block", "graphics", "hwmon", "input", "power_supply", "thermal"];
            let dir = empty.iter().fold(dir, |dir, class| dir.dir(class, |dir| dir));
            devices::classes(dir)
                .dir("dmi", |dir| dir.link("id", "../../devices/virtual/dmi/id"))
                .node("net", net::class(inodes))
        })
        .dir("dev", |dir| dir.dir("block", |dir| dir).dir("char", devices::by_number))
        .dir("devices", |dir| {
            dir.dir("system", |dir| system_dir(dir, kernel)).dir("virtual", |dir| {
                devices::virtual_devices(dir)
                    .dir("dmi", |dir| dir.dir("id", dmi))
                    .node("net", net::devices(inodes))
            })
        })
        .dir("firmware", |dir| dir)
        .dir("fs", |dir| {
            ["bpf", "cgroup", "ext4", "fuse", "pstore"].iter().fold(dir, |dir, name| dir.dir(name, |dir| dir))
        })
        .dir("hypervisor", |dir| dir)
        .dir("kernel", kernel_dir)
        .dir("module", |dir| dir)
        .dir("power", |dir| dir.file("state", 0o644, "\n"))
        .build()
}

impl FileSystemType for SysfsType {
    fn name(&self) -> &'static str {
        "sysfs"
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        _caller: &Caller<'_>,
        _source: &[u8],
        _options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let inodes = Inodes::new(1, kernel.timekeeper.now());
        Ok(Arc::new(SynthFs::fixed(kernel, "sysfs", 0x6265_6572, tree(&inodes, kernel))))
    }

    fn mount_owner(&self) -> MountOwner {
        MountOwner::Of(NamespaceKind::Net)
    }
}

#[cfg(test)]
mod tests {
    use super::{cpu_mask, cpu_range};

    #[test]
    fn processor_sets() {
        assert_eq!(cpu_range(4), "0-3\n");
        assert_eq!(cpu_mask(0..4, 4), "f\n");
        assert_eq!(cpu_mask(33..34, 40), "2,00000000\n");
    }
}
