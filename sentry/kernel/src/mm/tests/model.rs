//! Random sequences of memory calls in a family of processes, against arrays of bytes.

use std::sync::Arc;

use abi::UserAddr;
use platform::Protection;
use proptest::prelude::*;

use super::{NONE, PAGE, R, RW, TestFile};
use crate::mm::{DiscardFlags, MmapArgs, MmapFlags, ProtectRange, RemapFlags};
use crate::testing::{FakeGuest, FakePlatform};

const BASE: u64 = 0x5000_0000_0000;
const PAGES: usize = 40;
const FILE_PAGES: usize = 24;

/// One page as a guest should see it: its first byte stands for all.
#[derive(Clone)]
struct Page {
    prot: Protection,
    content: Content,
}

#[derive(Clone)]
enum Content {
    /// Own; the second value is what it becomes when discarded.
    Own(u8, u8),
    /// A page of a shared object.
    Shared(usize, usize),
}

#[derive(Clone, Debug)]
enum Op {
    Anon { at: usize, len: usize, prot: u8 },
    SharedAnon { at: usize, len: usize },
    File { at: usize, len: usize, offset: usize, prot: u8, shared: bool },
    Unmap { at: usize, len: usize },
    Protect { at: usize, len: usize, prot: u8 },
    Move { from: usize, len: usize, new_len: usize, to: usize },
    Discard { at: usize, len: usize },
    Fork,
    Exit,
    Store { at: usize, value: u8, by_sentry: bool },
    Check,
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let at = || 0..PAGES;
    let len = || 1..20usize;
    let prot = || 0..3u8;
    let op = prop_oneof![
        3 => (at(), len(), prot()).prop_map(|(at, len, prot)| Op::Anon { at, len, prot }),
        1 => (at(), len()).prop_map(|(at, len)| Op::SharedAnon { at, len }),
        2 => (at(), len(), 0..FILE_PAGES, prot(), any::<bool>())
            .prop_map(|(at, len, offset, prot, shared)| Op::File { at, len, offset, prot, shared }),
        2 => (at(), len()).prop_map(|(at, len)| Op::Unmap { at, len }),
        3 => (at(), len(), prot()).prop_map(|(at, len, prot)| Op::Protect { at, len, prot }),
        2 => (at(), len(), len(), at()).prop_map(|(from, len, new_len, to)| Op::Move { from, len, new_len, to }),
        1 => (at(), len()).prop_map(|(at, len)| Op::Discard { at, len }),
        2 => Just(Op::Fork),
        1 => Just(Op::Exit),
        12 => (at(), any::<u8>(), any::<bool>()).prop_map(|(at, value, by_sentry)| Op::Store { at, value, by_sentry }),
        2 => Just(Op::Check),
    ];
    (0..4usize, op)
}

fn rights(index: u8) -> Protection {
    [NONE, R, RW][usize::from(index)]
}

struct Process {
    guest: FakeGuest,
    pages: Vec<Option<Page>>,
}

struct World {
    platform: Arc<FakePlatform>,
    processes: Vec<Process>,
    /// Shared objects, a byte a page. The first is the shared file.
    objects: Vec<Vec<u8>>,
    shared_file: Arc<TestFile>,
    private_file: Arc<TestFile>,
}

fn addr(page: usize) -> u64 {
    BASE + page as u64 * PAGE
}

fn file_byte(page: usize) -> u8 {
    200 + page as u8
}

impl World {
    fn new() -> Self {
        let (platform, _) = FakePlatform::new(1 << 30);
        let bytes: Vec<u8> = (0..FILE_PAGES).flat_map(|page| [file_byte(page); PAGE as usize]).collect();
        let process = Process { guest: platform.guest(), pages: vec![None; PAGES] };
        Self {
            platform,
            processes: vec![process],
            objects: vec![(0..FILE_PAGES).map(file_byte).collect()],
            shared_file: TestFile::new(&bytes),
            private_file: TestFile::new(&bytes),
        }
    }

