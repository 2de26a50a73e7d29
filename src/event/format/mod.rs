//! The same facts in the words of other systems. docs/formats.md maps every field.
//!
//! An adapter is a function of native lines that the gate has let pass: it stands behind the gate, in the process that sees no
//! pixels, and is given nothing else. So it cannot say more than the native lines do, whatever the eye has become, and the
//! bound on what passes the gate bounds every form of output.
//!
//! What an adapter must remember (objects that have not left) is bounded by [`MAX_OPEN`].

mod cloudevents;
mod frigate;
mod onvif;

use std::borrow::Cow;

use serde::Deserialize;

use crate::cli::Format;

/// Most objects that an adapter remembers at a time. More than that many at once is no scene but an eye gone astray: then the
/// oldest is told to have ended.
pub const MAX_OPEN: usize = 4096;

/// A native line, read: the keys that adapters look at.
#[derive(Debug, Deserialize)]
struct Native<'a> {
    boot: &'a str,
    seq: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    ts: &'a str,
    #[serde(borrow)]
    camera: Option<Cow<'a, str>>,
    track: Option<u64>,
    #[serde(borrow)]
    label: Option<Cow<'a, str>>,
    score: Option<f64>,
    #[serde(rename = "box")]
    bbox: Option<[f64; 4]>,
    moving: Option<bool>,
    dwell_ms: Option<u64>,
    #[serde(borrow)]
    zone: Option<Cow<'a, str>>,
    #[serde(borrow)]
    line: Option<Cow<'a, str>>,
    direction: Option<&'a str>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    similarity: Option<f64>,
    reason: Option<&'a str>,
    #[serde(borrow, default)]
    cameras: Vec<Camera<'a>>,
}

/// A camera, as `hello` (with its size) and `stats` (without) name it.
#[derive(Debug, Deserialize)]
struct Camera<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    width: u64,
    #[serde(default)]
    height: u64,
}

impl Native<'_> {
    /// Milliseconds since 1970; 0 for a time that is none, which an honest eye does not write.
    fn ms(&self) -> i64 {
        self.ts.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond)
    }

    fn camera(&self) -> &str {
        self.camera.as_deref().unwrap_or_default()
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or_default()
    }
}

/// A line that is no event; the gate lets none pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNative;

/// From native lines to lines of one format, in order.
#[derive(Debug)]
pub struct Adapter(Kind);

#[derive(Debug)]
enum Kind {
    Native,
    CloudEvents,
    Frigate(frigate::Told),
    Onvif(onvif::Told),
}

impl Adapter {
    /// For one life of an eye.
    pub fn new(format: Format) -> Self {
        Self(match format {
            Format::Native => Kind::Native,
            Format::CloudEvents => Kind::CloudEvents,
            Format::Frigate => Kind::Frigate(frigate::Told::default()),
            Format::Onvif => Kind::Onvif(onvif::Told::default()),
        })
    }

    /// Appends what a native line, with its newline, is in this format: whole lines, or none.
    ///
    /// # Errors
    /// [`NotNative`], and then nothing was appended.
    pub fn tell(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), NotNative> {
        if let Kind::Native = self.0 {
            out.extend_from_slice(line);
            return Ok(());
        }
        let native: Native<'_> = serde_json::from_slice(line).map_err(|_| NotNative)?;
        match &mut self.0 {
            Kind::Native => {}
            Kind::CloudEvents => cloudevents::wrap(&native, line, out),
            Kind::Frigate(told) => told.tell(&native, out),
            Kind::Onvif(told) => told.tell(&native, out),
        }
        Ok(())
    }

    /// Appends what ends everything that has not ended: the eye will say no more, and the formats without a `boot` have no
    /// other way to tell.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Native | Kind::CloudEvents => {}
            Kind::Frigate(told) => told.close(out),
            Kind::Onvif(told) => told.close(out),
        }
    }
}

/// Appends a value as one line.
fn put(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, nor can values of ours: all keys are text.
    let _ = serde_json::to_writer(&mut *out, value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
