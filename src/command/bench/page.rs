//! What `bench` says: a table, and a page that needs nothing but itself.

use std::fmt::Write;

use super::super::eval::escaped;
use super::{Compared, Report, Row, Side};
use crate::stats::Summary;

/// Bars of a histogram.
const BARS: usize = 60;
/// Points of a course.
const POINTS: usize = 600;

fn ms(v: f64) -> String {
    if v >= 100.0 { format!("{v:.0}") } else { format!("{v:.2}") }
}

fn maybe(v: Option<f64>, show: impl Fn(f64) -> String) -> String {
    v.map_or_else(|| "-".into(), show)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The cells of one side.
fn cells(side: &Side) -> Vec<String> {
    let s = side.summary;
    let of = |f: fn(&Summary) -> f64| maybe(s.as_ref().map(f), ms);
    vec![
        s.map_or_else(|| "0".into(), |s| s.n.to_string()),
        of(|s| s.p50),
        of(|s| s.p90),
        of(|s| s.p99),
        of(|s| s.p999),
        of(|s| s.max),
        s.map_or_else(|| "-".into(), |s| format!("{} ± {}", ms(s.mean), ms(s.sd))),
        format!("{:.1}", side.pictures_per_second),
        format!("{:.2}", side.cpu_ms_per_picture),
    ]
}

const HEAD: [&str; 9] = ["n", "p50 ms", "p90", "p99", "p99.9", "max", "mean ± sd", "pictures/s", "CPU ms/picture"];

/// Lines of text cells below each other; the first column is left-aligned, the others right-aligned.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |k: usize| rows.iter().filter_map(|r| r.get(k)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().fold(String::new(), |mut out, row| {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(k, (cell, w))| if k == 0 { format!("{cell:w$}") } else { format!("{cell:>w$}") })
            .collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
        out
    })
}

fn title(row: &Row) -> String {
    let batch = if row.batch > 1 { format!(", batch {}", row.batch) } else { String::new() };
    let pictures = if row.scenario == "multi-stream" { format!(" of {}", row.pictures) } else { String::new() };
    let threads = if row.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", row.threads) };
    format!("{}: {}{pictures}, {threads}{batch}", row.subject, row.scenario)
}

fn head(report: &Report) -> Vec<String> {
    let m = &report.machine;
    let temperature = match m.temp_c {
        [Some(before), Some(after)] => format!("{before:.0} to {after:.0} °C"),
        _ => "temperature unknown".into(),
    };
    let mut lines = vec![format!(
        "porchlight {}; {} processors ({}), governor {}, {temperature}, load {} at the start",
        report.porchlight,
        m.processors,
        m.processor.as_deref().unwrap_or("unknown"),
        m.governor.as_deref().unwrap_or("unknown"),
        maybe(m.load, |l| format!("{l:.2}")),
    )];
    lines.extend(report.runtime.as_ref().map(|r| format!("{}: {}", r.path, r.build)));
    lines
}

/// What else is known of a row, a line each.
fn notes(row: &Row) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(hash) = &row.sha256 {
        lines.push(format!("weights {hash}"));
    }
    if let Some(percent) = row.percent_of_bare {
        let interval = row.against_bare.map_or_else(String::new, |r| {
            format!("; by medians {:.1} % (95 %: {:.1} to {:.1})", r.ratio * 100.0, r.low * 100.0, r.high * 100.0)
        });
        lines.push(format!("{percent:.1} % of the bare session's rate{interval}"));
    }
    let cold = row.cold_start_ms.map_or_else(String::new, |[load, first]| {
        format!("cold start {} ms to load + {} ms for the first answer; ", ms(load), ms(first))
    });
    lines.push(format!(
        "{cold}memory {}; last part over first {}",
        megabytes(row.rss_bytes),
        maybe(row.last_over_first, |d| format!("{d:.3}"))
    ));
    if let Some(program) = &row.program {
        lines.extend(program.lines());
    }
    let why = row.judgement.remarks.join("; ");
    let colon = if why.is_empty() { "" } else { ": " };
    lines.push(format!("quality of the measurement: {}{colon}{why}", row.judgement.grade));
    lines
}

