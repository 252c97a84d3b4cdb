//! The tool's own logs: `--log` for whoever called us, `--debug-log` for whoever looks into a problem.
//!
//! `--log` is appended to and never truncated: Docker and containerd give the same file to several invocations and
//! read the last line of level "error" from it. Nothing here fails: a log that cannot be written is said once on
//! standard error.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::flags::{Flags, LogFormat};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warning,
    /// Something happened.
    Info,
    /// Everything else.
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

#[derive(Debug)]
struct Sink {
    file: File,
    form: Form,
    level: Level,
}

/// How a sink says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A line of a log.
    Lines(LogFormat),
    /// For a person, who is told of failures by other means.
    Words,
}

/// Where lines go.
#[derive(Debug, Default)]
struct Logs {
    sinks: Vec<Sink>,
}

static LOGS: OnceLock<Logs> = OnceLock::new();

/// Opens the logs that the flags name. `command` and `id` are for the patterns in `--debug-log`.
pub(crate) fn start(flags: &Flags, command: &str, id: &str) {
    let form = |name| {
        Form::Lines(match flags.get(name) {
            "json" => LogFormat::Json,
            "json-k8s" => LogFormat::JsonKubernetes,
            _ => LogFormat::Text,
        })
    };
    let level = if flags.is_set("debug") { Level::Debug } else { Level::Info };
    let mut logs = Logs::default();
    if !flags.get("log").is_empty()
        && let Some(file) = append(Path::new(flags.get("log")))
    {
        logs.sinks.push(Sink { file, form: form("log-format"), level });
    }
    if !flags.get("debug-log").is_empty()
        && let Some(file) = append(&debug_log_path(flags.get("debug-log"), command, id))
    {
        logs.sinks.push(Sink { file, form: form("debug-log-format"), level: Level::Debug });
    }
    // Who has named no log is told of what is not as it should be. Failures are said in any case.
    let form = match (flags.is_set("alsologtostderr"), flags.get("log").is_empty()) {
        (true, _) => Some((Form::Lines(LogFormat::Text), level)),
        (false, true) => Some((Form::Words, Level::Warning)),
        (false, false) => None,
    };
    if let Some((form, level)) = form
        && let Ok(file) = std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned()
    {
        logs.sinks.push(Sink { file: file.into(), form, level });
    }
    let _ = LOGS.set(logs);
}

/// Opens a log for appending; says on standard error where that fails.
fn append(path: &Path) -> Option<File> {
    match open_log(path, LogStart::Append) {
        Ok(file) => Some(file),
        Err(error) => {
            eprintln!("runsc: cannot write the log {}: {error}", path.display());
            None
        }
    }
}

/// Where in a log the first line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogStart {
    /// After what is there.
    Append,
    /// At the beginning: what is there goes.
    Anew,
}

/// Opens a log, for our user alone where it is new, and makes the directory that it is in where that is missing.
///
/// In a directory that others can write to, a symbolic link may be a trap for root, and is refused; those that the
/// system has in `/dev` and `/proc` (`/dev/stderr`) are none.
pub(crate) fn open_log(path: &Path, start: LogStart) -> std::io::Result<File> {
    const O_NOFOLLOW: i32 = 0o400_000;
    let is_systems = ["/dev", "/proc"].iter().any(|dir| path.starts_with(dir));
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600).custom_flags(if is_systems { 0 } else { O_NOFOLLOW });
    options.append(start == LogStart::Append).write(true);
    let opened = match (options.open(path), path.parent()) {
        (Err(error), Some(dir)) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(dir)?;
            options.open(path)
        }
        (opened, _) => opened,
    };
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(raw) if raw == abi::Errno::ELOOP.raw() => {
            std::io::Error::other("it is a symbolic link, which is not followed: name the file itself")
        }
        _ => error,
    })?;
    let kind = file.metadata()?.file_type();
    if !is_systems && !kind.is_file() && !kind.is_fifo() {
        return Err(std::io::Error::other("it is neither a regular file nor a named pipe"));
    }
    if start == LogStart::Anew && kind.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

