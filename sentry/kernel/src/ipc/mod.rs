//! System V IPC: shared memory, semaphores, message queues.
