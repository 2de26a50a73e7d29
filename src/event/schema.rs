//! The shapes of all lines, declared once as data: the JSON Schema that `porchlight schema` prints derives from it, and every
//! line of every test run is validated against that by a foreign validator.

use serde_json::{Map, Value, json};

use super::{
    ByeReason, CameraReason, Direction, DropCause, FaultReason, LeftReason, Part, RevokedReason, SealRule, SealState,
    Seccomp, VERSION, Way,
};

/// What may stand behind a key.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// A whole number from 0.
    Count,
    /// A whole number from 1.
    Ordinal,
    /// A number from 0.
    Amount,
    /// 0..=1.
    Score,
    /// `[x, y, width, height]`, each 0..=1.
    Box,
    /// True or false.
    Bool,
    /// One of a closed set.
    Words(&'static [&'static str]),
    /// Some of a closed set, each at most once.
    WordList(&'static [&'static str]),
    /// A label, or the name of a camera, zone, line or person: at most 64 characters, from cards, configuration or gallery.
    Name,
    /// The same, or null.
    NameOrNull,
    /// 64 hexadecimal digits.
    Sha256,
    /// An object with these fields.
    Object(&'static [Key]),
    /// A list of such objects.
    Objects(&'static [Key]),
}

/// A key of a line.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What stands behind it.
    pub of: Type,
    /// Whether it may be left out.
    pub optional: bool,
}

const fn key(name: &'static str, of: Type) -> Key {
    Key { name, of, optional: false }
}

const fn maybe(name: &'static str, of: Type) -> Key {
    Key { name, of, optional: true }
}

/// A kind of line.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The `type`.
    pub kind: &'static str,
    /// When it is written, for people.
    pub when: &'static str,
    /// The keys after the header, in order.
    pub keys: &'static [Key],
}

const CAMERA: &[Key] =
    &[key("reason", Type::Words(CameraReason::WORDS)), key("attempt", Type::Count), key("retry_ms", Type::Count)];

const COUNTERS: &[Key] = &[
    key("name", Type::NameOrNull),
    key("fps_in", Type::Amount),
    key("fps_done", Type::Amount),
    key("captured", Type::Count),
    key("displaced", Type::Count),
    key("undecodable", Type::Count),
    key("still", Type::Count),
    key("inferred", Type::Count),
    key("failed", Type::Count),
    key("driver_gaps", Type::Count),
];

const LATENCY: &[Key] = &[key("p50", Type::Amount), key("p90", Type::Amount), key("p99", Type::Amount)];

const STATS: &[Key] = &[
    key("interval_ms", Type::Count),
    key("cameras", Type::Objects(COUNTERS)),
    key("latency_ms", Type::Object(LATENCY)),
    key("rss_bytes", Type::Count),
    key("cpu", Type::Amount),
    maybe("temp_c", Type::Amount),
    maybe("throttled", Type::Bool),
    key("bytes_out", Type::Count),
];

const IN_ZONE: &[Key] =
    &[key("track", Type::Ordinal), key("label", Type::Name), key("zone", Type::Name), key("dwell_ms", Type::Count)];

