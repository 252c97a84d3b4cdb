//! Links to the host: packet sockets that the runtime has opened and donated.
//!
//! Frames leave from the thread that sends them. Those that arrive come by a [`Channel`].

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::{Errno, Result};
use host::packet::OffloadHeader;
use netstack::{Device, Mac, Nic, NicConfig, NicKind, Offloads, RxMeta, TxFrame, TxMeta};

use super::channel::Channel;
use super::errno;
use super::namespace::NetNamespace;

/// Stack of a receiving thread: parsing, timers and observers of one packet at a time.
const STACK: usize = 256 << 10;

/// What a link is made from.
#[derive(Debug)]
pub struct LinkSetup {
    /// Its name, `eth0`.
    pub name: String,
    /// Its index, as in the name space that it comes from.
    pub index: u32,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// The largest packet.
    pub mtu: u32,
    /// Packet sockets, each of which receives a share of the flows. Without any the link is there to be seen only: its
    /// traffic is the host's (`--network=host`).
    pub sockets: Vec<OwnedFd>,
    /// The sockets' frames have offload headers.
    pub offload: bool,
    /// IPv6 is spoken on it.
    pub ipv6: bool,
}

/// A packet socket as the stack's device.
struct Link {
    socket: Arc<OwnedFd>,
    offload: bool,
}

impl Device for Link {
    fn transmit(&self, frames: &[TxFrame]) -> usize {
        let send = |frame: &&TxFrame| {
            let header = self.offload.then(|| encode(&frame.meta));
            host::packet::send(self.socket.as_fd(), header.as_ref(), frame.bytes()).is_ok()
        };
        frames.iter().take_while(send).count()
    }

    fn offloads(&self) -> Offloads {
        Offloads { tx_checksum: self.offload, segmentation: self.offload }
    }
}

/// The header of a frame to send.
pub(crate) fn encode(meta: &TxMeta) -> OffloadHeader {
    let mut header = OffloadHeader::default();
    if let Some((start, offset)) = meta.checksum {
        header.flags = OffloadHeader::NEEDS_CHECKSUM;
        (header.checksum_start, header.checksum_offset) = (start, offset);
    }
    if meta.gso_size != 0 {
        let kind = if meta.is_v6 { OffloadHeader::GSO_TCP6 } else { OffloadHeader::GSO_TCP4 };
        header.gso_type = kind | if meta.has_ecn { OffloadHeader::GSO_ECN } else { 0 };
        (header.gso_size, header.header_len) = (meta.gso_size, meta.header_len);
    }
    header
}

/// What the header of a received frame says.
pub(crate) fn decode(header: &OffloadHeader) -> RxMeta<'static> {
    // A checksum still to be completed belongs to a frame that never left this host.
    let checked = OffloadHeader::NEEDS_CHECKSUM | OffloadHeader::CHECKSUM_VALID;
    let gso_size = if header.gso_type == 0 { 0 } else { header.gso_size };
    let is_open = header.flags & OffloadHeader::NEEDS_CHECKSUM != 0;
    let checksum = is_open.then_some((header.checksum_start, header.checksum_offset));
    RxMeta { checksum_ok: header.flags & checked != 0, checksum, gso_size, ..RxMeta::default() }
}

impl NetNamespace {
    /// Adds a link, down and without addresses, and starts to receive from it.
    ///
    /// # Errors
    /// `EINVAL` with a bad name, `EEXIST`, `EAGAIN` where the host has no thread to give.
    pub fn add_link(self: &Arc<Self>, setup: LinkSetup) -> Result<Arc<Nic>> {
        let sockets: Vec<Arc<OwnedFd>> = setup.sockets.into_iter().map(Arc::new).collect();
        let device = sockets.first().map(|first| {
            Arc::new(Link { socket: Arc::clone(first), offload: setup.offload }) as Arc<dyn Device>
        });
        let config = NicConfig {
            name: setup.name,
            kind: NicKind::Ethernet,
            mac: Mac(setup.mac),
            mtu: setup.mtu,
            device,
        };
        let nic = self.stack().add_nic_at(setup.index, config).map_err(errno)?;
        nic.set_ipv6(setup.ipv6);
        for socket in sockets {
            let channel = Channel::new(self, Arc::clone(&nic), socket, setup.offload)?;
            std::thread::Builder::new()
                .name(format!("rx-{}", nic.name()))
                .stack_size(STACK)
                .spawn(move || Arc::new(channel).run())
                .map_err(|_| Errno::EAGAIN)?;
        }
        Ok(nic)
    }
}

#[cfg(test)]
mod tests {
    use host::packet::OffloadHeader;
    use netstack::TxMeta;

    use super::{decode, encode};

    #[test]
    fn offload_headers() {
        let meta =
            TxMeta { checksum: Some((34, 16)), gso_size: 1448, header_len: 66, is_v6: false, has_ecn: true };
        let header = encode(&meta);
        assert_eq!((header.flags, header.gso_type, header.gso_size), (1, 0x81, 1448));
        assert_eq!((header.header_len, header.checksum_start, header.checksum_offset), (66, 34, 16));
        assert_eq!(encode(&TxMeta::default()), OffloadHeader::default());
        let received = decode(&header);
        assert_eq!((received.checksum_ok, received.gso_size), (true, 1448));
        assert!(!decode(&OffloadHeader { gso_size: 9, ..OffloadHeader::default() }).checksum_ok);
    }
}
