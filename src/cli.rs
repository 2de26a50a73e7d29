//! The command line: one table of commands and one of flags, from which parsing, help and completions derive.
//!
//! This module says what was typed ([`RunArgs`] and its siblings); what it means together with a configuration file is
//! [`crate::config`]'s business. It opens nothing, looks at no file and no clock.

pub mod pages;

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::PathBuf;

use jiff::Timestamp;

/// A command, as a row of [`COMMANDS`].
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// What is typed, words separated by one space: `models check`.
    pub path: &'static str,
    /// What follows the flags.
    pub positionals: &'static [Positional],
    /// One sentence.
    pub about: &'static str,
    /// False while it only answers "not built yet".
    pub built: bool,
}

/// A value that needs no flag.
#[derive(Clone, Copy, Debug)]
pub struct Positional {
    /// As help shows it.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// Whether there may be several.
    pub many: bool,
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Nothing.
    Switch,
    /// A file, folder, device or glob; any bytes the system allows.
    Path(&'static str),
    /// UTF-8 text.
    Text(&'static str),
    /// A number in an inclusive range.
    Number(&'static str, f64, f64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An RFC 3339 time.
    Time(&'static str),
    /// A whole number in an inclusive range, or one word.
    Count(&'static str, u32, u32, &'static str),
    /// Several of those with commas between them, or one word.
    Counts(&'static str, u32, u32, &'static str),
    /// A whole number in an inclusive range.
    Whole(&'static str, u32, u32),
}

impl Kind {
    /// As help shows the value; empty for a switch.
    pub fn metavar(self) -> String {
        match self {
            Self::Switch => String::new(),
            Self::Path(m) | Self::Text(m) | Self::Number(m, ..) | Self::Time(m) | Self::Whole(m, ..) => m.to_owned(),
            Self::Choice(words) => words.join("|"),
            Self::Count(m, .., word) | Self::Counts(m, .., word) => format!("{m}|{word}"),
        }
    }
}

/// A flag, as a row of [`FLAGS`].
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub long: &'static str,
    /// A one-letter form.
    pub short: Option<char>,
    /// What it takes.
    pub kind: Kind,
    /// Whether it may be given more than once.
    pub repeatable: bool,
    /// One sentence.
    pub about: &'static str,
    /// [`Command::path`] of the commands that read it; empty: all.
    pub commands: &'static [&'static str],
}

const fn one(name: &'static str) -> Positional {
    Positional { name, required: true, many: false }
}

const fn maybe(name: &'static str) -> Positional {
    Positional { name, required: false, many: false }
}

const fn many(name: &'static str) -> Positional {
    Positional { name, required: true, many: true }
}

const fn row(path: &'static str, positionals: &'static [Positional], built: bool, about: &'static str) -> Command {
    Command { path, positionals, about, built }
}

/// Every command.
pub const COMMANDS: &[Command] = &[
    row("run", &[], true, "The pipeline: pictures in, one JSON event a line out"),
    row("detect", &[many("PATH")], true, "What the models see in pictures, one JSON line for each"),
    row("cameras", &[], true, "The V4L2 cameras, and which mode `run` would choose"),
    row("models list", &[], true, "The models that are there"),
    row("models info", &[one("NAME")], true, "Everything a model's card says, as JSON"),
    row("models check", &[maybe("NAME")], true, "Verify hashes, tensors and golden samples"),
    row("models pull", &[one("NAME")], true, "Fetch a model's weights, and keep them if their hash is the card's"),
    row("models add", &[one("CARD")], true, "Check a model's card and all it names, and take it in"),
    row(
        "models draft",
        &[one("FILE")],
        true,
        "A first card for an ONNX file: what its graph tells, and what to decide",
    ),
    row("faces enroll", &[one("NAME"), many("PHOTO")], true, "Enter a person who consented into the gallery"),
    row("faces list", &[], true, "Who is in the gallery"),
    row("faces remove", &[one("NAME")], true, "Forget a person"),
    row("faces compare", &[one("A"), one("B")], true, "How alike the best faces of two pictures are"),
    row("faces rekey", &[], true, "Encrypt the gallery with a new key"),
    row("bench", &[], true, "Speed of models and of the pipeline, and how far the figures can be trusted"),
    row(
        "bench compare",
        &[one("A"), one("B")],
        true,
        "Two results of `bench --json`: what is faster, if they can tell",
    ),
    row(
        "eval faces",
        &[many("PATH")],
        true,
        "How well faces are told apart: a list of pairs, or a folder for each person",
    ),
    row("eval coco", &[one("TRUTH")], true, "How well objects are found: COCO's twelve numbers"),
    row("eval merge", &[one("TRUTH"), many("PART")], true, "The same from the parts of a sharded run"),
    row("eval wider", &[one("TRUTH")], true, "How well faces are found, by the protocol of WIDER FACE"),
    row(
        "eval events",
        &[one("TRUTH"), one("EVENTS")],
        true,
        "How well a clip is told: visits, delays, dwell, crossings",
    ),
    row("eval mot", &[one("TRUTH"), one("TRACKS")], true, "HOTA, MOTA and IDF1 of MOTChallenge files"),
    row(
        "watch",
        &[],
        true,
        "Show the events on stdin as a live view in the terminal: `porchlight run | porchlight watch`",
    ),
    row("schema", &[], true, "The JSON Schema of every event"),
    row("check", &[], true, "Prove the seal on this machine"),
    row("config", &[], true, "Every setting, its value and where it came from"),
    row(
        "help",
        &[Positional { name: "COMMAND", required: false, many: true }],
        true,
        "This text, or that of a command",
    ),
];

/// `run`, and `config`, which explains what `run` would do.
const RUN: &[&str] = &["run", "config"];

/// Those that read a configuration: `run`, and what works on its gallery.
const CONFIGURED: &[&str] =
    &["run", "config", "faces enroll", "faces list", "faces remove", "faces compare", "faces rekey"];

/// The least and greatest frame rate.
pub const FPS: (f64, f64) = (0.1, 240.0);
/// The least and greatest number of threads of a model.
pub const THREADS: (u32, u32) = (1, 64);

/// The share of strangers with a name that `eval faces` recommends a threshold for unless told.
const FPIR: f64 = 0.001;

/// Every flag.
pub const FLAGS: &[Flag] = &[
    flag("config", Kind::Path("FILE"), CONFIGURED, "Read settings from this TOML file; flags override it"),
    repeatable("camera", Kind::Path("DEV"), RUN, "A V4L2 camera, such as /dev/video0"),
    repeatable(
        "source",
        Kind::Path("PATH|-"),
        &["run", "config", "bench"],
        "A picture, a folder or glob of pictures, an .mjpeg or .y4m file, or - for a stream on stdin",
    ),
    flag(
        "gallery",
        Kind::Path("FILE"),
        CONFIGURED,
        "The encrypted gallery of known faces; `run` without one identifies nobody, `faces` takes ./faces.gallery",
    ),
    flag(
        "fps",
        Kind::Number("F", FPS.0, FPS.1),
        &["run", "config", "bench"],
        "Frames per second to ask of cameras, and to assume of JPEG streams",
    ),
    flag("start", Kind::Time("TIME"), RUN, "Time of a file's first frame (RFC 3339) [1970-01-01T00:00:00Z]"),
    flag("pace", Kind::Choice(&["fast", "realtime"]), RUN, "How fast to play files [fast]"),
    flag("deterministic", Kind::Switch, RUN, "Leave out age_ms, so that a replay gives the same bytes"),
    flag("format", Kind::Choice(&["native", "cloudevents", "frigate", "onvif"]), RUN, "Form of the events [native]"),
    flag("no-seal", Kind::Switch, RUN, "Run without the seal; `hello` says so"),
    flag(
        "threads",
        Kind::Counts("N", THREADS.0, THREADS.1, "auto"),
        &["run", "config", "bench"],
        "Threads that infer [auto: one for each CPU]; `bench` takes several numbers: 1,2,4",
    ),
    flag("explain", Kind::Switch, &["config"], "Print the table"),
    repeatable(
        "model",
        Kind::Text("NAME"),
        &["detect", "eval coco", "eval wider", "bench"],
        "A model, by name or path of its card [the defaults for objects and faces]",
    ),
    flag(
        "draw",
        Kind::Path("DIR"),
        &["detect"],
        "Write each picture with its boxes into this folder; never for a camera",
    ),
    flag("images", Kind::Path("DIR"), &["eval coco", "eval wider"], "Where the pictures are [beside TRUTH]"),
    flag("results", Kind::Path("FILE"), &["eval coco", "eval wider"], "Judge what was found before instead of looking"),
    flag(
        "save",
        Kind::Path("FILE"),
        &["eval coco", "eval merge", "eval wider"],
        "Write what was found, in COCO's form for results",
    ),
    flag(
        "regions",
        Kind::Switch,
        &["eval coco"],
        "Look as `run` does: the whole picture, then crops around what was found",
    ),
    flag("resume", Kind::Switch, &["eval coco"], "Go on from what --save left unfinished"),
    flag("shard", Kind::Text("I/N"), &["eval coco"], "Look at every Nth picture only, for `eval merge`"),
    flag(
        "html",
        Kind::Path("FILE"),
        &["eval coco", "eval merge", "bench"],
        "Write a page that needs nothing else: curves, classes and confusions; histograms and courses",
    ),
    repeatable(
        "beside",
        Kind::Path("FILE"),
        &["eval coco", "eval merge"],
        "For --html: a result of `bench --json` or of `eval coco --json`, to plot accuracy against latency",
    ),
    flag(
        "scenario",
        Kind::Choice(Scenario::WORDS),
        &["bench"],
        "One inference after another, several pictures at once, single-threaded sessions side by side, or `run` [single-stream]",
    ),
    flag("seconds", Kind::Number("S", 0.1, 86_400.0), &["bench"], "How long each measurement takes [10]"),
    flag("warm-up", Kind::Number("S", 0.0, 3600.0), &["bench"], "How long before it nothing is noted [1]"),
    flag(
        "batch",
        Kind::Whole("N", 1, 256),
        &["bench", "eval coco", "eval wider"],
        "Pictures in one inference, where the model takes several [1, or as many as its graph wants]",
    ),
    flag("streams", Kind::Whole("N", 1, 256), &["bench"], "Pictures at once in multi-stream [8]"),
    flag("score", Kind::Number("F", 0.0, 1.0), &["detect"], "Report what scores at least this [as the card says]"),
    flag(
        "long-side",
        Kind::Count("N", 32, 8192, "native"),
        &["detect"],
        "Longer side given to a model of dynamic size, pixels [as the card says]",
    ),
    flag(
        "json",
        Kind::Switch,
        &[
            "bench",
            "bench compare",
            "cameras",
            "faces list",
            "check",
            "eval coco",
            "eval faces",
            "eval merge",
            "eval wider",
            "eval events",
            "eval mot",
        ],
        "Print JSON",
    ),
    flag(
        "fpir",
        Kind::Number("F", 0.0, 1.0),
        &["eval faces"],
        "Share of strangers that may get a name: what threshold to recommend [0.001]",
    ),
    flag(
        "persons",
        Kind::Whole("N", 1, 100_000),
        &["eval faces"],
        "Persons in the gallery that the recommendation is for [as many as the pictures allow]",
    ),
    flag("from", Kind::Text("DIR|URL"), &["models pull"], "Where to fetch from [the card's source]"),
    flag("consent", Kind::Text("TEXT"), &["faces enroll"], "How and when the person consented"),
    flag("expires", Kind::Text("DATE"), &["faces enroll"], "From when on they are not matched any more [never]"),
    flag(
        "force",
        Kind::Switch,
        &["faces enroll"],
        "Enrol although the face is like another person's, and replace who has that name",
    ),
    flag(
        "as",
        Kind::Choice(pages::FORMS),
        &["help"],
        "Form of the text: a manual page, or what a shell completes words by [text]",
    ),
    Flag { short: Some('h'), ..flag("help", Kind::Switch, &[], "This text") },
    Flag { short: Some('V'), ..flag("version", Kind::Switch, &[], "Version of porchlight") },
];

const fn flag(long: &'static str, kind: Kind, commands: &'static [&'static str], about: &'static str) -> Flag {
    Flag { long, short: None, kind, repeatable: false, about, commands }
}

const fn repeatable(long: &'static str, kind: Kind, commands: &'static [&'static str], about: &'static str) -> Flag {
    Flag { long, short: None, kind, repeatable: true, about, commands }
}

impl Flag {
    /// Whether the command reads it.
    pub fn serves(&self, command: &str) -> bool {
        self.commands.is_empty() || self.commands.contains(&command)
    }
}

/// What was typed, understood as far as words go.
#[derive(Debug)]
pub enum Invocation {
    /// Print this text: help or version.
    Print(String),
    /// `run`
    Run(RunArgs),
    /// `detect`
    Detect(DetectArgs),
    /// `models …`
    Models(ModelsArgs),
    /// `check`
    Check(CheckArgs),
    /// `faces …`
    Faces(FacesArgs),
    /// `cameras`
    Cameras {
        /// `--json`
        json: bool,
    },
    /// `eval faces`
    EvalFaces(EvalFacesArgs),
    /// `watch`
    Watch,
    /// `bench`
    Bench(BenchArgs),
    /// `bench compare A B`
    BenchCompare {
        /// What is compared with.
        a: PathBuf,
        /// What is compared.
        b: PathBuf,
        /// `--json`
        json: bool,
    },
    /// The other measures.
    Eval(EvalTask, EvalArgs),
    /// `schema`
    Schema,
    /// `config --explain`, with the flags `run` would get.
    Explain(RunArgs),
}

/// `eval faces` as typed.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalFacesArgs {
    /// A list of pairs, or a folder for each person.
    pub paths: Vec<PathBuf>,
    /// `--fpir`: the rate of strangers with a name to recommend a threshold for, 0..=1
    pub fpir: f64,
    /// `--persons`: of the gallery that it is for; as many as the pictures allow unless told
    pub persons: Option<u32>,
    /// `--json`
    pub json: bool,
}

/// A picture source, in the order typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// `--camera DEV`
    Camera(PathBuf),
    /// `--source PATH|-`
    Source(PathBuf),
}

/// How fast files are played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the models go.
    #[default]
    Fast,
    /// As the stream's own clock says.
    Realtime,
}

/// Form of the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The contract's own.
    #[default]
    Native,
    /// CloudEvents 1.0, structured JSON.
    CloudEvents,
    /// The messages of `frigate/events`.
    Frigate,
    /// ONVIF Profile M's JSON, events and metadata, with their MQTT topics.
    Onvif,
}

impl Format {
    /// # Errors
    /// The rest of a sentence that begins with the flag or key.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "native" => Ok(Self::Native),
            "cloudevents" => Ok(Self::CloudEvents),
            "frigate" => Ok(Self::Frigate),
            "onvif" => Ok(Self::Onvif),
            other => Err(format!("wanted native, cloudevents, frigate or onvif, found {other:?}")),
        }
    }

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::CloudEvents => "cloudevents",
            Self::Frigate => "frigate",
            Self::Onvif => "onvif",
        }
    }
}

