//! One device: what it offers, and the way from a descriptor to a stream.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use super::negotiate::{Interval, Mode, Rates, Wish, choose, format_of, range_of};
use super::sys::{self, Filled, Intervals, Pix, Ring, Sizes, Steps};
use super::{Agreed, Driver, MULTI_PLANAR, NO_CAPTURE, Trouble};
use crate::decode::Limits;
use crate::event::CameraReason;
use crate::frame::{MonoNs, PixelFormat};
use crate::geom::Size;
use crate::source::Times;
use crate::source::opener::{Opener, is_absent};
use crate::source::{Kind, SourceError, pace};

/// Buffers asked of the driver: three to fill while one is being copied.
const BUFFERS: u32 = 4;
/// A driver that names more than this is not believed.
const MOST_FORMATS: u32 = 64;
const MOST_SIZES: u32 = 128;
const MOST_RATES: u32 = 64;

/// A camera and what it offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The card's name.
    pub card: String,
    /// Driver name.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
    /// What can be read of what it offers. Where any size goes, a few usual ones and the wanted one.
    pub modes: Vec<Mode>,
    /// Formats that it offers and that are not read here.
    pub others: Vec<String>,
}

/// Why a device cannot be used, with its name put in front.
pub(super) struct Named<'a>(pub(super) &'a str);

impl Named<'_> {
    /// An error of the system, with its meaning for a camera.
    pub(super) fn failed(&self, doing: &'static str, error: &io::Error) -> Trouble {
        let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        match errno {
            // The gatekeeper looked before we could.
            NO_CAPTURE => return self.unusable(OTHER_PURPOSE, NO_VIDEO),
            MULTI_PLANAR => return self.unusable(OTHER_PURPOSE, PLANES),
            _ => {}
        }
        let (kind, reason, hint) = match errno {
            _ if is_absent(error) => (Kind::Gone, CameraReason::Unplugged, "no such camera (unplugged?)"),
            _ if error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none() => {
                (Kind::Unusable, CameraReason::OpenFailed, "not a device; a file goes to --source")
            }
            Errno::BUSY => (Kind::Broken, CameraReason::Busy, "another program uses it; `fuser -v DEVICE` names it"),
            Errno::NOSPC => (
                Kind::Broken,
                CameraReason::NoBandwidth,
                "the USB bus has no room for it; lower size or rate, or use another port",
            ),
            Errno::IO => (Kind::Broken, CameraReason::DeviceError, "the camera or its cable failed"),
            Errno::ACCESS | Errno::PERM => {
                (Kind::Unusable, CameraReason::OpenFailed, "add this user to the group video")
            }
            Errno::NOTTY => (Kind::Unusable, CameraReason::OpenFailed, "not a V4L2 device"),
            _ => (Kind::Broken, CameraReason::DeviceError, "the driver refused"),
        };
        let problem = match error.raw_os_error() {
            Some(_) => format!("{error}; {hint}"),
            None => hint.to_owned(),
        };
        Trouble { error: SourceError::Camera { name: self.0.to_owned(), doing, problem, kind }, reason }
    }

    fn unusable(&self, doing: &'static str, problem: impl Into<String>) -> Trouble {
        let error =
            SourceError::Camera { name: self.0.to_owned(), doing, problem: problem.into(), kind: Kind::Unusable };
        Trouble { error, reason: CameraReason::OpenFailed }
    }
}

/// What to do about a node that is no camera.
const NO_VIDEO: &str = "the node does not capture video; try the camera's other /dev/video node";
/// What to do about a camera of the other of V4L2's two interfaces.
const PLANES: &str = "it captures into several planes, which is not supported; use a bridge such as v4l2loopback";

/// What refuses a node that is no camera.
pub(super) const OTHER_PURPOSE: &str = "use it as a camera";