/// The file that a `--debug-log` value means. A value that ends in '/' is a directory.
pub(crate) fn debug_log_path(pattern: &str, command: &str, id: &str) -> PathBuf {
    let pattern = if pattern.ends_with('/') {
        format!("{pattern}runsc.log.%TIMESTAMP%.%COMMAND%.txt")
    } else {
        pattern.to_string()
    };
    let now = timestamp(SystemTime::now());
    let compact: String = now.chars().filter(char::is_ascii_digit).collect();
    let (date, time) = compact.split_at(8.min(compact.len()));
    let stamp = format!("{date}-{}", &time[..time.len().min(12)]);
    let path = pattern.replace("%TIMESTAMP%", &stamp).replace("%COMMAND%", command);
    PathBuf::from(path.replace("%ID%", id).replace("%CID%", id).replace("%TEST%", ""))
}

/// Writes one line to every log that wants its level.
pub(crate) fn write(level: Level, message: &str) {
    let Some(logs) = LOGS.get() else { return };
    for sink in logs.sinks.iter().filter(|sink| sink.level >= level) {
        let line = match sink.form {
            Form::Lines(format) => line(format, level, message, SystemTime::now()),
            Form::Words if level == Level::Error => continue,
            Form::Words => format!("runsc: {}: {message}\n", level.name()),
        };
        // One write per line: appending is atomic, so lines of several processes do not mix.
        let _ = (&sink.file).write_all(line.as_bytes());
    }
}

fn line(format: LogFormat, level: Level, message: &str, now: SystemTime) -> String {
    let time = timestamp(now);
    match format {
        LogFormat::Text => format!("time=\"{time}\" level={} msg={message:?}\n", level.name()),
        LogFormat::Json => {
            let value = serde_json::json!({"level": level.name(), "msg": message, "time": time});
            format!("{value}\n")
        }
        LogFormat::JsonKubernetes => {
            let value = serde_json::json!({"log": message, "level": level.name(), "time": time});
            format!("{value}\n")
        }
    }
}

/// RFC 3339 with nanoseconds, in UTC.
pub(crate) fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86400, since.as_secs() % 86400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_nanos()
    )
}

/// The date that many days after 1970-01-01 (Hinnant's algorithm: eras of 400 years that begin in March).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Logs at warning level.
pub(crate) fn warning(message: impl AsRef<str>) {
    write(Level::Warning, message.as_ref());
}

/// Logs at info level.
pub(crate) fn info(message: impl AsRef<str>) {
    write(Level::Info, message.as_ref());
}

/// Logs at debug level.
pub(crate) fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message.as_ref());
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Level, LogStart, debug_log_path, line, open_log, timestamp};
    use crate::flags::LogFormat;

    #[test]
    fn times_are_right() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59.000000000Z");
    }

    #[test]
    fn json_lines_are_what_docker_reads() {
        let text = line(LogFormat::Json, Level::Error, "no \"root\"\n", UNIX_EPOCH);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["msg"], "no \"root\"\n");
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
    }

    #[test]
    fn logs_are_files_of_ours() {
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("runsc-logs-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let (path, link) = (dir.join("sub/log"), dir.join("link"));
        let said = |start| {
            open_log(&path, start).unwrap().write_all(b"x").unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        assert_eq!(said(LogStart::Append), "x");
        assert_eq!(said(LogStart::Append), "xx");
        assert_eq!(said(LogStart::Anew), "x");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open_log(&link, LogStart::Append).unwrap_err().to_string().contains("symbolic link"));
        assert!(open_log(&dir, LogStart::Append).is_err());
        open_log("/dev/null".as_ref(), LogStart::Anew).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn debug_log_patterns() {
        let path = debug_log_path("/tmp/x/", "create", "abc").display().to_string();
        assert!(path.starts_with("/tmp/x/runsc.log.2") && path.ends_with(".create.txt"), "{path}");
        assert_eq!(debug_log_path("/l/%ID%.%COMMAND%", "boot", "i").display().to_string(), "/l/i.boot");
    }
}
