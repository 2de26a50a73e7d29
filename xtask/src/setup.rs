//! `cargo xtask setup`: what the product needs to build and to run and cargo does not bring.
//!
//! | place under `.tools/` | what | who needs it |
//! | --- | --- | --- |
//! | `onnxruntime-ARCH/` | the native ONNX Runtime library and its licences | every run and most tests |
//! | `libclang/` | libclang | bindgen, in the build of the `v4l` crate |
//! | `include/` | a copy of gcc's own headers (`stddef.h` ...) | the same: a bare libclang has none |
//!
//! Each place is filled in a temporary folder beside it and then renamed, with a stamp that says from what and how
//! large each file is: an interrupted set-up leaves nothing half done, and a complete one is recognised without network.

use crate::fail::{Failure, Result};
use crate::proc::{GCC, Program};
use crate::python::{self, Pin, io};
use crate::{say, tools};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The architectures there are pins for.
const ARCHES: [&str; 2] = ["x86_64", "aarch64"];

/// Its minor version must not be below the number in the `api-NN` feature of the `ort` crate in Cargo.toml.
const ORT_VERSION: &str = "1.31.1";

fn onnxruntime(arch: &str) -> Pin {
    let (sha256, platforms): (_, &[&str]) = match arch {
        "aarch64" => (
            "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
            &["manylinux_2_27_aarch64", "manylinux_2_28_aarch64"],
        ),
        _ => (
            "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
            &["manylinux_2_27_x86_64", "manylinux_2_28_x86_64"],
        ),
    };
    Pin { name: "onnxruntime", version: ORT_VERSION, sha256, platforms, python: Some("311") }
}

/// Version and hash of the ONNX Runtime that comes along.
pub(crate) fn runtime(arch: &str) -> [&'static str; 2] {
    [ORT_VERSION, onnxruntime(arch).sha256]
}

fn libclang(arch: &str) -> Pin {
    let (sha256, platforms): (_, &[&str]) = match arch {
        "aarch64" => ("54dda940a4a0491a9d1532bf071ea3ef26e6dbaf03b5000ed94dd7174e8f9592", &["manylinux2014_aarch64"]),
        _ => ("c533091d8a3bbf7460a00cb6c1a71da93bffe148f172c7d03b1c31fbf8aa2a0b", &["manylinux2010_x86_64"]),
    };
    Pin { name: "libclang", version: "18.1.1", sha256, platforms, python: None }
}

/// The chore.
pub(crate) fn run(args: &[String]) -> Result {
    let host = std::env::consts::ARCH;
    let arch = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => host,
        ["--arch", arch] => arch,
        _ => return Err(Failure::usage(format!("setup takes [--arch x86_64|aarch64], not `{}`", args.join(" ")))),
    };
    for arch in [arch, host] {
        if !ARCHES.contains(&arch) {
            return Err(Failure::usage(format!("nothing is pinned for `{arch}`; there are {}", ARCHES.join(" and "))));
        }
    }
    ensure(arch)
}

/// Sees to it that everything is there: ONNX Runtime for `arch`, the build tools for this machine.
pub(crate) fn ensure(arch: &str) -> Result {
    let pin = onnxruntime(arch);
    let place = format!("onnxruntime-{arch}");
    let what = format!("ONNX Runtime {ORT_VERSION} for {arch}");
    fill(&place, &what, pin.sha256, |dest| {
        let library = format!("libonnxruntime.so.{ORT_VERSION}");
        python::fetch(&pin, &[&library, "LICENSE", "ThirdPartyNotices.txt"], dest)?;
        for link in ["libonnxruntime.so", "libonnxruntime.so.1"] {
            std::os::unix::fs::symlink(&library, dest.join(link)).map_err(io(&dest.join(link)))?;
        }
        Ok(())
    })?;

    let pin = libclang(std::env::consts::ARCH);
    fill("libclang", "libclang 18.1.1", pin.sha256, |dest| python::fetch(&pin, &["libclang.so", "LICENSE.TXT"], dest))?;

    let headers = GCC.output(GCC.command().arg("-print-file-name=include"), "looking for gcc's headers")?;
    fill("include", "gcc's headers", &headers, |dest| copy(Path::new(&headers), dest))
}