/// Asks a device what it is and offers.
pub(super) fn offer(name: &str, fd: BorrowedFd<'_>, wanted: Size) -> Result<Offer, Trouble> {
    let named = Named(name);
    let caps = sys::caps(fd).map_err(|e| named.failed("ask what it is", &e))?;
    if !caps.captures {
        return Err(named.unusable(OTHER_PURPOSE, if caps.multi_planar { PLANES } else { NO_VIDEO }));
    }
    let mut modes = Vec::new();
    let mut others = Vec::new();
    for index in 0..MOST_FORMATS {
        let Ok(code) = sys::format_at(fd, index) else { break };
        let Some(format) = format_of(code) else {
            others.push(code.to_string());
            continue;
        };
        for size in sizes(fd, code, wanted) {
            modes.push(Mode { format, code, size, rates: rates(fd, code, size) });
        }
    }
    Ok(Offer { card: caps.card, driver: caps.driver, bus: caps.bus, modes, others })
}

fn sizes(fd: BorrowedFd<'_>, code: super::FourCc, wanted: Size) -> Vec<Size> {
    let mut found = Vec::new();
    for index in 0..MOST_SIZES {
        match sys::size_at(fd, code, index) {
            Ok(Sizes::One(width, height)) => found.push(Size::new(width, height)),
            Ok(Sizes::Range { width, height }) => {
                // The wanted size, the usual ones, and both ends.
                let usual = [(640, 480), (1280, 720), (1920, 1080), (0, 0), (u32::MAX, u32::MAX)];
                for (w, h) in [(wanted.width, wanted.height)].into_iter().chain(usual) {
                    found.push(Size::new(fit(w, width), fit(h, height)));
                }
                break;
            }
            Err(_) => break,
        }
    }
    // Drivers without that question have one size, the current one.
    if found.is_empty()
        && let Ok(current) = sys::format(fd)
    {
        found.push(Size::new(current.width, current.height));
    }
    found.retain(|size| size.width > 0 && size.height > 0);
    found.sort_by_key(|size| (size.pixels(), size.width));
    found.dedup();
    found
}

/// The number of the range next below `value`, or its ends.
fn fit(value: u32, range: Steps) -> u32 {
    let value = value.clamp(range.least, range.most.max(range.least));
    value - (value - range.least) % range.step.max(1)
}

fn rates(fd: BorrowedFd<'_>, code: super::FourCc, size: Size) -> Rates {
    let mut list = Vec::new();
    for index in 0..MOST_RATES {
        match sys::interval_at(fd, code, (size.width, size.height), index) {
            Ok(Intervals::One(interval)) => list.extend(interval.rate()),
            // The least interval is the fastest rate. An end that is no rate leaves the other.
            Ok(Intervals::Range { least, most }) => {
                return match (most.rate(), least.rate()) {
                    (Some(slowest), Some(fastest)) => Rates::Range(slowest.min(fastest), slowest.max(fastest)),
                    (one, other) => Rates::of_list(one.into_iter().chain(other).collect()),
                };
            }
            Err(_) => break,
        }
    }
    Rates::of_list(list)
}

/// Cameras of the kernel, through an [`Opener`].
pub(super) struct Kernel {
    pub(super) name: String,
    pub(super) opener: Box<dyn Opener>,
}

impl Kernel {
    /// Sets the mode that the rule picks, and obeys what the driver makes of it.
    fn negotiate(&self, fd: BorrowedFd<'_>, wish: &Wish, limits: &Limits) -> Result<Agreed, Trouble> {
        let named = Named(&self.name);
        let offer = offer(&self.name, fd, wish.size)?;
        let able: Vec<Mode> = offer.modes.into_iter().filter(|mode| limits.check(mode.size).is_ok()).collect();
        let Some((mode, why)) = choose(&able, wish) else {
            let wanted = wish.format.map_or("MJPG, YUYV, UYVY, NV12, YU12 or GREY", PixelFormat::name);
            let problem = format!("wanted {wanted}, it offers other formats: see `porchlight cameras`");
            return Err(named.unusable("find a mode", problem));
        };
        let asked = Pix {
            width: mode.size.width,
            height: mode.size.height,
            format: mode.code,
            stride: wish.stride,
            colour: sys::Colour::Unsaid,
        };
        let got = sys::set_format(fd, asked).map_err(|e| named.failed("set the format", &e))?;
        let Some(format) = format_of(got.format) else {
            let problem = "the driver gave a format that is not read: see `porchlight cameras`";
            return Err(named.unusable("set the format", problem));
        };
        let size = Size::new(got.width, got.height);
        limits.check(size).map_err(|e| named.unusable("set the format", e.to_string()))?;

        let wanted = mode.rate_for(wish.rate());
        // Drivers without a settable rate run at their own: asking is worth a try, failing is no error.
        let set = sys::set_interval(fd, Interval::of_rate(wanted)).ok().and_then(Interval::rate);
        let fps = set.unwrap_or(wanted);

        let mut adjusted = Vec::new();
        if format != mode.format {
            adjusted.push(format!("format {} instead of {}", format.name(), mode.format.name()));
        }
        if size != mode.size {
            adjusted.push(format!("size {size} instead of {}", mode.size));
        }
        if (fps - wanted).abs() > wanted * 0.01 {
            adjusted.push(format!("{fps:.2} instead of {wanted:.2} frames per second"));
        }
        Ok(Agreed {
            card: offer.card,
            why,
            adjusted: adjusted.join(", "),
            format,
            size,
            fps,
            stride: if format == PixelFormat::Mjpg { 0 } else { got.stride as usize },
            range: range_of(format, got.colour),
        })
    }
}

