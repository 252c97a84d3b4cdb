//! What all containers of a sandbox share.

use std::sync::Arc;

use control::boot::HostPlan;
use control::{Failure, Settings};
use fs::host::HostFiles;
use kernel::Kernel;
use kernel::task::OtherNamespace;
use socket::inet::NetNamespace;

use crate::filesystems::SharedMounts;

/// The kernel and what else a container is made in.
pub(crate) struct Surroundings {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) settings: Settings,
    pub(crate) host: HostPlan,
    pub(crate) host_files: Arc<HostFiles>,
    /// Mounts that containers have in common.
    pub(crate) mounts: Arc<SharedMounts>,
    /// The network name space.
    pub(crate) net: Arc<OtherNamespace>,
}

impl Surroundings {
    /// What is in the network name space. The first to ask makes it, with the loopback interface up.
    pub(crate) fn net_content(&self) -> Result<Arc<NetNamespace>, Failure> {
        let content = self.net.content(|| NetNamespace::new(&self.kernel, &self.net, true));
        content.ok_or_else(|| Failure::host("the network name space holds something else"))
    }
}
