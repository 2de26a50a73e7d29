//! Accuracy against latency over several models: what `eval coco --json` and `bench --json` said of each, in one picture.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::super::Failure;
use super::{escaped, read_json};
use crate::exit::Exit;

/// What is known of the models, by name.
#[derive(Default)]
pub(super) struct Models {
    /// AP, 0..=1.
    accuracy: BTreeMap<String, f64>,
    /// Median milliseconds of one inference by threads.
    latency: BTreeMap<(String, u64), f64>,
}

/// The picture, and the part of it between the axes.
const SIZE: (f64, f64) = (640.0, 440.0);
const LEFT: f64 = 50.0;
const RIGHT: f64 = 470.0;
const BOTTOM: f64 = 400.0;
const TOP: f64 = 20.0;
const COLOURS: [&str; 4] = ["#06c", "#c60", "#393", "#939"];

impl Models {
    pub(super) fn accuracy(&mut self, model: &str, ap: f64) {
        if ap >= 0.0 {
            self.accuracy.insert(model.to_owned(), ap);
        }
    }

    /// Takes in a result, whichever of the two it is.
    pub(super) fn read(&mut self, file: &Path) -> Result<(), Failure> {
        let value: Value = read_json(file)?;
        let before = self.accuracy.len() + self.latency.len();
        if let (Some(model), Some(ap)) = (value["model"].as_str(), value["stats"]["AP"].as_f64()) {
            self.accuracy(model, ap);
            return Ok(());
        }
        for row in value["rows"].as_array().into_iter().flatten() {
            let single = row["scenario"] == "single-stream" && row["batch"] == 1;
            let p50 = row["ours"]["summary"]["p50"].as_f64().filter(|ms| single && *ms > 0.0);
            if let (Some(name), Some(threads), Some(ms)) = (row["subject"].as_str(), row["threads"].as_u64(), p50) {
                self.latency.insert((name.to_owned(), threads), ms);
            }
        }
        if self.accuracy.len() + self.latency.len() == before {
            let wanted =
                "wanted what `eval coco --json` or `bench --json` (single-stream) printed, found something else";
            return Err(Failure::new(Exit::Source, format!("--beside {}: {wanted}", file.display())));
        }
        Ok(())
    }

    /// Model, threads, milliseconds and AP, of those of which both are known.
    fn points(&self) -> Vec<(&str, u64, f64, f64)> {
        let both = |((name, threads), ms): (&(String, u64), &f64)| {
            let (name, ap) = self.accuracy.get_key_value(name)?;
            Some((name.as_str(), *threads, *ms, *ap))
        };
        self.latency.iter().filter_map(both).collect()
    }

    /// A chapter of the page; empty where there is no model of which both are known.
    pub(super) fn svg(&self) -> String {
        let points = self.points();
        if points.is_empty() {
            return String::new();
        }
        let of = |f: fn(&(&str, u64, f64, f64)) -> f64| points.iter().map(f);
        let (least, most) = (of(|p| p.2).fold(f64::INFINITY, f64::min), of(|p| p.2).fold(0.0, f64::max));
        // Whole powers of two around the milliseconds, tenths above the highest AP.
        let (low, high) = (least.log2().floor(), (most.log2() + 0.01).ceil());
        let top = (of(|p| p.3).fold(0.0, f64::max) * 10.0).ceil().max(1.0) / 10.0;
        let x = |ms: f64| LEFT + (RIGHT - LEFT) * (ms.log2() - low) / (high - low);
        let y = |ap: f64| BOTTOM - (BOTTOM - TOP) * ap / top;
        let mut out = format!(
            "<h2>Accuracy and latency</h2><p>AP against the median of one inference (ms, powers of two); milliseconds of different runs or machines cannot be compared.</p><svg viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\">",
            SIZE.0, SIZE.1
        );
        // Writing to a String cannot fail.
        let mut line = low;
        while line <= high {
            let (at, ms) = (x(line.exp2()), line.exp2());
            let _ = write!(
                out,
                "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"416\" font-size=\"11\">{ms}</text>"
            );
            line += 1.0;
        }
        for tenth in 0..=(top * 10.0).round() as u32 {
            let (at, ap) = (y(f64::from(tenth) / 10.0), f64::from(tenth) / 10.0);
            let _ = write!(
                out,
                "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/><text x=\"20\" y=\"{at:.1}\" font-size=\"11\">{ap:.1}</text>"
            );
        }
        let threads: BTreeSet<u64> = points.iter().map(|p| p.1).collect();
        let colour = |n: u64| COLOURS[threads.iter().position(|t| *t == n).unwrap_or(0) % COLOURS.len()];
        for (name, n, ms, ap) in &points {
            let (cx, cy) = (x(*ms), y(*ap));
            let name = escaped(name);
            let _ = write!(
                out,
                "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\" fill=\"{0}\"><title>{name}: AP {ap:.3}, {ms:.2} ms</title></circle><text x=\"{1:.1}\" y=\"{2:.1}\" font-size=\"11\">{name}</text>",
                colour(*n),
                cx + 6.0,
                cy + 4.0
            );
        }
        for (i, n) in threads.iter().enumerate() {
            let unit = if *n == 1 { "thread" } else { "threads" };
            let _ = write!(
                out,
                "<text x=\"{}\" y=\"{}\" fill=\"{}\" font-size=\"12\">{n} {unit}</text>",
                RIGHT + 90.0,
                30 + 16 * i,
                colour(*n)
            );
        }
        out.push_str("</svg>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faster_lies_left_and_better_lies_above() {
        let mut models = Models::default();
        for (name, threads, ms, ap) in [("slow & good", 1, 40.0, 0.4), ("quick", 1, 5.0, 0.2), ("quick", 2, 3.0, 0.2)] {
            models.accuracy(name, ap);
            models.latency.insert((name.into(), threads), ms);
        }
        models.accuracy("not measured", 0.9);
        let svg = models.svg();
        let places: Vec<[f64; 2]> = svg
            .split("<circle ")
            .skip(1)
            .map(|c| {
                let of = |key: &str| c.split(key).nth(1)?.split('"').next()?.parse().ok();
                [of("cx=\"").expect("a number"), of("cy=\"").expect("a number")]
            })
            .collect();
        let [quick, quicker, slow] = places[..] else { panic!("{svg}") };
        assert!(quicker[0] < quick[0] && quick[0] < slow[0] && slow[1] < quick[1], "{places:?}");
        assert!(places.iter().all(|[x, y]| (LEFT..=RIGHT).contains(x) && (TOP..=BOTTOM).contains(y)));
        assert!(svg.contains("slow &amp; good") && !svg.contains("not measured"));
        assert!(Models::default().svg().is_empty());
    }
}
