//! Tests of the line discipline.

use abi::Signal;
use abi::termios::{
    ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, ECHOPRT, ICANON, ICRNL, IEXTEN, ISIG, IUTF8, IXON, NOFLSH, Termios,
    VEOL,
};
use proptest::prelude::*;

use super::line_discipline::{Effect, LineDiscipline, Reaction};

fn with(change: impl FnOnce(&mut Termios)) -> LineDiscipline {
    let mut discipline = LineDiscipline::default();
    let mut termios = *discipline.termios();
    change(&mut termios);
    discipline.set_termios(termios);
    discipline
}

fn raw() -> LineDiscipline {
    with(|t| {
        t.c_iflag = 0;
        t.c_lflag = 0;
    })
}

fn type_in(discipline: &mut LineDiscipline, bytes: &[u8]) -> Reaction {
    let mut reaction = Reaction::default();
    assert_eq!(discipline.receive(bytes, &mut reaction), bytes.len());
    reaction
}

fn echo_of(discipline: &mut LineDiscipline, bytes: &[u8]) -> String {
    String::from_utf8_lossy(&type_in(discipline, bytes).echo).into_owned()
}

#[test]
fn a_line_is_readable_when_it_is_complete() {
    let mut discipline = LineDiscipline::default();
    assert_eq!(echo_of(&mut discipline, b"hello"), "hello");
    assert_eq!(discipline.readable(), 0);
    assert_eq!(echo_of(&mut discipline, b"\r"), "\r\n");
    assert_eq!(discipline.read(3), b"hel");
    assert_eq!(discipline.read(100), b"lo\n");
    assert_eq!(discipline.readable(), 0);
}

#[test]
fn one_read_takes_one_line_and_end_of_file_is_an_empty_one() {
    let mut discipline = LineDiscipline::default();
    type_in(&mut discipline, b"a\nb\x04\x04c\n");
    assert_eq!(discipline.read(100), b"a\n");
    assert_eq!(discipline.read(100), b"b");
    assert_eq!(discipline.readable(), 3);
    assert_eq!(discipline.read(100), b"");
    assert_eq!(discipline.read(100), b"c\n");
}

#[test]
fn a_read_that_ends_at_end_of_file_swallows_it() {
    let mut discipline = LineDiscipline::default();
    type_in(&mut discipline, b"ab\x04");
    assert_eq!(discipline.read(2), b"ab");
    assert_eq!(discipline.readable(), 0);
}

#[test]
fn erase_word_erase_and_kill_edit_the_line_and_the_screen() {
    let mut discipline = LineDiscipline::default();
    assert_eq!(echo_of(&mut discipline, b"ab\x7f"), "ab\x08 \x08");
    assert_eq!(echo_of(&mut discipline, b"\x01\x7f"), "^A\x08 \x08\x08 \x08");
    type_in(&mut discipline, b" two words  \x17!\n");
    assert_eq!(discipline.read(100), b"a two !\n");
    assert_eq!(echo_of(&mut discipline, b"xyz\x15"), "xyz\x08 \x08\x08 \x08\x08 \x08");
    type_in(&mut discipline, b"q\n");
    assert_eq!(discipline.read(100), b"q\n");
}

#[test]
fn erasing_a_tab_moves_back_to_what_precedes_it() {
    let mut discipline = LineDiscipline::default();
    assert_eq!(echo_of(&mut discipline, b"ab\t\x7f"), "ab\t\x08\x08\x08\x08\x08\x08");
    let mut out = Vec::new();
    discipline.process_output(b"\n$ ", &mut out);
    let mut discipline2 = LineDiscipline::default();
    discipline2.process_output(b"$ ", &mut out);
    assert_eq!(echo_of(&mut discipline2, b"a\t\x7f"), "a\t\x08\x08\x08\x08\x08");
}

#[test]
fn utf8_characters_are_erased_whole() {
    let mut discipline = with(|t| t.c_iflag |= IUTF8);
    assert_eq!(echo_of(&mut discipline, "é\x7f".as_bytes()), "é\x08 \x08");
    type_in(&mut discipline, b"\n");
    assert_eq!(discipline.read(10), b"\n");
}

