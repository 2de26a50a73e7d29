use serde_json::Value;

use super::*;

fn native(kind: &str, track: u64, ts: &str, rest: &str) -> String {
    format!(
        "{{\"v\":1,\"boot\":\"0123456789abcdef\",\"seq\":7,\"type\":\"{kind}\",\"ts\":\"1970-01-01T00:00:{ts}Z\",\
         \"camera\":\"front\",\"track\":{track}{rest}}}\n"
    )
}

fn appeared(track: u64) -> String {
    native("track.appeared", track, "01.000", r#","label":"person","score":0.513,"box":[0.1000,0.2000,0.3000,0.4000]"#)
}

fn zone(kind: &str, track: u64, ts: &str) -> String {
    native(kind, track, ts, r#","label":"person","zone":"porch","dwell_ms":1500"#)
}

fn told(format: Format, lines: &[String], close: bool) -> Vec<Value> {
    let mut adapter = Adapter::new(format);
    let mut out = Vec::new();
    for line in lines {
        adapter.tell(line.as_bytes(), &mut out).unwrap();
    }
    if close {
        adapter.close(&mut out);
        let length = out.len();
        adapter.close(&mut out);
        assert_eq!(out.len(), length, "what is closed is closed once");
    }
    assert!(out.is_empty() || out.ends_with(b"\n"));
    String::from_utf8(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn native_lines_are_passed_on_as_they_are() {
    let (mut adapter, mut out) = (Adapter::new(Format::Native), Vec::new());
    adapter.tell(b"whatever the gate let pass\n", &mut out).unwrap();
    assert_eq!(out, b"whatever the gate let pass\n");
}

#[test]
fn what_is_no_event_makes_nothing() {
    for format in [Format::CloudEvents, Format::Frigate, Format::Onvif] {
        let mut out = Vec::new();
        for line in [&b"\n"[..], b"{}\n", b"[]\n", b"{\"boot\":1}\n", b"\xff\xfe\n"] {
            assert_eq!(Adapter::new(format).tell(line, &mut out), Err(NotNative), "{format:?} {line:?}");
        }
        assert!(out.is_empty());
    }
}

#[test]
fn an_envelope_holds_the_line_unchanged() {
    let line = appeared(3).replace("front", "Haustür/1 a");
    let (mut adapter, mut out) = (Adapter::new(Format::CloudEvents), Vec::new());
    adapter.tell(line.as_bytes(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with(&format!("\"data\":{}}}\n", line.trim_end())), "{text}");
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["source"], "/porchlight/Haust%C3%BCr/1%20a");
    assert_eq!((&event["id"], &event["subject"]), (&"0123456789abcdef-7".into(), &"track/3".into()));
}

#[test]
fn an_eye_that_dies_ends_what_it_told() {
    let lines = [appeared(1), appeared(2), zone("zone.enter", 2, "02.000"), zone("zone.dwell", 2, "03.500")];
    let frigate = told(Format::Frigate, &lines, true);
    let ends: Vec<&Value> = frigate.iter().filter(|m| m["type"] == "end").collect();
    assert_eq!(ends.len(), 2, "{frigate:?}");
    assert!(ends.iter().all(|m| m["after"]["end_time"] == 3.5 && m["after"]["current_zones"] == serde_json::json!([])));
    assert_eq!(ends[1]["after"]["entered_zones"], serde_json::json!(["porch"]));

    let onvif = told(Format::Onvif, &lines, true);
    let last = |topic: &str| onvif.iter().rfind(|m| m["topic"] == topic).unwrap();
    let inside = last("onvif-ej/RuleEngine/FieldDetector/ObjectsInside/&front/porch");
    assert_eq!(inside["payload"]["Data"], serde_json::json!({"ObjectId": "", "ClassTypes": "", "IsInside": false}));
    assert!(last("onvif-ej/RuleEngine/LoiteringDetector/ObjectIsLoitering/&front/porch")["payload"].is_null());
    let deleted = onvif.iter().filter(|m| m["payload"]["Frame"][0]["ObjectTree"].is_object()).count();
    assert_eq!(deleted, 2, "{onvif:?}");
}

#[test]
fn a_zone_says_who_is_in_it() {
    let lines = [
        zone("zone.enter", 2, "02.000"),
        zone("zone.enter", 11, "03.000"),
        zone("zone.dwell", 2, "03.500"),
        zone("zone.exit", 2, "04.000"),
    ];
    let onvif = told(Format::Onvif, &lines, false);
    let who: Vec<&str> = onvif.iter().map(|m| m["payload"]["Data"]["ObjectId"].as_str().unwrap_or("deleted")).collect();
    assert_eq!(who, ["2", "2 11", "2", "11", "deleted"]);
    assert_eq!(onvif[2]["payload"]["Data"]["Since"], "1970-01-01T00:00:02.000Z");
    assert!(onvif.iter().all(|m| m["retain"] == true));
}

/// ONVIF's frame goes from -1 to 1 and upwards.
#[test]
fn boxes_are_turned_over() {
    let onvif = told(Format::Onvif, &[appeared(1)], false);
    let shape = &onvif[0]["payload"]["Frame"][0]["Object"][0]["Appearance"]["Shape"];
    let wanted = serde_json::json!({"@left": -0.8, "@top": 0.6, "@right": -0.2, "@bottom": -0.2});
    assert_eq!(shape["BoundingBox"], wanted);
    assert_eq!(shape["CenterOfGravity"], serde_json::json!({"@x": -0.5, "@y": 0.2}));
}

/// Only an eye gone astray tells of so many; memory must not grow with what it says.
#[test]
fn what_is_remembered_is_bounded() {
    let many: Vec<String> = (1..=MAX_OPEN as u64 + 100).map(appeared).collect();
    let frigate = told(Format::Frigate, &many, false);
    let ended: Vec<&Value> = frigate.iter().filter(|m| m["type"] == "end").collect();
    assert_eq!(ended.len(), 100);
    assert!(ended[0]["after"]["id"].as_str().unwrap().ends_with("000001"), "the oldest first");
    let onvif = told(Format::Onvif, &many, false);
    assert_eq!(onvif.iter().filter(|m| m["payload"]["Frame"][0]["ObjectTree"].is_object()).count(), 100);
}
