//! `/federate`: the newest sample of every selected series in the text format, for another
//! Prometheus to scrape.
//!
//! As in Prometheus, whatever a family was scraped as, it is untyped here, and samples have their
//! times. Native histograms have no text form: those with custom buckets become classic ones, the
//! others are left out.

use std::{collections::BTreeMap, fmt::Write as _};

use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use narthex_model::{
    FloatHistogram, INSTANCE, Labels, METRIC_NAME, Timestamp, is_legacy_label_name,
    is_legacy_metric_name, is_stale, number, quote,
};
use narthex_promql::{SampleBuffer, parse_selector};

use crate::{
    Querier,
    error::ApiError,
    fan_out::TimeRange,
    params::Params,
    raw::{RawSamples, RawSelector, listed},
};

pub(super) async fn federate(api: &Querier, params: &Params, headers: &HeaderMap) -> Response {
    let page = page(api, params, Escaping::accepted(headers)).await;
    page.unwrap_or_else(|error| api.refuse_in_words(error))
}

async fn page(api: &Querier, params: &Params, escaping: Escaping) -> Result<Response, ApiError> {
    let read = |text: &str| {
        let matchers = parse_selector(text, &api.options.parse)
            .map_err(|error| ApiError::bad_data(error.to_string()))?;
        Ok(RawSelector { text: text.to_owned(), matchers })
    };
    let selectors = params.all("match[]").map(read).collect::<Result<Vec<_>, ApiError>>()?;
    let now = api.clock.now().millis();
    let lookback = i64::try_from(api.options.lookback.as_millis()).unwrap_or(i64::MAX);
    let start = Timestamp::from_millis(now.saturating_sub(lookback));
    let range = TimeRange { start, end: Timestamp::from_millis(now) };
    let turn = api.turn(listed(api, &selectors, params.sender()), api.options.timeout).await?;
    let found = api.raw_samples(&selectors, range, &turn).await?;
    for warning in &found.warnings {
        tracing::warn!(warning, "a federated page is not complete");
    }
    let mut external = api.options.config.borrow().external_labels.clone();
    external.entry(INSTANCE.to_owned()).or_default();
    let mut page = Page { text: String::new(), family: None, escaping, external };
    for (labels, newest) in by_name(&found) {
        page.add(labels, &newest);
    }
    let content_type = (header::CONTENT_TYPE, page.escaping.content_type());
    Ok((StatusCode::OK, [content_type], page.text).into_response())
}

struct Newest<'a> {
    time: i64,
    value: f64,
    histogram: Option<&'a FloatHistogram>,
}

/// The newest sample of each series that has not ended, in the order of the metrics' names.
fn by_name(found: &RawSamples) -> Vec<(&Labels, Newest<'_>)> {
    let newest = |(labels, buffers)| {
        let buffers: &Vec<std::sync::Arc<SampleBuffer>> = buffers;
        let lasts =
            buffers.iter().filter_map(|buffer| Some((*buffer.timestamps().last()?, buffer)));
        let (time, buffer) = lasts.max_by_key(|(time, _)| *time)?;
        let at = buffer.len() - 1;
        let value = buffer.values()[at];
        let histogram = buffer.histogram(at).map(std::sync::Arc::as_ref);
        let has_ended = histogram.map_or(is_stale(value), FloatHistogram::is_stale);
        (!has_ended).then_some((labels, Newest { time, value, histogram }))
    };
    let mut series: Vec<(&Labels, Newest<'_>)> = found.series.iter().filter_map(newest).collect();
    series.sort_by_key(|(labels, _)| labels.value(METRIC_NAME));
    series
}

/// What becomes of names that the text format did not have at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escaping {
    /// They are written in quotes.
    AllowUtf8,
    /// Their other characters become underscores.
    Underscores,
}

