//! What is done as a new process before its program is looked for: `linux.sysctl`, and `HOME` where the environment
//! lacks it, as runc does both.
//!
//! The process has root's power here whoever it will be; paths are walked inside the container.

use std::sync::Arc;

use abi::mount::MountFlags;
use abi::{Errno, OpenFlags, Result};
use control::Failure;
use kernel::Task;
use kernel::task::Credentials;
use kernel::vfs::{Caller, File, OpenHow, Origin};
use serde_json::Value;

/// The largest `/etc/passwd` that is looked through.
const MAX_PASSWD: usize = 1 << 20;

/// Sets what `linux.sysctl` asks for.
///
/// # Errors
/// Which setting cannot be set and why.
pub(crate) fn apply_sysctls(task: &Task, sysctls: &Value) -> core::result::Result<(), Failure> {
    let Some(settings) = sysctls.as_object().filter(|settings| !settings.is_empty()) else { return Ok(()) };
    let failed = |name: &str, why: String| Failure::invalid(format!("linux.sysctl[{name:?}]: {why}"));
    // An instance of its own: the container's may be read-only already.
    let creds = task.creds();
    let caller = Caller { creds: &creds, task: Some(task) };
    let vfs = &task.kernel().vfs;
    let proc = vfs.fs_type(b"proc").and_then(|proc| proc.mount(task.kernel(), &caller, b"proc", b""));
    let proc = proc.map_err(|errno| Failure::host(format!("cannot mount proc to set sysctls: {errno}")))?;
    let mount = vfs.new_mount(&proc, b"proc", MountFlags::empty());
    let origin = Origin::at_root(mount.root_path());
    for (name, value) in settings {
        let value = value.as_str().ok_or_else(|| failed(name, "its value is not text".into()))?;
        let set = || {
            let file = open(task, &creds, &origin, &sysctl_path(name), OpenFlags::WRONLY)?;
            file.write_kernel(task, 0, value.as_bytes())
        };
        set().map_err(|errno| {
            failed(
                name,
                match errno {
                    Errno::ENOENT | Errno::ENOTDIR => "the sandbox's kernel has no such setting".into(),
                    Errno::EACCES | Errno::EPERM => "this setting cannot be changed in a sandbox".into(),
                    Errno::EINVAL => format!("the value {value:?} is not understood"),
                    other => format!("{other}"),
                },
            )
        })?;
    }
    Ok(())
}

/// `net.ipv4.conf.eth0/1.x` is `/sys/net/ipv4/conf/eth0.1/x`: sysctl(8)'s spelling.
fn sysctl_path(name: &str) -> Vec<u8> {
    let swapped = name.bytes().map(|byte| match byte {
        b'.' => b'/',
        b'/' => b'.',
        other => other,
    });
    b"/sys/".iter().copied().chain(swapped).collect()
}

/// Adds `HOME` to an environment that lacks it: the home directory of user `uid` in the container's `/etc/passwd`.
pub(crate) fn add_home(task: &Task, uid: u32, envp: &mut Vec<Vec<u8>>) {
    if envp.iter().any(|entry| entry.starts_with(b"HOME=")) {
        return;
    }
    let passwd = read_passwd(task).unwrap_or_default();
    let home = home_of(&passwd, uid).unwrap_or(b"/");
    envp.push([b"HOME=", home].concat());
}

fn read_passwd(task: &Task) -> Result<Vec<u8>> {
    let creds = task.creds();
    let (root, start) = task.fs().root_and_cwd();
    // A pipe or a device in its place must not be waited for.
    let flags = OpenFlags::NONBLOCK;
    let file = open(task, &creds, &Origin { root, start }, b"/etc/passwd", flags)?;
    let (mut text, mut chunk) = (Vec::new(), vec![0; 16 << 10]);
    while text.len() < MAX_PASSWD {
        match file.read_kernel(task, text.len() as u64, &mut chunk)? {
            0 => break,
            got => text.extend_from_slice(&chunk[..got]),
        }
    }
    Ok(text)
}

/// The home directory of a user in a passwd(5) file.
fn home_of(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let number = std::str::from_utf8(fields.nth(2)?).ok()?;
        let home = fields.nth(2)?;
        (number.parse() == Ok(uid) && !home.is_empty()).then_some(home)
    })
}

fn open(
    task: &Task,
    creds: &Arc<Credentials>,
    origin: &Origin,
    path: &[u8],
    flags: OpenFlags,
) -> Result<Arc<File>> {
    let how = OpenHow { flags, ..OpenHow::default() };
    let caller = Caller { creds, task: Some(task) };
    task.kernel().vfs.open(&caller, origin, path, &how).map(|opened| opened.file)
}

#[cfg(test)]
mod tests {
    use super::{home_of, sysctl_path};

    #[test]
    fn homes() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:101:101::/srv/web:\nnone:x:7:7:::\n";
        assert_eq!(home_of(passwd, 0), Some(&b"/root"[..]));
        assert_eq!(home_of(passwd, 101), Some(&b"/srv/web"[..]));
        assert_eq!((home_of(passwd, 7), home_of(passwd, 1), home_of(b"", 0)), (None, None, None));
    }

    #[test]
    fn names_become_paths() {
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.x"), b"/sys/net/ipv4/conf/eth0.1/x");
    }
}
