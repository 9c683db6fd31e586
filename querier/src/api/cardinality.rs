//! `/api/v1/status/tsdb`: what makes the cluster big, over all its shards.
//!
//! Every shard tells its labels in order of names and values; merging these streams gives exact
//! counts, and keeps nothing but the largest. Right after shards were split, a series may be
//! counted on both of its shards until the day ends.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::response::Response;
use bytes::Bytes;
use narthex_cluster::ShardId;
use narthex_model::{METRIC_NAME, Timestamp};
use narthex_proto::{
    internal::v1::{CardinalityPart, CardinalityRequest, Consistency, LabelCount, ShardCounts},
    service::Answers,
};
use tokio::sync::Mutex;
use tokio_stream::StreamExt as _;

use super::broke_off;
use crate::{
    Querier,
    active::ActiveQuery,
    answer::{Remarks, success},
    error::ApiError,
    fan_out::{TimeRange, ask_all, shards_for},
    json::Json,
    params::Params,
};

/// Rows of each list where none are asked for, and the most there may be.
const ROWS: usize = 10;
const ROWS_MAX: usize = 10_000;
/// How far back a series is counted: what Prometheus's head spans. Presence is by days.
const COUNTED_MILLIS: i64 = 3 * 3_600_000;
/// How long an answer is good for.
const KEPT: Duration = Duration::from_secs(30);

/// The last figures, and who works them out: one at a time.
#[derive(Debug, Default)]
pub struct CardinalityBoard(Mutex<Option<Posted>>);

#[derive(Debug)]
struct Posted {
    at: Duration,
    rows: usize,
    figures: Arc<Figures>,
}

#[derive(Debug, Default)]
struct Figures {
    counts: ShardCounts,
    label_pairs: u64,
    series_by_metric: Vec<Row>,
    values_by_label: Vec<Row>,
    bytes_by_label: Vec<Row>,
    series_by_pair: Vec<Row>,
    warnings: Vec<String>,
}

/// A name and a number.
type Row = (String, u64);

pub(super) async fn tsdb(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let rows = match params.value("limit") {
        "" => ROWS,
        text => match text.parse() {
            Ok(0) | Err(_) => {
                return Err(ApiError::bad_data("limit must be a positive number"));
            }
            Ok(rows) if rows > ROWS_MAX => {
                return Err(ApiError::bad_data(format!("limit must not exceed {ROWS_MAX}")));
            }
            Ok(rows) => rows,
        },
    };
    let figures = figures(api, rows, params).await?;
    Ok(success(&Remarks::warnings(figures.warnings.clone()), |json| {
        write(json, &figures, rows);
    }))
}

