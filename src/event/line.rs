//! Writing one line: what a JSON line may hold is what implements [`Field`], and nobody outside can implement it.
//!
//! ```compile_fail
//! // A slice of bytes is no field ...
//! let mut line = porchlight::event::line::Line::new();
//! line.field("pixels", &[1u8, 2, 3][..]);
//! ```
//! ```compile_fail
//! // ... nor is text ...
//! let mut line = porchlight::event::line::Line::new();
//! line.field("note", String::from("who was at the door"));
//! ```
//! ```compile_fail
//! // ... nor a frame ...
//! let mut line = porchlight::event::line::Line::new();
//! line.field("frame", porchlight::frame::Frame::new());
//! ```
//! ```
//! // A number is.
//! let mut line = porchlight::event::line::Line::new();
//! line.field("seq", 7u64);
//! ```

use std::fmt::Write;

use super::TrackNo;
use crate::detection::{ClassId, Score};
use crate::geom::{Box2, Unit};
use crate::labels::Labels;

mod sealed {
    pub trait Sealed {}
}

/// A value that may stand in an event. Sealed: ids, numbers, boxes, scores, times and closed sets of words.
pub trait Field: sealed::Sealed {
    /// Appends the value as JSON.
    fn put(&self, out: &mut String);
}

macro_rules! fields {
    ($($ty:ty => |$v:ident, $out:ident| $body:expr;)+) => {$(
        impl sealed::Sealed for $ty {}
        impl Field for $ty {
            fn put(&self, $out: &mut String) {
                let $v = self;
                // Writing to a String cannot fail.
                let _ = $body;
            }
        }
    )+};
}

fields! {
    u64 => |v, out| write!(out, "{v}");
    u32 => |v, out| write!(out, "{v}");
    bool => |v, out| write!(out, "{v}");
    TrackNo => |v, out| write!(out, "{}", v.0);
    Score => |v, out| write!(out, "{:.3}", v.get());
    Box2<Unit> => |v, out| {
        let [x, y, w, h] = rounded(v);
        write!(out, "[{x:.4},{y:.4},{w:.4},{h:.4}]")
    };
    super::CameraReason => |v, out| write!(out, "\"{}\"", v.word());
    super::LeftReason => |v, out| write!(out, "\"{}\"", v.word());
    super::RevokedReason => |v, out| write!(out, "\"{}\"", v.word());
    super::Direction => |v, out| write!(out, "\"{}\"", v.word());
    super::DropCause => |v, out| write!(out, "\"{}\"", v.word());
    super::Part => |v, out| write!(out, "\"{}\"", v.word());
    super::FaultReason => |v, out| write!(out, "\"{}\"", v.word());
    super::ByeReason => |v, out| write!(out, "\"{}\"", v.word());
    super::SealState => |v, out| write!(out, "\"{}\"", v.word());
    super::SealRule => |v, out| write!(out, "\"{}\"", v.word());
    super::Seccomp => |v, out| write!(out, "\"{}\"", v.word());
    super::Way => |v, out| write!(out, "\"{}\"", v.word());
    Named<'_> => |v, out| put_text(v.0, out);
    Ratio => |v, out| if v.0.is_finite() { write!(out, "{:.2}", v.0) } else { write!(out, "0.00") };
    UtcMs => |v, out| write!(out, "\"{}\"", v);
    Hex64 => |v, out| write!(out, "\"{:016x}\"", v.0);
    Kind => |v, out| write!(out, "\"{}\"", v.0);
}

/// x, y, width and height in ten-thousandths steps, such that x + width and y + height stay within 1.
fn rounded(b: &Box2<Unit>) -> [f64; 4] {
    let cell = |v: f32| (f64::from(v.clamp(0.0, 1.0)) * 1e4).round();
    let (x0, y0, x1, y1) = (cell(b.x0), cell(b.y0), cell(b.x1), cell(b.y1));
    [x0 / 1e4, y0 / 1e4, (x1 - x0).max(0.0) / 1e4, (y1 - y0).max(0.0) / 1e4]
}

