//! `faces enroll | list | remove | compare | rekey`: who is known, with their consent, and how to forget them.
//!
//! Photographs are looked at and never stored; what is kept of a face are 128 numbers, encrypted ([`crate::face::vault`]).

use std::path::{Path, PathBuf};

use serde_json::json;

use super::detect::{picture, threads};
use super::{Failure, Printer, complain};
use crate::cli::{FacesArgs, FacesTask, RunArgs};
use crate::config::Config;
use crate::detection::{Detection, Score};
use crate::exit::Exit;
use crate::face::embed::{Embedder, Embedding};
use crate::face::gallery::{Gallery, MAX_CONSENT, MAX_TEMPLATES, Person, Template, check_name};
use crate::face::quality::{Flaw, Gate, measure};
use crate::face::vault::{self, Vault, VaultError};
use crate::frame::Frame;
use crate::geom::Region;
use crate::labels::Labels;
use crate::model::card::{Card, find};
use crate::model::detector::Detector;
use crate::model::infer::Runtime;
use crate::model::prep::LongSide;

/// The gallery of these commands where neither a flag nor a configuration names one.
const DEFAULT_GALLERY: &str = "faces.gallery";

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let exit = match error.kind() {
            vault::Kind::Embedder => Exit::Model,
            _ => Exit::Usage,
        };
        Self::new(exit, error.to_string())
    }
}

fn usage(line: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, line)
}

pub(super) fn run(args: &FacesArgs) -> Result<Exit, Failure> {
    keep_no_core();
    let typed = RunArgs { config: args.config.clone(), gallery: args.gallery.clone(), ..RunArgs::default() };
    let config = Config::load(&typed)?;
    let path = config.faces.gallery.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_GALLERY));
    let vault = vault_at(&path);
    match &args.task {
        FacesTask::Enroll { name, photos, consent, expires, force } => {
            let Some(consent) = consent else {
                return Err(usage("faces enroll: wanted --consent TEXT: how and when the person consented"));
            };
            let wish = Wish { name, consent, expires: expires.as_deref(), force: *force };
            enroll(&config, &vault, &wish, photos)
        }
        FacesTask::List { json } => list(&vault, *json),
        FacesTask::Remove { name } => remove(&vault, name),
        FacesTask::Compare { a, b } => compare(&config, a, b),
        FacesTask::Rekey => {
            vault.change(None, true, |_| Ok::<_, Failure>(()))?;
            Printer::new()
                .print(&format!("{}: encrypted with a new key, the old one is overwritten\n", path.display()))?;
            Ok(Exit::Done)
        }
    }
}

/// The gallery at `path`, with the key that systemd hands to this service, if it does.
pub(super) fn vault_at(path: &Path) -> Vault {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|d| !d.is_empty()).map(PathBuf::from);
    Vault::new(path, credentials.as_deref())
}

/// Before this process holds a gallery or an embedding, and before its seal: see [`crate::seal::no_core`]. A system that
/// refuses has a reason that we could not change.
pub(super) fn keep_no_core() {
    if let Err((what, e)) = crate::seal::no_core() {
        complain(&format!("{what}: {e}: a crash could leave faces in a core file"));
    }
}

/// The hash in a card, as galleries keep it.
pub(super) fn hash_of(card: &Card) -> Result<[u8; 32], Failure> {
    let digit = |i: usize| card.sha256.as_bytes().get(i).and_then(|d| char::from(*d).to_digit(16));
    let mut hash = [0; 32];
    for (i, byte) in hash.iter_mut().enumerate() {
        match (digit(2 * i), digit(2 * i + 1)) {
            (Some(high), Some(low)) => *byte = (high << 4 | low) as u8,
            _ => return Err(Failure::new(Exit::Model, format!("{}: sha256 is no hash", card.name))),
        }
    }
    Ok(hash)
}

/// The two models that turn a photograph into an embedding.
pub(super) struct Eyes {
    detector: Detector,
    pub(super) embedder: Embedder,
    gate: Gate,
}

/// The best face of a photograph.
pub(super) struct Face {
    pub(super) embedding: Embedding,
    /// Its quality, or why it is not good enough.
    pub(super) quality: Result<f32, Flaw>,
    /// Faces of the photograph.
    pub(super) count: usize,
}

impl Eyes {
    pub(super) fn load(config: &Config) -> Result<Self, Failure> {
        keep_no_core();
        let cards =
            [&config.faces.detector, &config.faces.embedder].map(|name| find(name).and_then(|d| Card::load(&d)));
        let [detector, embedder] = cards;
        let runtime = Runtime::load()?;
        let (detector, embedder) = (detector?, embedder?);
        Ok(Self {
            detector: Detector::load(&runtime, detector, threads(), &mut Labels::default())?,
            embedder: Embedder::load(&runtime, embedder, threads())?,
            gate: Gate::with_eyes(config.faces.min_eye_px),
        })
    }

