use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use proptest::prelude::*;

use super::input::{Got, Input, Read};
use super::mjpeg::{MjpegSource, Split, Splitter};
use super::pace::Pace;
use super::replay::{Options, open, pictures};
use super::synth::Synth;
use super::y4m::{Header, Y4mSource};
use super::*;
use crate::decode::{Decoder, Limits};
use crate::frame::{Frame, Range, Rows};

/// A JPEG of one grey level, which tells it apart from others.
fn jpeg(level: u8) -> Vec<u8> {
    let mut out = Vec::new();
    JpegEncoder::new_with_quality(&mut out, 80).encode(&[level; 32 * 24], 32, 24, ExtendedColorType::L8).unwrap();
    out
}

fn png(level: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let codec = image::codecs::png::PngEncoder::new(&mut out);
    image::ImageEncoder::write_image(codec, &[level; 4], 2, 2, ExtendedColorType::L8).unwrap();
    out
}

/// Puts a segment behind the start-of-image marker.
fn with_segment(jpeg: &[u8], marker: u8, payload: &[u8]) -> Vec<u8> {
    let length = ((payload.len() + 2) as u16).to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, payload, &jpeg[2..]].concat()
}

/// Frames' bytes (or the reason for a skip) in order, and how the source ended.
type Drained = (Vec<Result<Vec<u8>, String>>, Result<(), SourceError>);

/// Everything that a source gives.
fn drain(source: &mut dyn FrameSource) -> Drained {
    let mut got = Vec::new();
    let mut seq = 0;
    let mut buffer = Vec::new();
    loop {
        let stamp = match source.next(std::mem::take(&mut buffer)) {
            Ok(Pulled::Frame(raw)) => {
                got.push(Ok(raw.data));
                raw.stamp
            }
            Ok(Pulled::Unread { mut raw, bytes }) => {
                bytes.read(&mut raw.data);
                // Piece by piece they are the same.
                let (width, height, mut strip) = (raw.stride, raw.data.len() / raw.stride, Vec::new());
                for count in [1, 3, height] {
                    let mut rows = bytes.rows(width, height, &mut strip);
                    for first in (0..height).step_by(count) {
                        let count = count.min(height - first);
                        let wanted = &raw.data[first * width..(first + count) * width];
                        assert!(rows.rows(first, count) == Some(wanted), "{count} rows from {first}");
                    }
                    assert_eq!(rows.rows(height, 1), None);
                }
                got.push(Ok(raw.data));
                raw.stamp
            }
            Ok(Pulled::Skipped { buffer: back, stamp, reason }) => {
                buffer = back;
                got.push(Err(reason.to_string()));
                stamp
            }
            Ok(Pulled::Passed { buffer: back, stamp }) => {
                buffer = back;
                got.push(Err("passed".to_owned()));
                stamp
            }
            Ok(Pulled::Quiet(back) | Pulled::State { buffer: back, .. }) => {
                buffer = back;
                continue;
            }
            Ok(Pulled::End) => {
                assert!(matches!(source.next(Vec::new()), Ok(Pulled::End)), "the end stays the end");
                return (got, Ok(()));
            }
            Err(error) => {
                let line = error.to_string();
                assert!(!line.contains(char::is_control), "one line: {line:?}");
                return (got, Err(error));
            }
        };
        assert_eq!((stamp.seq, stamp.driver_seq), (seq, seq), "no gaps");
        seq += 1;
    }
}

fn mjpeg(bytes: &[u8]) -> Drained {
    drain(&mut MjpegSource::new("x.mjpeg", bytes, Ticker::new(CameraId(0), Rate::DEFAULT), 1 << 20))
}

fn y4m(bytes: &[u8]) -> Drained {
    drain(&mut Y4mSource::new("x.y4m", bytes, CameraId(0), None, Limits::default()))
}

fn open_line(path: &Path) -> String {
    match open(path.to_str().unwrap(), &Options::default()) {
        Ok(_) => panic!("{} opened", path.display()),
        Err(error) => {
            assert_eq!(error.kind(), Kind::Unusable);
            error.to_string()
        }
    }
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

// ---- time ----

#[test]
fn stamps_are_exact_at_any_rate() {
    let ntsc = Rate::new(30000, 1001).unwrap();
    assert_eq!(ntsc.at(0), MonoNs(0));
    assert_eq!(ntsc.at(30000), MonoNs(1001 * 1_000_000_000));
    assert_eq!(Rate::DEFAULT.at(1), MonoNs(33_333_333));
    assert_eq!(Rate::DEFAULT.at(3_000_000_000), MonoNs(100_000_000 * 1_000_000_000));
    assert_eq!(Rate::from_f64(29.97).unwrap().at(2997), MonoNs(100 * 1_000_000_000));
    assert_eq!(Rate::DEFAULT.at(u64::MAX), MonoNs(u64::MAX), "saturates");
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9, 1e-9] {
        assert_eq!(Rate::from_f64(wrong), None, "{wrong}");
    }
    assert_eq!((Rate::new(0, 1), Rate::new(1, 0), Rate::new(u64::MAX, 1)), (None, None, None));
}

