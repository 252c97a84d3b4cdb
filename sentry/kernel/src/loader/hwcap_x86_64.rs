//! What the auxiliary vector tells of the processor.

/// `AT_HWCAP`: the feature bits of CPUID leaf 1 in EDX, as Linux shows them.
pub(super) fn hwcap() -> u64 {
    u64::from(std::arch::x86_64::__cpuid(1).edx)
}

/// `AT_MINSIGSTKSZ`: bytes of a signal frame with `xstate` bytes of extended state: the frame itself, its alignment,
/// the red zone, and the marker behind the state.
pub(super) fn min_signal_stack(xstate: usize) -> u64 {
    const FRAME: usize = 936;
    (xstate + FRAME) as u64
}
