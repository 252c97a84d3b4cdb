//! System calls on keys: add_key(2), request_key(2), keyctl(2).

mod keyctl;

use abi::keyctl::{
    KEY_REQKEY_DEFL_DEFAULT, KEY_REQKEY_DEFL_THREAD_KEYRING, KEY_REQKEY_DEFL_USER_SESSION_KEYRING, right,
};
use abi::{Errno, PAGE_SIZE, Result, UserAddr};

use super::table::{Arg, Args, Row};
use crate::keys::{KeyType, Missing};
use crate::{CurrentTask, SysResult};

/// The longest name of a type, with its NUL.
const MAX_TYPE: usize = 32;
/// Most bytes of a payload.
const MAX_PAYLOAD: u64 = (1 << 20) - 1;

const OPERATIONS: Arg = Arg::Enum(&[
    (0, "KEYCTL_GET_KEYRING_ID"),
    (1, "KEYCTL_JOIN_SESSION_KEYRING"),
    (2, "KEYCTL_UPDATE"),
    (3, "KEYCTL_REVOKE"),
    (6, "KEYCTL_DESCRIBE"),
    (8, "KEYCTL_LINK"),
    (9, "KEYCTL_UNLINK"),
    (10, "KEYCTL_SEARCH"),
    (11, "KEYCTL_READ"),
    (15, "KEYCTL_SET_TIMEOUT"),
    (31, "KEYCTL_CAPABILITIES"),
]);

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::partial(
        248,
        "add_key",
        &[Arg::Str, Arg::Str, Arg::InBuf(3), Arg::Size, Arg::Int],
        add_key,
        "types keyring, user, logon and big_key",
    )
    .takes_memory(),
    Row::partial(
        249,
        "request_key",
        &[Arg::Str, Arg::Str, Arg::Str, Arg::Int],
        request_key,
        "no program is called for keys that are not there",
    ),
    Row::partial(
        250,
        "keyctl",
        &[OPERATIONS, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex],
        keyctl::keyctl,
        "no public-key operations, no DH_COMPUTE, RESTRICT_KEYRING or WATCH_KEY",
    )
    .takes_memory(),
];

/// Reads the name of a type.
fn kind(task: &CurrentTask, addr: u64) -> Result<KeyType> {
    let name = task.mm().read_cstring(UserAddr(addr), MAX_TYPE).map_err(too_long_is_invalid)?;
    match name.first() {
        None => Err(Errno::EINVAL),
        Some(b'.') => Err(Errno::EPERM),
        Some(_) => KeyType::of_name(&name),
    }
}

fn too_long_is_invalid(error: Errno) -> Errno {
    if error == Errno::ENAMETOOLONG { Errno::EINVAL } else { error }
}

/// Reads a key's name.
fn description(task: &CurrentTask, addr: u64) -> Result<Vec<u8>> {
    task.mm().read_cstring(UserAddr(addr), PAGE_SIZE as usize).map_err(too_long_is_invalid)
}

fn payload(task: &CurrentTask, addr: u64, len: u64, max: u64) -> Result<Vec<u8>> {
    if len > max {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; len as usize];
    task.mm().read(UserAddr(addr), &mut bytes)?;
    Ok(bytes)
}

fn add_key(task: &mut CurrentTask, args: Args) -> SysResult {
    let [kind_at, name, bytes, len, ring, _] = args.0;
    if len > MAX_PAYLOAD {
        return Err(Errno::EINVAL.into());
    }
    // What the type is called is read first, but whether there is such a type looked at last.
    let kind = match kind(task, kind_at) {
        Err(Errno::ENODEV) => Err(Errno::ENODEV),
        other => Ok(other?),
    };
    let name = if name == 0 { Vec::new() } else { description(task, name)? };
    if name.first() == Some(&b'.') && kind == Ok(KeyType::Keyring) {
        return Err(Errno::EPERM.into());
    }
    let bytes = payload(task, bytes, len, MAX_PAYLOAD)?;
    let ring = task.key(ring as i32, Missing::Create, right::WRITE)?;
    Ok(task.add_key(&ring, kind?, &name, &bytes)?.serial() as u64)
}

fn request_key(task: &mut CurrentTask, args: Args) -> SysResult {
    let [kind_at, name, callout, ring, ..] = args.0;
    let kind = match kind(task, kind_at) {
        Err(Errno::ENODEV) => Err(Errno::ENOKEY),
        other => Ok(other?),
    };
    let name = description(task, name)?;
    if callout != 0 {
        description(task, callout)?;
    }
    let target = match ring as i32 {
        0 => None,
        ring => Some(task.key(ring, Missing::Create, right::WRITE)?),
    };
    let key = task.find_key(kind?, &name)?;
    if let Some(target) = target {
        let _links = task.kernel().keys.links();
        target.key.link(&key)?;
    }
    Ok(key.serial() as u64)
}

/// Whether `ring` is a keyring that `KEYCTL_SET_REQKEY_KEYRING` knows.
fn is_default_ring(ring: i32) -> bool {
    ring == KEY_REQKEY_DEFL_DEFAULT
        || (KEY_REQKEY_DEFL_THREAD_KEYRING..=KEY_REQKEY_DEFL_USER_SESSION_KEYRING).contains(&ring)
}
