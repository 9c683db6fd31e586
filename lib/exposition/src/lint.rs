//! What is valid on a page and probably not meant, in the words of Prometheus's own linter.
//!
//! A page is taken apart into families as its decoder does: a histogram's buckets, sum and count
//! belong to the histogram, and what is described but has no sample is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Item, MetricKind, ParseError, Parser, parse_series};

/// Something to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The metric.
    pub metric: String,
    /// What is odd about it.
    pub text: String,
}

/// Why a page cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LintError {
    /// Correct the line.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Leave the second description out.
    #[error("second HELP line for metric name {0:?}")]
    SecondHelp(String),
    /// Write a family's type once, in front of its samples.
    #[error("second TYPE line for metric name {0:?}, or TYPE reported after samples")]
    SecondType(String),
}

/// What is odd on a page, in order of metrics.
pub fn lint(page: &[u8]) -> Result<Vec<Finding>, LintError> {
    let mut families = Families::default();
    let mut parser = Parser::new(page);
    loop {
        match parser.next(None)? {
            None => break,
            Some(Item::Help { metric, text }) => families.help(metric, text)?,
            Some(Item::Type { metric, kind }) => families.kind(metric, kind)?,
            Some(Item::Sample(sample)) => {
                let labels = parse_series(sample.series)
                    .map_err(|reason| ParseError { line: parser.last_line(), reason })?;
                let pairs =
                    labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
                families.sample(pairs.collect());
            }
        }
    }
    let mut findings = Vec::new();
    for (name, family) in families.0.iter().filter(|(_, family)| !family.samples.is_empty()) {
        let mut found = Found { metric: name, findings: &mut findings };
        found.in_family(family);
        found.in_name(name);
        found.in_labels(family);
    }
    findings.sort();
    Ok(findings)
}

#[derive(Default)]
struct Family {
    has_help: bool,
    kind: Option<MetricKind>,
    /// Labels of each sample; of a histogram or summary, of each set of its samples.
    samples: Vec<BTreeMap<String, String>>,
    seen: BTreeSet<BTreeMap<String, String>>,
}

impl Family {
    fn is(&self, kind: MetricKind) -> bool {
        self.kind == Some(kind)
    }

    fn is_untyped(&self) -> bool {
        self.kind.is_none() || self.is(MetricKind::Untyped)
    }
}

#[derive(Default)]
struct Families(BTreeMap<String, Family>);

impl Families {
    fn help(&mut self, metric: &str, text: &str) -> Result<(), LintError> {
        let family = self.0.entry(metric.to_owned()).or_default();
        if family.has_help {
            return Err(LintError::SecondHelp(metric.to_owned()));
        }
        family.has_help = !text.is_empty();
        Ok(())
    }

    fn kind(&mut self, metric: &str, kind: MetricKind) -> Result<(), LintError> {
        let family = self.0.entry(metric.to_owned()).or_default();
        if family.kind.is_some() || !family.samples.is_empty() {
            return Err(LintError::SecondType(metric.to_owned()));
        }
        family.kind = Some(kind);
        Ok(())
    }

    fn sample(&mut self, mut labels: BTreeMap<String, String>) {
        let name = labels.remove(narthex_model::METRIC_NAME).unwrap_or_default();
        let family = self.family_of(&name);
        let family = self.0.entry(family).or_default();
        let own_label = match family.kind {
            Some(MetricKind::Histogram) => Some("le"),
            Some(MetricKind::Summary) => Some("quantile"),
            _ => None,
        };
        if let Some(own_label) = own_label {
            labels.remove(own_label);
            if !family.seen.insert(labels.clone()) {
                return;
            }
        }
        family.samples.push(labels);
    }

    /// The family that a sample of this name belongs to.
    fn family_of(&self, name: &str) -> String {
        if self.0.contains_key(name) {
            return name.to_owned();
        }
        let of_kind = |suffixes: &[&str], kind: MetricKind| {
            let bases = suffixes.iter().filter_map(|suffix| name.strip_suffix(*suffix));
            let mut families = bases.filter(|base| self.0.get(*base).is_some_and(|f| f.is(kind)));
            families.next()
        };
        of_kind(&["_sum", "_count"], MetricKind::Summary)
            .or_else(|| of_kind(&["_bucket", "_sum", "_count"], MetricKind::Histogram))
            .unwrap_or(name)
            .to_owned()
    }
}

