//! What the motion gate costs per frame: it runs on every one, so it has to be far below a millisecond at 1280x720.
#![allow(missing_docs)] // criterion's macros

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use porchlight::frame::{Channel, Luma, Range};
use porchlight::frame::{Frame, MonoNs, Stamp};
use porchlight::geom::Size;
use porchlight::motion::{Motion, Plane, Settings};
use std::hint::black_box;

const SIZES: [Size; 3] = [Size::new(640, 360), Size::new(1280, 720), Size::new(1920, 1080)];

/// Grey with noise, and a dark block at `x`.
fn frame(size: Size, seed: u32, x: u32) -> Frame {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut frame = Frame::new();
    for (i, px) in frame.reset(Stamp::default(), size).chunks_exact_mut(3).enumerate() {
        let (px_x, px_y) = (i as u32 % size.width, i as u32 / size.width);
        let inside = px_x.wrapping_sub(x) < size.width / 16 && px_y.wrapping_sub(size.height / 3) < size.height / 3;
        for c in px {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            *c = if inside { 30 } else { 120 } + (state % 9) as u8;
        }
    }
    frame
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("motion");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size.pixels() as u64 * 3));
        let still = [frame(size, 1, 0), frame(size, 2, 0)];
        let moving: Vec<_> = (0..8).map(|i| frame(size, i, i * size.width / 100)).collect();
        for (name, frames) in [("still", &still[..]), ("moving", &moving[..])] {
            let (mut m, mut i) = (Motion::new(Settings::default()), 0);
            group.bench_function(format!("look_{name}/{size}"), |b| {
                b.iter(|| {
                    i += 1;
                    black_box(m.look(MonoNs(0).plus_ms(i as u64 * 33), &frames[i % frames.len()]).share)
                });
            });
        }
        let mut plane = Plane::default();
        group.bench_function(format!("shrink_rgb/{size}"), |b| b.iter(|| plane.set_frame(black_box(&still[0]), 160)));
        let luma: Vec<u8> = still[0].to_rgb().iter().step_by(3).copied().collect();
        group.bench_function(format!("shrink_luma/{size}"), |b| {
            b.iter(|| {
                let channel = Channel { data: black_box(&luma), size, stride: size.width as usize, step: 1 };
                plane.set_luma(Luma { channel, range: Range::Full }, size, 160)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
