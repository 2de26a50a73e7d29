//! The commands: each turns what was typed into work, and its outcome into an exit code.
//!
//! stdout is data, stderr is for people: one line for each thing that went wrong. `run` writes its events through
//! [`crate::emit`]; the other commands print through `Printer`.

mod bench;
mod cameras;
mod check;
mod detect;
mod draw;
mod eval;
mod faces;
mod models;
mod pull;
mod run;
mod watch;

use std::ffi::OsString;
use std::io::Write;

use crate::cli::{self, CliError, EvalTask, Invocation, ModelsArgs, one_line};
use crate::config::{Config, ConfigError};
use crate::exit::Exit;
use crate::model::ModelError;
use crate::source::SourceError;
use crate::warden;

/// Why a command ended early: an exit code and one line.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    /// Empty: nothing to say (the reader of stdout is gone).
    line: String,
}

impl Failure {
    /// With the line to print.
    pub fn new(exit: Exit, line: impl Into<String>) -> Self {
        Self { exit, line: line.into() }
    }

    /// Prints the line, if there is one, and gives the exit code.
    pub fn report(&self) -> Exit {
        if !self.line.is_empty() {
            complain(&self.line);
        }
        self.exit
    }
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::new(Exit::Model, error.to_string())
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::new(Exit::Source, error.to_string())
    }
}

/// One line on stderr, whatever the message holds. A closed stderr is nobody's problem.
pub fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "porchlight: {}", one_line(message.as_ref()));
}

/// stdout of the commands that print an answer (events go through `emit`).
struct Printer(std::io::Stdout);

impl Printer {
    fn new() -> Self {
        Self(std::io::stdout())
    }

    /// Writes and flushes.
    ///
    /// # Errors
    /// A silent [`Exit::Done`] when the reader is gone, [`Exit::Internal`] for anything else (a full disk).
    fn print(&mut self, text: &str) -> Result<(), Failure> {
        match self.0.write_all(text.as_bytes()).and_then(|()| self.0.flush()) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::new(Exit::Done, "")),
            Err(e) => Err(Failure::new(Exit::Internal, format!("stdout: cannot be written: {e}"))),
        }
    }
}

/// Parses, runs, and says how it ended. A panic, which is a bug, becomes one line and [`Exit::Internal`].
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let is_eye = args.first().is_some_and(|a| a == warden::EYE);
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(String::new, |l| format!("{}:{}: ", l.file(), l.line()));
        let what = info.payload_as_str().unwrap_or("a panic");
        if is_eye {
            // In the words that a sealed eye may use; what was said passes where there is no picture to tell of.
            complain(&format!("internal error: {place}this is a bug, please report it"));
            complain(&format!("it said: {what}"));
        } else {
            complain(&format!("internal error: {place}{what}: this is a bug, please report it"));
        }
    }));
    // Before the first thread, and before the library that looks at it.
    crate::seal::no_telemetry();
    std::panic::catch_unwind(|| match begin(args) {
        Ok(exit) => exit,
        Err(failure) => failure.report(),
    })
    .unwrap_or(Exit::Internal)
}

/// An eye is told by its first word, which no table of the command line holds.
fn begin(args: Vec<OsString>) -> Result<Exit, Failure> {
    if args.first().is_some_and(|a| a == warden::EYE) {
        let desk = warden::enter_eye().map_err(|e| Failure::new(Exit::Usage, e))?;
        return match cli::parse(args.into_iter().skip(1))? {
            Invocation::Run(args) => run::eye(&args, &desk),
            _ => Err(Failure::new(Exit::Usage, "eye: wanted the arguments of `run`")),
        };
    }
    if args.first().is_some_and(|a| a == check::ATTEMPT) {
        let words: Vec<String> = args.iter().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
        return Ok(check::attempt(&words));
    }
    let invocation = cli::parse(args.clone())?;
    let checks = matches!(&invocation, Invocation::Check(_));
    if !checks && std::env::var_os(check::WEAKEN).is_some() {
        return Err(Failure::new(Exit::Usage, format!("{} is for tests of `check` alone: unset it", check::WEAKEN)));
    }
    // `check` tries sockets in its children, which is its purpose.
    // `models pull` from an address starts curl, which inherits what is forbidden here.
    let pulls = match &invocation {
        Invocation::Models(ModelsArgs::Pull { from, .. }) => from.as_deref().is_none_or(pull::is_address),
        _ => false,
    };
    let unsealed = checks || pulls || matches!(&invocation, Invocation::Run(args) if args.no_seal);
    if !unsealed
        && let Err(e) = crate::seal::nowhere()
        && matches!(invocation, Invocation::Run(_))
    {
        // The other commands promise no seal; where the kernel has no filters they do without.
        return Err(Failure::new(Exit::Seal, e.to_string()));
    }
    dispatch(invocation, &args)
}

fn dispatch(invocation: Invocation, typed: &[OsString]) -> Result<Exit, Failure> {
    match invocation {
        Invocation::Print(text) => Printer::new().print(&text).map(|()| Exit::Done),
        Invocation::Run(args) => run::run(&args, typed),
        Invocation::Detect(args) => detect::run(&args),
        Invocation::Models(args) => models::run(&args),
        Invocation::Check(args) => check::run(&args),
        Invocation::Faces(args) => faces::run(&args),
        Invocation::Cameras { json } => cameras::run(json),
        Invocation::EvalFaces(args) => eval::faces(&args),
        Invocation::Watch => watch::run(),
        Invocation::Bench(args) => bench::run(&args),
        Invocation::BenchCompare { a, b, json } => bench::compare(&a, &b, json),
        Invocation::Eval(task, args) => match task {
            EvalTask::Coco => eval::coco(&args),
            EvalTask::Merge(parts) => eval::merge(&args, &parts),
            EvalTask::Wider => eval::wider(&args),
            EvalTask::Events(stream) => eval::events(&args.truth, &stream, args.json),
            EvalTask::Mot(tracks) => eval::mot(&args.truth, &tracks, args.json),
        },
        Invocation::Schema => {
            let mut text = serde_json::to_string_pretty(&crate::event::schema::schema()).unwrap_or_default();
            text.push('\n');
            Printer::new().print(&text).map(|()| Exit::Done)
        }
        Invocation::Explain(args) => {
            let text = Config::load(&args)?.explain();
            Printer::new().print(&text).map(|()| Exit::Done)
        }
    }
}
