//! `/proc/[pid]/{maps,smaps,smaps_rollup,numa_maps}`.

use abi::Result;
use kernel::mm::{MemoryManager, VmaFlags, VmaInfo};

use super::system::put;
use super::task_dir::View;

/// Names begin at this column.
const NAME_COLUMN: usize = 73;

fn line(view: &View<'_>, vma: &VmaInfo, out: &mut Vec<u8>) {
    let (device, ino) = vma.file.as_ref().map_or((abi::DeviceId::default(), 0), |file| {
        let ino = file.inode().attr().map_or(0, |attr| attr.ino);
        (file.path().mount.fs().device(), ino)
    });
    let head = format!("{} {:02x}:{:02x} {ino} ", vma.line_start(), device.major, device.minor);
    let name = name_of(view, vma);
    if name.is_empty() {
        out.extend_from_slice(head.as_bytes());
    } else {
        put!(out, "{head:NAME_COLUMN$}");
        out.extend_from_slice(&name);
    }
    out.push(b'\n');
}

fn name_of(view: &View<'_>, vma: &VmaInfo) -> Vec<u8> {
    if let Some(file) = &vma.file {
        let mut name = Vec::new();
        for byte in file.path().text(&view.viewer.fs().root()) {
            if byte == b'\n' { name.extend_from_slice(b"\\012") } else { name.push(byte) }
        }
        return name;
    }
    match (&vma.name, &vma.anon_name) {
        (Some(name), _) => name.as_bytes().to_vec(),
        (None, Some(name)) if vma.flags.contains(VmaFlags::SHARED) => {
            format!("[anon_shmem:{name}]").into_bytes()
        }
        (None, Some(name)) => format!("[anon:{name}]").into_bytes(),
        (None, None) => Vec::new(),
    }
}

pub(super) fn maps(view: &View<'_>, mm: &MemoryManager, out: &mut Vec<u8>) -> Result<()> {
    for vma in mm.vmas() {
        line(view, &vma, out);
    }
    Ok(())
}

/// The sums that `smaps` prints, bytes.
#[derive(Default)]
struct Sizes {
    size: u64,
    anon: u64,
    clean_shared: u64,
    dirty_shared: u64,
    locked: u64,
}

impl Sizes {
    fn of(vma: &VmaInfo) -> Self {
        let is_shared = vma.flags.contains(VmaFlags::SHARED);
        let resident = vma.usage.rss();
        Self {
            size: vma.end - vma.start,
            anon: if is_shared { 0 } else { vma.usage.anon },
            clean_shared: vma.usage.file,
            dirty_shared: if is_shared { resident - vma.usage.file } else { vma.usage.shmem },
            locked: if vma.flags.contains(VmaFlags::LOCKED) { resident } else { 0 },
        }
    }

    fn add(&mut self, other: &Self) {
        self.size += other.size;
        self.anon += other.anon;
        self.clean_shared += other.clean_shared;
        self.dirty_shared += other.dirty_shared;
        self.locked += other.locked;
    }

    fn rss(&self) -> u64 {
        self.anon + self.clean_shared + self.dirty_shared
    }

    /// What is told of a whole address space only.
    fn print_kinds(&self, out: &mut Vec<u8>) {
        let kinds =
            [("Pss_Anon", self.anon), ("Pss_File", self.clean_shared), ("Pss_Shmem", self.dirty_shared)];
        print_sizes(&kinds, out);
    }

    fn print_resident(&self, out: &mut Vec<u8>) {
        let dirty = self.anon + self.dirty_shared;
        print_sizes(&[("Rss", self.rss()), ("Pss", self.rss()), ("Pss_Dirty", dirty)], out);
    }

