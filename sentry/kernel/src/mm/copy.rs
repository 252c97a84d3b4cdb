//! Copies between guest memory and the sentry, as the guest itself would make them: rights are honoured and shared
//! pages are copied first.
//!
//! Each byte goes through the direct map (or the sentry's view of a host file) with `pages` held for reading, so no
//! page is freed or made copy-on-write in the middle. A fault inside a copy is `EFAULT`.

use abi::{Errno, PAGE_SIZE, Result, UserAddr};
use host::memory::VolatileSlice;
use smallvec::SmallVec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::fault::Access;
use super::host_file::View;
use super::manager::MemoryManager;
use super::pma::{PageSource, Pages, Pma};

/// Most ranges handed to one host call (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// Takes one piece of guest memory; the number is how many bytes came before it.
pub(crate) type Piece<'f> = &'f mut dyn FnMut(VolatileSlice<'_>, usize) -> Result<()>;

impl MemoryManager {
    /// Copies guest memory into `to`.
    ///
    /// # Errors
    /// `EFAULT` unless all of it could be copied.
    pub fn read(&self, addr: UserAddr, to: &mut [u8]) -> Result<()> {
        if self.read_some(addr, to) == to.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Copies guest memory into `to` as far as it can be read; returns the bytes copied.
    pub fn read_some(&self, addr: UserAddr, to: &mut [u8]) -> usize {
        self.access(addr, to.len(), Access::READ, &mut |piece, done| piece.read(&mut to[done..]).map(|_| ()))
    }

    /// Copies `from` to guest memory.
    ///
    /// # Errors
    /// `EFAULT` unless all of it could be copied.
    pub fn write(&self, addr: UserAddr, from: &[u8]) -> Result<()> {
        if self.write_some(addr, from) == from.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Copies `from` to guest memory as far as that can be written; returns the bytes copied.
    pub fn write_some(&self, addr: UserAddr, from: &[u8]) -> usize {
        self.access(addr, from.len(), Access::WRITE, &mut |piece, done| {
            piece.write(&from[done..]).map(|_| ())
        })
    }

    /// As [`Self::read_some`], whatever the mappings' rights: ptrace(2), `/proc/[pid]/mem`.
    pub fn read_forced(&self, addr: UserAddr, to: &mut [u8]) -> usize {
        let access = Access { force: true, ..Access::READ };
        self.access(addr, to.len(), access, &mut |piece, done| piece.read(&mut to[done..]).map(|_| ()))
    }

    /// As [`Self::write_some`], also to private mappings without write access, which get copies of their own.
    pub fn write_forced(&self, addr: UserAddr, from: &[u8]) -> usize {
        let access = Access { force: true, ..Access::WRITE };
        self.access(addr, from.len(), access, &mut |piece, done| piece.write(&from[done..]).map(|_| ()))
    }

    /// Copies `len` bytes of `from`, from `skip` on, to guest memory; returns how many it could.
    pub(super) fn copy_in_from(
        &self,
        addr: UserAddr,
        from: &VolatileSlice<'_>,
        skip: usize,
        len: usize,
    ) -> usize {
        self.access(addr, len, Access::WRITE, &mut |piece, done| {
            from.sub(skip + done, piece.len())?.copy_to(&piece).map(|_| ())
        })
    }

    /// Copies guest memory over `len` bytes of `to`, from `skip` on; returns how many it could.
    pub(super) fn copy_out_to(
        &self,
        addr: UserAddr,
        to: &VolatileSlice<'_>,
        skip: usize,
        len: usize,
    ) -> usize {
        self.access(addr, len, Access::READ, &mut |piece, done| {
            piece.copy_to(&to.sub(skip + done, piece.len())?).map(|_| ())
        })
    }

    /// Fills guest memory with zeros as far as it can be written; returns the bytes.
    pub fn zero_some(&self, addr: UserAddr, len: usize) -> usize {
        self.access(addr, len, Access::WRITE, &mut |piece, _| piece.zero())
    }

    /// Reads a structure.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read_object<T: FromBytes + IntoBytes>(&self, addr: UserAddr) -> Result<T> {
        let mut value = T::new_zeroed();
        self.read(addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Reads a structure that has grown since its first version, of `smallest` bytes, and may be older or newer than
    /// ours: what it lacks is zero, and what we do not know must be (`copy_struct_from_user`).
    ///
    /// # Errors
    /// `EINVAL` where `size` is below `smallest`; `E2BIG` where it is over a page, or there is more than we know;
    /// `EFAULT`.
    pub fn read_extensible<T>(&self, addr: UserAddr, size: u64, smallest: usize) -> Result<T>
    where
        T: FromBytes + IntoBytes,
    {
        if size > PAGE_SIZE {
            return Err(Errno::E2BIG);
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| Errno::E2BIG)?];
        if bytes.len() < smallest {
            return Err(Errno::EINVAL);
        }
        let known = bytes.len().min(size_of::<T>());
        let (known, unknown) = bytes.split_at_mut(known);
        self.check_zero(addr.checked_add(known.len() as u64).ok_or(Errno::EFAULT)?, unknown)?;
        self.read(addr, known)?;
        let mut value = T::new_zeroed();
        value.as_mut_bytes()[..known.len()].copy_from_slice(known);
        Ok(value)
    }

    /// Reads into `bytes` what must be zero, word by word: what is not is told before what cannot be read behind it.
    fn check_zero(&self, addr: UserAddr, bytes: &mut [u8]) -> Result<()> {
        let mut at = addr;
        for word in bytes.chunks_mut(size_of::<u64>()) {
            self.read(at, word)?;
            if word.iter().any(|&byte| byte != 0) {
                return Err(Errno::E2BIG);
            }
            at = at.checked_add(word.len() as u64).ok_or(Errno::EFAULT)?;
        }
        Ok(())
    }

    /// Writes a structure.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn write_object<T: IntoBytes + Immutable>(&self, addr: UserAddr, value: &T) -> Result<()> {
        self.write(addr, value.as_bytes())
    }

    /// Reads a NUL-terminated string of at most `max` bytes with its NUL, which is not returned.
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` where no NUL comes in time.
    pub fn read_cstring(&self, addr: UserAddr, max: usize) -> Result<Vec<u8>> {
        let mut string = Vec::new();
        let mut at = addr;
        let mut chunk = [0; 256];
        while string.len() < max {
            let page_left = (PAGE_SIZE - at.0 % PAGE_SIZE) as usize;
            let want = chunk.len().min(page_left).min(max - string.len());
            let got = self.read_some(at, &mut chunk[..want]);
            if let Some(end) = chunk[..got].iter().position(|&byte| byte == 0) {
                string.extend_from_slice(&chunk[..end]);
                return Ok(string);
            }
            if got < want {
                return Err(Errno::EFAULT);
            }
            string.extend_from_slice(&chunk[..got]);
            at = at.checked_add(got as u64).ok_or(Errno::EFAULT)?;
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Hands the bytes behind `addr..addr + len` to `f` as ranges of the sentry's memory, faulting pages in first.
    /// Stops early at a page that cannot be reached; fails where that is the first.
    ///
    /// The pages are kept while `f` runs, but no lock on them is held: `f` may take the time that a disk takes.
    ///
    /// # Errors
    /// `EFAULT`, or what `f` says.
    pub fn with_slices<T>(
        &self,
        ranges: &[(UserAddr, usize)],
        access: Access,
        f: &mut dyn FnMut(&[VolatileSlice<'_>]) -> Result<T>,
    ) -> Result<T> {
        if ranges.is_empty() {
            return f(&[]);
        }
        // Not ahead of a fork(2) that waits. Nothing nests: `f` moves bytes between the pages and a file or a host
        // descriptor, and reaches no guest memory of its own.
        let _no_fork = self.io.read();
        let pins = self.pin(ranges, access);
        if pins.list.is_empty() {
            return Err(Errno::EFAULT);
        }
        f(&pins.slices()?)
    }

    /// Keeps the pages of ranges, as far as they can be reached one after the other.
    fn pin(&self, ranges: &[(UserAddr, usize)], access: Access) -> Pins<'_> {
        let mut pins = Pins { mm: self, list: SmallVec::new() };
        for &(addr, len) in ranges {
            if self.pin_range(&mut pins, addr, len, access) < len {
                break;
            }
        }
        pins
    }

    /// As [`Self::pin`], one range; returns how many bytes of it could be reached.
    fn pin_range<'a>(&'a self, pins: &mut Pins<'a>, addr: UserAddr, len: usize, access: Access) -> usize {
        let mut done = 0;
        while done < len && pins.list.len() < MAX_SLICES {
            let at = addr.0.wrapping_add(done as u64);
            if self.outside(at) {
                break;
            }
            let pages = self.pages.read();
            if let Some(pin) = self.pin_one(&pages, at, len - done, access) {
                done += pin.len();
                pins.list.push(pin);
                continue;
            }
            drop(pages);
            if self.fault_in(at, access).is_err() {
                break;
            }
        }
        done
    }

    fn pin_one(&self, pages: &Pages, at: u64, want: usize, access: Access) -> Option<Pin> {
        let (range, pma) = pages.map.get(at)?;
        if !allows(pma, access) {
            return None;
        }
        let len = want.min((range.end - at) as usize);
        match &pma.source {
            PageSource::Memory(base) => {
                let offset = base + (at - range.start);
                let first = abi::page_floor(offset);
                let last = abi::page_ceil(offset + len as u64)?;
                self.memory.retain(first, last - first);
                Some(Pin::Frames { offset, len })
            }
            PageSource::Host(file, base) => {
                file.view(base + (at - range.start), len, access).ok().map(Pin::View)
            }
        }
    }

    pub(super) fn outside(&self, at: u64) -> bool {
        !self.bounds.contains(&at)
    }

    /// Calls `each` with the bytes of a range piece by piece, with pages brought in as needed. Returns how many bytes
    /// could be reached before the first that could not, or for which `each` failed.
    pub(super) fn access(&self, addr: UserAddr, len: usize, access: Access, each: Piece<'_>) -> usize {
        let mut done = 0;
        while done < len {
            let at = addr.0.wrapping_add(done as u64);
            if self.outside(at) {
                break;
            }
            let pages = self.pages.read();
            match self.piece(&pages, at, len - done, access, done, each) {
                Some(Ok(count)) => done += count,
                Some(Err(_)) => break,
                None => {
                    drop(pages);
                    if self.fault_in(at, access).is_err() {
                        break;
                    }
                }
            }
        }
        done
    }

    /// One piece for `each`, with `done` bytes before it; `None` where a fault must be resolved first.
    pub(super) fn piece(
        &self,
        pages: &Pages,
        at: u64,
        want: usize,
        access: Access,
        done: usize,
        each: Piece<'_>,
    ) -> Option<Result<usize>> {
        let (range, pma) = pages.map.get(at)?;
        if !allows(pma, access) {
            return None;
        }
        let len = want.min((range.end - at) as usize);
        Some(match &pma.source {
            PageSource::Memory(base) => self
                .memory
                .slice(base + (at - range.start), len)
                .and_then(|slice| each(slice, done).map(|()| len)),
            PageSource::Host(file, base) => file
                .view(base + (at - range.start), len, access)
                .and_then(|view| each(view.slice()?, done).map(|()| view.len())),
        })
    }
}

/// Whether a copy may use the page as it is.
fn allows(pma: &Pma, access: Access) -> bool {
    if access.write {
        // A debugger may write to pages that are nobody else's, never to a file through a read-only mapping.
        !pma.cow && (pma.prot.write || (access.force && pma.anon))
    } else {
        pma.is_readable() || access.force
    }
}

/// Something that keeps bytes reachable.
enum Pin {
    Frames { offset: u64, len: usize },
    View(View),
}

impl Pin {
    fn len(&self) -> usize {
        match self {
            Self::Frames { len, .. } => *len,
            Self::View(view) => view.len(),
        }
    }
}

struct Pins<'a> {
    mm: &'a MemoryManager,
    list: SmallVec<[Pin; 4]>,
}

impl Pins<'_> {
    fn slices(&self) -> Result<SmallVec<[VolatileSlice<'_>; 4]>> {
        self.list
            .iter()
            .map(|pin| match pin {
                Pin::Frames { offset, len } => self.mm.memory.slice(*offset, *len),
                Pin::View(view) => view.slice(),
            })
            .collect()
    }
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        for pin in &self.list {
            if let Pin::Frames { offset, len } = pin {
                let first = abi::page_floor(*offset);
                let last = abi::page_ceil(offset + *len as u64).unwrap_or(first);
                self.mm.memory.release(first, last - first);
            }
        }
    }
}
