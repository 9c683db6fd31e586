use std::{collections::BTreeSet, sync::Arc};

use narthex_cluster::Ring;
use narthex_model::Labels;
use narthex_proto::batch::{BatchReader, Item, KnownSeries, Subject};
use proptest::prelude::*;

use super::*;
use crate::{
    memory::Memory,
    sender::{
        Outgoing, encode, encode_sample, encode_v2, none_known, put_field, put_varint, read_batch,
    },
};

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
    let (split, other) = both(request, epochs);
    assert_eq!(stored(&other), stored(&split), "both versions say the same");
    assert_eq!(other.refused, split.refused);
    split
}

/// As remote write 1.0 and as 2.0.
fn both(request: &[Outgoing], epochs: &[Epoch]) -> (Split, Split) {
    let cache = SeriesCache::new(1, 1);
    let by = SplitBy {
        epochs,
        now: Timestamp::from_millis(1_000_000),
        cache: &cache,
        naming: Naming::Known,
        age: Age::Window,
        limits: &Limits::default(),
        described: &Described::default(),
        pairs: None,
        memory: &Memory::new(Limits::default(), Default::default()).share(),
    };
    let split = split_v1(&encode(request), &by).expect("valid request");
    (split, split_v2(&encode_v2(request), &by).expect("valid request"))
}

/// What a batch makes of an entry is below 4 MiB, the most that a shard takes: numbers take at most
/// ten bytes more for each sample.
#[test]
fn the_longest_labels_leave_room_in_an_entry() {
    const ENTRY_BYTES_MAX: usize = 4 << 20;
    let small = |i: usize| series(&[("__name__", "m"), ("i", &i.to_string())], &[(1, 1.0)]);
    let samples: Vec<(i64, f64)> = (0..40_000).map(|i| (i, 0.1 + i as f64)).collect();
    let longest = "x".repeat(LABELS_BYTES_MAX - "__name__mx".len() - 4);
    let many: Vec<(String, String)> =
        (0..60_000).map(|i| (format!("l{i:05}"), "v".repeat(40))).collect();
    let many: Vec<_> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let request: Vec<Outgoing> = (0..60_000)
        .map(small)
        .chain([
            series(&[("__name__", "m"), ("x", &longest)], &samples),
            series(&[&[("__name__", "m")], &many[..]].concat(), &samples),
            series(&[("__name__", "m"), ("x", &format!("{longest}y"))], &samples),
            series(&[("__name__", "m"), (&"n".repeat(64 << 10), "v")], &samples[..1]),
        ])
        .collect();
    let (split, other) = both(&request, &[epoch(0, i64::MIN, 1)]);
    for split in [split, other] {
        assert_eq!(split.refused.keys().collect::<Vec<_>>(), [&RefuseReason::LabelsTooLarge]);
        assert_eq!(split.refused[&RefuseReason::LabelsTooLarge].samples, 40_000);
        assert_eq!(split.samples, 60_000 + 80_000 + 1);
        let batches = split.batches.values().flatten();
        let entry_bytes = batches.map(|batch| {
            let rows = read_batch(&batch.bytes, none_known);
            batch.bytes.len() + 10 * rows.iter().map(|(_, samples)| samples.len()).sum::<usize>()
        });
        let largest = entry_bytes.max().expect("there are batches");
        assert!((LABELS_BYTES_MAX..ENTRY_BYTES_MAX).contains(&largest), "{largest}");
    }
}

type Stored = BTreeSet<(u32, String, i64, u64)>;

fn stored(split: &Split) -> Stored {
    let mut all = Stored::new();
    for (shard, batches) in &split.batches {
        for (labels, samples) in
            batches.iter().flat_map(|batch| read_batch(&batch.bytes, none_known))
        {
            for s in samples {
                all.insert((shard.0, labels.to_string(), s.timestamp.millis(), s.value.to_bits()));
            }
        }
    }
    all
}

#[test]
fn a_target_lies_on_one_shard_and_labels_are_put_in_order() {
    let request = [
        series(&[("job", "a"), ("__name__", "up"), ("instance", "x"), ("zone", "")], &[(1, 1.0)]),
        series(&[("__name__", "cpu"), ("cpu", "0"), ("instance", "x"), ("job", "a")], &[(1, 2.0)]),
    ];
    let split = split_of(&request, &[epoch(0, i64::MIN, 6)]);
    assert_eq!((split.batches.len(), split.samples), (1, 2));
    assert!(split.refused.is_empty());
    assert!(stored(&split).iter().any(|row| row.1 == r#"{__name__="up", instance="x", job="a"}"#));
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
    for (shard, batch) in split.batches.iter().flat_map(|(s, b)| b.iter().map(move |b| (s, b))) {
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

/// The same in remote write 2.0; texts are added to `table`.
fn odd_v2(
    table: &mut Vec<String>,
    labels: &[(String, String)],
    behind: usize,
    times: &[i64],
) -> Vec<u8> {
    let mut refs = |labels: &[(String, String)]| {
        let mut packed = Vec::new();
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            let at = table.iter().position(|known| known == text).unwrap_or_else(|| {
                table.push(text.clone());
                table.len() - 1
            });
            put_varint(&mut packed, at as u64);
        }
        packed
    };
    let (before, after) = labels.split_at(labels.len() - behind.min(labels.len()));
    let (mut message, mut series) = (Vec::new(), Vec::new());
    put_field(&mut series, 1, &refs(before));
    times.iter().for_each(|time| put_field(&mut series, 2, &encode_sample((*time, 0.5))));
    if !after.is_empty() {
        put_field(&mut series, 1, &refs(after));
    }
    put_field(&mut message, 5, &series);
    message
}

/// What a request brings, whether the cache is asked or not; both are learnt from.
fn check_cache(
    cache: &SeriesCache,
    numbers: &mut Vec<Labels>,
    split: impl Fn(&SplitBy<'_>) -> Split,
) {
    let epochs = [epoch(0, i64::MIN, 2), epoch(1, 300, 5), epoch(2, 600, 9)];
    let by = SplitBy {
        epochs: &epochs,
        now: Timestamp::from_millis(1_000),
        cache,
        naming: Naming::Labels,
        age: Age::Window,
        limits: &Limits::default(),
        described: &Described::default(),
        pairs: None,
        memory: &Memory::new(Limits::default(), Default::default()).share(),
    };
    let plain = split(&by);
    let cached = split(&SplitBy { naming: Naming::Known, ..by });
    assert_eq!(rows(&cached, numbers), rows(&plain, &[]));
    assert_eq!(cached.samples, plain.samples);
    assert_eq!(cached.refused, plain.refused);
    learn(cache, &cached, numbers);
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
        let cache = SeriesCache::new(capacity, 5);
        let mut numbers = Vec::new();
        for request in requests {
            let (mut version_1, mut series_2) = (Vec::new(), Vec::new());
            let mut table = vec![String::new()];
            for (job, instance, behind, times) in &request {
                let labels = [("__name__", "m"), ("job", job), ("instance", instance)];
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let behind = if *behind == 3 { 0 } else { *behind };
                version_1.extend(odd(&labels, behind, times));
                series_2.extend(odd_v2(&mut table, &labels, behind, times));
            }
            let mut version_2 = Vec::new();
            table.iter().for_each(|text| put_field(&mut version_2, 4, text.as_bytes()));
            version_2.extend(series_2);
            check_cache(&cache, &mut numbers, |by| split_v1(&version_1, by).expect("valid"));
            check_cache(&cache, &mut numbers, |by| split_v2(&version_2, by).expect("valid"));
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
