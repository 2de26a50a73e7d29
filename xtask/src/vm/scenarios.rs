//! The scenarios: a script for the guest and a judge of what it wrote down.

use super::record::{Event, Record, Verdict, wanted};

/// One scenario.
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) about: &'static str,
    /// Among those that run before every change lands.
    pub(crate) short: bool,
    /// Seconds after which its script is killed.
    pub(crate) patience: u32,
    /// The script.
    pub(crate) script: &'static str,
    /// What must be true of the record.
    pub(crate) judge: fn(&Record) -> Verdict,
}

macro_rules! script {
    ($name:literal) => {
        include_str!(concat!("../../vm/scenarios/", $name, ".sh"))
    };
}

/// All of them, in the order they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "cameras",
        about: "`porchlight cameras` with none, and with capture, output and loop-back nodes",
        short: true,
        patience: 60,
        script: script!("cameras"),
        judge: cameras,
    },
    Scenario {
        name: "sizes",
        about: "YUYV at three sizes, rates set by S_PARM",
        short: true,
        patience: 120,
        script: script!("sizes"),
        judge: sizes,
    },
    Scenario {
        name: "stride",
        about: "rows with padding: the same pixels as without",
        short: true,
        patience: 60,
        script: script!("stride"),
        judge: stride,
    },
    Scenario {
        name: "loopback",
        about: "known pictures as YUYV and MJPG: byte for byte, and the right track.* events of the real models",
        short: true,
        patience: 240,
        script: script!("loopback"),
        judge: loopback,
    },
    Scenario {
        name: "corrupt",
        about: "broken JPEG among whole ones: counted, and the stream goes on",
        short: true,
        patience: 90,
        script: script!("corrupt"),
        judge: corrupt,
    },
    Scenario {
        name: "faults",
        about: "error flags, STREAMON, REQBUFS and QBUF errors, fatal errors, drops, disconnect: recovered and accounted for",
        short: false,
        patience: 150,
        script: script!("faults"),
        judge: faults,
    },
    Scenario {
        name: "absent",
        about: "a camera that is not there at the start, and one that is in use",
        short: false,
        patience: 120,
        script: script!("absent"),
        judge: absent,
    },
    Scenario {
        name: "stall",
        about: "a camera that falls silent and wakes up",
        short: false,
        patience: 90,
        script: script!("stall"),
        judge: stall,
    },
    Scenario {
        name: "unplug",
        about: "a real unplug; back under another node while a stranger has the old one",
        short: true,
        patience: 120,
        script: script!("unplug"),
        judge: unplug,
    },
    Scenario {
        name: "several",
        about: "four cameras, one failing over and over",
        short: true,
        patience: 120,
        script: script!("several"),
        judge: several,
    },
    Scenario {
        name: "uvc",
        about: "a USB camera (uvcvideo, MJPEG) behind an emulated host controller, with real unplugs",
        short: false,
        patience: 120,
        script: script!("uvc"),
        judge: uvc,
    },
    Scenario {
        name: "seal",
        about: "what is enforced on this old kernel, on every thread; a killed eye and one that hangs are replaced; `check`",
        short: true,
        patience: 300,
        script: script!("seal"),
        judge: seal,
    },
    Scenario {
        name: "calls",
        about: "the system calls of sealed processes with a camera: those of the golden list, and every row that is for cameras",
        short: true,
        patience: 180,
        script: script!("calls"),
        judge: calls,
    },
    Scenario {
        name: "links",
        about: "a camera named by a link below /dev/v4l/by-id is found wherever the link leads",
        short: true,
        patience: 120,
        script: script!("links"),
        judge: links,
    },
    Scenario {
        name: "refused",
        about: "a node that only shows, and a camera that gives pictures in several planes: one clear line",
        short: true,
        patience: 90,
        script: script!("refused"),
        judge: refused,
    },
    Scenario {
        name: "clocks",
        about: "timestamps and sequence numbers that jump",
        short: false,
        patience: 120,
        script: script!("clocks"),
        judge: clocks,
    },
    Scenario {
        name: "storm10",
        about: "10 times unplugged and replugged: nothing grows",
        short: false,
        patience: 120,
        script: concat!("CYCLES=10\n", script!("storm")),
        judge: |record| storm(record, 10),
    },
    Scenario {
        name: "storm100",
        about: "100 times unplugged and replugged: nothing grows",
        short: false,
        patience: 600,
        script: concat!("CYCLES=100\n", script!("storm")),
        judge: |record| storm(record, 100),
    },
    Scenario {
        name: "soak",
        about: "the cameras' half of `cargo xtask soak`: plugs, drivers, silence, clocks, memory, killed eyes",
        short: false,
        // Beside the minutes that were asked for.
        patience: 240,
        script: script!("soak"),
        judge: crate::soak::judge_bed,
    },
];

