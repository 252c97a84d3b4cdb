//! Program loading: ELF, `#!` scripts, the initial stack, the vDSO.
