//! What series bring beside plain floats, and what is said of their metrics.

use narthex_cluster::{TenantId, routing::routing_key};
use narthex_model::{Exemplar, FamilyMetadata, NativeHistogram, Timestamp};
use narthex_proto::batch::{Owner, Point, RichRows};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    BATCH_BYTES, LABELS_BYTES_MAX, Labelled, RefuseReason, SERIES_BYTES, Splitter, label_bytes,
};
use crate::{
    families::family_of,
    series::{Metadata, Series},
    series_cache::Home,
};

/// Longer descriptions are refused: they are kept in memory.
const METADATA_BYTES_MAX: usize = 16 << 10;
/// About what a histogram takes in a batch without its buckets, and what a bucket does.
const HISTOGRAM_BYTES: usize = 64;
/// About what a sample with a start takes in a batch.
const STARTED_BYTES: usize = 24;
const BUCKET_BYTES: usize = 10;
/// About what an exemplar takes in a batch at most.
const EXEMPLAR_BYTES: usize = 1200;
/// What goes into a batch together, labels and all: an entry of 4 MiB takes it, where numbers are
/// longer by a third.
const TOGETHER_BYTES: usize = LABELS_BYTES_MAX + (256 << 10);

/// All that a series brings, each kind in order.
#[derive(Default)]
struct Points {
    floats: Vec<Point<f64>>,
    histograms: Vec<Point<NativeHistogram>>,
    exemplars: Vec<Exemplar>,
}

impl Points {
    fn of(series: &mut Series<'_>) -> Self {
        let start = |at: usize| series.starts.get(at).copied().unwrap_or_default();
        let samples = series.samples.iter().enumerate();
        let float = |(at, sample): (usize, &narthex_model::Sample)| Point {
            timestamp: sample.timestamp,
            start: start(at),
            value: sample.value,
        };
        // Shards keep exemplars in order of time, and senders of buckets do not send them so.
        series.exemplars.sort_by_key(|exemplar| exemplar.timestamp);
        Self {
            floats: samples.map(float).collect(),
            histograms: std::mem::take(&mut series.histograms),
            exemplars: std::mem::take(&mut series.exemplars),
        }
    }

    /// Takes out what lies before `end`; everything, if there is none.
    fn take_before(&mut self, end: Option<Timestamp>) -> Self {
        let Some(end) = end else { return std::mem::take(self) };
        Self {
            floats: self.floats.extract_if(.., |point| point.timestamp < end).collect(),
            histograms: self.histograms.extract_if(.., |point| point.timestamp < end).collect(),
            exemplars: self.exemplars.extract_if(.., |it| it.timestamp < end).collect(),
        }
    }

    fn rows(&self) -> RichRows<'_> {
        let Self { floats, histograms, exemplars } = self;
        RichRows { floats, histograms, exemplars }
    }

    fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty()
    }
}