/// The contract's two seconds, for offline after an unplug and for frames after a replug.
const PROMISED: f64 = 2.0;

fn cameras(record: &Record) -> Verdict {
    for id in ["none", "norun", "nopath"] {
        record.exited(id, "4")?;
        wanted(record.complaints(id).len() == 1, format!("{id}: one line, found {:?}", record.complaints(id)))?;
    }
    record.exited("text", "0")?;
    record.exited("json", "0")?;
    let text = record.text("text");
    for word in ["/dev/video0  vivid (vivid, platform:vivid", "/dev/video10", "yuyv", "run takes"] {
        wanted(text.contains(word), format!("{word:?} in: {text}"))?;
    }
    wanted(!text.contains("/dev/video1 "), format!("no output node in: {text}"))?;
    let json = record.text("json");
    for word in ["\"path\":\"/dev/video0\"", "\"driver\":\"vivid\"", "\"chosen\":{", "\"why\":\"the wanted size"] {
        wanted(json.contains(word), format!("{word:?} in: {json}"))?;
    }
    record.no_trouble()
}

fn sizes(record: &Record) -> Verdict {
    for (id, width, height) in [("w320", 320, 180), ("w640", 640, 360), ("w1280", 1280, 720)] {
        record.exited(id, "0")?;
        record.sound(id)?;
        let hello = record.of(id, "hello");
        let hello = hello.first().ok_or("no hello")?;
        wanted(hello.number("width")? == width && hello.number("height")? == height, hello.text)?;
        wanted(hello.get("format") == Some("yuyv"), hello.text)?;
        wanted(record.with(id, "camera.online", "started").len() == 1, "one camera.online started")?;
        wanted(record.total(id, "front", "captured")? > 8, "more than 8 frames")?;
        wanted(record.total(id, "front", "undecodable")? == 0, "no undecodable frame")?;
    }
    Ok(())
}

/// The values of `key=` in the `frame` lines of the tool `frames`.
fn values<'a>(record: &'a Record, id: &str, key: &str) -> Vec<&'a str> {
    let lines = record.0.iter().filter(|e| e.id == id && e.kind == "out");
    lines.filter_map(|e| e.text.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))).collect()
}

fn stride(record: &Record) -> Verdict {
    record.exited("tight", "0")?;
    record.exited("padded", "0")?;
    let (tight, padded) = (values(record, "tight", "pixels"), values(record, "padded", "pixels"));
    wanted(tight.len() == 3 && padded.len() == 3, format!("three frames each, found {tight:?} {padded:?}"))?;
    wanted(tight.iter().chain(&padded).all(|hash| *hash == tight[0]), format!("one picture: {tight:?} {padded:?}"))?;
    let strides = (values(record, "tight", "stride"), values(record, "padded", "stride"));
    wanted(strides.0.contains(&"1280") && strides.1.contains(&"2048"), format!("strides {strides:?}"))?;
    record.no_trouble()
}