// ---- concatenated JPEGs ----

#[test]
fn jpegs_are_cut_apart_with_garbage_between_them() {
    let (a, b, c) = (jpeg(10), jpeg(100), jpeg(200));
    let stream = [
        b"\xff\xd8 no\xff\xff".as_slice(),
        &a,
        b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 123\r\n\r\n",
        &b,
        &[0xff; 33],
        &c,
        b"\0\0\xff\xd8",
    ]
    .concat();
    let (got, end) = mjpeg(&stream);
    assert_eq!(got, [Ok(a), Ok(b), Ok(c)]);
    assert!(end.is_ok());
}

#[test]
fn thumbnails_and_end_markers_in_segments_end_nothing() {
    let thumb = with_segment(&jpeg(50), 0xe1, &[b"Exif\0\0".as_slice(), &jpeg(9), b"\xff\xd9"].concat());
    let comment = with_segment(&jpeg(60), 0xfe, b"\xff\xd9\xff\xd8\xff\xd9");
    let filled = [&thumb[..2], &[0xff, 0xff, 0xff], &thumb[2..]].concat();
    let (got, end) = mjpeg(&[thumb.clone(), comment.clone(), filled.clone()].concat());
    assert_eq!(got, [Ok(thumb), Ok(comment), Ok(filled)]);
    assert!(end.is_ok());
}

#[test]
fn a_frame_cut_anywhere_costs_itself_and_no_other() {
    let (a, b, c) = (jpeg(10), jpeg(100), jpeg(200));
    // From 3 on: two bytes are no frame yet, only garbage.
    for cut in 3..b.len() {
        let (got, end) = mjpeg(&[a.as_slice(), &b[..cut], &c].concat());
        assert!(end.is_ok());
        assert!(got[0].as_ref() == Ok(&a), "cut at {cut}");
        let lengths: Vec<_> = got.iter().map(|frame| frame.as_ref().map(Vec::len)).collect();
        assert!(got.len() == 3 && got[2].as_ref() == Ok(&c), "cut at {cut}: {lengths:?}, wanted {}", c.len());
        assert!(got[1].is_err(), "cut at {cut}");
    }
}

#[test]
fn a_frame_cut_by_the_end_of_the_file_is_skipped() {
    let a = jpeg(10);
    for cut in 3..a.len() {
        let (got, end) = mjpeg(&[a.as_slice(), &a[..cut]].concat());
        assert!(end.is_ok());
        assert_eq!(got.len(), 2, "cut at {cut}");
        assert!(got[1].as_ref().is_err_and(|reason| reason.contains("cut off") && reason.contains("byte")), "{got:?}");
    }
}

#[test]
fn the_splitter_gives_the_same_whatever_the_pieces() {
    let thumb = with_segment(&jpeg(50), 0xe1, &jpeg(9));
    let stream = [b"junk".as_slice(), &thumb, &jpeg(1)[..200], &jpeg(2), b"--x\r\n\r\n", &jpeg(3)].concat();
    let cut = |piece: usize| {
        let mut splitter = Splitter::new(1 << 20);
        let (mut found, mut out) = (Vec::new(), Vec::new());
        let mut pull = |splitter: &mut Splitter| {
            loop {
                out.clear();
                match splitter.next(&mut out) {
                    Split::More => break,
                    split => found.push((split, out.clone())),
                }
            }
        };
        for bytes in stream.chunks(piece) {
            splitter.feed(bytes);
            pull(&mut splitter);
        }
        splitter.finish();
        pull(&mut splitter);
        found
    };
    let whole = cut(stream.len());
    assert_eq!(whole.len(), 4);
    assert_eq!(whole[0].0, Split::Frame(Some(Size::new(32, 24))));
    for piece in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(cut(piece), whole, "pieces of {piece}");
    }
}