    fn print_states(&self, out: &mut Vec<u8>) {
        let lines = [
            ("Shared_Clean", self.clean_shared),
            ("Shared_Dirty", self.dirty_shared),
            ("Private_Clean", 0),
            ("Private_Dirty", self.anon),
            ("Referenced", self.rss()),
            ("Anonymous", self.anon),
            ("KSM", 0),
            ("LazyFree", 0),
            ("AnonHugePages", 0),
            ("ShmemPmdMapped", 0),
            ("FilePmdMapped", 0),
            ("Shared_Hugetlb", 0),
            ("Private_Hugetlb", 0),
            ("Swap", 0),
            ("SwapPss", 0),
            ("Locked", self.locked),
        ];
        print_sizes(&lines, out);
    }
}

fn print_sizes(lines: &[(&str, u64)], out: &mut Vec<u8>) {
    for (name, bytes) in lines {
        put!(out, "{:<16}{:8} kB\n", format!("{name}:"), bytes >> 10);
    }
}

/// The two-letter flags of `VmFlags`.
fn vm_flags(vma: &VmaInfo) -> String {
    let flags = [
        (vma.prot.read, "rd"),
        (vma.prot.write, "wr"),
        (vma.prot.execute, "ex"),
        (vma.flags.contains(VmaFlags::SHARED), "sh"),
        (true, "mr"),
        (vma.flags.contains(VmaFlags::MAY_WRITE), "mw"),
        (true, "me"),
        (vma.flags.contains(VmaFlags::GROWSDOWN), "gd"),
        (vma.flags.contains(VmaFlags::LOCKED), "lo"),
        (vma.flags.contains(VmaFlags::DONTFORK), "dc"),
        (vma.flags.contains(VmaFlags::NORESERVE), "nr"),
        (vma.flags.contains(VmaFlags::DONTDUMP), "dd"),
        (vma.flags.contains(VmaFlags::WIPEONFORK), "wf"),
        (vma.flags.contains(VmaFlags::HUGEPAGE), "hg"),
        (vma.flags.contains(VmaFlags::NOHUGEPAGE), "nh"),
    ];
    flags.iter().filter(|(on, _)| *on).map(|(_, name)| format!("{name} ")).collect()
}

pub(super) fn smaps(view: &View<'_>, mm: &MemoryManager, out: &mut Vec<u8>) -> Result<()> {
    for vma in mm.vmas() {
        line(view, &vma, out);
        let sizes = Sizes::of(&vma);
        put!(out, "{:<16}{:8} kB\n{:<16}{:8} kB\n", "Size:", sizes.size >> 10, "KernelPageSize:", 4);
        put!(out, "{:<16}{:8} kB\n", "MMUPageSize:", 4);
        sizes.print_resident(out);
        sizes.print_states(out);
        put!(out, "THPeligible:           0\nVmFlags: {}\n", vm_flags(&vma));
    }
    Ok(())
}

pub(super) fn smaps_rollup(_view: &View<'_>, mm: &MemoryManager, out: &mut Vec<u8>) -> Result<()> {
    let list = mm.vmas();
    let mut sizes = Sizes::default();
    list.iter().for_each(|vma| sizes.add(&Sizes::of(vma)));
    let (start, end) = (list.first().map_or(0, |vma| vma.start), list.last().map_or(0, |vma| vma.end));
    let head = format!("{start:08x}-{end:08x} ---p 00000000 00:00 0 ");
    put!(out, "{head:NAME_COLUMN$}[rollup]\n");
    sizes.print_resident(out);
    sizes.print_kinds(out);
    sizes.print_states(out);
    Ok(())
}

pub(super) fn numa_maps(view: &View<'_>, mm: &MemoryManager, out: &mut Vec<u8>) -> Result<()> {
    for vma in mm.vmas() {
        put!(out, "{:08x} default", vma.start);
        if vma.file.is_some() {
            out.extend_from_slice(b" file=");
            out.extend_from_slice(&name_of(view, &vma));
        } else if let Some(name @ ("[heap]" | "[stack]")) = vma.name.as_deref() {
            put!(out, " {}", name.trim_matches(['[', ']']));
        }
        let pages = vma.usage.rss() >> 12;
        if pages > 0 {
            put!(out, " anon={} N0={pages} kernelpagesize_kB=4", vma.usage.anon >> 12);
        }
        out.push(b'\n');
    }
    Ok(())
}
