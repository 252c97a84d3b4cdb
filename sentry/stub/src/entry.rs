//! The image as the sentry has it: its bytes, and the places in it that the sentry must know.

unsafe extern "C" {
    static stub_image_start: u8;
    static stub_image_end: u8;
    static stub_boot: u8;
    static stub_handler: u8;
    static stub_restorer: u8;
    static stub_site_helper_door: u8;
    static stub_door: u8;
    static stub_site_door: u8;
    static stub_site_sigreturn: u8;
    static stub_site_exit: u8;
    static stub_call: u8;
    static stub_call_has_rsp: u8;
    static stub_call_has_flags: u8;
    static stub_call_answered: u8;
    static stub_call_own: u8;
    static stub_call_own_saved: u8;
    static stub_call_exchanged: u8;
    static stub_call_not_exchanged: u8;
    static stub_call_post: u8;
    static stub_call_post_saved: u8;
    static stub_call_posted: u8;
    static stub_call_post_undo: u8;
    static stub_call_save: u8;
    static stub_call_committed: u8;
}

/// A place in the image that the sentry must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Where a copy of the image starts the zygote; takes the copy's address in `rdi`.
    Boot,
    /// The signal handler.
    Handler,
    /// What the kernel is told is the handler's return address; nobody returns there.
    Restorer,
    /// Behind the helper's door call.
    HelperDoor,
    /// Where a guest thread calls the door.
    DoorCall,
    /// Behind that call.
    Door,
    /// Behind a guest thread's `rt_sigreturn`.
    SigReturn,
    /// Behind a guest thread's `exit`.
    Exit,
    /// Where rewritten call sites end up.
    Call,
    /// From here on the caller's stack pointer is in the area,
    CallHasRsp,
    /// and its flags.
    CallHasFlags,
    /// From here on the call was answered by the stub.
    CallAnswered,
    /// From here on it is a call that the stub carries out;
    CallOwn,
    /// from here on the call's number is in the area, and `rax` another value.
    CallOwnSaved,
    /// Behind the exchange that changes the signal mask or the set of plain actions, which the zero flag tells the outcome
    /// of. Behind this instruction it was changed,
    CallExchanged,
    /// up to here: the call has yet to be carried out.
    CallNotExchanged,
    /// From here on a call is looked at that might be posted.
    CallPost,
    /// From here on the registers that posting needs are in the area, and guest memory is looked at.
    CallPostSaved,
    /// Behind the exchange that posts the call, which the zero flag tells the outcome of. Behind this instruction it
    /// was posted,
    CallPosted,
    /// up to here: it was not, and goes to the sentry.
    CallPostUndo,
    /// From here on the call is on its way to the sentry.
    CallSave,
    /// From here on the thread is on its way back into guest code.
    CallCommitted,
}

/// The image's bytes.
#[must_use]
pub fn image() -> &'static [u8] {
    let start = &raw const stub_image_start;
    let len = (&raw const stub_image_end) as usize - start as usize;
    // SAFETY: the two symbols delimit one section of read-only data.
    unsafe { core::slice::from_raw_parts(start, len) }
}

/// Where `entry` lies in the image, from its start.
fn offset(entry: Entry) -> u64 {
    let symbol = match entry {
        Entry::Boot => &raw const stub_boot,
        Entry::Handler => &raw const stub_handler,
        Entry::Restorer => &raw const stub_restorer,
        Entry::HelperDoor => &raw const stub_site_helper_door,
        Entry::DoorCall => &raw const stub_door,
        Entry::Door => &raw const stub_site_door,
        Entry::SigReturn => &raw const stub_site_sigreturn,
        Entry::Exit => &raw const stub_site_exit,
        Entry::Call => &raw const stub_call,
        Entry::CallHasRsp => &raw const stub_call_has_rsp,
        Entry::CallHasFlags => &raw const stub_call_has_flags,
        Entry::CallAnswered => &raw const stub_call_answered,
        Entry::CallOwn => &raw const stub_call_own,
        Entry::CallOwnSaved => &raw const stub_call_own_saved,
        Entry::CallExchanged => &raw const stub_call_exchanged,
        Entry::CallNotExchanged => &raw const stub_call_not_exchanged,
        Entry::CallPost => &raw const stub_call_post,
        Entry::CallPostSaved => &raw const stub_call_post_saved,
        Entry::CallPosted => &raw const stub_call_posted,
        Entry::CallPostUndo => &raw const stub_call_post_undo,
        Entry::CallSave => &raw const stub_call_save,
        Entry::CallCommitted => &raw const stub_call_committed,
    };
    (symbol as usize - (&raw const stub_image_start) as usize) as u64
}

/// Where `entry` lies in a process that has the image at `base` (a stub has it at [`IMAGE`](crate::layout::IMAGE)).
#[must_use]
pub fn address_of(entry: Entry, base: u64) -> u64 {
    base + offset(entry)
}
