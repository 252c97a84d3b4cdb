//! The vsyscall page at the top of the address space: three calls that very old programs make by calling an address.
//! It is execute-only, as with Linux's `vsyscall=xonly`.

use abi::UserAddr;

use super::CurrentTask;

/// The page's entries and the system calls that they stand for.
const ENTRIES: [(u64, u64); 3] =
    [(0xffff_ffff_ff60_0000, 96), (0xffff_ffff_ff60_0400, 201), (0xffff_ffff_ff60_0800, 309)];

impl CurrentTask {
    /// Carries out a vsyscall if `addr` is one's entry; says whether it was.
    pub(super) fn emulate_vsyscall(&mut self, addr: u64) -> bool {
        let Some((_, number)) = ENTRIES.iter().find(|(entry, _)| *entry == addr && self.regs.rip == *entry)
        else {
            return false;
        };
        let return_address: u64 = match self.mm().read_object(UserAddr(self.regs.rsp)) {
            Ok(address) => address,
            Err(_) => return false,
        };
        self.regs.rsp = self.regs.rsp.wrapping_add(8);
        self.regs.rip = return_address;
        self.regs.orig_rax = *number;
        self.do_system_call();
        self.regs.orig_rax = u64::MAX;
        true
    }
}