/// `run` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunArgs {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--camera` and `--source`
    pub inputs: Vec<Typed>,
    /// `--gallery`
    pub gallery: Option<PathBuf>,
    /// `--fps`, 0.1..=240
    pub fps: Option<f64>,
    /// `--start`
    pub start: Option<Timestamp>,
    /// `--pace`
    pub pace: Option<Pace>,
    /// `--deterministic`
    pub deterministic: bool,
    /// `--format`
    pub format: Option<Format>,
    /// `--no-seal`
    pub no_seal: bool,
    /// `--threads`: `Some(None)` for `auto`, else 1..=64
    pub threads: Option<Option<u32>>,
}

/// How inferences follow each other, in MLPerf's words, and the whole program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scenario {
    /// One after another in one session: latency.
    #[default]
    SingleStream,
    /// Several pictures at once, until all are answered.
    MultiStream,
    /// Single-threaded sessions side by side that never wait: throughput.
    Offline,
    /// `run` over a clip.
    Pipeline,
}

impl Scenario {
    /// In the order of the variants.
    pub const WORDS: &'static [&'static str] = &["single-stream", "multi-stream", "offline", "pipeline"];

    /// As it is written.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    fn parse(word: &str) -> Self {
        let all = [Self::SingleStream, Self::MultiStream, Self::Offline, Self::Pipeline];
        all.into_iter().find(|s| s.word() == word).unwrap_or_default()
    }
}