fn loopback(record: &Record) -> Verdict {
    for (id, known) in [("raw", "rawhash"), ("jpg", "jpghash")] {
        record.exited(id, "0")?;
        let truth = (values(record, known, "bytes"), values(record, known, "hash"), values(record, known, "pixels"));
        let (bytes, hashes, pixels) =
            (values(record, id, "bytes"), values(record, id, "hash"), values(record, id, "pixels"));
        wanted(truth.0.len() == 1 && hashes.len() == 12, format!("{id}: one truth and 12 frames, found {hashes:?}"))?;
        // The loop-back device hands its first reader a buffer as long as any, with stale bytes behind the picture.
        let long = usize::from(bytes.first() != truth.0.first());
        wanted(hashes[long..].iter().all(|hash| *hash == truth.1[0]), format!("{id}: {hashes:?}, fed {:?}", truth.1))?;
        wanted(pixels.iter().all(|hash| *hash == truth.2[0]), format!("{id}: {pixels:?}, fed {:?}", truth.2))?;
    }
    for id in ["seeraw", "seejpg"] {
        record.exited(id, "0")?;
        record.sound(id)?;
        let appeared = record.of(id, "track.appeared");
        wanted(appeared.iter().all(|e| e.get("label") == Some("cat")), format!("{id}: cats only: {appeared:?}"))?;
        wanted(appeared.len() == 1, format!("{id}: one cat, found {}", appeared.len()))?;
    }
    Ok(())
}

fn corrupt(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    let (captured, broken) = (record.total("run", "front", "captured")?, record.total("run", "front", "undecodable")?);
    let displaced = record.total("run", "front", "displaced")?;
    // Three of seven are broken; what is displaced was never decoded.
    let share = broken as f64 / (captured - displaced).max(1) as f64;
    wanted(captured > 30 && (0.2..0.6).contains(&share), format!("{broken} broken of {}", captured - displaced))?;
    wanted(record.with("run", "camera.offline", "shutdown").len() == 1, "offline at the end")?;
    wanted(record.of("run", "camera.offline").len() == 1, "and only then")
}

fn faults(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    let broken = record.total("run", "front", "undecodable")?;
    wanted(broken == 3, format!("three frames with the error flag, found {broken}"))?;
    wanted(record.total("run", "front", "driver_gaps")? > 10, "gaps where buffers were dropped")?;
    let offline = record.of("run", "camera.offline");
    let reasons: Vec<_> = offline.iter().filter_map(|e| e.get("reason")).collect();
    let failures = reasons.iter().filter(|reason| **reason == "device_error").count();
    wanted(failures >= 5, format!("five failures of the device, found {reasons:?}"))?;
    wanted(reasons.contains(&"unplugged"), format!("one disconnect, found {reasons:?}"))?;
    let online = record.with("run", "camera.online", "recovered");
    wanted(online.len() == 6, format!("recovered six times, found {}", online.len()))?;
    for off in &offline[..offline.len() - 1] {
        let back = online.iter().find(|on| on.at > off.at).ok_or(format!("not back after {}", off.text))?;
        // A driver that fails is asked again after a pause that grows; only a camera that was plugged in again must be quick.
        let within = if off.get("reason") == Some("unplugged") { PROMISED } else { 3.0 * PROMISED };
        wanted(back.at - off.at < within, format!("back after {:.2} s: {}", back.at - off.at, off.text))?;
    }
    record.exited("count", "0")?;
    let numbers: Vec<u64> = values(record, "count", "driver").iter().filter_map(|n| n.parse().ok()).collect();
    let gaps = numbers.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
    wanted(numbers.len() == 40 && numbers.is_sorted() && gaps > 3, format!("40 counted frames with gaps: {numbers:?}"))
}

/// The first event behind a moment, and how long it took.
fn after<'a>(events: &[Event<'a>], at: f64, what: &str) -> Result<(Event<'a>, f64), String> {
    let found = events.iter().find(|event| event.at >= at).ok_or(format!("no {what} after {at} s"))?;
    Ok((*found, found.at - at))
}