    fn run(&mut self, who: usize, op: Op) {
        let who = who % self.processes.len();
        match op {
            Op::Fork if self.processes.len() < 4 => {
                let parent = &self.processes[who];
                let guest = self.platform.enter(parent.guest.mm.fork().unwrap());
                self.processes.push(Process { guest, pages: parent.pages.clone() });
            }
            Op::Exit if self.processes.len() > 1 => drop(self.processes.remove(who)),
            Op::Fork | Op::Exit => {}
            Op::Check => self.check(),
            Op::Store { at, value, by_sentry } => self.store(who, at, value, by_sentry),
            op => self.change(who, op),
        }
    }

    fn map(&mut self, who: usize, at: usize, len: usize, args: MmapArgs, page: impl Fn(usize) -> Page) {
        let end = (at + len).min(PAGES);
        let process = &mut self.processes[who];
        let args = MmapArgs { addr: UserAddr(addr(at)), len: (end - at) as u64 * PAGE, ..args };
        assert_eq!(process.guest.mm.mmap(args), Ok(UserAddr(addr(at))));
        for (index, slot) in process.pages[at..end].iter_mut().enumerate() {
            *slot = Some(page(index));
        }
    }

    fn change(&mut self, who: usize, op: Op) {
        let fixed = |flags| MmapArgs::anonymous(UserAddr::NULL, 0, MmapFlags::FIXED | flags);
        match op {
            Op::Anon { at, len, prot } => {
                let prot = rights(prot);
                let args = MmapArgs { prot, ..fixed(MmapFlags::empty()) };
                self.map(who, at, len, args, |_| Page { prot, content: Content::Own(0, 0) });
            }
            Op::SharedAnon { at, len } => {
                self.objects.push(vec![0; PAGES]);
                let object = self.objects.len() - 1;
                let page = |index| Page { prot: RW, content: Content::Shared(object, index) };
                self.map(who, at, len, fixed(MmapFlags::SHARED), page);
            }
            Op::File { at, len, offset, prot, shared } => {
                let (prot, len) = (rights(prot), len.min(FILE_PAGES - offset));
                let (file, flags) = if shared {
                    (self.shared_file.clone(), MmapFlags::SHARED)
                } else {
                    (self.private_file.clone(), MmapFlags::empty())
                };
                let args = MmapArgs { prot, mappable: Some((file, offset as u64 * PAGE)), ..fixed(flags) };
                self.map(who, at, len, args, |index| {
                    let byte = file_byte(offset + index);
                    let content =
                        if shared { Content::Shared(0, offset + index) } else { Content::Own(byte, byte) };
                    Page { prot, content }
                });
            }
            op => self.adjust(&op, who),
        }
    }

    fn adjust(&mut self, op: &Op, who: usize) {
        let process = &mut self.processes[who];
        match *op {
            Op::Unmap { at, len } => {
                let end = (at + len).min(PAGES);
                process.guest.mm.munmap(UserAddr(addr(at)), (end - at) as u64 * PAGE).unwrap();
                process.pages[at..end].fill(None);
            }
            Op::Protect { at, len, prot } => {
                let (end, prot) = ((at + len).min(PAGES), rights(prot));
                let whole = process.pages[at..end].iter().all(Option::is_some);
                let size = (end - at) as u64 * PAGE;
                let result = process.guest.mm.mprotect(UserAddr(addr(at)), size, prot, ProtectRange::Exact);
                assert_eq!(result.is_ok(), whole);
                for page in process.pages[at..end].iter_mut().map_while(Option::as_mut) {
                    page.prot = prot;
                }
            }
            Op::Discard { at, len } => {
                let end = (at + len).min(PAGES);
                let whole = process.pages[at..end].iter().all(Option::is_some);
                assert_eq!(
                    process.guest.mm.discard(addr(at)..addr(end), DiscardFlags::empty()).is_ok(),
                    whole
                );
                for page in process.pages[at..end].iter_mut().flatten() {
                    if let Content::Own(byte, original) = &mut page.content {
                        *byte = *original;
                    }
                }
            }
            Op::Move { from, len, new_len, to } => process.relocate(from, len, new_len, to),
            _ => {}
        }
    }