    /// The largest and surest face; `None` where there is none.
    pub(super) fn best(&mut self, frame: &Frame) -> Result<Option<Face>, Failure> {
        let mut found = Vec::new();
        let score = self.detector.card().score;
        self.detector.detect(frame, Region::whole(frame.size()), LongSide::Card, score, &mut found)?;
        let rank = |d: &Detection| d.bbox.area() * d.score.get();
        let Some(best) = found.iter().filter(|d| d.landmarks.is_some()).max_by(|a, b| rank(a).total_cmp(&rank(b)))
        else {
            return Ok(None);
        };
        let landmarks = best.landmarks.unwrap_or_default();
        let mut out = Vec::new();
        self.embedder.embed(frame, &[landmarks], &mut out)?;
        let Some(embedding) = out.pop().flatten() else { return Ok(None) };
        let score = Score::new(best.score.get()).unwrap_or_default();
        let quality = match measure(frame, &landmarks, score, &mut Vec::new()) {
            Some(quality) => self.gate.check(&quality),
            None => Err(Flaw::NoFace),
        };
        Ok(Some(Face { embedding, quality, count: found.len() }))
    }
}

pub(super) fn photo(path: &Path) -> Result<Frame, Failure> {
    picture(path).map_err(|what| Failure::new(Exit::Source, format!("{}: {what}", path.display())))
}

struct Wish<'a> {
    name: &'a str,
    consent: &'a str,
    expires: Option<&'a str>,
    force: bool,
}

/// Start of a day (UTC), or a time, in milliseconds since 1970.
fn parse_expiry(text: &str, now_ms: i64) -> Result<i64, Failure> {
    let date = || {
        let date: jiff::civil::Date = text.parse().ok()?;
        jiff::tz::Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()
    };
    // A date first: a time is longer than it.
    let parsed = if text.len() <= 10 { date() } else { text.parse::<jiff::Timestamp>().ok() };
    match parsed.map(jiff::Timestamp::as_millisecond) {
        None => Err(usage(format!("--expires: wanted a date such as 2027-01-31 or an RFC 3339 time, found {text:?}"))),
        Some(ms) if ms <= now_ms => Err(usage(format!("--expires: {text} has passed: wanted a date to come"))),
        Some(ms) => Ok(ms),
    }
}

fn enroll(config: &Config, vault: &Vault, wish: &Wish<'_>, photos: &[PathBuf]) -> Result<Exit, Failure> {
    // Everything that can be said without a model first.
    let now = crate::watch::utc_ms();
    check_name(wish.name).map_err(|what| usage(format!("faces enroll: NAME: {what}")))?;
    if wish.consent.trim().is_empty() || wish.consent.len() > MAX_CONSENT {
        let found = wish.consent.len();
        return Err(usage(format!("--consent: wanted 1 to {MAX_CONSENT} bytes of text, found {found}")));
    }
    let expires_ms = wish.expires.map(|text| parse_expiry(text, now)).transpose()?;
    if photos.len() > MAX_TEMPLATES {
        return Err(usage(format!("faces enroll: wanted at most {MAX_TEMPLATES} photos, found {}", photos.len())));
    }
    let mut eyes = Eyes::load(config)?;
    let embedder = hash_of(eyes.embedder.card())?;
    let mut faces: Vec<Template> = Vec::new();
    let mut refused = 0;
    for path in photos {
        let frame = photo(path)?;
        let what = match eyes.best(&frame)? {
            None => "shows no face".to_owned(),
            Some(face) if face.count > 1 => format!("shows {} faces: cut out the one that is meant", face.count),
            Some(face) => match face.quality {
                Ok(_) => {
                    faces.push(Template::of(&face.embedding));
                    continue;
                }
                Err(flaw) => format!("the face is {flaw}"),
            },
        };
        complain(&format!("{}: {what}", path.display()));
        refused += 1;
    }
    if refused > 0 {
        // Each has had its line; nothing was enrolled.
        return Ok(Exit::Missed);
    }
    let least = config.faces.match_threshold;
    if let Some((i, cosine)) =
        faces.iter().enumerate().skip(1).map(|(i, f)| (i, faces[0].cosine(f))).find(|(_, c)| *c < least)
        && !wish.force
    {
        let (a, b) = (photos[0].display(), photos[i].display());
        let line = format!(
            "{b}: shows somebody else than {a} (likeness {cosine:.2}, wanted {least:.2}): leave it out, or --force"
        );
        return Err(Failure::new(Exit::Missed, line));
    }
    let dimensions = faces.first().map_or(0, Template::dimensions);
    vault::make_folder(vault.path())
        .map_err(|e| usage(format!("{}: its folder cannot be made: {e}", vault.path().display())))?;
    let (count, name) = (faces.len(), wish.name);
    let known = match vault.open(&embedder) {
        Ok(gallery) => gallery.get(name).is_some(),
        Err(e) if e.kind() == vault::Kind::Missing => false,
        Err(e) => return Err(e.into()),
    };
    // Templates that are replaced are as good as removed: not even an old copy of the file may keep them.
    vault.change(Some(Gallery::new(embedder, dimensions)), known, |gallery| {
        for other in gallery.persons() {
            if wish.force {
                break;
            }
            if other.name == name {
                let line = format!("faces enroll: {name:?} is enrolled already: remove them first, or --force replaces them");
                return Err(Failure::new(Exit::Missed, line));
            }
            let likest = |f: &Template| other.templates.iter().map(|t| t.cosine(f)).fold(-1.0, f32::max);
            if let Some((path, like)) = photos.iter().zip(faces.iter().map(likest)).find(|(_, like)| *like >= least) {
                let (path, other) = (path.display(), &other.name);
                let line = format!("{path}: is like {other:?}, who is enrolled (likeness {like:.2}): the same person? --force enrols anyway");
                return Err(Failure::new(Exit::Missed, line));
            }
        }
        let person = Person {
            name: name.to_owned(),
            consent: wish.consent.to_owned(),
            enrolled_ms: now,
            expires_ms,
            templates: faces,
        };
        gallery.insert(person).map_err(|what| usage(format!("{}: {what}", vault.path().display())))
    })?;
    Printer::new()
        .print(&format!("{}: {name} enrolled with {count} photos, which were not stored\n", vault.path().display()))?;
    Ok(Exit::Done)
}

