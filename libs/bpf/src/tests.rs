//! Programs that are taken and run, and programs that are refused, of both dialects.

use abi::filter::SockFilter;
use abi::seccomp::{AUDIT_ARCH_X86_64, SeccompData};
use proptest::prelude::*;

use super::{Ancillary, Base, Data, Dialect, Invalid, Program, Size};

fn op(code: u16, k: u32) -> SockFilter {
    SockFilter::statement(code, k)
}

fn jump(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter { code, jt, jf, k }
}

fn call(nr: i32, first: u64) -> SeccompData {
    let args = [first, 0, 0, 0, 0, 0];
    SeccompData { nr, arch: AUDIT_ARCH_X86_64, instruction_pointer: 0x1000, args }
}

/// A packet without headers before it.
struct Packet<'a>(&'a [u8]);

impl Data for Packet<'_> {
    fn size(&self) -> u32 {
        self.0.len() as u32
    }

    fn load(&self, base: Base, offset: usize, size: Size) -> Option<u32> {
        let bytes = self.0.get(offset..).filter(|_| base != Base::Network)?;
        match size {
            Size::Word => bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
            Size::Half => bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes).into()),
            Size::Byte => bytes.first().map(|byte| u32::from(*byte)),
        }
    }

    fn ancillary(&self, what: Ancillary) -> u32 {
        what as u32
    }
}

#[test]
fn a_call_by_its_number_and_an_argument() {
    let source = vec![
        op(0x20, 0),
        jump(0x15, 0, 3, 39),
        op(0x20, 16),
        jump(0x15, 0, 1, 7),
        op(0x06, 0x0005_0001),
        op(0x06, 0x7fff_0000),
    ];
    let program = Program::new(source, Dialect::Seccomp).unwrap();
    assert_eq!(program.run(&call(39, 7)), Some(0x0005_0001));
    assert_eq!(program.run(&call(39, 8)), Some(0x7fff_0000));
    assert_eq!(program.run(&call(40, 7)), Some(0x7fff_0000));
}

#[test]
fn udp_to_port_53() {
    // What `tcpdump -d 'udp dst port 53'` writes for IPv4 on Ethernet.
    let source = vec![
        op(0x28, 12),
        jump(0x15, 0, 8, 0x800),
        op(0x30, 23),
        jump(0x15, 0, 6, 17),
        op(0x28, 20),
        jump(0x45, 4, 0, 0x1fff),
        op(0xb1, 14),
        op(0x48, 16),
        jump(0x15, 0, 1, 53),
        op(0x06, 262_144),
        op(0x06, 0),
    ];
    let program = Program::new(source, Dialect::Socket).unwrap();
    let mut frame = vec![0; 60];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[23] = 17;
    frame[36..38].copy_from_slice(&[0, 53]);
    assert_eq!(program.run(&Packet(&frame)), Some(262_144));
    assert_eq!(program.run(&Packet(&frame[..20])), None);
    frame[37] = 54;
    assert_eq!(program.run(&Packet(&frame)), Some(0));
}

#[test]
fn offsets_below_zero() {
    let loads = |code, k: i32, x| {
        let source = vec![op(0x01, x), op(code, k.cast_unsigned()), op(0x16, 0)];
        Program::new(source, Dialect::Socket).map(|program| program.run(&Packet(&[1, 2, 3])))
    };
    assert_eq!(loads(0x30, -0x20_0000 + 1, 0), Ok(Some(2)));
    assert_eq!(loads(0x30, -0x10_0000, 0), Ok(None));
    assert_eq!(loads(0x30, -0x20_0001, 0), Ok(None));
    assert_eq!(loads(0x28, -0x1000 + 8, 0), Ok(Some(Ancillary::Interface as u32)));
    assert_eq!(loads(0x28, -0x1000 + 1, 0), Err(Invalid));
    // Only an absolute load tells of circumstances; a sum may go around.
    assert_eq!(loads(0x50, -0x1000 + 8, 0), Ok(None));
    assert_eq!(loads(0x50, 3, u32::MAX), Ok(Some(3)));
}