impl Driver for Kernel {
    type Stream = Ring;

    fn name(&self) -> &str {
        &self.name
    }

    fn open(&mut self, wish: &Wish, limits: &Limits) -> Result<(Agreed, Ring), Trouble> {
        let fd: OwnedFd = self.opener.open().map_err(|e| Named(&self.name).failed("open", &e))?;
        let agreed = self.negotiate(fd.as_fd(), wish, limits)?;
        let ring = Ring::start(fd, BUFFERS).map_err(|(doing, e)| Named(&self.name).failed(doing, &e))?;
        Ok((agreed, ring))
    }

    fn pull(
        &mut self,
        stream: &mut Ring,
        wait: Duration,
        passed: Option<&Times>,
        into: &mut Vec<u8>,
    ) -> Result<Option<Filled>, Trouble> {
        stream.pull(wait, passed, into).map_err(|e| Named(&self.name).failed("read a frame", &e))
    }

    fn holds(&self, stream: &Ring, agreed: &Agreed) -> bool {
        sys::format(stream.fd()).is_ok_and(|now| {
            let stride = if agreed.format == PixelFormat::Mjpg { 0 } else { now.stride as usize };
            format_of(now.format) == Some(agreed.format)
                && Size::new(now.width, now.height) == agreed.size
                && stride == agreed.stride
        })
    }

    fn now(&self) -> MonoNs {
        pace::now()
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_fits_into_any_range() {
        let range = |least, most, step| Steps { least, most, step };
        assert_eq!(fit(645, range(320, 1920, 16)), 640);
        assert_eq!((fit(0, range(320, 1920, 16)), fit(u32::MAX, range(320, 1920, 16))), (320, 1920));
        // What no driver should say.
        assert_eq!((fit(7, range(10, 5, 0)), fit(u32::MAX, range(0, u32::MAX, 0))), (10, u32::MAX));
    }

    #[test]
    fn errors_say_what_may_be_done() {
        let trouble = |errno| Named("/dev/video9").failed("open", &io::Error::from_raw_os_error(errno));
        let kind = |errno| trouble(errno).error.kind();
        assert_eq!([19, 6, 2].map(kind), [Kind::Gone; 3]);
        assert_eq!([5, 16, 22, 28].map(kind), [Kind::Broken; 4]);
        assert_eq!([13, 1, 25, 95, 93].map(kind), [Kind::Unusable; 5]);
        let of_planes = trouble(93).error.to_string();
        assert!(of_planes.contains("several planes") && !of_planes.contains("os error"), "{of_planes}");
        assert_eq!([16, 28].map(|errno| trouble(errno).reason), [CameraReason::Busy, CameraReason::NoBandwidth]);
        // Whatever it is, a sealed eye may say it.
        let phrases = crate::seal::phrases::Phrases::new(vec!["/dev/video9".into(), "front".into()]);
        for errno in 1..=133 {
            let line = format!("porchlight: camera 'front': {}", trouble(errno).error);
            assert!(phrases.pass(&line), "{line}");
        }
        let line = trouble(16).error.to_string();
        assert!(line.starts_with("/dev/video9: cannot open: ") && line.contains("fuser -v"), "{line}");
    }
}
