//! ONVIF Profile M's JSON: events as the Core specification's "JSON Event Payload" has them, with the topics and items of the
//! rule engine of the Analytics service specification; what is seen of objects as the latter's "JSON over MQTT" metadata.
//!
//! Both are published under a topic that says what the payload is about, so a line is `{"topic","retain","payload"}`: the topic
//! without a prefix for the device, whether the broker shall keep it (ONVIF's property events), and the payload, where `null`
//! stands for no bytes at all (a property that is deleted).
//!
//! Items that ONVIF does not know carry the prefix `porchlight:`, as it asks of vendors.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{MAX_OPEN, Native, put};

/// The namespace of what ONVIF does not define.
const NAMESPACE: &str = "urn:porchlight";

/// The name of the analytics module and of the rules that need no configuration.
const MODULE: &str = "porchlight";

#[derive(Serialize)]
struct Publish<P> {
    topic: String,
    retain: bool,
    payload: P,
}

/// An event; the order of the keys is the specification's.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event<'a, D> {
    utc_time: &'a str,
    source: Source<'a>,
    data: D,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Source<'a> {
    #[serde(rename_all = "PascalCase")]
    Rule { video_source: &'a str, rule: &'a str },
    #[serde(rename_all = "PascalCase")]
    Camera { source: &'a str },
}

/// Whom a rule is about: lists of words with a space between them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Objects {
    object_id: String,
    class_types: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Inside {
    #[serde(flatten)]
    objects: Objects,
    is_inside: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Loitering<'a> {
    #[serde(flatten)]
    objects: Objects,
    since: &'a str,
}

#[derive(Serialize)]
struct Crossed<'a> {
    #[serde(flatten)]
    objects: Objects,
    #[serde(rename = "porchlight:Direction")]
    direction: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Face<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    likelihood: Option<f64>,
    object_id: ObjectId,
    #[serde(rename = "EnrollmentID", skip_serializing_if = "Option::is_none")]
    enrollment_id: Option<&'a str>,
    #[serde(rename = "porchlight:Reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct State {
    #[serde(rename = "State")]
    state: bool,
}

#[derive(Serialize)]
struct ObjectId {
    #[serde(rename = "@ObjectId")]
    id: u64,
}

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(rename = "Frame")]
    frame: [Frame<'a>; 1],
}

#[derive(Serialize)]
struct Frame<'a> {
    #[serde(rename = "@UtcTime")]
    utc_time: &'a str,
    #[serde(rename = "@Source")]
    source: &'static str,
    #[serde(rename = "@context", skip_serializing_if = "Option::is_none")]
    context: Option<Context>,
    #[serde(rename = "Object", skip_serializing_if = "Option::is_none")]
    object: Option<[Object<'a>; 1]>,
    #[serde(rename = "ObjectTree", skip_serializing_if = "Option::is_none")]
    tree: Option<Tree>,
}

#[derive(Serialize)]
struct Context {
    porchlight: &'static str,
}

#[derive(Serialize)]
struct Tree {
    #[serde(rename = "Delete")]
    delete: [ObjectId; 1],
}

#[derive(Serialize)]
struct Object<'a> {
    #[serde(rename = "@ObjectId")]
    id: u64,
    #[serde(rename = "Appearance")]
    appearance: Appearance<'a>,
    #[serde(rename = "Behaviour", skip_serializing_if = "Option::is_none")]
    behaviour: Option<Behaviour>,
}

/// Its one element is empty, and `null` is an empty element.
#[derive(Serialize)]
struct Behaviour {
    #[serde(rename = "Idle")]
    idle: (),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Appearance<'a> {
    shape: Shape,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vehicle_info: Option<[Vehicle; 1]>,
    #[serde(rename = "porchlight:Label")]
    label: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shape {
    bounding_box: Rectangle,
    center_of_gravity: Vector,
}

#[derive(Serialize)]
struct Rectangle {
    #[serde(rename = "@left")]
    left: f64,
    #[serde(rename = "@top")]
    top: f64,
    #[serde(rename = "@right")]
    right: f64,
    #[serde(rename = "@bottom")]
    bottom: f64,
}

#[derive(Serialize)]
struct Vector {
    #[serde(rename = "@x")]
    x: f64,
    #[serde(rename = "@y")]
    y: f64,
}

#[derive(Serialize)]
struct Class {
    #[serde(rename = "Type")]
    types: [Likely; 1],
}

#[derive(Serialize)]
struct Vehicle {
    #[serde(rename = "Type")]
    kind: Likely,
}

#[derive(Clone, Copy, Serialize)]
struct Likely {
    #[serde(rename = "@Likelihood")]
    likelihood: f64,
    #[serde(rename = "#text")]
    text: &'static str,
}

/// ONVIF's word for a label (tt:ObjectType), and for a kind of vehicle (tt:VehicleType). Labels of any other model are told as
/// they are, in `porchlight:Label` alone.
fn words(label: &str) -> (Option<&'static str>, Option<&'static str>) {
    match label {
        "person" => (Some("Human"), None),
        "face" => (Some("HumanFace"), None),
        "bicycle" => (Some("Bicycle"), Some("Bicycle")),
        "motorcycle" => (Some("Bike"), Some("Motorcycle")),
        "car" => (Some("Vehicle"), Some("Car")),
        "bus" => (Some("Vehicle"), Some("Bus")),
        "truck" => (Some("Vehicle"), Some("Truck")),
        "airplane" | "train" | "boat" => (Some("Vehicle"), None),
        "bird" | "cat" | "dog" | "horse" | "sheep" | "cow" | "elephant" | "bear" | "zebra" | "giraffe" => {
            (Some("Animal"), None)
        }
        _ => (None, None),
    }
}

/// A level of a topic: what MQTT and ONVIF give a meaning is left out.
fn level(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '/' | '#' | '+' | '&') && !c.is_control()).collect()
}