impl Escaping {
    /// What a scraper asks for.
    fn accepted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
        let parts = accepts.flat_map(|accept| accept.split(','));
        let mut texts = parts.filter(|part| part.trim_start().starts_with("text/plain"));
        match texts.any(|part| part.contains("escaping=allow-utf-8")) {
            true => Self::AllowUtf8,
            false => Self::Underscores,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            Self::Underscores => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        }
    }

    /// A metric's or a label's name; `None` where it is to be written in quotes.
    fn plain(self, name: &str, is_legacy: fn(&str) -> bool) -> Option<String> {
        if is_legacy(name) {
            return Some(name.to_owned());
        }
        let allowed = |(at, c): (usize, char)| match c {
            '0'..='9' if at > 0 => c,
            'a'..='z' | 'A'..='Z' | '_' => c,
            _ => '_',
        };
        match self {
            Self::AllowUtf8 => None,
            Self::Underscores => Some(name.chars().enumerate().map(allowed).collect()),
        }
    }
}

struct Page {
    text: String,
    /// The name and kind of the last family.
    family: Option<(String, &'static str)>,
    escaping: Escaping,
    external: BTreeMap<String, String>,
}

impl Page {
    fn add(&mut self, labels: &Labels, newest: &Newest<'_>) {
        let Some(name) = labels.metric_name() else { return };
        match newest.histogram {
            None => {
                self.begin(name, "untyped");
                self.line(name, "", labels, None);
                self.end(newest.value, newest.time);
            }
            Some(histogram) if histogram.uses_custom_buckets() => {
                self.begin(name, "histogram");
                self.classic(name, labels, (histogram, newest.time));
            }
            Some(_) => {}
        }
    }

    fn begin(&mut self, name: &str, kind: &'static str) {
        if self.family.as_ref().is_some_and(|(last, its)| last == name && *its == kind) {
            return;
        }
        self.family = Some((name.to_owned(), kind));
        let plain = self.escaping.plain(name, is_legacy_metric_name);
        let shown = plain.unwrap_or_else(|| quote(name).to_string());
        self.put(format_args!("# TYPE {shown} {kind}\n"));
    }

    fn classic(&mut self, name: &str, labels: &Labels, (it, time): (&FloatHistogram, i64)) {
        let counts = it.custom_values.iter().enumerate().map(|(index, bound)| {
            let below = it.positive.iter().filter(|bucket| bucket.index <= index as i32);
            (*bound, below.map(|bucket| bucket.count).sum::<f64>())
        });
        for (bound, count) in counts.chain([(f64::INFINITY, it.count)]) {
            self.line(name, "_bucket", labels, Some(bound));
            self.end(count, time);
        }
        for (suffix, value) in [("_sum", it.sum), ("_count", it.count)] {
            self.line(name, suffix, labels, None);
            self.end(value, time);
        }
    }

    /// Name and labels of one line.
    fn line(&mut self, name: &str, suffix: &str, labels: &Labels, bound: Option<f64>) {
        let mut separator = "{";
        match self.escaping.plain(name, is_legacy_metric_name) {
            Some(plain) => self.put(format_args!("{plain}{suffix}")),
            None => {
                self.put(format_args!("{{{}", quote(&format!("{name}{suffix}"))));
                separator = ",";
            }
        }
        let external = std::mem::take(&mut self.external);
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let others = external.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let others = others.filter(|(name, _)| labels.get(name).is_none());
        for (name, value) in own.chain(others) {
            let plain = self.escaping.plain(name, is_legacy_label_name);
            let shown = plain.unwrap_or_else(|| quote(name).to_string());
            self.put(format_args!("{separator}{shown}=\""));
            self.escaped(value);
            self.text.push('"');
            separator = ",";
        }
        self.external = external;
        if let Some(bound) = bound {
            self.put(format_args!("{separator}le=\"{}\"", number::format_exposition(bound)));
            separator = ",";
        }
        self.text.push_str(if separator == "," { "} " } else { " " });
    }

    fn end(&mut self, value: f64, time: i64) {
        self.put(format_args!("{} {time}\n", number::format_exposition(value)));
    }

    /// A label's value as the text format has it.
    fn escaped(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                c => self.text.push(c),
            }
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a string takes any text");
    }
}
