//! Classic BPF: a socket's own filter (`SO_ATTACH_FILTER`, McCanne and Jacobson 1993, `linux/filter.h`).
//!
//! A program comes from a guest. [`Filter::new`] checks what Linux checks: known instructions, jumps that only go
//! forward and stay inside, no division by a constant zero, scratch memory that exists, a return at the end. So a run
//! ends after as many steps as there are instructions.

use super::error::{Error, Result};

/// The longest program (`BPF_MAXINSNS`).
const MAX_LEN: usize = 4096;
/// Words of scratch memory (`BPF_MEMWORDS`).
const MEMORY: usize = 16;
/// Loads behind this offset tell of the packet's circumstances (`SKF_AD_OFF`).
const ANCILLARY: i64 = -0x1000;
/// Loads behind this offset count from the network header (`SKF_NET_OFF`).
const NETWORK: i64 = -0x10_0000;
/// Loads behind this offset count from the link header (`SKF_LL_OFF`).
const LINK: i64 = -0x20_0000;

/// One instruction: `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How far it jumps where its condition holds.
    pub jt: u8,
    /// How far where it does not.
    pub jf: u8,
    /// Its constant.
    pub k: u32,
}

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

/// A checked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Box<[Instruction]>);

/// Operand sizes of loads.
#[derive(Clone, Copy)]
enum Size {
    Word,
    Half,
    Byte,
}

impl Filter {
    /// Checks a program.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(program: Vec<Instruction>) -> Result<Self> {
        if program.is_empty() || program.len() > MAX_LEN {
            return Err(Error::Invalid);
        }
        for (at, instruction) in program.iter().enumerate() {
            check(instruction, program.len() - at - 1)?;
        }
        // `BPF_RET` of a constant or of the accumulator.
        if !matches!(program.last().map(|last| last.code), Some(0x06 | 0x16)) {
            return Err(Error::Invalid);
        }
        Ok(Self(program.into()))
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &[Instruction] {
        &self.0
    }

    /// How many bytes of the packet the socket wants; 0 for none of it.
    #[must_use]
    pub fn run(&self, view: &View<'_>) -> usize {
        let mut machine = Machine { a: 0, x: 0, memory: [0; MEMORY], view };
        let mut at = 0;
        while let Some(instruction) = self.0.get(at) {
            match machine.step(*instruction) {
                Step::On(skip) => at += 1 + skip as usize,
                Step::End(len) => return len as usize,
            }
        }
        0
    }
}

/// Checks one instruction, behind which there are `left` others.
fn check(instruction: &Instruction, left: usize) -> Result<()> {
    let Instruction { code, jt, jf, k } = *instruction;
    let inside = |distance: u32| (distance as usize) < left;
    let is_good = match code {
        // Loads: constants, the length, at an offset, at an offset from X, an IP header's length.
        0x00 | 0x01 | 0x80 | 0x81 | 0x40 | 0x48 | 0x50 | 0xb1 => true,
        0x20 | 0x28 | 0x30 => {
            let offset = i64::from(k.cast_signed());
            !(ANCILLARY..0).contains(&offset) || ancillary(offset - ANCILLARY).is_some()
        }
        // Scratch memory.
        0x60 | 0x61 | 0x02 | 0x03 => (k as usize) < MEMORY,
        // Arithmetic, with a constant and with X.
        0x04 | 0x0c | 0x14 | 0x1c | 0x24 | 0x2c | 0x3c | 0x44 | 0x4c | 0x54 | 0x5c | 0x9c | 0xa4 | 0xac
        | 0x84 | 0x6c | 0x7c => true,
        0x34 | 0x94 => k != 0,
        0x64 | 0x74 => k < 32,
        0x05 => inside(k),
        // Conditions: equal, greater, at least, any bit.
        0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => inside(jt.into()) && inside(jf.into()),
        // Returns, transfers between the registers.
        0x06 | 0x16 | 0x07 | 0x87 => true,
        _ => false,
    };
    if is_good { Ok(()) } else { Err(Error::Invalid) }
}

/// What a load behind [`ANCILLARY`] tells.
#[derive(Clone, Copy)]
enum Ancillary {
    Protocol,
    Kind,
    Interface,
    Hardware,
    /// VLAN tags, queues, marks, processors: there are none here.
    Nothing,
}

