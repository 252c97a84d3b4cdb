//! The character devices that there are: `/sys/devices/virtual/CLASS/NAME`, and links to them by class
//! (`/sys/class`) and by number (`/sys/dev/char`), kernel `Documentation/admin-guide/sysfs-rules.rst`.

use crate::synth::Builder;

/// A device: name, major and minor number, what `uevent` says beyond those.
type Device = (&'static str, u32, u32, &'static str);

/// Devices by class.
const CLASSES: [(&str, &[Device]); 3] = [
    (
        "mem",
        &[
            ("full", 1, 7, "DEVNAME=full\nDEVMODE=0666\n"),
            ("kmsg", 1, 11, "DEVNAME=kmsg\nDEVMODE=0644\n"),
            ("null", 1, 3, "DEVNAME=null\nDEVMODE=0666\n"),
            ("random", 1, 8, "DEVNAME=random\nDEVMODE=0666\n"),
            ("urandom", 1, 9, "DEVNAME=urandom\nDEVMODE=0666\n"),
            ("zero", 1, 5, "DEVNAME=zero\nDEVMODE=0666\n"),
        ],
    ),
    ("misc", &[("tun", 10, 200, "DEVNAME=net/tun\n")]),
    (
        "tty",
        &[
            ("console", 5, 1, "DEVNAME=console\n"),
            ("ptmx", 5, 2, "DEVNAME=ptmx\nDEVMODE=0666\n"),
            ("tty", 5, 0, "DEVNAME=tty\nDEVMODE=0666\n"),
        ],
    ),
];

/// The directories of the devices, by class, into `/sys/devices/virtual`.
pub(super) fn virtual_devices(dir: Builder) -> Builder {
    CLASSES.iter().fold(dir, |dir, (class, devices)| {
        dir.dir(class, |dir| devices.iter().fold(dir, |dir, device| add_device(dir, class, device)))
    })
}

fn add_device(dir: Builder, class: &str, (name, major, minor, about): &Device) -> Builder {
    dir.dir(name, |dir| {
        dir.file("dev", 0o444, format!("{major}:{minor}\n"))
            .link("subsystem", format!("../../../../class/{class}"))
            .file("uevent", 0o644, format!("MAJOR={major}\nMINOR={minor}\n{about}"))
    })
}

/// Links to the devices, into `/sys/class`.
pub(super) fn classes(dir: Builder) -> Builder {
    CLASSES.iter().fold(dir, |dir, (class, devices)| {
        let link = |dir: Builder, (name, ..): &Device| {
            dir.link(name, format!("../../devices/virtual/{class}/{name}"))
        };
        dir.dir(class, |dir| devices.iter().fold(dir, link))
    })
}

/// Links to the devices, into `/sys/dev/char`.
pub(super) fn by_number(dir: Builder) -> Builder {
    CLASSES.iter().fold(dir, |dir, (class, devices)| {
        devices.iter().fold(dir, |dir, (name, major, minor, _)| {
            dir.link(&format!("{major}:{minor}"), format!("../../devices/virtual/{class}/{name}"))
        })
    })
}
