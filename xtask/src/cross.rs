//! `cargo xtask cross`: the release build for aarch64, and a run of it, on an x86-64 Debian 12 machine.
//!
//! Everything comes from Debian packages that are unpacked under `.tools/cross` and not installed: `rustc-web` (the Rust
//! compiler Debian keeps for its browsers, with the standard library of arm64), a cross gcc for linking and for mozjpeg, and
//! `qemu-user` of bookworm-backports (the one of Debian 12 itself crashes inside ONNX Runtime). apt checks their signatures;
//! lists of our own for both architectures make `dpkg --add-architecture` and root unnecessary.
//!
//! The int8 model is checked a third time, by the x86-64 build on an emulated Haswell: AVX2 without VNNI, where weights of 8 bits
//! would saturate and the model would find nothing.
//!
//! The run is on an emulated Cortex-A72, the processor of a Raspberry Pi 4, which has no dot-product instructions and faults
//! at one. It compares what the models say with what they say on this machine. It says nothing about speed, and nothing about
//! the seal beyond this: the aarch64 table is compiled there and offered to the kernel; `qemu-user` has no seccomp, so a sealed
//! run must refuse to start, and does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fail::{Failure, Result};
use crate::proc::{PYTHON, Program};
use crate::python::io;
use crate::{proc, say, setup, tools};

/// What we build for.
pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Where the toolchain is, under `.tools/`.
const PLACE: &str = "cross";
/// Changing this makes every machine fetch again.
const EDITION: &str = "cross toolchain, edition 1: rustc-web 1.96, gcc 12, qemu-user of bookworm-backports";
/// The packages. Without a version: a mirror keeps the newest only; which were used is written to `.tools/cross/packages`.
const PACKAGES: &[&str] = &[
    "rustc-web:amd64",
    "libstd-rust-web-1.96:amd64",
    "libstd-rust-web-dev:amd64",
    "libllvm22:amd64",
    "libstd-rust-web-dev:arm64",
    "libstd-rust-web-1.96:arm64",
    "gcc-12-aarch64-linux-gnu",
    "cpp-12-aarch64-linux-gnu",
    "gcc-12-aarch64-linux-gnu-base",
    "gcc-12-cross-base",
    "binutils-aarch64-linux-gnu",
    "libgcc-12-dev-arm64-cross",
    "libgcc-s1-arm64-cross",
    "libc6-arm64-cross",
    "libc6-dev-arm64-cross",
    "linux-libc-dev-arm64-cross",
    "libstdc++6-arm64-cross",
    "qemu-user/bookworm-backports",
];

/// Processors to run on: of a Raspberry Pi 4 and of a 5.
const PROCESSORS: &[&str] = &["cortex-a72", "cortex-a76"];
/// The newest C library a program of ours may ask for: that of Debian 12 and of Raspberry Pi OS 12.
const GLIBC: (u32, u32) = (2, 36);
/// A processor with AVX2 and without int8 dot products.
const NO_DOTS: &str = "Haswell";
/// The model that must be right without dot products; the emulator is slow, so no other is tried there.
const INT8: &str = "ssdlite-mobilenet-v2-int8";
/// What both are shown.
const SAMPLES: &[&str] = &["samples/people.jpg", "samples/cat.jpg"];

const APT: Program = Program { name: "apt-get", fix: "run this on Debian 12 or in a container of it" };
const DPKG: Program = Program { name: "dpkg", fix: "run this on Debian 12 or in a container of it" };

/// A wrapper that gives an unpacked program its libraries. `C_INCLUDE_PATH` holds the headers of this machine's gcc, for
/// libclang (.cargo/config.toml); the cross compiler has its own.
fn wrapper(program: &str, more: &str) -> String {
    format!(
        "#!/bin/sh\nR=$(cd \"$(dirname \"$0\")\" && pwd)/root\nunset C_INCLUDE_PATH\n\
         LD_LIBRARY_PATH=$R/usr/lib/x86_64-linux-gnu exec \"$R/usr/bin/{program}\" {more} \"$@\"\n"
    )
}

/// What is unpacked, by the name it is given here.
const WRAPPERS: &[(&str, &str, &str)] = &[
    ("rustc", "rustc", ""),
    ("cc", "aarch64-linux-gnu-gcc-12", "--sysroot=\"$R/usr/aarch64-linux-gnu\""),
    ("ar", "aarch64-linux-gnu-ar", ""),
    ("strip", "aarch64-linux-gnu-strip", ""),
    ("readelf", "aarch64-linux-gnu-readelf", ""),
];

/// The toolchain, ready.
pub(crate) struct Cross {
    root: PathBuf,
}

