//! `start` and `delete`: the two calls of this program that containerd makes, and the shim's own beginning.
//!
//! `start`, in the bundle's directory, prints the address of a shim that serves the container: that of its pod's where
//! it has one, or a new one's. A new shim is this program without a command; the socket it listens on is its standard
//! input. `delete` cleans up after a shim that died.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::Server;
use host::unix::{Kind, connect, listen};
use sha2::{Digest, Sha256};

use crate::args::Args;
use crate::bundle::Bundle;
use crate::error::{Context, Failure, Result};
use crate::events::{Destination, Publisher, timestamp};
use crate::options::Options;
use crate::reaper::{Exit, Reaper};
use crate::runsc::Runsc;
use crate::service::{Calls, Service};
use crate::task::{Host, remove_rest};
use crate::{log, task};

/// Where shims listen.
const SOCKETS: &str = "/run/containerd/s";
/// Keeps the host's killer for lack of memory away from the shim.
const OOM_SCORE: &str = "-998";
const O_NONBLOCK: i32 = 0o4000;

/// The socket of the shim for a group of containers.
fn socket_path(args: &Args, group: &str) -> PathBuf {
    let name = Path::new(&args.address).join(&args.namespace).join(group);
    let hash = Sha256::digest(name.as_os_str().as_encoded_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(SOCKETS).join(hex)
}

/// The options that containerd writes to the standard input of `start`, where it does.
fn sent_options() -> Result<Options> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("cannot read the options")?;
    // What is no options of ours is no reason not to start, since Create says what is wrong with it; nor is it anything
    // to do without those that are found: newer versions of containerd send more than options.
    let any = Any::parse_from_bytes(&bytes).unwrap_or_default();
    Ok(Options::of(Some(&any)).or_else(|_| Options::searched()).unwrap_or_default())
}

/// `start`: prints the address of a shim for the container.
pub(crate) fn start(args: &Args) -> Result<()> {
    let options = sent_options()?;
    let bundle = std::env::current_dir().context("the bundle's directory is gone")?;
    let config = Bundle::load(&bundle)?;
    let group = config.group().filter(|_| options.grouping).unwrap_or(&args.id);
    let socket = socket_path(args, group);
    // Of two that start for one group the second finds the first one's shim.
    let _turn = take_turn()?;
    let launched = match connect(&socket, Kind::Stream) {
        Ok(_) => None,
        Err(_) => Some(launch(args, group, &socket, &bundle, &options)?),
    };
    tell(&socket, &bundle).inspect_err(|_| {
        if let Some(mut shim) = launched {
            let _ = shim.kill();
            let _ = std::fs::remove_file(&socket);
        }
    })
}

/// Waits until no other is starting a shim; none is as long as the answer lives.
fn take_turn() -> Result<File> {
    let what = "cannot make the directory of shims' sockets";
    std::fs::create_dir_all(SOCKETS).context(what)?;
    let dir = File::open(SOCKETS).context(what)?;
    dir.lock().context("cannot wait for others that start shims")?;
    Ok(dir)
}

/// Says where the shim listens, to containerd and for later.
fn tell(socket: &Path, bundle: &Path) -> Result<()> {
    let address = format!("unix://{}", socket.display());
    std::fs::write(bundle.join("address"), &address).context("cannot write the shim's address")?;
    let reply = reply(&address, std::env::var("MAX_SHIM_VERSION").ok().as_deref());
    std::io::stdout().write_all(reply.as_bytes()).context("cannot print the shim's address")
}

/// What containerd reads: the bare address, or since its version 2 a document that names the service's version.
fn reply(address: &str, newest: Option<&str>) -> String {
    match newest.and_then(|version| version.trim().parse::<u32>().ok()) {
        Some(3..) => serde_json::json!({"version": 3, "address": address, "protocol": "ttrpc"}).to_string(),
        _ => address.into(),
    }
}

fn launch(args: &Args, group: &str, socket: &Path, bundle: &Path, options: &Options) -> Result<Child> {
    // Nobody listens there: it is what a shim left that died.
    let _ = std::fs::remove_file(socket);
    let listener = listen(socket, Kind::Stream, 128).context("cannot listen for containerd")?;
    std::fs::set_permissions(socket, Permissions::from_mode(0o600))
        .context("cannot guard the shim's socket")?;
    let what = "cannot start the shim";
    let mut command = Command::new(std::env::current_exe().context(what)?);
    command.args(["-namespace", &args.namespace, "-address", &args.address, "-id", group]);
    command.arg("-publish-binary").arg(&args.publish_binary).arg("-socket").arg(socket);
    if args.is_debug || options.is_debug() {
        command.arg("-debug");
    }
    let log = log_file(bundle, options, group)?;
    command.current_dir(bundle).process_group(0);
    command.stdin(Stdio::from(listener)).stdout(Stdio::null()).stderr(log);
    let mut shim = command.spawn().inspect_err(|_| drop(std::fs::remove_file(socket))).context(what)?;
    let settled = settle(&shim.id().to_string(), bundle, options);
    match settled {
        Ok(()) => Ok(shim),
        Err(failure) => {
            let _ = shim.kill();
            let _ = std::fs::remove_file(socket);
            Err(failure)
        }
    }
}

/// Writes the shim's pid down, and puts its process where it belongs. Nothing may be printed here but by an error:
/// containerd takes all output for the address.
fn settle(pid: &str, bundle: &Path, options: &Options) -> Result<()> {
    std::fs::write(bundle.join("shim.pid"), pid).context("cannot write the shim's pid")?;
    // Without the privilege to change it, it stays what containerd's is.
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE);
    join_cgroup(&options.shim_cgroup, pid)
}

