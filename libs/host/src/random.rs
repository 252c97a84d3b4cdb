//! Random bytes from the host.

/// Fills `to` with bytes that nobody can guess (getrandom(2)).
pub fn fill(to: &mut [u8]) {
    let mut at = 0;
    while at < to.len() {
        let rest = &mut to[at..];
        // SAFETY: the pointer and length are those of a live exclusive slice.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        // The call fails only by being interrupted.
        at += usize::try_from(got).unwrap_or(0);
    }
}
