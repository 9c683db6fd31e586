//! What an object says, beyond the types of its fields: times that fit, expressions that parse,
//! names that exist.

mod alerts;
mod relabeling;
mod rules;
mod scraping;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Kind, Problem, types::LabelSelector};

/// What is wrong with a document that fits its table.
pub(crate) fn check(kind: Kind, document: &Value) -> Vec<Problem> {
    let mut findings = Findings { path: "spec".to_owned(), problems: Vec::new() };
    let spec = &document["spec"];
    match kind {
        Kind::ServiceMonitor => findings.read(spec, |it, spec| scraping::monitor(it, spec, false)),
        Kind::PodMonitor => findings.read(spec, |it, spec| scraping::monitor(it, spec, true)),
        Kind::Probe => findings.read(spec, scraping::probe),
        Kind::ScrapeConfig => {
            scraping::discoveries(&mut findings, spec);
            findings.read(spec, scraping::scrape_config);
        }
        Kind::Prometheus => findings.read(spec, scraping::prometheus),
        Kind::PrometheusRule => rules::check(&mut findings, spec),
        Kind::AlertmanagerConfig => alerts::check(&mut findings, spec),
        _ => {}
    }
    findings.problems
}

/// Problems, and the path of what is looked at.
pub(crate) struct Findings {
    path: String,
    problems: Vec<Problem>,
}

impl Findings {
    fn wrong(&mut self, message: impl Into<String>) {
        self.problems.push(Problem::new(self.path.clone(), message));
    }

    fn at<T>(&mut self, part: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        if !part.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(part);
        let seen = look(self);
        self.path.truncate(before);
        seen
    }

    fn wrong_at(&mut self, part: &str, message: impl Into<String>) {
        self.at(part, |it| it.wrong(message));
    }

    fn each<'a, T: 'a>(
        &mut self,
        part: &str,
        items: impl IntoIterator<Item = &'a T>,
        mut look: impl FnMut(&mut Self, &'a T),
    ) {
        for (at, item) in items.into_iter().enumerate() {
            self.at(&format!("{part}[{at}]"), |it| look(it, item));
        }
    }

    /// Looks at what a value says. That it can be read was checked, but for numbers beyond their
    /// type.
    fn read<T: DeserializeOwned>(&mut self, value: &Value, look: impl FnOnce(&mut Self, &T)) {
        match T::deserialize(value) {
            Ok(read) => look(self, &read),
            Err(error) => self.wrong(error.to_string()),
        }
    }

    fn selector(&mut self, part: &str, selector: &LabelSelector) {
        self.at(part, |it| {
            it.each("matchExpressions", &selector.match_expressions, |it, expression| {
                let is_empty = expression.values.is_empty();
                match expression.operator.as_str() {
                    "In" | "NotIn" if is_empty => it.wrong_at("values", "In and NotIn need values"),
                    "Exists" | "DoesNotExist" if !is_empty => {
                        it.wrong_at("values", "Exists and DoesNotExist take no values");
                    }
                    "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                    other => it.wrong_at(
                        "operator",
                        format!("want one of In, NotIn, Exists, DoesNotExist, got {other:?}"),
                    ),
                }
            });
        });
    }
}

#[cfg(test)]
mod tests;
