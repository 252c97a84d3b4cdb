//! What a gofer gives up before it reads the first request.
//!
//! The runtime has put the process in its name spaces and pivoted it into the container's files. What remains: the
//! descriptor limit goes up as far as it may, all capabilities but those that file ownership needs go, nothing can
//! come back by exec, and only the calls of `filter.rs` are left, on every thread.

use abi::resource::Resource;
use host::capability::{self, Capabilities};
use host::seccomp::{Action, InstallFlags, compile};
use host::{fs, process};

use crate::config::{Config, ServeError};
use crate::filter;
use crate::server::Server;

/// Descriptors that are not for nodes: standard streams, sockets, streams, what a request opens for the moment.
const RESERVED_DESCRIPTORS: u64 = 128;

/// CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID (`linux/capability.h`).
const CAPABILITIES: [u32; 5] = [0, 1, 2, 3, 4];

/// Confines the process and serves until the client closes its end.
///
/// # Errors
/// [`ServeError`]: nothing was served where it is not [`ServeError::Connection`].
pub fn serve(config: Config) -> Result<(), ServeError> {
    serve_then(config, || {})
}

/// [`serve`], which calls `ready` when the process is confined and about to read the first request.
///
/// # Errors
/// As [`serve`]; `ready` was called where it is [`ServeError::Connection`].
pub fn serve_then(mut config: Config, ready: impl FnOnce()) -> Result<(), ServeError> {
    let descriptors = raise_descriptor_limit()?;
    let for_nodes =
        usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).unwrap_or(usize::MAX);
    config.limits.descriptors = config.limits.descriptors.min(for_nodes.max(16));
    process::set_umask(0);
    // The working directory serves to name directories to inotify_add_watch(2), which knows only paths.
    fs::own_working_dir()
        .map_err(|error| ServeError::Jail { what: "unshare the working directory", error })?;
    drop_capabilities()?;
    process::no_new_privileges().map_err(|error| ServeError::Jail { what: "set no_new_privs", error })?;
    // Threads inherit all of the above; the filters are put on those that there are.
    let mut server = Server::new(config)?;
    server.make_door();
    compile(filter::RULES, Action::KillProcess)?.install(InstallFlags::ALL_THREADS)?;
    ready();
    process::shed_start();
    server.run()
}

fn raise_descriptor_limit() -> Result<u64, ServeError> {
    let (_, hard) = process::resource_limit(Resource::Nofile)
        .map_err(|error| ServeError::Jail { what: "read the descriptor limit", error })?;
    process::set_resource_limit(Resource::Nofile, hard, hard)
        .map_err(|error| ServeError::Jail { what: "raise the descriptor limit", error })?;
    Ok(hard)
}

fn drop_capabilities() -> Result<(), ServeError> {
    let jail = |what| move |error| ServeError::Jail { what, error };
    let has = capability::effective().map_err(jail("read the capabilities"))?;
    let keep = Capabilities(Capabilities::of(&CAPABILITIES).0 & has.0);
    // Without CAP_SETPCAP the bounding set stays, which no_new_privs makes harmless.
    match capability::limit_bounding(keep) {
        Ok(()) | Err(abi::Errno::EPERM) => {}
        Err(error) => return Err(jail("limit the bounding set")(error)),
    }
    capability::set(keep).map_err(jail("drop the capabilities"))
}