fn ancillary(offset: i64) -> Option<Ancillary> {
    Some(match offset {
        0 => Ancillary::Protocol,
        4 => Ancillary::Kind,
        8 => Ancillary::Interface,
        28 => Ancillary::Hardware,
        20 | 24 | 32 | 36 | 44 | 48 | 60 => Ancillary::Nothing,
        _ => return None,
    })
}

enum Step {
    /// Goes on, this many instructions further than the next.
    On(u32),
    End(u32),
}

struct Machine<'a> {
    a: u32,
    x: u32,
    memory: [u32; MEMORY],
    view: &'a View<'a>,
}

impl Machine<'_> {
    fn step(&mut self, instruction: Instruction) -> Step {
        let Instruction { code, jt, jf, k } = instruction;
        let indexed = i64::from(self.x) + i64::from(k.cast_signed());
        let absolute = i64::from(k.cast_signed());
        let loaded = match code {
            0x00 => Some(k),
            0x80 => Some(self.view.data.len() as u32),
            0x60 => Some(self.memory[k as usize % MEMORY]),
            0x20 => self.load(absolute, Size::Word),
            0x28 => self.load(absolute, Size::Half),
            0x30 => self.load(absolute, Size::Byte),
            0x40 => self.load(indexed, Size::Word),
            0x48 => self.load(indexed, Size::Half),
            0x50 => self.load(indexed, Size::Byte),
            _ => return self.other(code, (jt, jf), k),
        };
        // A load from behind the end drops the packet.
        let Some(value) = loaded else { return Step::End(0) };
        self.a = value;
        Step::On(0)
    }

    fn other(&mut self, code: u16, (jt, jf): (u8, u8), k: u32) -> Step {
        let operand = if code & 0x08 == 0 { k } else { self.x };
        let branch = |holds: bool| Step::On(if holds { jt } else { jf }.into());
        match code {
            0x01 => self.x = k,
            0x81 => self.x = self.view.data.len() as u32,
            0x61 => self.x = self.memory[k as usize % MEMORY],
            0xb1 => match self.load(k.cast_signed().into(), Size::Byte) {
                Some(byte) => self.x = (byte & 0xf) * 4,
                None => return Step::End(0),
            },
            0x02 => self.memory[k as usize % MEMORY] = self.a,
            0x03 => self.memory[k as usize % MEMORY] = self.x,
            0x05 => return Step::On(k),
            0x15 | 0x1d => return branch(self.a == operand),
            0x25 | 0x2d => return branch(self.a > operand),
            0x35 | 0x3d => return branch(self.a >= operand),
            0x45 | 0x4d => return branch(self.a & operand != 0),
            0x06 => return Step::End(k),
            0x16 => return Step::End(self.a),
            0x07 => self.x = self.a,
            0x87 => self.a = self.x,
            _ => match arithmetic(code & 0xf0, self.a, operand) {
                Some(value) => self.a = value,
                None => return Step::End(0),
            },
        }
        Step::On(0)
    }

    /// A value of the packet, or of its circumstances, in host order.
    fn load(&self, offset: i64, size: Size) -> Option<u32> {
        let view = self.view;
        let start = match offset {
            0.. => usize::try_from(offset).ok()?,
            ANCILLARY..0 => {
                return Some(match ancillary(offset - ANCILLARY)? {
                    Ancillary::Protocol => view.protocol.into(),
                    Ancillary::Kind => view.kind.into(),
                    Ancillary::Interface => view.interface,
                    Ancillary::Hardware => view.hardware.into(),
                    Ancillary::Nothing => 0,
                });
            }
            NETWORK..ANCILLARY => view.network?.checked_add(usize::try_from(offset - NETWORK).ok()?)?,
            LINK..NETWORK => usize::try_from(offset - LINK).ok()?,
            _ => return None,
        };
        let bytes = view.data.get(start..)?;
        match size {
            Size::Word => bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
            Size::Half => bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes).into()),
            Size::Byte => bytes.first().map(|byte| u32::from(*byte)),
        }
    }
}

