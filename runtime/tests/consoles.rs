//! Terminals that the tool makes and hands over by `--console-socket`, as Docker and containerd ask for them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use common::{Lab, can_run, eventually};
use host::terminal::{WindowSize, set_window_size};
use host::unix::{self, Kind, Wait};
use serde_json::json;

/// A listening console socket.
struct Console {
    path: std::path::PathBuf,
    listener: OwnedFd,
}

impl Console {
    fn new(lab: &Lab) -> Self {
        let path = lab.path("tty.sock");
        let _ = std::fs::remove_file(&path);
        let listener = unix::listen(&path, Kind::Stream, 4).unwrap();
        Self { path, listener }
    }

    /// The controlling side that arrives.
    fn take(&self) -> Terminal {
        let connection = unix::accept(self.listener.as_fd()).unwrap();
        let mut message = unix::receive(connection.as_fd(), &mut [0; 64], Wait::Block).unwrap();
        Terminal { file: File::from(message.fds.remove(0)), said: String::new() }
    }
}

/// The controlling side of a terminal, with what came out of it.
struct Terminal {
    file: File,
    said: String,
}

impl Terminal {
    fn send(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    fn resize(&self, rows: u16, columns: u16) {
        set_window_size(self.file.as_fd(), WindowSize { rows, columns }).unwrap();
    }

    /// Reads until `text` has come, which is forgotten with all before it.
    fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.said.find(text) {
                self.said.drain(..at + text.len());
                return;
            }
            let limit = Some(std::time::Duration::from_secs(20));
            let ready = host::poll::readable(self.file.as_fd(), limit).unwrap();
            assert!(ready, "{text:?} did not come, but: {:?}", self.said);
            let mut chunk = [0; 4096];
            let got = self.file.read(&mut chunk).unwrap_or(0);
            assert!(got > 0, "the end came before {text:?}, after: {:?}", self.said);
            self.said.push_str(&String::from_utf8_lossy(&chunk[..got]));
        }
    }
}

/// Tells the size of the window at first, and whenever it changes; ends with an empty line. For bash: a shell runs a trap
/// late whose signal comes just before it reads, and this one reads for a moment at a time.
const TELLER: &str = "trap 'echo now $(stty size)' WINCH; echo first $(stty size); tty
    while :; do if read -t 0.2 line; then [ \"$line\" ] || exit 5; echo got \"<$line>\"; fi; done";

fn talk(terminal: &mut Terminal) {
    terminal.expect("first 31 77");
    terminal.expect("/dev/pts/");
    terminal.resize(20, 50);
    terminal.expect("now 20 50");
    // It echoes, and puts a carriage return before each line's end.
    terminal.send("hello\r");
    terminal.expect("hello\r\n");
    terminal.expect("got <hello>\r\n");
    terminal.resize(33, 99);
    terminal.expect("now 33 99");
}

#[test]
fn a_container_with_a_console_socket() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("console", &["bash", "-c", TELLER]);
    let id = &lab.id("console");
    lab.configure(|config| {
        config["process"]["terminal"] = true.into();
        config["process"]["consoleSize"] = json!({"height": 31, "width": 77});
    });
    let console = Console::new(&lab);
    let mut create = lab.command(&["create", "--console-socket", console.path.to_str().unwrap(), id]);
    assert!(create.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let mut terminal = console.take();
    lab.ok(&["start", id]);
    talk(&mut terminal);
    // Ctrl-C reaches the foreground group alone.
    terminal.send("\u{3}");
    terminal.send("\r");
    lab.await_status(id, "stopped");
    lab.delete_and_assert_gone(id);
}

#[test]
fn programs_added_with_a_console_socket() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("execconsole", &["sleep", "1000"]);
    let id = &lab.id("execconsole");
    lab.create(id);
    lab.ok(&["start", id]);
    let console = Console::new(&lab);
    let process = lab.path("process.json");
    let document = json!({
        "terminal": true, "consoleSize": {"height": 31, "width": 77}, "cwd": "/", "user": {"uid": 0, "gid": 0},
        "args": ["bash", "-c", TELLER], "env": ["PATH=/usr/bin:/bin"],
    });
    std::fs::write(&process, document.to_string()).unwrap();
    let pid_file = lab.path("exec.pid");
    let mut exec = lab.command(&["exec", "--detach", "--process", process.to_str().unwrap()]);
    exec.args([
        "--console-socket",
        console.path.to_str().unwrap(),
        "--pid-file",
        pid_file.to_str().unwrap(),
        id,
    ]);
    assert!(exec.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let mut terminal = console.take();
    talk(&mut terminal);
    // The process that stands for it ends with it.
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(common::exists(format!("/proc/{pid}")));
    terminal.send("\r");
    eventually("the end of who stands for it", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    assert_eq!(lab.status(id), "running");
    lab.delete_and_assert_gone(id);
}
