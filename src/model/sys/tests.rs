//! One session in several threads against the same session in one.

use crate::model::ModelError;
use crate::model::card::{self, Card};
use crate::model::infer::{Arena, Infer, OrtSession, Runtime};

fn runtime() -> &'static Runtime {
    static RUNTIME: std::sync::OnceLock<Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Runtime::load().expect("cargo xtask setup");
        runtime.lay_out_arena(2).expect("the first");
        runtime
    })
}

fn session(name: &str, outputs: &[&str]) -> OrtSession {
    let card = Card::load(&card::find(name).expect("committed")).expect("a good card");
    let weights = card.verified_weights().expect("committed");
    let outputs: Vec<String> = outputs.iter().map(ToString::to_string).collect();
    runtime().session_in(Arena::Common, name, &weights, 1, &outputs).expect("loads")
}

fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as f32 / u32::MAX as f32
    };
    (0..n).map(|_| next()).collect()
}

fn answer(session: &mut OrtSession, shape: [usize; 4], data: &[f32]) -> Vec<u32> {
    let mut answer = Vec::new();
    let read = &mut |views: &[super::OutputView<'_>]| {
        views.iter().for_each(|view| answer.extend(view.data.iter().map(|v| v.to_bits())));
        Ok(())
    };
    session.run(shape, data, read).expect("runs");
    answer
}

/// Two threads, each with an input of its own, get what one thread gets, bit for bit.
fn concurrently(name: &str, outputs: &[&str], shape: [usize; 4], runs: usize) {
    let mut session = session(name, outputs);
    let inputs = [1, 2].map(|seed| noise(shape.iter().product(), seed));
    let alone = inputs.each_ref().map(|data| answer(&mut session, shape, data));
    assert!(!alone[0].is_empty() && alone[0] != alone[1]);
    std::thread::scope(|scope| {
        for (data, alone) in inputs.iter().zip(&alone) {
            let mut session = session.clone();
            scope
                .spawn(move || (0..runs).for_each(|run| assert!(answer(&mut session, shape, data) == *alone, "{run}")));
        }
    });
}

#[test]
fn objects_at_once_are_what_they_are_alone() {
    concurrently("ssdlite-mobilenet-v2", &["box", "score"], [1, 3, 300, 300], 30);
}

#[test]
fn faces_at_once_are_what_they_are_alone() {
    concurrently("yunet", &["cls_8", "kps_32", "bbox_16"], [1, 3, 192, 320], 50);
    concurrently("sface", &["embedding"], [1, 3, 112, 112], 15);
}

#[test]
fn what_a_run_cannot_do_is_told_and_the_session_goes_on() {
    let mut session = session("sface", &["embedding"]);
    let data = noise(3 * 112 * 112, 1);
    let mut run = |shape, read: &mut dyn FnMut()| {
        session.run(shape, &data, &mut |_| {
            read();
            Ok(())
        })
    };
    let words = |result: Result<(), ModelError>| result.expect_err("it cannot").to_string();
    assert!(words(run([1, 3, 112, 113], &mut || panic!("not read"))).contains("elements"));
    let wrong = words(run([1, 1, 336, 112], &mut || panic!("not read")));
    assert!(wrong.contains("imension") && !wrong.contains('\n'), "{wrong}");
    // A reader that panics breaks nothing.
    let caught =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run([1, 3, 112, 112], &mut || panic!("reader"))));
    assert!(caught.is_err());
    assert!(run([1, 3, 112, 112], &mut || ()).is_ok());
}
