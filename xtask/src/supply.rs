//! `cargo xtask sbom`: what the program is made of, and that all of it may be given away. `cargo xtask deny`: the same asked of a stranger,
//! cargo-deny, and of the RustSec database what is known against any of it.

use std::fs;
use std::process::Command;

use crate::fail::{Failure, Result};
use crate::proc::{PYTHON, Program, cargo};
use crate::python::io;
use crate::{say, setup};

/// The chore.
pub(crate) fn run(args: &[String]) -> Result {
    let arch = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => std::env::consts::ARCH,
        ["--arch", arch @ ("x86_64" | "aarch64")] => arch,
        _ => return Err(Failure::usage(format!("sbom takes [--arch x86_64|aarch64], not `{}`", args.join(" ")))),
    };
    let folder = crate::target().join("sbom");
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    let (metadata, bom) = (folder.join("metadata.json"), folder.join(format!("porchlight-{arch}.cdx.json")));
    let cargo = Program { name: "cargo", fix: "install Rust 1.92 or newer" };
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["metadata", "--format-version=1", "--locked"])
        .arg(format!("--filter-platform={arch}-unknown-linux-gnu"));
    let text = cargo.output(command.current_dir(crate::root()), "asking cargo what the program depends on")?;
    fs::write(&metadata, text).map_err(io(&metadata))?;

    let mut command = PYTHON.command();
    command.arg(crate::root().join("xtask/sbom.py")).arg(&metadata);
    command.arg(crate::root().join("Cargo.lock")).arg(crate::root().join("NOTICE.md"));
    let text = PYTHON.output(command.args(setup::runtime(arch)), "writing the bill of materials")?;
    let count = text.matches("\"purl\": ").count().saturating_sub(1);
    fs::write(&bom, text + "\n").map_err(io(&bom))?;
    say(format_args!("sbom: {}: {count} libraries, and every licence is allowed", bom.display()));
    Ok(())
}

/// Its own lock file pins what it is built of.
const CARGO_DENY: &str = "0.20.2";

/// The other chore.
pub(crate) fn deny(args: &[String]) -> Result {
    let advisories = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => true,
        ["--no-advisories"] => false,
        _ => return Err(Failure::usage(format!("deny takes [--no-advisories], not `{}`", args.join(" ")))),
    };
    let home = crate::tools().join(format!("cargo-deny-{CARGO_DENY}"));
    let program = home.join("bin/cargo-deny");
    if !program.exists() {
        let version = format!("={CARGO_DENY}");
        let root = home.display().to_string();
        cargo(&["install", "cargo-deny", "--version", &version, "--locked", "--root", &root], &[])?;
    }
    let deny = Program { name: "cargo-deny", fix: "rm -r .tools/cargo-deny-*; cargo xtask deny" };
    let mut command = Command::new(program);
    command.args(["--locked", "check", "licenses", "bans", "sources"]).args(advisories.then_some("advisories"));
    deny.passing(command.current_dir(crate::root()))?;
    let missing = if advisories { "" } else { "; the advisories were not asked" };
    say(format_args!("deny: cargo-deny {CARGO_DENY} allows all of it{missing}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_knows_one_option() {
        assert_eq!(deny(&["--no-licences".into()]).unwrap_err().code, crate::fail::USAGE);
    }

    #[test]
    fn an_unknown_architecture_is_refused() {
        assert_eq!(run(&["--arch".into(), "m68k".into()]).unwrap_err().code, crate::fail::USAGE);
    }

    /// The rule itself, asked in Python: it is the part that a crate's author could fool.
    #[test]
    fn a_licence_must_be_satisfiable_with_what_is_allowed() {
        let ask = "import sys; sys.path.insert(0, 'xtask'); from sbom import allowed\n\
            yes = ['MIT', 'MIT OR GPL-3.0', 'MIT/Apache-2.0', '(MIT OR Apache-2.0) AND Unicode-3.0', 'Apache-2.0 WITH LLVM-exception OR GPL-2.0']\n\
            no = ['', 'GPL-3.0', 'MIT AND GPL-3.0', '(MIT OR ISC) AND GPL-3.0', 'Apache-2.0 WITH Other-exception']\n\
            assert all(map(allowed, yes)), [l for l in yes if not allowed(l)]\n\
            assert not any(map(allowed, no)), [l for l in no if allowed(l)]\n";
        let ask = ask.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
        let mut command = PYTHON.command();
        PYTHON.output(command.args(["-B", "-c", &ask]).current_dir(crate::root()), "asking").unwrap();
    }
}
