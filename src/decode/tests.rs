use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use proptest::prelude::*;

use super::*;
use crate::frame::{CameraId, Colours, MonoNs, Range, Stamp};

const RAW: [PixelFormat; 8] = [
    PixelFormat::Yuyv,
    PixelFormat::Uyvy,
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::I422,
    PixelFormat::I444,
    PixelFormat::Grey,
    PixelFormat::Rgb24,
];

fn stamp() -> Stamp {
    Stamp { camera: CameraId(3), seq: 7, driver_seq: 9, at: MonoNs(11) }
}

fn raw(format: PixelFormat, size: Option<Size>, stride: usize, range: Range, data: Vec<u8>) -> RawFrame {
    RawFrame { stamp: stamp(), format, size, stride, range, data }
}

fn encoded(format: PixelFormat, data: &[u8]) -> RawFrame {
    raw(format, None, 0, Range::Full, data.to_vec())
}

/// Decoding takes the bytes of a raw format; whoever wants them again has a copy.
fn copy(raw: &RawFrame) -> RawFrame {
    RawFrame { data: raw.data.clone(), ..*raw }
}

fn decode(raw: &RawFrame) -> Result<Frame, DecodeError> {
    let mut frame = Frame::new();
    Decoder::new(Limits::default()).decode(&mut copy(raw), &mut frame)?;
    assert_eq!(frame.stamp, raw.stamp);
    Ok(frame)
}

/// The pixel at (x, y).
fn at(frame: &Frame, x: u32, y: u32) -> [i32; 3] {
    let mut rgb = Vec::new();
    frame.part_to_rgb(crate::geom::Region { x, y, size: Size::new(1, 1) }, &mut rgb);
    std::array::from_fn(|channel| i32::from(rgb[channel]))
}

fn close(found: [i32; 3], wanted: [i32; 3], within: i32) -> bool {
    found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= within)
}

