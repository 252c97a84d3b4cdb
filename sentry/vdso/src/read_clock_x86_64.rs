// The instructions by which both the vDSO and the stub read a clock. Compiled into both; no dependencies.

/// Reads a clock: `r8` is the address of a [`ClockPage`](crate::ClockPage), `r9` where in it the word is that is to be
/// added ([`ClockPage::added_for`](crate::ClockPage::added_for)). Leaves nanoseconds in `rax`, or all ones where the page
/// does not vouch for the clock. Destroys `rdx`, `r10` and flags. Operands `clock_*` are the places of the page's fields.
#[macro_export]
macro_rules! read_clock {
    () => {
        concat!(
            "20:\n",
            "mov r10, [r8 + {clock_sequence}]\n",
            "test r10b, 1\n",
            "jnz 22f\n",
            "lfence\n", // the counter must not be read before the sequence
            "rdtsc\n",
            "shl rdx, 32\n",
            "or rax, rdx\n",
            "sub rax, [r8 + {clock_base_tsc}]\n",
            "cmp rax, [r8 + {clock_span}]\n",
            "jae 21f\n",
            "mul qword ptr [r8 + {clock_mult}]\n",
            "shrd rax, rdx, 32\n",
            "add rax, [r8 + {clock_base_ns}]\n",
            "add rax, [r8 + r9]\n",
            "cmp r10, [r8 + {clock_sequence}]\n",
            "jne 20b\n",
            "jmp 23f\n",
            "21:\n",
            "cmp r10, [r8 + {clock_sequence}]\n",
            "jne 20b\n",
            "or rax, -1\n",
            "jmp 23f\n",
            "22:\n",
            "pause\n",
            "jmp 20b\n",
            "23:\n",
        )
    };
}
