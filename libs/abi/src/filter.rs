//! Classic BPF (`linux/filter.h`, `linux/bpf_common.h`).
#![allow(missing_docs, reason = "Linux's names: linux/filter.h")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct sock_filter`: one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SockFilter {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

impl SockFilter {
    /// An instruction that does not branch (`BPF_STMT`).
    #[must_use]
    pub const fn statement(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }
}

/// `struct sock_fprog` of a 64-bit process: where a program is.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SockFprog {
    pub len: u16,
    pub pad: [u16; 3],
    pub filter: u64,
}

/// The longest program, in instructions.
pub const BPF_MAXINSNS: usize = 4096;
/// Words of scratch memory.
pub const BPF_MEMWORDS: usize = 16;

/// Classes of instructions.
pub const BPF_LD: u16 = 0x00;
pub const BPF_LDX: u16 = 0x01;
pub const BPF_ST: u16 = 0x02;
pub const BPF_STX: u16 = 0x03;
pub const BPF_ALU: u16 = 0x04;
pub const BPF_JMP: u16 = 0x05;
pub const BPF_RET: u16 = 0x06;
pub const BPF_MISC: u16 = 0x07;

/// How much is loaded.
pub const BPF_W: u16 = 0x00;
pub const BPF_H: u16 = 0x08;
pub const BPF_B: u16 = 0x10;

/// From where.
pub const BPF_IMM: u16 = 0x00;
pub const BPF_ABS: u16 = 0x20;
pub const BPF_IND: u16 = 0x40;
pub const BPF_MEM: u16 = 0x60;
pub const BPF_LEN: u16 = 0x80;
pub const BPF_MSH: u16 = 0xa0;

/// Arithmetic.
pub const BPF_ADD: u16 = 0x00;
pub const BPF_SUB: u16 = 0x10;
pub const BPF_MUL: u16 = 0x20;
pub const BPF_DIV: u16 = 0x30;
pub const BPF_OR: u16 = 0x40;
pub const BPF_AND: u16 = 0x50;
pub const BPF_LSH: u16 = 0x60;
pub const BPF_RSH: u16 = 0x70;
pub const BPF_NEG: u16 = 0x80;
pub const BPF_MOD: u16 = 0x90;
pub const BPF_XOR: u16 = 0xa0;

/// Jumps.
pub const BPF_JA: u16 = 0x00;
pub const BPF_JEQ: u16 = 0x10;
pub const BPF_JGT: u16 = 0x20;
pub const BPF_JGE: u16 = 0x30;
pub const BPF_JSET: u16 = 0x40;

/// The other operand: the constant or X; of a return, the accumulator too.
pub const BPF_K: u16 = 0x00;
pub const BPF_X: u16 = 0x08;
pub const BPF_A: u16 = 0x10;

/// Transfers between the registers.
pub const BPF_TAX: u16 = 0x00;
pub const BPF_TXA: u16 = 0x80;

/// A socket's filter: loads from here on tell of the packet's circumstances,
pub const SKF_AD_OFF: i32 = -0x1000;
/// from here on count from the network header,
pub const SKF_NET_OFF: i32 = -0x10_0000;
/// and from here on from the link header.
pub const SKF_LL_OFF: i32 = -0x20_0000;

/// The circumstances, as distances from [`SKF_AD_OFF`].
pub const SKF_AD_PROTOCOL: i32 = 0;
pub const SKF_AD_PKTTYPE: i32 = 4;
pub const SKF_AD_IFINDEX: i32 = 8;
pub const SKF_AD_MARK: i32 = 20;
pub const SKF_AD_QUEUE: i32 = 24;
pub const SKF_AD_HATYPE: i32 = 28;
pub const SKF_AD_RXHASH: i32 = 32;
pub const SKF_AD_CPU: i32 = 36;
pub const SKF_AD_VLAN_TAG: i32 = 44;
pub const SKF_AD_VLAN_TAG_PRESENT: i32 = 48;
pub const SKF_AD_VLAN_TPID: i32 = 60;
