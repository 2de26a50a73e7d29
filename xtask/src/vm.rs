//! `cargo xtask vm`: the camera test bed.
//!
//! A Debian kernel under QEMU, emulated in software, with the emulated webcam `vivid` and the loop-back device
//! `v4l2loopback`, and in it the release binary with its models and the real ONNX Runtime. A scenario is a script that runs in
//! the guest (`xtask/vm/scenarios/`) and a judge on this side ([`scenarios`]) that reads what the guest wrote to its second
//! serial line: what the programs printed, when, and how they ended. One boot runs all scenarios that were asked for.
//!
//! Emulation is slow: an inference takes a second or more. Scenarios say nothing about speed but what is said in seconds by
//! the clock of the guest, and their deadlines are wide.

mod archive;
mod bed;
pub(crate) mod record;
mod scenarios;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::fail::{Failure, Result};
use crate::python::io;
use crate::{proc, say, setup, target, tools};
use archive::Archive;
use bed::Bed;
use record::Record;
use scenarios::{SCENARIOS, Scenario};

/// Kernel modules that the scripts load, with all they depend on.
const MODULES: [&str; 5] = ["vivid", "v4l2loopback", "dummy_hcd", "gadgetfs", "uvcvideo"];
/// Files of the checkout that the scripts use, and where the guest has them.
const FILES: [(&str, &str); 5] = [
    ("xtask/vm/init", "init"),
    ("xtask/vm/bed.sh", "lib/bed.sh"),
    ("samples/cat.jpg", "samples/cat.jpg"),
    // What `porchlight check` compares a model with.
    ("samples/people.jpg", "samples/people.jpg"),
    // A face, for the scenario in which somebody must be seen.
    ("samples/astronaut.jpg", "samples/astronaut.jpg"),
];
/// The picture that is fed in raw: as what, and how large.
const RAW: (&str, &str) = ("samples/cat.yuyv", "320x240");
/// The guest's memory, megabytes.
const MEMORY: &str = "1536";
/// How long the scenario `soak` lasts when nobody says.
const SOAK_MINUTES: u32 = 3;
/// Seconds for the machine to come up, beside the patience of its scenarios.
const BOOT_PATIENCE: u64 = 90;

/// What was asked for.
struct Asked {
    scenarios: Vec<&'static Scenario>,
    /// Leave the guest's files there.
    keep: bool,
    /// With the program that `cargo build` makes: quicker to build, for work on scenarios.
    dev: bool,
    /// A machine that cannot run them fails.
    must: bool,
    /// How long the scenario `soak` lasts.
    minutes: u32,
}

fn understand(args: &[String]) -> Result<Option<Asked>> {
    let mut asked = Asked { scenarios: Vec::new(), keep: false, dev: false, must: false, minutes: SOAK_MINUTES };
    let mut short = false;
    for arg in args {
        match arg.as_str() {
            "--list" => return Ok(None),
            "--short" => short = true,
            "--keep" => asked.keep = true,
            "--dev" => asked.dev = true,
            "--must" => asked.must = true,
            name => match SCENARIOS.iter().find(|s| s.name == name) {
                Some(scenario) => asked.scenarios.push(scenario),
                None => {
                    let known: Vec<_> = SCENARIOS.iter().map(|s| s.name).collect();
                    return Err(Failure::usage(format!(
                        "vm: no scenario is called `{name}`; there are {}; or --list, --short, --keep, --dev, --must",
                        known.join(", ")
                    )));
                }
            },
        }
    }
    if asked.scenarios.is_empty() {
        asked.scenarios = SCENARIOS.iter().filter(|s| s.short || !short).collect();
    }
    Ok(Some(asked))
}

/// The chore.
pub(crate) fn run(args: &[String]) -> Result {
    let Some(asked) = understand(args)? else {
        for scenario in SCENARIOS {
            eprintln!("  {:<14} {}{}", scenario.name, if scenario.short { "" } else { "(long) " }, scenario.about);
        }
        return Ok(());
    };
    if let Err(reason) = bed::possible() {
        say(format_args!("vm: skipped: {reason}"));
        say(format_args!("vm: 0 passed, 0 failed, {} skipped", asked.scenarios.len()));
        if asked.must {
            return Err(Failure::new("vm: --must: nothing may be skipped here"));
        }
        return Ok(());
    }
    let folder = target().join("vm");
    let (entries, ended) = boot(&asked, &folder)?;
    let failed = judge(&asked, &entries, &ended);
    let passed = asked.scenarios.len() - failed;
    say(format_args!("vm: {passed} passed, {failed} failed, 0 skipped"));
    if failed == 0 {
        return Ok(());
    }
    let (record, serial) = (folder.join("record.txt"), folder.join("serial.txt"));
    Err(Failure::new(format!("vm: look into {} and {}", record.display(), serial.display())))
}

