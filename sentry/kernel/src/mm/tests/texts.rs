//! Texts with their call sites rewritten, shared by who executes them.

use std::sync::Arc;

use abi::{Regs, UserAddr};
use platform::Protection;

use super::{PAGE, TestFile, map_file};
use crate::mm::shared_text::{Place, SharedText};
use crate::mm::{MemoryFile, MmapFlags, ProtectRange, SharedTexts};
use crate::testing::{FakeGuest, FakePlatform};

const RX: Protection = Protection { read: true, write: false, execute: true };
/// mov $39, %eax; syscall; ret
const CALL: [u8; 8] = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3];
/// What of the file is executed.
const PLACE: Place = Place { offset: 0, len: 2 * PAGE, below: PAGE };
/// Where the file has it.
const SITE: u64 = PAGE + 64;

fn file(constant: bool) -> Arc<TestFile> {
    let mut code = vec![0x90; 2 * PAGE as usize];
    code[SITE as usize..][..CALL.len()].copy_from_slice(&CALL);
    if constant { TestFile::constant(&code) } else { TestFile::new(&code) }
}

fn started(texts: &SharedTexts, memory: &Arc<MemoryFile>, file: &TestFile) -> Option<Arc<SharedText>> {
    texts.of(memory, file, PLACE)
}

/// Starts it often enough.
fn often(texts: &SharedTexts, memory: &Arc<MemoryFile>, file: &TestFile) -> Arc<SharedText> {
    (0..100).find_map(|_| started(texts, memory, file)).unwrap()
}

/// As a program's loader does.
fn show(guest: &FakeGuest, file: &Arc<TestFile>, text: &Arc<SharedText>) -> u64 {
    let at = map_file(guest, file, 2 * PAGE, RX, MmapFlags::empty());
    guest.mm.show_text(text.clone(), at).unwrap();
    at
}

fn code(guest: &FakeGuest, at: u64) -> [u8; 8] {
    std::array::from_fn(|i| guest.peek(at + SITE + i as u64).unwrap())
}

#[test]
fn a_program_that_is_started_often_is_shown_with_its_sites_rewritten() {
    let (platform, memory) = FakePlatform::new(1 << 30);
    let (texts, file) = (SharedTexts::default(), file(true));
    assert!((0..7).all(|_| started(&texts, &memory, &file).is_none()));
    let text = started(&texts, &memory, &file).unwrap();
    let guest = platform.guest();
    let at = show(&guest, &file, &text);
    let site = code(&guest, at);
    let distance = i32::from_le_bytes(site[1..5].try_into().unwrap());
    assert_eq!((site[0], &site[5..]), (0xe9, &CALL[5..]), "who jumps to the call finds it");
    let thunk = (at + SITE + 5).wrapping_add_signed(distance.into());
    assert_eq!(thunk, at - PAGE);
    let thunk_code: Vec<u8> = (0..5).map(|i| guest.peek(thunk + i).unwrap()).collect();
    assert_eq!(thunk_code, CALL[..5]);
    assert_eq!(guest.mm.call_site_at(thunk), Some(at + SITE));
    assert_eq!(guest.mm.call_site_at(thunk + 5), Some(at + SITE + 5));
    assert_eq!(guest.mm.return_of_call_at(thunk + 5), Some(at + SITE + 7));
    let regs = Regs { rip: at + SITE + 7, orig_rax: 39, ..Regs::default() };
    assert_eq!(guest.mm.rewrite_call_site(&regs, true), Ok(()), "it is already");
    assert_eq!(code(&guest, at), site);
}

#[test]
fn what_one_process_does_to_a_shared_text_is_not_seen_by_others() {
    let (platform, memory) = FakePlatform::new(1 << 30);
    let before = memory.allocated();
    {
        let (texts, file) = (SharedTexts::default(), file(true));
        let text = often(&texts, &memory, &file);
        let (traced, other) = (platform.guest(), platform.guest());
        let (at, there) = (show(&traced, &file, &text), show(&other, &file, &text));
        let rewritten = code(&other, there);
        let child = platform.enter(traced.mm.fork().unwrap());
        let used = memory.allocated();
        traced.mm.restore_call_sites();
        assert_eq!(code(&traced, at), CALL);
        assert_eq!(memory.allocated(), used, "it is the file, and no copy");
        assert_eq!(code(&child, at), rewritten);
        child.mm.munmap(UserAddr(at - PAGE), PAGE).unwrap();
        assert_eq!(code(&child, at), CALL, "its thunks are gone");
        assert_eq!(code(&other, there), rewritten);
        let later = platform.guest();
        let at = show(&later, &file, &text);
        assert_eq!(code(&later, at), rewritten);
    }
    assert_eq!(memory.allocated(), before);
}

