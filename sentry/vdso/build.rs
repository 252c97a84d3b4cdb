//! Builds the vDSO: a freestanding shared object, compiled by the same `rustc` and linked by its `rust-lld`.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    let var = |name: &str| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let (out, here) = (PathBuf::from(var("OUT_DIR")), PathBuf::from(var("CARGO_MANIFEST_DIR")));
    for file in ["src/image/main.rs", "src/clock_page.rs", "src/read_clock_x86_64.rs", "vdso.ld"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let object = out.join("vdso.o");
    run(Command::new(var("RUSTC"))
        .args(["--edition=2024", "--crate-type=lib", "--crate-name=vdso_image", "--emit=obj", "--target"])
        .arg(var("TARGET"))
        .args([
            "-Copt-level=3",
            "-Cpanic=abort",
            "-Crelocation-model=pic",
            "-Ccodegen-units=1",
            "-Cdebuginfo=0",
        ])
        .args(["-Cforce-unwind-tables=no", "-Coverflow-checks=off", "-Cdebug-assertions=off"])
        .arg("-o")
        .arg(&object)
        .arg(here.join("src/image/main.rs")));
    run(Command::new(linker())
        .args([
            "-flavor",
            "gnu",
            "-shared",
            "-soname=linux-vdso.so.1",
            "--hash-style=both",
            "--build-id=none",
        ])
        .args(["-zmax-page-size=4096", "-znoexecstack", "--no-undefined", "--gc-sections", "--eh-frame-hdr"])
        .args(["-Bsymbolic", "-znorelro", "--no-rosegment", "-T"])
        .arg(here.join("vdso.ld"))
        .arg("-o")
        .arg(out.join("vdso.so"))
        .arg(&object));
    let size = fs::metadata(out.join("vdso.so")).expect("the linker wrote it").len();
    assert!(size <= 8192, "the vDSO has grown to {size} bytes: more than two pages");
}

fn linker() -> PathBuf {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().expect("rustc runs");
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim());
    let host = env::var("HOST").expect("cargo sets HOST");
    sysroot.join("lib/rustlib").join(host).join("bin/rust-lld")
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} failed");
}
