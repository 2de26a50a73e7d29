//! The kernel's side of a camera: ioctls and mapped buffers. The only user of the crate `v4l`, and the only unsafe code
//! outside the seal and foreign crates.
//!
//! Of the crate only the structures (made from the kernel's own headers) are used. Its `Device` cannot be made from a
//! descriptor that somebody else opened; its stream queues one buffer twice after a timeout, panics on answers it does not
//! know and in destructors, and leaks the descriptor of a stream that cannot be stopped.
//!
//! Everything here works on a descriptor and gives plain values; nothing panics, nothing waits but [`Ring::pull`], which says
//! how long. [`IOCTLS`] are all the requests ever made, for the seal.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Opcode, Updater, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use v4l::v4l_sys as raw;

use super::negotiate::{FourCc, Interval};
use crate::frame::MonoNs;
use crate::source::Times;

/// Whatever takes pictures. Not V4L2_CAP_VIDEO_OVERLAY: that is a camera which draws onto a screen, as old television cards did.
const SHOWING: u32 = raw::V4L2_CAP_VIDEO_OUTPUT
    | raw::V4L2_CAP_VIDEO_OUTPUT_MPLANE
    | raw::V4L2_CAP_VIDEO_OUTPUT_OVERLAY
    | raw::V4L2_CAP_VIDEO_M2M
    | raw::V4L2_CAP_VIDEO_M2M_MPLANE;
const CAPTURE: u32 = raw::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
const MAPPED: u32 = raw::v4l2_memory_V4L2_MEMORY_MMAP;
/// Most buffers taken of a driver that gives more than it was asked for.
const MOST_BUFFERS: u32 = 32;

const QUERYCAP: Opcode = opcode::read::<raw::v4l2_capability>(b'V', 0);
const ENUM_FMT: Opcode = opcode::read_write::<raw::v4l2_fmtdesc>(b'V', 2);
const G_FMT: Opcode = opcode::read_write::<raw::v4l2_format>(b'V', 4);
const S_FMT: Opcode = opcode::read_write::<raw::v4l2_format>(b'V', 5);
const REQBUFS: Opcode = opcode::read_write::<raw::v4l2_requestbuffers>(b'V', 8);
const QUERYBUF: Opcode = opcode::read_write::<raw::v4l2_buffer>(b'V', 9);
const QBUF: Opcode = opcode::read_write::<raw::v4l2_buffer>(b'V', 15);
const DQBUF: Opcode = opcode::read_write::<raw::v4l2_buffer>(b'V', 17);
const STREAMON: Opcode = opcode::write::<i32>(b'V', 18);
const STREAMOFF: Opcode = opcode::write::<i32>(b'V', 19);
const S_PARM: Opcode = opcode::read_write::<raw::v4l2_streamparm>(b'V', 22);
const ENUM_FRAMESIZES: Opcode = opcode::read_write::<raw::v4l2_frmsizeenum>(b'V', 74);
const ENUM_FRAMEINTERVALS: Opcode = opcode::read_write::<raw::v4l2_frmivalenum>(b'V', 75);

/// Every request that is ever made of a camera; a sealed process may be held to them.
pub const IOCTLS: [u32; 13] = [
    QUERYCAP,
    ENUM_FMT,
    G_FMT,
    S_FMT,
    REQBUFS,
    QUERYBUF,
    QBUF,
    DQBUF,
    STREAMON,
    STREAMOFF,
    S_PARM,
    ENUM_FRAMESIZES,
    ENUM_FRAMEINTERVALS,
];

/// A structure of the kernel's interface with every byte 0.
///
/// # Safety
/// `T` must be valid when all bytes are 0.
unsafe fn zeroed<T: Copy>() -> T {
    // SAFETY: promised by the caller.
    unsafe { std::mem::zeroed() }
}

/// The structures used here: integers, arrays and unions of integers, and raw pointers; all valid as zeros.
macro_rules! zero {
    ($name:ident) => {
        // SAFETY: bindgen's mirror of a C structure without references, function pointers or enums.
        unsafe { zeroed::<raw::$name>() }
    };
}

