//! What the gofer reports of shared mounts. A thread waits for it; while nothing changes, it sleeps.

use std::sync::Weak;

use abi::{Errno, Result};
use gofer_protocol::{Event, EventBatch, MessageKind, Transport, decode};
use host::fs::WatchMask;

use super::volume::Volume;

/// Starts the thread. It ends with the gofer, or when the last of the mounts is gone.
pub(super) fn start(events: Transport, shared: Vec<Weak<Volume>>) -> Result<()> {
    std::thread::Builder::new()
        .name("gofer-events".into())
        .stack_size(128 << 10)
        .spawn(move || follow(&events, &shared))
        .map(|_| ())
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EAGAIN.raw())))
}

fn follow(events: &Transport, shared: &[Weak<Volume>]) {
    let mut buffer = Vec::new();
    while let Ok(Some(frame)) = events.receive(&mut buffer) {
        let batch = match decode::<EventBatch<'_>>(&frame.body) {
            Ok(batch) if frame.header.kind == MessageKind::Event => batch,
            // A gofer that talks nonsense may have meant anything.
            _ => EventBatch { events: vec![Event::Lost] },
        };
        for event in &batch.events {
            deliver(event, shared);
        }
        if shared.iter().all(|volume| volume.strong_count() == 0) {
            return;
        }
    }
    // Nobody tells us any more.
    deliver(&Event::Lost, shared);
}

fn deliver(event: &Event<'_>, shared: &[Weak<Volume>]) {
    for volume in shared.iter().filter_map(Weak::upgrade) {
        match event {
            Event::Changed { node, name, mask, cookie } => {
                if let Some(inode) = volume.by_node(*node) {
                    let name = name.map(|name| name.as_bytes());
                    inode.changed_by_host(name, WatchMask::from_bits_retain(*mask), *cookie);
                }
            }
            Event::Lost => volume.watched().iter().for_each(|inode| inode.all_doubtful()),
        }
    }
}