/// Each of these marks is followed by such an event in time.
fn prompt(record: &Record, mark: &str, events: &[Event<'_>], what: &str) -> Verdict {
    for (at, _) in record.marks(mark) {
        let (_, took) = after(events, at, what)?;
        wanted(took < PROMISED, format!("{what} {took:.2} s after {mark} at {at} s"))?;
    }
    Ok(())
}

fn absent(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    wanted(record.with("run", "camera.offline", "absent").len() == 1, "offline absent, once")?;
    let online = record.with("run", "camera.online", "started");
    prompt(record, "plug", &online, "online")?;
    record.exited("second", "0")?;
    record.sound("second")?;
    wanted(record.with("second", "camera.offline", "busy").len() == 1, "offline busy, once")?;
    // It cannot stream while the other does, so it may only be early in the eyes of the script, which marks the end late.
    let online = record.with("second", "camera.online", "started");
    let (free, _) = *record.marks("free").first().ok_or("no mark")?;
    wanted(online.len() == 1 && online[0].at - free < PROMISED, format!("one online within 2 s of {free}: {online:?}"))
}

fn stall(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    let stalled = record.with("run", "camera.offline", "stalled");
    let (silent, _) = *record.marks("silent").first().ok_or("no mark")?;
    let (_, took) = after(&stalled, silent, "stalled")?;
    wanted(took < 4.0, format!("stalled after {took:.1} s"))?;
    wanted(record.with("run", "camera.online", "recovered").len() == 1, "online again")
}

fn unplug(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    prompt(record, "unplug", &record.with("run", "camera.offline", "unplugged"), "offline unplugged")?;
    prompt(record, "plug", &record.with("run", "camera.online", "recovered"), "online recovered")?;
    let nodes = record.marks("nodes");
    wanted(
        nodes.len() == 2 && nodes[0].1.trim() == "/dev/video0" && nodes[1].1 != nodes[0].1,
        format!("nodes {nodes:?}"),
    )?;
    flat(record, "before", "after")
}

/// In each of the three processes: descriptors and threads are the same, memory within 10 %.
fn flat(record: &Record, early: &str, late: &str) -> Verdict {
    let use_of = |when: &str, who: &str| -> Result<[u64; 3], String> {
        let marks = record.marks(&format!("use run {when} {who}"));
        let (_, text) = marks.first().ok_or(format!("no use {when} {who}"))?;
        let number = |key: &str| {
            let word = text.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            word.and_then(|n| n.parse().ok()).ok_or(format!("no {key} in {text}"))
        };
        Ok([number("fds")?, number("threads")?, number("rss")?])
    };
    for who in ["warden", "eye", "gatekeeper"] {
        let (before, after) = (use_of(early, who)?, use_of(late, who)?);
        // Kilobytes. The first cycles bring pages of the program into memory that had not been needed before.
        let grown = after[2] as f64 > before[2] as f64 * 1.1 + 3000.0;
        wanted(before[..2] == after[..2] && !grown, format!("{who}: fds, threads, rss: {before:?} then {after:?}"))?;
    }
    Ok(())
}

/// What Debian 12's kernel does not have of what is wanted.
const LACKING: &str = "\"missing\":[\"truncate\",\"tcp\",\"device_ioctl\",\"abstract_sockets\",\"signals\"]";

fn seal(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    let hellos = record.of("run", "hello");
    wanted(hellos.len() == 3, format!("three eyes, found {}", hellos.len()))?;
    for hello in &hellos {
        wanted(hello.text.contains("\"seal\":{\"state\":\"partial\",\"landlock_abi\":2,"), hello.text)?;
        wanted(hello.text.contains(LACKING), hello.text)?;
        wanted(hello.get("seccomp") == Some("enforced") && hello.get("network") == Some("denied"), hello.text)?;
    }
    let threads = record.marks("thread run");
    for who in ["eye", "gatekeeper"] {
        let of = threads.iter().filter(|(_, text)| text.starts_with(who)).count();
        wanted(of >= if who == "eye" { 10 } else { 2 }, format!("{who}: threads of two lives, found {threads:?}"))?;
    }
    let filtered = |text: &str| text.contains("nonewprivs=1") && text.trim_end().ends_with("seccomp=2");
    wanted(threads.iter().all(|(_, text)| filtered(text)), format!("a filter on each thread: {threads:?}"))?;
    // The last digit holds the way of access: O_RDONLY is 0.
    let loops = record.marks("camera");
    wanted(loops.len() == 1 && loops[0].1.ends_with('0'), format!("a loop-back device cannot be written: {loops:?}"))?;

    // Each life is a stream of its own.
    let events = record.events("run");
    let mut seq = 0;
    for event in &events {
        seq = if event.kind() == "hello" { 0 } else { seq };
        wanted(event.number("seq")? == seq && event.text.ends_with('}'), format!("line {seq} in: {}", event.text))?;
        seq += 1;
    }
    let faults: Vec<_> = record.of("run", "fault").iter().map(|e| (e.get("part"), e.get("reason"))).collect();
    wanted(faults == [(Some("eye"), Some("died")), (Some("eye"), Some("hung"))], format!("{faults:?}"))?;
    let online = record.of("run", "camera.online");
    for (mark, patience) in [("kill", 12.0), ("stop", 25.0)] {
        let (at, _) = *record.marks(mark).first().ok_or("no mark")?;
        let (_, took) = after(&online, at, "online")?;
        wanted(took < patience, format!("frames {took:.1} s after {mark}"))?;
    }
    wanted(events.last().is_some_and(|e| e.kind() == "bye"), "bye at the end")?;

    record.exited("check", "0")?;
    let check = record.text("check").replace([' ', '\n'], "");
    wanted(check.contains("\"ok\":true,\"landlock_abi\":2") || check.contains("\"landlock_abi\":2"), &check)?;
    wanted(!check.contains("\"ok\":false"), format!("each act as wanted: {check}"))?;
    wanted(check.matches("\"seen\":\"killed\"").count() >= 50, format!("50 acts that kill: {check}"))
}

/// The policy, as `tests/golden/syscalls.txt` has it: role, call, where it is used.
fn golden() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let lines = include_str!("../../../tests/golden/syscalls.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let (role, call, rest) = (words.next()?, words.next()?, words.next()?);
        Some((role, call, rest.split(": ").nth(1)?))
    })
}

