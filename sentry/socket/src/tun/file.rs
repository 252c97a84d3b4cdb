//! An open `/dev/net/tun`: packets are read and written one at a time.
//!
//! Lock: `attached`, which comes before the stack's and the device's.

use std::sync::Arc;

use abi::{Errno, Result};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc};
use kernel::vfs::{File, FileOps, WriteAt};
use netstack::Nic;
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::control;
use super::header::{Layout, VNET};
use super::link::{Reader, TunLink};
use crate::inet::NetNamespace;

/// The longest packet that is taken: a segment with all its headers.
const PACKET_MAX: usize = (64 << 10) + 64;

/// The interface that a file is the other end of.
#[derive(Clone)]
pub(super) struct Attached {
    pub(super) nic: Arc<Nic>,
    pub(super) link: Arc<TunLink>,
    pub(super) layout: Layout,
}

/// The file.
pub(super) struct TunFile {
    pub(super) net: Arc<NetNamespace>,
    pub(super) reader: Arc<Reader>,
    pub(super) attached: Mutex<Option<Attached>>,
    /// `TUNSETVNETHDRSZ`, which may come before the interface.
    pub(super) vnet_len: Mutex<usize>,
}

impl TunFile {
    pub(super) fn new(net: Arc<NetNamespace>) -> Self {
        Self { net, reader: Arc::default(), attached: Mutex::new(None), vnet_len: Mutex::new(VNET) }
    }

    /// The interface, as long as it is there.
    ///
    /// # Errors
    /// `EBADFD`.
    pub(super) fn attached(&self) -> Result<Attached> {
        let attached = self.attached.lock().clone();
        attached.filter(|attached| !attached.link.state().is_gone).ok_or(Errno::EBADFD)
    }
}

impl FileOps for TunFile {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let layout = self.attached()?.layout;
        let Some(packet) = self.reader.next() else { return Err(Errno::EAGAIN) };
        let room = dst.remaining();
        if room < layout.len() {
            return Err(Errno::EINVAL);
        }
        let is_cut = room - layout.len() < packet.data.len();
        let header = layout.write(&packet.meta, &packet.data, is_cut);
        Ok(dst.put(&header)? + dst.put(&packet.data)?)
    }

    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let Attached { nic, layout, .. } = self.attached()?;
        let len = src.remaining();
        if len > PACKET_MAX + layout.len() {
            return Err(Errno::EINVAL);
        }
        let mut bytes = vec![0; len];
        if src.take(&mut bytes)? != len {
            return Err(Errno::EFAULT);
        }
        let (meta, at) = layout.read(&bytes)?;
        if !nic.is_up() {
            return Err(Errno::EIO);
        }
        self.net.stack().receive(&nic, &bytes[at..], meta);
        Ok((len, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        if self.attached().is_err() {
            return Events::ERR;
        }
        let readable = if self.reader.is_empty() { Events::empty() } else { Events::READABLE };
        readable | Events::WRITABLE
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.reader.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        control::ioctl(self, task, command, arg)
    }
}

impl Drop for TunFile {
    fn drop(&mut self) {
        let Some(Attached { nic, link, .. }) = self.attached.lock().take() else { return };
        link.detach();
        if link.state().is_persistent {
            self.net.announce_changed(&nic);
        } else if !link.state().is_gone {
            self.net.remove_announced(&nic);
        }
    }
}
