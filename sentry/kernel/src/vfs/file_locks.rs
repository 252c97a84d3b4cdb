//! Advisory locks on files: POSIX record locks, open-file-description locks, flock(2).