pub(super) fn blocks() -> Response {
    success(&Remarks::default(), |json| {
        json.raw(r#"{"blocks":[]}"#);
    })
}

async fn figures(api: &Querier, rows: usize, params: &Params) -> Result<Arc<Figures>, ApiError> {
    let mut posted = api.cardinality.0.lock().await;
    let now = api.clock.monotonic();
    if let Some(posted) = &*posted
        && posted.rows >= rows
        && now.saturating_sub(posted.at) < KEPT
        && posted.figures.warnings.is_empty()
    {
        return Ok(Arc::clone(&posted.figures));
    }
    let listed = ActiveQuery::new("status/tsdb", params.sender(), None, api.clock.now());
    let turn = api.turn(listed, api.options.timeout).await?;
    let partial = api.options.partial_response || params.is_set("partial_response");
    let count = count(api, rows, partial);
    let figures = Arc::new(turn.work(api.options.timeout, "counting labels", count).await?);
    *posted = Some(Posted { at: now, rows, figures: Arc::clone(&figures) });
    Ok(figures)
}

async fn count(api: &Querier, rows: usize, partial: bool) -> Result<Figures, ApiError> {
    let end = api.clock.now();
    let start = Timestamp::from_millis(end.millis().saturating_sub(COUNTED_MILLIS));
    let range = TimeRange { start, end };
    let shards = shards_for(&api.cluster.state(), &[], range)?;
    let gathered = ask_all(shards, range, partial, |shard| async move {
        let request = CardinalityRequest {
            tenant: 0,
            shard_id: shard.0,
            start_ms: start.millis(),
            end_ms: end.millis(),
            consistency: Consistency::Linearizable.into(),
        };
        Ok(api.cluster.cardinality(request, api.options.timeout).await?)
    })
    .await?;
    if !gathered.warnings.is_empty() {
        api.metrics.partial.inc();
    }
    let streams = gathered.answers.into_iter().map(|(shard, parts)| Labels {
        shard,
        parts,
        waiting: VecDeque::new(),
        counts: ShardCounts::default(),
    });
    let mut figures = merge(streams.collect(), rows).await?;
    figures.warnings = gathered.warnings;
    Ok(figures)
}

/// The labels of one shard, in order.
struct Labels {
    shard: ShardId,
    parts: Answers<CardinalityPart>,
    waiting: VecDeque<LabelCount>,
    counts: ShardCounts,
}

impl Labels {
    async fn next(&mut self) -> Result<Option<LabelCount>, ApiError> {
        while self.waiting.is_empty() {
            let Some(part) = self.parts.next().await else { return Ok(None) };
            let part = part.map_err(|status| broke_off(self.shard, &status))?;
            self.waiting = part.labels.into();
            self.counts = part.shard.unwrap_or(self.counts);
        }
        Ok(self.waiting.pop_front())
    }
}

async fn merge(mut shards: Vec<Labels>, rows: usize) -> Result<Figures, ApiError> {
    let mut heads = BinaryHeap::new();
    for (at, shard) in shards.iter_mut().enumerate() {
        let head = shard.next().await?;
        heads.extend(head.map(|it| Reverse((it.name, it.value, at, it.series))));
    }
    let mut totals = Totals::new(rows);
    let mut current: Option<(String, String, u64)> = None;
    while let Some(Reverse((name, value, at, series))) = heads.pop() {
        let head = shards[at].next().await?;
        heads.extend(head.map(|it| Reverse((it.name, it.value, at, it.series))));
        match &mut current {
            Some((same, equal, sum)) if *same == name && *equal == value => *sum += series,
            _ => {
                if let Some(label) = current.replace((name, value, series)) {
                    totals.add(label);
                }
            }
        }
    }
    if let Some(label) = current {
        totals.add(label);
    }
    let counts = shards.iter().map(|shard| shard.counts).fold(ShardCounts::default(), sum);
    Ok(totals.figures(counts))
}

fn sum(a: ShardCounts, b: ShardCounts) -> ShardCounts {
    let either = |a: Option<i64>, b: Option<i64>, choose: fn(i64, i64) -> i64| match (a, b) {
        (Some(a), Some(b)) => Some(choose(a, b)),
        (a, b) => a.or(b),
    };
    ShardCounts {
        series: a.series + b.series,
        chunks: a.chunks + b.chunks,
        min_time_ms: either(a.min_time_ms, b.min_time_ms, i64::min),
        max_time_ms: either(a.max_time_ms, b.max_time_ms, i64::max),
    }
}

/// What is added up while labels come in order.
struct Totals {
    pairs: u64,
    /// The label that came last: its values and their bytes, once for each series.
    label: String,
    values: u64,
    bytes: u64,
    metrics: Largest,
    labels: Largest,
    label_bytes: Largest,
    label_pairs: Largest,
}

impl Totals {
    fn new(rows: usize) -> Self {
        let largest = || Largest { rows, found: BinaryHeap::new() };
        Self {
            pairs: 0,
            label: String::new(),
            values: 0,
            bytes: 0,
            metrics: largest(),
            labels: largest(),
            label_bytes: largest(),
            label_pairs: largest(),
        }
    }

    fn add(&mut self, (name, value, series): (String, String, u64)) {
        if name != self.label {
            self.end_label();
            self.label.clone_from(&name);
        }
        self.pairs += 1;
        self.values += 1;
        self.bytes = self.bytes.saturating_add(series.saturating_mul(value.len() as u64));
        self.label_pairs.offer(series, || format!("{name}={value}"));
        if name == METRIC_NAME {
            self.metrics.offer(series, || value);
        }
    }

    fn end_label(&mut self) {
        if self.values > 0 {
            let name = || self.label.clone();
            self.labels.offer(self.values, name);
            self.label_bytes.offer(self.bytes, name);
        }
        (self.values, self.bytes) = (0, 0);
    }

    fn figures(mut self, counts: ShardCounts) -> Figures {
        self.end_label();
        Figures {
            counts,
            label_pairs: self.pairs,
            series_by_metric: self.metrics.rows(),
            values_by_label: self.labels.rows(),
            bytes_by_label: self.label_bytes.rows(),
            series_by_pair: self.label_pairs.rows(),
            warnings: Vec::new(),
        }
    }
}

/// The rows with the largest numbers; of equal ones those whose names come first.
struct Largest {
    rows: usize,
    /// The smallest on top.
    found: BinaryHeap<Reverse<(u64, Reverse<String>)>>,
}

impl Largest {
    fn offer(&mut self, number: u64, name: impl FnOnce() -> String) {
        let is_full = self.found.len() >= self.rows;
        if is_full && self.found.peek().is_some_and(|Reverse((least, _))| number < *least) {
            return;
        }
        self.found.push(Reverse((number, Reverse(name()))));
        if is_full {
            self.found.pop();
        }
    }

    fn rows(self) -> Vec<Row> {
        let sorted = self.found.into_sorted_vec();
        sorted.into_iter().map(|Reverse((number, Reverse(name)))| (name, number)).collect()
    }
}

fn write(json: &mut Json<Vec<Bytes>>, figures: &Figures, rows: usize) {
    let ShardCounts { series, chunks, min_time_ms, max_time_ms } = figures.counts;
    json.raw("{").name("headStats").raw("{");
    json.name("numSeries").integer(series);
    json.name("numLabelPairs").integer(figures.label_pairs);
    json.name("chunkCount").integer(chunks);
    // What an empty head says in Prometheus.
    json.name("minTime").integer(min_time_ms.unwrap_or(i64::MAX));
    json.name("maxTime").integer(max_time_ms.unwrap_or(i64::MIN)).raw("}");
    for (list, found) in [
        ("seriesCountByMetricName", &figures.series_by_metric),
        ("labelValueCountByLabelName", &figures.values_by_label),
        ("memoryInBytesByLabelName", &figures.bytes_by_label),
        ("seriesCountByLabelValuePair", &figures.series_by_pair),
    ] {
        json.name(list).raw("[");
        for (name, number) in found.iter().take(rows) {
            json.element().raw("{").name("name").text(name);
            json.name("value").integer(*number).raw("}");
        }
        json.raw("]");
    }
    json.raw("}");
}

#[cfg(test)]
mod tests {
    use narthex_proto::service::ready;
    use proptest::prelude::*;

    use super::*;

    fn shard(labels: &[(&str, &str, u64)]) -> Labels {
        let label = |&(name, value, series): &(&str, &str, u64)| LabelCount {
            name: name.to_owned(),
            value: value.to_owned(),
            series,
        };
        let part = |label| CardinalityPart { labels: vec![label], ..CardinalityPart::default() };
        let shard = Some(ShardCounts { series: 5, chunks: 6, ..ShardCounts::default() });
        let first = CardinalityPart { shard, ..CardinalityPart::default() };
        let parts = std::iter::once(first).chain(labels.iter().map(label).map(part)).collect();
        Labels {
            shard: ShardId(0),
            parts: ready(parts),
            waiting: VecDeque::new(),
            counts: ShardCounts::default(),
        }
    }

    #[tokio::test]
    async fn equal_labels_of_shards_are_one() {
        let shards = vec![
            shard(&[("__name__", "up", 3), ("job", "a", 2), ("job", "b", 1)]),
            shard(&[("__name__", "down", 1), ("__name__", "up", 4), ("job", "b", 5)]),
            shard(&[]),
        ];
        let figures = merge(shards, 2).await.expect("all answer");
        let row = |name: &str, number| (name.to_owned(), number);
        assert_eq!(figures.label_pairs, 4);
        assert_eq!(figures.counts.series, 15);
        assert_eq!(figures.series_by_metric, [row("up", 7), row("down", 1)]);
        assert_eq!(figures.values_by_label, [row("__name__", 2), row("job", 2)]);
        assert_eq!(figures.bytes_by_label, [row("__name__", 18), row("job", 8)]);
        assert_eq!(figures.series_by_pair, [row("__name__=up", 7), row("job=b", 6)]);
    }

    proptest! {
        #[test]
        fn the_largest_are_kept(numbers in proptest::collection::vec(0u64..9, 0..40)) {
            let mut largest = Largest { rows: 5, found: BinaryHeap::new() };
            let names = (0..numbers.len()).map(|at| format!("{at:02}"));
            let mut all: Vec<Row> = names.zip(numbers.iter().copied()).collect();
            for (name, number) in &all {
                largest.offer(*number, || name.clone());
            }
            all.sort_by_key(|(name, number)| (Reverse(*number), name.clone()));
            all.truncate(5);
            prop_assert_eq!(largest.rows(), all);
        }
    }
}
