//! Signals: pending queues, actions, sending, delivery, the x86-64 signal frame (`man 7 signal`).
//!
//! A signal is sent to a process or to one of its threads. Either way it is queued under the process's *signal lock*
//! (`ThreadGroup::signal`, Linux's siglock), and a thread that will take it is told by a bit in its work word. The
//! thread takes signals in its own run loop, when it is about to go back to guest code.
//!
//! Locks: the process's signal lock, then a thread's [`TaskSignals`], then the actions. All three are leaves towards
//! everything else: no user copy, no file and no tree lock is taken under them.

mod action;
mod alt_stack;
mod deliver;
mod forking;
mod frame_x86_64;
mod permission;
mod queue;
mod send;
mod state;
mod stop;

pub(crate) use action::SharedActions;
pub use action::{DefaultAction, SigAction, SignalActions, default_action};
pub(crate) use forking::Forking;
pub use frame_x86_64::TrapInfo;
pub use queue::PendingSignals;
pub use send::Sender;
pub use state::{AltStack, GroupStop, JobReport, SignalState, TaskSignals};
