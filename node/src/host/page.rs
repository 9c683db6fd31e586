//! A page in the text format under construction.

use std::collections::BTreeMap;

use narthex_model::number;

/// Kinds of metrics on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// Families in the order of their names.
#[derive(Debug, Default)]
pub struct Page {
    families: BTreeMap<String, Family>,
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Family {
    name: String,
    help: &'static str,
    kind: Kind,
    samples: Vec<u8>,
}

impl Page {
    /// The family of that name, which is new or was begun before.
    pub fn family(&mut self, name: &str, help: &'static str, kind: Kind) -> &mut Family {
        let new = || Family { name: name.to_owned(), help, kind, samples: Vec::new() };
        self.families.entry(name.to_owned()).or_insert_with(new)
    }

    /// Adds a sample to a counter.
    pub fn counter(&mut self, name: &str, help: &'static str, labels: &[(&str, &str)], value: f64) {
        self.family(name, help, Kind::Counter).add(labels, value);
    }

    /// Adds a sample to a gauge.
    pub fn gauge(&mut self, name: &str, help: &'static str, labels: &[(&str, &str)], value: f64) {
        self.family(name, help, Kind::Gauge).add(labels, value);
    }

    /// The text of the page.
    pub fn finish(self) -> String {
        let mut text = Vec::with_capacity(32 << 10);
        for Family { name, help, kind, samples } in self.families.into_values() {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            text.extend_from_slice(head.as_bytes());
            text.extend_from_slice(&samples);
        }
        String::from_utf8(text).expect("a page is made of texts")
    }
}

impl Family {
    /// Adds a sample. Labels come in the order of their names.
    pub fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        debug_assert!(labels.is_sorted_by_key(|(name, _)| *name), "labels of {}", self.name);
        self.samples.extend_from_slice(self.name.as_bytes());
        for (at, (name, value)) in labels.iter().enumerate() {
            self.samples.push(if at == 0 { b'{' } else { b',' });
            self.samples.extend_from_slice(name.as_bytes());
            self.samples.extend_from_slice(b"=\"");
            self.samples.extend_from_slice(escaped(value).as_bytes());
            self.samples.push(b'"');
        }
        if !labels.is_empty() {
            self.samples.push(b'}');
        }
        self.samples.push(b' ');
        number::push_exposition(&mut self.samples, value);
        self.samples.push(b'\n');
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
