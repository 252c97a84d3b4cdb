//! A terminal's settings in the three forms in which ioctl(2) takes them: `termio` of System V, `termios`, `termios2`;
//! and the lock on settings (`TIOCSLCKTRMIOS`).

use abi::termios::*;
use abi::{Errno, Result, UserAddr};
use kernel::Task;
use kernel::task::Capability;
use zerocopy::IntoBytes;

use super::Terminal;

/// How many control characters `struct termio` has.
const NCC: usize = 8;
/// A lock on nothing.
const UNLOCKED: Termios = Termios {
    c_iflag: 0,
    c_oflag: 0,
    c_cflag: 0,
    c_lflag: 0,
    c_line: 0,
    c_cc: [0; NCCS],
    c_ispeed: 0,
    c_ospeed: 0,
};

/// Carries out a command on settings.
pub(super) fn ioctl(terminal: &Terminal, task: &Task, command: u32, addr: UserAddr) -> Result<u64> {
    let mm = task.mm();
    let present = *terminal.state.lock().discipline.termios();
    // The older form lacks the two speeds at the end.
    let is_long = matches!(command, TCGETS2 | TCSETS2 | TCSETSW2 | TCSETSF2);
    let len = if is_long { size_of::<Termios>() } else { TERMIOS_LEN };
    match command {
        TCGETS | TCGETS2 => mm.write(addr, &present.as_bytes()[..len])?,
        TCGETA => mm.write_object(addr, &to_termio(&present))?,
        TCSETA | TCSETAW | TCSETAF => {
            set(terminal, with_termio(&present, &mm.read_object(addr)?), command == TCSETAF);
        }
        TIOCGLCKTRMIOS => {
            let locked = terminal.state.lock().locked.unwrap_or(UNLOCKED);
            mm.write(addr, &locked.as_bytes()[..TERMIOS_LEN])?;
        }
        TIOCSLCKTRMIOS => {
            if !task.creds().capable(Capability::SysAdmin) {
                return Err(Errno::EPERM);
            }
            let mut locked = UNLOCKED;
            mm.read(addr, &mut locked.as_mut_bytes()[..TERMIOS_LEN])?;
            terminal.state.lock().locked = Some(locked);
        }
        _ => {
            let mut wanted = present;
            mm.read(addr, &mut wanted.as_mut_bytes()[..len])?;
            set(terminal, wanted, matches!(command, TCSETSF | TCSETSF2));
        }
    }
    Ok(0)
}

fn set(terminal: &Terminal, mut wanted: Termios, flushes: bool) {
    let (present, locked) = {
        let state = terminal.state.lock();
        (*state.discipline.termios(), state.locked)
    };
    if let Some(locked) = locked {
        wanted = keep_locked(&present, &wanted, &locked);
    }
    // A pty has no hardware: eight bits, no parity, always receiving.
    wanted.c_cflag = (wanted.c_cflag & !(CSIZE | PARENB)) | CS8 | CREAD;
    terminal.set_termios(wanted, flushes);
}

/// The wanted settings, but for what the lock holds: bits that it has set, whole characters where it is not 0.
fn keep_locked(present: &Termios, wanted: &Termios, locked: &Termios) -> Termios {
    let flags = |present: u32, wanted: u32, locked: u32| (wanted & !locked) | (present & locked);
    let mut kept = *wanted;
    kept.c_iflag = flags(present.c_iflag, wanted.c_iflag, locked.c_iflag);
    kept.c_oflag = flags(present.c_oflag, wanted.c_oflag, locked.c_oflag);
    kept.c_cflag = flags(present.c_cflag, wanted.c_cflag, locked.c_cflag);
    kept.c_lflag = flags(present.c_lflag, wanted.c_lflag, locked.c_lflag);
    if locked.c_line != 0 {
        kept.c_line = present.c_line;
    }
    for (index, _) in locked.c_cc.iter().enumerate().filter(|(_, lock)| **lock != 0) {
        kept.c_cc[index] = present.c_cc[index];
    }
    kept
}

fn to_termio(termios: &Termios) -> Termio {
    let low = |flags: u32| (flags & 0xffff) as u16;
    let mut c_cc = [0; NCC];
    c_cc.copy_from_slice(&termios.c_cc[..NCC]);
    Termio {
        c_iflag: low(termios.c_iflag),
        c_oflag: low(termios.c_oflag),
        c_cflag: low(termios.c_cflag),
        c_lflag: low(termios.c_lflag),
        c_line: termios.c_line,
        c_cc,
        pad: 0,
    }
}

/// The old form has only the lower halves of the flags.
fn with_termio(present: &Termios, termio: &Termio) -> Termios {
    let low = |present: u32, new: u16| (present & 0xffff_0000) | u32::from(new);
    let mut termios = *present;
    termios.c_iflag = low(present.c_iflag, termio.c_iflag);
    termios.c_oflag = low(present.c_oflag, termio.c_oflag);
    termios.c_cflag = low(present.c_cflag, termio.c_cflag);
    termios.c_lflag = low(present.c_lflag, termio.c_lflag);
    termios.c_line = termio.c_line;
    termios.c_cc[..NCC].copy_from_slice(&termio.c_cc);
    termios
}

#[cfg(test)]
mod tests {
    use abi::termios::{ECHO, ICANON, Termios};

    use super::{UNLOCKED, keep_locked, to_termio, with_termio};

    #[test]
    fn the_old_form_loses_only_what_it_lacks() {
        let termios = Termios::default();
        let back = with_termio(&termios, &to_termio(&termios));
        assert_eq!((back.c_lflag, back.c_cc, back.c_cflag), (termios.c_lflag, termios.c_cc, termios.c_cflag));
    }

    #[test]
    fn locked_bits_stay() {
        let present = Termios::default();
        let wanted = Termios { c_lflag: 0, ..present };
        let kept = keep_locked(&present, &wanted, &Termios { c_lflag: ECHO, ..UNLOCKED });
        assert_eq!(kept.c_lflag & (ECHO | ICANON), ECHO);
    }
}
