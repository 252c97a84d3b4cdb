//! Which instruction stands right before a call site, told by its bytes and by what it left in the registers.
//!
//! Code cannot be decoded backwards: the bytes of an instruction may be the end of a longer one. So bytes count as an
//! instruction where no longer one that ends with them makes sense there ([`is_tail`], prefixes), and the registers at
//! the call are what it leaves behind.

use abi::Regs;

/// Bytes of the call itself.
const SYSCALL_LEN: u64 = 2;

/// The instruction at the end of `code`, of three bytes or of five and more, if it can stand elsewhere ([`moved`]) and
/// `regs`, behind a call right behind it, are what it leaves behind.
pub(super) fn instruction<'a>(code: &'a [u8], regs: &Regs) -> Option<&'a [u8]> {
    [
        (7, is_wide_number as fn(&[u8], &Regs) -> bool),
        (7, is_address),
        (5, is_number),
        (5, is_stack_move),
        (3, is_register_move),
    ]
    .into_iter()
    .find_map(|(len, is_it)| {
        let (before, bytes) = code.split_at(code.len().checked_sub(len)?);
        (is_it(bytes, regs) && !is_prefixed(before) && !is_tail(before, bytes)).then_some(bytes)
    })
}

/// The same instruction as the one at the end of which `end` is, for any other place.
pub(super) fn moved(bytes: &[u8], end: u64) -> Vec<u8> {
    match relative_address(bytes) {
        // `movabs $address, %register`
        Some((register, distance)) => {
            let rex = 0x48 | u8::from(register >= 8);
            let mut moved = vec![rex, 0xb8 | register as u8 & 7];
            moved.extend_from_slice(&end.wrapping_add_signed(distance).to_le_bytes());
            moved
        }
        None => bytes.to_vec(),
    }
}

/// Whether a prefix would make it another, longer instruction.
fn is_prefixed(before: &[u8]) -> bool {
    let prefix = before.last();
    prefix.is_some_and(
        |byte| matches!(byte, 0x40..=0x4f | 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3),
    )
}

/// Whether `bytes`, behind `before`, could as well be the end of a longer instruction that compilers make: one whose
/// operand begins with their first byte.
fn is_tail(before: &[u8], bytes: &[u8]) -> bool {
    let back = |distance: usize| before.len().checked_sub(distance).map_or(0, |at| before[at]);
    // The first byte as a distance of eight bits; with an index, one byte more comes before it.
    let has_near_operand = |modrm: u8| modrm >> 6 == 1;
    let has_index = |modrm: u8| modrm & 7 == 4;
    match bytes[0] {
        // In `mov $number, -0x48(%rbp)` and its kin the number is the same. As the byte that names the operand it means
        // a distance from `rax`, where a small number leads nowhere, or with a prefix from `r8`. Or half a constant.
        0xb8 => {
            let takes_number = |opcode: u8| matches!(opcode, 0x69 | 0x81 | 0xc7 | 0xf7);
            let is_near = has_near_operand(back(1)) && !has_index(back(1)) && takes_number(back(2));
            let is_indexed = has_near_operand(back(2)) && has_index(back(2)) && takes_number(back(3));
            let is_far_indexed = back(1) >> 6 == 2 && has_index(back(1));
            let has_base_r8 = |rex: u8| rex & 0xf1 == 0x41;
            let is_far = has_base_r8(back(2)) || (back(2) == 0x0f && has_base_r8(back(3)));
            let is_constant = back(5) & 0xf8 == 0x48 && back(4) & 0xf8 == 0xb8;
            is_near || is_indexed || is_far_indexed || is_far || is_constant
        }
        // `lea -0x38(%rbx, %rcx, 4), %ecx` ends like a move from `r9`.
        0x44 | 0x4c if bytes.len() == 3 => {
            matches!(back(1), 0x03 | 0x2b | 0x39 | 0x3b | 0x63 | 0x85 | 0x88..=0x8b | 0x8d)
        }
        // `addl $-0x38, -0x77(%rcx)` ends like a move from `ecx` to `r8d`.
        0x41 | 0x45 if bytes.len() == 3 => {
            matches!(back(1), 0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6)
        }
        _ => false,
    }
}

/// `mov $number, %eax`, with this call's number.
fn is_number(bytes: &[u8], regs: &Regs) -> bool {
    bytes[0] == 0xb8 && is_operand(&bytes[1..], regs)
}

/// `mov $number, %rax`, with this call's number.
fn is_wide_number(bytes: &[u8], regs: &Regs) -> bool {
    bytes[..3] == [0x48, 0xc7, 0xc0] && is_operand(&bytes[3..], regs)
}

fn is_operand(bytes: &[u8], regs: &Regs) -> bool {
    u32::try_from(regs.orig_rax).is_ok_and(|number| bytes == number.to_le_bytes())
}

/// `mov` of 64 bits between a register and a near place on the stack.
fn is_stack_move(bytes: &[u8], _regs: &Regs) -> bool {
    let is_mov = matches!(bytes[0], 0x48 | 0x4c) && matches!(bytes[1], 0x89 | 0x8b);
    // A base and eight bits of distance; the base is the stack pointer, without an index.
    is_mov && bytes[2] & 0b11_000_111 == 0b01_000_100 && bytes[3] == 0x24
}