/// One ioctl. Interrupted calls are made again.
fn call<const OPCODE: Opcode, T: Copy>(fd: BorrowedFd<'_>, value: &mut T) -> io::Result<()> {
    rustix::io::retry_on_intr(|| {
        // SAFETY: every OPCODE above is made from the size of the structure that V4L2 documents for its number, all calls
        // below pass that structure, and the kernel writes at most that many bytes into it. `value` outlives the call.
        // Pointers inside (`v4l2_buffer::m`) are not followed for the memory kind that we use.
        unsafe { rustix::ioctl::ioctl(fd, Updater::<OPCODE, T>::new(value)) }
    })
    .map_err(io::Error::from)
}

/// A C text: up to its first 0, whatever bytes it has.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// What a node says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caps {
    pub(super) driver: String,
    pub(super) card: String,
    pub(super) bus: String,
    /// Captures video into one plane per buffer, which can be mapped.
    pub(super) captures: bool,
    /// Captures video, but in a way that is not read here.
    pub(super) multi_planar: bool,
    /// Shows what is written into it.
    pub(super) shows: bool,
}

/// The question what a node is: the one command that the gatekeeper has.
pub const WHAT_IS_IT: u32 = QUERYCAP;

pub(super) fn caps(fd: BorrowedFd<'_>) -> io::Result<Caps> {
    let mut caps = zero!(v4l2_capability);
    call::<QUERYCAP, _>(fd, &mut caps)?;
    // Of this node, not of the whole device, where the driver tells them apart.
    let own = caps.capabilities & raw::V4L2_CAP_DEVICE_CAPS != 0;
    let flags = if own { caps.device_caps } else { caps.capabilities };
    let streams = flags & raw::V4L2_CAP_STREAMING != 0;
    Ok(Caps {
        driver: text(&caps.driver),
        card: text(&caps.card),
        bus: text(&caps.bus_info),
        captures: streams && flags & raw::V4L2_CAP_VIDEO_CAPTURE != 0,
        multi_planar: streams && flags & raw::V4L2_CAP_VIDEO_CAPTURE_MPLANE != 0,
        shows: flags & SHOWING != 0,
    })
}

/// The `index`th pixel format; an error behind the last.
pub(super) fn format_at(fd: BorrowedFd<'_>, index: u32) -> io::Result<FourCc> {
    let mut found = raw::v4l2_fmtdesc { index, type_: CAPTURE, ..zero!(v4l2_fmtdesc) };
    call::<ENUM_FMT, _>(fd, &mut found)?;
    Ok(FourCc(found.pixelformat.to_le_bytes()))
}

/// A range of numbers with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) least: u32,
    pub(super) most: u32,
    pub(super) step: u32,
}

/// Sizes, as a driver tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    One(u32, u32),
    Range { width: Steps, height: Steps },
}

/// The `index`th size of a format.
pub(super) fn size_at(fd: BorrowedFd<'_>, format: FourCc, index: u32) -> io::Result<Sizes> {
    let pixel_format = u32::from_le_bytes(format.0);
    let mut found = raw::v4l2_frmsizeenum { index, pixel_format, ..zero!(v4l2_frmsizeenum) };
    call::<ENUM_FRAMESIZES, _>(fd, &mut found)?;
    // SAFETY: both variants are plain integers within the bytes that the kernel has filled (the rest is 0), so either
    // may be read; `type_` says which one is meant.
    let (one, range) = unsafe { (found.__bindgen_anon_1.discrete, found.__bindgen_anon_1.stepwise) };
    Ok(match found.type_ {
        raw::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE => Sizes::One(one.width, one.height),
        // Continuous is a step of 1.
        _ => Sizes::Range {
            width: Steps { least: range.min_width, most: range.max_width, step: range.step_width.max(1) },
            height: Steps { least: range.min_height, most: range.max_height, step: range.step_height.max(1) },
        },
    })
}

