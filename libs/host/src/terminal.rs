//! Terminals of the host (`man 4 tty_ioctl`, `man 3 termios`, `man 7 pty`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use abi::Result;

use crate::check;

/// A window's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Whether `fd` is a terminal.
#[must_use]
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    attributes(fd).is_ok()
}

fn attributes(fd: BorrowedFd<'_>) -> Result<libc::termios> {
    // SAFETY: all zeros is a valid `termios`.
    let mut termios: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `termios` has room for what the call writes.
    check(i64::from(unsafe { libc::tcgetattr(fd.as_raw_fd(), &raw mut termios) }))?;
    Ok(termios)
}

/// A terminal's attributes as they were, put back on drop.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: libc::termios,
}

impl RawMode {
    /// Puts the terminal in raw mode: every byte passes as it is. Background processes that try are not stopped.
    ///
    /// # Errors
    /// `ENOTTY` where it is no terminal.
    pub fn enter(terminal: BorrowedFd<'_>) -> Result<Self> {
        let before = attributes(terminal)?;
        set_raw(terminal)?;
        let terminal = terminal.try_clone_to_owned().map_err(|_| abi::Errno::EMFILE)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        set_attributes(self.terminal.as_fd(), &self.before).ok();
    }
}

/// Puts a terminal in raw mode for good.
///
/// # Errors
/// `ENOTTY` where it is no terminal.
pub fn set_raw(terminal: BorrowedFd<'_>) -> Result<()> {
    let mut raw = attributes(terminal)?;
    // SAFETY: changes the fields of a valid `termios`.
    unsafe { libc::cfmakeraw(&raw mut raw) };
    set_attributes(terminal, &raw)
}

/// Sets attributes with SIGTTOU blocked, so that a background process is not stopped by it.
fn set_attributes(terminal: BorrowedFd<'_>, termios: &libc::termios) -> Result<()> {
    // SAFETY: all zeros is a valid set for `sigemptyset` to fill; all pointers are to live values.
    unsafe {
        let (mut block, mut before): (libc::sigset_t, libc::sigset_t) =
            (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&raw mut block);
        libc::sigaddset(&raw mut block, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const block, &raw mut before);
        let done = check(i64::from(libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, termios)));
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        done.map(|_| ())
    }
}

/// The window's size.
///
/// # Errors
/// `ENOTTY` where it is no terminal.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<WindowSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` has room for what the call writes.
    check(i64::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }))?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the window's size.
///
/// # Errors
/// `ENOTTY` where it is no terminal.
pub fn set_window_size(terminal: BorrowedFd<'_>, size: WindowSize) -> Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is a whole `winsize`.
    check(i64::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }))
        .map(|_| ())
}

/// A new pseudo-terminal of this mount name space's `/dev/pts`: (controlling side, terminal side).
///
/// # Errors
/// What `open(2)` and the `ioctl`s say.
pub fn open_pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: a plain system call with a C string.
    let master = check(i64::from(unsafe { libc::open(c"/dev/ptmx".as_ptr(), flags) }))?;
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    let master = unsafe { OwnedFd::from_raw_fd(master as i32) };
    let unlock: libc::c_int = 0;
    // SAFETY: the request reads one int.
    check(i64::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) }))?;
    // SAFETY: the request takes open flags by value and makes a descriptor.
    let slave = check(i64::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }))?;
    // SAFETY: as above.
    Ok((master, unsafe { OwnedFd::from_raw_fd(slave as i32) }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::{RawMode, WindowSize, is_terminal, open_pair, set_window_size, window_size};

    #[test]
    fn a_pair_has_a_size_and_modes() {
        let (master, slave) = open_pair().unwrap();
        assert!(is_terminal(slave.as_fd()));
        let size = WindowSize { rows: 50, columns: 132 };
        set_window_size(master.as_fd(), size).unwrap();
        assert_eq!(window_size(slave.as_fd()), Ok(size));
        let cooked = super::attributes(slave.as_fd()).unwrap().c_lflag;
        let raw = RawMode::enter(slave.as_fd()).unwrap();
        assert_eq!(super::attributes(slave.as_fd()).unwrap().c_lflag & libc::ICANON, 0);
        drop(raw);
        assert_eq!(super::attributes(slave.as_fd()).unwrap().c_lflag, cooked);
        assert!(!is_terminal(std::fs::File::open("/dev/null").unwrap().as_fd()));
    }
}
