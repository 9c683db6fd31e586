//! From a decoded request to batches for shards: label sets checked, samples routed.
//!
//! A series that the cache knows is neither read nor checked again: only its samples are.
//!
//! Invariants
//! * every sample of the request is in exactly one batch or counted in exactly one refusal;
//! * the samples of a series keep their order within a shard;
//! * with or without a cache, the same samples go to the same shards.

mod rich;
mod v1;
mod v2;

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use narthex_cluster::{Epoch, ShardId, TenantId, routing::routing_key};
use narthex_model::{METRIC_NAME, Sample, Timestamp};
use narthex_proto::batch::BatchWriter;
pub use v1::split_v1;
pub use v2::split_v2;

use crate::{
    families::Described,
    limits::Limits,
    memory::{Parts, Share},
    pairs::PairLabels,
    remote_write::DecodeError,
    series::Series,
    series_cache::{Home, LabelHash, Lookup, SeriesCache},
};

/// A batch that has grown this large is closed, well below the largest message.
const BATCH_BYTES: usize = 2 << 20;
/// Samples of one series that go into a batch together: beside the longest labels, an entry of
/// 4 MiB has room for them whatever their times and values.
const SAMPLES_TOGETHER: usize = 1 << 14;
/// About what a sample takes in a batch.
const SAMPLE_BYTES: usize = 16;
/// About what a series that comes with labels takes beside them.
const SERIES_BYTES: usize = 96;
/// The labels of a series may be as long together, whatever the limits: no entry of a shard's log
/// takes much more beside samples.
const LABELS_BYTES_MAX: usize = 7 << 19;
/// A sample may be this far ahead of our clock, in milliseconds, and no further: an epoch of the
/// ring may begin right behind it.
const AHEAD_MILLIS_MAX: i64 = narthex_cluster::EPOCH_LEAD_MILLIS_MIN;

/// Why a router refuses samples. Sending them again is refused again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefuseReason {
    /// A label's name or value is not UTF-8.
    InvalidUtf8,
    /// A label without a name.
    EmptyLabelName,
    /// A label name twice.
    DuplicateLabel,
    /// No metric name.
    MissingName,
    /// More labels than a series may have.
    TooManyLabels,
    /// A label's name longer than it may be.
    LabelNameTooLong,
    /// A label's value longer than it may be.
    LabelValueTooLong,
    /// Labels that are longer together than any series' may be.
    LabelsTooLarge,
    /// More than ten minutes ahead of our clock.
    TooFarInFuture,
    /// Values since the point before: nothing here adds them up.
    DeltaTemporality,
    /// A metric or a point with nothing in it.
    NoData,
    /// A metric's name of which nothing is left in Prometheus's characters.
    InvalidName,
    /// A native histogram that contradicts itself.
    InvalidHistogram,
    /// An exemplar whose labels make no label set.
    InvalidExemplar,
    /// A description that is too long.
    MetadataTooLong,
}

impl RefuseReason {
    /// The reason's name in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::EmptyLabelName => "empty_label_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::MissingName => "missing_metric_name",
            Self::TooManyLabels => "too_many_labels",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::LabelsTooLarge => "labels_too_large",
            Self::TooFarInFuture => "too_far_in_future",
            Self::DeltaTemporality => "delta_temporality",
            Self::NoData => "no_data",
            Self::InvalidName => "invalid_metric_name",
            Self::InvalidHistogram => "invalid_histogram",
            Self::InvalidExemplar => "invalid_exemplar",
            Self::MetadataTooLong => "metadata_too_long",
        }
    }
}

/// How many samples were refused for a reason, with one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// How many.
    pub samples: u64,
    /// The first one's series, for the error text.
    pub example: String,
}

/// What is appended to a shard at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// As [`narthex_proto::batch`] writes them.
    pub bytes: Bytes,
    /// The series that come with labels, in order: the answer brings their numbers.
    pub labelled: Vec<Labelled>,
    /// Hashes of the descriptions in it.
    pub described: Vec<u64>,
    /// Whether there is more in it than descriptions.
    pub has_samples: bool,
}

/// A series that a batch brings with labels.
#[derive(Debug, Clone, Copy)]
pub struct Labelled {
    /// What finds it in the cache; `None` where its labels do not lie together.
    pub hash: Option<LabelHash>,
    /// The epoch it was routed by.
    pub epoch: u64,
    /// Of its labels.
    pub fingerprint: u32,
}

