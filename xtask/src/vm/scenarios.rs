//! The scenarios: a script for the guest and a judge of what it wrote down.

use super::record::{Record, Verdict, wanted};

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
pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "sizes",
    about: "YUYV at three sizes, rates set by S_PARM",
    short: true,
    patience: 150,
    script: script!("sizes"),
    judge: sizes,
}];

fn sizes(record: &Record) -> Verdict {
    for (id, width, height) in [("w320", 320, 180), ("w640", 640, 360), ("w1280", 1280, 720)] {
        record.exited(id, "0")?;
        record.sound(id)?;
        let hello = record.of(id, "hello");
        let hello = hello.first().ok_or("no hello")?;
        wanted(hello.number("width")? == width && hello.number("height")? == height, hello.text)?;
        wanted(hello.get("format") == Some("yuyv"), hello.text)?;
        wanted(record.with(id, "camera.online", "started").len() == 1, "one camera.online started")?;
        wanted(record.total(id, "front", "captured")? > 3, "more than 3 frames")?;
    }
    Ok(())
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