impl Cross {
    /// Fetches what is missing.
    pub(crate) fn ensure() -> Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            return Err(Failure::new(format!(
                "cross: builds on x86_64 for aarch64, this is {}: on an aarch64 machine `cargo build --release` does it",
                std::env::consts::ARCH
            )));
        }
        setup::fill(PLACE, "the aarch64 toolchain", EDITION, make)?;
        Ok(Self { root: tools().join(PLACE) })
    }

    /// A tool of the toolchain.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn sysroot(&self) -> PathBuf {
        self.root.join("root/usr/aarch64-linux-gnu")
    }

    /// Builds the release and says where it is.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        setup::ensure("aarch64")?;
        let tool = |name| self.tool(name).into_os_string();
        let clang = format!("--sysroot={0} -isystem {0}/include", self.sysroot().display());
        let mut env = vec![
            ("RUSTC", tool("rustc")),
            ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", tool("cc")),
            ("CC_aarch64_unknown_linux_gnu", tool("cc")),
            ("AR_aarch64_unknown_linux_gnu", tool("ar")),
            // The structures of V4L2 as the other architecture has them.
            ("BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu", clang.into()),
        ];
        // It goes into a package: no path of this checkout.
        env.extend(crate::deb::NO_CHECKOUT.map(|name| (name, std::ffi::OsString::new())));
        proc::cargo_with(&["build", "--release", "--target", TARGET, "--bin", "porchlight"], &env)?;
        Ok(crate::target().join(TARGET).join("release/porchlight"))
    }

    /// A command that runs a program of the other architecture on this processor.
    fn emulated(&self, processor: &str, program: &Path) -> Command {
        let mut command = Command::new(self.root.join("root/usr/bin/qemu-aarch64"));
        command.args(["-cpu", processor, "-L"]).arg(self.sysroot()).arg(program).current_dir(crate::root());
        command.env("ORT_DYLIB_PATH", tools().join("onnxruntime-aarch64/libonnxruntime.so"));
        command.env("PORCHLIGHT_MODELS", crate::root().join("models"));
        command
    }

    /// The newest version of glibc that a file asks for.
    fn glibc(&self, file: &Path) -> Result<(u32, u32)> {
        let readelf = Program { name: "readelf", fix: "rm -r .tools/cross; cargo xtask cross" };
        let text =
            readelf.output(Command::new(self.tool("readelf")).args(["-VW"]).arg(file), "asking for glibc's version")?;
        newest(&text).ok_or_else(|| Failure::new(format!("{}: asks for no glibc at all", file.display())))
    }
}

/// The greatest `GLIBC_a.b` in a text.
fn newest(text: &str) -> Option<(u32, u32)> {
    text.split("GLIBC_")
        .skip(1)
        .filter_map(|rest| {
            let version = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
            let (major, minor) = version.split_once('.')?;
            Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
        })
        .max()
}