/// A request, ready to be sent.
#[derive(Debug, Default)]
pub struct Split {
    /// For each shard its batches, in the order they must be appended.
    pub batches: BTreeMap<ShardId, Vec<Batch>>,
    /// Samples in all batches.
    pub samples: u64,
    /// What is in no batch.
    pub refused: BTreeMap<RefuseReason, Refusal>,
    /// Descriptions of metrics in all batches.
    pub metadata: u64,
}

/// How batches name the series that a cache knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// By number.
    Known,
    /// By labels: what the cache knows is no longer so.
    Labels,
}

/// How old samples may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// As the out-of-order window allows.
    Window,
    /// Any: they are backfilled.
    Any,
}

/// What requests are split by.
#[derive(Debug, Clone, Copy)]
pub struct SplitBy<'e> {
    /// At least one.
    pub epochs: &'e [Epoch],
    /// Our clock.
    pub now: Timestamp,
    /// What shards call series.
    pub cache: &'e SeriesCache,
    /// How batches name what is in the cache.
    pub naming: Naming,
    /// How old samples may be.
    pub age: Age,
    /// What a series may be.
    pub limits: &'e Limits,
    /// Descriptions that shards have.
    pub described: &'e Described,
    /// How pairs of senders name themselves, where they are told apart.
    pub pairs: Option<&'e PairLabels>,
    /// What the request holds.
    pub memory: &'e Share,
}

pub(crate) struct Splitter<'e> {
    epochs: &'e [Epoch],
    now: Timestamp,
    latest: Timestamp,
    age: Age,
    limits: Limits,
    described: &'e Described,
    pairs: Option<&'e PairLabels>,
    parts: Parts<'e>,
    /// Descriptions in the batches.
    said: HashSet<u64>,
    open: Vec<Open>,
    /// The routing key met last and the place of its shard in `open`: a target's series come one
    /// after the other.
    last: Option<(u64, u64, usize)>,
    /// Of the series that is being added.
    hash: Option<LabelHash>,
    split: Split,
}

struct Open {
    shard: ShardId,
    writer: BatchWriter,
    labelled: Vec<Labelled>,
    described: Vec<u64>,
    /// Whether a series with more than floats is in it.
    is_rich: bool,
}

impl<'e> Splitter<'e> {
    /// For a request of as many bytes once it is decompressed.
    pub(crate) fn new(by: &SplitBy<'e>, body_bytes: usize) -> Self {
        Self {
            parts: Parts::new(by.memory, body_bytes),
            epochs: by.epochs,
            now: by.now,
            latest: by.now.saturating_add_millis(AHEAD_MILLIS_MAX),
            age: by.age,
            limits: *by.limits,
            pairs: by.pairs,
            described: by.described,
            said: HashSet::new(),
            open: Vec::new(),
            last: None,
            hash: None,
            split: Split::default(),
        }
    }

    /// Adds samples of a series that the cache knows; `false` if they must be looked at singly.
    #[inline]
    fn add_known(&mut self, home: Home, samples: &[Sample]) -> bool {
        if !self.are_covered(samples, home) {
            return false;
        }
        let open_at = match self.last {
            Some((_, _, open_at)) if self.open[open_at].shard == home.shard => open_at,
            _ => self.open_at(home.shard),
        };
        if !self.parts.use_bytes(samples.len() * SAMPLE_BYTES) {
            return true;
        }
        self.split.samples += samples.len() as u64;
        for together in samples.chunks(SAMPLES_TOGETHER) {
            self.open[open_at].writer.push_known(home.series, together.iter().copied());
            self.close_if_full(open_at);
        }
        true
    }

    /// Whether all samples may be stored, in the epoch that the cache speaks of.
    fn are_covered(&self, samples: &[Sample], home: Home) -> bool {
        let at = self.epochs.iter().position(|epoch| epoch.number == home.epoch);
        let Some(at) = at else { return false };
        let from = if at == 0 { Timestamp::MIN } else { self.epochs[at].from };
        let ends = self.epochs.get(at + 1).map_or(Timestamp::MAX, |next| next.from);
        samples.iter().all(|s| {
            s.timestamp <= self.latest
                && s.timestamp >= from
                && (s.timestamp < ends || ends == Timestamp::MAX)
        })
    }

    /// Adds a series by its labels; `hash` is what finds them in the cache from then on. It goes
    /// by number where `home` names one.
    fn add(&mut self, series: &mut Series<'_>, hash: Option<LabelHash>, home: Option<Home>) {
        if self.check(series) {
            self.hash = hash;
            match series.is_rich() {
                true => self.route_rich(series, home),
                false => self.route(&series.labels, &series.samples),
            }
        }
    }

