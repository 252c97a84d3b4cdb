//! What a socket's filter sees of a packet (`SO_ATTACH_FILTER`, `linux/filter.h`).

use bpf::{Ancillary, Base, Data, Program, Size};

/// What a filter looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    /// The packet from where the socket sees it.
    pub data: &'a [u8],
    /// Where in it the network header begins, where it is in there.
    pub network: Option<usize>,
    /// Ethernet type.
    pub protocol: u16,
    /// `PACKET_HOST` and its kin.
    pub kind: u8,
    /// Interface.
    pub interface: u32,
    /// `ARPHRD_*`.
    pub hardware: u16,
}

impl View<'_> {
    /// How many bytes of the packet a socket with this filter wants; 0 for none of it. A load from behind the end
    /// drops the packet.
    #[must_use]
    pub fn kept_by(&self, filter: &Program) -> usize {
        filter.run(self).unwrap_or(0) as usize
    }
}

impl Data for View<'_> {
    fn size(&self) -> u32 {
        self.data.len() as u32
    }

    fn load(&self, base: Base, offset: usize, size: Size) -> Option<u32> {
        let start = match base {
            Base::Start | Base::Link => offset,
            Base::Network => self.network?.checked_add(offset)?,
        };
        let bytes = self.data.get(start..)?;
        match size {
            Size::Word => bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
            Size::Half => bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes).into()),
            Size::Byte => bytes.first().map(|byte| u32::from(*byte)),
        }
    }

    fn ancillary(&self, what: Ancillary) -> u32 {
        match what {
            Ancillary::Protocol => self.protocol.into(),
            Ancillary::Kind => self.kind.into(),
            Ancillary::Interface => self.interface,
            Ancillary::Hardware => self.hardware.into(),
            Ancillary::Nothing => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use abi::filter::{BPF_ABS, BPF_B, BPF_H, BPF_LD, SKF_AD_OFF, SKF_AD_PROTOCOL, SKF_NET_OFF, SockFilter};
    use bpf::{Dialect, Program};

    use super::View;

    /// What a filter that returns one load says.
    fn loads(code: u16, at: i32, view: &View<'_>) -> usize {
        let source = vec![SockFilter::statement(code, at.cast_unsigned()), SockFilter::statement(0x16, 0)];
        view.kept_by(&Program::new(source, Dialect::Socket).unwrap())
    }

    #[test]
    fn by_offset_by_header_and_by_circumstance() {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[23] = 17;
        let view = View { data: &frame, network: Some(14), protocol: 0x800, ..View::default() };
        assert_eq!(loads(BPF_LD | BPF_H | BPF_ABS, 12, &view), 0x800);
        assert_eq!(loads(BPF_LD | BPF_B | BPF_ABS, SKF_NET_OFF + 9, &view), 17);
        assert_eq!(loads(BPF_LD | BPF_H | BPF_ABS, SKF_AD_OFF + SKF_AD_PROTOCOL, &view), 0x800);
        // Behind the end.
        assert_eq!(loads(BPF_LD | BPF_H | BPF_ABS, 59, &view), 0);
        assert_eq!(loads(BPF_LD | BPF_B | BPF_ABS, SKF_NET_OFF + 60, &view), 0);
    }
}