/// A picture without sharp edges and without symmetry.
fn gradient(width: u32, height: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| [(40 + x * 3 % 160) as u8, (60 + y * 5 % 140) as u8, (x * 2 + y) as u8 / 2 + 30];
    (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let pixels = gradient(width, height);
    JpegEncoder::new_with_quality(&mut out, 95).encode(&pixels, width, height, ExtendedColorType::Rgb8).unwrap();
    out
}

fn png(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
    let mut out = Vec::new();
    PngEncoder::new(&mut out).write_image(pixels, width, height, colour).unwrap();
    out
}

/// A JPEG without the segments of one marker.
fn without(jpeg: &[u8], marker: u8) -> Vec<u8> {
    let (mut out, mut at) = (jpeg[..2].to_vec(), 2);
    while jpeg[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != marker {
            out.extend_from_slice(&jpeg[at..end]);
        }
        at = end;
    }
    out.extend_from_slice(&jpeg[at..]);
    out
}

/// A JPEG with an EXIF orientation (1..8).
fn oriented(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut app1 = vec![0xff, 0xe1, 0, 34];
    app1.extend_from_slice(b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0");
    app1.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    [&jpeg[..2], &app1, &jpeg[2..]].concat()
}

// ---- raw formats ----

/// Planes of 8-bit samples at full resolution of each plane, and a reference conversion in floating point.
struct Yuv {
    size: Size,
    format: PixelFormat,
    range: Range,
}

impl Yuv {
    fn luma(&self, x: u32, y: u32) -> u8 {
        (20 + (x * 7 + y * 13) % 200) as u8
    }

    fn chroma(&self, x: u32, y: u32) -> (u8, u8) {
        ((60 + (x * 11 + y * 3) % 120) as u8, (200 - (x * 5 + y * 17) % 130) as u8)
    }

    /// Chroma coordinates of a pixel.
    fn sub(&self, x: u32, y: u32) -> (u32, u32) {
        match self.format {
            PixelFormat::I420 | PixelFormat::Nv12 => (x / 2, y / 2),
            PixelFormat::I444 => (x, y),
            _ => (x / 2, y),
        }
    }

    fn wanted(&self, x: u32, y: u32) -> [i32; 3] {
        let (cx, cy) = self.sub(x, y);
        let luma = f64::from(self.luma(x, y));
        let (u, v) = match self.format {
            PixelFormat::Grey | PixelFormat::Rgb24 => (0.0, 0.0),
            _ => (f64::from(self.chroma(cx, cy).0) - 128.0, f64::from(self.chroma(cx, cy).1) - 128.0),
        };
        let (luma, gain) = match self.range {
            _ if self.format == PixelFormat::Rgb24 => (luma, 1.0),
            Range::Full => (luma, 1.0),
            Range::Limited => ((luma - 16.0) * 255.0 / 219.0, 255.0 / 224.0),
        };
        let rgb = [luma + 1.402 * gain * v, luma - gain * (0.344136 * u + 0.714136 * v), luma + 1.772 * gain * u];
        rgb.map(|value| value.round().clamp(0.0, 255.0) as i32)
    }

    /// The bytes, with `pad` bytes of 0xee behind each row (twice a chroma row's where the format halves it).
    fn bytes(&self, pad: usize) -> (Vec<u8>, usize) {
        let Size { width, height } = self.size;
        let half = width.div_ceil(2);
        let mut out = Vec::new();
        let end = |out: &mut Vec<u8>, pad: usize| out.extend(std::iter::repeat_n(0xee, pad));
        let mut stride = 0;
        match self.format {
            PixelFormat::Yuyv | PixelFormat::Uyvy => {
                for y in 0..height {
                    for x in (0..half).map(|pair| pair * 2) {
                        let (u, v) = self.chroma(x / 2, y);
                        let (y0, y1) = (self.luma(x, y), self.luma(x + 1, y));
                        let order = if self.format == PixelFormat::Yuyv { [y0, u, y1, v] } else { [u, y0, v, y1] };
                        out.extend(order);
                    }
                    end(&mut out, pad);
                    stride = half as usize * 4 + pad;
                }
                out.truncate(out.len() - pad);
                return (out, stride);
            }
            PixelFormat::Rgb24 => {
                for y in 0..height {
                    (0..width).for_each(|x| out.extend([self.luma(x, y); 3]));
                    end(&mut out, pad);
                }
                out.truncate(out.len() - pad);
                return (out, width as usize * 3 + pad);
            }
            _ => {}
        }
        for y in 0..height {
            out.extend((0..width).map(|x| self.luma(x, y)));
            end(&mut out, pad);
        }
        stride = width as usize + pad;
        let (cw, ch) = match self.format {
            PixelFormat::I420 | PixelFormat::Nv12 => (half, height.div_ceil(2)),
            PixelFormat::I422 => (half, height),
            PixelFormat::I444 => (width, height),
            _ => (0, 0),
        };
        let cstride = match self.format {
            PixelFormat::I444 => stride,
            PixelFormat::Nv12 => stride.next_multiple_of(2),
            _ => stride.div_ceil(2),
        };
        let mut last_pad = pad;
        match self.format {
            PixelFormat::Grey => {}
            PixelFormat::Nv12 => {
                last_pad = cstride - cw as usize * 2;
                for y in 0..ch {
                    (0..cw).for_each(|x| out.extend([self.chroma(x, y).0, self.chroma(x, y).1]));
                    end(&mut out, last_pad);
                }
            }
            _ => {
                last_pad = cstride - cw as usize;
                for plane in 0..2 {
                    for y in 0..ch {
                        let pick = |(u, v)| if plane == 0 { u } else { v };
                        out.extend((0..cw).map(|x| pick(self.chroma(x, y))));
                        end(&mut out, last_pad);
                    }
                }
            }
        }
        out.truncate(out.len() - last_pad);
        (out, stride)
    }
}

#[test]
fn raw_formats_give_the_right_pixels_at_any_size_stride_and_range() {
    for format in RAW {
        for (width, height) in [(1, 1), (2, 2), (3, 3), (1, 5), (5, 1), (6, 4), (33, 7), (64, 2), (129, 5)] {
            for range in [Range::Limited, Range::Full] {
                for pad in [0, 1, 2, 31] {
                    let size = Size::new(width, height);
                    let yuv = Yuv { size, format, range };
                    let (data, stride) = yuv.bytes(pad);
                    let frame = decode(&raw(format, Some(size), stride, range, data)).unwrap();
                    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
                        let (found, wanted) = (at(&frame, x, y), yuv.wanted(x, y));
                        assert!(
                            close(found, wanted, 4),
                            "{format:?} {size} pad {pad} {range:?} ({x},{y}): {found:?}, wanted {wanted:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn black_white_and_red_are_what_video_says() {
    let yuyv = |y, u, v| {
        let data = [y, u, y, v].repeat(16);
        at(&decode(&raw(PixelFormat::Yuyv, Some(Size::new(32, 1)), 64, Range::Limited, data)).unwrap(), 3, 0)
    };
    assert!(close(yuyv(16, 128, 128), [0, 0, 0], 1));
    assert!(close(yuyv(235, 128, 128), [255, 255, 255], 1));
    assert!(close(yuyv(81, 90, 240), [255, 0, 0], 2));
    let grey = |range| at(&decode(&raw(PixelFormat::Grey, Some(Size::new(1, 1)), 1, range, vec![16])).unwrap(), 0, 0);
    assert_eq!(grey(Range::Full), [16, 16, 16]);
    assert_eq!(grey(Range::Limited), [0, 0, 0]);
}

#[test]
fn a_raw_frame_that_is_too_short_is_refused_at_every_length() {
    for format in RAW {
        let size = Size::new(7, 5);
        let (data, stride) = Yuv { size, format, range: Range::Full }.bytes(3);
        for length in 0..data.len() {
            let cut = raw(format, Some(size), stride, Range::Full, data[..length].to_vec());
            match decode(&cut) {
                Err(DecodeError::Missing { found, wanted, .. }) => assert_eq!((found, wanted), (length, data.len())),
                other => panic!("{format:?} with {length} of {} bytes: {other:?}", data.len()),
            }
        }
        let longer = [data.as_slice(), &[9; 100]].concat();
        assert!(decode(&raw(format, Some(size), stride, Range::Full, longer)).is_ok(), "bytes behind the frame");
    }
}

#[test]
fn absurd_raw_headers_are_refused() {
    for format in RAW {
        let try_it =
            |size, stride, length| decode(&raw(format, size, stride, Range::Full, vec![1; length])).map(|_| ());
        let size = |width, height| Some(Size::new(width, height));
        assert!(matches!(try_it(None, 0, 100), Err(DecodeError::NoSize { .. })));
        assert!(matches!(try_it(size(0, 5), 8, 100), Err(DecodeError::Empty { .. })));
        assert!(matches!(try_it(size(u32::MAX, u32::MAX), 8, 100), Err(DecodeError::TooLarge { .. })));
        assert!(matches!(try_it(size(8, 8), 3, 4000), Err(DecodeError::Stride { found: 3, .. })));
        assert!(matches!(try_it(size(8, 8), usize::MAX, 4000), Err(DecodeError::Missing { .. })));
        // One row: its stride is never used, so that an absurd one is no harm (grey and packed formats have no more).
        assert!(!matches!(try_it(size(8, 1), usize::MAX, 4000), Err(DecodeError::Codec { .. })));
    }
}

#[test]
fn a_raw_frames_bytes_go_into_the_frame_and_its_old_ones_come_back() {
    let size = Size::new(64, 48);
    let (data, stride) = Yuv { size, format: PixelFormat::Nv12, range: Range::Full }.bytes(0);
    let (mut first, mut second) =
        [data.clone(), data].map(|data| raw(PixelFormat::Nv12, Some(size), stride, Range::Full, data)).into();
    let (one, two) = (first.data.as_ptr(), second.data.as_ptr());
    let (mut decoder, mut frame) = (Decoder::default(), Frame::new());
    decoder.decode(&mut first, &mut frame).unwrap();
    assert_eq!(frame.channels()[0].data.as_ptr(), one);
    decoder.decode(&mut second, &mut frame).unwrap();
    assert_eq!((frame.channels()[0].data.as_ptr(), second.data.as_ptr()), (two, one));
    // One that is refused keeps its bytes.
    second.size = Some(Size::new(64, 4000));
    assert!(decoder.decode(&mut second, &mut frame).is_err());
    assert_eq!(second.data.as_ptr(), one);
}

// ---- JPEG ----

#[test]
fn a_peek_sees_the_luma_of_the_decoded_frame() {
    // From 1280 pixels on the means of blocks serve.
    for (width, height) in [(70, 42), (1280, 40), (1283, 21)] {
        let raw = encoded(PixelFormat::Mjpg, &jpeg(width, height));
        let frame = decode(&raw).unwrap();
        let mut decoder = Decoder::new(Limits::default());
        let (luma, size) = decoder.luma(&raw).unwrap().expect("a JPEG has it");
        assert_eq!(size, Size::new(width, height));
        let whole = frame.luma().expect("a JPEG has it").channel;
        let samples = |c: &crate::frame::Channel<'_>| {
            let (w, h) = (c.size.width as usize, c.size.height as usize);
            (0..h).flat_map(|y| (0..w).map(move |x| (x, y))).map(|(x, y)| c.at(x, y)).collect::<Vec<_>>()
        };
        assert_eq!(luma.channel.size, whole.size);
        assert_eq!(samples(&luma.channel), samples(&whole));
        let every = if width < 1280 { 1 } else { 8 };
        assert_eq!(whole.size, Size::new(width.div_ceil(every), height.div_ceil(every)));
        // It is the luma of its colours.
        let rgb = frame.to_rgb();
        for (i, y) in samples(&whole).into_iter().enumerate().filter(|_| every == 1) {
            let p = &rgb[i * 3..][..3];
            let wanted = (77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2])) / 256;
            assert!(u32::from(y).abs_diff(wanted) <= 3, "{y} {p:?}");
        }
    }
    let raw = encoded(PixelFormat::Mjpg, &jpeg(70, 42));
    let mut decoder = Decoder::new(Limits::default());
    assert_eq!(check(&raw, &Limits::default()), Ok(()));
    for end in 0..raw.data.len() {
        let cut = encoded(PixelFormat::Mjpg, &raw.data[..end]);
        assert!(decoder.luma(&cut).is_err() && check(&cut, &Limits::default()).is_err(), "{end}");
    }
}

#[test]
fn a_jpeg_decodes_to_its_picture_whatever_follows_it() {
    let file = jpeg(40, 24);
    let pixels = gradient(40, 24);
    let whole = decode(&encoded(PixelFormat::Mjpg, &file)).unwrap();
    assert_eq!(whole.size(), Size::new(40, 24));
    assert!(whole.to_rgb().iter().zip(&pixels).all(|(a, b)| a.abs_diff(*b) <= 12));
    for tail in [vec![0; 5000], jpeg(8, 8), vec![0xff; 64]] {
        let long = [file.clone(), tail].concat();
        assert_eq!(decode(&encoded(PixelFormat::Mjpg, &long)).unwrap().to_rgb(), whole.to_rgb());
    }
}

#[test]
fn a_jpeg_without_huffman_tables_gets_the_standard_ones() {
    let file = jpeg(40, 24);
    let bare = without(&file, 0xc4);
    assert!(bare.len() < file.len());
    let frame = decode(&encoded(PixelFormat::Mjpg, &bare)).unwrap();
    assert_eq!(frame.to_rgb(), decode(&encoded(PixelFormat::Mjpg, &file)).unwrap().to_rgb());
    // Stills have another decoder, which gets them too.
    let (with, without) = (encoded(PixelFormat::Still, &file), encoded(PixelFormat::Still, &bare));
    let pairs = decode(&with).unwrap().to_rgb().into_iter().zip(decode(&without).unwrap().to_rgb());
    assert!(pairs.into_iter().all(|(a, b)| a.abs_diff(b) <= 6));
}

#[test]
fn a_cut_jpeg_is_refused_at_every_length() {
    let file = jpeg(24, 40);
    for format in [PixelFormat::Mjpg, PixelFormat::Still] {
        assert!(decode(&encoded(format, &file)).is_ok());
        for length in 0..file.len() {
            let result = decode(&encoded(format, &file[..length]));
            assert!(result.is_err(), "{format:?} with {length} of {} bytes", file.len());
        }
    }
}

#[test]
fn a_jpeg_that_lost_rows_but_kept_its_end_marker_is_refused() {
    // What a camera sends when the bus loses a packet. The codec alone would fill the rest with grey.
    let file = jpeg(64, 64);
    let scan = file.windows(2).position(|two| two == [0xff, 0xda]).unwrap() + 14;
    let (mut refused, mut tried) = (0, 0);
    for length in (scan..file.len() - 12).filter(|&length| file[length - 1] != 0xff) {
        let cut = [&file[..length], &[0xff, 0xd9]].concat();
        tried += 1;
        refused += u32::from(decode(&encoded(PixelFormat::Mjpg, &cut)).is_err());
    }
    assert!(tried > 500 && refused == tried, "{refused} of {tried}");
}

#[test]
fn a_grey_jpeg_is_grey() {
    let mut file = Vec::new();
    JpegEncoder::new(&mut file).encode(&[90; 16 * 16], 16, 16, ExtendedColorType::L8).unwrap();
    let frame = decode(&encoded(PixelFormat::Mjpg, &file)).unwrap();
    assert_eq!(frame.colours(), Colours::Grey(Range::Full));
    assert!(close(at(&frame, 5, 5), [90, 90, 90], 2));
}

#[test]
fn the_camera_is_held_to_the_size_it_agreed_to() {
    let file = jpeg(40, 24);
    let with =
        |size| decode(&raw(PixelFormat::Mjpg, Some(size), 0, Range::Full, file.clone())).map(|frame| frame.size());
    assert_eq!(with(Size::new(40, 24)), Ok(Size::new(40, 24)));
    let wanted = Size::new(40, 25);
    assert_eq!(with(wanted), Err(DecodeError::SizeDiffers { found: Size::new(40, 24), wanted }));
}

/// A JPEG whose frame header is changed.
fn patched(file: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut file = file.to_vec();
    let sof = file.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    change(&mut file[sof..]);
    file
}

#[test]
fn jpeg_bombs_and_strange_kinds_are_refused_by_their_headers() {
    let file = jpeg(8, 8);
    let refuse = |change: &dyn Fn(&mut [u8])| decode(&encoded(PixelFormat::Still, &patched(&file, change))).err();
    let bomb = refuse(&|sof| sof[5..9].fill(0xff));
    assert_eq!(bomb, Some(DecodeError::TooLarge { found: Size::new(65535, 65535), limit: Size::new(8192, 8192) }));
    assert!(matches!(refuse(&|sof| sof[5..9].fill(0)), Some(DecodeError::Empty { .. })));
    assert!(matches!(refuse(&|sof| sof[9] = 4), Some(DecodeError::Malformed { .. })), "a length that does not fit");
    assert!(matches!(refuse(&|sof| sof[1] = 0xc9), Some(DecodeError::Unsupported { .. })));
    assert!(matches!(refuse(&|sof| sof[1] = 0xc3), Some(DecodeError::Unsupported { .. })));
    for (count, extra) in [(4, &[4, 0x11, 0][..]), (2, &[])] {
        let sof = file.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        let mut other = file.clone();
        let end = sof + 10 + 9;
        other.splice(if count == 4 { end..end } else { end - 3..end }, extra.iter().copied());
        (other[sof + 3], other[sof + 9]) = (8 + 3 * count, count);
        assert!(
            matches!(decode(&encoded(PixelFormat::Still, &other)), Err(DecodeError::Unsupported { .. })),
            "{count}"
        );
    }
    let many_scans =
        [&file[..file.len() - 2], &b"\xff\xda\0\x08\x01\x01\0\0\x3f\0".repeat(100), &file[file.len() - 2..]].concat();
    assert!(matches!(decode(&encoded(PixelFormat::Mjpg, &many_scans)), Err(DecodeError::Malformed { .. })));
}

#[test]
fn long_frames_are_refused_before_they_are_read() {
    let mut decoder = Decoder::new(Limits { max_encoded: 100, ..Limits::default() });
    for format in [PixelFormat::Mjpg, PixelFormat::Still] {
        let result = decoder.decode(&mut encoded(format, &jpeg(16, 16)), &mut Frame::new());
        assert!(matches!(result, Err(DecodeError::TooLong { limit: 100, .. })));
    }
}

// ---- stills ----

#[test]
fn every_exif_orientation_is_honoured_in_stills_and_in_streams_ignored() {
    // Left half red, right half blue; so that each of the 8 transforms is told apart, the top right quarter is green.
    let (red, green, blue) = ([250, 10, 10], [10, 250, 10], [10, 10, 250]);
    let colour = |x, y| {
        if x < 16 {
            red
        } else if y < 8 {
            green
        } else {
            blue
        }
    };
    let pixels: Vec<u8> = (0..16).flat_map(|y| (0..32).flat_map(move |x| colour(x, y))).collect();
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 95).encode(&pixels, 32, 16, ExtendedColorType::Rgb8).unwrap();
    // Where the green quarter's middle and the blue one's end up (T.81 knows nothing of it; EXIF 2.3, tag 0x0112).
    let wanted = [
        (1, (32, 16), (24, 4), (24, 12)),
        (2, (32, 16), (7, 4), (7, 12)),
        (3, (32, 16), (7, 11), (7, 3)),
        (4, (32, 16), (24, 11), (24, 3)),
        (5, (16, 32), (4, 24), (12, 24)),
        (6, (16, 32), (11, 24), (3, 24)),
        (7, (16, 32), (11, 7), (3, 7)),
        (8, (16, 32), (4, 7), (12, 7)),
    ];
    for (orientation, (width, height), green_at, blue_at) in wanted {
        let file = oriented(&file, orientation);
        let frame = decode(&encoded(PixelFormat::Still, &file)).unwrap();
        assert_eq!(frame.size(), Size::new(width, height), "orientation {orientation}");
        assert!(close(at(&frame, green_at.0, green_at.1), green.map(i32::from), 40), "orientation {orientation}");
        assert!(close(at(&frame, blue_at.0, blue_at.1), blue.map(i32::from), 40), "orientation {orientation}");
        assert_eq!(decode(&encoded(PixelFormat::Mjpg, &file)).unwrap().size(), Size::new(32, 16));
    }
    assert_eq!(decode(&encoded(PixelFormat::Still, &oriented(&file, 99))).unwrap().size(), Size::new(32, 16));
}

#[test]
fn every_kind_of_png_becomes_8_bit_rgb() {
    let still = |file: &[u8]| at(&decode(&encoded(PixelFormat::Still, file)).unwrap(), 1, 0);
    assert_eq!(still(&png(&[1, 2, 3, 4, 5, 6], 2, 1, ExtendedColorType::Rgb8)), [4, 5, 6]);
    assert_eq!(still(&png(&[7, 8], 2, 1, ExtendedColorType::L8)), [8, 8, 8]);
    // Alpha is dropped, not composed: a transparent pixel keeps its colour.
    assert_eq!(still(&png(&[1, 2, 3, 255, 40, 50, 60, 0], 2, 1, ExtendedColorType::Rgba8)), [40, 50, 60]);
    assert_eq!(still(&png(&[9, 255, 10, 0], 2, 1, ExtendedColorType::La8)), [10, 10, 10]);
    let deep: Vec<u8> = [100u16, 200, 300, 65535, 32896, 257].iter().flat_map(|v| v.to_ne_bytes()).collect();
    assert_eq!(still(&png(&deep, 2, 1, ExtendedColorType::Rgb16)), [255, 128, 1]);
}

#[test]
fn a_palette_png_becomes_rgb() {
    // 2x1, 1 bit a pixel, palette of two colours; by hand because the encoder does not write palettes.
    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let body = [kind.as_slice(), data].concat();
        let crc = !body.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        });
        [&(data.len() as u32).to_be_bytes(), body.as_slice(), &crc.to_be_bytes()].concat()
    }
    let row = [0u8, 0b0100_0000];
    let mut zlib = vec![0x78, 0x01, 0x01, 2, 0, !2, !0];
    zlib.extend(row);
    zlib.extend([0x00, 0x42, 0x00, 0x41]);
    let file = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &[0, 0, 0, 2, 0, 0, 0, 1, 1, 3, 0, 0, 0]),
        chunk(b"PLTE", &[10, 20, 30, 200, 150, 100]),
        chunk(b"IDAT", &zlib),
        chunk(b"IEND", &[]),
    ]
    .concat();
    let frame = decode(&encoded(PixelFormat::Still, &file)).unwrap();
    assert_eq!(frame.to_rgb(), [10, 20, 30, 200, 150, 100]);
}

