//! The part of posting calls that is epoll_ctl(2)'s: a change of how the epoll instance that a thread has been told of
//! watches a file that the thread was granted.
//!
//! It can be posted where its outcome is known: a file that is not watched can be added, one that is can be changed or
//! removed. The grant says which it is, and is kept up to date here. Registers are as `call` has them: `r8` the grant, `r9d`
//! the log's end, `esp` the kind of call, and the call's own arguments but `eax` and `ecx`.

/// Looks whether the change can be posted, and puts what follows the record's header into the log.
macro_rules! control_calls {
    () => {
        concat!(
            "17:\n",
            "cmp r9d, {log_size} - 8 - {control_size}\n",
            "ja 9f\n",
            "lea eax, [rsi - 1]\n",
            "cmp eax, 2\n", // add 1, remove 2, modify 3
            "ja 9f\n",
            "mov ecx, [r8 + 12]\n",
            "test ecx, {grant_control}\n",
            "jz 9f\n",
            // Added is what is not watched, the others are done to what is.
            "shr ecx, {watched_shift}\n",
            "and ecx, 1\n",
            "mov eax, esi\n",
            "shr eax, 1\n",
            "cmp eax, ecx\n",
            "jne 9f\n",
            "cmp esi, 2\n",
            "je 18f\n",
            "mov rcx, r10\n",
            "shr rcx, {guest_end_shift}\n",
            "cmp ecx, {guest_end_top}\n",
            "jae 9f\n",
            "mov eax, [r10]\n",
            "test eax, {event_exclusive}\n",
            "jnz 9f\n",
            "mov [r11 + r9 + {log} + 8], eax\n",
            "mov rax, [r10 + 4]\n",
            "mov [r11 + r9 + {log} + 12], rax\n",
            "18:\n",
            "mov dword ptr [r11 + {posted_result}], 0\n",
            "mov edx, esi\n",
            "or edx, {record_control}\n",
            "lea r10d, [r9 + 8 + {control_size}]\n",
            "mov eax, [r11 + {posted_word}]\n",
            "jmp 13f\n",
        )
    };
}

/// Behind the exchange: whether the file is watched from now on, which all but the removal (2) leave it.
macro_rules! control_posted {
    () => {
        concat!(
            "19:\n",
            "and edx, 1\n",
            "shl edx, {watched_shift}\n",
            "mov ecx, [r8 + 12]\n",
            "and ecx, ~{grant_watched}\n",
            "or ecx, edx\n",
            "mov [r8 + 12], ecx\n",
            "jmp 5f\n",
        )
    };
}

pub(crate) use control_calls;
pub(crate) use control_posted;
