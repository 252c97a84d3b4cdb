//! System V message queues (`man 2 msgget`, `man 2 msgop`, `man 2 msgctl`).
//!
//! Locks: the registry's `ids` comes before a queue's `state`, which is a leaf.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use abi::ipc::{MsgInfo, MsqidDs};
use abi::{Errno, Result};
use host::heap::{self, Purpose};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::common::IpcCommon;
use super::{IpcAccess, IpcIds, IpcLimit, IpcObject, IpcSet, Perm};
use crate::task::{Capability, Credentials};

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Positive.
    pub kind: i64,
    /// The text.
    pub text: Box<[u8]>,
}

/// Which message a receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first.
    Any,
    /// The first of this type.
    Kind(i64),
    /// The first of another type.
    Except(i64),
    /// The first of the lowest type that is not above this.
    UpTo(i64),
    /// A copy of the one at this position.
    CopyOf(usize),
}

/// A queue.
#[derive(Debug)]
pub struct MsgQueue {
    queues: Weak<MsgQueues>,
    state: Mutex<State>,
    waiters: WaitQueue,
}

#[derive(Debug)]
struct State {
    perm: Perm,
    messages: VecDeque<Message>,
    bytes: u64,
    max_bytes: u64,
    sent_at: i64,
    received_at: i64,
    changed_at: i64,
    last_sender: i32,
    last_receiver: i32,
    is_removed: bool,
}

/// The queues of an IPC name space.
#[derive(Debug)]
pub struct MsgQueues {
    this: Weak<Self>,
    common: IpcCommon,
    ids: Mutex<IpcIds<MsgQueue>>,
}

impl MsgQueues {
    /// No queues.
    #[must_use]
    pub(super) fn new(common: &IpcCommon) -> Arc<Self> {
        Arc::new_cyclic(|this| Self { this: this.clone(), common: common.clone(), ids: Mutex::default() })
    }

    /// msgget(2).
    ///
    /// # Errors
    /// As msgget(2).
    pub fn find_or_make(&self, key: i32, flags: u32, creds: &Credentials) -> Result<i32> {
        let make = || {
            let state = State {
                perm: self.common.perm(key, creds, flags),
                messages: VecDeque::new(),
                bytes: 0,
                max_bytes: self.common.limit(IpcLimit::MsgMnb),
                sent_at: 0,
                received_at: 0,
                changed_at: self.common.now(),
                last_sender: 0,
                last_receiver: 0,
                is_removed: false,
            };
            let (queues, waiters) = (self.this.clone(), WaitQueue::new());
            Ok(Arc::new(MsgQueue { queues, state: Mutex::new(state), waiters }))
        };
        self.ids.lock().find_or_make(key, flags, creds, self.common.limit(IpcLimit::MsgMni), |_| Ok(()), make)
    }

    /// Most bytes in a message.
    #[must_use]
    pub fn max_message(&self) -> u64 {
        self.common.limit(IpcLimit::MsgMax)
    }

    /// `IPC_INFO` and `MSG_INFO`: limits or use, and the highest index in use.
    #[must_use]
    pub fn info(&self, wants_use: bool) -> (MsgInfo, i32) {
        let small = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
        let limit = |which| self.common.limit(which);
        let (most_bytes, most_queues) = (limit(IpcLimit::MsgMnb), limit(IpcLimit::MsgMni));
        let ids = self.ids.lock();
        let mut info = MsgInfo {
            msgpool: small(most_queues.saturating_mul(most_bytes) / 1024),
            msgmap: small(most_bytes),
            msgmax: small(limit(IpcLimit::MsgMax)),
            msgmnb: small(most_bytes),
            msgmni: small(most_queues),
            msgssz: 16,
            msgtql: small(most_bytes),
            msgseg: u16::MAX,
            pad: 0,
        };
        if wants_use {
            let (mut messages, mut bytes) = (0, 0);
            for (_, queue) in ids.iter() {
                let state = queue.state.lock();
                messages += state.messages.len() as u64;
                bytes += state.bytes;
            }
            info.msgpool = small(ids.len() as u64);
            info.msgmap = small(messages);
            info.msgtql = small(bytes);
        }
        (info, ids.highest_index().max(0))
    }
}

impl IpcSet for MsgQueues {
    type Object = MsgQueue;

    fn with_ids<R>(&self, look: impl FnOnce(&IpcIds<MsgQueue>) -> R) -> R {
        look(&self.ids.lock())
    }

    /// Whoever waits gets `EIDRM`.
    fn remove(&self, id: i32) {
        let removed = self.ids.lock().remove(id);
        if let Some(queue) = removed {
            let mut state = queue.state.lock();
            state.is_removed = true;
            state.messages.clear();
            drop(state);
            queue.waiters.notify(Events::all());
        }
    }
}

impl IpcObject for MsgQueue {
    type Description = MsqidDs;

    fn perm(&self) -> Perm {
        self.state.lock().perm.clone()
    }

    fn set_perm(&self, perm: Perm) {
        self.state.lock().perm = perm;
    }