    /// Adds a series whose sender has no bytes or symbols that stay the same from request to
    /// request: the cache is asked by its labels in order.
    pub(crate) fn add_by_labels(
        &mut self,
        series: &mut Series<'_>,
        lookup: &mut Lookup<'_>,
        naming: Naming,
    ) {
        if !self.check(series) {
            return;
        }
        let hash = lookup.hash_of_labels(&series.labels);
        let known = Some(hash).filter(|_| naming == Naming::Known);
        let home = known.and_then(|hash| lookup.find_hash(hash)).map(|found| found.home);
        if home.is_none() {
            lookup.lose_place();
        }
        self.hash = Some(hash);
        if series.is_rich() {
            return self.route_rich(series, home);
        }
        if !home.is_some_and(|home| self.add_known(home, &series.samples)) {
            self.route(&series.labels, &series.samples);
        }
    }

    /// Puts a series in order and refuses what of it can never be stored. Whether anything is
    /// left.
    fn check(&mut self, series: &mut Series<'_>) -> bool {
        let label_bytes = label_bytes(&series.labels);
        if !self.parts.look_at(label_bytes) {
            return false;
        }
        if let Some(first) = series.histograms_refused.first() {
            let example = || format!("{}: {first}", describe(&series.labels));
            let refused = series.histograms_refused.len();
            self.refuse_with(RefuseReason::InvalidHistogram, refused, example);
        }
        if series.exemplars_refused > 0 {
            let refused = series.exemplars_refused;
            self.refuse(RefuseReason::InvalidExemplar, refused, &series.labels);
        }
        if series.is_empty() && series.metadata.is_none() {
            return false;
        }
        if let Some(pairs) = self.pairs {
            pairs.drop_replica(&mut series.labels);
        }
        if let Err(reason) = put_in_order(series) {
            self.refuse(reason, series.len(), &series.labels);
            return false;
        }
        // Each label's lengths take at least two bytes.
        let encoded_bytes = label_bytes + 2 * series.labels.len();
        if encoded_bytes > LABELS_BYTES_MAX {
            let excess = || {
                let labels = describe(&series.labels);
                format!("{labels}: labels of {encoded_bytes} bytes exceed {LABELS_BYTES_MAX}")
            };
            self.refuse_with(RefuseReason::LabelsTooLarge, series.len(), excess);
            return false;
        }
        if let Some((reason, excess)) = self.limits.exceeded_by(&series.labels) {
            let example = || format!("{}: {excess}", describe(&series.labels));
            self.refuse_with(reason, series.len(), example);
            return false;
        }
        let refused = series.take_later_than(self.latest);
        if refused > 0 {
            self.refuse(RefuseReason::TooFarInFuture, refused, &series.labels);
        }
        let name = series.labels.iter().find(|(name, _)| *name == METRIC_NAME);
        if let (Some(metadata), Some((_, name))) = (series.metadata, name) {
            self.describe_series(name, metadata);
        }
        !series.is_empty()
    }

    /// Adds runs of samples that one epoch covers to the batch of their shard.
    fn route(&mut self, labels: &[(&str, &str)], mut samples: &[Sample]) {
        while let Some(first) = samples.first() {
            let at = self.epochs.partition_point(|epoch| epoch.from <= first.timestamp);
            let at = at.saturating_sub(1);
            let epoch = &self.epochs[at];
            let ends = self.epochs.get(at + 1).map_or(Timestamp::MAX, |next| next.from);
            let covered = |s: &Sample| s.timestamp >= epoch.from && s.timestamp < ends;
            let run = match self.epochs.len() {
                1 => samples.len(),
                _ => samples.iter().take_while(|s| covered(s)).count().max(1),
            };
            let (run, rest) = samples.split_at(run);
            let key = routing_key(TenantId(0), labels.iter().copied(), &epoch.spread_jobs);
            let open_at = match self.last {
                Some((number, last_key, open_at)) if (number, last_key) == (epoch.number, key) => {
                    open_at
                }
                _ => self.open_at(epoch.ring.shard_of_key(key)),
            };
            self.last = Some((epoch.number, key, open_at));
            let epoch = epoch.number;
            self.write(open_at, labels, run, epoch);
            samples = rest;
        }
    }

    /// The place of a shard's batch in `open`.
    fn open_at(&mut self, shard: ShardId) -> usize {
        let found = self.open.iter().position(|open| open.shard == shard);
        found.unwrap_or_else(|| {
            self.open.push(Open {
                shard,
                writer: match self.age {
                    Age::Window => BatchWriter::new(),
                    Age::Any => BatchWriter::backfill(),
                },
                labelled: Vec::new(),
                described: Vec::new(),
                is_rich: false,
            });
            self.open.len() - 1
        })
    }