fn rule_topic(rule: &str, camera: &str, name: &str) -> String {
    format!("onvif-ej/{rule}/&{}/{}", level(camera), level(name))
}

const INSIDE: &str = "RuleEngine/FieldDetector/ObjectsInside";
const LOITERING: &str = "RuleEngine/LoiteringDetector/ObjectIsLoitering";
const CROSSED: &str = "RuleEngine/LineDetector/Crossed";

fn objects<'a>(of: impl IntoIterator<Item = (&'a u64, &'a &'static str)>) -> Objects {
    let (mut ids, mut classes) = (Vec::new(), Vec::new());
    for (id, class) in of {
        ids.push(id.to_string());
        classes.push(*class);
    }
    Objects { object_id: ids.join(" "), class_types: classes.join(" ") }
}

/// Who is in a zone.
#[derive(Debug, Default)]
struct Field {
    inside: BTreeMap<u64, &'static str>,
    loitering: BTreeMap<u64, &'static str>,
    /// Since when somebody has been loitering.
    since: String,
}

/// The properties as they were told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By camera and zone.
    fields: BTreeMap<(String, String), Field>,
    /// Objects that were not deleted yet, with their camera.
    open: BTreeMap<u64, String>,
    now: String,
}

impl Told {
    /// Writes the messages that a line makes.
    pub(super) fn tell(&mut self, line: &Native<'_>, out: &mut Vec<u8>) {
        let (camera, ts) = (line.camera(), line.ts);
        ts.clone_into(&mut self.now);
        match line.kind {
            "camera.online" | "camera.offline" => {
                signal(camera, ts, line.kind == "camera.offline", out);
            }
            "identity.recognized" | "identity.unknown" | "identity.revoked" => identity(line, out),
            _ => {}
        }
        let Some(track) = line.track else { return };
        let class = words(line.label()).0.unwrap_or("Other");
        match (line.kind, line.zone.as_deref()) {
            ("track.appeared" | "track.updated", _) => {
                if self.open.len() >= MAX_OPEN
                    && !self.open.contains_key(&track)
                    && let Some((oldest, of)) = self.open.pop_first()
                {
                    delete(&of, oldest, ts, out);
                }
                self.open.insert(track, camera.to_owned());
                seen(line, track, out);
            }
            ("track.left", _) => {
                self.open.remove(&track);
                delete(camera, track, ts, out);
            }
            ("line.crossed", _) => {
                let rule = line.line.as_deref().unwrap_or_default();
                let data =
                    Crossed { objects: objects([(&track, &class)]), direction: line.direction.unwrap_or_default() };
                let source = Source::Rule { video_source: camera, rule };
                let payload = Event { utc_time: ts, source, data };
                put(&Publish { topic: rule_topic(CROSSED, camera, rule), retain: false, payload }, out);
            }
            ("zone.enter", Some(zone)) => {
                let field = self.fields.entry((camera.to_owned(), zone.to_owned())).or_default();
                if field.inside.len() < MAX_OPEN {
                    field.inside.insert(track, class);
                }
                field.say_inside(camera, zone, ts, out);
            }
            ("zone.dwell", Some(zone)) => {
                let field = self.fields.entry((camera.to_owned(), zone.to_owned())).or_default();
                if field.loitering.is_empty() {
                    // Since it came into the zone.
                    let stayed = i64::try_from(line.dwell_ms.unwrap_or_default()).unwrap_or_default();
                    field.since = crate::event::line::UtcMs(line.ms().saturating_sub(stayed)).to_string();
                }
                if field.loitering.len() < MAX_OPEN {
                    field.loitering.insert(track, class);
                }
                field.say_loitering(camera, zone, ts, out);
            }
            ("zone.exit", Some(zone)) => {
                let key = (camera.to_owned(), zone.to_owned());
                let Some(field) = self.fields.get_mut(&key) else { return };
                field.inside.remove(&track);
                field.say_inside(camera, zone, ts, out);
                if field.loitering.remove(&track).is_some() {
                    field.say_loitering(camera, zone, ts, out);
                }
                if field.inside.is_empty() && field.loitering.is_empty() {
                    self.fields.remove(&key);
                }
            }
            _ => {}
        }
    }

