//! The everyday chores: show it, test it.

use crate::fail::{Failure, Result};
use crate::{proc, setup};
use std::process::Command;

/// The clip of `cargo xtask demo`, and its frame rate: concatenated JPEG does not carry one.
const CLIP: (&str, &str) = ("samples/porch.mjpeg", "15");

/// `cargo xtask demo`: nothing but the events goes to stdout.
pub(crate) fn demo(args: &[String]) -> Result {
    setup::ensure(std::env::consts::ARCH)?;
    proc::cargo(&["build", "--release"], &[])?;
    let root = crate::root();
    let (clip, fps) = CLIP;
    if !root.join(clip).is_file() {
        return Err(Failure::new(format!("{clip} is missing; make it with: cargo xtask samples")));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let program = proc::Program { name: "porchlight", fix: "cargo build --release" };
    crate::say(format_args!("porchlight run --source {clip} --fps {fps}"));
    let mut run = Command::new(target.join("release/porchlight"));
    program.passing(run.args(["run", "--source", clip, "--fps", fps]).args(args).current_dir(root))
}

/// `cargo xtask test`: every test of the workspace.
pub(crate) fn test(args: &[String]) -> Result {
    setup::ensure(std::env::consts::ARCH)?;
    proc::cargo(&["test", "--workspace"], args)
}
