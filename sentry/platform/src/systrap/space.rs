//! One guest address space: mapping operations turned into commands for the helper.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use abi::Errno;
use parking_lot::Mutex;
use stub::layout::{FD_MEMORY, FD_SOCKET, FD_TRANSIENT, GUEST_END};

use super::command::Command;
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
        let mut batch = Batch { stub: &self.stub, receive: self.receive, commands, files, open: None };
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
    files: Vec<BorrowedFd<'a>>,
    /// The file that the stub has open by then: several mappings of one in a row need it sent once.
    open: Option<RawFd>,
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
                self.make_room(3)?;
                if self.open != Some(file.as_raw_fd()) {
                    self.open(file);
                }
                self.commands.push(map(FD_TRANSIENT, from));
                Ok(())
            }
        }
    }

    /// Has the stub receive a file as its only one. Carried out even after a failure, as is the closing, so that no
    /// descriptor is left for a later batch.
    fn open(&mut self, file: BorrowedFd<'a>) {
        self.close();
        let receive = [FD_SOCKET as u64, self.receive, libc::MSG_DONTWAIT as u64];
        self.commands.push(Command::call(libc::SYS_recvmsg, receive).always());
        self.files.push(file);
        self.open = Some(file.as_raw_fd());
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.commands.push(Command::call(libc::SYS_close, [FD_TRANSIENT as u64]).always());
        }
    }

    fn push(&mut self, commands: &[Command]) -> Result<(), PlatformError> {
        self.make_room(commands.len())?;
        self.commands.extend_from_slice(commands);
        Ok(())
    }

    /// Makes sure that so many more commands and one more file fit.
    fn make_room(&mut self, commands: usize) -> Result<(), PlatformError> {
        // Two entries stay, to close a file and for the door. Unix sockets hold ten messages by default
        // (`net.unix.max_dgram_qlen`).
        if self.commands.len() + commands + 2 > Stub::batch_size() || self.files.len() == 8 {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PlatformError> {
        if self.commands.is_empty() {
            return Ok(());
        }
        self.close();
        self.commands.push(Command::door());
        let result = self.stub.execute(&self.commands, &self.files);
        self.commands.clear();
        self.files.clear();
        match result {
            Ok(done) => done.map_err(PlatformError::Mapping),
            Err(Gone) => Err(PlatformError::Dead("it ended while its mappings were changed".into())),
        }
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
