//! What tracking and choosing where to look cost per frame, by the number of tracks.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use porchlight::attention::{self, Attention};
use porchlight::detection::{ClassId, Detection, Score};
use porchlight::frame::MonoNs;
use porchlight::geom::{Box2, Region, Size};
use porchlight::motion::{Kind, Verdict};
use porchlight::track::{Settings, Tracker};
use std::hint::black_box;

const FRAME: Size = Size::new(1920, 1080);

/// People on a grid who sway; the closer they stand, the more pairs overlap. One in ten is missed.
fn detections(tracks: usize, frame: u64) -> Vec<Detection> {
    let cols = (tracks as f32 * 2.0).sqrt().ceil() as usize;
    (0..tracks)
        .filter(|i| !(*i as u64 * 7 + frame * 3).is_multiple_of(10))
        .map(|i| {
            let pitch = 1800.0 / cols as f32;
            let sway = ((frame + i as u64) % 10) as f32;
            let (x, y) = ((i % cols) as f32 * pitch + sway, (i / cols) as f32 * pitch * 1.1 + sway / 2.0);
            Detection {
                bbox: Box2::from_xywh(x, y, pitch.clamp(20.0, 60.0), pitch.clamp(50.0, 150.0)),
                class: ClassId(0),
                score: Score::new(0.6 + (i % 4) as f32 * 0.1).unwrap_or_default(),
                landmarks: None,
            }
        })
        .collect()
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("track");
    for tracks in [10_usize, 50, 200] {
        let frames: Vec<_> = (0..50).map(|f| detections(tracks, f)).collect();
        let (mut t, mut i) = (Tracker::new(Settings::default()), 0_usize);
        let mut update = |t: &mut Tracker| {
            i += 1;
            t.update(MonoNs(0).plus_ms(i as u64 * 66), FRAME, &frames[i % frames.len()], &[Region::whole(FRAME)]);
            i
        };
        for _ in 0..50 {
            update(&mut t);
        }
        assert!(t.tracks().count() * 10 >= tracks * 9, "the bench tracks what it says: {}", t.tracks().count());
        group.bench_function(BenchmarkId::new("update", tracks), |b| b.iter(|| black_box(update(&mut t))));
        let now = MonoNs(0).plus_ms(update(&mut t) as u64 * 66);
        let mut still_at = now;
        let mut idle = Tracker::new(Settings::default());
        for _ in 0..20 {
            update(&mut idle);
        }
        group.bench_function(BenchmarkId::new("still", tracks), |b| {
            b.iter(|| {
                still_at = still_at.plus_ms(33);
                idle.still(still_at);
            });
        });
        let mut a = Attention::new(attention::Settings::default());
        let boxes = [Box2::from_xywh(300.0, 300.0, 80.0, 100.0), Box2::from_xywh(1500.0, 500.0, 80.0, 100.0)];
        let verdict = Verdict { kind: Kind::Moving, boxes: &boxes, share: 0.02 };
        let mut at = now;
        group.bench_function(BenchmarkId::new("attention", tracks), |b| {
            b.iter(|| {
                at = at.plus_ms(33);
                black_box(a.choose(at, FRAME, &verdict, t.predicted(now)).regions.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
