//! Program loading: ELF, `#!` scripts, the initial stack, the vDSO (`man 2 execve`; Linux's `fs/binfmt_elf.c`).
//!
//! Loading works on a fresh address space in which nothing runs yet. Its mappings are collected and handed to the
//! platform in one go at the end. Parsing ([`elf`], [`script`], [`stack`]) is pure.

pub(crate) mod elf;
mod hwcap_x86_64;
mod map;
pub(crate) mod script;
pub(crate) mod stack;
mod vdso;

use std::sync::Arc;

use abi::auxv;
use abi::{Errno, PAGE_SIZE, Result, UserAddr, page_ceil, page_floor};
use platform::Protection;

use self::elf::{Header, Segments};
use self::map::{Base, Mapped, Object};
use self::script::{HEAD_LEN, ScriptLine};
use self::stack::{InitialStack, StackContent};
use crate::Task;
use crate::mm::{MemoryManager, MmapArgs, MmapFlags, RunningFile};
use crate::task::Credentials;
use crate::vfs::{File, Origin, WalkFlags};

pub use self::vdso::Vdso;

/// How many `#!` lines may follow each other.
const MAX_SCRIPTS: usize = 5;
/// Stack mapped beyond what is on it at the start, as in Linux.
const STACK_ROOM: u64 = 128 << 10;
/// personality(2): the same layout every time.
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;
/// Clock ticks a second, as times(2) counts.
const CLOCK_TICKS: u64 = 100;

/// A program about to be loaded: after `#!` lines have been followed.
#[derive(Clone, Debug)]
pub struct Program {
    /// The ELF file.
    pub file: Arc<File>,
    /// The path given to execve(2) (`AT_EXECFN`).
    pub path: Vec<u8>,
    /// Arguments, with what `#!` lines put before them.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
}

/// Where a loaded program starts.
#[derive(Clone, Copy, Debug)]
pub struct LoadedImage {
    /// The first instruction.
    pub entry: u64,
    /// The stack pointer.
    pub stack_pointer: u64,
}

/// Follows `#!` lines from `file` to the program that is to be loaded.
///
/// # Errors
/// `ENOEXEC`, `ELOOP`, `EACCES`, `ENOENT` for the interpreter; `E2BIG`.
pub fn open_program(
    task: &Task,
    file: Arc<File>,
    path: &[u8],
    mut argv: Vec<Vec<u8>>,
    envp: Vec<Vec<u8>>,
) -> Result<Program> {
    if argv.is_empty() {
        // Programs rely on a name being there.
        argv.push(Vec::new());
    }
    let stack_limit = task.limit(abi::resource::Resource::Stack);
    stack::check_size(&argv, &envp, path, stack_limit)?;
    let mut program = Program { file, path: path.to_vec(), argv, envp };
    let mut current = path.to_vec();
    for _ in 0..=MAX_SCRIPTS {
        let mut head = [0; HEAD_LEN];
        let got = program.file.read_kernel(task, 0, &mut head)?;
        let Some(line) = ScriptLine::parse(&head[..got])? else { return Ok(program) };
        program.file = open_executable(task, &line.interpreter)?;
        let front = std::iter::once(line.interpreter.clone()).chain(line.argument).chain([current]);
        program.argv.splice(..1, front);
        current = line.interpreter;
        stack::check_size(&program.argv, &program.envp, path, stack_limit)?;
    }
    Err(Errno::ELOOP)
}

/// Opens an interpreter that a program names.
fn open_executable(task: &Task, path: &[u8]) -> Result<Arc<File>> {
    let (root, start) = task.fs().root_and_cwd();
    crate::task::exec::open_executable(task, &Origin { root, start }, path, WalkFlags::FOLLOW)
}

