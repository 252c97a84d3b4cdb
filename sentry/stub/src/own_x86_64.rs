//! The stub's part for calls that tell or change what the area holds of the calling thread (the signal mask, the segment
//! base, what it asks for at its end) and of its process (signal actions that programs leave alone, limits); and its
//! preparation of those that make a child.
//!
//! What is the thread's alone is always true; what is the process's holds until whoever changes it revokes the answers.
//!
//! They read and write the caller's memory; where that faults, or an interrupt comes, the handler has the call go on
//! (`stub_call_not_own`) as if it had not begun, and the sentry deals with it. What has been done of one may be done again.
//! Only the exchange of the mask, or of the set of plain actions, may not: from there on the sentry is told of the
//! interrupt, and can tell whether it was done.

/// Stores a limit, which `index` names, at `to`; `rsp` is the last address where it fits.
macro_rules! tell_limit {
    ($index:literal, $to:literal) => {
        concat!(
            "cmp ",
            $to,
            ", rsp\n",
            "ja stub_call_not_own\n",
            "cmp ",
            $index,
            ", {limits_len}\n",
            "jae stub_call_not_own\n",
            "mov eax, ",
            $index,
            "\n",
            "shl eax, 4\n",
            "mov rsp, [r11 + rax + {limits}]\n",
            "mov [",
            $to,
            "], rsp\n",
            "mov rsp, [r11 + rax + {limits} + 8]\n",
            "mov [",
            $to,
            " + 8], rsp\n",
            "xor eax, eax\n",
            "jmp stub_call_answered\n",
        )
    };
}