#[test]
fn a_frame_longer_than_allowed_is_given_up_in_bounded_memory_and_time() {
    // Starts that hide in a segment and all lead into the same endless scan: the search must not walk it once for each.
    let mut stream = Vec::new();
    for _ in 0..2000 {
        stream.extend_from_slice(b"\xff\xd8\xff\xe0\xff\xf0");
    }
    stream.resize(70_000, 0x11);
    let sof = b"\xff\xc0\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0";
    for _ in 0..3000 {
        stream.extend_from_slice(b"\xff\xc0\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0");
    }
    stream.extend_from_slice(sof);
    stream.resize(4 << 20, 0x22);
    let good = jpeg(7);
    stream.extend_from_slice(&good);
    let mut source = MjpegSource::new("x", stream.as_slice(), Ticker::new(CameraId(0), Rate::DEFAULT), 1 << 20);
    let begun = std::time::Instant::now();
    let (got, end) = drain(&mut source);
    assert!(end.is_ok());
    assert_eq!(got.last(), Some(&Ok(good)));
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn a_stream_without_a_frame_is_an_error() {
    for (bytes, wanted) in [(&b"nothing here"[..], "found none"), (&jpeg(3)[..100], "found one that is broken: byte 0")]
    {
        let (_, end) = mjpeg(bytes);
        let line = end.unwrap_err().to_string();
        assert!(
            line.starts_with("x.mjpeg: holds no frame: wanted concatenated JPEGs") && line.contains(wanted),
            "{line}"
        );
    }
}

// ---- y4m ----

fn y4m_stream(header: &str, frame_len: usize, frames: u8) -> Vec<u8> {
    let frame = |level| [b"FRAME\n".as_slice(), &vec![level; frame_len]].concat();
    let frames: Vec<u8> = (0..frames).flat_map(frame).collect();
    [header.as_bytes(), b"\n", &frames].concat()
}

#[test]
fn y4m_headers_say_format_size_rate_and_range() {
    let parse = |line: &str| Header::parse(line.as_bytes(), &Limits::default());
    let header = parse("YUV4MPEG2 W5 H3 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL").unwrap();
    assert_eq!(header.size, Size::new(5, 3));
    assert_eq!(header.rate, Rate::new(30000, 1001));
    assert_eq!((header.format, header.range, header.frame_len()), (PixelFormat::I420, Range::Full, 15 + 12));
    for (colour, format, range, length) in [
        ("", PixelFormat::I420, Range::Limited, 27),
        (" C420mpeg2", PixelFormat::I420, Range::Limited, 27),
        (" C420paldv", PixelFormat::I420, Range::Limited, 27),
        (" C420 XCOLORRANGE=LIMITED", PixelFormat::I420, Range::Limited, 27),
        (" C422", PixelFormat::I422, Range::Limited, 33),
        (" C444", PixelFormat::I444, Range::Limited, 45),
        (" Cmono", PixelFormat::Grey, Range::Full, 15),
        (" Cmono XCOLORRANGE=LIMITED", PixelFormat::Grey, Range::Limited, 15),
    ] {
        let header = parse(&format!("YUV4MPEG2 W5 H3{colour}")).unwrap();
        assert_eq!((header.format, header.range, header.frame_len(), header.rate), (format, range, length, None));
    }
    assert_eq!(parse("YUV4MPEG2 W5 H3 F0:0").unwrap().rate, None);
    for (line, wanted) in [
        ("YUV4MPEG2 H3", "no width"),
        ("YUV4MPEG2 W5", "no height"),
        ("YUV4MPEG2 W5 Hx", "wanted a number"),
        ("YUV4MPEG2 W5 H-3", "wanted a number"),
        ("YUV4MPEG2 W0 H3", "at least 1x1"),
        ("YUV4MPEG2 W4294967295 H4294967295", "at most 8192x8192"),
        ("YUV4MPEG2 W5 H99999999999999999999", "wanted a number"),
        ("YUV4MPEG2 W5 H3 F30", "wanted NUM:DEN"),
        ("YUV4MPEG2 W5 H3 F99999999:1", "0.001 to 1000"),
        ("YUV4MPEG2 W5 H3 C420p10", "wanted 8-bit"),
        ("YUV4MPEG2 W5 H3 C411", "wanted 8-bit"),
        ("YUV4MPEG2 W5 H3 C444alpha", "wanted 8-bit"),
        ("RIFF", "wanted a header"),
    ] {
        let problem = parse(line).unwrap_err();
        assert!(problem.contains(wanted), "{line}: {problem}");
    }
}

#[test]
fn y4m_frames_come_whole_with_their_rate() {
    let stream = y4m_stream("YUV4MPEG2 W4 H2 F25:2 C422", 16, 3);
    let mut source = Y4mSource::new("x.y4m", stream.as_slice(), CameraId(5), None, Limits::default());
    for seq in 0..3u8 {
        let Ok(Pulled::Frame(mut raw)) = source.next(Vec::new()) else { panic!("no frame {seq}") };
        assert_eq!(raw.data, [seq; 16]);
        assert_eq!((raw.format, raw.size, raw.stride), (PixelFormat::I422, Some(Size::new(4, 2)), 4));
        assert_eq!((raw.stamp.camera, raw.stamp.at), (CameraId(5), MonoNs(u64::from(seq) * 80_000_000)));
        Decoder::default().decode(&mut raw, &mut Frame::new()).unwrap();
    }
    assert!(matches!(source.next(Vec::new()), Ok(Pulled::End)));
    assert_eq!((source.info().fps, source.info().size), (12.5, Some(Size::new(4, 2))));
}

#[test]
fn a_y4m_cut_anywhere_gives_what_was_whole() {
    let stream = y4m_stream("YUV4MPEG2 W4 H2 F25:1 Cmono", 8, 2);
    let header = stream.len() - 2 * 14;
    for cut in 0..stream.len() {
        let (got, end) = y4m(&stream[..cut]);
        let whole = cut.saturating_sub(header) / 14;
        assert_eq!(got.iter().filter(|frame| frame.is_ok()).count(), whole, "cut at {cut}");
        let partial = cut > header && !(cut - header).is_multiple_of(14);
        assert_eq!(got.iter().filter(|frame| frame.is_err()).count(), usize::from(partial), "cut at {cut}");
        assert_eq!(end.is_ok(), whole > 0, "cut at {cut}: {end:?}");
    }
}

/// Frames longer and shorter than what is read ahead for a line, in a file cut anywhere near its end: what is passed over is as whole as
/// what is read, and what comes behind it is the same.
#[test]
fn a_files_frames_that_nobody_would_open_are_passed_over_unread() {
    for (header, len) in [("YUV4MPEG2 W128 H72 F10:1 Cmono", 128 * 72), ("YUV4MPEG2 W8 H2 F10:1 Cmono", 16)] {
        let stream = y4m_stream(header, len, 6);
        for missing in [0, 1, len - 1, len, len + 3, len + 6, len + 7] {
            let cut = &stream[..stream.len() - missing];
            let folder = folder(&[("still.y4m", cut)]);
            let options = Options::default();
            let opened = |times: std::ops::Range<u64>| {
                let path = folder.path().join("still.y4m");
                let mut source = open(&path.to_string_lossy(), &options).expect("a clip");
                source.pass_over(Some(MonoNs(times.start * 100_000_000)..MonoNs(times.end * 100_000_000)));
                drain(source.as_mut())
            };
            let (all, end) = opened(0..0);
            assert!(end.is_ok() && all.iter().flatten().count() == 6 - missing.div_ceil(len + 6), "{missing}");
            for times in [1..3, 2..9, 0..5] {
                let (but, end) = opened(times.clone());
                assert!(end.is_ok());
                // Its first frame has been read before anybody could say anything, and a short one with the line before it.
                let is_passed = |i: usize| i > 0 && len > 4096 && times.contains(&(i as u64)) && all[i].is_ok();
                let wanted = all.iter().cloned().enumerate();
                let wanted = wanted.map(|(i, f)| if is_passed(i) { Err("passed".to_owned()) } else { f });
                assert!(but == wanted.collect::<Vec<_>>(), "{header} {missing} {times:?}");
            }
        }
        // What cannot be passed over is read.
        let mut source = Y4mSource::new("-", stream.as_slice(), CameraId(0), None, Limits::default());
        source.pass_over(Some(MonoNs(0)..MonoNs(u64::MAX)));
        assert_eq!(drain(&mut source).0.iter().flatten().count(), 6);
    }
}

#[test]
fn a_bad_frame_line_ends_the_stream_and_says_where() {
    let mut stream = y4m_stream("YUV4MPEG2 W4 H2 Cmono", 8, 3);
    let at = stream.len() - 14;
    stream[at..at + 5].copy_from_slice(b"FRANE");
    let (got, end) = y4m(&stream);
    assert_eq!(got.len(), 2);
    let line = end.unwrap_err().to_string();
    assert_eq!(line, format!("x.y4m: frame 2, byte {at}: wanted a line FRAME, found \"FRANE\""));
    let endless = [b"YUV4MPEG2 W4 H2\n".as_slice(), &vec![b'F'; 1 << 20]].concat();
    assert!(y4m(&endless).1.unwrap_err().to_string().contains("a FRAME line of more than 1024 bytes"));
    let endless = [b"YUV4MPEG2 W4 H2 ".as_slice(), &vec![b'X'; 1 << 20]].concat();
    assert!(y4m(&endless).1.unwrap_err().to_string().contains("a header of more than 1024 bytes"));
    assert_eq!(y4m(b"YUV4MPEG2 W4 H2 Cmono\nFRAME Ixyz\n12345678").0, [Ok(b"12345678".to_vec())]);
}

#[test]
fn a_y4m_header_alone_allocates_no_frame() {
    let stream = b"YUV4MPEG2 W8192 H8192 C444\nFRAME\nxx";
    let mut source = Y4mSource::new("x", stream.as_slice(), CameraId(0), None, Limits::default());
    let Ok(Pulled::Skipped { buffer, .. }) = source.next(Vec::new()) else { panic!("not skipped") };
    assert!(buffer.capacity() <= 4 << 20, "{} bytes for 2", buffer.capacity());
}

#[test]
fn lent_buffers_come_back_as_frames() {
    let stream = y4m_stream("YUV4MPEG2 W64 H64 Cmono", 4096, 20);
    let mut source = Y4mSource::new("x", stream.as_slice(), CameraId(0), None, Limits::default());
    let mut buffers = vec![Vec::new(), Vec::new()];
    let mut seen = std::collections::HashSet::new();
    for round in 0..20 {
        let Ok(Pulled::Frame(raw)) = source.next(buffers.remove(0)) else { panic!("no frame") };
        if round >= 6 {
            seen.insert(raw.data.as_ptr());
        }
        buffers.push(raw.data);
    }
    assert!(seen.len() <= 3, "{} different buffers", seen.len());
}

// ---- opening ----

#[test]
fn a_folder_gives_its_pictures_by_name_and_nothing_else() {
    let (a, b, c) = (jpeg(1), png(2), jpeg(3));
    let folder = folder(&[("b.PNG", &b), ("a.jpg", &a), ("c.JPEG", &c), ("notes.txt", b"hello"), ("d", &a)]);
    let spec = folder.path().to_str().unwrap();
    let mut source = open(spec, &Options { fps: Some(2.0), ..Options::default() }).unwrap();
    assert_eq!(source.info().format, PixelFormat::Still);
    assert_eq!((source.info().fps, source.info().live), (2.0, false));
    let Ok(Pulled::Frame(first)) = source.next(Vec::new()) else { panic!("no frame") };
    let Ok(Pulled::Frame(second)) = source.next(Vec::new()) else { panic!("no frame") };
    assert_eq!((first.stamp.at, second.stamp.at), (MonoNs(0), MonoNs(500_000_000)));
    let Ok(Pulled::Frame(third)) = source.next(Vec::new()) else { panic!("no frame") };
    assert!(matches!(source.next(Vec::new()), Ok(Pulled::End)));
    assert_eq!([first.data, second.data, third.data], [a.clone(), b, c.clone()]);

    let mut source = open(&format!("{spec}/*.[jJ]*"), &Options::default()).unwrap();
    assert_eq!(drain(&mut *source).0, [Ok(a), Ok(c)]);
    let names: Vec<_> = pictures(spec).unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["a.jpg", "b.PNG", "c.JPEG"]);
}

