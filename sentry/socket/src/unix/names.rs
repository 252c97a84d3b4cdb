//! The unix sockets of a network name space: who is bound to which abstract name, and all there are. Locks: `map` and
//! `all`, leaves.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::{Errno, Result};
use parking_lot::Mutex;

use super::socket::UnixSocket;

/// The unix sockets of a network name space.
#[derive(Debug, Default)]
pub(crate) struct UnixSockets {
    /// By abstract name.
    map: Mutex<HashMap<Vec<u8>, Weak<UnixSocket>>>,
    next_auto: std::sync::atomic::AtomicU32,
    /// Every socket, for `/proc/net/unix`.
    all: Mutex<HashMap<usize, Weak<UnixSocket>>>,
}

impl UnixSockets {
    /// Binds `socket` to `name`.
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub(super) fn bind(&self, name: &[u8], socket: &Arc<UnixSocket>) -> Result<()> {
        let mut map = self.map.lock();
        if map.get(name).is_some_and(|holder| holder.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        map.insert(name.to_vec(), Arc::downgrade(socket));
        Ok(())
    }

    /// Binds `socket` to a free name of five hexadecimal digits (autobind) and returns it.
    ///
    /// # Errors
    /// `ENOSPC` where all are taken.
    pub(super) fn bind_auto(&self, socket: &Arc<UnixSocket>) -> Result<Vec<u8>> {
        for _ in 0..1 << 20 {
            let number = self.next_auto.fetch_add(1, std::sync::atomic::Ordering::Relaxed) & 0xf_ffff;
            let name = format!("{number:05x}").into_bytes();
            if self.bind(&name, socket).is_ok() {
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// Takes note of a new socket.
    pub(super) fn add(&self, socket: &Arc<UnixSocket>) {
        self.all.lock().insert(Arc::as_ptr(socket).addr(), Arc::downgrade(socket));
    }

    /// Forgets a socket that goes away.
    pub(super) fn forget(&self, socket: &UnixSocket) {
        self.all.lock().remove(&std::ptr::from_ref(socket).addr());
    }

    /// Every socket.
    pub(super) fn sockets(&self) -> Vec<Arc<UnixSocket>> {
        self.all.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Who is bound to `name`.
    pub(super) fn find(&self, name: &[u8]) -> Option<Arc<UnixSocket>> {
        self.map.lock().get(name).and_then(Weak::upgrade)
    }

    /// Frees `name`, which its last holder was bound to.
    pub(super) fn release(&self, name: &[u8]) {
        let mut map = self.map.lock();
        if map.get(name).is_some_and(|holder| holder.strong_count() == 0) {
            map.remove(name);
        }
    }
}
