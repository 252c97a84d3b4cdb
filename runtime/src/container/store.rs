//! The state directory: one directory per container, named by its id.
//!
//! A container's directory holds `state.json`, a copy of its `config.json`, and for a sandbox's first container the
//! control socket. Whoever reads or changes a container holds `flock(2)` on the directory itself; a lock on a
//! directory that was removed meanwhile is noticed by its link count. Files are replaced by rename, so that a reader
//! never sees half of one.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::state::{STATE_VERSION, State};
use control::SOCKET_FILE;
use host::fs::{NewFile, replace_file};

use crate::error::{Context, Error, Result};

const STATE_FILE: &str = "state.json";
const CONFIG_FILE: &str = "config.json";

/// How long another invocation may hold a container.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// The directory of all containers.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

/// A container's directory, locked.
#[derive(Debug)]
pub(crate) struct Locked {
    path: PathBuf,
    /// The directory itself. Closing it lets go of the lock.
    lock: File,
}

/// Why a container could not be locked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another invocation holds it.
    #[error(
        "container \"{id}\" is in use by another runsc for {seconds} s: see who with `fuser` and end it, or use \
         `runsc delete --force`"
    )]
    Held {
        /// Which.
        id: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// There is none.
    #[error("container \"{id}\" does not exist in {}", root.display())]
    Missing {
        /// Which.
        id: String,
        /// Where.
        root: PathBuf,
    },
    /// Nothing is known of it.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Other(error) => error,
            other => Self::new(other.to_string()),
        }
    }
}

/// Says whether an id is one.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() || id.len() > 255 || id == "." || id == ".." || !id.chars().all(fine) {
        let advice = "an id has 1 to 255 letters, digits and the characters _ + - .";
        let shown: String = id.chars().take(64).collect();
        return Err(Error::new(format!("invalid container id {shown:?}: {advice}")));
    }
    Ok(())
}

impl Store {
    /// The containers below `root`.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn dir(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// The directory's path.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directory of a new container and locks it.
    pub(crate) fn create(&self, id: &str) -> Result<Locked> {
        check_id(id)?;
        let root = self.root.display();
        let mut builder = DirBuilder::new();
        builder.mode(0o711).recursive(true);
        builder
            .create(&self.root)
            .with_context(|| format!("cannot make the state directory {root}, choose another with --root"))?;
        self.check_root()?;
        let path = self.dir(id);
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => self.lock(id).map_err(|error| {
                // Nobody else may be in it yet: one that has got the lock has found no state and goes.
                let _ = std::fs::remove_dir(&path);
                error.into()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::new(format!(
                "container with id exists: \"{id}\" is in {root} already; delete it first or take another id"
            ))),
            Err(error) => Err(Error::new(format!("cannot make {}: {error}", path.display()))),
        }
    }