#[test]
fn one_broken_picture_of_a_folder_is_skipped() {
    let a = jpeg(1);
    let folder = folder(&[("a.jpg", b""), ("b.jpg", b"text"), ("c.jpg", &a)]);
    std::fs::create_dir(folder.path().join("d.jpg")).unwrap();
    symlink("loop.jpg", folder.path().join("loop.jpg")).unwrap();
    let (got, end) = drain(&mut *open(folder.path().to_str().unwrap(), &Options::default()).unwrap());
    assert!(end.is_ok());
    let reasons: Vec<_> = got.iter().map(|frame| frame.as_ref().err().map_or("", |reason| reason)).collect();
    for (reason, wanted) in
        reasons.iter().zip(["an empty file", "other first bytes", "", "regular file", "cannot open"])
    {
        assert!(reason.contains(wanted), "{reasons:?}");
    }
    assert_eq!((got.len(), &got[2]), (5, &Ok(a)));
}

#[test]
fn files_are_told_apart_by_content() {
    let (a, b) = (jpeg(1), jpeg(2));
    let two = [a.clone(), b.clone()].concat();
    let film = y4m_stream("YUV4MPEG2 W4 H2 Cmono", 8, 1);
    let garbage = [b"garbage".as_slice(), &two].concat();
    let folder = folder(&[
        ("two.jpg", &two),
        ("two.mjpeg", &two),
        ("two.mjpg", &garbage),
        ("two.bin", &two),
        ("film.dat", &film),
        ("a.gif", &png(4)),
        ("[x].jpg", &a),
    ]);
    let open = |name: &str| {
        let mut source = open(folder.path().join(name).to_str().unwrap(), &Options::default()).unwrap();
        (source.info().format, drain(&mut *source).0.len())
    };
    assert_eq!(open("two.jpg"), (PixelFormat::Still, 1));
    assert_eq!(open("two.mjpeg"), (PixelFormat::Mjpg, 2));
    assert_eq!(open("two.mjpg"), (PixelFormat::Mjpg, 2));
    assert_eq!(open("two.bin"), (PixelFormat::Mjpg, 2));
    assert_eq!(open("film.dat"), (PixelFormat::Grey, 1));
    assert_eq!(open("a.gif"), (PixelFormat::Still, 1));
    assert_eq!(open("[x].jpg"), (PixelFormat::Still, 1), "a name that exists is no pattern");
}