/// `mov` of 64 or 32 bits between registers that now hold the same.
fn is_register_move(bytes: &[u8], regs: &Regs) -> bool {
    let (rex, form) = (bytes[0], bytes[2]);
    // One of 32 bits has a prefix only where it is about r8 to r15.
    let is_wide = rex & 0b1111_1010 == 0x48;
    if !(is_wide || matches!(rex, 0x41 | 0x44 | 0x45)) || form >> 6 != 0b11 {
        return false;
    }
    let (one, other) = (register(form >> 3, rex >> 2), register(form, rex));
    let (from, to) = match bytes[1] {
        0x89 => (one, other),
        0x8b => (other, one),
        _ => return false,
    };
    let moved = if is_wide { value(regs, from) } else { value(regs, from) & u64::from(u32::MAX) };
    from != to && is_kept(from) && is_kept(to) && moved == value(regs, to)
}

/// `lea` of a place at some distance from a register or from itself, with that address in the register now.
fn is_address(bytes: &[u8], regs: &Regs) -> bool {
    // Not through an index, and with a distance of 32 bits; the number of a call is no address.
    let (rex, form) = (bytes[0], bytes[2]);
    if rex & 0b1111_1010 != 0x48 || bytes[1] != 0x8d {
        return false;
    }
    if let Some((to, distance)) = relative_address(bytes) {
        let end = regs.rip.wrapping_sub(SYSCALL_LEN);
        return is_kept(to) && to != 0 && value(regs, to) == end.wrapping_add_signed(distance);
    }
    if form >> 6 != 0b10 || form & 7 == 4 {
        return false;
    }
    let (to, base) = (register(form >> 3, rex >> 2), register(form, rex));
    let address = value(regs, base).wrapping_add_signed(distance(bytes));
    let are_kept = is_kept(to) && is_kept(base) && to != 0 && base != 0;
    are_kept && to != base && value(regs, to) == address
}

/// For a `lea` of a place at some distance from itself: the register, and the distance.
fn relative_address(bytes: &[u8]) -> Option<(usize, i64)> {
    let is_it = bytes.len() == 7 && bytes[0] & !4 == 0x48 && bytes[1] == 0x8d && bytes[2] & 0b11_000_111 == 5;
    is_it.then(|| (register(bytes[2] >> 3, bytes[0] >> 2), distance(bytes)))
}

/// The last four bytes of an instruction.
fn distance(bytes: &[u8]) -> i64 {
    let mut last = [0; 4];
    last.copy_from_slice(&bytes[bytes.len() - 4..]);
    i32::from_le_bytes(last).into()
}

/// A register by its bits in an instruction and in its prefix.
fn register(low: u8, high: u8) -> usize {
    usize::from(low & 7 | (high & 1) << 3)
}

/// The stack pointer is nothing that calls take; the call itself destroys rcx and r11.
fn is_kept(register: usize) -> bool {
    !matches!(register, 1 | 4 | 11)
}

/// A register by its number in instructions, as it was at the call.
const fn value(regs: &Regs, number: usize) -> u64 {
    let values = [
        regs.orig_rax,
        regs.rcx,
        regs.rdx,
        regs.rbx,
        regs.rsp,
        regs.rbp,
        regs.rsi,
        regs.rdi,
        regs.r8,
        regs.r9,
        regs.r10,
        regs.r11,
        regs.r12,
        regs.r13,
        regs.r14,
        regs.r15,
    ];
    values[number]
}

#[cfg(test)]
mod tests {
    use abi::Regs;

    use proptest::prelude::*;

    use super::{instruction, moved};

    #[track_caller]
    fn is_one(before: &[u8], bytes: &[u8], is_it: bool) {
        let regs = Regs { orig_rax: 232, r9: 232, ..Regs::default() };
        let code = [before, bytes].concat();
        assert_eq!(instruction(&code, &regs), is_it.then_some(bytes), "{before:x?} {bytes:x?}");
    }

    #[test]
    fn a_number_is_no_other_instructions_operand() {
        let number = [0xb8, 232, 0, 0, 0];
        is_one(&[], &number, true);
        is_one(&[0x31, 0xd2], &number, true); // xor %edx,%edx
        is_one(&[0x89, 0xf7], &number, true); // mov %esi,%edi
        is_one(&[0x48, 0x8b, 0x7d, 0xf8], &number, true); // mov -8(%rbp),%rdi
        is_one(&[0x41], &number, false); // mov $232,%r8d
        is_one(&[0xc7, 0x45], &number, false); // movl $232,-0x48(%rbp)
        is_one(&[0x48, 0x81, 0x7d], &number, false); // cmpq $232,-0x48(%rbp)
        is_one(&[0xc7, 0x44, 0x24], &number, false); // movl $232,-0x48(%rsp)
        is_one(&[0x49, 0x8b], &number, false); // mov 232(%r8),%rdi
        is_one(&[0x41, 0x0f, 0xb6], &number, false); // movzbl 232(%r8),%edi
        is_one(&[0x8b, 0x94], &number, false); // mov 232(%rax,%rdi,4),%edx
        is_one(&[0x48, 0xbf, 1, 2, 3], &number, false); // movabs $0xe8b8030201,%rdi
    }