/// Fills `.tools/PLACE` unless its stamp says that it was filled from `source` and every file is as long as it was.
pub(crate) fn fill(place: &str, what: &str, source: &str, make: impl FnOnce(&Path) -> Result) -> Result {
    let tools = tools();
    let dest = tools.join(place);
    let stamp = dest.join(".stamp");
    if fs::read_to_string(&stamp).is_ok_and(|held| inventory(&dest, source).is_ok_and(|now| now == held)) {
        say(format_args!("{what}: there (.tools/{place})"));
        return Ok(());
    }
    say(format_args!("{what}: into .tools/{place}"));
    let temporary = tools.join(format!(".{place}.{}", std::process::id()));
    let made = (|| {
        fs::create_dir_all(&temporary).map_err(io(&temporary))?;
        make(&temporary)?;
        let held = inventory(&temporary, source).map_err(io(&temporary))?;
        fs::write(temporary.join(".stamp"), held).map_err(io(&temporary))?;
        if dest.exists() {
            fs::remove_dir_all(&dest).map_err(io(&dest))?;
        }
        fs::rename(&temporary, &dest).map_err(io(&dest))
    })();
    if made.is_err() {
        // The first failure is the one worth a line.
        _ = fs::remove_dir_all(&temporary);
    }
    made
}

/// Programs of others that some tests run for real, and the Debian packages they are in. Without them those tests say that
/// they were skipped.
const OUTSIDERS: &[(&str, &str)] = &[
    ("strace", "strace"),       // tests/seal.rs: which system calls a run makes
    ("mosquitto", "mosquitto"), // tests/mqtt.rs: a real broker
    ("mosquitto_sub", "mosquitto-clients"),
    ("systemd-analyze", "systemd"), // tests/service.rs
    ("groff", "groff-base"),        // tests/cli.rs: the manual page
    ("jq", "jq"),                   // tests/recipes.rs
    ("sqlite3", "sqlite3"),
];

/// Sees to it that they are there, as far as this machine lets us.
pub(crate) fn outsiders() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| {
        std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(program).is_file())
    };
    let missing: Vec<&str> =
        OUTSIDERS.iter().filter(|(program, _)| !there(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        let fix = format!("apt-get install --no-install-recommends {}", missing.join(" "));
        // Whose machine it is decides what is installed on it; root in a build container has decided.
        let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
        let apt = Program { name: "apt-get", fix: "a Debian system" };
        let mut install = apt.command();
        install
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&missing);
        say(format_args!("{} missing; {fix}", missing.join(", ")));
        let installed = root && apt.output(&mut install, "installing").is_ok();
        if !installed {
            // A fresh container has no lists yet.
            let updated = root && apt.output(apt.command().arg("update"), "updating").is_ok();
            if !updated || apt.output(&mut install, "installing").is_err() {
                say("they could not be installed: the tests that need them will say that they were skipped");
            }
        }
    }
    if let Err(failure) = python::mqtt_venv() {
        say(format_args!("{}: the tests of the MQTT bridge will be skipped", failure.line.unwrap_or_default()));
    }
}

/// What a place holds: its source, then length and name of each file directly in it, by name.
fn inventory(folder: &Path, source: &str) -> std::io::Result<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Through symbolic links, so that a dangling one is an error.
        let metadata = fs::metadata(entry.path())?;
        if name != ".stamp" && metadata.is_file() {
            files.push((name, metadata.len()));
        }
    }
    files.sort();
    let mut text = format!("from {source}\n");
    for (name, length) in files {
        _ = writeln!(text, "{length} {name}");
    }
    Ok(text)
}

/// Copies a folder of plain files and folders.
fn copy(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to).map_err(io(to))?;
    for entry in fs::read_dir(from).map_err(io(from))? {
        let entry = entry.map_err(io(from))?;
        let (source, dest) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &dest)?;
        } else {
            fs::copy(&source, &dest).map_err(io(&source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_pins_for_both_architectures() {
        for arch in ARCHES {
            for pin in [onnxruntime(arch), libclang(arch)] {
                assert_eq!(pin.sha256.len(), 64);
                assert!(pin.platforms.iter().all(|platform| platform.ends_with(arch)), "{} {arch}", pin.name);
            }
        }
    }

    #[test]
    fn an_unknown_architecture_is_refused_before_anything_is_fetched() {
        let failure = run(&["--arch".into(), "m68k".into()]).unwrap_err();
        assert_eq!(failure.code, crate::fail::USAGE);
        assert!(failure.line.unwrap().contains("m68k"));
    }
}
