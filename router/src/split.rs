//! From a decoded request to batches for shards: label sets checked, samples routed.
//!
//! A series that the cache knows is neither read nor checked again: only its samples are.
//!
//! Invariants
//! * every sample of the request is in exactly one batch or counted in exactly one refusal;
//! * the samples of a series keep their order within a shard;
//! * with or without a cache, the same samples go to the same shards.

use std::collections::BTreeMap;

use bytes::Bytes;
use narthex_cluster::{Epoch, ShardId, TenantId, routing::routing_key};
use narthex_model::{METRIC_NAME, Sample, Timestamp};
use narthex_proto::batch::BatchWriter;

use crate::{
    remote_write::{DecodeError, RawSeries, Series, WriteRequest},
    series_cache::{Found, Home, LabelHash, Lookup, SeriesCache},
};

/// A batch that has grown this large is closed, well below the largest message.
const BATCH_BYTES: usize = 2 << 20;
/// Samples of one series that go into a batch together.
const SAMPLES_TOGETHER: usize = 1 << 16;
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
    /// More than ten minutes ahead of our clock.
    TooFarInFuture,
    /// Native histograms are not stored yet.
    NativeHistogram,
    /// Exemplars are not stored yet.
    Exemplar,
}

impl RefuseReason {
    /// The reason's name in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::EmptyLabelName => "empty_label_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::MissingName => "missing_metric_name",
            Self::TooFarInFuture => "too_far_in_future",
            Self::NativeHistogram => "native_histogram",
            Self::Exemplar => "exemplar",
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
    /// Metadata, which remote write 1.0 sends on the side and which is not stored.
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

/// Decodes `decompressed` and splits it by the rings of `epochs`, of which there is at least one.
pub fn split(
    decompressed: &[u8],
    epochs: &[Epoch],
    now: Timestamp,
    cache: &SeriesCache,
    naming: Naming,
) -> Result<Split, DecodeError> {
    let mut splitter = Splitter {
        epochs,
        latest: now.saturating_add_millis(AHEAD_MILLIS_MAX),
        ..Splitter::default()
    };
    let mut lookup = cache.look_up();
    let mut request = WriteRequest::new(decompressed);
    let (mut series, mut samples) = (Series::default(), Vec::new());
    while let Some(raw) = request.next_series()? {
        match naming {
            Naming::Known if splitter.add_known(raw, &mut lookup, &mut samples) => continue,
            Naming::Known => {}
            Naming::Labels => splitter.hash = lookup.hash_of(raw.bytes(), raw.labels_len()),
        }
        series.read(raw)?;
        splitter.add(&mut series);
    }
    splitter.split.metadata = request.metadata() as u64;
    Ok(splitter.finish())
}

#[derive(Default)]
struct Splitter<'e> {
    epochs: &'e [Epoch],
    latest: Timestamp,
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
}

impl Splitter<'_> {
    /// Adds a series that the cache knows, if that is all there is to it.
    #[inline]
    fn add_known(
        &mut self,
        raw: RawSeries<'_>,
        lookup: &mut Lookup<'_>,
        samples: &mut Vec<Sample>,
    ) -> bool {
        self.hash = None;
        let Found { home, hash } = match lookup.find(raw.bytes(), || raw.labels_len()) {
            Ok(found) => found,
            Err(hash) => {
                self.hash = hash;
                lookup.lose_place();
                return false;
            }
        };
        if !raw.samples_behind(hash.labels_len(), samples) {
            return false;
        }
        if !self.are_covered(samples, home) {
            self.hash = Some(hash);
            return false;
        }
        let open_at = match self.last {
            Some((_, _, open_at)) if self.open[open_at].shard == home.shard => open_at,
            _ => self.open_at(home.shard),
        };
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

    fn add(&mut self, series: &mut Series<'_>) {
        if series.histograms > 0 {
            self.refuse(RefuseReason::NativeHistogram, series.histograms, &series.labels);
        }
        if series.exemplars > 0 {
            self.refuse(RefuseReason::Exemplar, series.exemplars, &series.labels);
        }
        if series.samples.is_empty() {
            return;
        }
        if let Err(reason) = put_in_order(series) {
            return self.refuse(reason, series.samples.len(), &series.labels);
        }
        let sent = series.samples.len();
        let latest = self.latest;
        series.samples.retain(|sample| sample.timestamp <= latest);
        if series.samples.len() < sent {
            let refused = sent - series.samples.len();
            self.refuse(RefuseReason::TooFarInFuture, refused, &series.labels);
        }
        self.route(&series.labels, &series.samples);
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
            self.open.push(Open { shard, writer: BatchWriter::new(), labelled: Vec::new() });
            self.open.len() - 1
        })
    }

    fn write(&mut self, open_at: usize, labels: &[(&str, &str)], samples: &[Sample], epoch: u64) {
        self.split.samples += samples.len() as u64;
        for together in samples.chunks(SAMPLES_TOGETHER) {
            let open = &mut self.open[open_at];
            let fingerprint = open.writer.push_pairs(labels, together.iter().copied());
            open.labelled.push(Labelled { hash: self.hash, epoch, fingerprint });
            self.close_if_full(open_at);
        }
    }

    fn close_if_full(&mut self, open_at: usize) {
        let open = &mut self.open[open_at];
        if open.writer.len() >= BATCH_BYTES {
            let full = open.close();
            self.split.batches.entry(open.shard).or_default().push(full);
        }
    }

    fn refuse(&mut self, reason: RefuseReason, samples: usize, labels: &[(&str, &str)]) {
        let refusal = self
            .split
            .refused
            .entry(reason)
            .or_insert_with(|| Refusal { samples: 0, example: describe(labels) });
        refusal.samples += samples as u64;
    }

    fn finish(mut self) -> Split {
        for mut open in self.open {
            if !open.writer.is_empty() {
                self.split.batches.entry(open.shard).or_default().push(open.close());
            }
        }
        self.split
    }
}

