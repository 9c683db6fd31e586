//! Manifests: objects as people write them, checked, and brought into the form that is stored.

use std::{collections::BTreeMap, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use narthex_cluster::{Expected, OBJECT_BYTES_MAX, Object, ObjectKey, PutObject};
use serde_json::{Map, Value, json};

use crate::{Kind, Note, Problem, Reference, schema, semantics};

/// What stands in the place of a secret.
pub const MASKED: &str = "<secret>";
/// Where kubectl keeps what was applied last: of a Secret, its secrets.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Nesting of an object at most.
const DEPTH_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Fields of metadata that are stored beside the body, or that the cluster says.
const METADATA_BESIDE: &[&str] = &[
    "name",
    "namespace",
    "labels",
    "annotations",
    "resourceVersion",
    "uid",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
];

/// An object that could be stored.
#[derive(Clone, PartialEq)]
pub struct Manifest {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub key: ObjectKey,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The revision that whoever wrote it has seen, where it says one.
    pub resource_version: Option<u64>,
    /// All else: canonical JSON. May hold secrets.
    pub body: Arc<[u8]>,
    /// Fields that have no effect.
    pub notes: Vec<Note>,
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Manifest {
    /// Checks a document whole: its fields, and what they say. One that names no namespace is in
    /// `namespace`.
    pub fn read(document: Value, namespace: &str) -> Result<Self, Vec<Problem>> {
        check_depth(&document, DEPTH_MAX)
            .map_err(|()| vec![Problem::new("", format!("nested deeper than {DEPTH_MAX}"))])?;
        let document = without_nulls(document);
        let text = |name: &str| document[name].as_str().unwrap_or_default();
        let (version, named) = (text("apiVersion").to_owned(), text("kind").to_owned());
        let kind = Kind::of_object(&version, &named)
            .map_err(|error| vec![Problem::new("kind", error.to_string())])?;
        let checked = schema::check(kind, &version, &document);
        let mut problems = checked.problems;
        if problems.is_empty() {
            problems = check_metadata(kind, &document["metadata"]);
        }
        if problems.is_empty() {
            problems = semantics::check(kind, &document);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Self::build(kind, document, namespace, checked.notes).map_err(|problem| vec![problem])
    }

    fn build(
        kind: Kind,
        mut document: Value,
        namespace: &str,
        mut notes: Vec<Note>,
    ) -> Result<Self, Problem> {
        let metadata = document["metadata"].take();
        let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey {
            group: kind.group().to_owned(),
            kind: kind.name().to_owned(),
            namespace: match (kind.is_namespaced(), text("namespace")) {
                (false, _) => String::new(),
                (true, named) if named.is_empty() => namespace.to_owned(),
                (true, named) => named,
            },
            name: text("name"),
        };
        let resource_version = match text("resourceVersion").as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Problem::new("metadata.resourceVersion", format!("{text:?} is no revision"))
            })?),
        };
        if kind == Kind::Alertmanager || kind == Kind::AlertmanagerConfig {
            let message = "alerts are not sent in this version of Narthex; it is checked and kept";
            notes.push(Note { path: "kind".to_owned(), message: message.to_owned() });
        }
        let body = body(kind, document, &metadata)?;
        let bytes = body.len() as u64;
        if bytes > OBJECT_BYTES_MAX {
            let message = format!("{bytes} bytes are more than the {OBJECT_BYTES_MAX} allowed");
            return Err(Problem::new("spec", message));
        }
        let (labels, annotations) = (texts(&metadata["labels"]), texts(&metadata["annotations"]));
        Ok(Self { kind, key, labels, annotations, resource_version, body: body.into(), notes })
    }

    /// The change that makes it state of the cluster. `uid` is drawn at random.
    pub fn put(&self, uid: u128) -> PutObject {
        PutObject {
            key: self.key.clone(),
            expected: self.resource_version.map_or(Expected::Any, Expected::Revision),
            uid,
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            body: Arc::clone(&self.body),
        }
    }

    /// What it refers to in Secrets and ConfigMaps of its namespace.
    pub fn references(&self) -> Vec<Reference> {
        let body = self.value();
        let version = body["apiVersion"].as_str().unwrap_or_default().to_owned();
        schema::references(self.kind, &version, &body)
    }

    /// The body, parsed.
    pub fn value(&self) -> Value {
        parse_body(&self.body)
    }
}

/// An object as it is shown: with what the cluster says of it, and a Secret's secrets masked unless
/// they are asked for.
pub fn render(object: &Object, show_secrets: bool) -> Value {
    let mut shown = parse_body(&object.body);
    let mut metadata = match shown["metadata"].take() {
        Value::Object(kept) => kept,
        _ => Map::new(),
    };
    let mut annotations = object.annotations.clone();
    if !show_secrets && object.key.kind == Kind::Secret.name() {
        mask(&mut shown["data"]);
        if let Some(applied) = annotations.get_mut(LAST_APPLIED) {
            MASKED.clone_into(applied);
        }
    }
    metadata.insert("name".into(), object.key.name.as_str().into());
    if !object.key.namespace.is_empty() {
        metadata.insert("namespace".into(), object.key.namespace.as_str().into());
    }
    if !object.labels.is_empty() {
        metadata.insert("labels".into(), json!(object.labels));
    }
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), json!(annotations));
    }
    metadata.insert("uid".into(), uid_text(object.uid).into());
    metadata.insert("resourceVersion".into(), object.revision.to_string().into());
    metadata.insert("generation".into(), object.generation.into());
    metadata.insert("creationTimestamp".into(), time_text(object.created.millis()).into());
    shown["metadata"] = Value::Object(metadata);
    without_nulls(shown)
}

