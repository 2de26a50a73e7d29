//! What keeps the sources and the build honest: `cargo xtask fuzz`, `reproduce`, and the fleet of `fleet`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fail::{Failure, Result};
use crate::proc::{self, Program};
use crate::python::io;
use crate::{say, setup, target, tools};

/// The targets of `fuzz/`.
fn targets() -> Result<Vec<String>> {
    let folder = crate::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io(&folder))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// `cargo xtask fuzz`: the bodies over random and damaged bytes, which every toolchain can; and, when minutes are given, each target for
/// its share of them with cargo-fuzz, where that and a nightly toolchain are.
pub(crate) fn fuzz(args: &[String]) -> Result {
    let minutes: u64 = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 0,
        ["--minutes", n] => match n.parse() {
            Ok(n @ 1..=1440) => n,
            _ => return Err(Failure::usage(format!("fuzz: --minutes wants a number of 1..=1440, found {n:?}"))),
        },
        _ => return Err(Failure::usage(format!("fuzz takes [--minutes N], not `{}`", args.join(" ")))),
    };
    setup::ensure(std::env::consts::ARCH)?;
    proc::cargo(&["test", "--manifest-path", "fuzz/Cargo.toml"], &[])?;
    if minutes == 0 {
        return Ok(());
    }
    let mut asked = Command::new("cargo");
    asked.args(["+nightly", "fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !asked.status().is_ok_and(|s| s.success()) {
        say("fuzz: the targets are skipped: wanted a nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz`)");
        return Ok(());
    }
    let targets = targets()?;
    let each = minutes * 60 / targets.len().max(1) as u64;
    let program = Program { name: "cargo", fix: "install Rust with rustup" };
    for target in targets {
        say(format_args!("fuzz: {target} for {each} s"));
        let mut run = Command::new("cargo");
        run.args(["+nightly", "fuzz", "run", &target, "--", &format!("-max_total_time={each}")]);
        program.passing(run.current_dir(crate::root()))?;
    }
    Ok(())
}

const GIT: Program = Program { name: "git", fix: "apt-get install git" };

/// `cargo xtask reproduce`: the committed sources, unpacked into two folders of different names, built there by themselves; the
/// programs must be the same bytes.
///
/// Paths are what differs: the checkout's (sources are named in panics and in debug information), cargo's home and the target
/// folder. All three are mapped to fixed names. The linker's build id is a hash of the rest. Nothing else in the build looks at a
/// clock or at the machine, and if something did, this would find it.
pub(crate) fn reproduce(args: &[String]) -> Result {
    let profile = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => "release",
        ["--dev"] => "debug",
        _ => return Err(Failure::usage(format!("reproduce takes [--dev], not `{}`", args.join(" ")))),
    };
    setup::ensure(std::env::consts::ARCH)?;
    let folder = target().join("reproduce");
    let _ = fs::remove_dir_all(&folder);
    let head = GIT.output(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(crate::root()), "asking git")?;
    let time = GIT.output(
        Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(crate::root()),
        "asking git for the time of the commit",
    )?;
    let mut hashes = Vec::new();
    for name in ["first", "the-second-one"] {
        let place = folder.join(name);
        fs::create_dir_all(&place).map_err(io(&place))?;
        let tar = place.join("sources.tar");
        GIT.output(
            Command::new("git").args(["archive", "--output"]).arg(&tar).arg("HEAD").current_dir(crate::root()),
            "packing the sources",
        )?;
        let unpack = Program { name: "tar", fix: "apt-get install tar" };
        unpack.output(Command::new("tar").arg("-xf").arg(&tar).current_dir(&place), "unpacking the sources")?;
        let hash = build(&place, &time, profile)?;
        say(format_args!("reproduce: {name}: {hash}"));
        hashes.push(hash);
    }
    if hashes[0] != hashes[1] {
        return Err(Failure::new(format!("reproduce: two builds of {head} differ; look into {}", folder.display())));
    }
    say(format_args!("reproduce: {head}: the same bytes twice: sha256 {}", hashes[0]));
    fs::remove_dir_all(&folder).map_err(io(&folder))
}

/// Builds the release in a folder of sources; the hash of the program without its debug information, as it is packaged.
fn build(place: &Path, time: &str, profile: &str) -> Result<String> {
    let home = std::env::var_os("CARGO_HOME")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"), PathBuf::from);
    let built = place.join("target");
    let flags = [(built.as_path(), "/target"), (place, "/porchlight"), (home.as_path(), "/cargo")]
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--locked", "--bin", "porchlight"]).current_dir(place);
    if profile == "release" {
        command.arg("--release");
    }
    // The later of two prefixes that fit wins, so the longest comes last.
    command.env("CARGO_ENCODED_RUSTFLAGS", [&flags[2], &flags[1], &flags[0]].map(String::as_str).join("\u{1f}"));
    command.env("CARGO_TARGET_DIR", &built).env("SOURCE_DATE_EPOCH", time);
    // As in a package: no path of the checkout to look for models and library in. libclang is ours.
    for name in crate::deb::NO_CHECKOUT {
        command.env(name, OsString::new());
    }
    command.env("LIBCLANG_PATH", tools().join("libclang"));
    command.env("C_INCLUDE_PATH", tools().join("include"));
    let cargo = Program { name: "cargo", fix: "install Rust 1.92 or newer" };
    cargo.passing(&mut command)?;
    let program = place.join("program");
    let strip = Program { name: "strip", fix: "apt-get install binutils" };
    strip.output(
        Command::new("strip")
            .args(["--strip-unneeded", "-o"])
            .arg(&program)
            .arg(built.join(profile).join("porchlight")),
        "stripping the program",
    )?;
    let sum = Program { name: "sha256sum", fix: "apt-get install coreutils" };
    let line = sum.output(Command::new("sha256sum").arg(&program), "hashing the program")?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

/// `cargo xtask fleet`: many boxes, one broker, one database.
pub(crate) fn fleet(args: &[String]) -> Result {
    setup::outsiders();
    let python = crate::python::mqtt_venv()?;
    let program = Program { name: "python", fix: "cargo xtask test" };
    let mut run = Command::new(python);
    program.passing(run.arg(crate::root().join("xtask/fleet.py")).args(args).current_dir(crate::root()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (chore, text) in [(fuzz as fn(&[String]) -> Result, "--minutes 0"), (fuzz, "3"), (reproduce, "now")] {
            assert_eq!(chore(&words(text)).unwrap_err().code, crate::fail::USAGE, "{text}");
        }
    }

    /// The manifest lists every target, or cargo-fuzz would not know it.
    #[test]
    fn every_target_is_in_the_manifest() {
        let manifest = fs::read_to_string(crate::root().join("fuzz/Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        assert!(targets.len() >= 4);
        for target in targets {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
        }
    }
}
