//! One guest address space: mapping operations turned into commands for the helper.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use abi::Errno;
use parking_lot::Mutex;
use stub::layout::{FD_MEMORY, FD_SOCKET, FD_TRANSIENT, GUEST_END};

use super::command::Command;
use super::constants::MOST_FILES;
use super::context::{Shared, StubContext};
use super::door::Gone;
use super::keeper::Tenancy;
use super::mapped::Mapped;
use super::process::Stub;
use crate::{AddressSpace, Context, MapOp, MapSource, PlatformError, Protection};

/// The lowest address that hosts let anybody map (`vm.mmap_min_addr`).
pub(super) const GUEST_START: u64 = 0x1_0000;

/// An address space in a stub process.
pub(super) struct StubSpace {
    stub: Arc<Tenancy>,
    shared: Shared,
    /// Where constants lie in the stub.
    receive: u64,
    mapped: Mutex<Mapped>,
}

impl StubSpace {
    /// An empty address space in `stub`. `receive` is where the header for receiving a descriptor lies in stubs.
    pub(super) fn new(stub: Stub, shared: Shared, receive: u64) -> Self {
        let stub = Arc::new(Tenancy::new(stub, Arc::clone(&shared.keeper)));
        Self { stub, shared, receive, mapped: Mutex::new(Mapped::default()) }
    }
}

impl AddressSpace for StubSpace {
    fn apply(&self, ops: &[MapOp<'_>]) -> Result<(), PlatformError> {
        for op in ops {
            check_range(op)?;
        }
        let mut mapped = self.mapped.lock();
        let (commands, files) = (Vec::new(), Vec::new());
        let mut batch = Batch { stub: &self.stub, receive: self.receive, commands, files };
        for op in merged(ops) {
            batch.add(&op, &mut mapped)?;
        }
        batch.flush()
    }

    fn new_context(&self, parent: Option<&mut dyn Context>) -> Result<Box<dyn Context>, PlatformError> {
        let layout = &self.shared.layout;
        let image = parent.map_or_else(
            || layout.initial(),
            |parent| {
                let mut image = vec![0; layout.size];
                parent.save_xstate(&mut image);
                layout.sanitize(&image)
            },
        );
        let thread = self.stub.guest_thread()?;
        let context = StubContext::new(Arc::clone(&self.stub), thread, image, &self.shared)
            .map_err(|errno| PlatformError::Resources(format!("new guest thread: {errno}")))?;
        Ok(Box::new(context))
    }
}

/// Commands that go to the helper together.
struct Batch<'a> {
    stub: &'a Stub,
    receive: u64,
    commands: Vec<Command>,
    /// What the stub has open while it carries them out, from `FD_TRANSIENT` on: sent in one message.
    files: Vec<BorrowedFd<'a>>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, op: &MapOp<'a>, mapped: &mut Mapped) -> Result<(), PlatformError> {
        match *op {
            MapOp::Map { addr, len, prot, source, populate } => {
                mapped.insert(addr.0..addr.0 + len);
                self.map(addr.0, len, prot, source, populate)
            }
            MapOp::Unmap { addr, len } => {
                mapped.remove(addr.0..addr.0 + len);
                self.push(&[Command::call(libc::SYS_munmap, [addr.0, len])])
            }
            MapOp::Protect { addr, len, prot } => {
                for part in mapped.within(addr.0..addr.0 + len) {
                    let args = [part.start, part.end - part.start, prot_bits(prot)];
                    self.push(&[Command::call(libc::SYS_mprotect, args)])?;
                }
                Ok(())
            }
        }
    }

    fn map(
        &mut self,
        addr: u64,
        len: u64,
        prot: Protection,
        source: MapSource<'a>,
        populate: bool,
    ) -> Result<(), PlatformError> {
        let fill = if populate { libc::MAP_POPULATE } else { 0 };
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE | fill) as u64;
        let map = |fd: i32, from| {
            Command::call(libc::SYS_mmap, [addr, len, prot_bits(prot), flags, fd as u64, from])
        };
        match source {
            MapSource::Memory(from) => self.push(&[map(FD_MEMORY, from)]),
            MapSource::File(file, from) => {
                self.make_room(1)?;
                let place = self.place_of(file);
                self.commands.push(map(FD_TRANSIENT + place, from));
                Ok(())
            }
        }
    }

    /// Which of the batch's files this one is.
    fn place_of(&mut self, file: BorrowedFd<'a>) -> i32 {
        let known = self.files.iter().position(|other| other.as_raw_fd() == file.as_raw_fd());
        let place = known.unwrap_or_else(|| {
            self.files.push(file);
            self.files.len() - 1
        });
        place as i32
    }

    fn push(&mut self, commands: &[Command]) -> Result<(), PlatformError> {
        self.make_room(commands.len())?;
        self.commands.extend_from_slice(commands);
        Ok(())
    }

    /// Makes sure that so many more commands and one more file fit.
    fn make_room(&mut self, commands: usize) -> Result<(), PlatformError> {
        // Besides, each file is closed, all are received, and the helper comes to the door.
        let others = self.files.len() + 3;
        if self.commands.len() + commands + others > Stub::batch_size() || self.files.len() == MOST_FILES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PlatformError> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let commands = self.with_files();
        let result = self.stub.execute(&commands, &self.files);
        self.commands.clear();
        self.files.clear();
        match result {
            Ok(done) => done.map_err(PlatformError::Mapping),
            Err(Gone) => Err(PlatformError::Dead("it ended while its mappings were changed".into())),
        }
    }

    /// The commands between receiving the files and closing them. Both are carried out even after a failure, so that no
    /// descriptor is left for a later batch.
    fn with_files(&self) -> Vec<Command> {
        let mut all = Vec::with_capacity(self.commands.len() + self.files.len() + 2);
        if !self.files.is_empty() {
            let receive = [FD_SOCKET as u64, self.receive, libc::MSG_DONTWAIT as u64];
            all.push(Command::call(libc::SYS_recvmsg, receive).always());
        }
        all.extend_from_slice(&self.commands);
        let places = 0..self.files.len() as u64;
        all.extend(places.map(|at| Command::call(libc::SYS_close, [FD_TRANSIENT as u64 + at]).always()));
        all.push(Command::door());
        all
    }
}

