//! From a captured buffer to pixels, per frame: what a camera costs before anything is looked at. The copy out of the driver's
//! ring is measured beside it; together they are the price of a delivered frame.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use porchlight::decode::{Decoder, Limits};
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

fn raw(format: PixelFormat, size: Size) -> RawFrame {
    let rgb = picture(size);
    let data = match format {
        PixelFormat::Mjpg => {
            let mut jpeg = Vec::new();
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 85);
            let encoded = image::ImageEncoder::write_image(
                encoder,
                &rgb,
                size.width,
                size.height,
                image::ExtendedColorType::Rgb8,
            );
            assert!(encoded.is_ok());
            jpeg
        }
        PixelFormat::Yuyv => rgb.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[2]]).collect(),
        _ => {
            let luma = rgb.chunks_exact(3).map(|pixel| pixel[0]);
            luma.chain(std::iter::repeat_n(128, size.pixels() / 2)).collect()
        }
    };
    let stride = match format {
        PixelFormat::Mjpg => 0,
        PixelFormat::Yuyv => size.width as usize * 2,
        _ => size.width as usize,
    };
    RawFrame { stamp: Stamp::default(), format, size: Some(size), stride, range: Range::Full, data }
}

fn decode(c: &mut Criterion) {
    for format in [PixelFormat::Mjpg, PixelFormat::Yuyv, PixelFormat::Nv12] {
        let mut group = c.benchmark_group(format!("decode/{}", format.name()));
        for (width, height) in SIZES {
            let raw = raw(format, Size::new(width, height));
            let (mut decoder, mut frame) = (Decoder::new(Limits::default()), Frame::new());
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::from_parameter(format!("{width}x{height}")), |b| {
                b.iter(|| assert!(decoder.decode(black_box(&raw), &mut frame).is_ok()));
            });
        }
    }
}

fn copy(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy");
    for format in [PixelFormat::Mjpg, PixelFormat::Yuyv] {
        let raw = raw(format, Size::new(1280, 720));
        let mut into = Vec::new();
        group.throughput(Throughput::Bytes(raw.data.len() as u64));
        group.bench_function(BenchmarkId::new(format.name(), "1280x720"), |b| {
            b.iter(|| {
                into.clear();
                into.extend_from_slice(black_box(&raw.data));
            });
        });
    }
}

criterion_group!(benches, decode, copy);
criterion_main!(benches);