fn calls(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    for role in ["eye", "gatekeeper"] {
        let marks = record.marks(&format!("calls {role}"));
        let (_, text) = marks.first().ok_or(format!("no recording of the {role}: is strace installed?"))?;
        let made: Vec<_> = text.split_whitespace().collect();
        let allowed =
            |call: &&&str| golden().any(|(r, c, _)| (r, c) == (role, **call)) || ["seccomp", "clone3"].contains(*call);
        let strange: Vec<_> = made.iter().filter(|call| !allowed(call)).collect();
        wanted(strange.is_empty(), format!("the {role} called {strange:?}"))?;
        let camera = golden().filter(|(r, _, seen)| *r == role && *seen == "with a camera");
        let unused: Vec<_> = camera.map(|(_, call, _)| call).filter(|call| !made.contains(call)).collect();
        wanted(unused.is_empty(), format!("the {role} never called {unused:?}: drop the rows"))?;
    }
    let asked = |role: &str| {
        let marks = record.marks(&format!("ioctls {role}"));
        marks.first().map(|(_, text)| text.split_whitespace().count()).unwrap_or_default()
    };
    // All 13 but VIDIOC_G_FMT, which is for drivers that change the format under us and for those without a list of sizes.
    wanted(asked("eye") == 12 && asked("gatekeeper") == 1, format!("{:?}", record.marks("ioctls")))
}

fn links(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    // The camera that was behind the link is known by then, and need not wait for the link to be made anew.
    prompt(record, "plug", &record.of("run", "camera.online"), "online")?;
    prompt(record, "unplug", &record.with("run", "camera.offline", "unplugged"), "offline unplugged")?;
    let online = record.of("run", "camera.online").len();
    wanted(online == 2, format!("online twice, found {online}"))?;
    record.exited("list", "0")?;
    let list = record.text("list");
    wanted(list.contains("/dev/v4l/by-id/usb-Porch_Cam-video-index0"), format!("the link in: {list}"))
}

