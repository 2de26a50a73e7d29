//! The fuzz bodies over random and damaged bytes, on the stable toolchain.

use proptest::prelude::*;

/// A whole JPEG of 8x8 grey pixels without Huffman tables (the decoder adds the standard ones).
fn jpeg() -> Vec<u8> {
    let mut file = b"\xff\xd8\xff\xdb\0\x43\0".to_vec();
    file.extend([16; 64]);
    file.extend(b"\xff\xc0\0\x0b\x08\0\x08\0\x08\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0");
    // DC difference of category 0 (00), end of block (1010), ones to fill.
    file.extend(b"\x2b\xff\xd9");
    file
}

fn damaged(seed: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let hits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let tail = prop::collection::vec(any::<u8>(), 0..40);
    (hits, any::<prop::sample::Index>(), tail, 1usize..4).prop_map(move |(hits, cut, tail, times)| {
        let mut data = seed.repeat(times);
        hits.iter().for_each(|(index, value)| {
            let at = index.index(data.len());
            data[at] = *value;
        });
        let at = cut.index(data.len());
        data.splice(at..at, tail);
        data
    })
}

fn random() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..2000)
}

const HEAD: &str = r#"{"v":1,"boot":"0123456789abcdef","seq":"#;

/// A stream that passes: hello, a track, the end of a camera.
fn lines() -> Vec<u8> {
    let sha = "a".repeat(64);
    let hello = format!(
        "{HEAD}0,\"type\":\"hello\",\"ts\":\"1970-01-01T00:00:00.000Z\",\"camera\":null,\"version\":\"0.1.0\",\
         \"models\":[{{\"name\":\"net\",\"sha256\":\"{sha}\"}}],\"config_sha256\":\"{sha}\",\
         \"seal\":{{\"state\":\"full\",\"landlock_abi\":7,\"seccomp\":\"enforced\",\"network\":\"denied\",\
         \"files\":\"denied\"}},\"cameras\":[{{\"name\":\"front\",\
         \"source\":\"a.mjpeg\",\"width\":640,\"height\":360,\"fps\":15.00,\"format\":\"mjpg\"}}]}}\n"
    );
    let line = |seq, kind: &str, rest: &str| {
        format!("{HEAD}{seq},\"type\":\"{kind}\",\"ts\":\"1970-01-01T00:00:01.000Z\",\"camera\":\"front\",{rest}}}\n")
    };
    let there = "\"track\":1,\"label\":\"person\",\"score\":0.513,\"box\":[0.0127,0.4293,0.0644,0.3970],\"age_ms\":38";
    let gone = "\"reason\":\"end_of_stream\",\"attempt\":1,\"retry_ms\":0";
    [hello, line(1, "track.appeared", there), line(2, "camera.offline", gone)].concat().into_bytes()
}

/// Bytes of the seed changed, one at a time: much of it still passes.
fn touched() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), b' '..=b'~', b'0'..=b'9']);
    prop::collection::vec(change, 0..4).prop_map(|changes| {
        let mut data = lines();
        changes.iter().for_each(|(index, value)| {
            let at = index.index(data.len());
            data[at] = *value;
        });
        data
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decode(head in prop::array::uniform5(any::<u8>()), body in prop_oneof![random(), damaged(jpeg())]) {
        porchlight_fuzz::decode(&[&head[..], &body].concat());
    }

    #[test]
    fn mjpeg_split(piece in any::<u8>(), stream in prop_oneof![random(), damaged(jpeg())]) {
        porchlight_fuzz::mjpeg_split(&[&[piece], stream.as_slice()].concat());
    }

    #[test]
    fn gate(stream in prop_oneof![random(), damaged(lines()), touched()]) {
        porchlight_fuzz::gate(&stream);
    }

    #[test]
    fn y4m(
        stream in prop_oneof![
            random(),
            damaged(b"W4 H2 F25:1 C420jpeg\nFRAME\n123456789012FRAME Ip\n123456789012".to_vec()),
        ],
    ) {
        porchlight_fuzz::y4m(&stream);
    }
}

#[test]
fn the_seed_of_the_gate_passes() {
    let mut words = porchlight::seal::gate::Words::default();
    ["front", "person", "0.1.0", "net", "a.mjpeg", "mjpg"].iter().for_each(|name| words.name(name));
    words.hash(&"a".repeat(64));
    let mut gate = porchlight::seal::gate::Gate::new(words);
    for line in lines().split_inclusive(|byte| *byte == b'\n') {
        gate.pass(line).unwrap();
    }
}

#[test]
fn the_seed_is_a_picture() {
    // Or the damage above would be done to garbage.
    use porchlight::frame::{Frame, PixelFormat, Range, RawFrame, Stamp};
    let (stamp, size, range) = (Stamp::default(), None, Range::Full);
    let mut raw = RawFrame { stamp, format: PixelFormat::Mjpg, size, stride: 0, range, data: jpeg() };
    let mut frame = Frame::new();
    porchlight::decode::Decoder::default().decode(&mut raw, &mut frame).unwrap();
    assert!(frame.to_rgb().iter().all(|&value| value == 128));
}