/// Every kind of line.
pub const SHAPES: &[Shape] = &[
    Shape {
        kind: "hello",
        when: "first line, once the seal stands; the only one that may exceed 1024 bytes",
        keys: &[
            key("version", Type::Name),
            key("models", Type::Objects(&[key("name", Type::Name), key("sha256", Type::Sha256)])),
            key("config_sha256", Type::Sha256),
            key(
                "seal",
                Type::Object(&[
                    key("state", Type::Words(SealState::WORDS)),
                    key("landlock_abi", Type::Count),
                    key("seccomp", Type::Words(Seccomp::WORDS)),
                    key("network", Type::Words(Way::WORDS)),
                    key("files", Type::Words(Way::WORDS)),
                    maybe("missing", Type::WordList(SealRule::WORDS)),
                ]),
            ),
            key(
                "cameras",
                Type::Objects(&[
                    key("name", Type::Name),
                    key("source", Type::Name),
                    key("width", Type::Count),
                    key("height", Type::Count),
                    key("fps", Type::Amount),
                    key("format", Type::Name),
                ]),
            ),
        ],
    },
    Shape { kind: "camera.online", when: "a camera delivers", keys: CAMERA },
    Shape { kind: "camera.offline", when: "a camera does not deliver; also at the end of a file", keys: CAMERA },
    Shape { kind: "camera.degraded", when: "a camera delivers worse than it should", keys: CAMERA },
    Shape {
        kind: "track.appeared",
        when: "once, when a track is confirmed",
        keys: &[
            key("track", Type::Ordinal),
            key("label", Type::Name),
            key("score", Type::Score),
            key("box", Type::Box),
            maybe("age_ms", Type::Count),
        ],
    },
    Shape {
        kind: "track.updated",
        when: "on meaningful change, at most once a second for each track",
        keys: &[
            key("track", Type::Ordinal),
            key("label", Type::Name),
            key("score", Type::Score),
            key("box", Type::Box),
            key("moving", Type::Bool),
            maybe("age_ms", Type::Count),
        ],
    },
    Shape {
        kind: "track.left",
        when: "exactly once for each that appeared",
        keys: &[
            key("track", Type::Ordinal),
            key("label", Type::Name),
            key("box", Type::Box),
            key("dwell_ms", Type::Count),
            key("reason", Type::Words(LeftReason::WORDS)),
        ],
    },
    Shape {
        kind: "identity.recognized",
        when: "a known person, once for each track unless it changes; only with a gallery",
        keys: &[
            key("track", Type::Ordinal),
            key("name", Type::Name),
            key("similarity", Type::Score),
            key("margin", Type::Score),
            key("faces", Type::Ordinal),
        ],
    },
    Shape {
        kind: "identity.unknown",
        when: "enough good faces seen and nobody matched; only with a gallery",
        keys: &[key("track", Type::Ordinal), key("faces", Type::Ordinal)],
    },
    Shape {
        kind: "identity.revoked",
        when: "later evidence withdrew the name, or the person is no longer in the gallery",
        keys: &[key("track", Type::Ordinal), key("name", Type::Name), key("reason", Type::Words(RevokedReason::WORDS))],
    },
    Shape {
        kind: "zone.enter",
        when: "a track came into a zone, or appeared in it",
        keys: &[key("track", Type::Ordinal), key("label", Type::Name), key("zone", Type::Name)],
    },
    Shape { kind: "zone.exit", when: "exactly once for each enter, before the track's left", keys: IN_ZONE },
    Shape { kind: "zone.dwell", when: "once a stay, when it has lasted as long as was asked for", keys: IN_ZONE },
    Shape {
        kind: "line.crossed",
        when: "a track's anchor was clear of the line on one side and then on the other",
        keys: &[
            key("track", Type::Ordinal),
            key("label", Type::Name),
            key("line", Type::Name),
            key("direction", Type::Words(Direction::WORDS)),
        ],
    },
    Shape { kind: "stats", when: "every minute", keys: STATS },
    Shape {
        kind: "dropped",
        when: "the output cap made track.updated lines give way",
        keys: &[key("count", Type::Ordinal), key("cause", Type::Words(DropCause::WORDS))],
    },
    Shape {
        kind: "fault",
        when: "a part failed and was replaced",
        keys: &[
            key("part", Type::Words(Part::WORDS)),
            key("reason", Type::Words(FaultReason::WORDS)),
            key("restarted", Type::Bool),
        ],
    },
    Shape {
        kind: "bye",
        when: "last line",
        keys: &[key("reason", Type::Words(ByeReason::WORDS)), key("totals", Type::Object(STATS))],
    },
];

fn of(ty: Type) -> Value {
    match ty {
        Type::Count => json!({"type": "integer", "minimum": 0}),
        Type::Ordinal => json!({"type": "integer", "minimum": 1}),
        Type::Amount => json!({"type": "number", "minimum": 0}),
        Type::Score => json!({"type": "number", "minimum": 0, "maximum": 1}),
        Type::Box => json!({
            "type": "array", "minItems": 4, "maxItems": 4,
            "items": {"type": "number", "minimum": 0, "maximum": 1}
        }),
        Type::Bool => json!({"type": "boolean"}),
        Type::Words(words) => json!({"enum": words}),
        Type::WordList(words) => json!({"type": "array", "uniqueItems": true, "items": {"enum": words}}),
        Type::Name => json!({"type": "string", "minLength": 1, "maxLength": 64}),
        Type::NameOrNull => json!({"type": ["string", "null"], "minLength": 1, "maxLength": 64}),
        Type::Sha256 => json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
        Type::Object(keys) => object(keys.iter().map(|k| (k.name, of(k.of), k.optional))),
        Type::Objects(keys) => json!({"type": "array", "items": of(Type::Object(keys))}),
    }
}

fn object(keys: impl IntoIterator<Item = (&'static str, Value, bool)>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema, optional) in keys {
        properties.insert(name.to_owned(), schema);
        if !optional {
            required.push(name);
        }
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn header(kind: &'static str) -> Vec<(&'static str, Value, bool)> {
    vec![
        ("v", json!({"const": VERSION}), false),
        ("boot", json!({"type": "string", "pattern": "^[0-9a-f]{16}$"}), false),
        ("seq", json!({"type": "integer", "minimum": 0}), false),
        ("type", json!({"const": kind}), false),
        ("ts", json!({"type": "string", "pattern": r"^-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}), false),
        ("camera", of(Type::NameOrNull), false),
    ]
}

/// The JSON Schema (draft 2020-12) of one line.
pub fn schema() -> Value {
    let lines: Vec<Value> = SHAPES
        .iter()
        .map(|shape| {
            let mut keys = header(shape.kind);
            keys.extend(shape.keys.iter().map(|k| (k.name, of(k.of), k.optional)));
            let mut line = object(keys);
            line["title"] = json!(shape.kind);
            line["description"] = json!(shape.when);
            line
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of porchlight's event stream",
        "oneOf": lines,
    })
}
