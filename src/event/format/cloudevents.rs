//! CloudEvents 1.0, structured JSON, one event a line: the native line whole as `data`, and an envelope that brokers read.

use std::fmt::Write;

use super::Head;
use crate::event::TrackNo;
use crate::event::line::{Field, Kind, Line, Names, Words, fields, sealed};

fields! {
    Id => |v, out| write!(out, "\"{:016x}-{}\"", v.0, v.1);
    Type => |v, out| write!(out, "\"porchlight.{}\"", v.0.word());
    Subject => |v, out| write!(out, "\"track/{}\"", v.0.0);
    Source<'_> => |v, out| source(v.0, out);
}

/// Unique within its source: the run and the number of the line.
struct Id(u64, u64);

struct Type(Kind);

struct Subject(TrackNo);

struct Source<'a>(Option<&'a str>);

/// A URI reference: `/porchlight`, then the camera.
fn source(camera: Option<&str>, out: &mut String) -> std::fmt::Result {
    out.push_str("\"/porchlight");
    for byte in camera.map(|c| [b"/", c.as_bytes()]).into_iter().flatten().flatten() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => out.push(char::from(*b)),
            other => write!(out, "%{other:02X}")?,
        }
    }
    out.push('"');
    Ok(())
}

/// Puts `native`, a line whose fields are complete and which is not finished yet, into an envelope; replaces `out`.
pub fn wrap(head: &Head, names: &Names, native: &Line, out: &mut Line) {
    out.clear();
    let camera = head.camera.map(|c| names.camera(c).text());
    out.field("specversion", Words("1.0"))
        .field("id", Id(head.boot, head.seq))
        .field("source", Source(camera))
        .field("type", Type(head.kind));
    if let Some(track) = head.track {
        out.field("subject", Subject(track));
    }
    out.field("time", head.ts).field("datacontenttype", Words("application/json")).embed("data", native);
}
