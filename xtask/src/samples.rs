//! `cargo xtask samples` and `cargo xtask goldens`: the Python scripts beside this crate, started with what they need.

use crate::fail::Result;
use crate::proc::Program;
use crate::python;
use std::process::Command;

/// Runs `xtask/SCRIPT` in the virtual environment with our stdout and stderr.
fn script(name: &str, args: &[String]) -> Result {
    let python = python::venv()?;
    let program = Program { name: ".tools/venv/bin/python", fix: "remove .tools/venv and run it again" };
    let root = crate::root();
    program.passing(Command::new(python).arg(root.join("xtask").join(name)).args(args).current_dir(root))
}

/// Composes `samples/`.
pub(crate) fn compose(args: &[String]) -> Result {
    script("samples.py", args)
}

/// Prints what the default models must answer for `samples/`.
pub(crate) fn goldens(args: &[String]) -> Result {
    script("goldens.py", args)
}