/// `bench` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BenchArgs {
    /// `--model`; empty: the object model.
    pub models: Vec<String>,
    /// `--threads`; empty: as many as there are processors.
    pub threads: Vec<u32>,
    /// `--scenario`
    pub scenario: Scenario,
    /// `--seconds`
    pub seconds: Option<f64>,
    /// `--warm-up`
    pub warm_up: Option<f64>,
    /// `--batch`
    pub batch: Option<u32>,
    /// `--streams`
    pub streams: Option<u32>,
    /// `--source`: the clip of the pipeline.
    pub sources: Vec<PathBuf>,
    /// `--fps`, of the clip.
    pub fps: Option<f64>,
    /// `--json`
    pub json: bool,
    /// `--html`
    pub html: Option<PathBuf>,
}

/// Size given to models of dynamic size.
pub use crate::model::prep::LongSide;

/// `detect` as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetectArgs {
    /// Files, folders, globs; at least one.
    pub paths: Vec<PathBuf>,
    /// `--model`; empty: the defaults.
    pub models: Vec<String>,
    /// `--score`, 0..=1
    pub score: Option<f32>,
    /// `--long-side`
    pub long_side: LongSide,
    /// `--draw`
    pub draw: Option<PathBuf>,
}

/// Which measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalTask {
    /// `eval coco`
    Coco,
    /// `eval merge` of these parts.
    Merge(Vec<PathBuf>),
    /// `eval wider`
    Wider,
    /// `eval events` of this stream.
    Events(PathBuf),
    /// `eval mot` of these tracks.
    Mot(PathBuf),
}