    #[test]
    fn a_register_move_is_no_other_instructions_operand() {
        let by_register = [0x4c, 0x89, 0xc8]; // mov %r9,%rax
        is_one(&[0x49, 0x89, 0xd0], &by_register, true);
        is_one(&[0x8d], &by_register, false); // lea -0x38(%rcx,%rcx,4),%ecx
        is_one(&[0x44, 0x8b], &by_register, false); // mov -0x38(%rcx,%rcx,4),%r9d
        let of_32_bits = [0x44, 0x89, 0xc8]; // mov %r9d,%eax
        is_one(&[0x31, 0xd2], &of_32_bits, true);
        is_one(&[0x8d], &of_32_bits, false); // lea -0x38(%rcx,%rcx,4),%eax
        let to_r9 = [0x41, 0x89, 0xc1]; // mov %eax,%r9d
        is_one(&[0x31, 0xd2], &to_r9, true);
        is_one(&[0x83], &to_r9, false); // addl $-0x3f,-0x77(%rcx)
    }

    #[test]
    fn only_the_lower_half_need_be_what_a_move_of_it_left() {
        let regs = Regs { orig_rax: 7, r9: 1 << 32 | 7, ..Regs::default() };
        assert_eq!(instruction(&[0x44, 0x89, 0xc8], &regs), Some(&[0x44, 0x89, 0xc8][..]));
        assert_eq!(instruction(&[0x4c, 0x89, 0xc8], &regs), None);
        assert_eq!(instruction(&[0x41, 0x89, 0xc1], &regs), None, "mov %eax,%r9d clears the rest");
        assert_eq!(instruction(&[0x44, 0x8b, 0xc8], &regs), None, "mov %eax,%r9d again");
    }

    #[test]
    fn an_address_is_where_its_register_says() {
        // lea 0x8f0(%rbx),%rsi
        let by_register = [0x48, 0x8d, 0xb3, 0xf0, 8, 0, 0];
        let regs = Regs { rbx: 0x1000, rsi: 0x18f0, r13: 0x1000, rip: 0x4009, ..Regs::default() };
        assert_eq!(instruction(&by_register, &regs), Some(&by_register[..]));
        assert_eq!(moved(&by_register, 0x4007), by_register);
        assert_eq!(instruction(&by_register, &Regs { rsi: 0x18f1, ..regs }), None);
        assert!(instruction(&[0x49, 0x8d, 0xb5, 0xf0, 8, 0, 0], &regs).is_some(), "lea 0x8f0(%r13),%rsi");
        assert_eq!(instruction(&[0x48, 0x8d, 0xb4, 0xf0, 8, 0, 0], &regs), None, "an index");
        assert_eq!(instruction(&[0x48, 0x8d, 0xb1, 0xf0, 8, 0, 0], &Regs { rcx: 0x1000, ..regs }), None);
        assert_eq!(instruction(&[0x48, 0x8d, 0x9b, 0, 0, 0, 0], &regs), None, "lea 0(%rbx),%rbx");
        // lea -0x107(%rip),%rdx, and %r10
        for (bytes, moved_to) in [
            ([0x48, 0x8d, 0x15, 0xf9, 0xfe, 0xff, 0xff], [0x48, 0xba]),
            ([0x4c, 0x8d, 0x15, 0xf9, 0xfe, 0xff, 0xff], [0x49, 0xba]),
        ] {
            let regs = Regs { rdx: 0x3f00, r10: 0x3f00, ..regs };
            assert_eq!(instruction(&bytes, &regs), Some(&bytes[..]));
            let expected = [&moved_to[..], &0x3f00_u64.to_le_bytes()].concat();
            assert_eq!(moved(&bytes, 0x4007), expected);
            assert_eq!(instruction(&bytes, &Regs { rip: 0x400a, ..regs }), None);
        }
    }

    proptest! {
        /// Whatever the bytes and registers are, what is found ends the code, and says nothing else elsewhere.
        #[test]
        fn what_is_found_is_a_known_form(
            code in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x48), Just(0x8d), Just(0x89)], 0..16),
            values in proptest::array::uniform4(prop_oneof![0..8_u64, any::<u64>()]),
        ) {
            let [orig_rax, rsi, r9, rip] = values;
            let regs = Regs { orig_rax: orig_rax & 0xffff_ffff, rsi, r9, rip, ..Regs::default() };
            if let Some(found) = instruction(&code, &regs) {
                prop_assert!(code.ends_with(found) && matches!(found.len(), 3 | 5 | 7));
                let moved = moved(found, rip.wrapping_sub(2));
                prop_assert!(moved == found || (moved.len() == 10 && found[1] == 0x8d && moved[0] & 0xfe == 0x48));
            }
        }
    }
}
