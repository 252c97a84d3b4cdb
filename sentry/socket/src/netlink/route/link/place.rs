//! Name spaces that a message about a link names.

use std::sync::Arc;

use abi::{Errno, Result};
use kernel::Task;
use kernel::task::{Capability, NamespaceFile, NamespaceRef, OtherNamespace, Tid};

use super::super::super::Context;
use super::super::super::message::Attributes;
use super::{IFLA_NET_NS_FD, IFLA_NET_NS_PID};
use crate::inet::NetNamespace;

/// A name space: the socket's, or another.
pub(super) enum Place<'a> {
    Here(&'a NetNamespace),
    Other(Arc<NetNamespace>),
}

impl<'a> Place<'a> {
    pub(super) const fn here(context: &Context<'a>) -> Self {
        Self::Here(context.net)
    }

    pub(super) fn net(&self) -> &NetNamespace {
        match self {
            Self::Here(net) => net,
            Self::Other(net) => net,
        }
    }

    /// Whether it is `net`.
    pub(super) fn is(&self, net: &NetNamespace) -> bool {
        std::ptr::eq(self.net(), net)
    }
}

/// The name space that `IFLA_NET_NS_PID` or `IFLA_NET_NS_FD` asks for.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over it, and what [`by_pid`] and [`by_fd`] say.
pub(super) fn asked<'a>(context: &Context<'a>, attributes: Attributes<'_>) -> Result<Option<Place<'a>>> {
    let task = context.task;
    let namespace = match (attributes.word(IFLA_NET_NS_PID), attributes.word(IFLA_NET_NS_FD)) {
        (Some(pid), _) => by_pid(task, pid)?,
        (None, Some(fd)) => by_fd(task, fd)?,
        (None, None) => return Ok(None),
    };
    if !task.creds().has_in(namespace.user_ns(), Capability::NetAdmin) {
        return Err(Errno::EPERM);
    }
    content(task, &namespace).map(|net| Some(Place::Other(net)))
}

/// The network name space of a process.
///
/// # Errors
/// `ESRCH`.
pub(in super::super) fn by_pid(task: &Task, pid: u32) -> Result<Arc<OtherNamespace>> {
    let tid = Tid::try_from(pid).map_err(|_| Errno::ESRCH)?;
    let target = task.pid_ns().task(tid).ok_or(Errno::ESRCH)?;
    Ok(Arc::clone(&target.namespaces().net))
}

/// The network name space that a descriptor stands for.
///
/// # Errors
/// `EBADF`, `EINVAL` for another file.
pub(in super::super) fn by_fd(task: &Task, fd: u32) -> Result<Arc<OtherNamespace>> {
    let file = task.fd_table().get(i32::try_from(fd).map_err(|_| Errno::EBADF)?)?;
    match file.ops_as::<NamespaceFile>() {
        Some(NamespaceFile(NamespaceRef::Net(namespace))) => Ok(Arc::clone(namespace)),
        _ => Err(Errno::EINVAL),
    }
}

/// The stack of a name space.
pub(in super::super) fn content(task: &Task, namespace: &OtherNamespace) -> Result<Arc<NetNamespace>> {
    namespace.content(|| NetNamespace::new(task.kernel(), namespace, false)).ok_or(Errno::EAFNOSUPPORT)
}
