//! A gofer in its jail, as a process of its own: what it may still do, seen from outside and through its service.

#![allow(clippy::unwrap_used, reason = "a test without the test harness")]

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command};

use gofer::{Config, Limits, MountConfig};
use gofer_protocol::{
    Client, Close, Create, Forget, GetXattr, Link, Mkdir, Mknod, Name, NodeId, NodeOpenFlags, ReadDir,
    Rename, RenameFlags, SetAttr, SetTime, SetXattr, StatFs, Symlink, Sync, Target, Time, Transport, Unlink,
    Walk, XattrFlags, XattrName,
};
use host::unix::{Kind, pair};

const ROLE: &str = "GOFER_TEST_ROOT";

fn main() {
    if let Some(root) = std::env::var_os(ROLE) {
        return serve(PathBuf::from(root));
    }
    for (name, test) in [
        ("the_posture_is_as_promised", the_posture_is_as_promised as fn()),
        ("everything_works_inside", everything_works_inside),
    ] {
        test();
        println!("test {name} ... ok");
    }
}

fn serve(path: PathBuf) {
    let socket = host::process::take_inherited(3, 1).unwrap().remove(0);
    let mounts = vec![MountConfig { path, read_only: false, shared: true }];
    gofer::serve(Config { socket, mounts, limits: Limits::default() }).unwrap();
}

struct Gofer {
    process: Child,
    client: Client,
    events: Option<Transport>,
    root: NodeId,
    dir: PathBuf,
}

impl Gofer {
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("gofer-jail-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
        let process = spawn(theirs, &dir);
        let (client, hello, events) = Client::connect(ours).unwrap();
        Self { process, client, events, root: hello.mounts[0].root, dir }
    }

    fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Closes the connection; the exit status follows.
    fn finish(mut self) -> std::process::ExitStatus {
        drop((self.client, self.events));
        std::fs::remove_dir_all(&self.dir).unwrap();
        self.process.wait().unwrap()
    }
}

/// Starts this test binary again with `socket` as descriptor 3, by way of a shell that moves it there.
fn spawn(socket: OwnedFd, dir: &std::path::Path) -> Child {
    Command::new("/bin/sh")
        .args(["-c", "exec 3<&0 </dev/null; exec \"$0\""])
        .arg(std::env::current_exe().unwrap())
        .env(ROLE, dir)
        .stdin(socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

fn name(name: &str) -> Name<'_> {
    Name::new(name.as_bytes()).unwrap()
}

fn the_posture_is_as_promised() {
    let gofer = Gofer::start("posture");
    assert_eq!(gofer.status("Seccomp:"), "2");
    assert_eq!(gofer.status("NoNewPrivs:"), "1");
    let effective = u64::from_str_radix(&gofer.status("CapEff:"), 16).unwrap();
    assert_eq!(effective & !0x1f, 0, "only CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID");
    assert_eq!(gofer.status("CapPrm:"), gofer.status("CapEff:"));
    assert_eq!(u64::from_str_radix(&gofer.status("CapInh:"), 16), Ok(0));
    assert_eq!(u64::from_str_radix(&gofer.status("CapAmb:"), 16), Ok(0));
    for task in std::fs::read_dir(format!("/proc/{}/task", gofer.process.id())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
    assert!(gofer.finish().success());
}

/// Every request, so that each call that it needs is shown to be in the allow-list.
fn everything_works_inside() {
    let gofer = Gofer::start("works");
    let (client, dir) = (&gofer.client, gofer.root);
    let flags = NodeOpenFlags::READ_WRITE;
    let create = Create { dir, name: name("f"), mode: 0o4755, uid: 0, gid: 0, flags };
    let mut response = client.call(&create).unwrap();
    let file = Target::node(response.get().unwrap().node);
    response.take_fd().unwrap();
    client.call(&Mkdir { dir, name: name("d"), mode: 0o1777, uid: 0, gid: 0 }).unwrap();
    client.call(&Symlink { dir, name: name("l"), link: b"f", uid: 0, gid: 0 }).unwrap();
    client.call(&Mknod { dir, name: name("p"), mode: 0o010600, rdev: 0, uid: 0, gid: 0 }).unwrap();
    client.call(&Link { target: file, dir, name: name("f2") }).unwrap();
    let no_flags = RenameFlags::empty();
    let (old_name, new_name) = (name("f2"), name("f3"));
    client.call(&Rename { old_dir: dir, old_name, new_dir: dir, new_name, flags: no_flags }).unwrap();
    client.call(&Unlink { dir, name: name("f3"), is_dir: false }).unwrap();
    let atime = SetTime::To(Time { seconds: 1, nanoseconds: 1 });
    let set = SetAttr {
        target: file,
        mode: Some(0o600),
        uid: Some(0),
        gid: Some(0),
        size: Some(9),
        atime,
        mtime: SetTime::Now,
    };
    assert_eq!(client.call(&set).unwrap().get().unwrap().size, 9);
    let xattr = XattrName::new(b"user.x").unwrap();
    let set = SetXattr { target: file, name: xattr, value: b"1", flags: XattrFlags::empty() };
    if client.call(&set).is_ok() {
        assert_eq!(client.call(&GetXattr { target: file, name: xattr }).unwrap().get().unwrap(), b"1");
    }
    client.call(&StatFs { node: dir }).unwrap();
    client.call(&Sync { target: file, data_only: true }).unwrap();
    let list = ReadDir { target: Target::node(dir), stream: 0, with_attributes: true };
    let response = client.call(&list).unwrap();
    let listed = response.get().unwrap();
    assert_eq!((listed.entries.len(), listed.is_cacheable), (4, true));
    let walk = Walk { from: dir, names: vec![name("d")], open: None };
    let node = client.call(&walk).unwrap().get().unwrap().found[0].node;
    client.call(&ReadDir { target: Target::node(node), stream: 0, with_attributes: true }).unwrap();
    client.forget(&Close { nodes: vec![Forget { node, count: 9 }] });
    client.call(&StatFs { node: dir }).unwrap();
    assert!(gofer.finish().success());
}