/// Frame intervals, as a driver tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intervals {
    One(Interval),
    Range { least: Interval, most: Interval },
}

/// The `index`th frame interval of a format and size.
pub(super) fn interval_at(
    fd: BorrowedFd<'_>,
    format: FourCc,
    (width, height): (u32, u32),
    index: u32,
) -> io::Result<Intervals> {
    let pixel_format = u32::from_le_bytes(format.0);
    let mut found = raw::v4l2_frmivalenum { index, pixel_format, width, height, ..zero!(v4l2_frmivalenum) };
    call::<ENUM_FRAMEINTERVALS, _>(fd, &mut found)?;
    // SAFETY: as in `size_at`.
    let (one, range) = unsafe { (found.__bindgen_anon_1.discrete, found.__bindgen_anon_1.stepwise) };
    let plain = |fraction: raw::v4l2_fract| Interval { num: fraction.numerator, den: fraction.denominator };
    Ok(match found.type_ {
        raw::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE => Intervals::One(plain(one)),
        _ => Intervals::Range { least: plain(range.min), most: plain(range.max) },
    })
}

/// The part of a format that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pix {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) format: FourCc,
    /// Bytes from row to row; 0 asks for as few as possible.
    pub(super) stride: u32,
    pub(super) colour: Colour,
}

/// What a driver says of the range of luma.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Colour {
    #[default]
    Unsaid,
    Full,
    Limited,
    /// No range, but the colour space of JPEG, which is full range.
    Jpeg,
}

pub(super) fn format(fd: BorrowedFd<'_>) -> io::Result<Pix> {
    let mut format = raw::v4l2_format { type_: CAPTURE, ..zero!(v4l2_format) };
    call::<G_FMT, _>(fd, &mut format)?;
    Ok(plain(&format))
}

/// Sets a format and gives back the one that the driver made of it.
pub(super) fn set_format(fd: BorrowedFd<'_>, wanted: Pix) -> io::Result<Pix> {
    let mut format = raw::v4l2_format { type_: CAPTURE, ..zero!(v4l2_format) };
    format.fmt.pix = raw::v4l2_pix_format {
        width: wanted.width,
        height: wanted.height,
        pixelformat: u32::from_le_bytes(wanted.format.0),
        field: raw::v4l2_field_V4L2_FIELD_ANY,
        bytesperline: wanted.stride,
        // Without this sign the kernel leaves the range out of its answer.
        priv_: raw::V4L2_PIX_FMT_PRIV_MAGIC,
        ..zero!(v4l2_pix_format)
    };
    call::<S_FMT, _>(fd, &mut format)?;
    Ok(plain(&format))
}

fn plain(format: &raw::v4l2_format) -> Pix {
    // SAFETY: the request was made for CAPTURE, for which the kernel fills this variant; it is integers all the same.
    let pix = unsafe { format.fmt.pix };
    let colour = match (pix.quantization, pix.colorspace) {
        (raw::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE, _) => Colour::Full,
        (raw::v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE, _) => Colour::Limited,
        (_, raw::v4l2_colorspace_V4L2_COLORSPACE_JPEG) => Colour::Jpeg,
        _ => Colour::Unsaid,
    };
    let format = FourCc(pix.pixelformat.to_le_bytes());
    Pix { width: pix.width, height: pix.height, format, stride: pix.bytesperline, colour }
}

/// Asks for a frame interval and gives back the one that the driver made of it.
pub(super) fn set_interval(fd: BorrowedFd<'_>, wanted: Interval) -> io::Result<Interval> {
    let mut parameters = raw::v4l2_streamparm { type_: CAPTURE, ..zero!(v4l2_streamparm) };
    let timeperframe = raw::v4l2_fract { numerator: wanted.num, denominator: wanted.den };
    parameters.parm.capture = raw::v4l2_captureparm { timeperframe, ..zero!(v4l2_captureparm) };
    call::<S_PARM, _>(fd, &mut parameters)?;
    // SAFETY: as in `plain`.
    let got = unsafe { parameters.parm.capture };
    if got.capability & raw::V4L2_CAP_TIMEPERFRAME == 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Interval { num: got.timeperframe.numerator, den: got.timeperframe.denominator })
}