/// The scenario `soak`, for so long: its record, unjudged.
pub(crate) fn soak(minutes: u32, release: bool) -> Result<Record> {
    let scenarios = SCENARIOS.iter().filter(|s| s.name == "soak").collect();
    let asked = Asked { scenarios, keep: false, dev: !release, must: true, minutes };
    bed::possible().map_err(|reason| Failure::new(format!("soak: no cameras: {reason}; --host goes without")))?;
    let (entries, ended) = boot(&asked, &target().join("soak"))?;
    ended.map_err(|reason| Failure::new(format!("soak: cameras: {reason}")))?;
    Ok(Record(entries))
}

/// One life of the machine: what it wrote down, and how it ended.
fn boot(asked: &Asked, folder: &Path) -> Result<(Vec<record::Entry>, std::result::Result<(), String>)> {
    bed::compiler()?;
    setup::ensure(std::env::consts::ARCH)?;
    let bed = Bed::ensure()?;
    if !asked.dev {
        proc::cargo(&["build", "--release"], &[])?;
    }
    // As `cargo test` has built them already: of examples with what they need on top, in one command, so that the library is not
    // built twice.
    let program: &[&str] = if asked.dev { &["--bin", "porchlight"] } else { &[] };
    proc::cargo(&[&["build", "--example", "frames"], program].concat(), &[])?;
    fs::create_dir_all(folder).map_err(io(folder))?;
    let system = folder.join("system.cpio");
    pack(&bed, asked, folder)?.write(&system).map_err(io(&system))?;

    let (record, serial) = (folder.join("record.txt"), folder.join("serial.txt"));
    for file in [&record, &serial] {
        fs::write(file, "").map_err(io(file))?;
    }
    let machine = start(&bed, &system, &record, &serial)?;
    let ended = watch(machine, asked, &record);
    let text = String::from_utf8_lossy(&fs::read(&record).map_err(io(&record))?).into_owned();
    if !asked.keep {
        fs::remove_file(&system).map_err(io(&system))?;
    }
    Ok((record::read(&text), ended))
}

impl Asked {
    /// Seconds after which a scenario's script is killed.
    fn patience(&self, scenario: &Scenario) -> u32 {
        if scenario.name == "soak" { self.minutes * 60 + scenario.patience } else { scenario.patience }
    }
}

/// The guest's files.
fn pack(bed: &Bed, asked: &Asked, folder: &Path) -> Result<Archive> {
    let root = crate::root();
    let read = |path: &Path| fs::read(path).map_err(io(path));
    let mut archive = Archive::default();
    for place in ["proc", "sys", "dev", "tmp", "run", "etc"] {
        archive.folder(place);
    }
    archive.add("bin/busybox", read(&bed.busybox())?);
    archive.add("bin/guest", read(&bed::guest(folder)?)?);
    for (from, to) in FILES {
        archive.add(to, read(&root.join(from))?);
    }
    for name in MODULES {
        let files = bed.module(name)?;
        let before: Vec<_> = files.iter().map(|(name, _)| name.as_str()).filter(|other| *other != name).collect();
        archive.add(&format!("lib/mods/{name}.needs"), before.join("\n").into_bytes());
        for (name, path) in &files {
            archive.add(&format!("lib/mods/{name}.ko"), read(path)?);
        }
    }
    let order: Vec<_> = asked.scenarios.iter().map(|s| s.name).collect();
    archive.add("scenarios/order", order.join("\n").into_bytes());
    for scenario in &asked.scenarios {
        archive.add(&format!("scenarios/{}.sh", scenario.name), scenario.script.as_bytes().to_vec());
        archive
            .add(&format!("scenarios/{}.patience", scenario.name), asked.patience(scenario).to_string().into_bytes());
    }
    archive.add("etc/minutes", asked.minutes.to_string().into_bytes());

    let runtime = tools().join(format!("onnxruntime-{}/libonnxruntime.so", std::env::consts::ARCH));
    archive.add("lib/libonnxruntime.so", read(&runtime)?);
    let program = target().join(if asked.dev { "debug/porchlight" } else { "release/porchlight" });
    let frames = target().join("debug/examples/frames");
    for file in [&program, &frames] {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        archive.add(&format!("bin/{name}"), read(&bed::stripped(file, folder)?)?);
    }
    for file in [&program, &frames, &runtime] {
        for library in bed::libraries(file)? {
            archive.add(&library.to_string_lossy(), read(&library)?);
        }
    }
    // One scenario records system calls. Where there is no strace it fails, unless it was not asked for.
    if let Some(strace) = bed::strace() {
        archive.add("bin/strace", read(&strace)?);
        for library in bed::libraries(&strace)? {
            archive.add(&library.to_string_lossy(), read(&library)?);
        }
    }
    let (name, size) = RAW;
    let raw = folder.join("raw");
    let tool = proc::Program { name: "frames", fix: "cargo build --example frames" };
    let mut command = std::process::Command::new(&frames);
    tool.output(command.args(["--yuyv", size]).arg(root.join("samples/cat.jpg")).arg(&raw), "making a raw picture")?;
    archive.add(name, read(&raw)?);
    // Emulated processors are slow at floats: one inference of the default model can take a minute, after which an eye counts as hung. The
    // int8 model is for what is about seeing; the default is there for what ends before it.
    for model in ["ssdlite-mobilenet-v2", "ssdlite-mobilenet-v2-int8", "yunet"] {
        let place = root.join("models").join(model);
        for entry in fs::read_dir(&place).map_err(io(&place))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let bytes = read(&entry.path())?;
            if model == "yunet" {
                // The same weights with a card that has them look at 64 pixels: for scenarios that are not about seeing.
                let small = match name.as_str() {
                    "card.toml" => String::from_utf8_lossy(&bytes)
                        .replace("long_side = 640", "long_side = 64")
                        .replace("task = \"face\"", "task = \"detect\"")
                        .into_bytes(),
                    _ => bytes.clone(),
                };
                archive.add(&format!("models/quick/{name}"), small);
            }
            archive.add(&format!("models/{model}/{name}"), bytes);
        }
    }
    Ok(archive)
}

