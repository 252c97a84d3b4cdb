//! What the processor says of itself.

use std::sync::LazyLock;

/// eax, ebx, ecx and edx of `cpuid`.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = std::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// `AT_HWCAP`: the feature bits of leaf 1 in edx, as Linux shows them. Asked once: that costs an exit from a virtual
/// machine. (The C library's getauxval(3) tells something else.)
#[must_use]
pub fn hwcap() -> u64 {
    static FEATURES: LazyLock<u32> = LazyLock::new(|| cpuid(1, 0)[3]);
    u64::from(*FEATURES)
}
