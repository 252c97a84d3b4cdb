//! Reading ELF headers. Pure: bytes in, checked numbers out. Every field may be hostile.

use abi::elf::{self, FileHeader, ProgramHeader};
use abi::{Errno, PAGE_SIZE, Result, page_ceil, page_floor};
use platform::Protection;
use zerocopy::FromBytes;

/// Most bytes of program headers (Linux: 64 KiB).
const MAX_HEADERS: u64 = 65536;

/// What the file header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Position-independent.
    pub(crate) is_dynamic: bool,
    /// The first instruction, before relocation.
    pub(crate) entry: u64,
    /// Where in the file the program headers are.
    pub(crate) headers_offset: u64,
    /// Their number.
    pub(crate) header_count: u16,
}

impl Header {
    /// Reads the file header.
    ///
    /// # Errors
    /// `ENOEXEC` for anything but a 64-bit x86 program.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let (header, _) = FileHeader::read_from_prefix(bytes).map_err(|_| Errno::ENOEXEC)?;
        // Linux does not look at the class and the byte order: the machine decides.
        let known = header.e_ident[..4] == elf::MAGIC
            && header.e_machine == elf::EM_X86_64
            && matches!(header.e_type, elf::ET_EXEC | elf::ET_DYN)
            && usize::from(header.e_phentsize) == size_of::<ProgramHeader>()
            && header.e_phnum > 0;
        let header = Self {
            is_dynamic: header.e_type == elf::ET_DYN,
            entry: header.e_entry,
            headers_offset: header.e_phoff,
            header_count: header.e_phnum,
        };
        if known && header.headers_len() <= MAX_HEADERS { Ok(header) } else { Err(Errno::ENOEXEC) }
    }

    /// Bytes of all program headers.
    pub(crate) fn headers_len(&self) -> u64 {
        u64::from(self.header_count) * size_of::<ProgramHeader>() as u64
    }
}

/// A `PT_LOAD` segment, before relocation. All sums have been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadSegment {
    /// First address, wherever in a page.
    pub(crate) vaddr: u64,
    /// Where in the file it begins: the same distance into a page.
    pub(crate) offset: u64,
    /// Bytes from the file.
    pub(crate) file_len: u64,
    /// Bytes in memory; what the file does not give is zero.
    pub(crate) mem_len: u64,
    /// Rights.
    pub(crate) prot: Protection,
}

impl LoadSegment {
    /// The pages that it takes.
    pub(crate) fn pages(&self) -> std::ops::Range<u64> {
        let end = page_ceil(self.vaddr + self.mem_len).unwrap_or(u64::MAX);
        page_floor(self.vaddr)..end
    }
}

/// What the program headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segments {
    /// In the order of the file; at least one.
    pub(crate) load: Vec<LoadSegment>,
    /// Where in the file the interpreter's name is, and its length.
    pub(crate) interpreter: Option<(u64, usize)>,
    /// The stack must be executable.
    pub(crate) executable_stack: bool,
    /// The largest alignment asked for, a power of two and at least a page.
    pub(crate) align: u64,
    /// Where the program headers are in memory, before relocation; 0 where they are not loaded.
    pub(crate) headers_vaddr: u64,
}

impl Segments {
    /// Reads the program headers. `limit` is the size of the address space.
    ///
    /// # Errors
    /// `ENOEXEC` for an impossible interpreter name; `EINVAL` for impossible segments, as in Linux.
    pub(crate) fn parse(header: &Header, bytes: &[u8], limit: u64) -> Result<Self> {
        let mut segments = Self {
            load: Vec::new(),
            interpreter: None,
            executable_stack: false,
            align: PAGE_SIZE,
            headers_vaddr: 0,
        };
        let mut rest = bytes;
        for _ in 0..header.header_count {
            let (entry, tail) = ProgramHeader::read_from_prefix(rest).map_err(|_| Errno::ENOEXEC)?;
            rest = tail;
            segments.add(header, &entry, limit)?;
        }
        if segments.load.is_empty() { Err(Errno::EINVAL) } else { Ok(segments) }
    }

    fn add(&mut self, header: &Header, entry: &ProgramHeader, limit: u64) -> Result<()> {
        match entry.p_type {
            elf::PT_LOAD if entry.p_memsz > 0 => self.add_load(header, entry, limit)?,
            elf::PT_INTERP if self.interpreter.is_none() => {
                // A name of one byte would be empty.
                if !(2..=abi::fs::PATH_MAX as u64).contains(&entry.p_filesz) {
                    return Err(Errno::ENOEXEC);
                }
                self.interpreter = Some((entry.p_offset, entry.p_filesz as usize));
            }
            elf::PT_GNU_STACK => self.executable_stack = entry.p_flags & elf::PF_X != 0,
            _ => {}
        }
        Ok(())
    }

