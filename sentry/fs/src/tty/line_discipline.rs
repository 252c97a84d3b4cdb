//! The line discipline N_TTY: what a terminal does with typed bytes before a program reads them. Pure: bytes in, bytes
//! and [`Effect`]s out. Follows `man 3 termios` and Linux's `n_tty.c`.
//!
//! Input is a queue of bytes. In canonical mode its front part is complete lines, its end the line being edited, which
//! `complete` separates; in raw mode all of it is readable.

use std::collections::VecDeque;

use abi::Signal;
use abi::termios::{
    ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, ECHONL, ECHOPRT, EXTPROC, ICANON, ICRNL, IEXTEN, IGNCR, INLCR, ISIG,
    ISTRIP, IUCLC, IUTF8, IXANY, IXON, NOFLSH, PARMRK, Termios, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL,
    VLNEXT, VMIN, VQUIT, VREPRINT, VSTART, VSTOP, VSUSP, VTIME, VWERASE,
};

use super::output::{Column, is_continuation, is_control};

/// Bytes that the input queue holds (`N_TTY_BUF_SIZE`).
const INPUT_SIZE: usize = 4096;

/// Why a byte ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// It does not.
    None,
    /// It does, and is read.
    End,
    /// It does, and is not read: end of file.
    Eof,
}

/// What input makes happen beside echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The foreground process group gets this signal.
    Signal(Signal),
    /// Output that has not been sent yet is dropped (a signal without `NOFLSH`).
    FlushOutput,
    /// Input that has not been read was dropped.
    FlushedInput,
    /// Output was stopped (Ctrl-S).
    Stopped,
    /// Output goes on (Ctrl-Q).
    Started,
}

/// What came out of [`LineDiscipline::receive`].
#[derive(Debug, Default)]
pub struct Reaction {
    /// Echo, processed for output.
    pub echo: Vec<u8>,
    /// Everything else, in order.
    pub effects: Vec<Effect>,
}

/// The state of a terminal's line discipline.
#[derive(Debug, Default)]
pub struct LineDiscipline {
    termios: Termios,
    queue: VecDeque<(u8, Mark)>,
    /// Bytes of `queue` that belong to complete lines.
    complete: usize,
    column: Column,
    /// The next byte is taken literally (after `VLNEXT`).
    is_literal_next: bool,
    /// Between the `\` and the `/` of `ECHOPRT`.
    is_erasing: bool,
    /// Output is stopped by `VSTOP`.
    is_stopped: bool,
}

impl LineDiscipline {
    /// The settings.
    #[must_use]
    pub fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Changes the settings. Unread input stays, and is one line when canonical mode begins. Returns whether output that
    /// had been stopped goes on.
    pub fn set_termios(&mut self, termios: Termios) -> bool {
        let changed = self.termios.c_lflag ^ termios.c_lflag;
        self.termios = termios;
        if changed & (ICANON | EXTPROC) != 0 {
            self.queue.iter_mut().for_each(|cell| cell.1 = Mark::None);
            self.complete = 0;
            if self.local(ICANON)
                && let Some(last) = self.queue.back_mut()
            {
                last.1 = Mark::End;
                self.complete = self.queue.len();
            }
            self.is_erasing = false;
            self.is_literal_next = false;
        }
        let resumes = self.is_stopped && !self.input(IXON);
        self.is_stopped &= !resumes;
        resumes
    }

    fn input(&self, flag: u32) -> bool {
        self.termios.c_iflag & flag != 0
    }

    fn local(&self, flag: u32) -> bool {
        self.termios.c_lflag & flag != 0
    }

    /// Whether `byte` is the control character at `index`; a zero there disables it.
    fn is_char(&self, byte: u8, index: usize) -> bool {
        byte != 0 && self.termios.c_cc[index] == byte
    }

    /// Whether output is stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Stops or starts output (`TCXONC`); returns whether that is a change.
    pub fn set_stopped(&mut self, stopped: bool) -> bool {
        std::mem::replace(&mut self.is_stopped, stopped) != stopped
    }

