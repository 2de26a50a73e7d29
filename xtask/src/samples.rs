//! `cargo xtask samples`, `goldens`, `quantise`, `zoo` and the oracles: the Python scripts beside this crate, started with what they need.

use crate::fail::{Failure, Result};
use crate::proc::Program;
use crate::python::{self, Pin};
use crate::setup;
use std::process::Command;

/// The packages that carry the photographs, and the files taken out of each. Only data is taken, so one wheel serves
/// every machine.
const PICTURES: [(Pin, &[&str]); 2] = [
    (
        Pin {
            name: "scikit-image",
            version: "0.26.0",
            sha256: "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
            platforms: &["manylinux_2_28_x86_64"],
            python: Some("311"),
        },
        &["astronaut.png", "chelsea.png"],
    ),
    (
        Pin {
            name: "matplotlib",
            version: "3.11.2",
            sha256: "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8",
            platforms: &["manylinux2014_x86_64"],
            python: Some("311"),
        },
        &["grace_hopper.jpg"],
    ),
];

/// Runs `xtask/NAME` in the virtual environment with our stdout and stderr.
fn script(name: &str, args: &[String]) -> Result {
    let python = python::venv()?;
    let program = Program { name: ".tools/venv/bin/python", fix: "remove .tools/venv and run it again" };
    let root = crate::root();
    program.passing(Command::new(python).arg(root.join("xtask").join(name)).args(args).current_dir(root))
}

/// Composes `samples/`, or compares it with what would be composed.
pub(crate) fn compose(args: &[String]) -> Result {
    let source = PICTURES.map(|(pin, _)| pin.sha256).join(" ");
    setup::fill("pictures", "photographs of scikit-image and matplotlib", &source, |dest| {
        PICTURES.iter().try_for_each(|(pin, files)| python::fetch(pin, files, dest))
    })?;
    let pictures = crate::tools().join("pictures").to_string_lossy().into_owned();
    script("samples.py", &[&[pictures], args].concat())
}

/// Prints what the default models must answer for `samples/`.
pub(crate) fn goldens(args: &[String]) -> Result {
    script("goldens.py", args)
}

/// The model that is quantised, what comes of it, and what it is shown on the way: no picture that accuracy is measured on.
const FLOATS: &str = "models/ssdlite-mobilenet-v2/ssdlite_mobilenet_v2_coco_300_w16.onnx";
const BYTES: &str = "models/ssdlite-mobilenet-v2-int8/ssdlite_mobilenet_v2_coco_300_int8.onnx";
const SHOWN: [&str; 5] =
    ["samples/astronaut.jpg", "samples/people.jpg", "samples/cat.jpg", "samples/hopper.jpg", "samples/porch.mjpeg"];

/// Makes the int8 model, in some minutes, or compares what would be made with the committed one.
pub(crate) fn quantise(args: &[String]) -> Result {
    let (out, more) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => (BYTES.to_owned(), vec![]),
        ["--check"] => {
            let out = crate::target().join("quantised.onnx").to_string_lossy().into_owned();
            (out, vec!["--against".to_owned(), BYTES.to_owned()])
        }
        _ => return Err(Failure::usage(format!("quantise takes [--check], not `{}`", args.join(" ")))),
    };
    script("quantise.py", &[vec![FLOATS.to_owned(), out], SHOWN.map(str::to_owned).to_vec(), more].concat())
}

/// Compares `porchlight detect` with strangers on a folder of pictures; `samples/` unless another one is named.
pub(crate) fn oracle(args: &[String]) -> Result {
    setup::ensure(std::env::consts::ARCH)?;
    crate::work::build_release()?;
    let root = crate::root();
    let path = |p: std::path::PathBuf| p.to_string_lossy().into_owned();
    let (pictures, rest) = match args.split_first() {
        Some((first, rest)) if !first.starts_with("--") => (first.clone(), rest),
        _ => (path(root.join("samples")), args),
    };
    // A list of pairs is for the faces alone.
    let (mut rest, mut pairs) = (rest.to_vec(), Vec::new());
    if let Some(at) = rest.iter().position(|a| a == "--pairs") {
        pairs = rest.drain(at..(at + 2).min(rest.len())).skip(1).collect();
        if pairs.is_empty() {
            return Err(Failure::usage("oracle: --pairs: wanted a list of pairs (.tsv)"));
        }
    }
    let binary = path(crate::work::release_binary());
    script("oracle_detect.py", &[&[binary.clone(), pictures, path(root.join("models"))], &rest[..]].concat())?;
    script("oracle_faces.py", &[vec![binary], pairs].concat())
}

/// Runs clips of strangers with a gallery of others: nobody may be named.
pub(crate) fn strangers(args: &[String]) -> Result {
    if args.is_empty() {
        return Err(Failure::usage(
            "strangers: wanted a folder with videos/ and eval/face_pairs/; see xtask/strangers.py",
        ));
    }
    setup::ensure(std::env::consts::ARCH)?;
    crate::work::build_release()?;
    let binary = crate::work::release_binary().to_string_lossy().into_owned();
    script("strangers.py", &[&[binary], args].concat())
}

/// The gallery's search beside faiss and numpy on the same vectors.
pub(crate) fn gallery(_args: &[String]) -> Result {
    setup::ensure(std::env::consts::ARCH)?;
    // Before and after: what else the machine does should hit both.
    crate::proc::cargo(&["bench", "--bench", "gallery"], &[])?;
    script("gallery_peer.py", &[])?;
    crate::proc::cargo(&["bench", "--bench", "gallery", "--", "search"], &[])
}

/// Prints what the models of the zoo must answer for `samples/`.
pub(crate) fn zoo(args: &[String]) -> Result {
    script("zoo.py", args)
}

/// Makes the cases of `tests/eval/` with the reference tools, or compares.
pub(crate) fn oracle_eval(args: &[String]) -> Result {
    script("oracle_eval.py", args)
}

/// What OpenCV takes from a part of a frame to a tensor.
pub(crate) fn opencv_prep(args: &[String]) -> Result {
    script("opencv_prep.py", args)
}

/// WIDER FACE's own ground truth as `eval wider` reads it.
pub(crate) fn wider_truth(args: &[String]) -> Result {
    if args.len() != 1 {
        return Err(Failure::usage("wider-truth: wanted the folder of wider_face_val.mat, or --check"));
    }
    script("wider_truth.py", args)
}

/// The zoo's detectors against the decoders of `zoo.py`, on a folder of pictures.
pub(crate) fn oracle_zoo(args: &[String]) -> Result {
    if args.len() < 2 {
        return Err(Failure::usage("oracle-zoo: wanted the folder of the weights and one of pictures"));
    }
    setup::ensure(std::env::consts::ARCH)?;
    crate::work::build_release()?;
    let binary = crate::work::release_binary().to_string_lossy().into_owned();
    script("oracle_zoo.py", &[&[binary], args].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantise_refuses_what_it_does_not_know_and_its_files_are_there() {
        assert_eq!(quantise(&["--fast".into()]).unwrap_err().code, crate::fail::USAGE);
        for file in SHOWN.iter().chain([&FLOATS, &BYTES]) {
            assert!(crate::root().join(file).is_file(), "{file}");
        }
    }
}