    fn add_load(&mut self, header: &Header, entry: &ProgramHeader, limit: u64) -> Result<()> {
        let end = entry.p_vaddr.checked_add(entry.p_memsz).and_then(page_ceil);
        let file_end = entry.p_offset.checked_add(entry.p_filesz).and_then(page_ceil);
        let fits = entry.p_filesz <= entry.p_memsz
            && end.is_some_and(|end| end <= limit)
            && file_end.is_some_and(|end| end <= i64::MAX as u64)
            && (entry.p_filesz == 0 || entry.p_vaddr % PAGE_SIZE == entry.p_offset % PAGE_SIZE);
        if !fits {
            return Err(Errno::EINVAL);
        }
        if entry.p_align.is_power_of_two() && entry.p_align < limit {
            self.align = self.align.max(entry.p_align);
        }
        let headers = header.headers_offset;
        if headers >= entry.p_offset && headers - entry.p_offset < entry.p_filesz && self.headers_vaddr == 0 {
            self.headers_vaddr = entry.p_vaddr + (headers - entry.p_offset);
        }
        let prot = Protection {
            read: entry.p_flags & elf::PF_R != 0,
            write: entry.p_flags & elf::PF_W != 0,
            execute: entry.p_flags & elf::PF_X != 0,
        };
        self.load.push(LoadSegment {
            vaddr: entry.p_vaddr,
            offset: entry.p_offset,
            file_len: entry.p_filesz,
            mem_len: entry.p_memsz,
            prot,
        });
        Ok(())
    }

    /// All pages from the lowest segment to the highest, before relocation.
    pub(crate) fn span(&self) -> std::ops::Range<u64> {
        let start = self.load.iter().map(|segment| segment.pages().start).min().unwrap_or(0);
        let end = self.load.iter().map(|segment| segment.pages().end).max().unwrap_or(0);
        start..end
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use abi::elf::{FileHeader, PF_R, PF_W, PF_X, PT_LOAD, ProgramHeader};
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::{Header, Segments};

    /// A file header that is fine.
    pub(crate) fn header(e_type: u16, count: u16) -> FileHeader {
        let mut e_ident = [0; 16];
        e_ident[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        FileHeader {
            e_ident,
            e_type,
            e_machine: 62,
            e_version: 1,
            e_entry: 0x1000,
            e_phoff: 64,
            e_ehsize: 64,
            e_phentsize: 56,
            e_phnum: count,
            ..FileHeader::default()
        }
    }

    /// A segment to load.
    pub(crate) fn load(p_offset: u64, p_vaddr: u64, p_filesz: u64, p_memsz: u64) -> ProgramHeader {
        let p_flags = PF_R | PF_W | PF_X;
        ProgramHeader {
            p_type: PT_LOAD,
            p_flags,
            p_offset,
            p_vaddr,
            p_paddr: 0,
            p_filesz,
            p_memsz,
            p_align: 4096,
        }
    }

    fn parse(header: FileHeader, entries: &[ProgramHeader]) -> abi::Result<Segments> {
        let header = Header::parse(header.as_bytes())?;
        Segments::parse(&header, entries.as_bytes(), 1 << 47)
    }

    #[test]
    fn bad_headers_are_refused() {
        use abi::Errno;
        assert!(parse(header(3, 1), &[load(0, 0, 0x500, 0x500)]).is_ok());
        assert_eq!(Header::parse(b"\x7fELF"), Err(Errno::ENOEXEC));
        let changes: [fn(&mut FileHeader); 5] = [
            |h| h.e_ident[0] = 0,
            |h| h.e_machine = 3,
            |h| h.e_type = 1,
            |h| h.e_phentsize = 32,
            |h| h.e_phnum = 2000,
        ];
        for change in changes {
            let mut header = header(3, 1);
            change(&mut header);
            assert_eq!(Header::parse(header.as_bytes()), Err(Errno::ENOEXEC));
        }
        for bad in [load(0, 0, 2, 1), load(0, 1 << 47, 0, 1), load(0, u64::MAX, 1, 1), load(1, 0, 1, 1)] {
            assert_eq!(parse(header(2, 1), &[bad]), Err(Errno::EINVAL), "{bad:?}");
        }
        assert_eq!(parse(header(2, 1), &[]), Err(Errno::ENOEXEC));
        let name = ProgramHeader { p_type: 3, p_filesz: 1, ..ProgramHeader::default() };
        assert_eq!(parse(header(2, 1), &[name]), Err(Errno::ENOEXEC));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..256), good in any::<bool>()) {
            let mut file = bytes.clone();
            if good && file.len() >= 64 {
                let fixed = header(3, u16::from(file[0] % 4));
                file[..24].copy_from_slice(&fixed.as_bytes()[..24]);
                file[54..58].copy_from_slice(&fixed.as_bytes()[54..58]);
            }
            if let Ok(header) = Header::parse(&file) {
                let rest = file.get(64..).unwrap_or_default();
                if let Ok(segments) = Segments::parse(&header, rest, 1 << 47) {
                    let span = segments.span();
                    prop_assert!(span.start < span.end && span.end <= 1 << 47);
                    prop_assert!(segments.align.is_power_of_two());
                }
            }
        }

        #[test]
        fn any_segments_are_read_without_harm(
            fields in prop::collection::vec((0..8u32, prop::array::uniform5(any::<u64>()), 0..60u32), 1..6),
        ) {
            let entries: Vec<_> = fields.iter().map(|(kind, words, shift)| {
                let word = |index: usize| words[index] >> shift;
                ProgramHeader {
                    p_type: *kind, p_flags: word(4) as u32, p_offset: word(0), p_vaddr: word(1), p_paddr: 0,
                    p_filesz: word(2), p_memsz: word(3), p_align: word(4),
                }
            }).collect();
            if let Ok(segments) = parse(header(3, entries.len() as u16), &entries) {
                prop_assert!(segments.span().end <= 1 << 47);
            }
        }
    }
}
