//! What the auxiliary vector tells of the processor.

/// `AT_MINSIGSTKSZ`: bytes of a signal frame with `xstate` bytes of extended state: the frame itself, its alignment,
/// the red zone, and the marker behind the state.
pub(super) fn min_signal_stack(xstate: usize) -> u64 {
    const FRAME: usize = 936;
    (xstate + FRAME) as u64
}