    /// Empties all zones and deletes all objects.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        for ((camera, zone), mut field) in std::mem::take(&mut self.fields) {
            field.inside.clear();
            field.say_inside(&camera, &zone, &self.now, out);
            if !std::mem::take(&mut field.loitering).is_empty() {
                field.say_loitering(&camera, &zone, &self.now, out);
            }
        }
        for (track, camera) in std::mem::take(&mut self.open) {
            delete(&camera, track, &self.now, out);
        }
    }
}

impl Field {
    fn say_inside(&self, camera: &str, zone: &str, ts: &str, out: &mut Vec<u8>) {
        let data = Inside { objects: objects(&self.inside), is_inside: !self.inside.is_empty() };
        let source = Source::Rule { video_source: camera, rule: zone };
        let payload = Event { utc_time: ts, source, data };
        put(&Publish { topic: rule_topic(INSIDE, camera, zone), retain: true, payload }, out);
    }

    fn say_loitering(&self, camera: &str, zone: &str, ts: &str, out: &mut Vec<u8>) {
        let topic = rule_topic(LOITERING, camera, zone);
        if self.loitering.is_empty() {
            return put(&Publish { topic, retain: true, payload: None::<()> }, out);
        }
        let data = Loitering { objects: objects(&self.loitering), since: &self.since };
        let source = Source::Rule { video_source: camera, rule: zone };
        put(&Publish { topic, retain: true, payload: Event { utc_time: ts, source, data } }, out);
    }
}

fn signal(camera: &str, ts: &str, state: bool, out: &mut Vec<u8>) {
    let payload = Event { utc_time: ts, source: Source::Camera { source: camera }, data: State { state } };
    put(&Publish { topic: format!("onvif-ej/VideoSource/SignalLoss/&{}", level(camera)), retain: true, payload }, out);
}

/// A person of the gallery was recognised; that nobody was, or that it was a mistake, ONVIF has no topic for.
fn identity(line: &Native<'_>, out: &mut Vec<u8>) {
    let Some(track) = line.track else { return };
    let (topic, reason) = match line.kind {
        "identity.recognized" => ("RuleEngine/Recognition/Face", None),
        "identity.unknown" => ("RuleEngine/Recognition/porchlight:Unknown", None),
        _ => ("RuleEngine/Recognition/porchlight:Revoked", line.reason),
    };
    let data = Face {
        likelihood: line.similarity,
        object_id: ObjectId { id: track },
        enrollment_id: line.name.as_deref(),
        reason,
    };
    let source = Source::Rule { video_source: line.camera(), rule: MODULE };
    let payload = Event { utc_time: line.ts, source, data };
    put(&Publish { topic: rule_topic(topic, line.camera(), MODULE), retain: false, payload }, out);
}

fn metadata(camera: &str, frame: Frame<'_>, out: &mut Vec<u8>) {
    let topic = format!("onvif-mj/VideoAnalytics/{}/{MODULE}", level(camera));
    put(&Publish { topic, retain: false, payload: Metadata { frame: [frame] } }, out);
}

fn delete(camera: &str, track: u64, ts: &str, out: &mut Vec<u8>) {
    let tree = Some(Tree { delete: [ObjectId { id: track }] });
    metadata(camera, Frame { utc_time: ts, source: MODULE, context: None, object: None, tree }, out);
}

/// ONVIF's frame goes from -1 to 1, and upwards; ours in ten-thousandths from 0 to 1, and downwards.
fn seen(line: &Native<'_>, track: u64, out: &mut Vec<u8>) {
    let [x, y, w, h] = line.bbox.unwrap_or_default();
    let tidy = |v: f64| (v * 1e4).round() / 1e4;
    let (across, up) = (|v: f64| tidy(2.0 * v - 1.0), |v: f64| tidy(1.0 - 2.0 * v));
    let bounding_box = Rectangle { left: across(x), top: up(y), right: across(x + w), bottom: up(y + h) };
    let center_of_gravity = Vector { x: across(x + w / 2.0), y: up(y + h / 2.0) };
    let likely = |text| Likely { likelihood: line.score.unwrap_or_default(), text };
    let (class, vehicle) = words(line.label());
    let object = Object {
        id: track,
        appearance: Appearance {
            shape: Shape { bounding_box, center_of_gravity },
            class: class.map(|c| Class { types: [likely(c)] }),
            vehicle_info: vehicle.map(|v| [Vehicle { kind: likely(v) }]),
            label: line.label(),
        },
        behaviour: (line.moving == Some(false)).then_some(Behaviour { idle: () }),
    };
    let context = Some(Context { porchlight: NAMESPACE });
    metadata(
        line.camera(),
        Frame { utc_time: line.ts, source: MODULE, context, object: Some([object]), tree: None },
        out,
    );
}