/// Carries out a call: `esp` says which, `rax` is its number, `rsp` is free besides, `r11` is the area. All other
/// registers are the caller's.
macro_rules! own_calls {
    () => {
        concat!(
            ".globl stub_call_own\n",
            ".hidden stub_call_own\n",
            "stub_call_own:\n",
            "cmp esp, {clock_mark}\n",
            "jae stub_call_clock\n",
            "mov [r11 + {call} + 8 * 13], rax\n",
            ".globl stub_call_own_saved\n",
            ".hidden stub_call_own_saved\n",
            "stub_call_own_saved:\n",
            "cmp esp, {action_mark}\n",
            "je 5f\n",
            "cmp esp, {limit_mark}\n",
            "je 9f\n",
            "cmp esp, {child_mark}\n",
            "je 14f\n",
            "cmp esp, {mask_mark}\n",
            "je 10f\n",
            "cmp esp, {tid_address_mark}\n",
            "je 6f\n",
            "cmp esp, {fs_mark}\n",
            "je 7f\n",
            "cmp esp, {rseq_mark}\n",
            "je 8f\n",
            // set_robust_list(rdi, rsi)
            "cmp rsi, 24\n",
            "jne stub_call_not_own\n",
            "mov [r11 + {robust_list}], rdi\n",
            "or dword ptr [r11 + {told}], {told_robust_list}\n",
            "xor eax, eax\n",
            "jmp stub_call_answered\n",
            // set_tid_address(rdi)
            "6:\n",
            "mov [r11 + {tid_address}], rdi\n",
            "or dword ptr [r11 + {told}], {told_tid_address}\n",
            "mov rax, [r11 + {answers} + 8]\n",
            "jmp stub_call_answered\n",
            // arch_prctl(edi, rsi)
            "7:\n",
            "cmp edi, {arch_set_fs}\n",
            "jne stub_call_not_own\n",
            "movabs rsp, {guest_end}\n",
            "cmp rsi, rsp\n",
            "jae stub_call_not_own\n",
            "wrfsbase rsi\n",
            "xor eax, eax\n",
            "jmp stub_call_answered\n",
            // rseq
            "8:\n",
            "mov rax, {enosys}\n",
            "jmp stub_call_answered\n",
            // clone and its kin
            "14:\n",
            "mov eax, {xstate_offered}\n", // edx names nothing that there is
            "xsave64 [r11 + {xstate}]\n",
            "mov eax, [r11 + {area_turn}]\n",
            "mov [r11 + {xstate_turn}], eax\n",
            "jmp stub_call_not_own\n",
            // getrlimit(edi, rsi), prlimit64(edi, esi, rdx, r10)
            "9:\n",
            "movabs rsp, {last_pair}\n",
            "cmp eax, {getrlimit}\n",
            "je 12f\n",
            "test edi, edi\n", // of itself
            "jnz stub_call_not_own\n",
            "test rdx, rdx\n", // not to be changed
            "jnz stub_call_not_own\n",
            "test r10, r10\n",
            "jz stub_call_not_own\n",
            $crate::own_x86_64::tell_limit!("esi", "r10"),
            "12:\n",
            $crate::own_x86_64::tell_limit!("edi", "rsi"),
            // rt_sigaction(edi, rsi, rdx, r10)
            "5:\n",
            "cmp r10, 8\n",
            "jne stub_call_not_own\n",
            "lea rax, [rdi - 1]\n",
            "cmp rax, 64\n",
            "jae stub_call_not_own\n",
            "test rsi, rsi\n",
            "jz 2f\n",
            "movabs rsp, {last_action}\n", // the kernel would refuse what leads beyond the guest's memory
            "cmp rsi, rsp\n",
            "ja stub_call_not_own\n",
            "lea rsp, [rsi + 31]\n", // the action is read again where the call goes on to the sentry
            "sub rsp, rdx\n",
            "cmp rsp, 62\n",
            "jbe stub_call_not_own\n",
            "movabs rsp, {actions_not_set}\n",
            "bt rsp, rax\n",
            "jc stub_call_not_own\n",
            "cmp qword ptr [rsi], 0\n",
            "jne stub_call_not_own\n",
            "cmp qword ptr [rsi + 8], {sa_restorer}\n",
            "jne stub_call_not_own\n",
            "mov rsp, [r11 + {actions_restorer}]\n",
            "cmp [rsi + 16], rsp\n",
            "jne stub_call_not_own\n",
            "cmp qword ptr [rsi + 24], 0\n",
            "jne stub_call_not_own\n",
            "2:\n", // what it is now
            "mov rsp, [r11 + {actions_plain}]\n",
            "bt rsp, rax\n",
            "jc 3f\n",
            "mov rsp, [r11 + {actions_unset}]\n",
            "bt rsp, rax\n",
            "jnc stub_call_not_own\n",
            "test rdx, rdx\n",
            "jz 4f\n",
            "movabs rsp, {last_action}\n",
            "cmp rdx, rsp\n",
            "ja stub_call_not_own\n",
            "xor esp, esp\n",
            "mov [rdx], rsp\n",
            "mov [rdx + 8], rsp\n",
            "mov [rdx + 16], rsp\n",
            "mov [rdx + 24], rsp\n",
            "jmp 4f\n",
            "3:\n",
            "test rdx, rdx\n",
            "jz 4f\n",
            "movabs rsp, {last_action}\n",
            "cmp rdx, rsp\n",
            "ja stub_call_not_own\n",
            "mov rsp, [r11 + {actions_restorer}]\n",
            "mov qword ptr [rdx], 0\n",
            "mov qword ptr [rdx + 8], {sa_restorer}\n",
            "mov [rdx + 16], rsp\n",
            "mov qword ptr [rdx + 24], 0\n",
            "4:\n",
            "test rsi, rsi\n",
            "jz 6f\n",
            "mov rsp, [r11 + {actions_plain}]\n",
            "bts rsp, rax\n",
            "mov rax, [r11 + {actions_plain}]\n",
            "lea r11, [r11 + {actions_plain} - {mask}]\n", // to where the mask is exchanged, too
            "jmp 13f\n",
            "6:\n",
            "xor eax, eax\n",
            "jmp stub_call_answered\n",
            // rt_sigprocmask(edi, rsi, rdx, r10)
            "10:\n",
            "cmp r10, 8\n",
            "jne stub_call_not_own\n",
            "movabs rsp, {last_mask}\n",
            "cmp rsi, rsp\n",
            "ja stub_call_not_own\n",
            "cmp rdx, rsp\n",
            "ja stub_call_not_own\n",
            "mov rax, [r11 + {mask}]\n",
            "test eax, {mask_open}\n",
            "jz stub_call_not_own\n",
            "mov rsp, rax\n",
            "test rsi, rsi\n",
            "jz 3f\n",
            "lea rsp, [rsi + 7]\n", // the set is read again where the call goes on to the sentry
            "sub rsp, rdx\n",
            "cmp rsp, 14\n",
            "jbe stub_call_not_own\n",
            "mov rsp, [rsi]\n",
            "cmp edi, 1\n",
            "jb 11f\n",
            "je 2f\n",
            "cmp edi, 2\n",
            "jne stub_call_not_own\n",
            "jmp 3f\n",
            "11:\n",
            "or rsp, rax\n",
            "jmp 3f\n",
            "2:\n",
            "not rsp\n",
            "and rsp, rax\n",
            "3:\n",
            "or rsp, {mask_flags}\n",
            "test rdx, rdx\n",
            "jz 4f\n",
            "and rax, {mask_flags_not}\n",
            "mov [rdx], rax\n",
            "or rax, {mask_flags}\n",
            "4:\n",
            "13:\n",
            "lock cmpxchg [r11 + {mask}], rsp\n",
            ".globl stub_call_exchanged\n",
            ".hidden stub_call_exchanged\n",
            "stub_call_exchanged:\n",
            "jne stub_call_not_own\n",
            "and r11, -{slot_size}\n",
            "xor eax, eax\n",
            "jmp stub_call_answered\n",
            ".globl stub_call_not_exchanged\n",
            ".hidden stub_call_not_exchanged\n",
            "stub_call_not_exchanged:\n",
            "stub_call_not_own:\n",
            "and r11, -{slot_size}\n",
            "mov rax, [r11 + {call} + 8 * 13]\n",
            "jmp stub_call_save\n",
        )
    };
}

