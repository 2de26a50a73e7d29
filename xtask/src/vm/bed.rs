//! What the test bed is made of: Debian packages, unpacked and not installed, and three things built here.
//!
//! Packages are named, not pinned by version: a mirror keeps only the newest point release of a kernel, and apt checks its
//! signature. What is pinned is the kernel's series ([`SERIES`]); the packages that were really used are written down in
//! `.tools/vm/packages`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fail::{Failure, Result};
use crate::proc::{GCC, Program};
use crate::python::io;
use crate::{say, setup, tools};

/// The kernels this bed is known to work with. Not the cloud flavour: it has no `vivid`.
const SERIES: &str = "6.1.0-";
/// Where it all is, under `.tools/`.
const PLACE: &str = "vm";
/// Changing this makes every machine fetch again.
const EDITION: &str =
    "camera test bed, edition 1: busybox-static, linux-image-amd64, v4l2loopback-dkms, qemu-system-x86";

const APT: Program = Program { name: "apt-get", fix: "run this on Debian 12 or in a container of it" };
const APT_CACHE: Program = Program { name: "apt-cache", fix: "run this on Debian 12 or in a container of it" };
const DPKG: Program = Program { name: "dpkg", fix: "run this on Debian 12 or in a container of it" };
const MAKE: Program = Program { name: "make", fix: "apt-get install make" };
const RUSTC: Program = Program { name: "rustc", fix: "install Rust 1.92 or newer" };
const STRIP: Program = Program { name: "strip", fix: "apt-get install binutils" };
const LDD: Program = Program { name: "ldd", fix: "apt-get install libc-bin" };

/// The bed, ready to be made.
pub(crate) struct Bed {
    root: PathBuf,
}

impl Bed {
    /// Fetches and builds what is missing.
    pub(crate) fn ensure() -> Result<Self> {
        setup::fill(PLACE, "the camera test bed", EDITION, make)?;
        Ok(Self { root: tools().join(PLACE) })
    }

    /// The kernel.
    pub(crate) fn kernel(&self) -> Result<PathBuf> {
        one(&self.root.join("system/boot"), |name| name.starts_with("vmlinuz-"))
    }

    /// A shell and everything.
    pub(crate) fn busybox(&self) -> PathBuf {
        self.root.join("system/bin/busybox")
    }

    /// QEMU: the system's own if there is one, else the unpacked one with its libraries and firmware.
    pub(crate) fn qemu(&self) -> Command {
        let unpacked = self.root.join("qemu/usr/bin/qemu-system-x86_64");
        if !unpacked.is_file() {
            return Command::new("qemu-system-x86_64");
        }
        let usr = self.root.join("qemu/usr");
        let mut command = Command::new(&unpacked);
        let libraries = ["qemu/usr/lib/x86_64-linux-gnu", "qemu/lib/x86_64-linux-gnu"].map(|path| self.root.join(path));
        command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap_or_default());
        for folder in ["share/seabios", "share/qemu", "lib/ipxe/qemu"] {
            command.arg("-L").arg(usr.join(folder));
        }
        command
    }

    /// The files of these modules and of those they depend on, in the order of loading. `None` for what is built in.
    pub(crate) fn module(&self, name: &str) -> Result<Vec<(String, PathBuf)>> {
        let mut index = Vec::new();
        modules(&self.root.join("system/lib/modules"), &mut index)?;
        let mut order = Vec::new();
        needs(name, &index, &mut order)?;
        if order.last().is_none_or(|(last, _)| last != &name.replace('-', "_")) {
            return Err(Failure::new(format!("the kernel package has no module {name}")));
        }
        Ok(order)
    }
}

