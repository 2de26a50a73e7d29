//! What `eval coco` says: a table, JSON for scripts, a page that needs nothing but itself.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::eval::coco::{Found, Report, Truth, confusions};

/// Detections of at least this score count as a confusion.
const CONFUSION_SCORE: f64 = 0.3;

fn named(truth: &Truth, id: u64) -> &str {
    truth.categories.iter().find(|c| c.id == id).map_or("?", |c| c.name.as_str())
}

fn shown(value: f64) -> String {
    if value < 0.0 { "-".into() } else { format!("{value:.4}") }
}

pub(super) fn table(truth: &Truth, report: &Report) -> String {
    let mut out = String::from("| measure | value |\n| --- | --- |\n");
    // Writing to a String cannot fail.
    for (name, value) in Report::STATS.iter().zip(report.stats()) {
        let _ = writeln!(out, "| {name} | {} |", shown(value));
    }
    out.push_str("\n| class | AP | AP50 | AR100 |\n| --- | --- | --- | --- |\n");
    for (id, [ap, ap50, ar]) in report.classes() {
        let _ = writeln!(out, "| {} | {} | {} | {} |", named(truth, id), shown(ap), shown(ap50), shown(ar));
    }
    out
}

pub(super) fn json(truth: &Truth, report: &Report, model: &str) -> String {
    let stats: serde_json::Map<String, Value> =
        Report::STATS.iter().zip(report.stats()).map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
    let one = |(id, [ap, ap50, ar]): (u64, [f64; 3])| json!({ "id": id, "name": named(truth, id), "AP": ap, "AP50": ap50, "AR100": ar });
    let classes: Vec<Value> = report.classes().into_iter().map(one).collect();
    format!("{}\n", json!({ "model": model, "images": truth.images.len(), "stats": stats, "classes": classes }))
}

/// Text inside HTML.
pub(in crate::command) fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

/// `plot` is what [`super::plot::Models::svg`] drew; empty for none.
pub(super) fn html(truth: &Truth, found: &[Found], report: &Report, model: &str, plot: &str) -> String {
    let mut out =
        String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>porchlight eval coco</title>");
    out.push_str("<style>body{font:14px sans-serif;margin:2em}td,th{padding:.1em .8em;text-align:left}</style>");
    let _ = write!(
        out,
        "<h1>{}</h1><p>{} pictures, {} objects</p>",
        escaped(model),
        truth.images.len(),
        truth.annotations.len()
    );
    out.push_str("<table><tr>");
    for name in Report::STATS {
        let _ = write!(out, "<th>{name}");
    }
    out.push_str("<tr>");
    for value in report.stats() {
        let _ = write!(out, "<td>{}", shown(value));
    }
    out.push_str("</table><h2>Precision and recall</h2><svg viewBox=\"0 0 460 440\" width=\"460\" height=\"440\">");
    for k in 0..=10 {
        let (x, y) = (40 + k * 40, 400 - k * 40);
        let _ = write!(
            out,
            "<path d=\"M40 {y}H440M{x} 0V400\" stroke=\"#ddd\"/><text x=\"{x}\" y=\"418\" font-size=\"11\">{0:.1}</text><text x=\"8\" y=\"{y}\" font-size=\"11\">{0:.1}</text>",
            f64::from(k) / 10.0
        );
    }
    for (overlap, colour) in [(0, "#06c"), (5, "#c60"), (9, "#999")] {
        let points: Vec<String> = report
            .curve(overlap)
            .iter()
            .enumerate()
            .map(|(r, p)| format!("{:.1},{:.1}", 40.0 + 4.0 * r as f64, 400.0 - 400.0 * p.max(0.0)))
            .collect();
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"330\" y=\"{}\" fill=\"{colour}\" font-size=\"12\">overlap .{:02}</text>",
            points.join(" "),
            20 + 16 * overlap / 4,
            50 + 5 * overlap
        );
    }
    let _ = write!(out, "</svg>{plot}");
    out.push_str("<h2>Taken for another kind</h2><table><tr><th>there<th>found<th>times");
    for ((a, b), n) in confusions(truth, found, CONFUSION_SCORE).into_iter().take(20) {
        let _ = write!(out, "<tr><td>{}<td>{}<td>{n}", escaped(named(truth, a)), escaped(named(truth, b)));
    }
    out.push_str("</table><h2>Classes</h2><table><tr><th>class<th>AP<th>AP50<th>AR100");
    for (id, values) in report.classes() {
        let _ = write!(out, "<tr><td>{}", escaped(named(truth, id)));
        for v in values {
            let _ = write!(out, "<td>{}", shown(v));
        }
    }
    out.push_str("</table></html>\n");
    out
}
