//! `/federate`: the newest sample of every selected series, for another Prometheus to scrape, as
//! text, as OpenMetrics, or as protobuf, which alone has native histograms.
//!
//! As in Prometheus, whatever a family of numbers was scraped as, it is untyped here, and samples
//! have their times.

mod format;
mod protobuf;
mod text;

use std::{collections::BTreeMap, sync::Arc};

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, header};
use narthex_model::{FloatHistogram, INSTANCE, Labels, METRIC_NAME, Timestamp, is_stale};
use narthex_promql::{SampleBuffer, parse_selector};

use self::format::{Encoding, Format};
use crate::{
    Querier,
    error::ApiError,
    fan_out::TimeRange,
    params::Params,
    raw::{RawSamples, RawSelector, listed},
};

pub(super) async fn federate(api: &Querier, params: &Params, headers: &HeaderMap) -> Response {
    let page = page(api, params, Format::accepted(headers)).await;
    page.unwrap_or_else(|error| api.refuse_in_words(error))
}

async fn page(api: &Querier, params: &Params, format: Format) -> Result<Response, ApiError> {
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
    let found = api.newest_samples(&selectors, range, &turn).await?;
    for warning in &found.warnings {
        tracing::warn!(warning, "a federated page is not complete");
    }
    let mut external = api.options.config.borrow().external_labels.clone();
    external.entry(INSTANCE.to_owned()).or_default();
    let families = families(&found, &external).into_iter();
    let body: Bytes = match format.encoding {
        Encoding::Text(_) => text::write(families, format.escaping, false).into(),
        Encoding::OpenMetrics(_) => text::write(families, format.escaping, true).into(),
        Encoding::Protobuf => protobuf::write(families, format.escaping).into(),
    };
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}

/// What a family is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Untyped,
    Histogram,
    GaugeHistogram,
}

/// Series of one name and kind.
struct Family<'a> {
    name: &'a str,
    kind: Kind,
    rows: Vec<Row<'a>>,
}

/// One series, with the labels that other servers see.
struct Row<'a> {
    labels: Vec<(&'a str, &'a str)>,
    newest: Newest<'a>,
}

struct Newest<'a> {
    time: i64,
    value: f64,
    histogram: Option<&'a FloatHistogram>,
}

/// The newest sample of each series that has a name and has not ended, in the order of names.
fn families<'a>(found: &'a RawSamples, external: &'a BTreeMap<String, String>) -> Vec<Family<'a>> {
    // Readers do not expect native and classic histograms in one family.
    let mut families: BTreeMap<(&str, Kind, bool), Vec<Row<'a>>> = BTreeMap::new();
    for (labels, buffers) in &found.series {
        let (Some(name), Some(newest)) = (labels.metric_name(), newest(buffers)) else { continue };
        let kind = newest.histogram.map_or(Kind::Untyped, protobuf::kind);
        let row = Row { labels: labelled(labels, external), newest };
        let is_classic = row.newest.histogram.is_some_and(FloatHistogram::uses_custom_buckets);
        families.entry((name, kind, is_classic)).or_default().push(row);
    }
    let family = |((name, kind, _), rows)| Family { name, kind, rows };
    families.into_iter().map(family).collect()
}

fn newest(buffers: &[Arc<SampleBuffer>]) -> Option<Newest<'_>> {
    let lasts = buffers.iter().filter_map(|buffer| Some((*buffer.timestamps().last()?, buffer)));
    let (time, buffer) = lasts.max_by_key(|(time, _)| *time)?;
    let at = buffer.len() - 1;
    let value = buffer.values()[at];
    let histogram = buffer.histogram(at).map(Arc::as_ref);
    let has_ended = histogram.map_or(is_stale(value), FloatHistogram::is_stale);
    (!has_ended).then_some(Newest { time, value, histogram })
}

/// A series' own labels, then those that all series of this server get.
fn labelled<'a>(
    labels: &'a Labels,
    external: &'a BTreeMap<String, String>,
) -> Vec<(&'a str, &'a str)> {
    let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    let others = external.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    own.chain(others.filter(|(name, _)| labels.get(name).is_none())).collect()
}

/// Bounds of custom buckets, and what was observed up to each.
fn cumulative(histogram: &FloatHistogram) -> impl Iterator<Item = (f64, f64)> + '_ {
    histogram.custom_values.iter().enumerate().map(|(index, bound)| {
        let below = histogram.positive.iter().filter(move |bucket| bucket.index <= index as i32);
        (*bound, below.map(|bucket| bucket.count).sum::<f64>())
    })
}
