//! The event mask of poll(2) and epoll(7).

use bitflags::bitflags;

bitflags! {
    /// Events, with the values of `POLL*` and `EPOLL*` (`asm-generic/poll.h`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Events: u32 {
        /// Data to read, a connection to accept.
        const IN = 0x001;
        /// Urgent data.
        const PRI = 0x002;
        /// Room to write.
        const OUT = 0x004;
        /// An error is pending. Always reported.
        const ERR = 0x008;
        /// The peer hung up. Always reported.
        const HUP = 0x010;
        /// Not an open descriptor.
        const NVAL = 0x020;
        /// Same as IN, for normal data.
        const RDNORM = 0x040;
        /// Priority band data.
        const RDBAND = 0x080;
        /// Same as OUT, for normal data.
        const WRNORM = 0x100;
        /// Room for priority band data.
        const WRBAND = 0x200;
        /// The peer shut down its writing side.
        const RDHUP = 0x2000;
        /// What a reader of a stream waits for.
        const READABLE = Self::IN.bits() | Self::RDNORM.bits();
        /// What a writer of a stream waits for.
        const WRITABLE = Self::OUT.bits() | Self::WRNORM.bits();
        /// Reported whether asked for or not.
        const ALWAYS = Self::ERR.bits() | Self::HUP.bits();
    }
}