#[test]
fn files_that_may_change_and_places_without_room_are_left_alone() {
    let (platform, memory) = FakePlatform::new(1 << 30);
    let texts = SharedTexts::default();
    let changing = file(false);
    assert!((0..20).all(|_| started(&texts, &memory, &changing).is_none()));
    let file = file(true);
    let text = often(&texts, &memory, &file);
    let guest = platform.guest();
    let at = map_file(&guest, &file, 2 * PAGE, RX, MmapFlags::empty());
    let below = super::MmapArgs::anonymous(UserAddr(at - PAGE), PAGE, MmapFlags::FIXED);
    guest.mm.mmap(below).unwrap();
    guest.mm.show_text(text, at).unwrap();
    assert_eq!(code(&guest, at), CALL);
    let nothing = TestFile::constant(&[0x90; 2 * PAGE as usize]);
    assert!((0..20).all(|_| started(&texts, &memory, &nothing).is_none()));
}

#[test]
fn a_text_is_shown_only_for_the_piece_and_the_bytes_that_it_was_made_of() {
    let (_platform, memory) = FakePlatform::new(1 << 30);
    let (texts, file) = (SharedTexts::default(), file(true));
    often(&texts, &memory, &file);
    for place in [Place { len: PAGE, ..PLACE }, Place { below: 2 * PAGE, ..PLACE }] {
        assert!(texts.of(&memory, &*file, place).is_none(), "headers that say something else");
    }
    assert!(started(&texts, &memory, &file).is_some());
    std::os::unix::fs::FileExt::write_all_at(&file.file(), b"new", 0).unwrap();
    file.file().set_len(2 * PAGE - 1).unwrap();
    assert!(started(&texts, &memory, &file).is_none(), "the host has changed it");
}

#[test]
fn what_the_processor_always_says_is_answered_by_the_text_and_asked_again_once_somebody_looks() {
    let (platform, memory) = FakePlatform::new(1 << 30);
    // mov $0x80000000, %eax; cpuid; ret
    let question = [0xb8, 0, 0, 0, 0x80, 0x0f, 0xa2, 0xc3];
    let mut bytes = vec![0x90; 2 * PAGE as usize];
    bytes[SITE as usize..][..question.len()].copy_from_slice(&question);
    let file = TestFile::constant(&bytes);
    let text = often(&SharedTexts::default(), &memory, &file);
    let guest = platform.guest();
    let at = show(&guest, &file, &text);
    assert_eq!((code(&guest, at)[0], &code(&guest, at)[5..]), (0xe9, &question[5..]));
    let thunk: Vec<u8> = (0..20).map(|i| guest.peek(at - PAGE + i).unwrap()).collect();
    let [eax, ebx, ecx, edx] = host::cpu::cpuid(0x8000_0000, 0);
    let loads = [(0xb8, eax), (0xb9, ecx), (0xba, edx), (0xbb, ebx)];
    let loads: Vec<u8> =
        loads.iter().flat_map(|(op, value)| [&[*op][..], &value.to_le_bytes()].concat()).collect();
    assert_eq!(thunk, loads);
    assert_eq!(guest.mm.call_site_at(at - PAGE + 10), Some(at + SITE));
    assert_eq!(guest.mm.return_of_call_at(at - PAGE + 10), None);
    guest.mm.restore_call_sites();
    assert_eq!(code(&guest, at), question);
}

#[test]
fn a_text_that_a_process_has_written_to_loses_its_sites_and_keeps_the_rest() {
    let (platform, memory) = FakePlatform::new(1 << 30);
    let file = file(true);
    let text = often(&SharedTexts::default(), &memory, &file);
    let guest = platform.guest();
    let at = show(&guest, &file, &text);
    guest.mm.mprotect(UserAddr(at), 2 * PAGE, Protection { write: true, ..RX }, ProtectRange::Exact).unwrap();
    guest.store(at + SITE - 1, b"!").unwrap();
    guest.mm.restore_call_sites();
    assert_eq!(code(&guest, at), CALL);
    assert_eq!(guest.peek(at + SITE - 1), Ok(b'!'));
}