#[test]
fn other_ways_to_show_erasure() {
    let mut discipline = with(|t| t.c_lflag = (t.c_lflag & !(ECHOKE | ECHOCTL)) | ECHOPRT | ECHOE);
    assert_eq!(echo_of(&mut discipline, b"abc\x7f\x7fd"), "abc\\cb/d");
    let mut discipline = with(|t| t.c_lflag &= !(ECHOKE | ECHOPRT));
    assert_eq!(echo_of(&mut discipline, b"abc\x15"), "abc^U\r\n");
    let mut discipline = with(|t| t.c_lflag &= !(ECHOE | ECHOK));
    assert_eq!(echo_of(&mut discipline, b"a\x7f"), "a^?");
}

#[test]
fn signals_flush_unless_told_not_to() {
    let mut discipline = LineDiscipline::default();
    let reaction = type_in(&mut discipline, b"abc\x03");
    assert_eq!(reaction.effects[0], Effect::Signal(Signal::INT));
    assert!(reaction.effects.contains(&Effect::FlushOutput));
    assert_eq!(reaction.echo, b"^C");
    type_in(&mut discipline, b"d\n");
    assert_eq!(discipline.read(10), b"d\n");

    let mut discipline = with(|t| t.c_lflag |= NOFLSH);
    let reaction = type_in(&mut discipline, b"a\x1c\x1ab\n");
    assert_eq!(reaction.effects, [Effect::Signal(Signal::QUIT), Effect::Signal(Signal::TSTP)]);
    assert_eq!(discipline.read(10), b"ab\n");

    let mut discipline = with(|t| t.c_lflag &= !ISIG);
    assert!(type_in(&mut discipline, b"\x03").effects.is_empty());
}

#[test]
fn the_literal_next_character_has_no_meaning() {
    let mut discipline = LineDiscipline::default();
    assert_eq!(echo_of(&mut discipline, b"\x16\x03"), "^\x08^C");
    type_in(&mut discipline, b"\x16\x04\x16\n\n");
    assert_eq!(discipline.read(10), b"\x03\x04\n\n");
}

#[test]
fn reprint_and_more_line_ends() {
    let mut discipline = with(|t| t.c_cc[VEOL] = b';');
    assert_eq!(echo_of(&mut discipline, b"ab\x12"), "ab^R\r\nab");
    type_in(&mut discipline, b";c");
    assert_eq!(discipline.read(10), b"ab;");
}

#[test]
fn flow_control_stops_and_starts() {
    let mut discipline = LineDiscipline::default();
    assert_eq!(type_in(&mut discipline, b"\x13\x13").effects, [Effect::Stopped]);
    assert!(discipline.is_stopped());
    assert_eq!(type_in(&mut discipline, b"\x11").effects, [Effect::Started]);
    type_in(&mut discipline, b"\x13");
    let mut termios = *discipline.termios();
    termios.c_iflag &= !IXON;
    assert!(discipline.set_termios(termios));
    assert!(!discipline.is_stopped());
}

#[test]
fn an_overlong_line_loses_its_end_but_can_be_finished() {
    let mut discipline = LineDiscipline::default();
    let mut reaction = Reaction::default();
    assert_eq!(discipline.receive(&[b'x'; 6000], &mut reaction), 6000);
    type_in(&mut discipline, b"\n");
    let line = discipline.read(10_000);
    assert_eq!((line.len(), line.last()), (4096, Some(&b'\n')));
}

#[test]
fn raw_input_stops_at_a_full_queue() {
    let mut discipline = raw();
    let taken = discipline.receive(&[b'x'; 6000], &mut Reaction::default());
    assert_eq!(taken, 4095);
    assert!(!discipline.has_room());
    assert_eq!(discipline.read(10_000).len(), 4095);
}