#[test]
fn the_size_of_a_stream_is_known_once_it_is_open() {
    let folder = folder(&[("x.mjpeg", &jpeg(1)), ("x.y4m", &y4m_stream("YUV4MPEG2 W4 H2 F5:1 Cmono", 8, 1))]);
    let info = |name: &str, fps| {
        let options = Options { fps, ..Options::default() };
        let source = open(folder.path().join(name).to_str().unwrap(), &options).unwrap();
        (source.info().size, source.info().fps)
    };
    assert_eq!(info("x.mjpeg", None), (Some(Size::new(32, 24)), 30.0));
    assert_eq!(info("x.y4m", None), (Some(Size::new(4, 2)), 5.0));
    assert_eq!(info("x.y4m", Some(10.0)), (Some(Size::new(4, 2)), 10.0), "the user's rate wins");
}

#[test]
fn what_cannot_be_a_source_is_refused_in_one_line() {
    let long = vec![0u8; 200];
    let folder = folder(&[
        ("empty.jpg", b""),
        ("empty.mjpeg", b""),
        ("text.txt", b"hello, world"),
        ("film.mp4", b"\0\0\0\x20ftypisom0000"),
        ("film.avi", b"RIFF1234AVI LIST"),
        ("film.mkv", b"\x1a\x45\xdf\xa3aaaaaaaa"),
        ("wrong.y4m", &long),
        ("no-frame.y4m", b"YUV4MPEG2 W4 H2\n"),
        ("no-frame.mjpeg", &long),
        ("cut.mjpeg", &jpeg(1)[..80]),
        ("secret.jpg", &jpeg(1)),
    ]);
    std::fs::create_dir(folder.path().join("none")).unwrap();
    std::fs::create_dir(folder.path().join("dir.jpg")).unwrap();
    symlink("loop", folder.path().join("loop")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe.y4m"), rustix::fs::Mode::RUSR).unwrap();
    for (name, wanted) in [
        ("empty.jpg", "found an empty file; wanted a JPEG or PNG"),
        ("empty.mjpeg", "found an empty file"),
        ("text.txt", "neither JPEG nor PNG nor YUV4MPEG2"),
        (
            "film.mp4",
            "an MP4 or HEIF file; wanted a JPEG or PNG, a folder of them, a .mjpeg or a .y4m; convert it: ffmpeg",
        ),
        ("film.avi", "an AVI or WebP file"),
        ("film.mkv", "a Matroska or WebM file"),
        ("wrong.y4m", "frame 0, byte 200: the header line does not end"),
        ("no-frame.y4m", "holds no frame: wanted a YUV4MPEG2 stream with FRAMEs, found none"),
        ("no-frame.mjpeg", "holds no frame"),
        ("cut.mjpeg", "holds no frame: wanted concatenated JPEGs (ff d8 ... ff d9), found one that is broken"),
        ("none", "holds no frame: wanted files named .jpg, .jpeg or .png in the folder, found none"),
        ("dir.jpg", "holds no frame"),
        ("loop", "cannot open"),
        ("pipe.y4m", "found a pipe"),
        ("missing.jpg", "cannot open: No such file or directory (os error 2); check the path"),
        ("missing/x.jpg", "cannot open"),
        ("*.bmp", "that match"),
    ] {
        let path = folder.path().join(name);
        let line = open_line(&path);
        assert!(line.starts_with(path.to_str().unwrap()) && line.contains(wanted), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    assert!(open_line(Path::new("/dev/null")).contains("found a character device"));
    // Root reads everything; elsewhere a file without permission is an error with its fix.
    let secret = folder.path().join("secret.jpg");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&secret).is_err() {
        assert!(open_line(&secret).contains("make it readable"));
    }
}

#[test]
fn wrong_words_are_usage_errors() {
    let long = "a".repeat(5000);
    for (spec, fps) in [
        ("", None),
        ("***/x[", None),
        ("x.jpg", Some(0.0)),
        ("x.jpg", Some(f64::NAN)),
        ("synth:", None),
        ("synth:10x10", None),
        ("synth:0x10@30", None),
        ("synth:10x10@0", None),
        ("synth:9999x10@30", None),
        ("synth:11x10@30:5:yuyv", None),
        ("synth:10x10@30:5:mjpg", None),
        ("synth:10x10@30:5:yuyv:x", None),
    ] {
        let error = open(spec, &Options { fps, ..Options::default() }).err().unwrap_or_else(|| panic!("{spec} opened"));
        assert_eq!(error.kind(), Kind::Usage, "{spec}: {error}");
        assert!(!error.to_string().contains(char::is_control));
    }
    assert!(open(&long, &Options::default()).is_err());
    assert!(
        open("a\nb\u{1b}[2J", &Options::default()).err().is_some_and(|e| !e.to_string().contains(char::is_control))
    );
}

// ---- streams that wait ----

#[test]
fn a_silent_stream_stays_interruptible_and_loses_nothing() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let input = Input::new(reader.into(), true);
    let mut source = Y4mSource::new("-", input, CameraId(0), None, Limits::default());
    let stream = y4m_stream("YUV4MPEG2 W4 H2 Cmono", 8, 2);
    assert!(matches!(source.next(Vec::new()), Ok(Pulled::Quiet(_))));
    // In pieces that end within a header, a FRAME line and a frame.
    for (from, to) in [(0, 9), (9, 25), (25, 31)] {
        writer.write_all(&stream[from..to]).unwrap();
        assert!(matches!(source.next(vec![7; 100]), Ok(Pulled::Quiet(_))), "{from}..{to}");
    }
    writer.write_all(&stream[31..]).unwrap();
    drop(writer);
    assert_eq!(drain(&mut source).0, [Ok(vec![0; 8]), Ok(vec![1; 8])]);

    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut source =
        MjpegSource::new("-", Input::new(reader.into(), true), Ticker::new(CameraId(0), Rate::DEFAULT), 1 << 20);
    let a = jpeg(1);
    writer.write_all(&a[..50]).unwrap();
    assert!(matches!(source.next(Vec::new()), Ok(Pulled::Quiet(_))));
    writer.write_all(&a[50..]).unwrap();
    assert!(matches!(source.next(Vec::new()), Ok(Pulled::Frame(raw)) if raw.data == a), "before the writer closes");
}

#[test]
fn what_is_peeked_is_read_again_and_waiting_for_it_can_be_stopped() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut input = Input::new(reader.into(), true);
    writer.write_all(b"abc").unwrap();
    let asked = std::cell::Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) >= 1;
    assert!(input.peek(10, &stop).unwrap().is_none(), "stopped");
    writer.write_all(b"defghijklm").unwrap();
    assert_eq!(input.peek(10, &|| false).unwrap(), Some(&b"abcdefghij"[..]));
    drop(writer);
    let (mut all, mut piece) = (Vec::new(), [0; 4]);
    while let Got::Bytes(n) = input.read(&mut piece).unwrap() {
        all.extend_from_slice(&piece[..n]);
    }
    assert_eq!(all, b"abcdefghijklm");
}