    /// Whether what lies in the directory can be believed: nobody else may have put it there. One that is not there
    /// is fine.
    fn check_root(&self) -> Result<()> {
        let root = self.root.display();
        let meta = match std::fs::symlink_metadata(&self.root) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(Error::new(format!("cannot look at the state directory {root}: {error}")));
            }
        };
        let (uid, _) = host::process::effective_ids();
        let why = if !meta.is_dir() {
            "is not a directory"
        } else if meta.uid() != uid {
            "belongs to another user"
        } else if meta.mode() & 0o022 != 0 {
            "can be written by others"
        } else {
            return Ok(());
        };
        Err(Error::new(format!("the state directory {root} {why}: choose another with --root")))
    }

    /// Locks an existing container.
    pub(crate) fn lock(&self, id: &str) -> std::result::Result<Locked, LockError> {
        self.lock_within(id, LOCK_TIMEOUT)
    }

    /// Locks an existing container unless another invocation holds it longer than `timeout`.
    pub(crate) fn lock_within(&self, id: &str, timeout: Duration) -> std::result::Result<Locked, LockError> {
        check_id(id)?;
        self.check_root()?;
        let path = self.dir(id);
        let missing = || LockError::Missing { id: id.into(), root: self.root.clone() };
        let lock = match File::open(&path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => {
                return Err(LockError::Other(Error::new(format!("cannot open {}: {error}", path.display()))));
            }
        };
        wait_for_lock(&lock, id, timeout)?;
        match lock.metadata() {
            Ok(meta) if meta.nlink() > 0 => Ok(Locked { path, lock }),
            _ => Err(missing()),
        }
    }

    /// Whether there is such a container.
    pub(crate) fn exists(&self, id: &str) -> bool {
        check_id(id).is_ok() && self.dir(id).is_dir()
    }

    /// The ids of all containers, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<String>> {
        self.check_root()?;
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::new(format!("cannot list {}: {error}", self.root.display()))),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<String> = names.filter(|name| self.exists(name)).collect();
        ids.sort();
        Ok(ids)
    }

    /// Reads a container without locking it: files are replaced whole.
    pub(crate) fn peek(&self, id: &str) -> Result<State> {
        check_id(id)?;
        self.check_root()?;
        if !self.exists(id) {
            return Err(Error::new(format!("container \"{id}\" does not exist in {}", self.root.display())));
        }
        read_state(&self.dir(id))
    }

    /// The control socket of a sandbox.
    pub(crate) fn socket(&self, sandbox_id: &str) -> PathBuf {
        self.dir(sandbox_id).join(SOCKET_FILE)
    }
}

/// Locks without waiting where possible; another invocation that hangs is named after a while.
fn wait_for_lock(lock: &File, id: &str, timeout: Duration) -> std::result::Result<(), LockError> {
    let what = || format!("cannot lock container \"{id}\"");
    match lock.try_lock() {
        Ok(()) => return Ok(()),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Ok(Err(error).with_context(what)?),
    }
    // flock(2) has no time limit, so the wait is done by a thread. Where it takes too long, the thread stays: whoever
    // starts a process afterwards must not count on being alone.
    let waiter = lock.try_clone().with_context(what)?;
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || tell.send(waiter.lock()));
    let started = Instant::now();
    let result = told.recv_timeout(timeout);
    match result {
        Ok(done) => {
            let _ = thread.join();
            Ok(done.with_context(what)?)
        }
        Err(_) => Err(LockError::Held { id: id.into(), seconds: started.elapsed().as_secs() }),
    }
}

fn read_state(dir: &Path) -> Result<State> {
    let path = dir.join(STATE_FILE);
    let shown = path.display();
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {shown} (a create that was killed leaves none: `runsc delete --force` cleans up)"
        )
    })?;
    let state: State = serde_json::from_str(&text)
        .with_context(|| format!("{shown} is damaged (`runsc delete --force` cleans up)"))?;
    if state.version != STATE_VERSION {
        return Err(Error::new(format!("{shown} was written by another version of runsc")));
    }
    Ok(state)
}

impl Locked {
    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `state.json`.
    pub(crate) fn read(&self) -> Result<State> {
        read_state(&self.path)
    }