/// `eval …` as typed; each measure reads what its row in the tables says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvalArgs {
    /// What is known.
    pub truth: PathBuf,
    /// `--images`
    pub images: Option<PathBuf>,
    /// `--model`
    pub model: Option<String>,
    /// `--results`
    pub results: Option<PathBuf>,
    /// `--save`
    pub save: Option<PathBuf>,
    /// `--batch`
    pub batch: Option<u32>,
    /// `--regions`
    pub regions: bool,
    /// `--resume`
    pub resume: bool,
    /// `--shard`, not yet understood.
    pub shard: Option<String>,
    /// `--json`
    pub json: bool,
    /// `--html`
    pub html: Option<PathBuf>,
    /// `--beside`
    pub beside: Vec<PathBuf>,
}

/// `models …` as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelsArgs {
    /// `models list`
    List,
    /// `models info NAME`
    Info(String),
    /// `models check [NAME]`
    Check(Option<String>),
    /// `models pull NAME [--from DIR|URL]`
    Pull {
        /// Which.
        name: String,
        /// `--from`
        from: Option<String>,
    },
    /// `models add CARD`
    Add(String),
    /// `models draft FILE`
    Draft(PathBuf),
}

/// `check` as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckArgs {
    /// `--json`
    pub json: bool,
}

/// `faces …` as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacesArgs {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--gallery`
    pub gallery: Option<PathBuf>,
    /// What to do.
    pub task: FacesTask,
}

/// What to do with the gallery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FacesTask {
    /// `faces enroll NAME PHOTO...`
    Enroll {
        /// Who.
        name: String,
        /// At least one.
        photos: Vec<PathBuf>,
        /// `--consent`; nobody is enrolled without.
        consent: Option<String>,
        /// `--expires`
        expires: Option<String>,
        /// `--force`
        force: bool,
    },
    /// `faces list`
    List {
        /// `--json`
        json: bool,
    },
    /// `faces remove NAME`
    Remove {
        /// Who.
        name: String,
    },
    /// `faces compare A B`
    Compare {
        /// One picture.
        a: PathBuf,
        /// The other.
        b: PathBuf,
    },
    /// `faces rekey`
    Rekey,
}

/// A command line that cannot be acted on: what, wanted, found, the fix; one line.
#[derive(Debug, PartialEq, Eq)]
pub struct CliError(String);

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CliError {}

fn fail<T>(message: impl Into<String>) -> Result<T, CliError> {
    Err(CliError(message.into()))
}

/// The value of a flag.
#[derive(Clone, Debug)]
enum Value {
    Switch,
    Path(PathBuf),
    Text(String),
    Number(f64),
    Choice(&'static str),
    Time(Timestamp),
    /// `None` for the word.
    Count(Option<u32>),
    /// Empty for the word.
    Counts(Vec<u32>),
}

/// What was typed, checked against the tables.
struct Matches {
    command: &'static Command,
    flags: Vec<(&'static Flag, Value)>,
    positionals: Vec<OsString>,
}

/// Understands a command line; the program's own name is not among `args`.
///
/// # Errors
/// [`CliError`] for everything that is not in the tables.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, CliError> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut words: Vec<String> = Vec::new();
    let mut command: Option<&'static Command> = None;
    let mut flags: Vec<(&'static Flag, Value)> = Vec::new();
    let mut positionals: Vec<OsString> = Vec::new();
    loop {
        let name = command.map_or_else(|| words.join(" "), |c| c.path.to_owned());
        let Some(arg) = parser.next().map_err(|e| CliError(e.to_string()))? else { break };
        let typed = match arg {
            lexopt::Arg::Value(value) => {
                // A command may be the beginning of another: `bench`, `bench compare`.
                let longer = command
                    .filter(|_| positionals.is_empty() && flags.is_empty())
                    .map(|c| format!("{} {}", c.path, value.to_string_lossy()))
                    .and_then(|path| COMMANDS.iter().find(|c| c.path == path));
                if longer.is_some() {
                    command = longer;
                } else if command.is_some() {
                    positionals.push(value);
                } else {
                    let word = value.to_string_lossy().into_owned();
                    words.push(word);
                    command = find_command(&words)?;
                }
                continue;
            }
            lexopt::Arg::Long(long) => format!("--{long}"),
            lexopt::Arg::Short(short) => format!("-{short}"),
        };
        let flag = find_flag(&typed, command, &name)?;
        let value = value_of(flag, &typed, &mut parser)?;
        // Asked for help or the version, nothing else matters, not even a mistake further on.
        match flag.long {
            "help" => return Ok(Invocation::Print(help(&name))),
            "version" => return Ok(Invocation::Print(version())),
            _ => {}
        }
        if !flag.repeatable && flags.iter().any(|(f, _)| f.long == flag.long) {
            return fail(format!("{name}: --{} is given twice: wanted at most once", flag.long));
        }
        flags.push((flag, value));
    }
    match command {
        Some(command) => Matches { command, flags, positionals }.understand(),
        None if words.is_empty() => {
            fail(format!("no command: wanted one of {}; see `porchlight help`", first_words().join(", ")))
        }
        None => {
            let group = words.join(" ");
            let all = COMMANDS.iter().filter(|c| c.path.split(' ').next() == Some(group.as_str()));
            if all.clone().all(|c| !c.built) {
                return fail(format!("{group}: not built yet"));
            }
            let all: Vec<_> = all.filter_map(|c| c.path.split(' ').nth(1)).collect();
            fail(format!("{group}: wanted one of {} behind it; see `porchlight {group} --help`", all.join(", ")))
        }
    }
}

/// The first words of all commands, each once.
fn first_words() -> Vec<&'static str> {
    let mut words: Vec<_> = COMMANDS.iter().filter_map(|c| c.path.split(' ').next()).collect();
    words.dedup();
    words
}

/// The command of these words; `None` when another word must follow.
fn find_command(words: &[String]) -> Result<Option<&'static Command>, CliError> {
    let typed = words.join(" ");
    if let Some(command) = COMMANDS.iter().find(|c| c.path == typed) {
        return Ok(Some(command));
    }
    let (group, candidates): (_, Vec<&str>) = match words {
        [first] => {
            if COMMANDS.iter().any(|c| c.path.split(' ').next() == Some(first)) {
                return Ok(None);
            }
            ("porchlight", first_words())
        }
        [first, ..] => (
            first.as_str(),
            COMMANDS
                .iter()
                .filter(|c| c.path.split(' ').next() == Some(first))
                .filter_map(|c| c.path.split(' ').nth(1))
                .collect(),
        ),
        [] => return Ok(None),
    };
    let last = words.last().map_or("", String::as_str);
    let hint = did_you_mean(last, candidates.iter().copied());
    fail(format!("{group}: no command {last:?}{hint}: wanted one of {}", candidates.join(", ")))
}

