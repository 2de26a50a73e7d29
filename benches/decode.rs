//! From a captured buffer to a frame: what a camera costs before anything is looked at. The copy out of the driver's ring is measured
//! beside it; together they are the price of a delivered frame. Raw formats cost nothing more: their bytes become the frame.
//!
//! `frame` decodes to planes, `peek` only to what motion is looked for in, `check` looks whether a picture is whole. `zune` and `libjpeg` decode
//! the same picture to R G B, as one does who has no use for planes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use porchlight::decode::{Decoder, Limits, check};
use porchlight::frame::{Frame, PixelFormat, Range, RawFrame, Stamp};
use porchlight::geom::Size;

/// The sizes that cameras are asked for.
const SIZES: [(u32, u32); 3] = [(640, 480), (1280, 720), (1920, 1080)];

/// A picture with edges, gradients and noise: neither the best nor the worst case of a codec.
fn picture(size: Size) -> Vec<u8> {
    let mut noise = 1u32;
    let mut rgb = Vec::with_capacity(size.pixels() * 3);
    for y in 0..size.height {
        for x in 0..size.width {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let shade = (x * 255 / size.width) as u8 / 2 + ((x / 40 + y / 40) % 2) as u8 * 90 + (noise >> 28) as u8;
            rgb.extend([shade, shade ^ 0x20, (y * 255 / size.height) as u8]);
        }
    }
    rgb
}

/// As most USB cameras do: colours halved in width, tables of the standard.
fn jpeg(size: Size) -> Vec<u8> {
    let mut jpeg = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    jpeg.set_size(size.width as usize, size.height as usize);
    jpeg.set_fastest_defaults();
    jpeg.set_quality(85.0);
    jpeg.set_chroma_sampling_pixel_sizes((2, 1), (2, 1));
    let mut started = jpeg.start_compress(Vec::new()).expect("starts");
    started.write_scanlines(&picture(size)).expect("encodes");
    started.finish().expect("ends")
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode/mjpg");
    for (width, height) in SIZES {
        let data = jpeg(Size::new(width, height));
        let (format, size) = (PixelFormat::Mjpg, Some(Size::new(width, height)));
        let mut raw =
            RawFrame { stamp: Stamp::default(), format, size, stride: 0, range: Range::Full, data: data.clone() };
        let (mut decoder, mut frame) = (Decoder::new(Limits::default()), Frame::new());
        let name = format!("{width}x{height}");
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(BenchmarkId::new("frame", &name), |b| {
            b.iter(|| assert!(decoder.decode(black_box(&mut raw), &mut frame).is_ok()));
        });
        group.bench_function(BenchmarkId::new("peek", &name), |b| {
            b.iter(|| assert!(decoder.luma(black_box(&raw)).is_ok_and(|luma| luma.is_some())));
        });
        group.bench_function(BenchmarkId::new("check", &name), |b| {
            b.iter(|| assert!(check(black_box(&raw), &Limits::default()).is_ok()));
        });
        let mut rgb = vec![0; width as usize * height as usize * 3];
        group.bench_function(BenchmarkId::new("zune", &name), |b| {
            b.iter(|| {
                let cursor = zune_core::bytestream::ZCursor::new(black_box(data.as_slice()));
                assert!(zune_jpeg::JpegDecoder::new(cursor).decode_into(&mut rgb).is_ok());
            });
        });
        group.bench_function(BenchmarkId::new("libjpeg", &name), |b| {
            b.iter(|| {
                let decoder = mozjpeg::Decompress::new_mem(black_box(&data)).and_then(|d| d.rgb());
                let mut decoder = decoder.expect("our own JPEG");
                let rgb: Vec<[u8; 3]> = decoder.read_scanlines().expect("our own JPEG");
                decoder.finish().expect("our own JPEG");
                black_box(rgb);
            });
        });
    }
}

fn copy(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy");
    let size = Size::new(1280, 720);
    for (name, data) in [("mjpg", jpeg(size)), ("yuyv", picture(size)[..size.pixels() * 2].to_vec())] {
        let mut into = Vec::new();
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(BenchmarkId::new(name, "1280x720"), |b| {
            b.iter(|| {
                into.clear();
                into.extend_from_slice(black_box(&data));
            });
        });
    }
}

criterion_group!(benches, decode, copy);
criterion_main!(benches);