/// The body of an object; one that is no JSON, which none of ours is, is nothing.
pub(crate) fn parse_body(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

fn mask(data: &mut Value) {
    for value in data.as_object_mut().into_iter().flat_map(Map::values_mut) {
        *value = MASKED.into();
    }
}

/// A UUID in its usual form.
pub(crate) fn uid_text(uid: u128) -> String {
    let hex = format!("{uid:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// RFC 3339 in whole seconds, by the proleptic Gregorian calendar.
fn time_text(millis: i64) -> String {
    let seconds = millis.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since the first of March of year 0, in cycles of 400 years.
    let shifted = days + 719_468;
    let (cycle, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_cycle = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What is stored of a document without its metadata; maps are sorted, so equal documents give
/// equal bytes.
fn body(kind: Kind, mut document: Value, metadata: &Value) -> Result<Vec<u8>, Problem> {
    let map = document.as_object_mut().expect("the table asks for an object");
    map.remove("metadata");
    if !kind.keeps_status() {
        map.remove("status");
    }
    let kept = metadata.as_object().into_iter().flatten();
    let kept: Map<String, Value> = kept
        .filter(|(name, _)| !METADATA_BESIDE.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !kept.is_empty() {
        map.insert("metadata".into(), Value::Object(kept));
    }
    if kind == Kind::Secret {
        encode_plain_secrets(map)?;
    }
    Ok(document.to_string().into_bytes())
}

/// `stringData` becomes part of `data`, which is base64.
fn encode_plain_secrets(secret: &mut Map<String, Value>) -> Result<(), Problem> {
    if let Some(Value::Object(data)) = secret.get("data") {
        for (key, value) in data {
            let text = value.as_str().unwrap_or_default();
            if STANDARD.decode(text.replace(['\n', '\r'], "")).is_err() {
                return Err(Problem::new(format!("data[{key}]"), "it is not base64"));
            }
        }
    }
    let Some(Value::Object(plain)) = secret.remove("stringData") else { return Ok(()) };
    let data = secret.entry("data").or_insert_with(|| json!({}));
    for (key, value) in plain {
        data[key] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
    }
    Ok(())
}

fn texts(map: &Value) -> BTreeMap<String, String> {
    let pairs = map.as_object().into_iter().flatten();
    let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    pairs.filter_map(pair).collect()
}

/// Nothing is the same as not there, everywhere in an object.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        value => value,
    }
}

fn check_depth(value: &Value, left: usize) -> Result<(), ()> {
    let left = left.checked_sub(1).ok_or(())?;
    match value {
        Value::Object(map) => map.values().try_for_each(|value| check_depth(value, left)),
        Value::Array(items) => items.iter().try_for_each(|value| check_depth(value, left)),
        _ => Ok(()),
    }
}

fn check_metadata(kind: Kind, metadata: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |path: &str, message: String| {
        problems.push(Problem::new(format!("metadata.{path}"), message));
    };
    let text = |name: &str| metadata[name].as_str().unwrap_or_default();
    let (name, namespace) = (text("name"), text("namespace"));
    if !is_name(name, NAME_BYTES_MAX) {
        wrong("name", format!("{name:?} is no name: want a-z, 0-9, '-' and '.', at most 253"));
    }
    if !kind.is_namespaced() && !namespace.is_empty() {
        wrong("namespace", format!("a {kind} is in no namespace, got {namespace:?}"));
    }
    if !namespace.is_empty() && (!is_name(namespace, LABEL_BYTES_MAX) || namespace.contains('.')) {
        wrong("namespace", format!("{namespace:?} is no name: want a-z, 0-9 and '-', at most 63"));
    }
    if !text("generateName").is_empty() {
        wrong("generateName", "names are not drawn here; give metadata.name".to_owned());
    }
    for (name, value) in texts(&metadata["labels"]) {
        if !is_label_key(&name) {
            wrong(&format!("labels[{name}]"), "it is no label's name".to_owned());
        }
        if !is_label_value(&value) {
            wrong(&format!("labels[{name}]"), format!("{value:?} is no label's value"));
        }
    }
    for name in texts(&metadata["annotations"]).keys().filter(|name| !is_label_key(name)) {
        wrong(&format!("annotations[{name}]"), "it is no annotation's name".to_owned());
    }
    problems
}

fn is_name(name: &str, bytes_max: usize) -> bool {
    let is_edge = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let is_inner = |byte: u8| is_edge(Some(byte)) || matches!(byte, b'-' | b'.');
    let mut bytes = name.bytes();
    name.len() <= bytes_max
        && is_edge(bytes.clone().next())
        && is_edge(bytes.clone().next_back())
        && bytes.all(is_inner)
}

/// A label's value: empty, or letters, digits, `-`, `_` and `.` between letters and digits.
fn is_label_value(value: &str) -> bool {
    let is_edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    let mut bytes = value.bytes();
    value.len() <= LABEL_BYTES_MAX
        && is_edge(bytes.clone().next())
        && is_edge(bytes.clone().next_back())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A label's name, with a domain in front or without.
fn is_label_key(key: &str) -> bool {
    let (domain, name) =
        key.rsplit_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    domain.is_none_or(|domain| is_name(&domain.to_lowercase(), NAME_BYTES_MAX))
        && !name.is_empty()
        && is_label_value(name)
}

#[cfg(test)]
mod tests;
