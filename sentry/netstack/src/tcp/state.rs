//! Connection states (RFC 9293 section 3.3.2), with Linux's numbers.

/// A TCP state. The numbers are those of `include/net/tcp_states.h`, as in `/proc/net/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are RFC 9293's")]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Closed = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl TcpState {
    /// Whether the three-way handshake is over and the connection is not.
    #[must_use]
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, Self::SynSent | Self::SynReceived | Self::Closed | Self::Listen)
    }

    /// Whether `CurrEstab` counts it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait)
    }
}
