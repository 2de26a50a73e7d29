//! What a face costs after it was found: the gate's measures, the alignment, and the embedding (alignment included) of one
//! and of four at once, one thread each, with the default models on a committed portrait.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use porchlight::decode::{Decoder, Limits};
use porchlight::detection::Detection;
use porchlight::face::align::Aligner;
use porchlight::face::embed::Embedder;
use porchlight::face::quality::measure;
use porchlight::frame::{Frame, PixelFormat, Range, RawFrame, Stamp};
use porchlight::geom::Region;
use porchlight::model::ModelError;
use porchlight::model::card::{Card, find};
use porchlight::model::detector::Detector;
use porchlight::model::infer::Runtime;
use porchlight::model::prep::LongSide;

fn portrait() -> Frame {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/hopper.jpg");
    let mut raw = RawFrame {
        stamp: Stamp::default(),
        format: PixelFormat::Still,
        size: None,
        stride: 0,
        range: Range::Full,
        data: std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}")),
    };
    let mut frame = Frame::new();
    Decoder::new(Limits::default()).decode(&mut raw, &mut frame).unwrap_or_else(|e| panic!("{path}: {e}"));
    frame
}

fn models() -> Result<(Detector, Embedder), ModelError> {
    let runtime = Runtime::load()?;
    let card = |name: &str| find(name).and_then(|dir| Card::load(&dir));
    let detector = Detector::load(&runtime, card("yunet")?, 1, &mut Default::default())?;
    Ok((detector, Embedder::load(&runtime, card("sface")?, 1)?))
}

fn faces(c: &mut Criterion) {
    let frame = portrait();
    let (mut detector, mut embedder) = models().unwrap_or_else(|e| panic!("{e}"));
    let mut found: Vec<Detection> = Vec::new();
    let whole = Region::whole(frame.size());
    let looked = detector.detect(&frame, whole, LongSide::Card, 0.6, &mut found);
    let face = found.first().and_then(|d| Some((d.landmarks?, d.score)));
    let (Ok(()), Some((landmarks, score)), Some(aligner)) = (looked, face, Aligner::new(&embedder.card().input)) else {
        panic!("hopper.jpg: wanted a face")
    };
    let mut group = c.benchmark_group("faces");
    let mut scratch = Vec::new();
    group.bench_function("gate", |b| b.iter(|| measure(&frame, black_box(&landmarks), score, &mut scratch)));
    let mut tensor = vec![0.0; aligner.len()];
    group.bench_function("align", |b| b.iter(|| aligner.align(&frame, black_box(&landmarks), &mut tensor)));
    let mut out = Vec::new();
    for batch in [1usize, 4] {
        let faces = vec![landmarks; batch];
        group.bench_function(format!("embed/{batch}"), |b| {
            b.iter(|| embedder.embed(&frame, black_box(&faces), &mut out).unwrap_or_else(|e| panic!("{e}")));
        });
    }
    group.finish();
}

criterion_group!(benches, faces);
criterion_main!(benches);