/// Where the shim writes its log: the options' file, or the named pipe that containerd reads.
fn log_file(bundle: &Path, options: &Options, id: &str) -> Result<Stdio> {
    if !options.log_path.is_empty() {
        let path = options.log_path.replace("%ID%", id);
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&path);
        return file.map(Stdio::from).context(format_args!("cannot open log_path {path}"));
    }
    // Open for both does not wait for a reader; a full pipe must not hold up the shim.
    let pipe = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(bundle.join("log"));
    Ok(pipe.map_or_else(|_| Stdio::null(), Stdio::from))
}

/// Moves the shim to the cgroup that the options name. Of several hierarchies one may refuse it: a new cpuset has no
/// processors.
fn join_cgroup(path: &str, pid: &str) -> Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    let path = path.trim_start_matches('/');
    let root = Path::new("/sys/fs/cgroup");
    let dirs: Vec<PathBuf> = if root.join("cgroup.controllers").exists() {
        vec![root.join(path)]
    } else {
        // One per hierarchy; links are second names of those.
        let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten();
        let hierarchies = hierarchies.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        hierarchies.map(|entry| entry.path().join(path)).collect()
    };
    let join = |dir: &PathBuf| {
        std::fs::create_dir_all(dir).and_then(|()| std::fs::write(dir.join("cgroup.procs"), pid))
    };
    let joined: Vec<_> = dirs.iter().map(join).collect();
    if joined.iter().any(Result::is_ok) {
        return Ok(());
    }
    joined.into_iter().find_map(Result::err).map_or(Ok(()), |error| {
        Err(Failure::other(format_args!("shim_cgroup: the shim cannot join /{path}"), error))
    })
}

/// The shim itself: serves until containerd says that it is to end.
pub(crate) fn serve(args: &Args) -> Result<()> {
    let listener = std::io::stdin().as_fd().try_clone_to_owned().context("no socket on standard input")?;
    let _reserved = reserve_numbers()?;
    log::set_debug(args.is_debug);
    let reaper = Reaper::start()?;
    let destination = Destination {
        ttrpc: std::env::var("TTRPC_ADDRESS").unwrap_or_default(),
        program: args.publish_binary.clone(),
        grpc: args.address.clone(),
    };
    let publisher = Publisher::start(&args.namespace, destination, reaper.clone())?;
    let host = Host { namespace: args.namespace.clone(), socket: args.socket.clone(), reaper };
    let (shutdown, ends) = channel();
    let service = Arc::new(Service::new(host, publisher, shutdown));
    let server = Server::new().add_listener(listener.into_raw_fd()).context("cannot serve")?;
    let mut server = server.register_service(Calls(service.clone()).methods());
    server.start().context("cannot serve")?;
    let _ = ends.recv();
    // From here on a new `start` for this group makes a new shim.
    let _ = std::fs::remove_file(&args.socket);
    service.finish();
    Ok(())
}

/// Keeps descriptors 3 to 7 taken, which logging programs are started with.
fn reserve_numbers() -> Result<Vec<File>> {
    (0..5).map(|_| File::open("/dev/null").context("cannot open /dev/null")).collect()
}

/// `delete`: removes what is left of a container whose shim died, and says how it ended.
pub(crate) fn delete(args: &Args) -> Result<()> {
    let current = std::env::current_dir().context("the bundle's directory is gone")?;
    let bundle = if args.bundle.as_os_str().is_empty() { current } else { args.bundle.clone() };
    let options = Options::kept_in(&bundle).map_or_else(sent_options, Ok)?;
    let reaper = Reaper::start()?;
    let runsc = Runsc::new(&options, &args.namespace, &bundle, &reaper);
    let pid = task::read_pid(&bundle.join("init.pid")).unwrap_or(0);
    remove_rest(&runsc, &args.id, &bundle);
    remove_dead_socket(&bundle);
    let exit = Exit::killed();
    let response = DeleteResponse {
        pid,
        exit_status: exit.status,
        exited_at: Some(timestamp(exit.at)).into(),
        ..DeleteResponse::default()
    };
    let bytes = response.write_to_bytes().context("cannot encode the answer")?;
    std::io::stdout().write_all(&bytes).context("cannot print the answer")
}

/// Removes the socket that the bundle names, where nobody listens on it.
fn remove_dead_socket(bundle: &Path) {
    let Ok(address) = std::fs::read_to_string(bundle.join("address")) else { return };
    let socket = Path::new(address.trim().trim_start_matches("unix://"));
    if socket.starts_with(SOCKETS) && connect(socket, Kind::Stream).is_err() {
        let _ = std::fs::remove_file(socket);
    }
}

#[cfg(test)]
mod tests {
    use super::{reply, socket_path};
    use crate::args::Args;

    #[test]
    fn containerd_is_answered_as_it_understands() {
        assert_eq!(reply("unix:///s", None), "unix:///s");
        assert_eq!(reply("unix:///s", Some("2")), "unix:///s");
        let document: serde_json::Value = serde_json::from_str(&reply("unix:///s", Some("3"))).unwrap();
        assert_eq!(document, serde_json::json!({"version": 3, "address": "unix:///s", "protocol": "ttrpc"}));
    }

    #[test]
    fn a_socket_is_found_again_by_its_group_alone() {
        let args =
            |namespace: &str| Args { namespace: namespace.into(), address: "/a".into(), ..Args::default() };
        let path = socket_path(&args("n"), "g");
        assert_eq!(path, socket_path(&Args { id: "other".into(), ..args("n") }, "g"));
        assert_ne!(path, socket_path(&args("m"), "g"));
        assert_ne!(path, socket_path(&args("n"), "h"));
        assert!(path.as_os_str().len() < 100);
    }
}
