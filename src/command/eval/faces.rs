//! `eval faces`: how well faces are told apart, and which threshold that justifies.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::faces::{Eyes, photo};
use super::super::{Failure, Printer, complain};
use crate::cli::{EvalFacesArgs, RunArgs};
use crate::config::Config;
use crate::eval::faces::{Pair, Probe, Share, Verification, fnir, fpir, threshold_for_fpir};
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

pub(in crate::command) fn faces(args: &EvalFacesArgs) -> Result<Exit, Failure> {
    let task = match &args.paths[..] {
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
    let most = probes.iter().map(|p| p.others.len()).max().unwrap_or_default();
    let persons = args.persons.map_or(most, |n| n as usize);
    if persons > most {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--persons: wanted at most {most}, the others that a face of these pictures can be searched among, found {persons}"
            ),
        ));
    }
    let measured = Measured {
        at: config.faces.match_threshold,
        pictures: task.pictures.len(),
        gated,
        verification: Verification::new(&pairs),
        probes,
        off,
        most,
        wish: Wish { fpir: args.fpir, persons },
    };
    Printer::new().print(&if args.json { measured.json() } else { measured.table() })?;
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

/// What a threshold is wanted for.
#[derive(Clone, Copy)]
struct Wish {
    /// Greatest share of strangers with a name, 0..=1.
    fpir: f64,
    /// In the gallery.
    persons: usize,
}

struct Measured {
    /// The threshold in use.
    at: f32,
    pictures: usize,
    gated: usize,
    verification: Verification,
    probes: Vec<Probe>,
    /// Greatest difference to the likenesses that the list brings.
    off: Option<f32>,
    /// Persons of the largest gallery that can be drawn.
    most: usize,
    wish: Wish,
}

/// False accept rates that are reported.
const FARS: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Points of the printed ROC; .363 is what OpenCV's documentation recommends for SFace.
const ROC: [f32; 7] = [0.30, 0.35, 0.363, 0.40, 0.45, 0.50, 0.55];

impl Measured {
    /// Whether there are too few pairs to tell a rate of false accepts.
    fn too_few(&self, far: f64) -> bool {
        (self.verification.far(0.0).of as f64) < 1.0 / far
    }

    fn galleries(&self) -> impl Iterator<Item = usize> {
        let most = self.most;
        [1, 2, 5, 10, 20, 50, 100, 1000].into_iter().filter(move |n| *n < most).chain((most > 0).then_some(most))
    }

    /// The threshold for the wish, and whether there are faces enough to tell so small a rate.
    fn recommended(&self) -> (f32, bool) {
        let enough = self.probes.len() as f64 * self.wish.fpir >= 1.0;
        (threshold_for_fpir(&self.probes, self.wish.persons, self.wish.fpir), enough)
    }

    fn table(&self) -> String {
        let Self { at, verification: v, probes, wish, .. } = self;
        let mut out = String::new();
        let mut row = |left: String, right: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "| {left} | {right} |");
        };
        let rate = |v: f64| format!("{v:.4}");
        row("measure".into(), "value (95 % interval)".into());
        row("---".into(), "---".into());
        row("pictures, of which pass the gate".into(), format!("{}, {}", self.pictures, self.gated));
        row(format!("accuracy at match = {at}"), v.accuracy(*at).to_string());
        if let (Some(same), Some(different)) = v.extremes() {
            row("least likeness of a same pair, margin".into(), format!("{same:.4}, {:+.4}", same - at));
            row(
                "greatest likeness of a different pair, margin".into(),
                format!("{different:.4}, {:+.4}", at - different),
            );
        }
        if let Some(off) = self.off {
            row("greatest difference to the list's own likeness".into(), format!("{off:.5}"));
        }
        let (eer, t) = v.eer();
        row("EER".into(), format!("{eer:.4} at {t:.3}"));
        for far in FARS {
            let t = v.threshold_for(far);
            let short = if self.too_few(far) { ": too few pairs to tell this rate" } else { "" };
            row(format!("TAR at FAR {far:.0e}"), format!("{} at {t:.3}{short}", v.tar(t)));
        }
        for t in ROC {
            row(format!("ROC at {t}"), format!("FAR {}, TAR {}", v.far(t), v.tar(t)));
        }
        for n in self.galleries() {
            let [a, b] = [1e-2, 1e-3].map(|wanted| threshold_for_fpir(probes, n, wanted));
            let (found, missed) = (rate(fpir(probes, n, *at)), fnir(probes, *at));
            row(
                format!("gallery of {n}"),
                format!("FPIR {found}, FNIR {missed}; match for FPIR 1 %: {a:.2}, for .1 %: {b:.2}"),
            );
        }
        let (t, enough) = self.recommended();
        let Wish { fpir: wanted, persons } = *wish;
        let (found, missed) = (rate(fpir(probes, persons, t)), fnir(probes, t));
        let doubt = if enough { "" } else { ": too few faces to tell this rate, so leave a margin above it" };
        row(
            format!("recommended match for FPIR {wanted}, {persons} persons"),
            format!("{t:.2} (FPIR {found}, FNIR {missed}){doubt}"),
        );
        out
    }

    fn json(&self) -> String {
        let v = &self.verification;
        let share = |s: Share| {
            let (low, high) = s.interval();
            json!({"value": s.value(), "low": low, "high": high, "hits": s.hits, "of": s.of})
        };
        let (same, different) = v.extremes();
        let (eer, eer_at) = v.eer();
        let tar_at_far: Vec<_> = FARS
            .iter()
            .map(|far| {
                let t = v.threshold_for(*far);
                json!({"far": far, "match": t, "tar": share(v.tar(t)), "enough_pairs": !self.too_few(*far)})
            })
            .collect();
        let roc: Vec<_> =
            ROC.iter().map(|t| json!({"match": t, "far": share(v.far(*t)), "tar": share(v.tar(*t))})).collect();
        let open_set: Vec<_> = self
            .galleries()
            .map(|n| {
                json!({
                    "persons": n, "fpir": fpir(&self.probes, n, self.at), "fnir": share(fnir(&self.probes, self.at)),
                })
            })
            .collect();
        let (t, enough) = self.recommended();
        let Wish { fpir: wanted, persons } = self.wish;
        let report = json!({
            "match": self.at, "pictures": self.pictures, "pass_the_gate": self.gated,
            "accuracy": share(v.accuracy(self.at)), "least_same": same, "greatest_different": different,
            "pairs": v.far(0.0).of + v.tar(0.0).of, "greatest_difference": self.off,
            "eer": {"value": eer, "match": eer_at}, "tar_at_far": tar_at_far, "roc": roc, "open_set": open_set,
            "recommended": {
                "match": t, "wanted_fpir": wanted, "persons": persons, "fpir": fpir(&self.probes, persons, t),
                "fnir": share(fnir(&self.probes, t)), "enough_faces": enough,
            },
        });
        format!("{report}\n")
    }
}
