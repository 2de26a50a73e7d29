//! What a run takes of the machine: a budget of processor time, and a board that gets hot.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Stream, porchlight, repeatable, sample};

/// Runs a configuration to its end; stdout.
fn run(config: &Path) -> String {
    let args = ["run", "--deterministic", "--config"];
    let output = porchlight().args(args).arg(config).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Cores that were used, behind the first interval, which holds the loading of models.
fn cores(stdout: &str) -> f64 {
    let stream = Stream::read(stdout);
    let each: Vec<(f64, f64)> = stream
        .of("stats")
        .skip(1)
        .map(|line| (line["cpu"].as_f64().expect("a number"), line["interval_ms"].as_f64().expect("a number")))
        .collect();
    assert!(each.len() >= 5, "{} lines of stats", each.len());
    each.iter().map(|(cpu, ms)| cpu * ms).sum::<f64>() / each.iter().map(|(_, ms)| ms).sum::<f64>()
}

/// `run.max_cpu` is used and not exceeded, and changes nothing that is said of a file.
#[test]
fn a_budget_is_honoured_within_a_tenth() {
    const BUDGET: f64 = 0.25;
    let dir = tempfile::tempdir().expect("a folder");
    let clip = std::fs::read(sample("porch.mjpeg")).expect("committed");
    let ends = clip.windows(4).enumerate().filter(|(_, w)| *w == [0xff, 0xd9, 0xff, 0xd8]).map(|(at, _)| at + 2);
    let end = ends.take(130).last().expect("frames");
    std::fs::write(dir.path().join("clip.mjpeg"), &clip[..end]).expect("written");
    let config = |name: &str, more: &str| {
        let path = dir.path().join(name);
        let camera = "[[camera]]\nname = \"porch\"\nsource = \"clip.mjpeg\"\nfps = 15\n[output]\nstats_every_s = 1\n";
        std::fs::write(&path, format!("{camera}[run]\nthreads = 1\n{more}")).expect("written");
        path
    };
    let free = run(&config("free.toml", ""));
    let bound = run(&config("bound.toml", &format!("max_cpu = {BUDGET}\n")));
    assert_eq!(repeatable(&free), repeatable(&bound));
    let (could, used) = (cores(&free), cores(&bound));
    assert!(used <= BUDGET * 1.1, "{used} cores of {BUDGET}");
    // A machine that has no more than that for us cannot show it.
    assert!(used >= BUDGET * 0.9 || could < BUDGET * 2.0, "{used} cores of {BUDGET}, without a budget {could}");
}

/// A hot board: said of each camera and in `stats`, less is done; and taken back when it has cooled down.
#[test]
fn a_hot_board_is_spared_and_that_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let zone = dir.path().join("sys/class/thermal/thermal_zone0");
    std::fs::create_dir_all(&zone).expect("made");
    let temperature = |milli: &str| std::fs::write(zone.join("temp"), milli).expect("written");
    temperature("45000\n");
    let config = dir.path().join("hot.toml");
    let camera =
        "[[camera]]\nname = \"pattern\"\nsource = \"synth:320x240@10\"\nfaces = false\n[output]\nstats_every_s = 1\n";
    std::fs::write(&config, format!("{camera}[run]\nsysfs = {:?}\n", dir.path().join("sys"))).expect("written");
    let mut child = porchlight()
        .args(["run", "--pace", "realtime", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut text = String::new();
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut until = |text: &mut String, wanted: &dyn Fn(&Value) -> bool| loop {
        let from = text.len();
        assert!(lines.read_line(text).expect("readable") > 0, "ended too early:\n{text}");
        let line: Value = serde_json::from_str(&text[from..]).expect("JSON");
        if wanted(&line) {
            return line;
        }
    };
    let cool = until(&mut text, &|l| l["type"] == "stats");
    assert_eq!((&cool["temp_c"], cool.get("throttled")), (&Value::from(45.0), None), "{cool}");
    temperature("78500\n");
    let hot = until(&mut text, &|l| l["type"] == "camera.degraded");
    assert_eq!((&hot["reason"], &hot["camera"]), (&Value::from("hot"), &Value::from("pattern")));
    let stats = until(&mut text, &|l| l["type"] == "stats");
    assert_eq!((&stats["temp_c"], &stats["throttled"]), (&Value::from(78.5), &Value::from(true)), "{stats}");
    temperature("45000\n");
    until(&mut text, &|l| l["type"] == "camera.online" && l["reason"] == "recovered");
    let stats = until(&mut text, &|l| l["type"] == "stats");
    assert_eq!(stats.get("throttled"), None, "{stats}");
    let kill = std::process::Command::new("kill").arg(child.id().to_string()).status();
    assert!(kill.is_ok_and(|s| s.success()));
    lines.read_to_string(&mut text).expect("readable");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    Stream::read(&text);
}