#[test]
fn a_cut_png_is_refused_at_every_length() {
    let file = png(&gradient(20, 10), 20, 10, ExtendedColorType::Rgb8);
    assert_eq!(decode(&encoded(PixelFormat::Still, &file)).unwrap().to_rgb(), gradient(20, 10));
    for length in 0..file.len() {
        assert!(decode(&encoded(PixelFormat::Still, &file[..length])).is_err(), "{length} of {} bytes", file.len());
    }
}

#[test]
fn a_png_bomb_is_refused_by_its_header() {
    let mut file = png(&gradient(8, 8), 8, 8, ExtendedColorType::Rgb8);
    file[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let error = decode(&encoded(PixelFormat::Still, &file)).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { found: Size::new(65535, 65535), limit: Size::new(8192, 8192) });
}

#[test]
fn what_is_no_picture_is_said_to_be_none() {
    let text = |format, data: &[u8]| decode(&encoded(format, data)).unwrap_err().to_string();
    assert_eq!(
        text(PixelFormat::Still, b"GIF89a..."),
        "not a picture: begins with 47 49 46 38; wanted a JPEG (ff d8) or PNG (89 50 4e 47)"
    );
    assert_eq!(text(PixelFormat::Mjpg, b""), "no bytes; wanted a JPEG (ff d8)");
    assert!(text(PixelFormat::Mjpg, &png(&[0; 3], 1, 1, ExtendedColorType::Rgb8)).contains("wanted a JPEG (ff d8)"));
}