/// A rate or share, printed with two decimals.
#[derive(Clone, Copy, Debug)]
pub struct Ratio(pub f64);

/// Milliseconds since 1970 in UTC, printed as RFC 3339 with three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcMs(pub i64);

impl std::fmt::Display for UtcMs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Outside the calendar's range (years -9999 to 9999) the epoch is printed: a line must stay valid.
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{at:.3}")
    }
}

/// Sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex64(pub u64);

/// The `type` of a line.
#[derive(Clone, Copy, Debug)]
pub struct Kind(&'static str);

impl Kind {
    /// First line.
    pub const HELLO: Self = Self("hello");
    /// Counters.
    pub const STATS: Self = Self("stats");
    /// Last line.
    pub const BYE: Self = Self("bye");

    /// Of an event.
    pub const fn of(body: &super::Body) -> Self {
        Self(body.kind())
    }
}

/// A name out of a table that was filled before the first frame; see [`Names`].
#[derive(Clone, Copy, Debug)]
pub struct Named<'a>(&'a str);

/// The tables that ids are resolved against. Filled from cards and configuration; only persons can be added.
#[derive(Clone, Debug, Default)]
pub struct Names {
    cameras: Vec<String>,
    labels: Labels,
    persons: Vec<String>,
    zones: Vec<Vec<String>>,
    lines: Vec<Vec<String>>,
}

impl Names {
    /// Camera names in the order of their ids, and the labels.
    pub fn new(cameras: Vec<String>, labels: Labels) -> Self {
        Self { cameras, labels, persons: Vec::new(), zones: Vec::new(), lines: Vec::new() }
    }

    /// With the names of the gallery, in its order.
    #[must_use]
    pub fn with_persons(self, persons: Vec<String>) -> Self {
        Self { persons, ..self }
    }

    /// More persons, numbered on from those there are: the gallery changed.
    pub fn add_persons(&mut self, names: Vec<String>) {
        self.persons.extend(names);
    }

    /// The person's name, as enrolled; empty for an id that is not of this run.
    pub fn person(&self, id: super::PersonNo) -> Named<'_> {
        Named(self.persons.get(id.0 as usize).map_or("", String::as_str))
    }

    /// Adds the names of each camera's zones, and of its lines, in the order of their numbers.
    #[must_use]
    pub fn with_places(mut self, zones: Vec<Vec<String>>, lines: Vec<Vec<String>>) -> Self {
        (self.zones, self.lines) = (zones, lines);
        self
    }

    /// The name of a camera's zone; empty for one that is not of this run.
    pub fn zone(&self, camera: Option<crate::frame::CameraId>, zone: super::ZoneNo) -> Named<'_> {
        Named(place(&self.zones, camera, zone.0))
    }

    /// The name of a camera's line; empty for one that is not of this run.
    pub fn line(&self, camera: Option<crate::frame::CameraId>, line: super::LineNo) -> Named<'_> {
        Named(place(&self.lines, camera, line.0))
    }

    /// The camera's name; empty for an id that is not of this run.
    pub fn camera(&self, id: crate::frame::CameraId) -> Named<'_> {
        Named(self.cameras.get(usize::from(id.0)).map_or("", String::as_str))
    }

    /// The label's name.
    pub fn label(&self, id: ClassId) -> Named<'_> {
        Named(self.labels.name(id))
    }

    /// Names of all cameras.
    pub fn cameras(&self) -> &[String] {
        &self.cameras
    }
}

fn place(names: &[Vec<String>], camera: Option<crate::frame::CameraId>, no: u8) -> &str {
    let of_camera = camera.and_then(|c| names.get(usize::from(c.0)));
    of_camera.and_then(|n| n.get(usize::from(no))).map_or("", String::as_str)
}

