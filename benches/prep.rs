//! From a part of a frame to a model's tensor, in each layout that cameras send, against what it takes to move as many bytes and against
//! libraries.
//!
//! `bound` copies the part's bytes, as they lie in that layout, and fills a tensor: what memory costs whoever reads the one and writes the
//! other. `cold` is the same of frames that no cache holds, one after the other: as they are when a driver has written them, or when an inference
//! has run since; the tensor is the same one again in both. `image` and `fast_image_resize` resize packed R G B to a picture and then turn it into the same tensor; `yuv` makes R G B of the whole
//! frame first, which ours then takes the part of. None of them computes the same pixels, bit for bit, as OpenCV does; what OpenCV itself
//! takes, `cargo xtask opencv-prep` says.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fast_image_resize as fir;
use porchlight::decode::{Decoder, Limits};
use porchlight::frame::{Frame, PixelFormat, Range, RawFrame, Stamp};
use porchlight::geom::{Region, Size};
use porchlight::model::card::{self, Card};
use porchlight::model::prep::{LongSide, Prep};

const FRAME: Size = Size::new(1280, 720);

/// Bytes without a pattern.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| ((i * 2_654_435_761) >> 13) as u8).collect()
}

/// Bytes from row to row of the first plane, and in all.
fn lengths(format: PixelFormat) -> (usize, usize) {
    let (width, pixels) = (FRAME.width as usize, FRAME.pixels());
    match format {
        PixelFormat::Rgb24 => (width * 3, pixels * 3),
        PixelFormat::Yuyv => (width * 2, pixels * 2),
        _ => (width, pixels * 3 / 2),
    }
}

fn frame(format: PixelFormat) -> Frame {
    let (stride, length) = lengths(format);
    let (stamp, range, data) = (Stamp::default(), Range::Full, bytes(length));
    let mut raw = RawFrame { stamp, format, size: Some(FRAME), stride, range, data };
    let mut frame = Frame::new();
    Decoder::new(Limits::default()).decode(&mut raw, &mut frame).expect("its size");
    frame
}

/// Copies what the part has in each of the frame's channels; those that lie in one another are one.
fn copy(frame: &Frame, format: PixelFormat, part: Region, into: &mut Vec<u8>) {
    into.clear();
    let planes = match format {
        PixelFormat::Rgb24 | PixelFormat::Yuyv => 1,
        PixelFormat::Nv12 => 2,
        _ => 3,
    };
    for channel in &frame.channels()[..planes] {
        let fewer = (FRAME.width / channel.size.width, FRAME.height / channel.size.height);
        let (rows, row) = (
            part.y / fewer.1..(part.y + part.size.height) / fewer.1,
            (part.size.width / fewer.0) as usize * channel.step,
        );
        for y in rows {
            let at = y as usize * channel.stride + (part.x / fewer.0) as usize * channel.step;
            into.extend(&channel.data[at..channel.data.len().min(at + row)]);
        }
    }
}

/// Frames and disjoint parts of them, of which there are more than a cache holds.
struct Cold {
    frames: Vec<Frame>,
    parts: Vec<Region>,
    next: usize,
}

impl Cold {
    /// Parts as large as this one.
    fn new(format: PixelFormat, part: Region) -> Self {
        const BYTES: usize = 96 << 20;
        let Size { width, height } = part.size;
        let starts = |first: u32, side: u32, all: u32| (first % side..=all - side).step_by(side as usize);
        let parts: Vec<Region> = starts(part.y, height, FRAME.height)
            .flat_map(|y| starts(part.x, width, FRAME.width).map(move |x| Region { x, y, size: part.size }))
            .collect();
        let bytes = lengths(format).1 * part.size.pixels() / FRAME.pixels() * parts.len();
        Self { frames: (0..BYTES.div_ceil(bytes)).map(|_| frame(format)).collect(), parts, next: 0 }
    }

    /// The next, from another frame each time.
    fn next(&mut self) -> (&Frame, Region) {
        let Self { frames, parts, next } = self;
        *next = (*next + 1) % (frames.len() * parts.len());
        (&frames[*next % frames.len()], parts[*next / frames.len()])
    }
}

/// Packed R G B to planes of floats, as the object model takes them.
fn planar(rgb: &[u8], tensor: &mut [f32]) {
    let plane = tensor.len() / 3;
    for (c, values) in tensor.chunks_exact_mut(plane).enumerate() {
        for (v, pixel) in values.iter_mut().zip(rgb.chunks_exact(3)) {
            *v = f32::from(pixel[c]) * (1.0 / 127.5) - 1.0;
        }
    }
}

