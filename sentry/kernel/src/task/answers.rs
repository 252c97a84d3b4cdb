//! What a task tells the platform about itself, so that `getpid` and its like are answered without the kernel.

use abi::{SigSet, UserAddr};
use platform::posted::POSTED_CALLS;
use platform::{AnsweredCalls, Answers, PlainActions, Told};

use super::{CurrentTask, Task, Work};

const RT_SIGPROCMASK: u32 = 14;
/// getuid, getgid, geteuid, getegid.
const ID_CALLS: [u32; 4] = [102, 104, 107, 108];

impl Task {
    /// Something that [`CurrentTask::refresh_answers`] tells has changed: from now on its calls find that.
    pub(crate) fn note_new_answers(&self) {
        self.wake().revoke_answers();
    }

    /// Somebody else wants to see each of its calls from now on: those that it has posted are carried out, and no more
    /// are until it has looked who that is.
    pub(crate) fn stop_posting(&self) {
        // In this order: where it is about to be granted some, it sees that there is work for it.
        self.note_new_answers();
        self.posted().stop();
    }
}

impl CurrentTask {
    /// Tells the platform what calls of this task return. Nothing while somebody wants to see each call.
    pub(super) fn refresh_answers(&mut self) {
        self.wake().clear(Work::ANSWERS);
        self.take_set_actions();
        if self.is_traced() {
            // The tracer shall see the program's own code.
            self.mm().restore_call_sites();
        }
        let is_watched = self.is_traced() || self.kernel().strace.is_on();
        self.may_post = !is_watched && POSTED_CALLS.iter().all(|call| self.is_always_allowed((*call).into()));
        let answers = (!is_watched).then(|| self.answers());
        self.may_mask = answers.is_some_and(|answers| answers.calls.contains(RT_SIGPROCMASK));
        self.wake().hold_mask();
        self.context.set_answers(answers);
    }

    fn answers(&self) -> Answers {
        let creds = self.creds();
        let ids = &creds.user_ns;
        // They may be set at any time, once.
        let has_ids = !ids.uid_map().ranges().is_empty() && !ids.gid_map().ranges().is_empty();
        let may_answer =
            |call: u32| (has_ids || !ID_CALLS.contains(&call)) && self.is_always_allowed(call.into());
        let parent = self.thread_group().parent().map_or(0, |parent| parent.tgid_in(&self.pid_ns()));
        Answers {
            calls: AnsweredCalls::allowed(may_answer),
            pid: self.thread_group().tgid() as u64,
            tid: self.tid() as u64,
            parent: parent as u64,
            uid: ids.from_kernel_uid(creds.uid).into(),
            effective_uid: ids.from_kernel_uid(creds.euid).into(),
            gid: ids.from_kernel_gid(creds.gid).into(),
            effective_gid: ids.from_kernel_gid(creds.egid).into(),
            actions: self.plain_actions(),
            limits: self.thread_group().limits().pairs(),
        }
    }

    /// Which signal actions the platform may tell and set itself: none where others share them, who would not hear.
    fn plain_actions(&self) -> PlainActions {
        let group = self.thread_group();
        let is_alone = group.threads.lock().live == 1 && group.has_own_actions();
        if is_alone { group.actions().plain() } else { PlainActions::default() }
    }

    /// Stores the signal actions that were set without us. To be done before anybody looks at more of them than which
    /// handlers there are.
    pub(crate) fn take_set_actions(&mut self) {
        let set = self.context.take_set_actions();
        if set.plain != 0 {
            self.thread_group().actions().set_plain(set);
        }
    }

    /// Tells the platform what signals this task blocks. It may change that itself while none is pending: one that is
    /// would have to be taken at once where it is blocked no longer, or be passed to others where it is now.
    pub(super) fn show_mask(&mut self) {
        // Whoever sends a signal after the look below says so again.
        self.wake().clear(Work::MASK);
        let shown = self.may_mask.then(|| {
            let state = self.thread_group().signal.lock();
            let own = self.signals.lock();
            (own.blocked.0, own.pending.is_empty() && state.shared.is_empty())
        });
        self.context.show_mask(shown.map(|(mask, _)| mask), shown.is_some_and(|(_, is_idle)| is_idle));
    }

    /// Takes over what guest code has changed about this task without a call.
    pub(super) fn take_told(&mut self) {
        let Told { mask, robust_list, tid_address } = self.context.take_told();
        if let Some(mask) = mask {
            self.set_blocked(SigSet(mask));
        }
        if robust_list.is_some() || tid_address.is_some() {
            let mut details = self.details.lock();
            details.robust_list = robust_list.map_or(details.robust_list, UserAddr);
            details.clear_child_tid = tid_address.map_or(details.clear_child_tid, UserAddr);
        }
    }
}
