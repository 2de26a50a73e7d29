//! `eval faces`: how well faces are told apart, and which threshold that justifies.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::super::faces::{Eyes, photo};
use super::super::{Failure, Printer, complain};
use crate::cli::RunArgs;
use crate::config::Config;
use crate::eval::faces::{Pair, Probe, Verification, fnir, fpir, threshold_for_fpir};
use crate::exit::Exit;
use crate::face::gallery::Template;
use crate::source::replay;

/// Largest list of pairs that is read.
const MAX_LIST: u64 = 64 << 20;

fn source(line: String) -> Failure {
    Failure::new(Exit::Source, line)
}

/// Which pictures to compare; indices into the list of pictures.
struct Task {
    pictures: Vec<PathBuf>,
    persons: Vec<String>,
    /// a, b, same, the list's own likeness.
    pairs: Vec<(usize, usize, bool, Option<f32>)>,
}

/// `a b label [same_photo] [ref_cosine]`, tab-separated, named in the first line; paths from the list's folder. Pairs of one
/// photograph are left out.
fn read_list(path: &Path) -> Result<Task, Failure> {
    let wrong = |what: String| source(format!("{}: {what}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > MAX_LIST {
        return Err(wrong(format!("wanted at most {MAX_LIST} bytes, found {size}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| names.iter().position(|n| *n == name);
    let (Some(a), Some(b), Some(label)) = (column("a"), column("b"), column("label")) else {
        return Err(wrong("line 1: wanted columns a, b and label".into()));
    };
    let (photo, reference) = (column("same_photo"), column("ref_cosine"));
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut task = Task { pictures: Vec::new(), persons: Vec::new(), pairs: Vec::new() };
    let mut known = BTreeMap::new();
    for (i, line) in lines.enumerate().filter(|(_, l)| !l.is_empty()) {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |c: usize| cells.get(c).copied().ok_or_else(|| wrong(format!("line {}: too few columns", i + 2)));
        let same = match cell(label)? {
            "same" => true,
            "different" => false,
            other => return Err(wrong(format!("line {}: label: wanted same or different, found {other:?}", i + 2))),
        };
        let mut index = |name: &str| {
            *known.entry(name.to_owned()).or_insert_with(|| {
                task.pictures.push(folder.join(name));
                task.persons.push(name.rsplit_once('/').map_or("", |(p, _)| p).to_owned());
                task.pictures.len() - 1
            })
        };
        let (a, b) = (index(cell(a)?), index(cell(b)?));
        if photo.and_then(|c| cells.get(c)).is_none_or(|p| p.is_empty()) {
            let reference = reference.and_then(|c| cells.get(c)?.parse().ok());
            task.pairs.push((a, b, same, reference));
        }
    }
    Ok(task)
}

/// One folder for each person; every pair of pictures.
fn read_folders(folders: &[PathBuf]) -> Result<Task, Failure> {
    let mut task = Task { pictures: Vec::new(), persons: Vec::new(), pairs: Vec::new() };
    for folder in folders {
        let name = folder.to_string_lossy().into_owned();
        let found = replay::pictures(&name)?;
        task.persons.extend(found.iter().map(|_| name.clone()));
        task.pictures.extend(found);
    }
    for b in 0..task.pictures.len() {
        task.pairs.extend((0..b).map(|a| (a, b, task.persons[a] == task.persons[b], None)));
    }
    Ok(task)
}

pub(in crate::command) fn faces(paths: &[PathBuf]) -> Result<Exit, Failure> {
    let task = match paths {
        [list] if list.is_file() => read_list(list)?,
        [_] => {
            return Err(Failure::new(
                Exit::Usage,
                "eval faces: wanted a list of pairs (.tsv), or a folder for each of several persons",
            ));
        }
        folders => read_folders(folders)?,
    };
    let config = Config::resolve(&RunArgs::default(), None)?;
    let mut eyes = Eyes::load(&config)?;
    let mut templates: Vec<Option<Template>> = Vec::new();
    let mut gated = 0;
    for path in &task.pictures {
        let face = eyes.best(&photo(path)?)?;
        if face.is_none() {
            complain(&format!("{}: shows no face: its pairs are left out", path.display()));
        }
        gated += usize::from(face.as_ref().is_some_and(|f| f.quality.is_ok()));
        templates.push(face.map(|f| Template::of(&f.embedding)));
    }
    let likeness = |a: usize, b: usize| Some(templates[a].as_ref()?.cosine(templates[b].as_ref()?));
    let mut pairs = Vec::new();
    let mut off = None;
    for &(a, b, same, reference) in &task.pairs {
        let Some(likeness) = likeness(a, b) else { continue };
        pairs.push(Pair { likeness, same });
        off = reference.map(|r: f32| (r - likeness).abs()).into_iter().chain(off).reduce(f32::max);
    }
    let probes = probes(&task, &likeness);
    let text = report(&config, &task, gated, &pairs, &probes, off);
    Printer::new().print(&text)?;
    Ok(Exit::Done)
}

fn probes(task: &Task, likeness: &impl Fn(usize, usize) -> Option<f32>) -> Vec<Probe> {
    let left_out: std::collections::BTreeSet<(usize, usize)> = {
        let mut all: std::collections::BTreeSet<_> = std::collections::BTreeSet::new();
        for b in 0..task.pictures.len() {
            all.extend((0..b).map(|a| (a, b)));
        }
        for &(a, b, ..) in &task.pairs {
            all.remove(&(a.min(b), a.max(b)));
        }
        all
    };
    (0..task.pictures.len())
        .map(|probe| {
            let mut best: BTreeMap<&str, f32> = BTreeMap::new();
            for other in (0..task.pictures.len()).filter(|o| *o != probe) {
                let Some(l) = likeness(probe, other) else { continue };
                if !left_out.contains(&(probe.min(other), probe.max(other))) {
                    let best = best.entry(task.persons[other].as_str()).or_insert(l);
                    *best = best.max(l);
                }
            }
            let own = best.remove(task.persons[probe].as_str());
            Probe { others: best.into_values().collect(), own }
        })
        .filter(|p| !p.others.is_empty())
        .collect()
}

fn report(config: &Config, task: &Task, gated: usize, pairs: &[Pair], probes: &[Probe], off: Option<f32>) -> String {
    let v = Verification::new(pairs);
    let least = config.faces.match_threshold;
    let mut out = String::new();
    let mut row = |left: String, right: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {left} | {right} |");
    };
    let rate = |v: f64| format!("{v:.4}");
    row("measure".into(), "value (95 % interval)".into());
    row("---".into(), "---".into());
    row("pictures, of which pass the gate".into(), format!("{}, {gated}", task.pictures.len()));
    row("accuracy at match = ".to_owned() + &least.to_string(), v.accuracy(least).to_string());
    if let (Some(same), Some(different)) = v.extremes() {
        row("least likeness of a same pair, margin".into(), format!("{same:.4}, {:+.4}", same - least));
        row(
            "greatest likeness of a different pair, margin".into(),
            format!("{different:.4}, {:+.4}", least - different),
        );
    }
    if let Some(off) = off {
        row("greatest difference to the list's own likeness".into(), format!("{off:.5}"));
    }
    let (eer, at) = v.eer();
    row("EER".into(), format!("{eer:.4} at {at:.3}"));
    for far in [1e-2, 1e-3, 1e-4] {
        let t = v.threshold_for(far);
        let measured = v.far(t);
        let short = if (measured.of as f64) < 1.0 / far { ": too few pairs to tell this rate" } else { "" };
        row(format!("TAR at FAR {far:.0e}"), format!("{} at {t:.3}{short}", v.tar(t)));
    }
    for t in [0.30, 0.35, 0.363, 0.40, 0.45, 0.50, 0.55] {
        row(format!("ROC at {t}"), format!("FAR {}, TAR {}", v.far(t), v.tar(t)));
    }
    let most = probes.iter().map(|p| p.others.len()).max().unwrap_or_default();
    for n in [1, 2, 5, 10, 20, 50, 100, 1000].into_iter().filter(|n| *n < most).chain((most > 0).then_some(most)) {
        let [a, b] = [1e-2, 1e-3].map(|wanted| threshold_for_fpir(probes, n, wanted));
        let (found, missed) = (rate(fpir(probes, n, least)), fnir(probes, least));
        row(
            format!("gallery of {n}"),
            format!("FPIR {found}, FNIR {missed}; match for FPIR 1 %: {a:.2}, for .1 %: {b:.2}"),
        );
    }
    out
}