    fn describe(&self, creds: &Credentials) -> MsqidDs {
        let state = self.state.lock();
        MsqidDs {
            msg_perm: state.perm.show(creds),
            msg_stime: state.sent_at,
            msg_rtime: state.received_at,
            msg_ctime: state.changed_at,
            msg_cbytes: state.bytes,
            msg_qnum: state.messages.len() as u64,
            msg_qbytes: state.max_bytes,
            msg_lspid: state.last_sender,
            msg_lrpid: state.last_receiver,
            ..MsqidDs::default()
        }
    }

    /// Owner, mode and size.
    fn set(&self, creds: &Credentials, new: &MsqidDs) -> Result<()> {
        let now = self.now();
        let limit = self.queues.upgrade().map_or(0, |queues| queues.common.limit(IpcLimit::MsgMnb));
        let mut state = self.state.lock();
        state.perm.check_owner(creds)?;
        if new.msg_qbytes > limit && !creds.capable(Capability::SysResource) {
            return Err(Errno::EPERM);
        }
        state.perm.set(creds, &new.msg_perm)?;
        state.max_bytes = new.msg_qbytes;
        state.changed_at = now;
        drop(state);
        // There may be room now, and others may be allowed to use it.
        self.waiters.notify(Events::all());
        Ok(())
    }
}

impl MsgQueue {
    /// Where senders (`OUT`) and receivers (`IN`) wait.
    #[must_use]
    pub fn waiters(&self) -> &WaitQueue {
        &self.waiters
    }

    fn now(&self) -> i64 {
        self.queues.upgrade().map_or(0, |queues| queues.common.now())
    }

    /// Appends a message, which is taken out of `message` then.
    ///
    /// # Errors
    /// `EAGAIN` where there is no room now; `EACCES`, `EIDRM`.
    pub fn send(&self, message: &mut Option<Message>, creds: &Credentials, pid: i32) -> Result<()> {
        let now = self.now();
        let mut state = self.state.lock();
        if state.is_removed {
            return Err(Errno::EIDRM);
        }
        state.perm.check(creds, IpcAccess::Write)?;
        let len = message.as_ref().map_or(0, |message| message.text.len() as u64);
        let has_room =
            state.bytes + len <= state.max_bytes && (state.messages.len() as u64) < state.max_bytes;
        if !has_room {
            return Err(Errno::EAGAIN);
        }
        heap::room_for(len, Purpose::Lasting)?;
        state.messages.extend(message.take());
        state.bytes += len;
        state.sent_at = now;
        state.last_sender = pid;
        drop(state);
        self.waiters.notify(Events::READABLE);
        Ok(())
    }

    /// Takes a message out, or a copy. One longer than `max_len` stays, unless it `may_cut` it.
    ///
    /// # Errors
    /// `EAGAIN` where there is no such message now; `E2BIG`, `EACCES`, `EIDRM`.
    pub fn receive(
        &self,
        wanted: Wanted,
        max_len: usize,
        may_cut: bool,
        creds: &Credentials,
        pid: i32,
    ) -> Result<Message> {
        let now = self.now();
        let mut state = self.state.lock();
        if state.is_removed {
            return Err(Errno::EIDRM);
        }
        state.perm.check(creds, IpcAccess::Read)?;
        let index = find(&state.messages, wanted).ok_or(Errno::EAGAIN)?;
        let found = state.messages.get(index).ok_or(Errno::EAGAIN)?;
        if found.text.len() > max_len && !may_cut {
            return Err(Errno::E2BIG);
        }
        if matches!(wanted, Wanted::CopyOf(_)) {
            return Ok(found.clone());
        }
        let message = state.messages.remove(index).ok_or(Errno::EAGAIN)?;
        state.bytes -= message.text.len() as u64;
        state.received_at = now;
        state.last_receiver = pid;
        drop(state);
        self.waiters.notify(Events::WRITABLE);
        Ok(message)
    }
}

fn find(messages: &VecDeque<Message>, wanted: Wanted) -> Option<usize> {
    let first = |is_it: &dyn Fn(&Message) -> bool| messages.iter().position(is_it);
    match wanted {
        Wanted::Any => first(&|_| true),
        Wanted::Kind(kind) => first(&|message| message.kind == kind),
        Wanted::Except(kind) => first(&|message| message.kind != kind),
        Wanted::CopyOf(index) => Some(index),
        Wanted::UpTo(limit) => {
            let lowest = messages.iter().map(|message| message.kind).filter(|&kind| kind <= limit).min()?;
            first(&|message| message.kind == lowest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, Wanted, find};

    #[test]
    fn messages_are_found_by_type() {
        let queue = [3, 2, 2, 9].map(|kind| Message { kind, text: Box::default() }).into();
        assert_eq!(find(&queue, Wanted::Any), Some(0));
        assert_eq!(find(&queue, Wanted::Kind(2)), Some(1));
        assert_eq!(find(&queue, Wanted::Kind(4)), None);
        assert_eq!(find(&queue, Wanted::Except(3)), Some(1));
        assert_eq!(find(&queue, Wanted::UpTo(5)), Some(1));
        assert_eq!(find(&queue, Wanted::UpTo(1)), None);
    }
}