#[test]
fn switching_to_canonical_mode_makes_unread_input_a_line() {
    let mut discipline = raw();
    type_in(&mut discipline, b"abc");
    discipline.set_termios(Termios::default());
    assert_eq!(discipline.readable(), 3);
    assert_eq!(discipline.read(10), b"abc");
}

proptest! {
    /// How bytes are cut into writes makes no difference.
    #[test]
    fn chunking_is_invisible(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200, lflag: u16,
                             iflag: u16) {
        let make = || with(|t| {
            t.c_lflag = (u32::from(lflag) | ICANON) & !NOFLSH | NOFLSH;
            t.c_iflag = u32::from(iflag);
        });
        let (mut whole, mut parts) = (make(), make());
        let once = type_in(&mut whole, &bytes);
        let cut = cut.min(bytes.len());
        let (mut first, second) = (type_in(&mut parts, &bytes[..cut]), type_in(&mut parts, &bytes[cut..]));
        first.echo.extend(second.echo);
        first.effects.extend(second.effects);
        prop_assert_eq!(once.echo, first.echo);
        prop_assert_eq!(once.effects, first.effects);
        prop_assert_eq!(whole.readable(), parts.readable());
        while whole.readable() > 0 {
            prop_assert_eq!(whole.read(17), parts.read(17));
        }
    }

    /// Raw mode passes bytes through.
    #[test]
    fn raw_mode_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let mut discipline = raw();
        let reaction = type_in(&mut discipline, &bytes);
        prop_assert!(reaction.echo.is_empty() && reaction.effects.is_empty());
        prop_assert_eq!(discipline.read(10_000), bytes);
    }

    /// Editing agrees with a naive model of a line, and what is on the screen is what was typed.
    #[test]
    fn editing_agrees_with_a_model(keys in prop::collection::vec(
        prop_oneof![8 => prop::char::range('a', 'z'), 2 => Just(' '), 3 => Just('\x7f'), 1 => Just('\x17'),
                    1 => Just('\x15')], 0..60)) {
        let mut discipline = with(|t| t.c_lflag = ICANON | ECHO | ECHOE | ECHOK | ECHOKE | ECHOCTL | IEXTEN);
        let mut line = String::new();
        for key in &keys {
            match key {
                '\x7f' => { line.pop(); }
                '\x15' => line.clear(),
                '\x17' => {
                    line.truncate(line.trim_end_matches(' ').len());
                    line.truncate(line.rfind(' ').map_or(0, |at| at + 1));
                }
                _ => line.push(*key),
            }
        }
        let typed: String = keys.iter().collect();
        let mut screen: Vec<char> = Vec::new();
        let mut cursor = 0;
        for shown in echo_of(&mut discipline, typed.as_bytes()).chars() {
            if shown == '\x08' {
                cursor -= 1;
            } else {
                screen.truncate(cursor);
                screen.push(shown);
                cursor += 1;
            }
        }
        screen.truncate(cursor);
        prop_assert_eq!(screen.into_iter().collect::<String>(), line.clone());
        type_in(&mut discipline, b"\n");
        prop_assert_eq!(discipline.read(1000), format!("{line}\n").into_bytes());
    }

    /// Nothing that is typed or set makes it fail.
    #[test]
    fn any_settings_survive_any_input(steps in prop::collection::vec((any::<u32>(), any::<u32>(),
        prop::collection::vec(any::<u8>(), 0..300), 0usize..5000), 0..20)) {
        let mut discipline = LineDiscipline::default();
        for (iflag, lflag, bytes, max) in steps {
            let mut termios = *discipline.termios();
            (termios.c_iflag, termios.c_lflag) = (iflag & !ICRNL, lflag);
            discipline.set_termios(termios);
            let mut reaction = Reaction::default();
            let taken = discipline.receive(&bytes, &mut reaction);
            prop_assert!(taken == bytes.len() || !discipline.has_room());
            let before = discipline.readable();
            let got = discipline.read(max);
            prop_assert!(got.len() <= before.min(max));
            prop_assert!(discipline.input_len() <= discipline.readable());
        }
    }
}
