//! Entrances for the fuzzer in `tests/fuzz`: what the kernel reads of files and of guests, without a guest.

use abi::elf::FileHeader;

use crate::loader::elf::{Header, Segments};
use crate::loader::script::{HEAD_LEN, ScriptLine};

/// Highest address of a guest, as the platform has it.
const LIMIT: u64 = 0x7ff0_0000_0000;

/// Reads the headers of a program: its file header, then its program headers from where they would be in the file.
pub fn program(bytes: &[u8]) {
    // Errors are answers; what is looked for is a panic.
    let _ = ScriptLine::parse(&bytes[..bytes.len().min(HEAD_LEN)]);
    let Ok(header) = Header::parse(bytes) else { return };
    let table = bytes.get(size_of::<FileHeader>()..).unwrap_or_default();
    let len = usize::try_from(header.headers_len()).unwrap_or(usize::MAX);
    if let Ok(segments) = Segments::parse(&header, &table[..table.len().min(len)], LIMIT) {
        assert!(segments.span().end <= LIMIT, "a program lies beyond the guest's addresses");
    }
}
