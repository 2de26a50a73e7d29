//! From a part of a frame to a model's tensor, against what it takes to move as many bytes and against libraries.
//!
//! `bound` copies the part and fills a tensor: what memory costs whoever reads the one and writes the other. `image` and
//! `fast_image_resize` resize to a picture and then turn it into the same tensor; neither computes the same pixels, bit for bit,
//! as OpenCV does.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fast_image_resize as fir;
use porchlight::frame::{Frame, Stamp};
use porchlight::geom::{Region, Size};
use porchlight::model::card::{self, Card};
use porchlight::model::prep::{LongSide, Prep};

const FRAME: (u32, u32) = (1280, 720);

fn frame() -> Frame {
    let size = Size::new(FRAME.0, FRAME.1);
    let rgb = (0..size.pixels() * 3).map(|i| ((i * 2_654_435_761) >> 13) as u8).collect();
    Frame::from_rgb(Stamp::default(), size, rgb).expect("its size")
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
    let frame = frame();
    let picture = image::RgbImage::from_raw(FRAME.0, FRAME.1, frame.rgb().to_vec()).expect("its size");
    let card = |name: &str| Card::load(&card::find(name).expect("committed")).expect("a good card");
    let square = |side| Region { x: 200, y: 5, size: Size::new(side, side) };
    let cases = [
        ("ssdlite-mobilenet-v2", "crop300", square(300), (300, 300)),
        ("ssdlite-mobilenet-v2", "crop480", square(480), (300, 300)),
        ("ssdlite-mobilenet-v2", "crop700", square(700), (300, 300)),
        ("ssdlite-mobilenet-v2", "whole", Region::whole(frame.size()), (300, 300)),
        ("yunet", "whole", Region::whole(frame.size()), (640, 360)),
    ];
    for (model, name, region, (w, h)) in cases {
        let mut group = c.benchmark_group(format!("prep/{model}"));
        let mut prep = Prep::new(&card(model));
        let long_side = LongSide::Card;
        group.bench_function(BenchmarkId::new("ours", name), |b| {
            b.iter(|| black_box(prep.prepare(black_box(&frame), region, long_side).data[0]));
        });
        let (mut part, mut tensor) = (Vec::new(), vec![0f32; (w * h * 3) as usize]);
        group.bench_function(BenchmarkId::new("bound", name), |b| {
            b.iter(|| {
                part.clear();
                for y in region.y..region.y + region.size.height {
                    let at = (y * FRAME.0 + region.x) as usize * 3;
                    part.extend_from_slice(&frame.rgb()[at..at + region.size.width as usize * 3]);
                }
                black_box(&mut part);
                black_box(&mut tensor).fill(black_box(0.5));
            });
        });
        let Region { x, y, size } = region;
        group.bench_function(BenchmarkId::new("image", name), |b| {
            b.iter(|| {
                let view = image::imageops::crop_imm(&picture, x, y, size.width, size.height);
                let small = image::imageops::resize(&*view, w, h, image::imageops::FilterType::Triangle);
                planar(small.as_raw(), black_box(&mut tensor));
            });
        });
        let source = fir::images::TypedImageRef::<fir::pixels::U8x3>::from_buffer(FRAME.0, FRAME.1, frame.rgb());
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
            group.bench_function(BenchmarkId::new(name_of, name), |b| {
                b.iter(|| {
                    let into = fir::images::TypedImage::<fir::pixels::U8x3>::from_buffer(w, h, &mut small);
                    let mut into = into.expect("its size");
                    resizer.resize_typed(&source, &mut into, &options).expect("a valid crop");
                    drop(into);
                    planar(&small, black_box(&mut tensor));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, prep);
criterion_main!(benches);