/// `None` for a division by zero, which drops the packet.
fn arithmetic(operation: u16, a: u32, b: u32) -> Option<u32> {
    Some(match operation {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        0x30 => a.checked_div(b)?,
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a.wrapping_shl(b),
        0x70 => a.wrapping_shr(b),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(b)?,
        _ => a ^ b,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Filter, Instruction, View};

    fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    fn view(data: &[u8]) -> View<'_> {
        View { data, network: Some(14), protocol: 0x800, ..View::default() }
    }

    #[test]
    fn udp_to_port_53() {
        // What `tcpdump -d 'udp dst port 53'` writes for IPv4 on Ethernet.
        let program = vec![
            i(0x28, 0, 0, 12),
            i(0x15, 0, 8, 0x800),
            i(0x30, 0, 0, 23),
            i(0x15, 0, 6, 17),
            i(0x28, 0, 0, 20),
            i(0x45, 4, 0, 0x1fff),
            i(0xb1, 0, 0, 14),
            i(0x48, 0, 0, 16),
            i(0x15, 0, 1, 53),
            i(0x06, 0, 0, 262_144),
            i(0x06, 0, 0, 0),
        ];
        let filter = Filter::new(program).unwrap();
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[23] = 17;
        frame[36..38].copy_from_slice(&[0, 53]);
        assert_eq!(filter.run(&view(&frame)), 262_144);
        frame[37] = 54;
        assert_eq!(filter.run(&view(&frame)), 0);
        assert_eq!(filter.run(&view(&frame[..20])), 0);
        // By the network header, and by circumstance.
        let by_network =
            Filter::new(vec![i(0x30, 0, 0, (-0x10_0000i32 + 9).cast_unsigned()), i(0x16, 0, 0, 0)]);
        assert_eq!(by_network.unwrap().run(&view(&frame)), 17);
        let protocol =
            Filter::new(vec![i(0x28, 0, 0, (-0x1000i32).cast_unsigned()), i(0x16, 0, 0, 0)]).unwrap();
        assert_eq!(protocol.run(&view(&frame)), 0x800);
    }

    #[test]
    fn bad_programs_are_refused() {
        for program in [
            vec![],
            vec![i(0x00, 0, 0, 1)],
            vec![i(0x05, 0, 0, 1), i(0x06, 0, 0, 0)],
            vec![i(0x15, 0, 1, 0), i(0x06, 0, 0, 0)],
            vec![i(0x05, 0, 0, u32::MAX), i(0x06, 0, 0, 0)],
            vec![i(0x34, 0, 0, 0), i(0x06, 0, 0, 0)],
            vec![i(0x02, 0, 0, 16), i(0x06, 0, 0, 0)],
            vec![i(0xff, 0, 0, 0), i(0x06, 0, 0, 0)],
            vec![i(0x20, 0, 0, (-1i32).cast_unsigned()), i(0x06, 0, 0, 0)],
            vec![i(0x06, 0, 0, 0); 4097],
        ] {
            assert!(Filter::new(program).is_err());
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_the_check_runs_to_an_end(
            program in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>()), 1..40),
            known in prop::collection::vec(0usize..40, 1..40),
            data in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            const CODES: [u16; 40] = [
                0x00, 0x01, 0x80, 0x81, 0x40, 0x48, 0x50, 0xb1, 0x20, 0x28, 0x30, 0x60, 0x61, 0x02, 0x03, 0x04, 0x0c,
                0x1c, 0x2c, 0x3c, 0x4c, 0x5c, 0x9c, 0xac, 0x84, 0x6c, 0x7c, 0x34, 0x94, 0x64, 0x74, 0x05, 0x15, 0x1d,
                0x25, 0x35, 0x45, 0x06, 0x16, 0x07,
            ];
            let instructions: Vec<Instruction> = program
                .iter()
                .zip(known.iter().cycle())
                .map(|((_, jt, jf, k), at)| i(CODES[*at], jt % 4, jf % 4, if k % 2 == 0 { k % 16 } else { *k }))
                .chain([i(0x06, 0, 0, 7)])
                .collect();
            if let Ok(filter) = Filter::new(instructions) {
                let _ = filter.run(&View { data: &data, network: Some(14), ..View::default() });
            }
        }
    }
}