/// Loads `program` into the empty address space `mm`. `creds` are what the task will have; `is_secure` is `AT_SECURE`.
/// `task` is used for permissions on the interpreter and for reading files only. The limits of `mm` must be set.
///
/// # Errors
/// `ENOEXEC`, `ELIBBAD`, `ENOMEM`, `E2BIG`, `EACCES`; `ETXTBSY` where the program has been opened for writing meanwhile.
pub fn load(
    task: &Task,
    mm: &Arc<MemoryManager>,
    program: &Program,
    creds: &Credentials,
    is_secure: bool,
) -> Result<LoadedImage> {
    // Before any of it is read.
    let hold = RunningFile::new(&program.file)?;
    mm.update_image(|image| image.running = Some(hold));
    let object = Object::open(task, mm, program.file.clone())
        .map_err(|error| if error == Errno::EIO { Errno::ENOEXEC } else { error })?;
    let interpreter = open_interpreter(task, mm, &object)?;
    mm.randomize(&layout_random(task));
    mm.defer_mappings();
    let base = if interpreter.is_some() { Base::Near(mm.layout().pie_base) } else { Base::Anywhere };
    let kernel = task.kernel();
    // Whoever traces a program is to see its own code, and whoever wants no randomness the same layout each time.
    let are_shown = kernel.config.rewrite_calls && !task.is_traced() && mm.layout().is_random();
    let texts = are_shown.then_some(&kernel.texts);
    let main = object.map(mm, base, texts)?;
    let linker = interpreter.map(|object| object.map(mm, Base::Anywhere, texts)).transpose()?;
    set_heap(mm, &object, &main, linker.is_some());
    let vdso = kernel.vdso.map(mm)?;
    let known = auxiliary(task, creds, is_secure, &object, &main, linker.as_ref(), vdso);
    let stack = put_stack(mm, program, &object, known)?;
    describe(mm, program, &object, &main, &stack, vdso);
    mm.apply_deferred()?;
    let entry = linker.map_or(main.entry, |linker| linker.entry);
    Ok(LoadedImage { entry, stack_pointer: stack.pointer })
}

impl Object {
    fn open(task: &Task, mm: &MemoryManager, file: Arc<File>) -> Result<Self> {
        let mut head = [0; size_of::<abi::elf::FileHeader>()];
        if file.read_kernel(task, 0, &mut head)? < head.len() {
            return Err(Errno::EIO);
        }
        let header = Header::parse(&head)?;
        let mut table = vec![0; header.headers_len() as usize];
        if file.read_kernel(task, header.headers_offset, &mut table)? < table.len() {
            return Err(Errno::ENOEXEC);
        }
        let segments = Segments::parse(&header, &table, mm.bounds().1.0)?;
        let mappable = file.ops().mappable(&file).map_err(|_| Errno::ENOEXEC)?;
        Ok(Self { file, mappable, header, segments })
    }
}

/// Opens the dynamic linker that a program asks for.
fn open_interpreter(task: &Task, mm: &MemoryManager, object: &Object) -> Result<Option<Object>> {
    let Some((offset, len)) = object.segments.interpreter else { return Ok(None) };
    let mut name = vec![0; len];
    if object.file.read_kernel(task, offset, &mut name)? < len {
        return Err(Errno::EIO);
    }
    if name.pop() != Some(0) {
        return Err(Errno::ENOEXEC);
    }
    name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(name.len()));
    let file = open_executable(task, &name)?;
    Object::open(task, mm, file).map(Some).map_err(|error| match error {
        Errno::ENOEXEC | Errno::EINVAL => Errno::ELIBBAD,
        other => other,
    })
}

/// Raw random numbers for the layout; zeros where the process has asked for no randomness.
fn layout_random(task: &Task) -> [u64; 4] {
    if task.thread_group().personality() & ADDR_NO_RANDOMIZE != 0 {
        return [0; 4];
    }
    let mut random = [[0; 8]; 4];
    host::random::fill(random.as_flattened_mut());
    random.map(u64::from_ne_bytes)
}

/// Where the heap begins: behind the program, or for one without a linker, where programs with one go.
fn set_heap(mm: &MemoryManager, object: &Object, main: &Mapped, has_linker: bool) {
    let layout = mm.layout();
    let base = if object.header.is_dynamic && !has_linker { layout.pie_base } else { main.end };
    let start = page_ceil(base).unwrap_or(base).saturating_add(layout.brk_gap);
    mm.set_brk_start(UserAddr(start));
}