    /// Whether canonical mode is on.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        self.local(ICANON)
    }

    /// `VMIN` and `VTIME` (in tenths of a second), which matter outside canonical mode.
    #[must_use]
    pub fn min_time(&self) -> (usize, u8) {
        (usize::from(self.termios.c_cc[VMIN]), self.termios.c_cc[VTIME])
    }

    /// Processes what a program writes; appends what goes to the screen to `out`.
    pub fn process_output(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            self.column.put(&self.termios, byte, out);
        }
    }

    // --- Reading ---

    /// Bytes that a read could return now. In canonical mode all complete lines; an end of file alone counts as one,
    /// so that a reader wakes up for it.
    #[must_use]
    pub fn readable(&self) -> usize {
        if self.local(ICANON) { self.complete } else { self.queue.len() }
    }

    /// Bytes that `FIONREAD` tells: without end-of-file marks.
    #[must_use]
    pub fn input_len(&self) -> usize {
        let readable = self.readable();
        self.queue.iter().take(readable).filter(|cell| cell.1 != Mark::Eof).count()
    }

    /// Takes up to `max` bytes: in canonical mode at most one line, else whatever there is.
    pub fn read(&mut self, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let is_canonical = self.local(ICANON);
        while self.readable() > 0 && (out.len() < max || self.is_at_eof(is_canonical)) {
            let Some((byte, mark)) = self.queue.pop_front() else { break };
            self.complete = self.complete.saturating_sub(1);
            if mark != Mark::Eof || !is_canonical {
                out.push(byte);
            }
            if is_canonical && mark != Mark::None {
                break;
            }
        }
        out
    }

    /// A read that has been filled swallows the end-of-file mark right behind what it took, as Linux does.
    fn is_at_eof(&self, is_canonical: bool) -> bool {
        is_canonical && self.queue.front().is_some_and(|cell| cell.1 == Mark::Eof)
    }

    /// Drops all input.
    pub fn flush_input(&mut self) {
        self.queue.clear();
        self.complete = 0;
        self.is_literal_next = false;
        self.is_erasing = false;
    }

    // --- Receiving ---

    /// Whether the next byte received would be kept.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queue.len() + 1 < INPUT_SIZE || (self.local(ICANON) && self.complete == 0)
    }

    /// Processes typed bytes. Returns how many were taken: fewer than given where the queue is full. A canonical line
    /// that is too long loses what exceeds it, except its end.
    pub fn receive(&mut self, bytes: &[u8], reaction: &mut Reaction) -> usize {
        for (taken, &byte) in bytes.iter().enumerate() {
            if self.queue.len() + 1 >= INPUT_SIZE {
                if !self.has_room() {
                    return taken;
                }
                self.queue.truncate(INPUT_SIZE - 1);
            }
            self.receive_byte(byte, reaction);
        }
        bytes.len()
    }

    fn receive_byte(&mut self, byte: u8, reaction: &mut Reaction) {
        if self.local(EXTPROC) {
            self.push(byte, Mark::None);
            return;
        }
        let mut byte = if self.input(ISTRIP) { byte & 0x7f } else { byte };
        if self.input(IUCLC) && self.local(IEXTEN) {
            byte.make_ascii_lowercase();
        }
        if std::mem::take(&mut self.is_literal_next) {
            self.receive_plain(byte, reaction);
        } else if !self.receive_flow(byte, reaction) && !self.receive_signal(byte, reaction) {
            if self.is_stopped && self.input(IXON) && self.input(IXANY) {
                self.start(reaction);
            }
            match byte {
                b'\r' if self.input(IGNCR) => return,
                b'\r' if self.input(ICRNL) => byte = b'\n',
                b'\n' if self.input(INLCR) => byte = b'\r',
                _ => {}
            }
            if !self.local(ICANON) || !self.receive_editing(byte, reaction) {
                self.receive_plain(byte, reaction);
            }
        }
    }

    fn start(&mut self, reaction: &mut Reaction) {
        if self.set_stopped(false) {
            reaction.effects.push(Effect::Started);
        }
    }

    fn receive_flow(&mut self, byte: u8, reaction: &mut Reaction) -> bool {
        if !self.input(IXON) {
            return false;
        }
        if self.is_char(byte, VSTART) && (self.is_stopped || !self.is_char(byte, VSTOP)) {
            self.start(reaction);
        } else if self.is_char(byte, VSTOP) {
            if self.set_stopped(true) {
                reaction.effects.push(Effect::Stopped);
            }
        } else {
            return false;
        }
        true
    }

    fn receive_signal(&mut self, byte: u8, reaction: &mut Reaction) -> bool {
        if !self.local(ISIG) {
            return false;
        }
        let signal = match byte {
            _ if self.is_char(byte, VINTR) => Signal::INT,
            _ if self.is_char(byte, VQUIT) => Signal::QUIT,
            _ if self.is_char(byte, VSUSP) => Signal::TSTP,
            _ => return false,
        };
        reaction.effects.push(Effect::Signal(signal));
        if !self.local(NOFLSH) {
            reaction.echo.clear();
            self.flush_input();
            reaction.effects.extend([Effect::FlushOutput, Effect::FlushedInput]);
        }
        if self.input(IXON) {
            self.start(reaction);
        }
        if self.local(ECHO) {
            self.echo(byte, reaction);
        }
        true
    }

    /// The editing characters and line ends of canonical mode; says whether `byte` was one.
    fn receive_editing(&mut self, byte: u8, reaction: &mut Reaction) -> bool {
        let is_extended = self.local(IEXTEN);
        if self.is_char(byte, VERASE)
            || self.is_char(byte, VKILL)
            || (is_extended && self.is_char(byte, VWERASE))
        {
            self.erase(byte, reaction);
        } else if is_extended && self.is_char(byte, VLNEXT) {
            self.is_literal_next = true;
            if self.local(ECHO) {
                self.finish_erasing(reaction);
                if self.local(ECHOCTL) {
                    self.echo_raw(b"^\x08", reaction);
                }
            }
        } else if is_extended && self.local(ECHO) && self.is_char(byte, VREPRINT) {
            self.finish_erasing(reaction);
            self.echo(byte, reaction);
            self.echo_raw(b"\n", reaction);
            let line: Vec<u8> = self.queue.range(self.complete..).map(|cell| cell.0).collect();
            line.into_iter().for_each(|byte| self.echo(byte, reaction));
        } else if byte == b'\n' {
            if self.local(ECHO) || self.local(ECHONL) {
                self.finish_erasing(reaction);
                self.echo_raw(b"\n", reaction);
            }
            self.end_line(byte, Mark::End);
        } else if self.is_char(byte, VEOF) {
            self.end_line(0, Mark::Eof);
        } else if self.is_char(byte, VEOL) || (is_extended && self.is_char(byte, VEOL2)) {
            if self.local(ECHO) {
                self.note_line_start();
                self.echo(byte, reaction);
            }
            self.end_line(byte, Mark::End);
        } else {
            return false;
        }
        true
    }

    fn receive_plain(&mut self, byte: u8, reaction: &mut Reaction) {
        if self.local(ECHO) {
            self.finish_erasing(reaction);
            if byte == b'\n' {
                self.echo_raw(b"\n", reaction);
            } else {
                self.note_line_start();
                self.echo(byte, reaction);
            }
        }
        if byte == 0xff && self.input(PARMRK) {
            self.push(byte, Mark::None);
        }
        self.push(byte, Mark::None);
    }

    fn push(&mut self, byte: u8, mark: Mark) {
        self.queue.push_back((byte, mark));
    }

    fn end_line(&mut self, byte: u8, mark: Mark) {
        self.push(byte, mark);
        self.complete = self.queue.len();
        self.is_erasing = false;
    }

    // --- Echo ---

    fn note_line_start(&mut self) {
        if self.complete == self.queue.len() {
            self.column.line_start = self.column.now;
        }
    }

    fn echo_raw(&mut self, bytes: &[u8], reaction: &mut Reaction) {
        for &byte in bytes {
            self.column.put(&self.termios, byte, &mut reaction.echo);
        }
    }

    /// Echoes a byte, control characters as `^X`.
    fn echo(&mut self, byte: u8, reaction: &mut Reaction) {
        if self.local(ECHOCTL) && is_control(byte) && byte != b'\t' && byte < 0x80 {
            self.echo_raw(&[b'^', byte ^ 0x40], reaction);
        } else {
            self.echo_raw(&[byte], reaction);
        }
    }

    fn finish_erasing(&mut self, reaction: &mut Reaction) {
        if std::mem::take(&mut self.is_erasing) {
            self.echo_raw(b"/", reaction);
        }
    }

    // --- Editing ---

    /// Carries out `VERASE`, `VWERASE` or `VKILL`.
    fn erase(&mut self, command: u8, reaction: &mut Reaction) {
        if self.queue.len() == self.complete {
            return;
        }
        let is_erase = self.is_char(command, VERASE);
        let is_word = !is_erase && self.local(IEXTEN) && self.is_char(command, VWERASE);
        if !is_erase && !is_word {
            if !self.local(ECHO) {
                self.queue.truncate(self.complete);
                return;
            }
            if !(self.local(ECHOK) && self.local(ECHOKE) && self.local(ECHOE)) {
                self.queue.truncate(self.complete);
                self.finish_erasing(reaction);
                self.echo(command, reaction);
                if self.local(ECHOK) {
                    self.echo_raw(b"\n", reaction);
                }
                return;
            }
        }
        let mut has_seen_word = false;
        while let Some(start) = self.last_character() {
            let first = self.queue[start].0;
            let is_word_byte = first.is_ascii_alphanumeric() || first == b'_' || first >= 0xc0;
            if is_word && has_seen_word && !is_word_byte {
                break;
            }
            has_seen_word |= is_word_byte;
            let removed: Vec<u8> = self.queue.drain(start..).map(|cell| cell.0).collect();
            if self.local(ECHO) {
                self.echo_erased(&removed, command, is_erase, reaction);
            }
            if is_erase {
                break;
            }
        }
        if self.queue.len() == self.complete && self.local(ECHO) {
            self.finish_erasing(reaction);
        }
    }

    /// Where the last character of the line being edited begins.
    fn last_character(&self) -> Option<usize> {
        let is_utf8 = self.input(IUTF8);
        let mut at = self.queue.len();
        while at > self.complete {
            at -= 1;
            if !is_continuation(self.queue[at].0, is_utf8) {
                return Some(at);
            }
        }
        None
    }

    fn echo_erased(&mut self, removed: &[u8], command: u8, is_erase: bool, reaction: &mut Reaction) {
        let Some(&first) = removed.first() else { return };
        if self.local(ECHOPRT) {
            if !std::mem::replace(&mut self.is_erasing, true) {
                self.echo_raw(b"\\", reaction);
            }
            removed.iter().for_each(|&byte| self.echo(byte, reaction));
        } else if is_erase && !self.local(ECHOE) {
            self.echo(command, reaction);
        } else if first == b'\t' {
            self.echo_erased_tab(reaction);
        } else {
            if is_control(first) && self.local(ECHOCTL) {
                self.echo_raw(b"\x08 \x08", reaction);
            }
            if !is_control(first) || self.local(ECHOCTL) {
                self.echo_raw(b"\x08 \x08", reaction);
            }
        }
    }

    /// Moves the cursor back over a tab: to where what precedes it on the line ends.
    fn echo_erased_tab(&mut self, reaction: &mut Reaction) {
        let is_utf8 = self.input(IUTF8);
        let (mut width, mut is_after_tab) = (0_u32, false);
        for &(byte, _) in self.queue.range(self.complete..).rev() {
            if byte == b'\t' {
                is_after_tab = true;
                break;
            } else if is_control(byte) {
                width += if self.local(ECHOCTL) { 2 } else { 0 };
            } else if !is_continuation(byte, is_utf8) {
                width += 1;
            }
        }
        if !is_after_tab {
            width = width.saturating_add(self.column.line_start);
        }
        let back = 8 - (width & 7);
        self.column.now = self.column.now.saturating_sub(back);
        reaction.echo.extend(std::iter::repeat_n(b'\x08', back as usize));
    }
}
