//! Finds sockets that nobody can reach any more: each is held only by messages in the inboxes of the others.
//!
//! A socket all of whose references are in flight is a *suspect*. One is alive if any of those messages lies in an inbox
//! that is not a suspect's, or in the inbox of a suspect that is alive. What is left is garbage: its inboxes are emptied
//! of files, which closes it. (Linux: `net/unix/garbage.c`.)
//!
//! Nobody can make a suspect reachable while it is being looked at: to receive it takes a reference to the socket whose
//! inbox it is in, and that reference is kept until the ledger, locked here, has been told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::rights::{Flying, Rights, Transit, key};
use super::socket::{Link, UnixSocket};

/// A socket that only messages hold.
struct Suspect {
    /// Where files may lie: its own inbox, and those of connections that it has not yet accepted.
    inboxes: Vec<Arc<UnixSocket>>,
    /// The suspects in those inboxes.
    holds: Vec<usize>,
    /// Messages that hold it and have not been found in a suspect's inbox.
    unexplained: usize,
    is_alive: bool,
}

impl Suspect {
    fn new(flying: &Flying) -> Option<Self> {
        if flying.file.strong_count() > flying.references {
            return None;
        }
        let socket = flying.socket.upgrade()?;
        let (mut inboxes, mut is_alive) = (vec![Arc::clone(&socket)], false);
        match socket.state.try_lock().as_deref().map(|state| &state.link) {
            Some(Link::Listening { backlog, .. }) => inboxes.extend(backlog.iter().cloned()),
            Some(_) => {}
            // Somebody is at work with it; the next collection will find out.
            None => is_alive = true,
        }
        Some(Self { inboxes, holds: Vec::new(), unexplained: flying.references, is_alive })
    }

    /// Looks for suspects in the inboxes.
    fn search(&mut self, is_suspect: impl Fn(usize) -> bool) {
        for socket in &self.inboxes {
            let Some(inbox) = socket.inbox.try_lock() else {
                self.is_alive = true;
                continue;
            };
            let files =
                inbox.messages().filter_map(|message| message.rights.as_ref()).flat_map(Rights::files);
            self.holds.extend(files.map(key).filter(|&file| is_suspect(file)));
        }
    }

    /// Takes all files out of the inboxes.
    fn empty(&self) -> Vec<Rights> {
        let inboxes = self.inboxes.iter().filter_map(|socket| socket.inbox.try_lock());
        inboxes.flat_map(|mut inbox| inbox.take_rights()).collect()
    }
}

impl Transit {
    /// Closes what nobody can reach.
    pub(super) fn collect(&self) {
        let mut ledger = self.ledger.lock();
        let suspects = find_suspects(&ledger.sockets);
        let garbage: Vec<Rights> =
            suspects.values().filter(|suspect| !suspect.is_alive).flat_map(Suspect::empty).collect();
        ledger.note_collected();
        // Closing any of these needs the ledger.
        drop(ledger);
        drop(garbage);
        drop(suspects);
    }
}

fn find_suspects(sockets: &HashMap<usize, Flying>) -> HashMap<usize, Suspect> {
    let mut suspects: HashMap<usize, Suspect> =
        sockets.iter().filter_map(|(&file, flying)| Some((file, Suspect::new(flying)?))).collect();
    let keys: Vec<usize> = suspects.keys().copied().collect();
    let is_suspect: HashSet<usize> = keys.iter().copied().collect();
    for suspect in suspects.values_mut() {
        suspect.search(|file| is_suspect.contains(&file));
    }
    for from in &keys {
        for to in suspects[from].holds.clone() {
            if let Some(suspect) = suspects.get_mut(&to) {
                suspect.unexplained = suspect.unexplained.saturating_sub(1);
            }
        }
    }
    mark_alive(&mut suspects);
    suspects
}

/// Spreads life from the suspects that something else holds.
fn mark_alive(suspects: &mut HashMap<usize, Suspect>) {
    let mut pending: Vec<usize> = suspects
        .iter()
        .filter(|(_, suspect)| suspect.is_alive || suspect.unexplained > 0)
        .map(|(&file, _)| file)
        .collect();
    for file in &pending {
        if let Some(suspect) = suspects.get_mut(file) {
            suspect.is_alive = true;
        }
    }
    while let Some(file) = pending.pop() {
        for next in suspects[&file].holds.clone() {
            if let Some(suspect) = suspects.get_mut(&next).filter(|suspect| !suspect.is_alive) {
                suspect.is_alive = true;
                pending.push(next);
            }
        }
    }
}
