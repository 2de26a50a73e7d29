//! Searching the gallery: exact, over every template, against a plain `ndarray` product of the same data in `f32`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{Array1, Array2};
use porchlight::face::embed::Embedding;
use porchlight::face::gallery::{Gallery, Index, Person, Template};

const DIMENSIONS: usize = 128;

fn raw(seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    (0..DIMENSIONS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn template(seed: u64) -> Option<Template> {
    Embedding::normalised(&raw(seed)).map(|e| Template::of(&e))
}

fn search(c: &mut Criterion) {
    let mut group = c.benchmark_group("gallery");
    // One template a person: the most persons there can be.
    for persons in [100usize, 10_000, 100_000] {
        let mut gallery = Gallery::new([0; 32], DIMENSIONS);
        let mut plain = Array2::<f32>::zeros((persons, DIMENSIONS));
        for i in 0..persons {
            let person = Person {
                name: format!("{i:06}"),
                consent: "made up".into(),
                enrolled_ms: 0,
                expires_ms: None,
                templates: template(i as u64).into_iter().collect(),
            };
            let _ = gallery.insert(person);
            let row = raw(i as u64);
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            plain.row_mut(i).assign(&Array1::from_iter(row.iter().map(|v| v / norm)));
        }
        let index = Index::new(&gallery);
        assert_eq!((index.persons(), index.bytes()), (persons, persons * DIMENSIONS * 2));
        let (Some(query), probe) = (template(7), plain.row(7).to_owned()) else { continue };
        let mut out = Vec::new();
        group.bench_function(format!("search/{persons}"), |b| b.iter(|| index.search(black_box(&query), &mut out)));
        group.bench_function(format!("ndarray/{persons}"), |b| b.iter(|| black_box(plain.dot(black_box(&probe)))));
    }
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