fn time(ms: i64) -> String {
    crate::event::line::UtcMs(ms).to_string()
}

fn list(vault: &Vault, as_json: bool) -> Result<Exit, Failure> {
    let gallery = vault.open_any()?;
    let now = crate::watch::utc_ms();
    let mut text = String::new();
    for p in gallery.persons() {
        let expired = p.expired(now);
        if as_json {
            let line = json!({
                "name": p.name, "templates": p.templates.len(), "enrolled_at": time(p.enrolled_ms),
                "expires_at": p.expires_ms.map(time), "expired": expired, "consent": p.consent,
            });
            text.push_str(&format!("{line}\n"));
        } else {
            let until = match p.expires_ms {
                None => "no expiry".to_owned(),
                Some(t) if expired => format!("EXPIRED {}: not matched any more", time(t)),
                Some(t) => format!("until {}", time(t)),
            };
            let consent = crate::cli::one_line(p.consent.as_ref());
            let row = format!(
                "{}  {} photos  enrolled {}  {until}  {consent}\n",
                p.name,
                p.templates.len(),
                time(p.enrolled_ms)
            );
            text.push_str(&row);
        }
    }
    Printer::new().print(&text)?;
    Ok(Exit::Done)
}

fn remove(vault: &Vault, name: &str) -> Result<Exit, Failure> {
    vault.change(None, true, |gallery| match gallery.remove(name) {
        Some(_) => Ok(()),
        None => Err(usage(format!("faces remove: nobody of the name {name:?}: see `porchlight faces list`"))),
    })?;
    let path = vault.path().display();
    Printer::new()
        .print(&format!("{path}: {name} removed; the gallery has a new key, the old one is overwritten\n"))?;
    Ok(Exit::Done)
}

fn compare(config: &Config, a: &Path, b: &Path) -> Result<Exit, Failure> {
    let frames = [photo(a)?, photo(b)?];
    let mut eyes = Eyes::load(config)?;
    let mut faces = Vec::new();
    for (path, frame) in [a, b].into_iter().zip(&frames) {
        match eyes.best(frame)? {
            Some(face) => faces.push(face),
            None => return Err(Failure::new(Exit::Missed, format!("{}: shows no face", path.display()))),
        }
    }
    let [a, b] = faces.as_slice() else { return Ok(Exit::Internal) };
    let cosine = a.embedding.cosine(&b.embedding);
    let least = config.faces.match_threshold;
    let tidy = |v: f32| (f64::from(v) * 1e4).round() / 1e4;
    let flaw = |f: &Face| f.quality.err().map(|flaw| flaw.to_string());
    let line = json!({
        "cosine": tidy(cosine), "same": cosine >= least, "match": tidy(least),
        "faces": [a.count, b.count], "flaws": [flaw(a), flaw(b)],
    });
    Printer::new().print(&format!("{line}\n"))?;
    Ok(Exit::Done)
}