fn find_flag(typed: &str, command: Option<&Command>, name: &str) -> Result<&'static Flag, CliError> {
    let bare = typed.trim_start_matches('-');
    let short = (!typed.starts_with("--")).then(|| bare.chars().next()).flatten();
    let known = FLAGS.iter().find(|f| match short {
        Some(c) => f.short == Some(c),
        None => f.long == bare,
    });
    let before = if name.is_empty() { String::new() } else { format!("{name}: ") };
    match (known, command) {
        (Some(flag), _) if flag.commands.is_empty() => Ok(flag),
        (Some(flag), Some(command)) if flag.serves(command.path) => Ok(flag),
        (Some(flag), Some(_)) => {
            fail(format!("{before}--{} is read by `{}` only: remove it", flag.long, flag.commands.join("`, `")))
        }
        (Some(_), None) => fail(format!("{before}{typed} stands before the command: write the command first")),
        (None, _) => {
            let served = FLAGS.iter().filter(|f| command.is_none_or(|c| f.serves(c.path))).map(|f| f.long);
            let hint = did_you_mean(bare, served);
            let help = if name.is_empty() { "porchlight".to_owned() } else { format!("porchlight {name}") };
            fail(format!("{before}unknown flag {typed:?}{hint}; see `{help} --help`"))
        }
    }
}

/// ` (did you mean X?)`, or nothing when no candidate is near.
fn did_you_mean<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    // A bound, because the distance is quadratic and the word comes from outside.
    if typed.len() > 64 {
        return String::new();
    }
    candidates
        .map(|c| (strsim::damerau_levenshtein(typed, c), c))
        .filter(|(distance, c)| *distance <= (c.len() / 3).clamp(1, 3))
        .min()
        .map_or_else(String::new, |(_, c)| format!(" (did you mean {c}?)"))
}

fn value_of(flag: &'static Flag, typed: &str, parser: &mut lexopt::Parser) -> Result<Value, CliError> {
    if flag.kind == Kind::Switch {
        return match parser.optional_value() {
            None => Ok(Value::Switch),
            Some(found) => fail(format!("{typed} takes no value, found {found:?}")),
        };
    }
    let missing = |found: &str| fail(format!("{typed}: wanted a value ({}), found {found}", flag.kind.metavar()));
    let value = match parser.optional_value() {
        Some(value) => value,
        None => match parser.value() {
            // A forgotten value must not swallow the next flag; a file of such a name can be given with `=`.
            Ok(value) if value.as_encoded_bytes().starts_with(b"--") => {
                return missing(&format!("{value:?} (if it is one, write {typed}={})", value.to_string_lossy()));
            }
            Ok(value) => value,
            Err(_) => return missing("the end of the command line"),
        },
    };
    if value.is_empty() {
        return missing("an empty one");
    }
    if let Kind::Path(_) = flag.kind {
        return Ok(Value::Path(value.into()));
    }
    let Some(text) = value.to_str() else {
        return fail(format!("{typed}: wanted UTF-8 text, found {value:?}"));
    };
    let wrong = |wanted: String| fail(format!("{typed}: wanted {wanted}, found {text:?}"));
    match flag.kind {
        Kind::Switch | Kind::Path(_) | Kind::Text(_) => Ok(Value::Text(text.to_owned())),
        Kind::Number(_, least, most) => match text.parse::<f64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Value::Number(number)),
            _ => wrong(format!("a number in {least}..={most}")),
        },
        Kind::Choice(words) => match words.iter().find(|w| **w == text) {
            Some(word) => Ok(Value::Choice(word)),
            None => wrong(format!("one of {}{}", words.join(", "), did_you_mean(text, words.iter().copied()))),
        },
        Kind::Time(_) => match text.parse::<Timestamp>() {
            // Events print years of four digits.
            Ok(time) if (0..=253_402_207_199).contains(&time.as_second()) => Ok(Value::Time(time)),
            _ => wrong("an RFC 3339 time from 1970 to 9999, such as 2024-05-01T12:00:00Z".into()),
        },
        Kind::Count(_, least, most, word) => match text.parse::<u32>() {
            _ if text == word => Ok(Value::Count(None)),
            Ok(number) if (least..=most).contains(&number) => Ok(Value::Count(Some(number))),
            _ => wrong(format!("a whole number in {least}..={most}, or {word}")),
        },
        Kind::Counts(_, least, most, word) => {
            let one = |part: &str| part.parse::<u32>().ok().filter(|n| (least..=most).contains(n));
            match text.split(',').map(one).collect::<Option<Vec<u32>>>() {
                _ if text == word => Ok(Value::Counts(Vec::new())),
                Some(numbers) if numbers.len() <= 16 => Ok(Value::Counts(numbers)),
                _ => wrong(format!("a whole number in {least}..={most}, or {word}")),
            }
        }
        Kind::Whole(_, least, most) => match text.parse::<u32>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Value::Count(Some(number))),
            _ => wrong(format!("a whole number in {least}..={most}")),
        },
    }
}

impl Matches {
    /// Takes the next value of a flag out, so that [`Matches::finish`] can see what nobody asked for.
    fn take(&mut self, long: &str) -> Option<Value> {
        let at = self.flags.iter().position(|(f, _)| f.long == long)?;
        Some(self.flags.remove(at).1)
    }

    fn switch(&mut self, long: &str) -> bool {
        self.take(long).is_some()
    }