impl Splitter<'_> {
    /// Adds a series to the batches of its shards, one for each epoch that covers some of it.
    pub(super) fn route_rich(&mut self, series: &mut Series<'_>, home: Option<Home>) {
        let mut points = Points::of(series);
        for at in 0..self.epochs.len() {
            let part = points.take_before(self.epochs.get(at + 1).map(|next| next.from));
            if !part.is_empty() {
                self.write_rich(at, &series.labels, home, &part);
            }
        }
    }

    fn write_rich(
        &mut self,
        epoch_at: usize,
        labels: &[(&str, &str)],
        home: Option<Home>,
        points: &Points,
    ) {
        let epoch = &self.epochs[epoch_at];
        let number = epoch.number;
        let home = home.filter(|home| home.epoch == number);
        let shard = match home {
            Some(home) => home.shard,
            None => {
                let key = routing_key(TenantId(0), labels.iter().copied(), &epoch.spread_jobs);
                epoch.ring.shard_of_key(key)
            }
        };
        let series_bytes = if home.is_none() { SERIES_BYTES + label_bytes(labels) } else { 0 };
        let mut left = points.rows();
        if !self.parts.use_bytes(series_bytes + bytes_of(left)) {
            return;
        }
        let open_at = self.open_at(shard);
        self.split.samples += (points.floats.len() + points.histograms.len()) as u64;
        let room = (BATCH_BYTES / 2).min(TOGETHER_BYTES.saturating_sub(series_bytes));
        loop {
            let rows = take(&mut left, room);
            self.make_room(open_at, series_bytes + bytes_of(rows));
            let open = &mut self.open[open_at];
            open.is_rich = true;
            match home {
                Some(home) => drop(open.writer.push_rich(Owner::Known(home.series), rows)),
                None => {
                    let fingerprint = open.writer.push_rich(Owner::Pairs(labels), rows);
                    let hash = self.hash;
                    open.labelled.push(Labelled { hash, epoch: number, fingerprint });
                }
            }
            self.close_if_full(open_at);
            let is_done =
                left.floats.is_empty() && left.histograms.is_empty() && left.exemplars.is_empty();
            if is_done || !self.parts.use_bytes(series_bytes) {
                return;
            }
        }
    }

    /// Hands on what is said of a series' metric.
    pub(crate) fn describe_series(&mut self, name: &str, metadata: Metadata<'_>) {
        self.describe(family_of(name, metadata.metric_type), metadata);
    }

    /// Hands on what is said of a family, unless a shard has it. It lives on the shard that the
    /// family's name hashes to.
    pub(crate) fn describe(&mut self, family: &str, metadata: Metadata<'_>) {
        if family.is_empty() || metadata == Metadata::default() {
            return;
        }
        let Metadata { metric_type, help, unit } = metadata;
        let metadata = FamilyMetadata { family, metric_type, help, unit };
        let bytes = family.len() + help.len() + unit.len();
        if bytes > METADATA_BYTES_MAX {
            let shown: String = family.chars().take(200).collect();
            let example = || format!("{bytes} bytes of {shown:?} exceed {METADATA_BYTES_MAX}");
            return self.refuse_with(RefuseReason::MetadataTooLong, 1, example);
        }
        let hash = self.described.hash(&metadata);
        if self.described.has(hash) || !self.said.insert(hash) {
            return;
        }
        if !self.parts.use_bytes(SERIES_BYTES + bytes) {
            return;
        }
        let at = self.epochs.partition_point(|epoch| epoch.from <= self.now).saturating_sub(1);
        let shard = self.epochs[at].ring.shard_of_key(xxh3_64(family.as_bytes()));
        let open_at = self.open_at(shard);
        let open = &mut self.open[open_at];
        open.writer.push_metadata(&metadata);
        open.described.push(hash);
        self.split.metadata += 1;
        self.close_if_full(open_at);
    }
}

fn buckets_bytes(histogram: &NativeHistogram) -> usize {
    histogram.bucket_count() * BUCKET_BYTES
}

/// About what rows take in a batch.
fn bytes_of(rows: RichRows<'_>) -> usize {
    let histograms = rows.histograms.iter().map(|it| HISTOGRAM_BYTES + buckets_bytes(&it.value));
    let exemplars = rows.exemplars.iter().map(|it| SERIES_BYTES + it.labels.as_bytes().len());
    rows.floats.len() * STARTED_BYTES + histograms.sum::<usize>() + exemplars.sum::<usize>()
}

/// Takes what goes into a batch together: at least one of what there is, and of floats and
/// exemplars no more than a quarter of `room` bytes each.
fn take<'a>(left: &mut RichRows<'a>, room: usize) -> RichRows<'a> {
    let quarter = |bytes: usize| (room / 4 / bytes).max(1);
    let floats = quarter(STARTED_BYTES).min(left.floats.len());
    let exemplars = quarter(EXEMPLAR_BYTES).min(left.exemplars.len());
    let (floats, later_floats) = left.floats.split_at(floats);
    let (exemplars, later_exemplars) = left.exemplars.split_at(exemplars);
    let (histograms, later_histograms) =
        left.histograms.split_at(fitting(left.histograms, room / 2));
    *left =
        RichRows { floats: later_floats, histograms: later_histograms, exemplars: later_exemplars };
    RichRows { floats, histograms, exemplars }
}

/// How many histograms go into a batch together: at least one, and not much above `room` bytes.
fn fitting(histograms: &[Point<NativeHistogram>], room: usize) -> usize {
    let mut bytes = 0;
    let fits = histograms.iter().take_while(|point| {
        bytes += HISTOGRAM_BYTES + buckets_bytes(&point.value);
        bytes <= room
    });
    fits.count().max(1).min(histograms.len())
}

#[cfg(test)]
mod tests;
