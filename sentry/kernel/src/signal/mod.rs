//! Signals: pending queues, actions, delivery, the x86-64 signal frame.