fn prep(c: &mut Criterion) {
    let card = |name: &str| Card::load(&card::find(name).expect("committed")).expect("a good card");
    let square = |side| Region { x: 200, y: 6, size: Size::new(side, side) };
    let cases = [
        ("ssdlite-mobilenet-v2", "crop300", square(300), (300, 300)),
        ("ssdlite-mobilenet-v2", "crop480", square(480), (300, 300)),
        ("ssdlite-mobilenet-v2", "crop700", square(700), (300, 300)),
        ("ssdlite-mobilenet-v2", "whole", Region::whole(FRAME), (300, 300)),
        ("yunet", "whole", Region::whole(FRAME), (640, 360)),
    ];
    let formats = [PixelFormat::Rgb24, PixelFormat::I420, PixelFormat::Nv12, PixelFormat::Yuyv];
    let frames = formats.map(|format| (format, frame(format)));
    let rgb = frames[0].1.packed_rgb().expect("packed").to_vec();
    let picture = image::RgbImage::from_raw(FRAME.width, FRAME.height, rgb.clone()).expect("its size");
    for (model, name, region, (w, h)) in cases {
        let mut group = c.benchmark_group(format!("prep/{model}/{name}"));
        let (mut part, mut tensor) = (Vec::new(), vec![0f32; (w * h * 3) as usize]);
        let mut prep = Prep::new(&card(model));
        for (format, frame) in &frames {
            let mut bound = |frame: &Frame, region| {
                copy(black_box(frame), *format, region, &mut part);
                black_box(&mut part);
                black_box(&mut tensor).fill(black_box(0.5));
            };
            let mut ours = |frame: &Frame, region| {
                black_box(prep.prepare(black_box(frame), region, LongSide::Card).data[0]);
            };
            group.bench_function(BenchmarkId::new("bound", format.name()), |b| b.iter(|| bound(frame, region)));
            group.bench_function(BenchmarkId::new("ours", format.name()), |b| b.iter(|| ours(frame, region)));
            let mut cold = Cold::new(*format, region);
            let mut each = |run: &mut dyn FnMut(&Frame, Region)| {
                let (frame, region) = cold.next();
                run(frame, region);
            };
            group.bench_function(BenchmarkId::new("bound-cold", format.name()), |b| b.iter(|| each(&mut bound)));
            group.bench_function(BenchmarkId::new("ours-cold", format.name()), |b| {
                b.iter(|| each(&mut ours));
            });
        }
        let Region { x, y, size } = region;
        group.bench_function(BenchmarkId::new("image", "rgb24"), |b| {
            b.iter(|| {
                let view = image::imageops::crop_imm(&picture, x, y, size.width, size.height);
                let small = image::imageops::resize(&*view, w, h, image::imageops::FilterType::Triangle);
                planar(small.as_raw(), black_box(&mut tensor));
            });
        });
        let source = fir::images::TypedImageRef::<fir::pixels::U8x3>::from_buffer(FRAME.width, FRAME.height, &rgb);
        let source = source.expect("its size");
        let (mut resizer, mut small) = (fir::Resizer::new(), vec![0u8; (w * h * 3) as usize]);
        for (name_of, algorithm) in [
            ("fast_image_resize", fir::ResizeAlg::Interpolation(fir::FilterType::Bilinear)),
            ("fast_image_resize-antialias", fir::ResizeAlg::Convolution(fir::FilterType::Bilinear)),
        ] {
            let options = fir::ResizeOptions::new()
                .crop(x.into(), y.into(), size.width.into(), size.height.into())
                .resize_alg(algorithm)
                .use_alpha(false);
            group.bench_function(BenchmarkId::new(name_of, "rgb24"), |b| {
                b.iter(|| {
                    let into = fir::images::TypedImage::<fir::pixels::U8x3>::from_buffer(w, h, &mut small);
                    let mut into = into.expect("its size");
                    resizer.resize_typed(&source, &mut into, &options).expect("a valid crop");
                    drop(into);
                    planar(&small, black_box(&mut tensor));
                });
            });
        }
        let packed = bytes(lengths(PixelFormat::Yuyv).1);
        let mut whole = Frame::new();
        group.bench_function(BenchmarkId::new("yuv", "yuyv"), |b| {
            b.iter(|| {
                let (width, height) = (FRAME.width, FRAME.height);
                let image = yuv::YuvPackedImage { yuy: black_box(&packed), yuy_stride: width * 2, width, height };
                let rgb = whole.reset(Stamp::default(), FRAME);
                yuv::yuyv422_to_rgb(&image, rgb, width * 3, yuv::YuvRange::Full, yuv::YuvStandardMatrix::Bt601)
                    .expect("its size");
                black_box(prep.prepare(&whole, region, LongSide::Card).data[0])
            });
        });
        group.finish();
    }
}

criterion_group!(benches, prep);
criterion_main!(benches);
