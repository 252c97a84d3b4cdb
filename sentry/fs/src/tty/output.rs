//! Output processing: what happens to bytes on their way to the screen (`OPOST`; `n_tty.c` of Linux, `man 3 termios`).

use abi::termios::{OCRNL, OLCUC, ONLCR, ONLRET, ONOCR, OPOST, TABDLY, Termios, XTABS};

/// Where the cursor is, as far as that can be known from the bytes sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Column {
    /// The cursor's column.
    pub(super) now: u32,
    /// The column where the line being edited began.
    pub(super) line_start: u32,
}

/// Whether `byte` is the second or a later byte of a UTF-8 sequence.
pub(super) fn is_continuation(byte: u8, is_utf8: bool) -> bool {
    is_utf8 && byte & 0xc0 == 0x80
}

/// Whether `byte` is a control character in Latin-1, as Linux's `iscntrl` has it.
pub(super) fn is_control(byte: u8) -> bool {
    byte < 0x20 || (0x7f..0xa0).contains(&byte)
}

impl Column {
    fn start_of_line(&mut self) {
        *self = Self::default();
    }

    /// Sends one byte as the output flags say.
    pub(super) fn put(&mut self, termios: &Termios, byte: u8, out: &mut Vec<u8>) {
        let has = |flag| termios.c_oflag & flag != 0;
        if !has(OPOST) {
            out.push(byte);
            return;
        }
        match byte {
            b'\n' => {
                if has(ONLRET) || has(ONLCR) {
                    self.start_of_line();
                } else {
                    self.line_start = self.now;
                }
                out.extend_from_slice(if has(ONLCR) { b"\r\n" } else { b"\n" });
            }
            b'\r' if has(ONOCR) && self.now == 0 => {}
            b'\r' if has(OCRNL) => {
                if has(ONLRET) {
                    self.start_of_line();
                }
                out.push(b'\n');
            }
            b'\r' => {
                self.start_of_line();
                out.push(b'\r');
            }
            b'\t' => {
                let spaces = 8 - (self.now & 7);
                self.now = self.now.saturating_add(spaces);
                if termios.c_oflag & TABDLY == XTABS {
                    out.extend(std::iter::repeat_n(b' ', spaces as usize));
                } else {
                    out.push(b'\t');
                }
            }
            b'\x08' => {
                self.now = self.now.saturating_sub(1);
                out.push(byte);
            }
            _ => {
                let byte = if has(OLCUC) { byte.to_ascii_uppercase() } else { byte };
                let is_utf8 = termios.c_iflag & abi::termios::IUTF8 != 0;
                if !is_control(byte) && !is_continuation(byte, is_utf8) {
                    self.now = self.now.saturating_add(1);
                }
                out.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use abi::termios::{OCRNL, ONLCR, OPOST, Termios, XTABS};

    use super::Column;

    fn send(oflag: u32, bytes: &[u8]) -> Vec<u8> {
        let termios = Termios { c_oflag: oflag, ..Termios::default() };
        let (mut column, mut out) = (Column::default(), Vec::new());
        for &byte in bytes {
            column.put(&termios, byte, &mut out);
        }
        out
    }

    #[test]
    fn a_line_without_end() {
        let termios = Termios { c_oflag: OPOST, ..Termios::default() };
        let mut column = Column { now: u32::MAX - 1, ..Column::default() };
        for byte in *b"\t\ta" {
            column.put(&termios, byte, &mut Vec::new());
        }
        assert_eq!(column.now, u32::MAX);
    }

    #[test]
    fn output_flags() {
        assert_eq!(send(0, b"a\n\t"), b"a\n\t");
        assert_eq!(send(OPOST | ONLCR, b"a\nb"), b"a\r\nb");
        assert_eq!(send(OPOST | XTABS, b"ab\tc"), b"ab      c");
        assert_eq!(send(OPOST | OCRNL, b"a\r"), b"a\n");
    }
}
