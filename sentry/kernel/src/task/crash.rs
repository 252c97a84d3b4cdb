//! What the debug log says of a guest that crashes: registers, the reason, the memory map.

use std::fmt::Write;

use abi::SigInfo;

use super::CurrentTask;

/// Mappings that a report shows: a guest must not fill the log.
const MAX_SHOWN: usize = 300;

impl CurrentTask {
    /// Writes a crash report to the debug log.
    pub(crate) fn report_crash(&self, info: &SigInfo) {
        let log = &self.kernel().log;
        if !log.is_on() {
            return;
        }
        let name = info.signal().map_or("?", |signal| signal.name());
        let comm = String::from_utf8_lossy(&self.comm()).into_owned();
        let addr = u64::from_ne_bytes(info.fields[..8].try_into().unwrap_or_default());
        log.line(&format!(
            "task {} ({comm}) dies of SIG{name}, code {}, address {addr:#x}, trap {}, error {:#x}",
            self.tid(),
            info.code,
            self.trap.trap,
            self.trap.error
        ));
        let r = &self.regs;
        let names = [
            ("rip", r.rip),
            ("rsp", r.rsp),
            ("rbp", r.rbp),
            ("rax", r.rax),
            ("rbx", r.rbx),
            ("rcx", r.rcx),
            ("rdx", r.rdx),
            ("rsi", r.rsi),
            ("rdi", r.rdi),
            ("r8", r.r8),
            ("r9", r.r9),
            ("r10", r.r10),
            ("r11", r.r11),
            ("r12", r.r12),
            ("r13", r.r13),
            ("r14", r.r14),
            ("r15", r.r15),
            ("rflags", r.rflags),
            ("fs_base", r.fs_base),
            ("gs_base", r.gs_base),
        ];
        for row in names.chunks(5) {
            let mut line = String::new();
            for (name, value) in row {
                let _ = write!(line, "  {name: >7} {value:#018x}");
            }
            log.line(&line);
        }
        let mut code = [0; 16];
        if self.mm().read(abi::UserAddr(r.rip), &mut code).is_ok() {
            log.line(&format!("  code at rip: {code:02x?}"));
        }
        self.report_mappings();
    }

    /// Writes the memory map to the debug log, in the form of `/proc/[pid]/maps`.
    fn report_mappings(&self) {
        let vmas = self.mm().vmas();
        let root = self.fs().root();
        for vma in vmas.iter().take(MAX_SHOWN) {
            let name = match (&vma.file, &vma.name) {
                (Some(file), _) => {
                    String::from_utf8_lossy(&file.path().text(&root)).escape_debug().to_string()
                }
                (None, Some(name)) => (*name).to_string(),
                (None, None) => String::new(),
            };
            self.kernel().log.line(&format!("  {} {name}", vma.line_start()));
        }
        if vmas.len() > MAX_SHOWN {
            self.kernel().log.line(&format!("  and {} more", vmas.len() - MAX_SHOWN));
        }
    }
}