pub(super) fn table(report: &Report) -> String {
    let mut out: String = head(report).into_iter().map(|l| l + "\n").collect();
    for row in &report.rows {
        let heading = HEAD.iter().map(|h| (*h).to_owned());
        let mut rows = vec![std::iter::once(title(row)).chain(heading).collect::<Vec<_>>()];
        let mut side = |name: &str, side: &Side| {
            rows.push(std::iter::once(format!("  {name}")).chain(cells(side)).collect());
        };
        side(own_name(row), &row.ours);
        if let Some(bare) = &row.bare {
            side("bare session", bare);
        }
        out.push('\n');
        out.push_str(&aligned(&rows));
        for line in notes(row) {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

/// A model of which only the session is measured has nothing of ours in it.
fn own_name(row: &Row) -> &'static str {
    match (&row.program, &row.bare) {
        (Some(_), _) => "run",
        (None, Some(_)) => "ours",
        (None, None) => "bare session",
    }
}

pub(super) fn compared(all: &[Compared]) -> String {
    let mut rows = vec![["measurement", "time B/A", "95 %", "verdict"].map(str::to_owned).to_vec()];
    for c in all {
        let subject = if c.a == c.b { c.a.clone() } else { format!("{} / {}", c.a, c.b) };
        let threads = if c.threads[0] == c.threads[1] {
            c.threads[0].to_string()
        } else {
            format!("{}/{}", c.threads[0], c.threads[1])
        };
        rows.push(vec![
            format!("{subject}, {}, threads {threads}", c.scenario),
            c.time.map_or_else(|| "-".into(), |t| format!("{:.3}", t.ratio)),
            c.time.map_or_else(|| "-".into(), |t| format!("{:.3}..{:.3}", t.low, t.high)),
            c.verdict.clone(),
        ]);
    }
    aligned(&rows)
}

pub(super) fn html(report: &Report) -> String {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>porchlight bench</title><style>body{font:14px sans-serif;margin:2em}td,th{padding:.1em .8em;text-align:right}th:first-child,td:first-child{text-align:left}svg{margin:.5em 1em .5em 0}</style><h1>porchlight bench</h1>",
    );
    for line in head(report) {
        let _ = write!(out, "<p>{}</p>", escaped(&line));
    }
    for row in &report.rows {
        let _ = write!(out, "<h2>{}</h2><table><tr><th>", escaped(&title(row)));
        for name in HEAD {
            let _ = write!(out, "<th>{name}");
        }
        let sides: Vec<(&str, &str, &Side)> = std::iter::once((own_name(row), "#06c", &row.ours))
            .chain(row.bare.iter().map(|b| ("bare session", "#c60", b)))
            .collect();
        for (name, _, side) in &sides {
            let _ = write!(out, "<tr><td>{name}");
            for cell in cells(side) {
                let _ = write!(out, "<td>{cell}");
            }
        }
        out.push_str("</table><ul>");
        for line in notes(row) {
            let _ = write!(out, "<li>{}", escaped(&line));
        }
        out.push_str("</ul>");
        histogram(&mut out, &sides);
        course(&mut out, &sides);
    }
    out.push_str("</html>\n");
    out
}

/// How often which time was measured, up to the 99th percentile of the slower.
fn histogram(out: &mut String, sides: &[(&str, &str, &Side)]) {
    let of = |f: fn(&Summary) -> f64| sides.iter().filter_map(move |s| s.2.summary.as_ref().map(f));
    let (low, high) = (of(|s| s.min).fold(f64::INFINITY, f64::min), of(|s| s.p99).fold(0.0, f64::max));
    if !low.is_finite() || high <= low {
        return;
    }
    open(out, "how often", &format!("{} to {} ms (99 %)", ms(low), ms(high)));
    for (name, colour, side) in sides {
        let mut bars = [0u32; BARS];
        for v in side.turns.iter().flatten().filter(|v| **v <= high) {
            bars[(((v - low) / (high - low) * BARS as f64) as usize).min(BARS - 1)] += 1;
        }
        let most = f64::from(bars.iter().copied().max().unwrap_or(0).max(1));
        let points = bars
            .iter()
            .enumerate()
            .map(|(i, n)| (40.0 + 400.0 * (i as f64 + 0.5) / BARS as f64, 200.0 - 180.0 * f64::from(*n) / most));
        line(out, name, colour, points);
    }
    out.push_str("</svg>");
}

/// The samples in the order they were taken, from 0 to the greatest of what is shown.
fn course(out: &mut String, sides: &[(&str, &str, &Side)]) {
    // Of each stretch its greatest: an outlier must not fall between two points.
    let thin = |side: &Side| -> Vec<f64> {
        let all = side.turns.concat();
        all.chunks(all.len().div_ceil(POINTS).max(1)).map(|c| c.iter().copied().fold(0.0, f64::max)).collect()
    };
    let courses: Vec<Vec<f64>> = sides.iter().map(|s| thin(s.2)).collect();
    let high = courses.iter().flatten().copied().fold(0.0, f64::max);
    if high <= 0.0 || !high.is_finite() {
        return;
    }
    open(out, "course, greatest of each stretch", &format!("0 to {} ms", ms(high)));
    for ((name, colour, _), values) in sides.iter().zip(&courses) {
        let n = values.len().max(2) as f64 - 1.0;
        line(
            out,
            name,
            colour,
            values.iter().enumerate().map(|(i, v)| (40.0 + 400.0 * i as f64 / n, 200.0 - 180.0 * v / high)),
        );
    }
    out.push_str("</svg>");
}

fn open(out: &mut String, what: &str, range: &str) {
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 460 240\" width=\"460\" height=\"240\" role=\"img\"><path d=\"M40 20V200H440\" fill=\"none\" stroke=\"#999\"/><text x=\"40\" y=\"14\" font-size=\"12\">{what}</text><text x=\"40\" y=\"218\" font-size=\"11\">{range}</text>"
    );
}

fn line(out: &mut String, name: &str, colour: &str, points: impl Iterator<Item = (f64, f64)>) {
    let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = write!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"><title>{name}</title></polyline>",
        points.join(" ")
    );
}