/// Whether QEMU can be had at all: installed, or by apt.
pub(crate) fn possible() -> std::result::Result<(), String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(format!("the test bed is for x86_64 machines, this is {}", std::env::consts::ARCH));
    }
    if tools().join(PLACE).join(".stamp").is_file() || installed() {
        return Ok(());
    }
    match Command::new("apt-cache").args(["show", "qemu-system-x86"]).output() {
        Ok(out) if out.status.success() => Ok(()),
        _ => Err("there is no qemu-system-x86_64 and no apt package of it; try: apt-get update".into()),
    }
}

fn installed() -> bool {
    Command::new("qemu-system-x86_64").arg("--version").output().is_ok_and(|out| out.status.success())
}

fn make(dest: &Path) -> Result {
    let debs = dest.join("debs");
    fs::create_dir_all(debs.join("partial")).map_err(io(&debs))?;
    let depends =
        APT_CACHE.output(APT_CACHE.command().args(["depends", "linux-image-amd64"]), "looking for a kernel")?;
    let image = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| name.starts_with(&format!("linux-image-{SERIES}")))
        .ok_or_else(|| {
            Failure::new(format!("apt knows no kernel linux-image-{SERIES}*-amd64; try: apt-get update, on Debian 12"))
        })?
        .to_owned();
    let version = image.trim_start_matches("linux-image-");
    let headers = format!("linux-headers-{version}");
    let common = format!("linux-headers-{}-common", version.trim_end_matches("-amd64"));
    let sources = [headers.as_str(), &common, "linux-kbuild-6.1", "linux-compiler-gcc-12-x86", "v4l2loopback-dkms"]
        .map(str::to_owned);

    say(format_args!("downloading {image} and its headers"));
    let mut command = APT.command();
    command.args(["-qq", "download", &image, "busybox-static"]).args(&sources).current_dir(&debs);
    APT.output(&mut command, "downloading packages")?;
    unpack(&debs, &[image.clone(), "busybox-static".into()], &dest.join("system"))?;
    unpack(&debs, &sources, &dest.join("headers"))?;
    if !installed() {
        say("downloading qemu-system-x86 and the libraries that this machine lacks");
        let only = dest.join("qemu-debs");
        fs::create_dir_all(only.join("partial")).map_err(io(&only))?;
        let mut command = APT.command();
        command.args(["-qq", "-y", "-d", "--no-install-recommends", "-o", "Debug::NoLocking=1", "-o"]);
        command.arg(format!("Dir::Cache::archives={}", only.display())).args(["install", "qemu-system-x86"]);
        APT.output(&mut command, "downloading qemu")?;
        unpack(&only, &[], &dest.join("qemu"))?;
        fs::remove_dir_all(&only).map_err(io(&only))?;
    }
    let mut used: Vec<String> = fs::read_dir(&debs)
        .map_err(io(&debs))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".deb"))
        .collect();
    used.sort();
    fs::write(dest.join("packages"), used.join("\n")).map_err(io(dest))?;
    fs::remove_dir_all(&debs).map_err(io(&debs))?;

    let extra = one(&dest.join("system/lib/modules"), |_| true)?.join("extra");
    fs::create_dir_all(&extra).map_err(io(&extra))?;
    loopback(dest, &headers, &common, &extra)?;
    // 200 MB of headers have done their duty.
    let headers = dest.join("headers");
    fs::remove_dir_all(&headers).map_err(io(&headers))
}

/// Unpacks the packages of these names, or all, without installing anything.
fn unpack(debs: &Path, names: &[String], into: &Path) -> Result {
    fs::create_dir_all(into).map_err(io(into))?;
    for entry in fs::read_dir(debs).map_err(io(debs))?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let wanted = names.is_empty() || names.iter().any(|name| file.starts_with(&format!("{name}_")));
        if wanted && file.ends_with(".deb") {
            DPKG.output(DPKG.command().arg("-x").arg(entry.path()).arg(into), &format!("unpacking {file}"))?;
        }
    }
    Ok(())
}