fn auxiliary(
    task: &Task,
    creds: &Credentials,
    is_secure: bool,
    object: &Object,
    main: &Mapped,
    linker: Option<&Mapped>,
    vdso: u64,
) -> Vec<(u64, u64)> {
    let ns = &creds.user_ns;
    let headers = object.segments.headers_vaddr;
    let mut known = Vec::with_capacity(24);
    if vdso != 0 {
        known.push((auxv::AT_SYSINFO_EHDR, vdso));
    }
    known.extend([
        (auxv::AT_MINSIGSTKSZ, hwcap_x86_64::min_signal_stack(task.kernel().platform.xstate_layout().0)),
        (auxv::AT_HWCAP, host::cpu::hwcap()),
        (auxv::AT_PAGESZ, PAGE_SIZE),
        (auxv::AT_CLKTCK, CLOCK_TICKS),
        (auxv::AT_PHDR, if headers == 0 { 0 } else { headers.wrapping_add(main.bias) }),
        (auxv::AT_PHENT, size_of::<abi::elf::ProgramHeader>() as u64),
        (auxv::AT_PHNUM, u64::from(object.header.header_count)),
        (auxv::AT_BASE, linker.map_or(0, |linker| linker.bias)),
        (auxv::AT_FLAGS, 0),
        (auxv::AT_ENTRY, main.entry),
        (auxv::AT_UID, u64::from(ns.from_kernel_uid(creds.uid))),
        (auxv::AT_EUID, u64::from(ns.from_kernel_uid(creds.euid))),
        (auxv::AT_GID, u64::from(ns.from_kernel_gid(creds.gid))),
        (auxv::AT_EGID, u64::from(ns.from_kernel_gid(creds.egid))),
        (auxv::AT_SECURE, u64::from(is_secure)),
        (auxv::AT_HWCAP2, auxv::HWCAP2_FSGSBASE),
    ]);
    known
}

/// Makes the stack and puts arguments, environment and auxiliary vector on it.
fn put_stack(
    mm: &MemoryManager,
    program: &Program,
    object: &Object,
    auxv: Vec<(u64, u64)>,
) -> Result<InitialStack> {
    let top = mm.layout().stack_top;
    let mut random = [0; 18];
    host::random::fill(&mut random);
    let mut at_random = [0; 16];
    at_random.copy_from_slice(&random[..16]);
    let slack = if mm.layout().is_random() {
        u64::from(u16::from_ne_bytes([random[16], random[17]])) % 8192
    } else {
        0
    };
    let content = StackContent {
        argv: &program.argv,
        envp: &program.envp,
        path: &program.path,
        random: at_random,
        slack,
        auxv,
    };
    let stack = content.build(top);
    let used = top - page_floor(stack.pointer);
    let limit = page_floor(mm.limits().stack());
    let size = (used + STACK_ROOM).min(limit).max(used);
    mm.mmap(MmapArgs {
        prot: Protection { read: true, write: true, execute: object.segments.executable_stack },
        name: Some("[stack]"),
        ..MmapArgs::anonymous(UserAddr(top - size), size, MmapFlags::FIXED | MmapFlags::GROWSDOWN)
    })?;
    mm.write(UserAddr(stack.pointer), &stack.bytes)?;
    Ok(stack)
}

/// Records where everything is, for `/proc/[pid]`.
fn describe(
    mm: &MemoryManager,
    program: &Program,
    object: &Object,
    main: &Mapped,
    stack: &InitialStack,
    vdso: u64,
) {
    let load = &object.segments.load;
    let code = load.iter().filter(|segment| segment.prot.execute);
    let start_code = load.iter().map(|segment| segment.vaddr).min().unwrap_or(0);
    let end_code = code.map(|segment| segment.vaddr + segment.file_len).max().unwrap_or(start_code);
    let start_data = load.iter().map(|segment| segment.vaddr).max().unwrap_or(0);
    let end_data = load.iter().map(|segment| segment.vaddr + segment.file_len).max().unwrap_or(0);
    mm.update_image(|image| {
        image.start_code = start_code.wrapping_add(main.bias);
        image.end_code = end_code.wrapping_add(main.bias);
        image.start_data = start_data.wrapping_add(main.bias);
        image.end_data = end_data.wrapping_add(main.bias);
        image.start_stack = stack.pointer;
        (image.arg_start, image.arg_end) = (stack.arg.start, stack.arg.end);
        (image.env_start, image.env_end) = (stack.env.start, stack.env.end);
        image.auxv = stack.auxv.clone().into();
        image.exe = Some(program.file.clone());
        image.vdso = vdso;
    });
}