/// Units and what they should be.
const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];

const UNIT_PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega",
    "mibi", "giga", "gibi", "tera", "tebi", "peta", "pebi",
];

const UNIT_ABBREVIATIONS: [&str; 14] =
    ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

const TYPES: [&str; 5] = ["counter", "gauge", "summary", "histogram", "gauge_histogram"];

/// Where what is found of one metric goes.
struct Found<'a> {
    metric: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, text: impl Into<String>) {
        self.findings.push(Finding { metric: self.metric.to_owned(), text: text.into() });
    }

    fn add_if(&mut self, holds: bool, text: &str) {
        if holds {
            self.add(text);
        }
    }

    /// What does not fit the family's type, and a missing description.
    fn in_family(&mut self, family: &Family) {
        self.add_if(!family.has_help, "no help text");
        if family.is_untyped() {
            return;
        }
        let is_counter = family.is(MetricKind::Counter);
        let is_histogram = family.is(MetricKind::Histogram);
        let is_either = is_histogram || family.is(MetricKind::Summary);
        let metric = self.metric;
        let ends = |suffix: &str| metric.ends_with(suffix);
        self.add_if(is_counter && !ends("_total"), "counter metrics should have \"_total\" suffix");
        self.add_if(
            !is_counter && ends("_total"),
            "non-counter metrics should not have \"_total\" suffix",
        );
        self.add_if(
            !is_histogram && ends("_bucket"),
            "non-histogram metrics should not have \"_bucket\" suffix",
        );
        self.add_if(
            !is_either && ends("_count"),
            "non-histogram and non-summary metrics should not have \"_count\" suffix",
        );
        self.add_if(
            !is_either && ends("_sum"),
            "non-histogram and non-summary metrics should not have \"_sum\" suffix",
        );
    }

    /// What is odd about a name, whatever its type.
    fn in_name(&mut self, name: &str) {
        if let Some((unit, base)) = unit(name).filter(|(unit, base)| unit != base) {
            self.add(format!("use base unit {base:?} instead of {unit:?}"));
        }
        self.add_if(name.contains(':'), "metric names should not contain ':'");
        self.add_if(
            is_camel_case(name),
            "metric names should be written in 'snake_case' not 'camelCase'",
        );
        let lower = name.to_lowercase();
        let has_word = |word: &str| {
            lower.contains(&format!("_{word}_")) || lower.ends_with(&format!("_{word}"))
        };
        for name in TYPES.into_iter().filter(|name| has_word(name)) {
            self.add(format!("metric name should not include type '{name}'"));
        }
        for _ in UNIT_ABBREVIATIONS.into_iter().filter(|word| has_word(word)) {
            self.add("metric names should not contain abbreviated units");
        }
    }

    /// What is odd about labels, once for each sample that has them.
    fn in_labels(&mut self, family: &Family) {
        let is_typed = !family.is_untyped();
        let reserves_le = is_typed && !family.is(MetricKind::Histogram);
        let reserves_quantile = is_typed && !family.is(MetricKind::Summary);
        for name in family.samples.iter().flat_map(BTreeMap::keys) {
            self.add_if(
                is_camel_case(name),
                "label names should be written in 'snake_case' not 'camelCase'",
            );
            self.add_if(
                reserves_le && name == "le",
                "non-histogram metrics should not have \"le\" label",
            );
            self.add_if(
                reserves_quantile && name == "quantile",
                "non-summary metrics should not have \"quantile\" label",
            );
        }
    }
}

/// The first part of a name that is a unit, and the unit it should be.
fn unit(name: &str) -> Option<(&str, &'static str)> {
    let base_of = |word: &str| UNITS.iter().find(|(unit, _)| *unit == word).map(|(_, base)| *base);
    name.split('_').find_map(|part| {
        let prefixed = || {
            let mut bare = UNIT_PREFIXES.iter().filter_map(|prefix| part.strip_prefix(*prefix));
            bare.find_map(base_of)
        };
        Some((part, base_of(part).or_else(prefixed)?))
    })
}