impl Open {
    fn close(&mut self) -> Batch {
        let bytes = std::mem::take(&mut self.writer).finish();
        Batch { bytes, labelled: std::mem::take(&mut self.labelled) }
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
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use narthex_cluster::Ring;
    use narthex_model::Labels;
    use narthex_proto::batch::{BatchReader, Item, KnownSeries, Subject};
    use proptest::prelude::*;

    use super::*;
    use crate::sender::{Outgoing, encode, none_known, read_batch};

    fn epoch(number: u64, from: i64, shards: u32) -> Epoch {
        Epoch {
            number,
            from: Timestamp::from_millis(from),
            ring: Arc::new(Ring::new((0..shards).map(ShardId))),
            spread_jobs: BTreeSet::new(),
        }
    }

    fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Outgoing {
        Outgoing {
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            samples: samples.to_vec(),
        }
    }

    fn split_of(request: &[Outgoing], epochs: &[Epoch]) -> Split {
        let cache = SeriesCache::new(1, 1);
        let now = Timestamp::from_millis(1_000_000);
        split(&encode(request), epochs, now, &cache, Naming::Known).expect("valid request")
    }

    type Stored = BTreeSet<(u32, String, i64, u64)>;

    fn stored(split: &Split) -> Stored {
        let mut all = Stored::new();
        for (shard, batches) in &split.batches {
            for (labels, samples) in
                batches.iter().flat_map(|batch| read_batch(&batch.bytes, none_known))
            {
                for s in samples {
                    all.insert((
                        shard.0,
                        labels.to_string(),
                        s.timestamp.millis(),
                        s.value.to_bits(),
                    ));
                }
            }
        }
        all
    }

    #[test]
    fn a_target_lies_on_one_shard_and_labels_are_put_in_order() {
        let request = [
            series(
                &[("job", "a"), ("__name__", "up"), ("instance", "x"), ("zone", "")],
                &[(1, 1.0)],
            ),
            series(
                &[("__name__", "cpu"), ("cpu", "0"), ("instance", "x"), ("job", "a")],
                &[(1, 2.0)],
            ),
        ];
        let split = split_of(&request, &[epoch(0, i64::MIN, 6)]);
        assert_eq!((split.batches.len(), split.samples), (1, 2));
        assert!(split.refused.is_empty());
        assert!(
            stored(&split).iter().any(|row| row.1 == r#"{__name__="up", instance="x", job="a"}"#)
        );
    }

    #[test]
    fn bad_series_are_refused_and_the_rest_kept() {
        let name = ("__name__", "m");
        let request = [
            series(&[name, ("a", "1"), ("a", "2")], &[(1, 1.0), (2, 1.0)]),
            series(&[name, ("", "1")], &[(1, 1.0)]),
            series(&[("a", "1")], &[(1, 1.0)]),
            series(&[name], &[(1, 1.0), (1_000_000 + AHEAD_MILLIS_MAX + 1, 1.0)]),
        ];
        let split = split_of(&request, &[epoch(0, i64::MIN, 3)]);
        let counts: Vec<_> = split.refused.iter().map(|(r, n)| (r.name(), n.samples)).collect();
        let expected = [
            ("empty_label_name", 1),
            ("duplicate_label", 2),
            ("missing_metric_name", 1),
            ("too_far_in_future", 1),
        ];
        assert_eq!(counts, expected);
        assert_eq!((split.samples, stored(&split).len()), (1, 1));
        assert_eq!(
            split.refused[&RefuseReason::DuplicateLabel].example,
            r#"{__name__="m", a="1", a="2"}"#
        );
    }

    #[test]
    fn a_large_request_becomes_several_batches() {
        let samples: Vec<_> = (0..400_000).map(|t| (t, 0.5)).collect();
        let request = [series(&[("__name__", "m")], &samples)];
        let split = split_of(&request, &[epoch(0, i64::MIN, 3)]);
        let batches: Vec<_> = split.batches.values().flatten().collect();
        assert!(batches.len() > 1);
        assert!(batches.iter().all(|batch| batch.bytes.len() < 2 * BATCH_BYTES));
        assert_eq!(stored(&split).len(), 400_000);
    }

    /// Learns from a split as a router does from the answers; series are numbered by labels.
    fn learn(cache: &SeriesCache, split: &Split, numbers: &mut Vec<Labels>) {
        for (&shard, batches) in &split.batches {
            for batch in batches {
                let mut reader = BatchReader::new(&batch.bytes).unwrap();
                let (mut learnt, mut labelled) = (Vec::new(), batch.labelled.iter());
                while let Some(item) = reader.next(&mut Vec::new()).unwrap() {
                    let Item::Floats(Subject::Labels(bytes)) = item else { continue };
                    let labelled = labelled.next().unwrap();
                    let (series, fingerprint) = (numbers.len() as u32, labelled.fingerprint);
                    assert_eq!(fingerprint, Labels::fingerprint_of(bytes));
                    numbers.push(Labels::from_bytes(bytes).unwrap());
                    let home = Home {
                        epoch: labelled.epoch,
                        shard,
                        series: KnownSeries { series, fingerprint },
                    };
                    learnt.extend(labelled.hash.map(|hash| (hash, home)));
                }
                cache.learn(learnt.into_iter());
            }
        }
    }

    fn rows(split: &Split, numbers: &[Labels]) -> BTreeMap<u32, Vec<String>> {
        let mut all: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (shard, batch) in split.batches.iter().flat_map(|(s, b)| b.iter().map(move |b| (s, b)))
        {
            let known = |known: KnownSeries| numbers[known.series as usize].clone();
            for (labels, samples) in read_batch(&batch.bytes, known) {
                let rows = samples.iter().map(|s| format!("{labels} {} {}", s.timestamp, s.value));
                all.entry(shard.0).or_default().extend(rows);
            }
        }
        all
    }

    /// A series whose labels may stand around its samples, as nobody writes them but may.
    fn odd(labels: &[(String, String)], behind: usize, times: &[i64]) -> Vec<u8> {
        let field = |outgoing: Outgoing| {
            // One series alone: its field's head is two bytes, as it is short.
            encode(&[outgoing])[2..].to_vec()
        };
        let (before, after) = labels.split_at(labels.len() - behind.min(labels.len()));
        let samples = times.iter().map(|time| (*time, 0.5)).collect();
        let mut message = field(Outgoing { labels: before.to_vec(), samples });
        message.extend(field(Outgoing { labels: after.to_vec(), samples: Vec::new() }));
        [&[10, message.len() as u8][..], &message].concat()
    }

    proptest! {
        /// With a cache that learns, every request is split as without one.
        #[test]
        fn a_cache_changes_nothing_but_bytes(
            requests in proptest::collection::vec(
                proptest::collection::vec(
                    ("[ab]", "[xy]?", 0usize..4, proptest::collection::vec(0..900i64, 0..3)), 0..6,
                ), 1..8,
            ),
            capacity in 1usize..12,
        ) {
            let epochs = [epoch(0, i64::MIN, 2), epoch(1, 300, 5), epoch(2, 600, 9)];
            let cache = SeriesCache::new(capacity, 5);
            let mut numbers = Vec::new();
            for request in requests {
                let mut bytes = Vec::new();
                for (job, instance, behind, times) in &request {
                    let labels = [("__name__", "m"), ("job", job), ("instance", instance)];
                    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
                    let behind = if *behind == 3 { 0 } else { *behind };
                    bytes.extend(odd(&labels, behind, times));
                }
                let now = Timestamp::from_millis(1_000);
                let plain = split(&bytes, &epochs, now, &cache, Naming::Labels).unwrap();
                let cached = split(&bytes, &epochs, now, &cache, Naming::Known).unwrap();
                prop_assert_eq!(rows(&cached, &numbers), rows(&plain, &[]));
                prop_assert_eq!(cached.samples, plain.samples);
                prop_assert_eq!(&cached.refused, &plain.refused);
                learn(&cache, &cached, &mut numbers);
            }
        }
    }

    proptest! {
        /// The shard of each sample is R1's, whatever lies next to it in the request.
        #[test]
        fn each_sample_goes_to_its_epochs_shard(
            rows in proptest::collection::vec(
                (0..3u8, 0..3u8, proptest::collection::vec(0..1_000i64, 1..6)), 1..8,
            )
        ) {
            let epochs = [epoch(0, i64::MIN, 2), epoch(1, 300, 5), epoch(2, 600, 9)];
            let values = ["", "p", "q"];
            let (mut request, mut expected) = (Vec::new(), Stored::new());
            for (job, instance, times) in &rows {
                let labels = [
                    ("__name__", "m"),
                    ("instance", values[usize::from(*instance)]),
                    ("job", values[usize::from(*job)]),
                ];
                let samples: Vec<_> = times.iter().map(|&t| (t, 1.0)).collect();
                request.push(series(&labels, &samples));
                let set = Labels::from_pairs(labels).expect("valid");
                for &time in times {
                    let epoch = &epochs[usize::from(time >= 300) + usize::from(time >= 600)];
                    let shard = epoch.shard_of(TenantId(0), &set).0;
                    expected.insert((shard, set.to_string(), time, 1f64.to_bits()));
                }
            }
            prop_assert_eq!(stored(&split_of(&request, &epochs)), expected);
        }
    }
}
