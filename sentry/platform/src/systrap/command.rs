//! Commands: system calls that the sentry has a stub's trusted threads make.
//!
//! A ring lies in memory that the stub can only read. Its tail is a futex; the stub's side keeps the head in a register.

use abi::Result;
use host::memory::VolatileSlice;
use stub::layout::{
    ENTRY_SIZE, FLAG_ALWAYS, FLAG_CHILD, FLAG_DOOR, FLAG_ENTER, FLAG_EXPECT, FLAG_KEEP, FLAG_ON_ERROR,
    RING_ENTRIES, RING_MASK, RING_TAIL,
};

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    nr: u32,
    flags: u32,
    args: [u64; 6],
    extra: u64,
}

impl Command {
    /// Makes a call; when it fails, what follows is skipped up to the door.
    pub(super) fn call<const N: usize>(nr: i64, args: [u64; N]) -> Self {
        let mut all = [0; 6];
        for (to, from) in all.iter_mut().zip(args) {
            *to = from;
        }
        Self { nr: nr as u32, flags: 0, args: all, extra: 0 }
    }

    /// Waits at the door.
    pub(super) const fn door() -> Self {
        Self { nr: 0, flags: FLAG_DOOR, args: [0; 6], extra: 0 }
    }

    /// Becomes a guest thread whose stack pointer lies in its area.
    pub(super) const fn enter(stack: u64) -> Self {
        Self { nr: 0, flags: FLAG_ENTER, args: [stack, 0, 0, 0, 0, 0], extra: 0 }
    }

    /// Ends the process where the result is not `value`.
    pub(super) const fn expect(self, value: u64) -> Self {
        Self { flags: self.flags | FLAG_EXPECT, extra: value, ..self }
    }

    /// Makes a child that goes on with the ring at `ring`.
    pub(super) const fn child(self, ring: u64) -> Self {
        Self { flags: self.flags | FLAG_CHILD, extra: ring, ..self }
    }

    /// Is carried out whatever failed before, and may fail.
    pub(super) const fn always(self) -> Self {
        Self { flags: self.flags | FLAG_ALWAYS, ..self }
    }

    /// Is carried out only after a failure, and then what follows is, too.
    pub(super) const fn on_error(self) -> Self {
        Self { flags: self.flags | FLAG_ON_ERROR, ..self }
    }

    /// Reports its result at the door.
    pub(super) const fn keep(self) -> Self {
        Self { flags: self.flags | FLAG_KEEP, ..self }
    }

    fn to_bytes(self) -> [u8; ENTRY_SIZE as usize] {
        let mut bytes = [0; ENTRY_SIZE as usize];
        bytes[..4].copy_from_slice(&self.nr.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.flags.to_le_bytes());
        let words = self.args.into_iter().chain([self.extra]);
        for (chunk, word) in bytes[8..].chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// The writing end of a ring. The caller sees to it that the reader is never more than a ring behind.
#[derive(Debug)]
pub(super) struct Ring {
    offset: usize,
    entries: u32,
    tail: u32,
}

impl Ring {
    /// A new ring of `entries` (a power of two) at `offset` of a slot; nobody may be reading there.
    pub(super) fn new(memory: &VolatileSlice<'_>, offset: u64, entries: u32) -> Result<Self> {
        let offset = offset as usize;
        memory.sub(offset + RING_MASK as usize, 4)?.write(&(entries - 1).to_le_bytes())?;
        memory.store_u32(offset + RING_TAIL as usize, 0)?;
        Ok(Self { offset, entries, tail: 0 })
    }

    /// Entries that one batch may use at most.
    pub(super) const fn capacity(&self) -> usize {
        self.entries as usize
    }

    /// Puts commands in and shows them to the reader.
    pub(super) fn publish(&mut self, memory: &VolatileSlice<'_>, commands: &[Command]) -> Result<()> {
        debug_assert!(commands.len() <= self.capacity(), "a batch is at most a ring");
        for command in commands {
            let index = (self.tail & (self.entries - 1)) as usize;
            let at = self.offset + RING_ENTRIES as usize + index * ENTRY_SIZE as usize;
            memory.sub(at, ENTRY_SIZE as usize)?.write(&command.to_bytes())?;
            self.tail = self.tail.wrapping_add(1);
        }
        memory.store_u32(self.offset + RING_TAIL as usize, self.tail)
    }

    /// Wakes a reader that sleeps.
    pub(super) fn wake(&self, memory: &VolatileSlice<'_>) -> Result<()> {
        memory.futex_wake(self.offset + RING_TAIL as usize, 1).map(|_| ())
    }
}

const _: () = assert!(RING_ENTRIES.is_multiple_of(8) && ENTRY_SIZE == 64);
