//! A first card for an unknown model: what its graph tells, and the best guess at the rest.
//!
//! The guess goes by names and dimensions alone, so every line that a person must decide says `DECIDE`. Nothing is run.

use std::fmt::Write;

use super::infer::{Graph, TensorInfo};

/// The opset of the default operators, from the head of an ONNX file: field 8 of `ModelProto`, whose field 1 is a domain
/// (empty for the default one) and field 2 a version (onnx.proto). `None` for what is no such file.
pub fn opset(bytes: &[u8]) -> Option<u64> {
    let mut at = bytes;
    while !at.is_empty() {
        let (field, value, rest) = field(at)?;
        at = rest;
        if field != 8 {
            continue;
        }
        let Value::Bytes(mut inner) = value else { return None };
        let (mut domain, mut version) = (&b""[..], None);
        while !inner.is_empty() {
            let (field, value, rest) = self::field(inner)?;
            inner = rest;
            match (field, value) {
                (1, Value::Bytes(name)) => domain = name,
                (2, Value::Number(n)) => version = Some(n),
                _ => {}
            }
        }
        if domain.is_empty() {
            return version;
        }
    }
    None
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// One field of a protobuf message: its number, its value, what follows.
fn field(bytes: &[u8]) -> Option<(u64, Value<'_>, &[u8])> {
    let (key, rest) = varint(bytes)?;
    let fixed = |n: usize| rest.get(n..).map(|rest| (key >> 3, Value::Fixed, rest));
    match key & 7 {
        0 => varint(rest).map(|(n, rest)| (key >> 3, Value::Number(n), rest)),
        1 => fixed(8),
        2 => {
            let (length, rest) = varint(rest)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((key >> 3, Value::Bytes(value), rest))
        }
        5 => fixed(4),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// The class names that some exporters put into the metadata, as a dictionary: `{0: 'person', 1: "bicycle"}`.
pub fn class_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(colon) = rest.find(':') {
        let value = rest[colon + 1..].trim_start();
        let Some(quote) = value.chars().next().filter(|c| matches!(c, '\'' | '"')) else { break };
        let Some(end) = value[1..].find(quote) else { break };
        names.push(value[1..=end].to_owned());
        rest = &value[end + 2..];
    }
    names
}

/// What is guessed of the output.
struct Guess {
    family: &'static str,
    tensors: Vec<String>,
    keys: String,
    classes: Option<usize>,
    task: &'static str,
}

const STRIDES: [u32; 3] = [8, 16, 32];

fn guess(outputs: &[TensorInfo], size: Option<[u32; 2]>) -> Guess {
    let cells = |s: u32| size.map(|[w, h]| i64::from(w.div_ceil(s)) * i64::from(h.div_ceil(s)));
    let all = STRIDES.iter().map(|s| cells(*s)).sum::<Option<i64>>();
    let is_all = |n: i64| all == Some(n);
    let detect = |family, keys: &str, classes: i64| Guess {
        family,
        tensors: outputs.iter().map(|o| o.name.clone()).collect(),
        keys: keys.to_owned(),
        classes: usize::try_from(classes).ok(),
        task: "detect",
    };
    let named = |part: &str| outputs.iter().any(|o| o.name == format!("{part}_8"));
    if outputs.len() == 12 && ["cls", "obj", "bbox", "kps"].iter().all(|p| named(p)) {
        let tensors = ["cls", "obj", "bbox", "kps"].map(|p| format!("{p}_{{stride}}")).to_vec();
        return Guess { tensors, task: "face", ..detect("stride-cls-obj-box-kps", "strides = [8, 16, 32]\n", 1) };
    }
    if let [one] = outputs {
        match one.dims[..] {
            [_, d] if d > 6 => {
                return Guess {
                    task: "embed # DECIDE: or reid",
                    ..detect("embedding", &format!("dimensions = {d}\n"), -1)
                };
            }
            [.., 6] if !one.dims.iter().rev().nth(1).is_some_and(|n| is_all(*n)) => {
                return detect("rows-box-score-class", "boxes = \"pixels\" # DECIDE: or unit\n", -1);
            }
            [_, n, k] if k > 5 && is_all(n) => {
                let keys = "boxes = \"cells\" # DECIDE: or pixels, without strides\nstrides = [8, 16, 32]\n";
                return detect("grid-box-obj-classes", keys, k - 5);
            }
            [_, k, n] if k > 4 && n > k => return detect("columns-box-classes", "", k - 4),
            [_, k, h, w] if k > 5 && h > 0 && w > 0 => {
                let stride = size.map_or(16, |s| s[0] / w.max(1) as u32);
                let keys = format!("strides = [{stride}]\nexponents = [1.0, 1.0] # DECIDE\n");
                return detect("planes-obj-box-classes", &keys, k - 5);
            }
            _ => {}
        }
    }
    // Levels: outputs of the same last dimension, one for each stride, finest first.
    let mut widths: Vec<i64> = outputs.iter().filter_map(|o| o.dims.last().copied()).collect();
    widths.sort_unstable();
    widths.dedup();
    let level = |width: i64| {
        let mut of: Vec<&TensorInfo> = outputs.iter().filter(|o| o.dims.last() == Some(&width)).collect();
        of.sort_by_key(|o| std::cmp::Reverse(o.dims.iter().rev().nth(1).copied()));
        of
    };
    let by_level = |order: &[i64]| -> Vec<String> {
        let groups: Vec<_> = order.iter().map(|w| level(*w)).collect();
        (0..3).flat_map(|k| groups.iter().filter_map(move |g| g.get(k)).map(|o| o.name.clone())).collect()
    };
    if outputs.len() == 9 && widths == [1, 4, 10] {
        let finest = level(1).first().and_then(|o| o.dims.iter().rev().nth(1).copied()).unwrap_or(0);
        let per_cell = cells(8).filter(|c| *c > 0).map_or(1, |c| finest / c);
        let keys = format!("strides = [8, 16, 32]\nper_cell = {per_cell}\nshift = 0.0 # DECIDE: or 0.5\n");
        return Guess { tensors: by_level(&[1, 4, 10]), task: "face", ..detect("points-cls-box-kps", &keys, 1) };
    }
    let scores = outputs.iter().find(|o| o.name.contains("cls")).and_then(|o| o.dims.last());
    if let ([a, b], 6, Some(classes)) = (&widths[..], outputs.len(), scores) {
        let sides = if a == classes { b } else { a };
        let tensors = by_level(&[*classes, *sides]);
        if *sides == 4 {
            let keys = "strides = [8, 16, 32]\nper_cell = 1 # DECIDE\nshift = 0.5 # DECIDE\n";
            return Guess { tensors, ..detect("points-cls-box-kps", keys, *classes) };
        }
        let keys = format!("strides = [8, 16, 32]\nbins = {}\nshift = 0.0 # DECIDE: pixels\n", sides / 4);
        return Guess { tensors, ..detect("stride-cls-dfl", &keys, *classes) };
    }
    if matches!(outputs.len(), 2..=4) && widths.iter().any(|w| matches!(w, 4 | 14)) {
        let part = |o: &TensorInfo| match o.dims.last() {
            Some(4) => "box",
            Some(14) => "box-kps",
            Some(10) => "kps",
            Some(1) => "quality",
            _ => "classes",
        };
        let classes = outputs.iter().find(|o| part(o) == "classes").and_then(|o| o.dims.last().copied());
        if outputs.len() > 2 || widths.contains(&2) {
            let parts: Vec<String> = outputs.iter().map(|o| format!("{:?}", part(o))).collect();
            let keys = format!(
                "parts = [{}]\nstrides = [8, 16, 32] # DECIDE\nsizes = [[16, 32], [64, 128], [256, 512]] # DECIDE\nclip = false # DECIDE\nvariances = [0.1, 0.2] # DECIDE\n",
                parts.join(", ")
            );
            let guess = detect("priors-box-classes # DECIDE: or corners-classes", &keys, classes.unwrap_or(-1));
            return Guess { task: "face # DECIDE: or detect", ..guess };
        }
        return detect("corners-classes", "boxes = \"unit\" # DECIDE: or pixels\n", classes.unwrap_or(-1));
    }
    detect("DECIDE", "# DECIDE: no layout that porchlight knows has these outputs, see models/README.md\n", -1)
}

/// A card as text, with `DECIDE` where a person must.
pub fn card(file: &str, sha256: &str, opset: Option<u64>, graph: &Graph) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = draft(file, sha256, opset, graph, &mut out);
    out
}

/// A text of the model's own as part of a comment.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

fn draft(file: &str, sha256: &str, opset: Option<u64>, graph: &Graph, out: &mut String) -> std::fmt::Result {
    let known = |key: &str| graph.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    writeln!(out, "# Drafted from the graph: everything marked DECIDE is a guess")?;
    if let Some(opset) = opset {
        writeln!(
            out,
            "# opset {opset}, made by {}",
            comment(graph.producer.as_deref().unwrap_or("nobody who says so"))
        )?;
    }
    for t in graph.inputs.iter().chain(&graph.outputs) {
        writeln!(out, "# {} {}", comment(&t.name), comment(&t.kind))?;
    }
    for (key, value) in graph.metadata.iter().filter(|(k, _)| k != "names") {
        writeln!(out, "# {} = {}", comment(key), comment(value))?;
    }
    let empty = TensorInfo { name: "DECIDE".into(), dims: Vec::new(), is_f32: false, kind: String::new() };
    let input = graph.inputs.first().unwrap_or(&empty);
    let nhwc = input.dims.last() == Some(&3);
    let side = |v: i64| u32::try_from(v).ok().filter(|v| *v > 0);
    let size = match input.dims[..] {
        [_, h, w, 3] if nhwc => side(w).zip(side(h)),
        [_, _, h, w] => side(w).zip(side(h)),
        _ => None,
    };
    let guess = guess(&graph.outputs, size.map(|(w, h)| [w, h]));
    let embeds = guess.family == "embedding";
    let quoted = |word: &str| match word.split_once(" # ") {
        Some((word, why)) => format!("{word:?} # {why}"),
        None => format!("{word:?}"),
    };
    writeln!(out, "task = {}\nfile = {file:?}\nsha256 = {sha256:?}", quoted(guess.task))?;
    writeln!(
        out,
        "licence = \"DECIDE\"{}",
        known("license").map_or_else(String::new, |l| format!(" # {}", comment(l)))
    )?;
    writeln!(
        out,
        "licence_file = \"LICENSE.txt\"\nsource = \"DECIDE\"\n# url = \"https://...\" # DECIDE: for `models pull`\n"
    )?;
    writeln!(out, "[input]\ntensor = {:?}\nlayout = {:?}", input.name, if nhwc { "nhwc" } else { "nchw" })?;
    match size {
        Some((w, h)) => writeln!(out, "size = [{w}, {h}]")?,
        None => writeln!(out, "size = {{ long_side = 640, multiple = 32 }} # DECIDE")?,
    }
    let fit = if embeds {
        "\"align\" # DECIDE: \"stretch\" for task reid"
    } else {
        "{ letterbox = 114, anchor = \"top-left\" } # DECIDE"
    };
    writeln!(out, "colour = \"rgb\" # DECIDE\nfit = {fit}\nresample = \"bilinear\"")?;
    writeln!(
        out,
        "scale = 1.0 # DECIDE: 0.00392156862745098 for 0..1\nmean = [0, 0, 0] # DECIDE\nstd = [1, 1, 1] # DECIDE\n"
    )?;
    let tensors: Vec<String> = guess.tensors.iter().map(|t| format!("{t:?}")).collect();
    writeln!(out, "[output]\nfamily = {}\ntensors = [{}]", quoted(guess.family), tensors.join(", "))?;
    out.push_str(&guess.keys);
    if !embeds {
        writeln!(out, "activation = \"applied\" # DECIDE\nlabels = \"labels.txt\"")?;
        writeln!(out, "score = 0.3 # DECIDE\nnms_iou = 0.5 # DECIDE")?;
    }
    writeln!(out, "\n[golden] # DECIDE: what an independent runtime answers to a picture")?;
    let names = known("names").map(class_names).unwrap_or_default();
    if !names.is_empty() {
        writeln!(out, "\n# labels.txt:")?;
        for name in &names {
            writeln!(out, "# {}", comment(name))?;
        }
    } else if let Some(n) = guess.classes.filter(|_| !embeds) {
        writeln!(out, "\n# labels.txt: {n} lines, DECIDE")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_are_read_from_a_dictionary() {
        assert_eq!(class_names("{0: 'person', 1: \"driver's cab\"}"), ["person", "driver's cab"]);
        for broken in ["", "{", "{0: person}", "{0: 'person", "{0:", "{0: '"] {
            assert!(class_names(broken).is_empty(), "{broken}");
        }
    }

    #[test]
    fn broken_files_have_no_opset() {
        // ir_version 8; opset_import { domain "ai.onnx.ml", version 3 }; opset_import { version 13 }.
        let mut good = vec![0x08, 8, 0x42, 14, 0x0a, 10];
        good.extend(b"ai.onnx.ml");
        good.extend([0x10, 3, 0x42, 2, 0x10, 13]);
        assert_eq!(opset(&good), Some(13));
        for cut in 0..good.len() {
            let _ = opset(&good[..cut]);
        }
        for broken in [&[0xff; 20][..], &[0x42, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0x43], b"not a model"] {
            assert_eq!(opset(broken), None);
        }
    }

    #[test]
    fn layouts_are_told_by_their_dimensions() {
        let t = |name: &str, dims: &[i64]| TensorInfo {
            name: name.into(),
            dims: dims.to_vec(),
            is_f32: true,
            kind: String::new(),
        };
        for (outputs, size, family, classes) in [
            (vec![t("o", &[1, 3549, 85])], [416, 416], "grid-box-obj-classes", Some(80)),
            (vec![t("o", &[1, 756, 6])], [192, 192], "grid-box-obj-classes", Some(1)),
            (vec![t("o", &[1, 84, 8400])], [640, 640], "columns-box-classes", Some(80)),
            (vec![t("o", &[1, 300, 6])], [640, 640], "rows-box-score-class", None),
            (vec![t("o", &[1, 85, 22, 22])], [352, 352], "planes-obj-box-classes", Some(80)),
            (vec![t("o", &[1, 512])], [112, 112], "embedding", None),
            (vec![t("o", &[7, 7, 7, 7, 7])], [112, 112], "DECIDE", None),
        ] {
            let found = guess(&outputs, Some(size));
            assert_eq!((found.family, found.classes), (family, classes));
        }
    }
}