// ---- pattern and pace ----

#[test]
fn the_pattern_moves_and_repeats_exactly() {
    for (spec, format, length) in [
        ("synth:64x48@25:3", PixelFormat::Yuyv, 64 * 48 * 2),
        ("synth:63x48@25:3:rgb24", PixelFormat::Rgb24, 63 * 48 * 3),
    ] {
        let run = || drain(&mut *open(spec, &Options::default()).unwrap()).0;
        let frames = run();
        assert_eq!(frames.len(), 3);
        assert!(frames.iter().all(|frame| frame.as_ref().is_ok_and(|data| data.len() == length)));
        assert_ne!(frames[0], frames[1], "it moves");
        assert_eq!(frames, run(), "it repeats");
        let mut source = Synth::open(spec, CameraId(0), &Limits::default()).unwrap();
        assert_eq!((source.info().fps, source.info().format), (25.0, format));
        let Ok(Pulled::Frame(mut raw)) = source.next(Vec::new()) else { panic!("no frame") };
        Decoder::default().decode(&mut raw, &mut Frame::new()).unwrap();
    }
}

#[test]
fn real_time_holds_frames_back_and_changes_no_stamp() {
    let paced = |spec: &str| Pace::new(Box::new(Synth::open(spec, CameraId(0), &Limits::default()).unwrap()));
    let begun = std::time::Instant::now();
    let (got, end) = drain(&mut paced("synth:8x8@20:5"));
    assert!(end.is_ok());
    assert_eq!(got.len(), 5);
    assert!(begun.elapsed().as_millis() >= 200, "4 intervals of 50 ms took {:?}", begun.elapsed());
    // Once the time between two frames is known the next one is not read before it is due.
    let mut even = paced("synth:8x8@2:3");
    let mut frames = 0;
    while frames < 2 {
        frames += usize::from(matches!(even.next(Vec::new()), Ok(Pulled::Frame(_))));
    }
    assert!(matches!(even.next(vec![1; 10]), Ok(Pulled::Quiet(buffer)) if buffer == [1; 10]), "read too early");
    // For frames that nobody would open nobody wakes; they are given one after another when the first that somebody may open is due.
    let mut calm = paced("synth:8x8@50:20");
    let mut pulled = |passed: Option<Times>, wanted: usize| {
        calm.pass_over(passed);
        let (mut frames, mut waits) = (0, 0);
        while frames < wanted {
            match calm.next(Vec::new()) {
                Ok(Pulled::Frame(_)) => frames += 1,
                Ok(Pulled::Quiet(_)) => waits += 1,
                other => panic!("{other:?}"),
            }
        }
        waits
    };
    pulled(None, 3);
    let ms = |ms: u64| MonoNs(ms * 1_000_000);
    let begun = std::time::Instant::now();
    // Those of 60, 80 ... 140 ms; and that of 160.
    assert!(pulled(Some(ms(50)..ms(150)), 6) <= 1);
    assert!(begun.elapsed().as_millis() >= 100, "too early, after {:?}", begun.elapsed());
    // A pull never sleeps for long, or a stop would not be seen.
    let mut slow = paced("synth:8x8@0.001:2");
    assert!(matches!(slow.next(Vec::new()), Ok(Pulled::Frame(_))));
    let begun = std::time::Instant::now();
    assert!(matches!(slow.next(vec![1; 10]), Ok(Pulled::Quiet(_))));
    assert!(matches!(slow.next(vec![1; 10]), Ok(Pulled::Quiet(buffer)) if buffer.capacity() > 0));
    assert!(begun.elapsed().as_secs() < 5);
}

// ---- anything at all ----

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_end(
        head in 0usize..4,
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
    ) {
        let head: &[u8] = [&b""[..], b"\xff\xd8\xff", b"YUV4MPEG2 W4 H4\nFRAME\n", b"YUV4MPEG2 "][head];
        let bytes = [head, &bytes].concat();
        let _ = mjpeg(&bytes);
        let _ = y4m(&bytes);
    }

    #[test]
    fn whole_frames_survive_damage_to_others(
        order in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        // 0, 1: whole. 2: cut. 3: one byte of its scan changed (which may still be a JPEG).
        let mut stream = Vec::new();
        let mut whole = Vec::new();
        for (place, (what, index, value)) in order.iter().enumerate() {
            let mut frame = jpeg(place as u8 * 30);
            match what {
                2 => frame.truncate(3 + index.index(frame.len() - 3)),
                3 => {
                    let last = frame.len() - 8;
                    frame[last + index.index(6)] = *value;
                }
                _ => whole.push(frame.clone()),
            }
            stream.extend_from_slice(&frame);
        }
        let found: Vec<_> = mjpeg(&stream).0.into_iter().flatten().collect();
        for frame in whole {
            prop_assert!(found.contains(&frame));
        }
    }
}
