//! The everyday chores: show it, test it.

use crate::fail::{Failure, Result};
use crate::{proc, setup};
use std::process::Command;

/// The clip of `cargo xtask demo`, and its frame rate: concatenated JPEG does not carry one.
const CLIP: (&str, &str) = ("samples/porch.mjpeg", "15");

/// `cargo xtask demo`: nothing but the events goes to stdout.
pub(crate) fn demo(args: &[String]) -> Result {
    setup::ensure(std::env::consts::ARCH)?;
    build_release()?;
    let root = crate::root();
    let (clip, fps) = CLIP;
    if !root.join(clip).is_file() {
        return Err(Failure::new(format!("{clip} is missing; make it with: cargo xtask samples")));
    }
    let program = proc::Program { name: "porchlight", fix: "cargo build --release" };
    crate::say(format_args!("porchlight run --source {clip} --fps {fps}"));
    let mut run = Command::new(release_binary());
    program.passing(run.args(["run", "--source", clip, "--fps", fps]).args(args).current_dir(root))
}

pub(crate) fn build_release() -> Result {
    proc::cargo(&["build", "--release"], &[])
}

/// Where [`build_release`] leaves the program.
pub(crate) fn release_binary() -> std::path::PathBuf {
    crate::target().join("release/porchlight")
}

/// `cargo xtask bench`: the run against the bare sessions.
pub(crate) fn bench(args: &[String]) -> Result {
    setup::ensure(std::env::consts::ARCH)?;
    let rounds: Vec<&str> = std::iter::once("--").chain(args.iter().map(String::as_str)).collect();
    proc::cargo(&[&["bench", "--bench", "run"], rounds.as_slice()].concat(), &[])
}

/// `cargo xtask peer`: the run against the script that one writes first.
pub(crate) fn peer(args: &[String]) -> Result {
    if args.len() > 2 || args.iter().any(|a| !a.parse::<u32>().is_ok_and(|n| (1..=1000).contains(&n))) {
        return Err(Failure::usage(
            "peer: wanted at most two numbers of 1..=1000: rounds, and how often the clip is repeated",
        ));
    }
    setup::ensure(std::env::consts::ARCH)?;
    build_release()?;
    let python = crate::python::peer_venv()?;
    let root = crate::root();
    let program = proc::Program { name: "python", fix: "remove .tools/peer and run it again" };
    let mut run = Command::new(python);
    run.arg(root.join("xtask/peer.py")).arg(release_binary()).arg(root.join("models")).arg(root.join(CLIP.0));
    program.passing(run.args(args).current_dir(root))
}

/// `cargo xtask test`: every test of the workspace.
pub(crate) fn test(args: &[String]) -> Result {
    setup::ensure(std::env::consts::ARCH)?;
    setup::outsiders();
    proc::cargo(&["test", "--workspace"], args)
}

/// `cargo xtask mqtt-latency`: from a line on the bridge's stdin to a subscriber of a real broker.
pub(crate) fn mqtt_latency(args: &[String]) -> Result {
    setup::outsiders();
    let python = crate::python::mqtt_venv()?;
    let program = proc::Program { name: "python", fix: "cargo xtask test" };
    let mut run = Command::new(python);
    program.passing(run.arg(crate::root().join("xtask/mqtt_latency.py")).args(args).current_dir(crate::root()))
}