/// JSON text with everything escaped that must be.
pub(crate) fn put_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// One JSON object in the making; the buffer is reused.
#[derive(Debug, Default)]
pub struct Line {
    text: String,
}

impl Line {
    /// An empty one.
    pub fn new() -> Self {
        Self { text: String::with_capacity(super::MAX_LINE) }
    }

    /// Forgets the last line.
    pub fn clear(&mut self) {
        self.text.clear();
    }

    /// Appends a key and its value.
    pub fn field(&mut self, key: &'static str, value: impl Field) -> &mut Self {
        self.key(key);
        value.put(&mut self.text);
        self
    }

    /// Appends a key with its value, or with `null`.
    pub fn nullable(&mut self, key: &'static str, value: Option<impl Field>) -> &mut Self {
        self.key(key);
        match value {
            Some(v) => v.put(&mut self.text),
            None => self.text.push_str("null"),
        }
        self
    }

    /// Appends a key and an object written by `inner`.
    pub fn object(&mut self, key: &'static str, inner: impl FnOnce(&mut Self)) -> &mut Self {
        self.key(key);
        self.text.push('{');
        inner(self);
        self.text.push('}');
        self
    }

    /// Appends a key and a list of values.
    pub fn list(&mut self, key: &'static str, values: impl IntoIterator<Item = impl Field>) -> &mut Self {
        self.key(key);
        self.text.push('[');
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            value.put(&mut self.text);
        }
        self.text.push(']');
        self
    }

    /// Appends a key and a list of objects, each written by `each`.
    pub fn objects<T>(
        &mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.key(key);
        self.text.push('[');
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.text.push(',');
            }
            self.text.push('{');
            each(self, item);
            self.text.push('}');
        }
        self.text.push(']');
        self
    }

    /// Bytes so far, without the closing brace and the newline.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// True before the first field.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn key(&mut self, key: &'static str) {
        let first = self.text.is_empty() || self.text.ends_with('{');
        if self.text.is_empty() {
            self.text.push('{');
        }
        if !first {
            self.text.push(',');
        }
        let _ = write!(self.text, "\"{key}\":");
    }

    /// Appends what another line began: used by [`crate::emit`] for text that is known before the first frame.
    pub(crate) fn text_before_frames(&mut self, key: &'static str, text: &str) -> &mut Self {
        self.key(key);
        put_text(text, &mut self.text);
        self
    }

    /// Closes the object and gives the line with its newline.
    pub fn finish(&mut self) -> &[u8] {
        if self.text.is_empty() {
            self.text.push('{');
        }
        self.text.push_str("}\n");
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_never_reach_over_the_edge() {
        let mut out = String::new();
        Box2::<Unit>::from_xyxy(0.99996, 0.33333, 1.0, 0.66666).put(&mut out);
        assert_eq!(out, "[1.0000,0.3333,0.0000,0.3334]");
    }

    #[test]
    fn times_are_rfc_3339_in_milliseconds() {
        assert_eq!(UtcMs(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(UtcMs(1_795_392_000_123).to_string(), "2026-11-23T00:00:00.123Z");
        assert_eq!(UtcMs(i64::MAX).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn names_are_escaped() {
        let mut out = String::new();
        put_text("a\"b\\c\nd\u{1}é", &mut out);
        assert_eq!(serde_json::from_str::<String>(&out).ok().as_deref(), Some("a\"b\\c\nd\u{1}é"));
    }

    #[test]
    fn commas_stand_between_fields_only() {
        let mut line = Line::new();
        line.field("a", 1u64).object("b", |l| {
            l.field("c", true).nullable("d", None::<u64>);
        });
        line.objects("e", [1u64, 2], |l, v| {
            l.field("f", v);
        });
        assert_eq!(line.finish(), b"{\"a\":1,\"b\":{\"c\":true,\"d\":null},\"e\":[{\"f\":1},{\"f\":2}]}\n");
    }
}
