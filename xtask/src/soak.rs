//! `cargo xtask soak`: does it run for months? What happens to a box in that time, in minutes.
//!
//! Two halves at the same time. [`host`] does to real runs on this machine what can be done from outside: broken input, silence, a
//! reader that pauses or goes, full disks, no processor, no memory, killed and frozen processes. [`bed`] has cameras: the test bed's
//! kernel devices in a machine of their own ([`crate::vm`]), where plugs can be pulled, drivers fail and the clock be set. Each line
//! that any of them writes is held against [`laws`] as it comes; what processes hold is looked at all the time and must not grow.

mod bed;
mod host;
mod laws;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use crate::fail::{Failure, Result};
use crate::python::io;
use crate::{proc, say, setup, target, vm};
use laws::{Laws, Use};

pub(crate) use bed::judge as judge_bed;

/// What one half found.
#[derive(Debug, Default)]
struct Half {
    name: &'static str,
    streams: Vec<(String, Laws)>,
    uses: Vec<Use>,
    recoveries: BTreeMap<String, Recovery>,
    episodes: BTreeMap<String, u32>,
    /// Oldest line of a run while nothing was done to it, and what is allowed, milliseconds.
    ages: Vec<(String, u64, u64)>,
    skipped: BTreeSet<String>,
    problems: Vec<String>,
}

/// How long it took until all was well again, seconds.
#[derive(Debug)]
struct Recovery {
    times: u32,
    worst: f64,
    bound: f64,
}

impl Half {
    fn absorb(&mut self, other: Self) {
        self.streams.extend(other.streams);
        self.uses.extend(other.uses);
        self.recoveries.extend(other.recoveries);
        self.episodes.extend(other.episodes);
        self.ages.extend(other.ages);
        self.skipped.extend(other.skipped);
        self.problems.extend(other.problems);
    }

    /// As a section of the report.
    fn page(&self, seconds: f64) -> String {
        let mut page = format!("### {}\n\n", self.name);
        let kind = if self.problems.is_empty() { "nothing was broken" } else { "**not as it must be**" };
        _ = writeln!(page, "{:.0} minutes; {kind}.\n", seconds / 60.0);
        for problem in &self.problems {
            _ = writeln!(page, "- **{}**", problem.chars().take(300).collect::<String>());
        }
        if !self.problems.is_empty() {
            page.push('\n');
        }
        page.push_str("| stream | lines | lives | cut | tracks | zones and lines | laws broken |\n|---|---|---|---|---|---|---|\n");
        for (name, laws) in &self.streams {
            let Laws { lines, lives, cut, tracks, places, .. } = laws;
            let broken = self.problems.iter().filter(|p| p.starts_with(&format!("{name}: at "))).count();
            _ = writeln!(page, "| {name} | {lines} | {lives} | {cut} | {tracks} | {places} | {broken} |");
        }
        page.push_str("\n| what was done | times | slowest recovery, s | allowed, s |\n|---|---|---|---|\n");
        for (what, Recovery { times, worst, bound }) in &self.recoveries {
            let worst = if worst.is_finite() { format!("{worst:.1}") } else { "never".to_owned() };
            _ = writeln!(page, "| {what} | {times} | {worst} | {bound:.0} |");
        }
        for (what, times) in &self.episodes {
            _ = writeln!(page, "| {what} | {times} | | |");
        }
        if !self.uses.is_empty() {
            page.push_str(
                "\n| process | looked at | MB | growth an hour, kB | descriptors | threads |\n|---|---|---|---|---|---|\n",
            );
        }
        for held in &self.uses {
            let ([fds, threads, kilobytes], span) = held.growth();
            _ = writeln!(
                page,
                "| {} | {} times | {:.1} | {:+.0} | {fds:+.0} | {threads:+.0} |",
                held.who,
                held.samples.len(),
                held.rss() as f64 / 1024.0,
                kilobytes * 3600.0 / span.max(1.0),
            );
        }
        for (name, worst, bound) in &self.ages {
            _ = writeln!(
                page,
                "\nOldest line of `{name}` while nothing was done to it: {worst} ms, capture to write (allowed: {bound})."
            );
        }
        for what in &self.skipped {
            _ = writeln!(page, "\nNot tried on this machine: {what}.");
        }
        page
    }
}

#[derive(Debug, PartialEq)]
struct Asked {
    minutes: u32,
    host: bool,
    bed: bool,
    report: bool,
    release: bool,
}

