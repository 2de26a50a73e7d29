//! `cargo xtask sbom`: what the program is made of, and that all of it may be given away.

use std::fs;
use std::process::Command;

use crate::fail::{Failure, Result};
use crate::proc::{PYTHON, Program};
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

#[cfg(test)]
mod tests {
    use super::*;

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
