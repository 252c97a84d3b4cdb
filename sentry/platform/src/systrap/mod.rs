//! *systrap*: one stub process per address space, system calls caught by seccomp.
