//! ELF files (`linux/elf.h`; `man 5 elf`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first four bytes.
pub const MAGIC: [u8; 4] = *b"\x7fELF";
/// A program with fixed addresses.
pub const ET_EXEC: u16 = 2;
/// A shared object, or a position-independent program.
pub const ET_DYN: u16 = 3;
/// `EM_X86_64`.
pub const EM_X86_64: u16 = 62;
/// A segment to be loaded.
pub const PT_LOAD: u32 = 1;
/// The name of the dynamic linker.
pub const PT_INTERP: u32 = 3;
/// Says in its flags whether the stack is executable.
pub const PT_GNU_STACK: u32 = 0x6474_e551;
/// Executable.
pub const PF_X: u32 = 1;
/// Writable.
pub const PF_W: u32 = 2;
/// Readable.
pub const PF_R: u32 = 4;

/// `Elf64_Ehdr`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "the standard's names")]
#[repr(C)]
pub struct FileHeader {
    pub e_ident: [u8; 16],
    pub e_type: u16,
    pub e_machine: u16,
    pub e_version: u32,
    pub e_entry: u64,
    pub e_phoff: u64,
    pub e_shoff: u64,
    pub e_flags: u32,
    pub e_ehsize: u16,
    pub e_phentsize: u16,
    pub e_phnum: u16,
    pub e_shentsize: u16,
    pub e_shnum: u16,
    pub e_shstrndx: u16,
}

/// `Elf64_Phdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "the standard's names")]
#[repr(C)]
pub struct ProgramHeader {
    pub p_type: u32,
    pub p_flags: u32,
    pub p_offset: u64,
    pub p_vaddr: u64,
    pub p_paddr: u64,
    pub p_filesz: u64,
    pub p_memsz: u64,
    pub p_align: u64,
}