fn refused(record: &Record) -> Verdict {
    for (id, word) in [("shows", "does not capture video"), ("planes", "several planes")] {
        record.exited(id, "4")?;
        let said = record.complaints(id);
        wanted(said.len() == 1 && said[0].contains(word), format!("{id}: one line with {word:?}, found {said:?}"))?;
        wanted(record.text(id).is_empty(), format!("{id}: no event"))?;
    }
    record.exited("list", "4")?;
    let said = record.complaints("list");
    wanted(said.len() == 1, format!("no camera that can be used: {said:?}"))
}

fn clocks(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    wanted(record.marks("set").len() >= 2, "controls that this driver has")?;
    let offline = record.of("run", "camera.offline");
    let strange = offline.iter().find(|e| !["device_error", "shutdown"].contains(&e.get("reason").unwrap_or_default()));
    wanted(strange.is_none(), format!("only what was injected: {strange:?}"))?;
    // Times of lines never run backwards, and never far from the guest's clock.
    let times: Vec<_> = record.of("run", "stats").iter().filter_map(|e| e.get("ts").map(str::to_owned)).collect();
    wanted(times.len() > 10 && times.is_sorted(), format!("times in order: {times:?}"))?;
    let gaps = record.total("run", "front", "driver_gaps")?;
    wanted(gaps < 30, format!("a sequence number that wraps is no gap of millions: {gaps}"))
}

fn several(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    for event in record.of("run", "camera.offline") {
        let (name, reason) = (event.get("camera"), event.get("reason"));
        wanted(name == Some("c2") || reason == Some("shutdown"), format!("only c2 fails: {}", event.text))?;
    }
    let failures = record.with("run", "camera.offline", "device_error").len();
    wanted(failures == 6, format!("six failures of c2, found {failures}"))?;
    let mut done = Vec::new();
    for name in ["c0", "c1", "c3"] {
        done.push(record.total("run", name, "still")? + record.total("run", name, "inferred")?);
    }
    let (least, most) = (done.iter().min().copied().unwrap_or(0), done.iter().max().copied().unwrap_or(0));
    wanted(least >= 5 && most <= 2 * least, format!("served evenly: {done:?}"))
}

fn uvc(record: &Record) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    let hello = record.of("run", "hello");
    wanted(hello.iter().any(|e| e.get("format") == Some("mjpg")), "MJPG in hello")?;
    let list = record.text("list");
    wanted(list.contains("Porch Cam") && list.contains("uvcvideo"), format!("the camera's name in: {list}"))?;
    record.exited("jpg", "0")?;
    let (known, found) = (values(record, "jpghash", "hash"), values(record, "jpg", "hash"));
    wanted(
        found.len() == 6 && found.iter().all(|hash| Some(hash) == known.first()),
        format!("{found:?}, sent {known:?}"),
    )?;
    // The driver hands out the frame that was on the wire when the plug was pulled, marked as broken.
    let broken = record.total("run", "front", "undecodable")?;
    wanted(broken <= 4, format!("at most one broken frame a stream, found {broken}"))?;
    prompt(record, "unplug", &record.with("run", "camera.offline", "unplugged"), "offline unplugged")?;
    prompt(record, "plug", &record.with("run", "camera.online", "recovered"), "online recovered")
}

fn storm(record: &Record, cycles: usize) -> Verdict {
    record.exited("run", "0")?;
    record.sound("run")?;
    let online = record.with("run", "camera.online", "recovered");
    wanted(online.len() == cycles, format!("{cycles} recoveries, found {}", online.len()))?;
    prompt(record, "unplug", &record.with("run", "camera.offline", "unplugged"), "offline unplugged")?;
    prompt(record, "plug", &online, "online recovered")?;
    flat(record, "early", "late")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_judge_refuses_an_empty_record() {
        for (place, scenario) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS[..place].iter().all(|other| other.name != scenario.name));
            assert!((scenario.judge)(&Record::default()).is_err(), "{}", scenario.name);
        }
    }
}
