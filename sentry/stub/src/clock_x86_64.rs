//! The stub's part for calls that read a clock: from the same page as the vDSO, by the same instructions.
//!
//! It lies where calls are looked at that might be posted, and is to interrupts and faults what those are: the thread is
//! at its call as if nothing had been done.

/// Carries out a call: `esp` says which, `rdi` and `rsi` are its arguments, `rsp` is free besides, `r11` is the area, which
/// has the registers that this uses.
macro_rules! clock_calls {
    () => {
        concat!(
            "movabs r8, {clock}\n",
            "movabs rax, {last_pair}\n", // the kernel would refuse what leads beyond the guest's memory
            "cmp esp, {clock_mark}\n",
            "jne 1f\n",
            "cmp rsi, rax\n",
            "ja stub_call_post_undo\n",
            "mov eax, edi\n",
            "cmp eax, {clocks}\n",
            "jae stub_call_post_undo\n",
            "movabs r9, {clock_fields}\n",
            "movzx r9d, byte ptr [r9 + rax]\n",
            "test r9d, r9d\n",
            "jz stub_call_post_undo\n",
            "jmp 3f\n",
            "1:\n",
            "cmp rdi, rax\n",
            "ja stub_call_post_undo\n",
            "mov r9d, {clock_realtime}\n",
            "cmp esp, {time_mark}\n",
            "je 3f\n",
            "test rsi, rsi\n", // nobody asks for the time zone
            "jnz stub_call_post_undo\n",
            "3:\n",
            vdso::read_clock!(),
            "cmp rax, -1\n",
            "je stub_call_post_undo\n",
            "xor edx, edx\n",
            "mov ecx, 1000000000\n",
            "div rcx\n",
            "cmp esp, {clock_mark}\n",
            "je 4f\n",
            "cmp esp, {time_mark}\n",
            "je 6f\n",
            "mov [rdi], rax\n",
            "mov eax, edx\n",
            "xor edx, edx\n",
            "mov ecx, 1000\n",
            "div ecx\n",
            "mov [rdi + 8], rax\n",
            "jmp 5f\n",
            "4:\n",
            "mov [rsi], rax\n",
            "mov [rsi + 8], rdx\n",
            "5:\n",
            "xor eax, eax\n",
            "jmp 7f\n",
            "6:\n",
            "test rdi, rdi\n",
            "jz 7f\n",
            "mov [rdi], rax\n",
            "7:\n",
            "mov r8, [r11 + {call}]\n",
            "mov r9, [r11 + {call} + 8]\n",
            "mov r10, [r11 + {call} + 8 * 2]\n",
            "mov rdx, [r11 + {call} + 8 * 12]\n",
            "mov rcx, [r11 + {call} + 8 * 16]\n",
            "jmp stub_call_answered\n",
        )
    };
}

pub(crate) use clock_calls;