    fn store(&mut self, who: usize, at: usize, value: u8, by_sentry: bool) {
        let process = &mut self.processes[who];
        let stored = if by_sentry {
            process.guest.mm.write(UserAddr(addr(at)), &[value]).is_ok()
        } else {
            process.guest.store(addr(at), &[value]).is_ok()
        };
        let page = process.pages[at].as_mut().filter(|page| page.prot.write);
        assert_eq!(stored, page.is_some(), "store to page {at}");
        match page.map(|page| &mut page.content) {
            Some(Content::Own(byte, _)) => *byte = value,
            Some(Content::Shared(object, index)) => self.objects[*object][*index] = value,
            None => {}
        }
    }

    fn check(&self) {
        for process in &self.processes {
            for (at, page) in process.pages.iter().enumerate() {
                let expected = page.as_ref().filter(|page| page.prot.read).map(|page| match page.content {
                    Content::Own(byte, _) => byte,
                    Content::Shared(object, index) => self.objects[object][index],
                });
                assert_eq!(process.guest.peek(addr(at)).ok(), expected, "page {at} as the guest sees it");
                let mut byte = [0];
                let read = process.guest.mm.read(UserAddr(addr(at)), &mut byte).ok().map(|()| byte[0]);
                assert_eq!(read, expected, "page {at} as the sentry sees it");
            }
        }
    }
}

impl Process {
    fn relocate(&mut self, from: usize, len: usize, new_len: usize, to: usize) {
        let (end, new_end) = ((from + len).min(PAGES), (to + new_len).min(PAGES));
        let (len, new_len) = (end - from, new_end - to);
        let flags = RemapFlags::MAYMOVE | RemapFlags::FIXED;
        let size = |pages: usize| pages as u64 * PAGE;
        let result =
            self.guest.mm.mremap(UserAddr(addr(from)), size(len), size(new_len), flags, UserAddr(addr(to)));
        if result.is_err() {
            // Whether it can be depends on where mappings end, which the model does not know; but then nothing moved.
            return;
        }
        let kept: Vec<Option<Page>> = self.pages[from..end].to_vec();
        self.pages[from..end].fill(None);
        self.pages[to..new_end].fill(None);
        for (index, page) in kept.iter().take(new_len).enumerate() {
            self.pages[to + index] = page.clone();
        }
        if new_len <= len {
            return;
        }
        let last = kept.last().cloned().flatten().expect("the mapping that grew");
        for index in len..new_len {
            let content = match &last.content {
                Content::Shared(object, at) => Content::Shared(*object, at + 1 + index - len),
                Content::Own(_, 0) => Content::Own(0, 0),
                Content::Own(_, byte) => {
                    let byte = byte.saturating_add((1 + index - len) as u8);
                    Content::Own(byte, byte)
                }
            };
            self.pages[to + index] = Some(Page { prot: last.prot, content });
        }
        // What grew beyond the end of its object is a bus error: not modelled.
        let beyond = |page: &Page| match page.content {
            Content::Shared(object, at) => at >= if object == 0 { FILE_PAGES } else { 0 },
            Content::Own(_, byte) => byte != 0 && usize::from(byte) >= 200 + FILE_PAGES,
        };
        for index in len..new_len {
            if self.pages[to + index].as_ref().is_some_and(beyond) {
                let at = UserAddr(addr(to + index));
                self.guest.mm.munmap(at, PAGE).unwrap();
                self.pages[to + index] = None;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn address_spaces_behave_like_arrays(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        let memory = world.processes[0].guest.mm.memory().clone();
        for (who, op) in ops {
            world.run(who, op);
        }
        world.check();
        drop(world);
        prop_assert_eq!(memory.allocated(), 0, "every frame was given back");
    }
}
