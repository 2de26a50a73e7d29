//! `cargo xtask`: the chores around porchlight that cargo itself does not do.
//!
//! It has no dependencies, so that a fresh machine has it compiled in a second, and it never links the product: what
//! it fetches is what the product needs in order to build. Whatever has to read pictures or run models is a Python
//! script in this folder, in a virtual environment whose packages are pinned by hash ([`python::venv`]).
//!
//! Everything it says goes to stderr, one line a step; stdout belongs to the programs it starts.

mod cross;
mod deb;
mod fail;
mod guard;
mod performance;
mod proc;
mod python;
mod samples;
mod setup;
mod soak;
mod supply;
mod vm;
mod work;

use fail::{Failure, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// One chore. The table below is what the dispatcher and the help text both read.
struct Chore {
    name: &'static str,
    args: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result,
}

const CHORES: &[Chore] = &[
    Chore {
        name: "setup",
        args: "[--arch x86_64|aarch64]",
        help: "fetch ONNX Runtime, libclang and gcc's headers into .tools/; does nothing when they are there",
        run: setup::run,
    },
    Chore {
        name: "demo",
        args: "[RUN OPTIONS]",
        help: "set up, build release and run the pipeline on samples/porch.mjpeg; the events go to stdout",
        run: work::demo,
    },
    Chore {
        name: "test",
        args: "[CARGO TEST OPTIONS]",
        help: "set up and run every test of the workspace",
        run: work::test,
    },
    Chore {
        name: "mqtt-latency",
        args: "[EVENTS]",
        help: "milliseconds from an event on the MQTT bridge's stdin to a subscriber, with a real broker",
        run: work::mqtt_latency,
    },
    Chore {
        name: "vm",
        args: "[--list] [--short] [--dev] [--must] [SCENARIO...]",
        help: "the camera test bed: scenarios on kernel video devices, in QEMU",
        run: vm::run,
    },
    Chore {
        name: "soak",
        args: "[--minutes N] [--host|--bed] [--release] [--report]",
        help: "what happens to a box in months, in minutes: faults of all kinds, laws checked all the time",
        run: soak::run,
    },
    Chore {
        name: "cross",
        args: "[--build]",
        help: "the aarch64 release from Debian's packages, run under qemu-user and compared with this machine",
        run: cross::run,
    },
    Chore {
        name: "deb",
        args: "[--arch amd64|arm64] [--dev]",
        help: "the Debian package; examined by lintian, installed, run and removed in a folder of its own",
        run: deb::run,
    },
    Chore {
        name: "sbom",
        args: "[--arch x86_64|aarch64]",
        help: "the bill of materials (CycloneDX) into target/sbom/; fails on a licence that nobody has allowed",
        run: supply::run,
    },
    Chore {
        name: "deny",
        args: "[--no-advisories]",
        help: "cargo-deny's verdict on the licences, sources and known flaws of all crates (fetches and builds it, and the RustSec database)",
        run: supply::deny,
    },
    Chore {
        name: "fuzz",
        args: "[--minutes N]",
        help: "the fuzz bodies on stable; with minutes also the targets, where cargo-fuzz and nightly are",
        run: guard::fuzz,
    },
    Chore {
        name: "reproduce",
        args: "[--dev]",
        help: "the release from two clean folders: the same bytes (slow: two release builds)",
        run: guard::reproduce,
    },
    Chore {
        name: "fleet",
        args: "[--boxes N] [--seconds S]",
        help: "many boxes, a real broker, a database: what is lost, how long it takes",
        run: guard::fleet,
    },
    Chore {
        name: "samples",
        args: "[--check]",
        help: "compose the clip and the pictures of samples/ again; --check: say whether the committed ones are those",
        run: samples::compose,
    },
    Chore {
        name: "goldens",
        args: "[--objects|--faces|--embedder FILE]",
        help: "print the expected outputs of the default models on samples/, computed without porchlight",
        run: samples::goldens,
    },
    Chore {
        name: "quantise",
        args: "[--check]",
        help: "make the int8 object model out of the default one with samples/; --check: say whether the committed one is that",
        run: samples::quantise,
    },
    Chore {
        name: "strangers",
        args: "DATA [PERSONS]",
        help: "clips of strangers against a gallery of others: nobody may be named",
        run: samples::strangers,
    },
    Chore {
        name: "gallery",
        args: "",
        help: "search the gallery beside faiss and numpy, on the same vectors",
        run: samples::gallery,
    },
    Chore {
        name: "oracle",
        args: "[PICTURES] [--reference JSON --root DIR] [--pairs TSV]",
        help: "compare `porchlight detect` (and with --pairs the likeness of faces) with OpenCV's decoders and an independent runtime on a folder of pictures",
        run: samples::oracle,
    },
    Chore {
        name: "zoo",
        args: "WEIGHTS [NAME...]",
        help: "print the expected outputs of the zoo's models on samples/, computed without porchlight",
        run: samples::zoo,
    },
    Chore {
        name: "oracle-zoo",
        args: "WEIGHTS PICTURES [NAME...]",
        help: "compare `porchlight detect` with independent decoders of the zoo's detectors on a folder of pictures",
        run: samples::oracle_zoo,
    },
    Chore {
        name: "oracle-eval",
        args: "[--check] [--coco TRUTH RESULTS REPORT]",
        help: "make tests/eval/*.json with pycocotools and TrackEval; --check: say whether the committed ones are those",
        run: samples::oracle_eval,
    },
    Chore {
        name: "wider-truth",
        args: "GROUND_TRUTH|--check",
        help: "print the truth of `eval wider` out of WIDER FACE's own MATLAB files",
        run: samples::wider_truth,
    },
    Chore {
        name: "peer",
        args: "[ROUNDS [REPEATS]]",
        help: "compare `porchlight run` with the usual Python script (OpenCV, onnxruntime, supervision) on the same clip",
        run: work::peer,
    },
    Chore {
        name: "opencv-prep",
        args: "",
        help: "print what OpenCV takes for the cases of benches/prep.rs",
        run: samples::opencv_prep,
    },
    Chore {
        name: "performance",
        args: "[NAME...]",
        help: "measure everything that docs/performance.md tells (half an hour on a quiet machine) and write its figures anew",
        run: performance::run,
    },
    Chore {
        name: "bench",
        args: "[ROUNDS]",
        help: "set up and compare the run with the bare ONNX Runtime sessions doing the same inferences",
        run: work::bench,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(line) = &failure.line {
                eprintln!("xtask: {line}");
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(args: &[String]) -> Result {
    let Some((name, rest)) = args.split_first() else {
        help();
        return Err(Failure::passed_on(fail::USAGE));
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        help();
        return Ok(());
    }
    match CHORES.iter().find(|chore| chore.name == name) {
        Some(chore) => (chore.run)(rest),
        None => {
            let known: Vec<_> = CHORES.iter().map(|chore| chore.name).collect();
            Err(Failure::usage(format!("no chore is called `{name}`; there are {} and help", known.join(", "))))
        }
    }
}

fn help() {
    eprintln!("usage: cargo xtask CHORE [OPTIONS]\n");
    for Chore { name, args, help, .. } in CHORES {
        eprintln!("  {:<46} {help}", format!("{name} {args}"));
    }
}

/// The folder of the repository. Asked of cargo at run time first: a copied target folder carries the old path.
fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Where fetched things are kept; not committed.
fn tools() -> PathBuf {
    root().join(".tools")
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// One line for the person who waits.
fn say(line: impl std::fmt::Display) {
    eprintln!("xtask: {line}");
}
