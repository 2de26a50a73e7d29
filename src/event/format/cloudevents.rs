//! CloudEvents 1.0, structured JSON, one event a line: the native line whole as `data`, and an envelope that brokers read.

use std::fmt::Write;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Native, put};

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: &'a str,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

/// A URI reference: `/porchlight`, then the camera.
fn source(camera: Option<&str>) -> String {
    let mut out = String::from("/porchlight");
    for byte in camera.map(|c| [b"/", c.as_bytes()]).into_iter().flatten().flatten() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => out.push(char::from(*b)),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

/// Puts a native line into an envelope.
pub(super) fn wrap(native: &Native<'_>, line: &[u8], out: &mut Vec<u8>) {
    // As it stands, so that nothing is lost in translation; it was just read, so it can be read again.
    let Ok(data) = serde_json::from_slice::<&RawValue>(line) else { return };
    let envelope = Envelope {
        specversion: "1.0",
        // Unique within its source: the run and the number of the line.
        id: format!("{}-{}", native.boot, native.seq),
        source: source(native.camera.as_deref()),
        kind: format!("porchlight.{}", native.kind),
        subject: native.track.map(|t| format!("track/{t}")),
        time: native.ts,
        datacontenttype: "application/json",
        data,
    };
    put(&envelope, out);
}
