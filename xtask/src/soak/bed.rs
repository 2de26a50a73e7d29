//! The half of a soak that has cameras: what the scenario `soak` of the test bed wrote down, judged.
//!
//! Run `a` has two cameras, one that is unplugged, fails and drops, and one of broken JPEG that falls silent; its clock is set, nobody
//! reads it, its machine is busy, its memory is short; and it is one process to the end. Run `b` loses its eye over and over.

use std::collections::BTreeMap;

use super::laws::{Laws, Use};
use super::{Half, Recovery};
use crate::vm::record::{Record, Verdict};

/// Longest time until all is well again after what a mark says, seconds. The contract promises two for a plug; the bed's machine is
/// emulated, has two processors that others use too, and shares them with everything else that is done to it here.
const BACK: [(&str, f64); 11] = [
    ("unplugged", 5.0),
    ("plugged in again", 10.0),
    ("the driver fails", 15.0),
    ("a camera that falls silent", 15.0),
    ("the clock set", 10.0),
    ("nobody reads stdout", 15.0),
    ("two busy programs", 15.0),
    ("no room for more memory", 30.0),
    ("the eye killed", 45.0),
    ("the eye out of memory", 45.0),
    ("the eye frozen", 60.0),
];

/// Everything about the record, for the report.
pub(super) fn half(record: Record) -> Half {
    let mut half = Half { name: "cameras", ..Half::default() };
    for id in ["a", "b"] {
        let mut laws = Laws::default();
        laws.clock_is_set = true;
        let mut torn = 0;
        for event in record.events(id) {
            // The guest's serial line is shared by all that write to it; what a kernel message tore is no line of ours.
            if event.text.is_empty() {
                torn += 1;
                continue;
            }
            laws.line(event.at, event.text);
        }
        laws.end(true);
        if torn > 0 {
            half.problems.push(format!("{id}: {torn} empty lines"));
        }
        half.problems.extend(laws.broken.drain(..).map(|law| format!("{id}: {law}")));
        if laws.lines < 10 {
            half.problems.push(format!("{id}: only {} lines", laws.lines));
        }
        half.streams.push((id.to_owned(), laws));
        half.problems.extend(record.exited(id, "0").err());
    }
    half.problems.extend(record.no_trouble().err());
    let killed: u64 =
        ["kill", "freeze", "starve"].map(|what| record.marks(&format!("did {what}")).len() as u64).iter().sum();
    match &half.streams[..] {
        [(_, a), (_, b)] => {
            if a.cut != 0 || b.cut != killed || killed == 0 {
                half.problems.push(format!("cut streams: a {}, b {}, wanted 0 and {killed} (not 0)", a.cut, b.cut));
            }
            if a.tracks == 0 {
                half.problems.push("a: nobody was ever seen".into());
            }
        }
        _ => half.problems.push("two streams wanted".into()),
    }
    recoveries(&record, &mut half);
    uses(&record, &mut half);
    half
}

/// As a verdict of the test bed.
pub(crate) fn judge(record: &Record) -> Verdict {
    let half = half(record.clone());
    match half.problems.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} problems, the first: {first}", half.problems.len())),
    }
}

/// `took WHAT SECONDS` marks of the script: it waits for what must come and says how long that took.
fn recoveries(record: &Record, half: &mut Half) {
    for (what, bound) in BACK {
        let marks = record.marks(&format!("took {what}:"));
        let mut entry = Recovery { times: 0, worst: 0.0, bound };
        for (at, seconds) in marks {
            let took: f64 = seconds.trim().parse().unwrap_or(f64::INFINITY);
            entry.times += 1;
            entry.worst = entry.worst.max(took);
            if took > bound {
                half.problems.push(format!("at {at} s: {what}: {took} s, allowed: {bound}"));
            }
        }
        // What is done by turns has no turn in a short soak.
        if entry.times == 0 && what != "the eye frozen" {
            half.problems.push(format!("{what}: was never done"));
        }
        half.recoveries.insert(what.to_owned(), entry);
    }
}

/// `use a WHEN WHO fds= threads= rss=` marks.
fn uses(record: &Record, half: &mut Half) {
    let mut uses: BTreeMap<String, Use> = BTreeMap::new();
    for (at, text) in record.marks("use") {
        let words: Vec<_> = text.split(' ').collect();
        let [id, _, who, held @ ..] = &words[..] else { continue };
        let number = |key: &str| held.iter().find_map(|w| w.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        let (Some(fds), Some(threads), Some(rss)) = (number("fds"), number("threads"), number("rss")) else { continue };
        let name = format!("{id} {who}");
        let entry = uses.entry(name.clone()).or_insert_with(|| Use { who: name, samples: Vec::new() });
        entry.samples.push((at, [fds, threads, rss]));
    }
    for who in ["a eye", "a gatekeeper", "a warden", "b warden"] {
        match uses.remove(who) {
            Some(held) => {
                half.problems.extend(held.is_flat().err());
                half.uses.push(held);
            }
            None => half.problems.push(format!("{who}: never looked at")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_record_is_no_success() {
        assert!(judge(&Record::default()).is_err());
    }

    #[test]
    fn what_took_too_long_is_said() {
        let text =
            "1.0 - mark took unplugged: 1\n2.0 - mark took unplugged: 9\n3.0 - mark took plugged in again: never\n";
        let mut half = Half::default();
        recoveries(&Record(crate::vm::record::read(text)), &mut half);
        assert_eq!((half.recoveries["unplugged"].times, half.recoveries["unplugged"].worst), (2, 9.0));
        assert!(half.problems.iter().any(|p| p.contains("unplugged: 9 s")), "{:?}", half.problems);
        assert!(half.problems.iter().any(|p| p.contains("plugged in again: inf s")), "{:?}", half.problems);
        assert!(half.problems.iter().any(|p| p.contains("the clock set: was never done")), "{:?}", half.problems);
    }
}
