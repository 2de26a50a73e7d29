//! The clip in other systems' words, through the gate of a sealed run: each line against the system's own definition
//! (tests/schemas), by a validator that is not ours, and all of them against the native stream.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::scene::{native, run};
use crate::support::{self, Stream};

/// A schema of tests/schemas, which also holds the formats (date-time, uri-reference).
fn schema(name: &str) -> jsonschema::Validator {
    let path = support::root().join("tests/schemas").join(name).with_extension("json");
    let text = std::fs::read_to_string(path).expect("committed");
    let schema = serde_json::from_str(&text).expect("JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
}

/// Lines that the schema knows.
fn valid(name: &str, stdout: &str) -> Vec<Value> {
    let schema = schema(name);
    let lines: Vec<Value> = stdout.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    for line in &lines {
        if let Err(e) = schema.validate(line) {
            panic!("{e}: {line}");
        }
    }
    assert!(!lines.is_empty() && stdout.ends_with('\n'));
    lines
}

#[test]
fn cloudevents_are_the_native_lines_in_envelopes() {
    let stdout = run("cloudevents");
    let mut ids = BTreeSet::new();
    for (event, line) in valid("cloudevents", &stdout).iter().zip(stdout.lines()) {
        assert!(ids.insert(event["id"].to_string()), "twice: {line}");
        let data = &event["data"];
        // The official schema leaves these open, the specification does not: version, names of attributes, one kind of data.
        assert_eq!((&event["specversion"], &event["datacontenttype"]), (&"1.0".into(), &"application/json".into()));
        let keys = event.as_object().expect("an object").keys();
        assert!(keys.clone().all(|k| k.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())), "{line}");
        assert!(keys.count() <= 8 && event.get("data_base64").is_none(), "{line}");
        assert_eq!(event["time"], data["ts"]);
        assert_eq!(event["type"], format!("porchlight.{}", data["type"].as_str().expect("a type")));
        let source = data["camera"].as_str().map_or("/porchlight".to_owned(), |c| format!("/porchlight/{c}"));
        assert_eq!(event["source"], source);
        assert_eq!(event["subject"].as_str().map(str::to_owned), data["track"].as_u64().map(|t| format!("track/{t}")));
    }
    let inside = |l: &str| l.split_once("\"data\":").and_then(|(_, d)| d.strip_suffix('}')).expect("data").to_owned();
    let inner: String = stdout.lines().map(|l| inside(l) + "\n").collect();
    Stream::read(&inner);
    assert_eq!(support::repeatable(&inner), support::repeatable(native()));
}

#[test]
fn frigate_messages_tell_the_same_visits() {
    let stdout = run("frigate");
    let mut last: BTreeMap<String, Value> = BTreeMap::new();
    let (mut ended, mut news, mut zoned) = (0, 0, 0);
    for message in valid("frigate", &stdout) {
        let (before, after) = (&message["before"], &message["after"]);
        let id = after["id"].as_str().expect("an id").to_owned();
        match message["type"].as_str() {
            Some("new") => {
                news += 1;
                assert_eq!(before, after);
                assert!(last.insert(id, after.clone()).is_none(), "{message}");
            }
            Some("end") => {
                ended += 1;
                assert_eq!(last.remove(&id).as_ref(), Some(before), "{message}");
                assert!(after["end_time"].is_number() && after["current_zones"] == serde_json::json!([]), "{message}");
                zoned += usize::from(after["entered_zones"] == serde_json::json!(["right"]));
            }
            _ => {
                assert_eq!(
                    last.insert(id, after.clone()).as_ref(),
                    Some(before),
                    "before is the last after: {message}"
                );
            }
        }
    }
    let stream = Stream::read(native());
    assert!(last.is_empty());
    assert_eq!((news, ended), (stream.of("track.appeared").count(), stream.of("track.left").count()));
    assert_eq!(zoned, stream.of("zone.enter").filter(|l| l["zone"] == "right").count());
}

#[test]
fn onvif_tells_the_same_scene() {
    let lines = valid("onvif", &run("onvif"));
    let of = |topic: &str| lines.iter().filter(|l| l["topic"] == topic).map(|l| &l["payload"]).collect::<Vec<_>>();
    let stream = Stream::read(native());
    let number = |l: &Value| l["track"].to_string();

    let crossed: Vec<_> = of("onvif-ej/RuleEngine/LineDetector/Crossed/&porch/middle")
        .iter()
        .map(|p| (p["UtcTime"].clone(), p["Data"]["ObjectId"].as_str().expect("a list").to_owned()))
        .collect();
    assert_eq!(crossed, stream.of("line.crossed").map(|l| (l["ts"].clone(), number(l))).collect::<Vec<_>>());

    // Whether anybody is inside, at every change.
    let mut inside = BTreeSet::new();
    let mut wanted = Vec::new();
    for line in stream.lines.iter().filter(|l| l["zone"] == "right") {
        match line["type"].as_str() {
            Some("zone.enter") => inside.insert(line["track"].as_u64()),
            Some("zone.exit") => inside.remove(&line["track"].as_u64()),
            _ => continue,
        };
        let ids: Vec<String> = inside.iter().flatten().map(u64::to_string).collect();
        wanted.push((line["ts"].clone(), !inside.is_empty(), ids.join(" ")));
    }
    let told: Vec<_> = of("onvif-ej/RuleEngine/FieldDetector/ObjectsInside/&porch/right")
        .iter()
        .map(|p| {
            let ids = p["Data"]["ObjectId"].as_str().expect("a list").to_owned();
            (p["UtcTime"].clone(), p["Data"]["IsInside"] == true, ids)
        })
        .collect();
    assert_eq!(told, wanted);

    let loitering = of("onvif-ej/RuleEngine/LoiteringDetector/ObjectIsLoitering/&porch/right");
    assert!(loitering.last().expect("somebody stays").is_null(), "the property is deleted when they have gone");
    let signal: Vec<_> =
        of("onvif-ej/VideoSource/SignalLoss/&porch").iter().map(|p| p["Data"]["State"].clone()).collect();
    assert_eq!(signal, [false, true]);

    let frames = of("onvif-mj/VideoAnalytics/porch/porchlight");
    let seen = frames.iter().filter(|p| p["Frame"][0]["Object"].is_array()).count();
    let deleted = frames.iter().filter(|p| p["Frame"][0]["ObjectTree"].is_object()).count();
    assert_eq!(seen, stream.of("track.appeared").count() + stream.of("track.updated").count());
    assert_eq!(deleted, stream.of("track.left").count());
}