    fn path(&mut self, long: &str) -> Option<PathBuf> {
        match self.take(long)? {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    fn text(&mut self, long: &str) -> Option<String> {
        match self.take(long)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn number(&mut self, long: &str) -> Option<f64> {
        match self.take(long)? {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn choice(&mut self, long: &str) -> Option<&'static str> {
        match self.take(long)? {
            Value::Choice(word) => Some(word),
            _ => None,
        }
    }

    fn counts(&mut self, long: &str) -> Option<Vec<u32>> {
        match self.take(long)? {
            Value::Counts(counts) => Some(counts),
            _ => None,
        }
    }

    fn count(&mut self, long: &str) -> Option<Option<u32>> {
        match self.take(long)? {
            Value::Count(count) => Some(count),
            _ => None,
        }
    }

    fn time(&mut self, long: &str) -> Option<Timestamp> {
        match self.take(long)? {
            Value::Time(time) => Some(time),
            _ => None,
        }
    }

    fn understand(mut self) -> Result<Invocation, CliError> {
        let path = self.command.path;
        if !self.command.built {
            // The whole group when nothing of it is there.
            let group = path.split(' ').next().unwrap_or(path);
            let none = COMMANDS.iter().filter(|c| c.path.split(' ').next() == Some(group)).all(|c| !c.built);
            return fail(format!("{}: not built yet", if none { group } else { path }));
        }
        self.check_positionals()?;
        let words = std::mem::take(&mut self.positionals);
        let invocation = match path {
            "run" => Invocation::Run(self.run_args()?),
            "config" => {
                if !self.switch("explain") {
                    return fail("config: wanted --explain");
                }
                Invocation::Explain(self.run_args()?)
            }
            "detect" => Invocation::Detect(DetectArgs {
                paths: words.into_iter().map(PathBuf::from).collect(),
                models: std::iter::from_fn(|| self.text("model")).collect(),
                score: self.number("score").map(|s| s as f32),
                long_side: match self.count("long-side") {
                    None => LongSide::Card,
                    Some(None) => LongSide::Native,
                    Some(Some(n)) => LongSide::Pixels(n),
                },
                draw: self.path("draw"),
            }),
            "models list" => Invocation::Models(ModelsArgs::List),
            "models info" => {
                let [name] = texts(path, words)?.try_into().unwrap_or_default();
                Invocation::Models(ModelsArgs::Info(name))
            }
            "models check" => Invocation::Models(ModelsArgs::Check(texts(path, words)?.pop())),
            "models pull" => Invocation::Models(ModelsArgs::Pull {
                name: texts(path, words)?.pop().unwrap_or_default(),
                from: self.text("from"),
            }),
            "models add" => Invocation::Models(ModelsArgs::Add(texts(path, words)?.pop().unwrap_or_default())),
            "models draft" => Invocation::Models(ModelsArgs::Draft(words.into_iter().map(PathBuf::from).collect())),
            "check" => Invocation::Check(CheckArgs { json: self.switch("json") }),
            _ if path.starts_with("faces ") => Invocation::Faces(self.faces_args(path, words)?),
            "cameras" => Invocation::Cameras { json: self.switch("json") },
            "eval faces" => Invocation::EvalFaces(EvalFacesArgs {
                paths: words.into_iter().map(PathBuf::from).collect(),
                fpir: self.number("fpir").unwrap_or(FPIR),
                persons: self.count("persons").flatten(),
                json: self.switch("json"),
            }),
            "watch" => Invocation::Watch,
            "bench" => Invocation::Bench(self.bench_args()),
            "bench compare" => {
                let [a, b] = <[OsString; 2]>::try_from(words).unwrap_or_default().map(PathBuf::from);
                Invocation::BenchCompare { a, b, json: self.switch("json") }
            }
            _ if path.starts_with("eval ") => self.eval_args(path, words),
            "schema" => Invocation::Schema,
            "help" => {
                let words = texts(path, words)?;
                let name = words.join(" ");
                if find_command(&words)?.is_none() && words.len() > 1 {
                    return fail(format!("help: no command {name:?}"));
                }
                match self.choice("as") {
                    None | Some("text") => Invocation::Print(help(&name)),
                    Some(_) if !name.is_empty() => {
                        return fail("help: --as tells of the whole program: wanted no COMMAND beside it");
                    }
                    Some(form) => Invocation::Print(pages::page(form)),
                }
            }
            other => return fail(format!("{other}: not built yet")),
        };
        // The tables promise a flag to a command that does not read it: a bug, but better said than ignored.
        match self.flags.first() {
            None => Ok(invocation),
            Some((flag, _)) => fail(format!("{path}: --{} has no effect here: remove it", flag.long)),
        }
    }

    fn check_positionals(&self) -> Result<(), CliError> {
        let (path, wanted, found) = (self.command.path, self.command.positionals, self.positionals.len());
        if let Some(missing) = wanted.iter().filter(|p| p.required).nth(found) {
            return fail(format!("{path}: wanted {}, found nothing; see `porchlight {path} --help`", missing.name));
        }
        match self.positionals.get(wanted.len()) {
            Some(extra) if !wanted.iter().any(|p| p.many) => {
                let flag = if path == "run" { ": pictures are given with --source, cameras with --camera" } else { "" };
                fail(format!("{path}: unexpected {extra:?}{flag}"))
            }
            _ => match self.positionals.iter().find(|p| p.is_empty()) {
                Some(_) => fail(format!("{path}: an empty argument: remove it")),
                None => Ok(()),
            },
        }
    }

    fn faces_args(&mut self, path: &str, mut words: Vec<OsString>) -> Result<FacesArgs, CliError> {
        let mut first = |path| Ok(texts(path, words.drain(..1.min(words.len())).collect())?.pop().unwrap_or_default());
        let task = match path {
            "faces enroll" => FacesTask::Enroll {
                name: first(path)?,
                photos: words.into_iter().map(PathBuf::from).collect(),
                consent: self.text("consent"),
                expires: self.text("expires"),
                force: self.switch("force"),
            },
            "faces list" => FacesTask::List { json: self.switch("json") },
            "faces remove" => FacesTask::Remove { name: first(path)? },
            "faces compare" => {
                let [a, b] = <[OsString; 2]>::try_from(words).unwrap_or_default().map(PathBuf::from);
                FacesTask::Compare { a, b }
            }
            _ => FacesTask::Rekey,
        };
        Ok(FacesArgs { config: self.path("config"), gallery: self.path("gallery"), task })
    }

    fn eval_args(&mut self, path: &str, words: Vec<OsString>) -> Invocation {
        let mut words = words.into_iter().map(PathBuf::from);
        let truth = words.next().unwrap_or_default();
        let task = match path {
            "eval coco" => EvalTask::Coco,
            "eval wider" => EvalTask::Wider,
            "eval merge" => EvalTask::Merge(words.collect()),
            "eval events" => EvalTask::Events(words.next().unwrap_or_default()),
            _ => EvalTask::Mot(words.next().unwrap_or_default()),
        };
        let beside = std::iter::from_fn(|| self.path("beside")).collect();
        let args = EvalArgs {
            truth,
            images: self.path("images"),
            model: self.text("model"),
            results: self.path("results"),
            save: self.path("save"),
            batch: self.count("batch").flatten(),
            regions: self.switch("regions"),
            resume: self.switch("resume"),
            shard: self.text("shard"),
            json: self.switch("json"),
            html: self.path("html"),
            beside,
        };
        Invocation::Eval(task, args)
    }

    fn bench_args(&mut self) -> BenchArgs {
        let (mut models, mut sources) = (Vec::new(), Vec::new());
        while let Some(model) = self.text("model") {
            models.push(model);
        }
        while let Some(source) = self.path("source") {
            sources.push(source);
        }
        let scenario = self.choice("scenario").map(Scenario::parse).unwrap_or_default();
        BenchArgs {
            models,
            threads: self.counts("threads").unwrap_or_default(),
            scenario,
            seconds: self.number("seconds"),
            warm_up: self.number("warm-up"),
            batch: self.count("batch").flatten(),
            streams: self.count("streams").flatten(),
            sources,
            fps: self.number("fps"),
            json: self.switch("json"),
            html: self.path("html"),
        }
    }

    fn run_args(&mut self) -> Result<RunArgs, CliError> {
        let mut inputs = Vec::new();
        self.flags.retain(|(flag, value)| {
            let Value::Path(path) = value else { return true };
            match flag.long {
                "camera" => inputs.push(Typed::Camera(path.clone())),
                "source" => inputs.push(Typed::Source(path.clone())),
                _ => return true,
            }
            false
        });
        Ok(RunArgs {
            config: self.path("config"),
            inputs,
            gallery: self.path("gallery"),
            fps: self.number("fps"),
            start: self.time("start"),
            pace: self.choice("pace").map(|w| if w == "realtime" { Pace::Realtime } else { Pace::Fast }),
            deterministic: self.switch("deterministic"),
            format: match self.choice("format") {
                None => None,
                Some(word) => Some(Format::parse(word).map_err(|e| CliError(format!("--format: {e}")))?),
            },
            no_seal: self.switch("no-seal"),
            threads: match self.counts("threads").as_deref() {
                None => None,
                Some([]) => Some(None),
                Some([one]) => Some(Some(*one)),
                Some(_) => {
                    return fail(format!(
                        "--threads: wanted one number in {}..={}, found several",
                        THREADS.0, THREADS.1
                    ));
                }
            },
        })
    }
}

fn texts(command: &str, words: Vec<OsString>) -> Result<Vec<String>, CliError> {
    words
        .into_iter()
        .map(|w| w.into_string().map_err(|w| CliError(format!("{command}: wanted UTF-8 text, found {w:?}"))))
        .collect()
}

/// `porchlight 0.1.0`
pub fn version() -> String {
    format!("porchlight {}\n", env!("CARGO_PKG_VERSION"))
}

/// Help of a command (`models check`), of a group (`models`), or of the program (an empty name).
pub fn help(name: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_help(name, &mut text);
    text
}

fn write_help(name: &str, out: &mut String) -> std::fmt::Result {
    let rows: Vec<&Command> = match COMMANDS.iter().find(|c| c.path == name) {
        Some(command) => vec![command],
        None => {
            COMMANDS.iter().filter(|c| name.is_empty() || c.path.split(' ').next() == name.split(' ').next()).collect()
        }
    };
    if name.is_empty() {
        writeln!(
            out,
            "porchlight: object and face recognition beside the camera. Pixels come in, only typed events go out.\n"
        )?;
        writeln!(out, "Usage: porchlight COMMAND [FLAG]...\n\nCommands:")?;
    } else if let [command] = rows.as_slice()
        && command.path == name
    {
        writeln!(out, "{}{}\n\nUsage: {}", command.about, pending(command), usage(command))?;
    } else {
        writeln!(out, "Usage: porchlight {name} COMMAND [FLAG]...\n\nCommands:")?;
    }
    if rows.len() > 1 {
        let width = rows.iter().map(|c| c.path.len()).max().unwrap_or(0);
        for command in &rows {
            writeln!(out, "  {:width$}  {}{}", command.path, command.about, pending(command))?;
        }
    }
    let single = (rows.len() == 1).then(|| rows[0].path);
    let flags: Vec<&Flag> =
        FLAGS.iter().filter(|f| f.commands.is_empty() || single.is_some_and(|path| f.serves(path))).collect();
    writeln!(out, "\nFlags:")?;
    let left = |f: &Flag| {
        let short = f.short.map_or_else(|| "    ".to_owned(), |c| format!("-{c}, "));
        let mut left = format!("{short}--{}", f.long);
        if f.kind != Kind::Switch {
            left.push(' ');
            left.push_str(&f.kind.metavar());
        }
        left
    };
    for f in &flags {
        let again = if f.repeatable { " (repeatable)" } else { "" };
        writeln!(out, "  {}\n          {}{again}", left(f), f.about)?;
    }
    if name.is_empty() {
        writeln!(out, "\n`porchlight COMMAND --help` tells a command's flags.")?;
        writeln!(
            out,
            "Exit codes: 0 done; 1 a check or target missed; 2 usage or configuration; 3 model; 4 camera or source; 5 seal; 6 internal."
        )?;
    }
    Ok(())
}

fn pending(command: &Command) -> &'static str {
    if command.built { "" } else { " (not built yet)" }
}

fn usage(command: &Command) -> String {
    let mut text = format!("porchlight {}", command.path);
    for p in command.positionals {
        let dots = if p.many { "..." } else { "" };
        let _ = if p.required { write!(text, " {}{dots}", p.name) } else { write!(text, " [{}{dots}]", p.name) };
    }
    for f in FLAGS.iter().filter(|f| !f.commands.is_empty() && f.serves(command.path)) {
        let value = if f.kind == Kind::Switch { String::new() } else { format!(" {}", f.kind.metavar()) };
        let _ = write!(text, " [--{}{value}]{}", f.long, if f.repeatable { "..." } else { "" });
    }
    text
}

/// Text from outside on one line: control characters are written out, invalid bytes replaced.
pub fn one_line(text: &OsStr) -> String {
    text.to_string_lossy().chars().fold(String::new(), |mut out, c| {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, CliError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn refused(line: &str) -> String {
        parsed(line).expect_err(line).to_string()
    }

    /// A value each kind accepts.
    fn sample(kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::Switch => None,
            Kind::Path(_) | Kind::Text(_) => Some("x"),
            Kind::Number(..) => Some("0.5"),
            Kind::Choice(words) => Some(words[0]),
            Kind::Time(_) => Some("2024-05-01T12:00:00Z"),
            Kind::Count(.., word) | Kind::Counts(.., word) => Some(word),
            Kind::Whole(..) => Some("1"),
        }
    }

    #[test]
    fn the_tables_are_sound() {
        for (i, a) in FLAGS.iter().enumerate() {
            assert!(
                FLAGS[..i].iter().all(|b| a.long != b.long && (a.short.is_none() || a.short != b.short)),
                "{}",
                a.long
            );
            for path in a.commands {
                assert!(COMMANDS.iter().any(|c| c.path == *path), "--{} names no command: {path}", a.long);
            }
            assert!(!a.about.is_empty() && !a.about.ends_with('.'));
        }
        for (i, a) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..i].iter().all(|b| a.path != b.path), "{}", a.path);
        }
    }

    #[test]
    fn every_flag_the_table_promises_to_a_built_command_is_read() {
        for command in COMMANDS.iter().filter(|c| c.built) {
            for flag in FLAGS.iter().filter(|f| !f.commands.is_empty() && f.serves(command.path)) {
                let mut line: Vec<OsString> = command.path.split(' ').map(OsString::from).collect();
                line.extend(command.positionals.iter().filter(|p| p.required).map(|_| OsString::from("x")));
                if command.path == "config" && flag.long != "explain" {
                    line.push("--explain".into());
                }
                line.push(format!("--{}", flag.long).into());
                line.extend(sample(flag.kind).map(OsString::from));
                assert!(parse(line.clone()).is_ok(), "{line:?}: {:?}", parse(line.clone()).err());
            }
        }
    }

    #[test]
    fn run_keeps_what_was_typed_in_order() {
        let Ok(Invocation::Run(args)) =
            parsed("run --source a.png --camera /dev/video1 --source=- --fps 7.5 --threads auto --pace realtime")
        else {
            panic!("not run");
        };
        assert_eq!(
            args.inputs,
            [Typed::Source("a.png".into()), Typed::Camera("/dev/video1".into()), Typed::Source("-".into())]
        );
        assert_eq!((args.fps, args.threads, args.pace), (Some(7.5), Some(None), Some(Pace::Realtime)));
    }

    #[test]
    fn mistakes_are_named_with_a_hint() {
        for (line, wanted) in [
            ("", "no command"),
            ("rum", "did you mean run?"),
            ("models chek", "did you mean check?"),
            ("models", "models: wanted one of list, info, check, pull, add, draft"),
            ("run --sorce x", "did you mean source?"),
            ("run --score 0.5", "--score is read by `detect` only"),
            ("run --draw x", "--draw is read by `detect` only"),
            ("--fps 3 run", "write the command first"),
            ("run --fps", "wanted a value (F), found the end"),
            ("run --fps --no-seal", "wanted a value (F), found \"--no-seal\""),
            ("run --fps 0", "--fps: wanted a number in 0.1..=240, found \"0\""),
            ("run --fps nan", "0.1..=240"),
            ("run --fps 5 --fps 6", "--fps is given twice"),
            ("run --no-seal=yes", "takes no value"),
            ("run --start yesterday", "RFC 3339"),
            ("run --pace slow", "wanted one of fast, realtime"),
            ("run --format xml", "wanted one of native, cloudevents, frigate, onvif"),
            ("run --threads 0", "1..=64, or auto"),
            ("run --threads 1,2", "wanted one number"),
            ("bench --threads 1,0", "1..=64, or auto"),
            ("bench --batch 0", "1..=256"),
            ("bench --scenario online", "single-stream, multi-stream, offline, pipeline (did you mean offline?)"),
            ("bench compare a.json", "bench compare: wanted B"),
            ("bench x", "unexpected \"x\""),
            ("run x.png", "--source"),
            ("detect", "wanted PATH"),
            ("detect a --long-side 3", "32..=8192, or native"),
            ("models info", "wanted NAME"),
            ("models info a b", "unexpected \"b\""),
            ("config", "wanted --explain"),
            ("faces", "faces: wanted one of enroll, list"),
            ("eval coco", "eval coco: wanted TRUTH"),
            ("help rum", "did you mean run?"),
        ] {
            let said = refused(line);
            assert!(said.contains(wanted), "{line}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn every_command_has_help_that_names_its_flags() {
        for command in COMMANDS {
            let Ok(Invocation::Print(text)) = parsed(&format!("{} --help", command.path)) else { panic!() };
            assert!(text.contains(command.about), "{text}");
            for flag in FLAGS {
                let there =
                    text.contains(&format!("  --{}\n", flag.long)) || text.contains(&format!("--{} ", flag.long));
                assert_eq!(there || flag.commands.is_empty(), flag.serves(command.path), "{} {text}", flag.long);
            }
        }
        assert!(matches!(parsed("help models"), Ok(Invocation::Print(t)) if t.contains("models check")));
        assert!(matches!(parsed("--version"), Ok(Invocation::Print(t)) if t.starts_with("porchlight ")));
    }
}