    fn write(&mut self, open_at: usize, labels: &[(&str, &str)], samples: &[Sample], epoch: u64) {
        let series_bytes = SERIES_BYTES + label_bytes(labels);
        let times = samples.len().div_ceil(SAMPLES_TOGETHER);
        if !self.parts.use_bytes(times * series_bytes + samples.len() * SAMPLE_BYTES) {
            return;
        }
        self.split.samples += samples.len() as u64;
        for together in samples.chunks(SAMPLES_TOGETHER) {
            self.make_room(open_at, series_bytes + together.len() * SAMPLE_BYTES);
            let open = &mut self.open[open_at];
            let fingerprint = open.writer.push_pairs(labels, together.iter().copied());
            open.labelled.push(Labelled { hash: self.hash, epoch, fingerprint });
            self.close_if_full(open_at);
        }
    }

    /// Closes a batch that `bytes` more would make too large: what is larger goes alone.
    fn make_room(&mut self, open_at: usize, bytes: usize) {
        let open = &self.open[open_at];
        if !open.writer.is_empty() && open.writer.len() + bytes > BATCH_BYTES {
            self.close(open_at);
        }
    }

    fn close_if_full(&mut self, open_at: usize) {
        if self.open[open_at].writer.len() >= BATCH_BYTES {
            self.close(open_at);
        }
    }

    fn close(&mut self, open_at: usize) {
        let open = &mut self.open[open_at];
        let full = open.close();
        self.split.batches.entry(open.shard).or_default().push(full);
    }

    fn refuse(&mut self, reason: RefuseReason, samples: usize, labels: &[(&str, &str)]) {
        self.refuse_with(reason, samples, || describe(labels));
    }

    pub(crate) fn refuse_with(
        &mut self,
        reason: RefuseReason,
        samples: usize,
        example: impl FnOnce() -> String,
    ) {
        let refused = self.split.refused.entry(reason);
        let refusal = refused.or_insert_with(|| Refusal { samples: 0, example: example() });
        refusal.samples += samples as u64;
    }

    /// All batches, or why memory for them cannot be had.
    pub(crate) fn finish(mut self) -> Result<Split, DecodeError> {
        self.parts.finish()?;
        for mut open in self.open {
            if !open.writer.is_empty() {
                self.split.batches.entry(open.shard).or_default().push(open.close());
            }
        }
        Ok(self.split)
    }
}

impl Open {
    fn close(&mut self) -> Batch {
        let writer = self.writer.take();
        Batch {
            has_samples: writer.samples() > 0 || std::mem::take(&mut self.is_rich),
            bytes: writer.finish(),
            labelled: std::mem::take(&mut self.labelled),
            described: std::mem::take(&mut self.described),
        }
    }
}

/// Sorts the labels by name, leaves out empty values, and checks what makes a label set.
fn put_in_order(series: &mut Series<'_>) -> Result<(), RefuseReason> {
    if series.labels_not_utf8 > 0 {
        return Err(RefuseReason::InvalidUtf8);
    }
    let labels = &mut series.labels;
    let (mut sorted, mut empty, mut named) = (true, false, false);
    let mut previous = "";
    for (name, value) in labels.iter() {
        sorted &= previous < *name;
        empty |= value.is_empty();
        named |= *name == METRIC_NAME && !value.is_empty();
        previous = name;
    }
    // An empty name is never behind another one, so it is found here too.
    if !sorted {
        labels.sort_unstable();
        if labels.first().is_some_and(|(name, _)| name.is_empty()) {
            return Err(RefuseReason::EmptyLabelName);
        }
        if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(RefuseReason::DuplicateLabel);
        }
    }
    if empty {
        labels.retain(|(_, value)| !value.is_empty());
    }
    if named { Ok(()) } else { Err(RefuseReason::MissingName) }
}

fn label_bytes(labels: &[(&str, &str)]) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// The labels as far as an error text needs them.
fn describe(labels: &[(&str, &str)]) -> String {
    const SHOWN: usize = 200;
    let mut text = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        if text.len() > SHOWN {
            text.push_str(", …");
            break;
        }
        let comma = if i > 0 { ", " } else { "" };
        let value: String = value.chars().take(SHOWN).collect();
        let name: String = name.chars().take(SHOWN).collect();
        text.push_str(&format!("{comma}{name}={value:?}"));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests;