/// One buffer that driver and process share.
struct Map {
    at: *mut c_void,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; only one thread at a time has the `Ring` that holds it.
unsafe impl Send for Map {}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: `at` and `length` are what mmap gave, nobody else unmaps them, and no reference into the mapping is ever
        // made (see `Ring::pull`). Failure leaves a mapping behind, which is harmless.
        let _ = unsafe { munmap(self.at, self.length) };
    }
}

/// A streaming device. Dropping it stops the stream, unmaps and frees the buffers and closes the descriptor, whatever state the
/// device is in.
pub(super) struct Ring {
    fd: OwnedFd,
    maps: Vec<Map>,
    /// Why a buffer could not be given back: told after the frame that was in it.
    failed: Option<io::Error>,
}

/// A frame that the driver gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    /// The driver's own count.
    pub(super) sequence: u32,
    /// When the driver says it was captured, on the monotonic clock; `None` for any other clock.
    pub(super) at: Option<MonoNs>,
    /// The driver says that the content is damaged. Nothing was copied.
    pub(super) broken: bool,
    /// How many bytes the driver gave.
    pub(super) bytes: usize,
    /// Whether they were left where they were, because nobody wants them.
    pub(super) passed: bool,
}

impl Ring {
    /// Gets buffers, maps and queues them and starts the stream.
    pub(super) fn start(fd: OwnedFd, buffers: u32) -> Result<Self, (&'static str, io::Error)> {
        let mut ring = Self { fd, maps: Vec::new(), failed: None };
        let mut request =
            raw::v4l2_requestbuffers { count: buffers, type_: CAPTURE, memory: MAPPED, ..zero!(v4l2_requestbuffers) };
        call::<REQBUFS, _>(ring.fd.as_fd(), &mut request).map_err(|e| ("get buffers", e))?;
        for index in 0..request.count.min(MOST_BUFFERS) {
            let map = ring.map(index).map_err(|e| ("map a buffer", e))?;
            ring.maps.push(map);
        }
        if ring.maps.is_empty() {
            return Err(("get buffers", io::ErrorKind::OutOfMemory.into()));
        }
        for index in 0..request.count.min(MOST_BUFFERS) {
            ring.queue(index).map_err(|e| ("queue a buffer", e))?;
        }
        let mut kind = CAPTURE as i32;
        call::<STREAMON, _>(ring.fd.as_fd(), &mut kind).map_err(|e| ("start streaming", e))?;
        Ok(ring)
    }

