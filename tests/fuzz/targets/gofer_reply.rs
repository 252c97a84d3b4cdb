//! Answers of a gofer: one byte chooses what is expected, the rest is the body.
#![no_main]

use gofer_protocol::{
    EntryReply, EventBatch, HelloReply, OpenReply, ReadDirReply, RenameReply, StatFsReply, UnlinkReply, WalkReply,
    Wire, decode,
};

fn read<'a, T: Wire<'a>>(body: &'a [u8]) {
    // A refusal is an answer; what is looked for is a panic.
    let _ = decode::<T>(body);
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = bytes.split_first() else { return };
    match kind % 9 {
        0 => read::<HelloReply>(body),
        1 => read::<WalkReply>(body),
        2 => read::<ReadDirReply>(body),
        3 => read::<OpenReply>(body),
        4 => read::<EntryReply>(body),
        5 => read::<RenameReply>(body),
        6 => read::<StatFsReply>(body),
        7 => read::<UnlinkReply>(body),
        _ => read::<EventBatch>(body),
    }
});