fn start(bed: &Bed, system: &Path, record: &Path, serial: &Path) -> Result<Child> {
    let mut qemu = bed.qemu();
    let file = |path: &Path| format!("file:{}", path.display());
    qemu.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", MEMORY, "-display", "none", "-monitor", "none"]);
    qemu.args(["-no-reboot", "-nic", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    qemu.arg("-serial").arg(file(serial)).arg("-serial").arg(file(record));
    qemu.arg("-kernel").arg(bed.kernel()?).arg("-initrd").arg(system);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off audit=0 random.trust_cpu=on"]);
    qemu.stdin(Stdio::null()).stdout(Stdio::null());
    qemu.spawn().map_err(|error| Failure::new(format!("vm: qemu cannot be started: {error}")))
}

/// Waits for the machine, tells what it does, and ends it when it takes too long. Says how it ended.
fn watch(mut machine: Child, asked: &Asked, record: &Path) -> std::result::Result<(), String> {
    let began = Instant::now();
    let patience = asked.scenarios.iter().map(|s| u64::from(asked.patience(s))).sum::<u64>() + BOOT_PATIENCE;
    let mut told = 0;
    loop {
        let text = fs::read(record).unwrap_or_default();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for entry in record::read(&String::from_utf8_lossy(&text[told.min(whole)..whole])) {
            let news = ["up ", "begin ", "end "].iter().any(|word| entry.text.starts_with(word));
            if entry.kind == "mark" && news {
                say(format_args!(
                    "vm: {:>6.1} s  {} (guest: {:.1} s)",
                    began.elapsed().as_secs_f64(),
                    entry.text,
                    entry.at
                ));
            }
        }
        told = whole;
        match machine.try_wait() {
            // isa-debug-exit: 2 * 0 + 1.
            Ok(Some(status)) if status.code() == Some(1) => return Ok(()),
            Ok(Some(status)) => return Err(format!("the machine ended with {status}")),
            Ok(None) => {}
            Err(error) => return Err(format!("the machine cannot be waited for: {error}")),
        }
        if began.elapsed() > Duration::from_secs(patience) {
            let _ = machine.kill();
            let _ = machine.wait();
            return Err(format!("the machine was still running after {patience} s"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Says which scenarios failed and why; their number.
fn judge(asked: &Asked, entries: &[record::Entry], ended: &std::result::Result<(), String>) -> usize {
    let mut failed = 0;
    for scenario in &asked.scenarios {
        let mark = |word: &str| {
            let text = format!("{word} {}", scenario.name);
            entries.iter().position(|e| e.kind == "mark" && e.text == text)
        };
        let verdict = match (mark("begin"), mark("end")) {
            (Some(begin), Some(end)) => {
                let record = Record(entries[begin..end].to_vec());
                (scenario.judge)(&record)
            }
            (Some(_), None) => Err("it did not end".to_owned()),
            (None, _) => Err("it did not begin".to_owned()),
        };
        let verdict = verdict.map_err(|reason| match ended {
            Ok(()) => reason,
            Err(why) => format!("{reason} ({why})"),
        });
        match verdict {
            Ok(()) => say(format_args!("vm: {:<14} ok", scenario.name)),
            Err(reason) => {
                failed += 1;
                say(format_args!("vm: {:<14} FAILED: {reason}", scenario.name));
            }
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn without_names_all_run_and_unknown_ones_are_refused() {
        let count = |text| understand(&words(text)).unwrap().map(|asked| asked.scenarios.len());
        assert_eq!(count(""), Some(SCENARIOS.len()));
        assert_eq!(count("sizes"), Some(1));
        assert!(count("--short") <= count("") && count("--list").is_none());
        assert_eq!(understand(&words("sises")).err().map(|failure| failure.code), Some(crate::fail::USAGE));
    }

    #[test]
    fn a_scenario_that_never_ran_has_failed() {
        let asked = Asked {
            scenarios: SCENARIOS.iter().collect(),
            keep: false,
            dev: false,
            must: false,
            minutes: SOAK_MINUTES,
        };
        assert_eq!(judge(&asked, &[], &Ok(())), SCENARIOS.len());
    }
}