#[test]
fn division_by_a_register_of_zero_returns_zero() {
    let source = vec![op(0x00, 5), op(0x01, 0), op(0x3c, 0), op(0x06, 1)];
    let program = Program::new(source, Dialect::Seccomp).unwrap();
    assert_eq!(program.run(&call(0, 0)), Some(0));
}

#[test]
fn scratch_memory_keeps_words() {
    let source = vec![op(0x00, 7), op(0x02, 15), op(0x00, 0), op(0x61, 15), op(0x87, 0), op(0x16, 0)];
    for dialect in [Dialect::Seccomp, Dialect::Socket] {
        assert_eq!(Program::new(source.clone(), dialect).unwrap().run(&call(0, 0)), Some(7));
    }
}

#[test]
fn bad_programs_are_refused() {
    let ret = op(0x06, 0);
    for bad in [
        vec![],
        vec![op(0x00, 1)],
        vec![op(0x05, 1), ret],
        vec![op(0x05, u32::MAX), ret],
        vec![jump(0x15, 0, 1, 0), ret],
        vec![op(0x0d, 0), ret],
        vec![op(0x34, 0), ret],
        vec![op(0x64, 32), ret],
        vec![op(0x8c, 0), ret],
        vec![op(0x02, 16), ret],
        vec![op(0x08, 0), ret],
        vec![op(0x38, 0), ret],
        vec![op(0xff, 0), ret],
        vec![op(0x120, 0), ret],
        vec![op(0x20, u32::MAX), ret],
        // Read but never written, or written on one way only.
        vec![op(0x60, 0), ret],
        vec![jump(0x15, 0, 1, 0), op(0x02, 3), op(0x60, 3), ret],
        vec![ret; 4097],
    ] {
        for dialect in [Dialect::Seccomp, Dialect::Socket] {
            assert_eq!(Program::new(bad.clone(), dialect), Err(Invalid), "{dialect:?} {bad:?}");
        }
    }
}

#[test]
fn seccomp_knows_fewer_instructions() {
    // Unaligned, behind the end, a byte, from X on, a header's length, a remainder.
    for one in [op(0x20, 2), op(0x20, 64), op(0x30, 0), op(0x40, 0), op(0xb1, 0), op(0x94, 3)] {
        let source = vec![one, op(0x06, 0)];
        assert_eq!(Program::new(source.clone(), Dialect::Seccomp), Err(Invalid), "{one:?}");
        assert!(Program::new(source, Dialect::Socket).is_ok(), "{one:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_accepted_ends(
        words in prop::collection::vec((0_u16..256, 0_u8..4, 0_u8..4, any::<u32>(), any::<bool>()), 1..40),
        data in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let source: Vec<_> = words
            .into_iter()
            .map(|(code, jt, jf, k, is_small)| SockFilter { code, jt, jf, k: if is_small { k % 70 } else { k } })
            .chain([op(0x06, 7)])
            .collect();
        for one in &source {
            // One by one, since few whole programs by chance are good.
            for dialect in [Dialect::Seccomp, Dialect::Socket] {
                if let Ok(program) = Program::new(vec![*one, op(0x06, 1), op(0x06, 2), op(0x06, 3), op(0x06, 4)], dialect) {
                    program.run(&Packet(&data));
                }
            }
        }
        let good = source.into_iter().filter(|one| {
            let rest = [op(0x06, 1); 4];
            Program::new([&[*one], &rest[..]].concat(), Dialect::Socket).is_ok()
        });
        let good: Vec<_> = [op(0x02, 0), op(0x02, 1)].into_iter().chain(good).chain([op(0x06, 7); 4]).collect();
        if let Ok(program) = Program::new(good, Dialect::Socket) {
            program.run(&Packet(&data));
        }
    }
}