    /// Replaces `state.json`.
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let text = serde_json::to_vec(state).context("cannot write down the container's state")?;
        self.replace(STATE_FILE, &text)
    }

    /// Reads the copy of the configuration.
    pub(crate) fn read_config(&self) -> Result<serde_json::Value> {
        let path = self.path.join(CONFIG_FILE);
        crate::spec::parse(&crate::spec::read_text(&path)?, &path.display().to_string())
    }

    /// Keeps a copy of the configuration: the bundle may change after `create`.
    pub(crate) fn write_config(&self, config: &serde_json::Value) -> Result<()> {
        let text = serde_json::to_vec(config).context("cannot copy the configuration")?;
        self.replace(CONFIG_FILE, &text)
    }

    /// Replaces one of its files. It need not outlive a crash of the host, whose processes it is about.
    fn replace(&self, name: &str, contents: &[u8]) -> Result<()> {
        let new = NewFile { mode: 0o600, owner: None, durable: false };
        replace_file(self.lock.as_fd(), name.as_bytes(), contents, new).with_context(|| {
            let shown = self.path.join(name);
            format!("cannot write {} (is the disk full, or read-only? --root names another)", shown.display())
        })
    }

    /// Removes the directory with what is in it.
    pub(crate) fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{LockError, Store, check_id};

    fn store(name: &str) -> Store {
        let root = std::env::temp_dir().join(format!("runsc-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        Store::new(root)
    }

    #[test]
    fn ids_are_checked() {
        for good in ["a", "A-1_b.c+d", "..."] {
            check_id(good).unwrap();
        }
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\n", "a\0"] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
        assert!(check_id(&"x".repeat(256)).is_err());
    }

    #[test]
    fn one_container_of_a_name() {
        let store = store("one");
        let locked = store.create("c").unwrap();
        assert!(store.create("c").unwrap_err().to_string().contains("exists"));
        assert_eq!(store.ids().unwrap(), ["c"]);
        locked.write_config(&serde_json::json!({"a": 1})).unwrap();
        assert_eq!(locked.read_config().unwrap()["a"], 1);
        assert!(locked.read().unwrap_err().to_string().contains("delete --force"));
        locked.remove().unwrap();
        assert!(store.lock("c").unwrap_err().to_string().contains("does not exist"));
        assert!(store.ids().unwrap().is_empty());
        std::fs::remove_dir_all(store.root()).unwrap();
    }

    #[test]
    fn a_lock_on_a_removed_directory_is_noticed() {
        let store = store("race");
        let locked = store.create("c").unwrap();
        let other = store.clone();
        let waiter = std::thread::spawn(move || other.lock("c").map(|_| ()).map_err(|e| e.to_string()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        locked.remove().unwrap();
        assert!(waiter.join().unwrap().unwrap_err().contains("does not exist"));
        std::fs::remove_dir_all(store.root()).unwrap();
    }

    #[test]
    fn who_cannot_lock_is_told_why() {
        let store = store("why");
        let held = store.create("c").unwrap();
        let attempt = |id| store.lock_within(id, std::time::Duration::from_millis(10)).unwrap_err();
        assert!(matches!(attempt("c"), LockError::Held { .. }));
        assert!(matches!(attempt("d"), LockError::Missing { .. }));
        assert!(matches!(attempt(".."), LockError::Other(_)));
        held.remove().unwrap();
        assert!(matches!(attempt("c"), LockError::Missing { .. }));
        std::fs::remove_dir_all(store.root()).unwrap();
    }

    #[test]
    fn a_state_directory_that_others_can_change_is_refused() {
        let store = store("open");
        store.create("c").unwrap().remove().unwrap();
        std::fs::set_permissions(store.root(), std::fs::Permissions::from_mode(0o777)).unwrap();
        for refused in [
            store.create("c").map(|_| ()),
            store.ids().map(|_| ()),
            store.lock("c").map(|_| ()).map_err(Into::into),
        ] {
            assert!(refused.unwrap_err().to_string().contains("can be written by others"));
        }
        let link = store.root().with_extension("link");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(store.root(), &link).unwrap();
        assert!(Store::new(&link).peek("c").unwrap_err().to_string().contains("is not a directory"));
        std::fs::remove_file(link).unwrap();
        std::fs::remove_dir_all(store.root()).unwrap();
    }

    #[test]
    fn files_are_replaced_whole() {
        let store = store("replace");
        let locked = store.create("c").unwrap();
        locked.replace("x", b"one").unwrap();
        locked.replace("x", b"two").unwrap();
        assert_eq!(std::fs::read(locked.path().join("x")).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(locked.path()).unwrap().count(), 1);
        std::fs::remove_dir_all(store.root()).unwrap();
    }
}