    /// The descriptor, for questions.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn map(&self, index: u32) -> io::Result<Map> {
        let mut buffer = raw::v4l2_buffer { index, type_: CAPTURE, memory: MAPPED, ..zero!(v4l2_buffer) };
        call::<QUERYBUF, _>(self.fd.as_fd(), &mut buffer)?;
        let length = buffer.length as usize;
        // SAFETY: a union of integers and a pointer, read as the integer that the kernel filled for MAPPED.
        let offset = unsafe { buffer.m.offset };
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no existing memory. A length of 0 or an
        // offset that is none is refused by the kernel.
        let at = unsafe {
            mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, self.fd.as_fd(), u64::from(offset))
        }?;
        Ok(Map { at, length })
    }

    fn queue(&self, index: u32) -> io::Result<()> {
        let mut buffer = raw::v4l2_buffer { index, type_: CAPTURE, memory: MAPPED, ..zero!(v4l2_buffer) };
        call::<QBUF, _>(self.fd.as_fd(), &mut buffer)
    }

    /// Waits up to `wait` for a frame and copies its bytes into `into`, cut at what the driver says is used; the buffer goes
    /// back to the driver before this returns, whatever happens in between. Of a frame of the `passed` times nothing is copied. `None`: no
    /// frame yet.
    ///
    /// # Errors
    /// What the device says. The stream is then of no use any more.
    pub(super) fn pull(
        &mut self,
        wait: Duration,
        passed: Option<&Times>,
        into: &mut Vec<u8>,
    ) -> io::Result<Option<Filled>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let patience = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut asked = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut asked, Some(&patience)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let failing = asked[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        let mut buffer = raw::v4l2_buffer { type_: CAPTURE, memory: MAPPED, ..zero!(v4l2_buffer) };
        match call::<DQBUF, _>(self.fd.as_fd(), &mut buffer) {
            Ok(()) => {}
            // Woken for nothing. With a sign of failure nothing would ever come, and this would spin.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !failing => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
            }
            Err(error) => return Err(error),
        }
        let broken = buffer.flags & raw::V4L2_BUF_FLAG_ERROR != 0;
        let monotonic = buffer.flags & raw::V4L2_BUF_FLAG_TIMESTAMP_MASK == raw::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        let at = match (u64::try_from(buffer.timestamp.tv_sec), u64::try_from(buffer.timestamp.tv_usec)) {
            (Ok(sec), Ok(usec)) if monotonic => {
                Some(MonoNs(sec.saturating_mul(1_000_000_000).saturating_add(usec.saturating_mul(1000))))
            }
            _ => None,
        };
        let passed = passed.zip(at).is_some_and(|(times, at)| times.contains(&at));
        into.clear();
        let mut bytes = 0;
        if let (Some(map), false) = (self.maps.get(buffer.index as usize), broken) {
            bytes = (buffer.bytesused as usize).min(map.length);
            let used = if passed { 0 } else { bytes };
            into.reserve(used);
            // SAFETY: `map` is a readable mapping of at least `used` bytes and `into` has room for as many; they are different
            // memory. The bytes are copied through pointers, never seen as a slice: a driver that writes into a buffer which is
            // ours can spoil the copy, but breaks no promise of the language. After the copy `used` bytes are initialised.
            unsafe {
                std::ptr::copy_nonoverlapping(map.at.cast::<u8>().cast_const(), into.as_mut_ptr(), used);
                into.set_len(used);
            }
        }
        self.failed = self.queue(buffer.index).err();
        Ok(Some(Filled { sequence: buffer.sequence, at, broken, bytes, passed }))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A device that is gone refuses all of this, which is as good.
        let mut kind = CAPTURE as i32;
        let _ = call::<STREAMOFF, _>(self.fd.as_fd(), &mut kind);
        self.maps.clear();
        let mut none = raw::v4l2_requestbuffers { type_: CAPTURE, memory: MAPPED, ..zero!(v4l2_requestbuffers) };
        let _ = call::<REQBUFS, _>(self.fd.as_fd(), &mut none);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that the kernel knows: a structure of another size would have another number.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn requests_have_the_kernels_numbers() {
        assert_eq!(
            IOCTLS,
            [
                0x8068_5600,
                0xc040_5602,
                0xc0d0_5604,
                0xc0d0_5605,
                0xc014_5608,
                0xc058_5609,
                0xc058_560f,
                0xc058_5611,
                0x4004_5612,
                0x4004_5613,
                0xc0cc_5616,
                0xc02c_564a,
                0xc034_564b,
            ]
        );
    }

    #[test]
    fn what_is_no_camera_is_an_error_and_no_crash() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(caps(file.as_fd()).is_err());
        assert!(format_at(file.as_fd(), 0).is_err() && format(file.as_fd()).is_err());
        assert!(Ring::start(OwnedFd::from(file), 4).is_err_and(|(doing, _)| doing == "get buffers"));
        assert_eq!(text(b"name\0rest"), "name");
        assert_eq!(text(&[0xff, 0x41]), "\u{fffd}A");
    }
}