fn is_camel_case(name: &str) -> bool {
    let mut letters = name.as_bytes().windows(2);
    letters.any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(page: &str) -> Vec<String> {
        let found = lint(page.as_bytes()).unwrap_or_else(|error| panic!("{page}: {error}"));
        found.iter().map(|finding| format!("{} {}", finding.metric, finding.text)).collect()
    }

    /// A family with one sample, described.
    fn family(name: &str, kind: &str) -> String {
        format!("# HELP {name} x\n# TYPE {name} {kind}\n{name} 1\n")
    }

    #[test]
    fn a_page_as_it_should_be_has_no_findings() {
        let page = "# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{code=\"200\"} 1
# HELP latency_seconds Latency.
# TYPE latency_seconds histogram
latency_seconds_bucket{le=\"1\"} 1
latency_seconds_bucket{le=\"+Inf\"} 1
latency_seconds_sum 1
latency_seconds_count 1
# HELP size_bytes Size.
# TYPE size_bytes summary
size_bytes{quantile=\"0.5\"} 1
size_bytes_sum 1
size_bytes_count 1
# HELP nothing Nothing.
# TYPE nothing gauge
";
        assert_eq!(findings(page), Vec::<String>::new());
    }

    #[test]
    fn names_and_types_are_found_odd_in_the_words_of_promtool() {
        let cases = [
            (family("x", "counter"), "x counter metrics should have \"_total\" suffix"),
            (
                family("x_total", "gauge"),
                "x_total non-counter metrics should not have \"_total\" suffix",
            ),
            (
                family("x_bucket", "gauge"),
                "x_bucket non-histogram metrics should not have \"_bucket\" suffix",
            ),
            (
                family("x_sum", "gauge"),
                "x_sum non-histogram and non-summary metrics should not have \"_sum\" suffix",
            ),
            (
                family("x_milliseconds", "gauge"),
                "x_milliseconds use base unit \"seconds\" instead of \"milliseconds\"",
            ),
            (
                family("x_hours_y", "gauge"),
                "x_hours_y use base unit \"seconds\" instead of \"hours\"",
            ),
            (family("a:b", "gauge"), "a:b metric names should not contain ':'"),
            (
                family("aB", "gauge"),
                "aB metric names should be written in 'snake_case' not 'camelCase'",
            ),
            (family("x_gauge", "gauge"), "x_gauge metric name should not include type 'gauge'"),
            (family("x_ms", "gauge"), "x_ms metric names should not contain abbreviated units"),
            ("x 1\n".to_owned(), "x no help text"),
            ("# HELP x\nx 1\n".to_owned(), "x no help text"),
        ];
        for (page, finding) in cases {
            assert_eq!(findings(&page), [finding], "{page}");
        }
        assert_eq!(findings(&family("thermometers", "gauge")), Vec::<String>::new());
        assert_eq!(findings(&family("x_total", "untyped")), Vec::<String>::new());
    }

    #[test]
    fn labels_are_found_odd_once_for_each_sample() {
        let page = "# HELP x x\n# TYPE x gauge\nx{le=\"1\"} 1\nx{le=\"2\",quantile=\"1\"} 1\nx{aB=\"1\"} 1\n";
        assert_eq!(
            findings(page),
            [
                "x label names should be written in 'snake_case' not 'camelCase'",
                "x non-histogram metrics should not have \"le\" label",
                "x non-histogram metrics should not have \"le\" label",
                "x non-summary metrics should not have \"quantile\" label",
            ]
        );
        let page =
            "# HELP x x\n# TYPE x histogram\nx_bucket{aB=\"1\",le=\"1\"} 1\nx_sum{aB=\"1\"} 1\n";
        assert_eq!(findings(page).len(), 1);
    }

    #[test]
    fn what_is_no_page_is_an_error() {
        let error = |page: &str| lint(page.as_bytes()).expect_err(page).to_string();
        assert!(error("x 1\ny\n").starts_with("line 2: "));
        assert!(error("x 1\n\nx{a=1} 1\n").starts_with("line 3: "));
        assert_eq!(
            error("# HELP x a\n# HELP x b\nx 1\n"),
            "second HELP line for metric name \"x\""
        );
        assert!(error("x 1\n# TYPE x gauge\n").starts_with("second TYPE line"));
    }
}