fn understand(args: &[String]) -> Result<Asked> {
    let mut asked = Asked { minutes: 3, host: true, bed: true, report: false, release: false };
    let mut words = args.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--minutes" => match words.next().and_then(|n| n.parse().ok()).filter(|n| (2..=1440).contains(n)) {
                Some(minutes) => asked.minutes = minutes,
                None => return Err(Failure::usage("soak: --minutes wants a number of 2..=1440")),
            },
            "--host" => asked.bed = false,
            "--bed" => asked.host = false,
            "--report" => asked.report = true,
            "--release" => asked.release = true,
            other => {
                let takes = "[--minutes N] [--host|--bed] [--release] [--report]";
                return Err(Failure::usage(format!("soak takes {takes}, not `{other}`")));
            }
        }
    }
    match asked.host || asked.bed {
        true => Ok(asked),
        false => Err(Failure::usage("soak: wanted --host or --bed, or neither for both")),
    }
}

/// The chore.
pub(crate) fn run(args: &[String]) -> Result {
    let asked = understand(args)?;
    setup::ensure(std::env::consts::ARCH)?;
    let folder = target().join("soak");
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    // With the bed's example: without it dependencies have fewer features, and a third of them would be compiled once more.
    let build = ["build", "--example", "frames", "--bin", "porchlight", "--release"];
    proc::cargo(&build[..if asked.release { 6 } else { 5 }], &[])?;
    let built = target().join(if asked.release { "release/porchlight" } else { "debug/porchlight" });
    // A copy: another build while this one runs is no fault to be tried.
    let program = folder.join("porchlight");
    if asked.host {
        let _ = fs::remove_file(&program);
        fs::copy(&built, &program).map_err(io(&built))?;
    }

    let began = Instant::now();
    let time = Duration::from_secs(u64::from(asked.minutes) * 60);
    say(format_args!("soak: {} minutes; lines and complaints are kept in {}", asked.minutes, folder.display()));
    let (host, bed) = std::thread::scope(|scope| {
        let host = asked.host.then(|| scope.spawn(|| host::soak(&program, &folder, time)));
        let bed = asked.bed.then(|| vm::soak(asked.minutes, asked.release));
        (host.map(std::thread::ScopedJoinHandle::join), bed)
    });
    let mut halves = Vec::new();
    if let Some(host) = host {
        halves.push(host.map_err(|_| Failure::new("soak: the harness panicked"))??);
    }
    if let Some(bed) = bed {
        halves.push(bed::half(bed?));
    }
    let mut problems = 0;
    for half in &halves {
        let page = half.page(began.elapsed().as_secs_f64());
        eprintln!("\n{page}");
        problems += half.problems.len();
        if asked.report {
            write_report(half.name, &page, asked.release)?;
        }
    }
    match problems {
        0 => Ok(()),
        n => Err(Failure::new(format!("soak: {n} things are not as they must be; look into {}", folder.display()))),
    }
}

/// Puts a section into `docs/reliability.md`, between its marks.
fn write_report(name: &str, page: &str, release: bool) -> Result {
    let path = crate::root().join("docs/reliability.md");
    let text = fs::read_to_string(&path).map_err(io(&path))?;
    let build = if release { "release" } else { "development" };
    let page = format!("{page}\nProgram: the {build} build of version {}.\n", crate::deb::version()?);
    let text = replaced(&text, name, &page)
        .ok_or_else(|| Failure::new(format!("{}: no marks of the section '{name}'", path.display())))?;
    fs::write(&path, text).map_err(io(&path))
}

/// The text with what stands between the marks of that name replaced.
fn replaced(text: &str, name: &str, page: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- soak: {name} -->\n"), format!("<!-- end of soak: {name} -->"));
    let from = text.find(&begin)? + begin.len();
    let to = from + text[from..].find(&end)?;
    Some(format!("{}{page}{}", &text[..from], &text[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_understood_or_refused() {
        let asked = |text: &str| understand(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let all = Asked { minutes: 3, host: true, bed: true, report: false, release: false };
        assert_eq!(asked("").unwrap(), all);
        assert_eq!(asked("--minutes 60 --host --report").unwrap().minutes, 60);
        for wrong in ["--minutes", "--minutes 0", "--minutes x", "--host --bed", "60"] {
            assert_eq!(asked(wrong).unwrap_err().code, crate::fail::USAGE, "{wrong}");
        }
    }

    #[test]
    fn a_section_of_the_report_replaces_the_last_one() {
        let text = "head\n<!-- soak: a -->\nold\n<!-- end of soak: a -->\ntail\n";
        assert_eq!(replaced(text, "a", "new\n").unwrap(), text.replace("old", "new"));
        assert_eq!(replaced(text, "b", "new\n"), None);
    }

    #[test]
    fn the_report_has_marks_for_both_halves() {
        let text = fs::read_to_string(crate::root().join("docs/reliability.md")).unwrap();
        for name in ["on this machine", "cameras"] {
            assert!(replaced(&text, name, "").is_some(), "{name}");
        }
    }
}