#[test]
fn errors_are_one_line() {
    for format in [PixelFormat::Mjpg, PixelFormat::Still, PixelFormat::Yuyv] {
        for data in [&b""[..], b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xda\0\x02", b"\x89PNG\r\n\x1a\n", b"\n\n\n\n\n"] {
            let line = decode(&encoded(format, data)).unwrap_err().to_string();
            assert!(!line.contains(char::is_control) && !line.is_empty(), "{line:?}");
        }
    }
}

// ---- anything at all ----

fn any_format() -> impl Strategy<Value = PixelFormat> {
    prop::sample::select(RAW.into_iter().chain([PixelFormat::Mjpg, PixelFormat::Still]).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Byte by byte there is no doubt where the next marker is.
    #[test]
    fn a_marker_is_found_wherever_it_stands(
        data in prop::collection::vec(prop_oneof![4 => Just(0xffu8), 4 => Just(0u8), 1 => any::<u8>(), 8 => 1u8..0xff], 0..300),
        from in 0usize..310,
    ) {
        let naive = (from..data.len()).find(|&i| data[i] == 0xff && data.get(i + 1) != Some(&0));
        prop_assert_eq!(jpeg::find_marker(&data, from), naive);
    }

    #[test]
    fn random_bytes_never_panic(
        format in any_format(),
        data in prop::collection::vec(any::<u8>(), 0..3000),
        head in 0usize..4,
        width in 0u32..70, height in 0u32..70, stride in 0usize..200, sized in any::<bool>(),
    ) {
        let head: &[u8] = [&[][..], b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"\xff\xd8\xff\xc0"][head];
        let data = [head, &data].concat();
        let size = sized.then_some(Size::new(width, height));
        let raw = raw(format, size, stride, Range::Limited, data);
        let whole = decode(&raw);
        let mut decoder = Decoder::new(Limits::default());
        // What can be decoded has a luma that lies in the data, and passes the check.
        if let Some((luma, size)) = decoder.luma(&raw).ok().flatten() {
            let mut plane = crate::motion::Plane::default();
            prop_assert!(plane.set_luma(luma, size, 160));
        }
        if whole.is_ok() {
            prop_assert_eq!(check(&raw, &Limits::default()), Ok(()));
        }
    }

    #[test]
    fn damaged_pictures_never_panic(
        as_png in any::<bool>(),
        as_still in any::<bool>(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        insert in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut data = if as_png { png(&gradient(24, 16), 24, 16, ExtendedColorType::Rgb8) } else { jpeg(24, 16) };
        for (index, value) in hits {
            let at = index.index(data.len());
            data[at] = value;
        }
        let at = cut.index(data.len());
        data.splice(at..at, insert);
        let raw = encoded(if as_still { PixelFormat::Still } else { PixelFormat::Mjpg }, &data);
        let _ = decode(&raw);
        let _ = Decoder::new(Limits::default()).luma(&raw);
    }
}