/// Builds v4l2loopback for the kernel that was fetched.
fn loopback(dest: &Path, headers: &str, common: &str, into: &Path) -> Result {
    say("building v4l2loopback");
    let sources = dest.join("headers/usr/src");
    let (build, common) = (sources.join(headers), sources.join(common));
    // The packaged Makefile includes an absolute path; the unpacked tree is elsewhere.
    let makefile = build.join("Makefile");
    fs::write(&makefile, format!("include {}/Makefile\n", common.display())).map_err(io(&makefile))?;
    let module = one(&sources, |name| name.starts_with("v4l2loopback-"))?;
    let mut command = MAKE.command();
    command.arg("-C").arg(&build).arg(format!("M={}", module.display())).arg(format!("srctree={}", common.display()));
    command.args(["CC=gcc", "HOSTCC=gcc", "modules"]).env_remove("MAKEFLAGS");
    MAKE.output(&mut command, "building v4l2loopback")?;
    let built = module.join("v4l2loopback.ko");
    fs::copy(&built, into.join("v4l2loopback.ko")).map_err(io(&built))?;
    Ok(())
}

/// Builds the helper of the scripts: one file, no dependencies, static.
pub(crate) fn guest(into: &Path) -> Result<PathBuf> {
    let source = crate::root().join("xtask/vm/guest.rs");
    let built = into.join("guest");
    let newer = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    if newer(&built).is_none() || newer(&built) < newer(&source) {
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"]);
        RUSTC.output(command.arg(&built).arg(&source), "building the guest's helper")?;
    }
    Ok(built)
}

/// A copy without debug information, so that the machine has less to load.
pub(crate) fn stripped(program: &Path, into: &Path) -> Result<PathBuf> {
    let name = program.file_name().unwrap_or_default();
    let dest = into.join(name);
    STRIP.output(STRIP.command().arg("-o").arg(&dest).arg(program), "stripping a program")?;
    Ok(dest)
}

/// The shared libraries a program or library loads, as paths on this machine.
pub(crate) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text = LDD.output(LDD.command().arg(program), "asking which libraries a program needs")?;
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// The tracer, where it is installed.
pub(crate) fn strace() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join("strace")).find(|path| path.is_file())
}

/// gcc must be there before a long download.
pub(crate) fn compiler() -> Result {
    GCC.output(GCC.command().arg("--version"), "looking for gcc").map(|_| ())
}

/// The one entry of a folder that fits.
fn one(folder: &Path, fits: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(io(folder))?.flatten();
    entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| fits(&name.to_string_lossy())))
        .ok_or_else(|| Failure::new(format!("{}: what should be there is missing; delete .tools/vm", folder.display())))
}

/// Every module file, by its name with underscores.
fn modules(folder: &Path, found: &mut Vec<(String, PathBuf)>) -> Result {
    for entry in fs::read_dir(folder).map_err(io(folder))?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            modules(&path, found)?;
        } else if path.extension().is_some_and(|ext| ext == "ko") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
            found.push((name, path));
        }
    }
    Ok(())
}

/// `name` behind all it depends on, by what the modules say of themselves: no `depmod` needed.
fn needs(name: &str, index: &[(String, PathBuf)], order: &mut Vec<(String, PathBuf)>) -> Result {
    let name = name.replace('-', "_");
    let Some((_, path)) = index.iter().find(|(known, _)| *known == name) else { return Ok(()) };
    if order.iter().any(|(known, _)| *known == name) {
        return Ok(());
    }
    let bytes = fs::read(path).map_err(io(path))?;
    for needed in depends(&bytes) {
        needs(&needed, index, order)?;
    }
    order.push((name, path.clone()));
    Ok(())
}

/// The `depends=` line of a module's information.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(begin) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let rest = &module[begin + key.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..end]).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_depends_on() {
        assert_eq!(depends(b"x\0depends=videodev,mc\0retpoline=Y"), ["videodev", "mc"]);
        assert!(depends(b"x\0depends=\0y").is_empty() && depends(b"nothing").is_empty());
    }
}
