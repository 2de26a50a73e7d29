//! What zones and lines cost per frame, by the number of tracks.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use porchlight::detection::{ClassId, Score};
use porchlight::event::{LineNo, ZoneNo};
use porchlight::frame::MonoNs;
use porchlight::geom::{Box2, Size};
use porchlight::scene::places::{Line, Places, Zone};
use porchlight::scene::{Numbers, Settings, Visits};
use porchlight::track::{Change, State, Track, TrackId};
use std::hint::black_box;

const FRAME: Size = Size::new(1920, 1080);

/// Hexagons and slanted lines all over the picture.
fn places(count: u8) -> Places {
    let zone = |no: u8| {
        let (cx, cy) = (0.1 + 0.2 * f32::from(no % 5), 0.15 + 0.2 * f32::from(no / 5));
        let corner = |k: u8| {
            let a = f32::from(k) * std::f32::consts::PI / 3.0;
            [cx + 0.09 * a.cos(), cy + 0.09 * a.sin()]
        };
        Zone { no: ZoneNo(no), points: (0..6).map(corner).collect(), labels: None, dwell_ms: Some(1000) }
    };
    let line = |no: u8| {
        let x = f32::from(no) / f32::from(count.max(1));
        Line { no: LineNo(no), from: [x, 0.0], to: [1.0 - x, 1.0], labels: None }
    };
    Places::new((0..count).map(zone).collect(), (0..count).map(line).collect())
}

/// People who walk in circles all over the picture.
fn tracks(count: u32, frame: u64, out: &mut Vec<Track>) {
    out.clear();
    out.extend((0..count).map(|i| {
        let turn = (frame as f32 + i as f32 * 7.0) / 50.0;
        let x = (i % 10) as f32 * 180.0 + 90.0 + 80.0 * turn.cos();
        let y = (i / 10) as f32 * 90.0 + 150.0 + 60.0 * turn.sin();
        Track {
            id: TrackId(i + 1),
            class: ClassId(0),
            score: Score::default(),
            bbox: Box2::from_xywh(x, y, 40.0, 100.0),
            first_seen: MonoNs(0),
            last_seen: MonoNs(0).plus_ms(frame * 66),
            confirmed_at: Some(MonoNs(0)),
            state: State::Confirmed,
            moving: true,
        }
    }));
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("scene");
    for (count, shapes) in [(100, 0), (10, 20), (100, 20)] {
        let (mut visits, mut numbers) = (Visits::new(Settings::default(), places(shapes)), Numbers::default());
        let (mut now, mut frame, mut said) = (Vec::new(), 0u64, 0u64);
        tracks(count, 0, &mut now);
        let appeared: Vec<Change> = now.iter().map(|t| Change::Appeared(t.id)).collect();
        visits.frame(MonoNs(0), FRAME, &now, &appeared, &mut numbers, |_| said += 1);
        group.bench_function(BenchmarkId::new(format!("{shapes}-zones-{shapes}-lines"), count), |b| {
            b.iter(|| {
                frame += 1;
                tracks(count, frame, &mut now);
                let at = MonoNs(0).plus_ms(frame * 66);
                visits.frame(at, FRAME, &now, &[], &mut numbers, |body| {
                    said += 1;
                    black_box(body);
                });
            });
        });
        assert!(said > u64::from(count), "the bench walks through what it says");
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
