//! Version 1 of the events is a promise: what a reader of the committed schema relies on stays. `tests/schemas/events-v1.json` is
//! what was last promised; lines may say more than that, never less. After a release it is written anew with
//! `PORCHLIGHT_WRITE_GOLDEN=1 cargo test --test main compat`, and a review sees what is promised from then on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{root, run};

/// What the newer schema takes away from readers of the older one, each as the path to it.
fn broken(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", "", old, new, &mut found);
    found
}

/// `keyword` is what `old` and `new` stand behind.
fn compare(path: &str, keyword: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (keyword, old, new) {
        ("description" | "title", ..) => {}
        // Names, each with its own schema: others may join.
        ("properties", Value::Object(old), Value::Object(new)) => {
            for (name, schema) in old {
                match new.get(name) {
                    Some(now) => compare(&format!("{path}.{name}"), "", schema, now, found),
                    None => found.push(format!("{path}.{name}: gone")),
                }
            }
        }
        // Sets: more words, more keys that are always there.
        ("enum" | "required", Value::Array(old), Value::Array(new)) => {
            let lost = old.iter().filter(|word| !new.contains(word));
            found.extend(lost.map(|word| format!("{path}: {keyword} lost {word}")));
        }
        // The kinds of events, known by their names.
        ("oneOf", Value::Array(old), Value::Array(new)) => {
            let kind = |event: &Value| event["properties"]["type"]["const"].to_string();
            let now: BTreeMap<_, _> = new.iter().map(|event| (kind(event), event)).collect();
            for event in old {
                match now.get(&kind(event)) {
                    Some(new) => compare(&kind(event), "", event, new, found),
                    None => found.push(format!("{}: gone", kind(event))),
                }
            }
        }
        (_, Value::Object(old), Value::Object(new)) => {
            for (word, value) in old {
                match new.get(word) {
                    Some(now) => compare(path, word, value, now, found),
                    None => found.push(format!("{path}: {word} gone")),
                }
            }
            let added = new.keys().filter(|word| !old.contains_key(*word) && *word != "description");
            found.extend(added.map(|word| format!("{path}: {word} is new, which narrows")));
        }
        (_, old, new) if old == new => {}
        (_, old, new) => found.push(format!("{path}: {keyword} was {old}, is {new}")),
    }
}

fn schema() -> Value {
    serde_json::from_str(&run(&["schema"]).stdout).expect("the schema is JSON")
}

#[test]
fn nothing_that_was_promised_is_taken_away() {
    let path = root().join("tests/schemas/events-v1.json");
    let new = schema();
    let held = std::fs::read_to_string(&path).ok().map(|text| serde_json::from_str(&text).expect("JSON"));
    let lost = held.as_ref().map_or_else(Vec::new, |old| broken(old, &new));
    assert!(lost.is_empty(), "readers of version 1 rely on it: {lost:#?}");
    if std::env::var_os("PORCHLIGHT_WRITE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&new).expect("JSON");
        std::fs::write(&path, text + "\n").expect("written");
    } else {
        assert!(held.is_some(), "{} is missing", path.display());
    }
}

/// The event of this name, in a schema.
fn event<'a>(schema: &'a mut Value, name: &str) -> &'a mut Value {
    let events = schema["oneOf"].as_array_mut().expect("events");
    events.iter_mut().find(|e| e["properties"]["type"]["const"] == name).expect("an event of this name")
}

#[test]
fn what_narrows_is_seen_and_what_adds_is_not() {
    type Change = fn(&mut Value);
    let narrower: [(&str, Change); 8] = [
        ("an event is gone", |s| drop(s["oneOf"].as_array_mut().expect("events").remove(0))),
        ("an event is renamed", |s| event(s, "track.left")["properties"]["type"]["const"] = json!("track.gone")),
        ("a field is gone", |s| {
            let left = event(s, "track.left")["properties"].as_object_mut().expect("fields");
            left.remove("dwell_ms");
        }),
        ("a field may be missing", |s| {
            event(s, "track.left")["required"].as_array_mut().expect("a list").retain(|key| key != "dwell_ms");
        }),
        ("a word is gone", |s| {
            event(s, "track.left")["properties"]["reason"]["enum"].as_array_mut().expect("words").pop();
        }),
        ("a field has another type", |s| event(s, "track.left")["properties"]["track"]["type"] = json!("string")),
        ("a bound has moved", |s| event(s, "bye")["properties"]["seq"]["minimum"] = json!(1)),
        ("a bound is new", |s| event(s, "track.left")["properties"]["track"]["maximum"] = json!(9)),
    ];
    let old = schema();
    for (what, change) in narrower {
        let mut new = old.clone();
        change(&mut new);
        assert_eq!(broken(&old, &new).len(), 1, "{what}: {:?}", broken(&old, &new));
    }
    let mut new = old.clone();
    let mut more = event(&mut new, "bye").clone();
    more["properties"]["type"]["const"] = json!("board.hot");
    new["oneOf"].as_array_mut().expect("events").push(more);
    let left = event(&mut new, "track.left");
    left["properties"]["colour"] = json!({ "type": "string" });
    left["properties"]["reason"]["enum"].as_array_mut().expect("words").push(json!("vanished"));
    left["description"] = json!("told otherwise");
    assert_eq!(broken(&old, &new), [""; 0]);
}