/// A part of the signal handler: a call that trapped and that the stub may know how to answer goes on as if it came from a
/// rewritten site. `rsp` is the frame, `edi` the signal, `r12` the area, `rdx` the `gs` base.
macro_rules! trapped_calls {
    () => {
        concat!(
            "cmp edi, {sigsys}\n",
            "jne 3f\n",
            "cmp dword ptr [rsp + {frame_arch}], {arch}\n",
            "jne 3f\n",
            "mov rax, [rsp + {frame_rax}]\n",
            "cmp rax, {answer_table}\n",
            "jae 3f\n",
            "movabs rcx, {answer_numbers}\n",
            "movzx ecx, byte ptr [rcx + rax]\n",
            "test ecx, ecx\n",
            "jz 3f\n",
            "test ecx, 7\n", // it might be posted
            "jnz 3f\n",
            "cmp ecx, {child_mark}\n", // the frame has the extended state
            "je 3f\n",
            "shr ecx, 3\n",
            "bt dword ptr [r12 + {answers_hold}], ecx\n",
            "jnc 3f\n",
            "mov rax, [rsp + {frame_rip}]\n", // the host calls on behalf of who calls into the vsyscall page
            "cmp rax, [rsp + {frame_call_addr}]\n",
            "jne 3f\n",
            "cmp rdx, r12\n", // the guest has a `gs` base of its own
            "jne 3f\n",
            "test dword ptr [rsp + {frame_flags}], {trap_flag}\n",
            "jnz 3f\n",
            "inc dword ptr [r12 + {traps}]\n",
            "test dword ptr [r12 + {traps}], {traps_mask}\n",
            "jz 3f\n",
            "mov rax, [rsp + {frame_rip}]\n",
            "mov [rsp + {frame_rcx}], rax\n",
            "mov [rsp + {frame_r11}], r12\n",
            "lea rax, [rip + stub_call]\n",
            "mov [rsp + {frame_rip}], rax\n",
            "add rsp, 8\n",
            "jmp stub_sigreturn\n",
            "3:\n",
        )
    };
}

pub(crate) use {own_calls, tell_limit, trapped_calls};
