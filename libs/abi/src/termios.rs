//! Terminals (`asm-generic/termbits.h`, `asm-generic/ioctls.h`; `man 3 termios`, `man 2 ioctl_tty`).
#![allow(missing_docs, reason = "Linux's names")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Control characters in a termios.
pub const NCCS: usize = 19;

/// The kernel's `struct termios2`; its first 36 bytes are the kernel's `struct termios`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termios {
    pub c_iflag: u32,
    pub c_oflag: u32,
    pub c_cflag: u32,
    pub c_lflag: u32,
    pub c_line: u8,
    pub c_cc: [u8; NCCS],
    pub c_ispeed: u32,
    pub c_ospeed: u32,
}

/// `struct termio`, System V's form of the settings.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termio {
    pub c_iflag: u16,
    pub c_oflag: u16,
    pub c_cflag: u16,
    pub c_lflag: u16,
    pub c_line: u8,
    pub c_cc: [u8; 8],
    pub pad: u8,
}

/// Bytes of the kernel's `struct termios` (`TCGETS`).
pub const TERMIOS_LEN: usize = 36;

impl Default for Termios {
    /// A fresh terminal: Linux's `tty_std_termios`.
    fn default() -> Self {
        let mut c_cc = [0; NCCS];
        c_cc[..17].copy_from_slice(&[3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0]);
        Self {
            c_iflag: ICRNL | IXON,
            c_oflag: OPOST | ONLCR,
            c_cflag: B38400 | CS8 | CREAD,
            c_lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
            c_line: 0,
            c_cc,
            c_ispeed: 38400,
            c_ospeed: 38400,
        }
    }
}

/// `struct winsize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WinSize {
    pub ws_row: u16,
    pub ws_col: u16,
    pub ws_xpixel: u16,
    pub ws_ypixel: u16,
}

macro_rules! constants {
    ($($ty:ty: $($name:ident = $value:expr),* $(,)?;)*) => { $($(pub const $name: $ty = $value;)*)* };
}

constants! {
    // Indices in c_cc.
    usize: VINTR = 0, VQUIT = 1, VERASE = 2, VKILL = 3, VEOF = 4, VTIME = 5, VMIN = 6, VSWTC = 7, VSTART = 8,
        VSTOP = 9, VSUSP = 10, VEOL = 11, VREPRINT = 12, VDISCARD = 13, VWERASE = 14, VLNEXT = 15, VEOL2 = 16;
    // c_iflag.
    u32: IGNBRK = 1, BRKINT = 2, IGNPAR = 4, PARMRK = 0o10, INPCK = 0o20, ISTRIP = 0o40, INLCR = 0o100,
        IGNCR = 0o200, ICRNL = 0o400, IUCLC = 0o1000, IXON = 0o2000, IXANY = 0o4000, IXOFF = 0o10000,
        IMAXBEL = 0o20000, IUTF8 = 0o40000;
    // c_oflag.
    u32: OPOST = 1, OLCUC = 2, ONLCR = 4, OCRNL = 0o10, ONOCR = 0o20, ONLRET = 0o40, TABDLY = 0o14000,
        XTABS = 0o14000;
    // c_cflag.
    u32: CBAUD = 0o10017, B0 = 0, B38400 = 0o17, CSIZE = 0o60, CS8 = 0o60, CREAD = 0o200, PARENB = 0o400;
    // c_lflag.
    u32: ISIG = 1, ICANON = 2, ECHO = 0o10, ECHOE = 0o20, ECHOK = 0o40, ECHONL = 0o100, NOFLSH = 0o200,
        TOSTOP = 0o400, ECHOCTL = 0o1000, ECHOPRT = 0o2000, ECHOKE = 0o4000, FLUSHO = 0o10000,
        PENDIN = 0o40000, IEXTEN = 0o100000, EXTPROC = 0o200000;
    // ioctl commands.
    u32: TCGETS = 0x5401, TCSETS = 0x5402, TCSETSW = 0x5403, TCSETSF = 0x5404, TCGETA = 0x5405,
        TCSETA = 0x5406, TCSETAW = 0x5407, TCSETAF = 0x5408, TIOCGLCKTRMIOS = 0x5456, TIOCSLCKTRMIOS = 0x5457, TCSBRK = 0x5409,
        TCXONC = 0x540a, TCFLSH = 0x540b, TIOCEXCL = 0x540c, TIOCNXCL = 0x540d, TIOCSCTTY = 0x540e,
        TIOCGPGRP = 0x540f, TIOCSPGRP = 0x5410, TIOCOUTQ = 0x5411, TIOCSTI = 0x5412, TIOCGWINSZ = 0x5413,
        TIOCSWINSZ = 0x5414, TIOCMGET = 0x5415, TIOCGSOFTCAR = 0x5419, TIOCSSOFTCAR = 0x541a, FIONREAD = 0x541b,
        TIOCLINUX = 0x541c, TIOCCONS = 0x541d, TIOCPKT = 0x5420, FIONBIO = 0x5421, TIOCNOTTY = 0x5422,
        TIOCSETD = 0x5423, TIOCGETD = 0x5424, TCSBRKP = 0x5425, TIOCSBRK = 0x5427, TIOCCBRK = 0x5428,
        TIOCGSID = 0x5429, TCGETS2 = 0x802c_542a, TCSETS2 = 0x402c_542b, TCSETSW2 = 0x402c_542c,
        TCSETSF2 = 0x402c_542d, TIOCGPTN = 0x8004_5430, TIOCSPTLCK = 0x4004_5431, TIOCGDEV = 0x8004_5432,
        TIOCSIG = 0x4004_5436, TIOCVHANGUP = 0x5437, TIOCGPKT = 0x8004_5438, TIOCGPTLCK = 0x8004_5439,
        TIOCGEXCL = 0x8004_5440, TIOCGPTPEER = 0x5441;
    // Packet mode's status byte.
    u8: TIOCPKT_FLUSHREAD = 1, TIOCPKT_FLUSHWRITE = 2, TIOCPKT_STOP = 4, TIOCPKT_START = 8, TIOCPKT_NOSTOP = 16,
        TIOCPKT_DOSTOP = 32, TIOCPKT_IOCTL = 64;
    // Arguments of TCFLSH and TCXONC.
    u64: TCIFLUSH = 0, TCOFLUSH = 1, TCIOFLUSH = 2, TCOOFF = 0, TCOON = 1, TCIOFF = 2, TCION = 3;
}
