//! A pattern that needs no file: `synth:WIDTHxHEIGHT@FPS[:FRAMES[:yuyv|rgb24]]`.
//!
//! A still gradient and a square that moves 4 pixels a frame: enough for benches and for tests of the flow. The same spec
//! gives the same bytes.

use super::{FrameSource, Pulled, Rate, SourceError, SourceInfo, Ticker};
use crate::decode::Limits;
use crate::frame::{CameraId, PixelFormat, Range, RawFrame};
use crate::geom::Size;

/// What a synthetic source's spec begins with.
pub const PREFIX: &str = "synth:";

/// The pattern source.
pub struct Synth {
    info: SourceInfo,
    size: Size,
    frames: Option<u64>,
    ticker: Ticker,
}

impl Synth {
    /// Reads a spec. Even widths only for yuyv (the default format).
    ///
    /// # Errors
    /// [`SourceError::Spec`].
    pub fn open(spec: &str, camera: CameraId, limits: &Limits) -> Result<Self, SourceError> {
        let wrong = |problem: &str| SourceError::Spec { spec: spec.to_owned(), problem: problem.to_owned() };
        let usage = || wrong("wanted synth:WIDTHxHEIGHT@FPS[:FRAMES[:yuyv|rgb24]], as in synth:1280x720@30:300");
        let mut parts = spec.strip_prefix(PREFIX).ok_or_else(usage)?.split(':');
        let (size, fps) = parts.next().and_then(|part| part.split_once('@')).ok_or_else(usage)?;
        let (width, height) = size.split_once('x').ok_or_else(usage)?;
        let size = Size::new(width.parse().map_err(|_| usage())?, height.parse().map_err(|_| usage())?);
        limits.check(size).map_err(|error| wrong(&error.to_string()))?;
        let fps = fps.parse().map_err(|_| usage())?;
        let rate = Rate::from_f64(fps).ok_or_else(|| wrong("the rate is outside 0.001 to 1000 per second"))?;
        let frames = parts.next().map(str::parse).transpose().map_err(|_| usage())?;
        let format = match parts.next() {
            None | Some("yuyv") if size.width.is_multiple_of(2) => PixelFormat::Yuyv,
            None | Some("yuyv") => return Err(wrong("an odd width; wanted an even one, or the format rgb24")),
            Some("rgb24") => PixelFormat::Rgb24,
            Some(_) => return Err(usage()),
        };
        if parts.next().is_some() {
            return Err(usage());
        }
        let info = SourceInfo { name: spec.to_owned(), size: Some(size), fps: rate.as_f64(), format, live: false };
        Ok(Self { info, size, frames, ticker: Ticker::new(camera, rate) })
    }
}

impl FrameSource for Synth {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn next(&mut self, mut data: Vec<u8>) -> Result<Pulled, SourceError> {
        if self.frames.is_some_and(|frames| self.ticker.count() >= frames) {
            return Ok(Pulled::End);
        }
        let stamp = self.ticker.tick();
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let bytes = if self.info.format == PixelFormat::Yuyv { 2 } else { 3 };
        data.resize(width * height * bytes, 0);
        let side = (height / 4).max(1).min(width);
        let left = (stamp.seq as usize).wrapping_mul(4) % (width - side + 1);
        let top = (height - side) / 2;
        for (y, row) in data.chunks_exact_mut(width * bytes).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(bytes).enumerate() {
                let inside = (left..left + side).contains(&x) && (top..top + side).contains(&y);
                let luma = if inside { 220 } else { (32 + (x + y) % 128) as u8 };
                match pixel {
                    [first, chroma] => (*first, *chroma) = (luma, 128),
                    _ => pixel.fill(luma),
                }
            }
        }
        Ok(Pulled::Frame(RawFrame {
            stamp,
            format: self.info.format,
            size: Some(self.size),
            stride: width * bytes,
            range: Range::Limited,
            data,
        }))
    }
}