fn make(dest: &Path) -> Result {
    let debs = dest.join("debs");
    let lists = dest.join("lists");
    for folder in [&debs, &lists] {
        fs::create_dir_all(folder.join("partial")).map_err(io(folder))?;
    }
    // The mirrors that this machine uses.
    let mirror = |codename: &str| {
        let mut command = APT.command();
        command.args(["indextargets", "--format", "$(REPO_URI)", &format!("Codename: {codename}")]);
        let text = APT.output(&mut command, "looking for Debian's mirror")?;
        text.lines().next().map(str::to_owned).ok_or_else(|| {
            Failure::new(format!("apt knows no mirror of {codename}: this chore needs Debian 12; try: apt-get update"))
        })
    };
    let (debian, security) = (mirror("bookworm")?, mirror("bookworm-security")?);
    let signed = "[arch=amd64,arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
    let sources = dest.join("sources.list");
    let text = [
        format!("deb {signed} {debian} bookworm main"),
        format!("deb {signed} {debian} bookworm-backports main"),
        format!("deb {signed} {security} bookworm-security main\n"),
    ];
    fs::write(&sources, text.join("\n")).map_err(io(&sources))?;
    let apt = || {
        let mut command = APT.command();
        for option in [
            format!("Dir::State::Lists={}", lists.display()),
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "APT::Architecture=amd64".into(),
            "APT::Architectures::=amd64".into(),
            "APT::Architectures::=arm64".into(),
            "Debug::NoLocking=1".into(),
            // These lists are as new as a minute; leave the caches of the machine alone.
            "Dir::Cache::pkgcache=".into(),
            "Dir::Cache::srcpkgcache=".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command.arg("-qq");
        command
    };
    say("reading the lists of both architectures");
    APT.output(apt().arg("update"), "reading package lists")?;
    say("downloading 240 MB of packages");
    APT.output(apt().arg("download").args(PACKAGES).current_dir(&debs), "downloading packages")?;
    let mut used = Vec::new();
    for entry in fs::read_dir(&debs).map_err(io(&debs))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".deb") {
            let mut command = DPKG.command();
            DPKG.output(command.arg("-x").arg(entry.path()).arg(dest.join("root")), &format!("unpacking {name}"))?;
            used.push(name);
        }
    }
    used.sort();
    fs::write(dest.join("packages"), used.join("\n")).map_err(io(dest))?;
    // The cross C library's linker scripts hold absolute paths; `=` makes them relative to the sysroot.
    for script in ["libc.so", "libm.so"] {
        let path = dest.join("root/usr/aarch64-linux-gnu/lib").join(script);
        if let Ok(text) = fs::read_to_string(&path) {
            fs::write(&path, text.replace("/usr/aarch64-linux-gnu/lib/", "=/lib/")).map_err(io(&path))?;
        }
    }
    for (name, program, more) in WRAPPERS {
        let path = dest.join(name);
        fs::write(&path, wrapper(program, more)).map_err(io(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(io(&path))?;
    }
    for folder in [&debs, &lists] {
        fs::remove_dir_all(folder).map_err(io(folder))?;
    }
    Ok(())
}

/// The chore.
pub(crate) fn run(args: &[String]) -> Result {
    let build_only = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--build"] => true,
        _ => return Err(Failure::usage(format!("cross takes [--build], not `{}`", args.join(" ")))),
    };
    let cross = Cross::ensure()?;
    let program = cross.build()?;
    let library = tools().join("onnxruntime-aarch64/libonnxruntime.so");
    for file in [&program, &library] {
        let (major, minor) = cross.glibc(file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        say(format_args!("cross: {name} wants glibc {major}.{minor}"));
        if (major, minor) > GLIBC {
            return Err(Failure::new(format!("cross: {name} wants glibc {major}.{minor}, Debian 12 has 2.36")));
        }
    }
    if build_only {
        return Ok(());
    }
    proc::cargo(&["build", "--bin", "porchlight"], &[])?;
    let here = Program { name: "porchlight", fix: "cargo build" };
    let detect = |command: &mut Command| here.output(command.arg("detect").args(SAMPLES), "looking at the samples");
    let folder = crate::target().join("cross");
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    let wanted = folder.join("x86_64.jsonl");
    let text = detect(Command::new(crate::target().join("debug/porchlight")).current_dir(crate::root()))?;
    fs::write(&wanted, text).map_err(io(&wanted))?;
    say(format_args!("cross: {NO_DOTS}: models check {INT8}"));
    let old = Program { name: "qemu-x86_64", fix: "rm -r .tools/cross; cargo xtask cross" };
    let mut command = Command::new(cross.root.join("root/usr/bin/qemu-x86_64"));
    command.args(["-cpu", NO_DOTS]).arg(crate::target().join("debug/porchlight")).args(["models", "check", INT8]);
    let said = old.output(command.current_dir(crate::root()), "checking the int8 model without dot products")?;
    say(format_args!("cross: {NO_DOTS}: {said}"));
    let there = Program { name: "qemu-aarch64", fix: "rm -r .tools/cross; cargo xtask cross" };
    for processor in PROCESSORS {
        say(format_args!("cross: {processor}: models check"));
        let said =
            there.output(cross.emulated(processor, &program).args(["models", "check"]), "checking the models")?;
        // Cards whose weights were not pulled are passed over.
        let right: Vec<_> = said.lines().filter_map(|line| line.trim().strip_suffix(" ok")).map(str::trim).collect();
        say(format_args!("cross: {processor}: right: {}", right.join(", ")));
        if let Some(missing) = crate::deb::MODELS.iter().chain(&[INT8]).find(|model| !right.contains(model)) {
            return Err(Failure::new(format!("cross: {processor}: {missing} was not found right: {said}")));
        }
        say(format_args!("cross: {processor}: detect {}", SAMPLES.join(" ")));
        let found = folder.join(format!("{processor}.jsonl"));
        fs::write(&found, detect(&mut cross.emulated(processor, &program))?).map_err(io(&found))?;
        let script = crate::root().join("xtask/cross_compare.py");
        let said =
            PYTHON.output(PYTHON.command().arg(script).args([&wanted, &found]), &format!("cross: {processor}"))?;
        say(format_args!("cross: {processor}: {said}"));
    }
    refuses(&cross, &program)
}

/// A sealed run: its table becomes a filter, and the emulator's kernel takes none.
fn refuses(cross: &Cross, program: &Path) -> Result {
    let mut command = cross.emulated(PROCESSORS[0], program);
    command.args(["run", "--source", "samples/cat.jpg"]);
    let out = command.output().map_err(|e| Failure::new(format!("qemu-aarch64 cannot be started: {e}")))?;
    let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    say(format_args!("cross: a sealed run under qemu-user: {said}"));
    if out.status.code() != Some(5) || !out.stdout.is_empty() || !said.contains("seccomp") {
        return Err(Failure::new(format!(
            "cross: wanted exit code 5 for want of seccomp, found {}: {said}",
            out.status
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_found_by_number_and_not_by_letter() {
        let text = "Name: GLIBC_2.9 Flags\n 0x1: GLIBC_2.34  x GLIBC_2.3.4 GLIBC_PRIVATE GLIBCXX_3.4.30";
        assert_eq!(newest(text), Some((2, 34)));
        assert_eq!(newest("nothing"), None);
    }

    #[test]
    fn an_unknown_option_is_refused_before_anything_is_fetched() {
        assert_eq!(run(&["--fast".into()]).unwrap_err().code, crate::fail::USAGE);
    }
}
