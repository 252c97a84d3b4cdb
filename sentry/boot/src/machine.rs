//! The [`Kernel`] as a sandbox needs it: memory, platform, file systems, address families.

use std::sync::Arc;

use control::boot::HostPlan;
use control::broker::Broker;
use control::{Failure, Settings};
use fs::host::HostFiles;
use kernel::kernel::KernelConfig;
use kernel::loader::Vdso;
use kernel::mm::MemoryFile;
use kernel::task::OtherNamespace;
use kernel::{DebugLog, Kernel};
use platform::Platform;
use platform::systrap::{HandOver, Systrap};
use socket::hostinet::HostInetFamily;
use socket::inet::InetFamily;
use socket::packet::PacketFamily;

/// The kernel with its memory, platform and file systems; no container yet.
pub(crate) fn new_kernel(
    settings: &Settings,
    host: &HostPlan,
    log: DebugLog,
    user_log: DebugLog,
) -> Result<Arc<Kernel>, Failure> {
    let limit = host.memory_capacity.max(64 << 20);
    let memory = MemoryFile::new(limit)
        .map_err(|errno| Failure::host(format!("cannot make the guest's memory ({limit} bytes): {errno}")))?;
    let vdso = Vdso::new(&memory)
        .map_err(|errno| Failure::host(format!("cannot put the vDSO into memory: {errno}")))?;
    let platform = new_platform(settings, &memory, &vdso)?;
    let config = KernelConfig {
        cpu_count: host.cpu_count.max(1) as usize,
        total_memory: host.total_memory,
        strace: settings.strace.then(|| settings.strace_syscalls.clone()),
        strace_log_size: settings.strace_log_size as usize,
        log,
        user_log,
        rewrite_calls: !settings.disable_syscall_patching,
        hides_owners: host.hides_owners,
    };
    let kernel = Kernel::new(platform, memory, vdso, config);
    fs::register(&kernel)
        .map_err(|errno| Failure::host(format!("cannot set up the sentry's file systems: {errno}")))?;
    Ok(kernel)
}

fn new_platform(settings: &Settings, memory: &MemoryFile, vdso: &Vdso) -> Result<Arc<dyn Platform>, Failure> {
    if settings.platform != "systrap" {
        let name = &settings.platform;
        return Err(Failure::invalid(format!("there is no platform {name:?}: use --platform=systrap")));
    }
    let hand_over = if settings.disable_fast_path { HandOver::Door } else { HandOver::default() };
    let platform = Systrap::new(memory.fd(), vdso.clock_page(), hand_over)
        .map_err(|error| Failure::host(error.to_string()))?;
    Ok(Arc::new(platform))
}

/// Offers the address families: the host's internet sockets where there is a broker for them, else our own stack's.
pub(crate) fn register_families(
    kernel: &Arc<Kernel>,
    broker: Option<Broker>,
    host_files: &Arc<HostFiles>,
    net: &Arc<OtherNamespace>,
    settings: &Settings,
) {
    let sockets = &kernel.sockets;
    if let Some(broker) = broker {
        for family in HostInetFamily::both(broker, host_files.readiness(), net) {
            sockets.register(Arc::new(family));
        }
    } else {
        sockets.register(Arc::new(PacketFamily::new(settings.packet_write)));
        sockets.register(Arc::new(InetFamily::v4()));
        sockets.register(Arc::new(InetFamily::v6()));
        socket::tun::register(kernel);
    }
    sockets.register(Arc::new(socket::netlink::NetlinkFamily));
    sockets.register(Arc::new(socket::unix::UnixFamily::new()));
}
