//! What the processor says of itself.

/// eax, ebx, ecx and edx of `cpuid`.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = std::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// `AT_HWCAP`: the feature bits of leaf 1 in edx. The host has told them when we were started, and asking the processor
/// costs an exit from a virtual machine.
#[must_use]
pub fn hwcap() -> u64 {
    // SAFETY: a look-up in the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_HWCAP) }
}