/// Neighbouring operations of one kind as one.
fn merged<'a>(ops: &[MapOp<'a>]) -> Vec<MapOp<'a>> {
    let mut out: Vec<MapOp<'a>> = Vec::with_capacity(ops.len());
    for op in ops {
        if let Some(last) = out.last_mut()
            && let Some(both) = joined(last, op)
        {
            *last = both;
            continue;
        }
        out.push(*op);
    }
    out
}

fn joined<'a>(a: &MapOp<'a>, b: &MapOp<'a>) -> Option<MapOp<'a>> {
    match (*a, *b) {
        (MapOp::Unmap { addr, len }, MapOp::Unmap { addr: next, len: more }) if addr.0 + len == next.0 => {
            Some(MapOp::Unmap { addr, len: len + more })
        }
        (MapOp::Protect { addr, len, prot }, MapOp::Protect { addr: next, len: more, prot: other })
            if addr.0 + len == next.0 && prot == other =>
        {
            Some(MapOp::Protect { addr, len: len + more, prot })
        }
        (
            MapOp::Map { addr, len, prot, source: MapSource::Memory(from), populate },
            MapOp::Map {
                addr: next,
                len: more,
                prot: other,
                source: MapSource::Memory(then),
                populate: fill,
            },
        ) if addr.0 + len == next.0
            && from.checked_add(len) == Some(then)
            && prot == other
            && populate == fill =>
        {
            let source = MapSource::Memory(from);
            Some(MapOp::Map { addr, len: len + more, prot, source, populate })
        }
        _ => None,
    }
}

/// Refuses whatever could touch the stub's own region.
fn check_range(op: &MapOp<'_>) -> Result<(), PlatformError> {
    let (MapOp::Map { addr, len, .. } | MapOp::Unmap { addr, len } | MapOp::Protect { addr, len, .. }) = *op;
    let end = addr.0.checked_add(len).filter(|end| *end <= GUEST_END);
    let is_aligned = addr.is_page_aligned() && len.is_multiple_of(abi::PAGE_SIZE);
    if end.is_none() || addr.0 < GUEST_START || len == 0 || !is_aligned {
        return Err(PlatformError::Mapping(Errno::EINVAL));
    }
    Ok(())
}

const fn prot_bits(prot: Protection) -> u64 {
    let read = if prot.read { libc::PROT_READ } else { 0 };
    let write = if prot.write { libc::PROT_WRITE } else { 0 };
    let execute = if prot.execute { libc::PROT_EXEC } else { 0 };
    (read | write | execute) as u64
}
