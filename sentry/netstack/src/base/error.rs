//! What can go wrong, one variant for each Linux error number that a socket call can give.

use std::fmt;

macro_rules! errors {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// An error of a socket or configuration call. Maps one to one to a Linux error number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Error {
            $(#[doc = $text] $name = $number,)*
        }

        impl Error {
            /// The Linux error number (positive).
            #[must_use]
            pub const fn errno(self) -> i32 {
                self as i32
            }

            /// What the number means, in words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

errors! {
    NotPermitted = 1, "EPERM: operation not permitted";
    NoEntry = 2, "ENOENT: no such protocol or object";
    Again = 11, "EAGAIN: nothing to do without waiting";
    NoMemory = 12, "ENOMEM: out of memory";
    Access = 13, "EACCES: permission denied";
    Fault = 14, "EFAULT: bad address";
    Busy = 16, "EBUSY: in use";
    Exists = 17, "EEXIST: exists already";
    NoDevice = 19, "ENODEV: no such device";
    Invalid = 22, "EINVAL: invalid argument";
    Pipe = 32, "EPIPE: the connection's writing side is shut";
    OutOfDomain = 33, "EDOM: argument out of domain";
    OutOfRange = 34, "ERANGE: result out of range";
    Loop = 40, "ELOOP: it would lead back to itself";
    NoLink = 67, "ENOLINK: the link is severed";
    Protocol = 71, "EPROTO: protocol error";
    DestAddrRequired = 89, "EDESTADDRREQ: destination address required";
    MessageSize = 90, "EMSGSIZE: message too long";
    NoProtocolOption = 92, "ENOPROTOOPT: protocol not available";
    ProtocolNotSupported = 93, "EPROTONOSUPPORT: protocol not supported";
    NotSupported = 95, "EOPNOTSUPP: operation not supported";
    FamilyNotSupported = 97, "EAFNOSUPPORT: address family not supported";
    AddrInUse = 98, "EADDRINUSE: address in use";
    AddrNotAvailable = 99, "EADDRNOTAVAIL: cannot assign requested address";
    NetDown = 100, "ENETDOWN: network is down";
    NetUnreachable = 101, "ENETUNREACH: network is unreachable";
    ConnAborted = 103, "ECONNABORTED: connection aborted";
    ConnReset = 104, "ECONNRESET: connection reset by peer";
    NoBuffers = 105, "ENOBUFS: no buffer space available";
    IsConnected = 106, "EISCONN: connected already";
    NotConnected = 107, "ENOTCONN: not connected";
    TimedOut = 110, "ETIMEDOUT: connection timed out";
    ConnRefused = 111, "ECONNREFUSED: connection refused";
    HostDown = 112, "EHOSTDOWN: host is down";
    HostUnreachable = 113, "EHOSTUNREACH: no route to host";
    Already = 114, "EALREADY: operation already in progress";
    InProgress = 115, "EINPROGRESS: operation now in progress";
}

/// What calls into the stack return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}
