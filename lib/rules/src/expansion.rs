//! Templates of alerts: what they are executed on.

use std::{collections::BTreeMap, sync::Arc};

use narthex_model::{Labels, Timestamp};
use narthex_promql::Sample;
use narthex_template::{Functions, ParseError, Record, Template, Value};

use crate::functions::{self, PrometheusFunctions, Queries};

/// Variables that every template of an alert has. On one line, as places in errors count them.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                           {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// What templates of alerts see beside the alert.
#[derive(Clone, Copy)]
pub struct Expansion<'a> {
    /// The time of the evaluation, at which queries of templates look.
    pub time: Timestamp,
    /// Labels of everything that leaves the cluster.
    pub external_labels: &'a BTreeMap<String, String>,
    /// Where browsers reach the cluster.
    pub external_url: &'a str,
    /// Answers queries of templates.
    pub queries: &'a dyn Queries,
}

/// Parses a template of the alert of this name.
pub(crate) fn parse(alert: &str, text: &str) -> Result<Template, ParseError> {
    Template::parse(&format!("__alert_{alert}"), &format!("{DEFINITIONS}{text}"), &NamesOnly)
}

/// The functions as a parser needs them.
struct NamesOnly;

impl Functions for NamesOnly {
    fn has(&self, name: &str) -> bool {
        functions::is_known(name)
    }

    fn call(&self, name: &str, _args: &[Value]) -> Result<Value, String> {
        Err(format!("BUG: {name} is called while a template is parsed"))
    }
}

/// One series of a rule's answer, as its templates see it.
pub(crate) struct Subject<'a> {
    expansion: &'a Expansion<'a>,
    data: Value,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(expansion: &'a Expansion<'a>, labels: &Labels, sample: &Sample) -> Self {
        let value = match sample {
            Sample::Float(value) => Value::Float(*value),
            Sample::Histogram(histogram) => Value::text(histogram.to_string()),
        };
        let external_labels = expansion.external_labels.clone();
        let fields = vec![
            ("Labels", functions::labels_value(labels)),
            ("ExternalLabels", Value::Texts(Arc::new(external_labels))),
            ("ExternalURL", Value::text(expansion.external_url)),
            ("Value", value),
        ];
        let type_name = "template.AlertTemplateData";
        Self { expansion, data: Value::Record(Arc::new(Record { type_name, fields })) }
    }

    /// The template's text, or what went wrong in its place: a template that fails must not keep
    /// an alert from firing.
    pub(crate) fn expand(&self, template: &Template) -> String {
        let functions = PrometheusFunctions::new(self.expansion);
        template.execute(self.data.clone(), &functions).unwrap_or_else(|error| {
            let name = error.template();
            format!("<error expanding template: error executing template {name}: {error}>")
        })
    }
}

#[cfg(test)]
mod tests {
    use narthex_promql::VectorElement;

    use super::*;

    struct OneSeries;

    impl Queries for OneSeries {
        fn query(&self, query: &str, time: Timestamp) -> Result<Vec<VectorElement>, String> {
            if query != "up" {
                return Err("1:1: parse error".to_owned());
            }
            let element = |instance: &str, value: f64| VectorElement {
                labels: Labels::from_pairs([("instance", instance)]).expect("valid labels"),
                timestamp: time,
                sample: Sample::Float(value),
            };
            Ok(vec![element("b", 2.0), element("a", 1.0)])
        }
    }

    fn expanded(text: &str) -> String {
        let external_labels = BTreeMap::from([("zone".to_owned(), "eu".to_owned())]);
        let expansion = Expansion {
            time: Timestamp::from_millis(60_000),
            external_labels: &external_labels,
            external_url: "https://n.example/narthex",
            queries: &OneSeries,
        };
        let labels = Labels::from_pairs([("job", "api"), ("instance", "h.example:1")]);
        let labels = labels.expect("valid labels");
        let template = parse("Down", text).unwrap_or_else(|error| panic!("{error}"));
        Subject::new(&expansion, &labels, &Sample::Float(1234.5)).expand(&template)
    }

    #[test]
    fn an_alert_has_its_labels_value_and_surroundings() {
        let texts = [
            ("{{ $labels.job }} {{ .Labels.instance }} {{ $value }}", "api h.example:1 1234.5"),
            ("{{ $externalLabels.zone }} {{ .ExternalURL }}", "eu https://n.example/narthex"),
            ("{{ externalURL }} {{ pathPrefix }}", "https://n.example/narthex /narthex"),
            ("{{ $labels.absent }}|", "|"),
        ];
        for (text, expected) in texts {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }

    #[test]
    fn queries_are_answered_at_the_time_of_the_evaluation() {
        let texts = [
            ("{{ with query \"up\" }}{{ . | first | value }}{{ end }}", "2"),
            (
                "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }} {{ end }}",
                "a=1 b=2 ",
            ),
            ("{{ query \"up\" | first | label \"instance\" }}", "b"),
        ];
        for (text, expected) in texts {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }

    #[test]
    fn an_error_is_shown_in_the_place_of_the_text() {
        let text = expanded("{{ query \"x\" }}");
        let start = "<error expanding template: error executing template __alert_Down: \
                     template: __alert_Down:1:";
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("error calling query: 1:1: parse error>"), "{text}");
    }
}
