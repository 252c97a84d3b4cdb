//! A file of a group, and the kinds of files that there are.

use std::sync::Arc;

use abi::{Errno, OpenFlags, Result};
use kernel::Task;
use kernel::task::cgroup::{Cgroup, CgroupNamespace, EventFile};
use kernel::task::{Credentials, Tid};
use kernel::vfs::{Attr, Caller, Inode};

use super::files_v2;
use super::numbers::{kept_number, kept_set, parse_bytes};
use crate::synth::{Attributes, Changes, Content, TextFile, Until};

/// The longest text that is taken.
const MAX_TEXT: usize = 4096;
/// "No limit" of a number of bytes in version 1: whole pages in 63 bits.
pub(super) const UNLIMITED: i64 = i64::MAX / 4096 * 4096;

/// Who writes to a file: the task, and with whose rights and in which name space the file was opened.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) task: &'a Task,
    pub(super) opener: &'a Arc<Credentials>,
    pub(super) ns: &'a CgroupNamespace,
}

type Show = fn(&Arc<Cgroup>, &Task) -> Result<String>;
type Store = fn(&Arc<Cgroup>, Writer<'_>, &str) -> Result<()>;

/// What a file is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A number that is kept, of this lowest value.
    Number(i64, i64),
    /// A number that is kept: the default, the least and the greatest.
    Range(i64, i64, i64),
    /// Bytes that are kept; less than none is no limit.
    Bytes,
    /// Bytes or `max` that are kept, and the default.
    BytesOrMax(&'static str),
    /// A number or `max`.
    Maximum,
    /// A list of numbers, taken from above where none was written; the default is that of the processors or of memory nodes.
    Set(fn(&Task) -> String),
    /// Made up when it is read.
    Show(fn(&Arc<Cgroup>, &Task) -> String),
    /// Made up when it is read, and what writing to it does.
    Control(Show, Store),
    /// Written to alone.
    Order(Store),
    /// Made up, and told of when it changes.
    Events(fn(&Arc<Cgroup>, &Task) -> String, fn(&Cgroup) -> &EventFile),
}

/// A file: of which controller, its name, permissions.
pub(super) struct Definition {
    pub(super) controller: &'static str,
    pub(super) name: &'static str,
    pub(super) mode: u32,
    /// It can be written to in the group that a name space shows as the top: what those above leave to who is in it.
    is_delegated: bool,
    kind: Kind,
}

impl Definition {
    pub(super) const fn new(controller: &'static str, name: &'static str, kind: Kind) -> Self {
        let mode = match kind {
            Kind::Show(_) | Kind::Events(..) => 0o444,
            Kind::Order(_) => 0o200,
            _ => 0o644,
        };
        Self { controller, name, mode, is_delegated: false, kind }
    }

    pub(super) const fn delegated(self) -> Self {
        Self { is_delegated: true, ..self }
    }

    /// Makes it known to `group` as `file` in `dir`, where that has to do with it.
    pub(super) fn show(&self, group: &Arc<Cgroup>, file: &Arc<dyn Inode>, dir: &Arc<dyn Inode>) {
        if let Kind::Events(_, events) = self.kind {
            events(group).show(file, dir);
        }
        if self.name == "cgroup.procs" {
            group.show_procs_file(file);
        }
    }
}

/// A file of one group.
pub(super) struct GroupFile {
    group: Arc<Cgroup>,
    attributes: Attributes,
    file: &'static Definition,
}

/// It, opened: by somebody who saw the groups from that name space.
struct OpenedFile {
    group: Arc<Cgroup>,
    file: &'static Definition,
    ns: Arc<CgroupNamespace>,
}

impl GroupFile {
    pub(super) fn inode(
        attributes: Attributes,
        group: &Arc<Cgroup>,
        file: &'static Definition,
    ) -> Arc<dyn Inode> {
        let attr: Attr = attributes.attr();
        TextFile::new(attr, Self { group: group.clone(), attributes, file })
    }
}

impl Content for GroupFile {
    /// It is what it opens as that is read and written.
    fn read(&self, _task: &Task, _out: &mut Vec<u8>) -> Result<()> {
        Err(Errno::EIO)
    }

    fn open(&self, caller: &Caller<'_>, _flags: OpenFlags) -> Result<Option<Arc<dyn Content>>> {
        let ns = caller.task.map(|task| CgroupNamespace::inside(&task.namespaces().cgroup));
        let (group, ns) = (self.group.clone(), ns.unwrap_or_default());
        Ok(Some(Arc::new(OpenedFile { group, file: self.file, ns })))
    }

    fn attributes(&self) -> Option<&Attributes> {
        Some(&self.attributes)
    }
}

impl OpenedFile {
    /// # Errors
    /// `ENODEV` where the group was removed, or its controller taken away.
    fn check_there(&self, task: &Task) -> Result<()> {
        self.group.check_alive()?;
        let all = &task.kernel().tasks.cgroups;
        let is_there = !self.group.is_unified() || files_v2::is_of(self.file, self.group.controllers(all));
        if is_there { Ok(()) } else { Err(Errno::ENODEV) }
    }
}

impl Content for OpenedFile {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        self.check_there(task)?;
        let kept = || self.group.value(self.file.name);
        let text = match self.file.kind {
            Kind::Number(default, _) | Kind::Range(default, ..) => {
                kept().unwrap_or_else(|| default.to_string())
            }
            Kind::Bytes => kept().unwrap_or_else(|| UNLIMITED.to_string()),
            Kind::BytesOrMax(default) => kept().unwrap_or_else(|| default.into()),
            Kind::Maximum => kept().unwrap_or_else(|| "max".into()),
            Kind::Set(default) => self.group.inherited_value(self.file.name).unwrap_or_else(|| default(task)),
            Kind::Show(show) | Kind::Events(show, _) => show(&self.group, task),
            Kind::Control(show, _) => show(&self.group, task)?,
            Kind::Order(_) => return Err(Errno::EINVAL),
        };
        out.extend_from_slice(text.as_bytes());
        if !text.is_empty() {
            out.push(b'\n');
        }
        Ok(())
    }

    fn write_opened(&self, task: &Task, opener: &Arc<Credentials>, text: &[u8]) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if text.len() > MAX_TEXT {
            return Err(Errno::E2BIG);
        }
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?.trim();
        self.check_there(task)?;
        let is_top = || Arc::ptr_eq(&self.ns.unified(&task.kernel().tasks.cgroups), &self.group);
        if !self.file.is_delegated && (self.group.is_containers() || is_top()) {
            return Err(Errno::EPERM);
        }
        let value = match self.file.kind {
            Kind::Number(_, lowest) => kept_number(text, lowest, i64::MAX, Errno::EINVAL)?,
            Kind::Range(_, lowest, highest) => kept_number(text, lowest, highest, Errno::ERANGE)?,
            Kind::Bytes => parse_bytes(text)?.to_string(),
            Kind::BytesOrMax(_) | Kind::Maximum if text == "max" => text.to_owned(),
            Kind::BytesOrMax(_) => {
                Some(parse_bytes(text)?).filter(|bytes| *bytes != UNLIMITED).ok_or(Errno::EINVAL)?.to_string()
            }
            Kind::Maximum => kept_number(text, 0, i64::MAX, Errno::EINVAL)?,
            Kind::Set(present) => kept_set(text, &present(task))?,
            Kind::Show(_) | Kind::Events(..) => return Err(Errno::EINVAL),
            Kind::Control(_, store) | Kind::Order(store) => {
                return store(&self.group, Writer { task, opener, ns: &self.ns }, text);
            }
        };
        self.group.set_value(self.file.name, &value)
    }

    fn changes(&self) -> Option<Changes<'_>> {
        let Kind::Events(_, events) = self.file.kind else { return None };
        let events = events(&self.group);
        Some(Changes { queue: events.queue(), count: events.count(), until: Until::Read })
    }
}

/// Numbers, one a line.
pub(super) fn lines(numbers: impl Iterator<Item = Tid>) -> String {
    numbers.filter(|number| *number > 0).map(|number| number.to_string()).collect::<Vec<_>>().join("\n")
}
