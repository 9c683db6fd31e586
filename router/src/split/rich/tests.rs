use std::collections::BTreeSet;

use narthex_cluster::{Epoch, Ring, ShardId};
use narthex_model::{Labels, MetricType, Sample};
use narthex_proto::batch::{BatchReader, Item, KnownSeries, Subject};

use super::*;
use crate::{
    families::Described,
    limits::Limits,
    memory::{Memory, Share},
    sender::{put_field, put_varint},
    series_cache::SeriesCache,
    split::{Age, Naming, Split, SplitBy, split_v2},
};

fn epoch(number: u64, from: i64, shards: u32) -> Epoch {
    Epoch {
        number,
        from: Timestamp::from_millis(from),
        ring: std::sync::Arc::new(Ring::new((0..shards).map(ShardId))),
        spread_jobs: BTreeSet::new(),
    }
}

struct Case {
    epochs: Vec<Epoch>,
    cache: SeriesCache,
    described: Described,
    limits: Limits,
    memory: Share,
}

impl Case {
    fn new() -> Self {
        let epochs = vec![epoch(0, i64::MIN, 2), epoch(1, 300, 9)];
        Self {
            epochs,
            cache: SeriesCache::new(10, 1),
            described: Described::default(),
            limits: Limits::default(),
            memory: Memory::new(Limits::default(), Default::default()).share(),
        }
    }

    fn by(&self) -> SplitBy<'_> {
        SplitBy {
            epochs: &self.epochs,
            now: Timestamp::from_millis(1000),
            cache: &self.cache,
            naming: Naming::Known,
            age: Age::Window,
            limits: &self.limits,
            described: &self.described,
            pairs: None,
            memory: &self.memory,
        }
    }
}

const LABELS: [(&str, &str); 3] = [("__name__", "rpc_bucket"), ("instance", "i"), ("job", "j")];

fn series() -> Series<'static> {
    let mut series = Series { labels: LABELS.to_vec(), ..Series::default() };
    let at = Timestamp::from_millis;
    series.push(Sample { timestamp: at(100), value: 1.0 }, Timestamp::default());
    series.push(Sample { timestamp: at(400), value: 2.0 }, at(50));
    for millis in [200, 500] {
        let value = Ok(NativeHistogram::stale_marker(false));
        series.push_histogram(Point { timestamp: at(millis), start: at(1), value });
        let sample = Sample { timestamp: at(millis + 1), value: 3.0 };
        series.push_exemplar(&[("trace_id", "t")], sample);
    }
    let unit = "seconds";
    series.metadata = Some(Metadata { metric_type: MetricType::Histogram, help: "h", unit });
    series
}

/// Everything in the batches, each thing on a line of its own.
fn rows(split: &Split) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for (shard, batch) in split.batches.iter().flat_map(|(s, b)| b.iter().map(move |b| (s, b))) {
        let mut reader = BatchReader::new(&batch.bytes).expect("a batch");
        let mut samples = Vec::new();
        while let Some(item) = reader.next(&mut samples).expect("a batch") {
            match item {
                Item::Floats(subject) => {
                    let of =
                        |s: &Sample| format!("{shard} {} {}", shown(subject), s.timestamp.millis());
                    rows.extend(samples.iter().map(of));
                }
                Item::Metadata(it) => {
                    let FamilyMetadata { family, metric_type, help, unit } = it;
                    rows.insert(format!("{family} {metric_type} {help} {unit}"));
                }
                Item::Rich(rich) => {
                    let of = shown(rich.subject);
                    let floats = rich.floats.iter().map(|p| (p.timestamp, p.start, "float"));
                    let histograms =
                        rich.histograms.iter().map(|p| (p.timestamp, p.start, "histogram"));
                    let exemplars = rich.exemplars.iter();
                    let exemplars =
                        exemplars.map(|it| (it.sample.timestamp, Timestamp::default(), "exemplar"));
                    for (at, start, kind) in floats.chain(histograms).chain(exemplars) {
                        let (at, start) = (at.millis(), start.millis());
                        rows.insert(format!("{shard} {of} {kind} {at} since {start}"));
                    }
                }
            }
        }
    }
    rows
}

fn shown(subject: Subject<'_>) -> String {
    match subject {
        Subject::Labels(bytes) => {
            let labels = Labels::from_bytes(bytes).expect("labels");
            labels.metric_name().unwrap_or_default().to_owned()
        }
        Subject::Known(KnownSeries { series, .. }) => format!("#{series}"),
    }
}

#[test]
fn each_point_goes_to_the_shard_of_its_epoch() {
    let case = Case::new();
    let mut splitter = Splitter::new(&case.by(), 0);
    splitter.add(&mut series(), None, None);
    let split = splitter.finish().expect("memory");
    assert!(split.refused.is_empty() && split.samples == 4);
    let labels = Labels::from_pairs(LABELS).expect("valid");
    let shard = |at: usize| case.epochs[at].shard_of(TenantId(0), &labels);
    let (early, late) = (shard(0), shard(1));
    let want = [
        format!("{early} rpc_bucket float 100 since 0"),
        format!("{late} rpc_bucket float 400 since 50"),
        format!("{early} rpc_bucket histogram 200 since 1"),
        format!("{late} rpc_bucket histogram 500 since 1"),
        format!("{early} rpc_bucket exemplar 201 since 0"),
        format!("{late} rpc_bucket exemplar 501 since 0"),
        "rpc histogram h seconds".to_owned(),
    ];
    assert_eq!(rows(&split), BTreeSet::from(want));
}

#[test]
fn a_known_series_goes_by_number_and_is_described_once() {
    let case = Case::new();
    let described = |split: &Split| -> Vec<u64> {
        split.batches.values().flatten().flat_map(|batch| batch.described.clone()).collect()
    };
    let series = KnownSeries { series: 7, fingerprint: 1 };
    let home = Home { epoch: 1, shard: ShardId(3), series };
    for turn in 0..2 {
        let mut splitter = Splitter::new(&case.by(), 0);
        splitter.add(&mut self::series(), None, Some(home));
        splitter.add(&mut self::series(), None, Some(home));
        let split = splitter.finish().expect("memory");
        let rows = rows(&split);
        assert!(rows.contains("3 #7 histogram 500 since 1"), "{rows:?}");
        assert!(rows.iter().any(|row| row.contains("rpc_bucket histogram 200")), "another epoch");
        assert_eq!(described(&split).len(), 1 - turn, "said again only until a shard has it");
        case.described.learn(&described(&split));
    }
}

/// A series of 2.0 with a histogram, an exemplar, a start and a description, from its bytes.
#[test]
fn everything_that_2_0_brings_arrives() {
    let case = Case::new();
    let mut request = Vec::new();
    for symbol in ["", "__name__", "rpc", "trace_id", "t", "Help."] {
        put_field(&mut request, 4, symbol.as_bytes());
    }
    let (mut series, mut sample, mut exemplar) = (Vec::new(), Vec::new(), Vec::new());
    put_field(&mut series, 1, &[1, 2]);
    sample.extend([16, 100, 24, 50]);
    put_field(&mut series, 2, &sample);
    // An empty histogram of schema 0 at 120 since 60: count and timestamps only.
    let mut histogram = vec![8, 0, 15 << 3];
    put_varint(&mut histogram, 120);
    histogram.extend([0x88, 1, 60]);
    put_field(&mut series, 3, &histogram);
    put_field(&mut exemplar, 1, &[3, 4]);
    exemplar.extend([24, 110]);
    put_field(&mut series, 4, &exemplar);
    put_field(&mut series, 5, &[8, 1, 24, 5]);
    put_field(&mut request, 5, &series);
    let split = split_v2(&request, &case.by()).expect("valid");
    assert!(split.refused.is_empty(), "{:?}", split.refused);
    let rows = rows(&split);
    for want in [
        "rpc float 100 since 50",
        "rpc histogram 120 since 60",
        "rpc exemplar 110 since 0",
        "rpc counter Help. ",
    ] {
        assert!(rows.iter().any(|row| row.ends_with(want)), "{want}: {rows:?}");
    }
}

#[test]
fn a_long_description_is_refused_and_many_histograms_are_parted() {
    let case = Case::new();
    let mut splitter = Splitter::new(&case.by(), 0);
    let help = "h".repeat(METADATA_BYTES_MAX);
    splitter.describe("a", Metadata { help: &help, ..Metadata::default() });
    let split = splitter.finish().expect("memory");
    assert_eq!(split.refused[&RefuseReason::MetadataTooLong].samples, 1);

    let marker = |_| Point {
        timestamp: Timestamp::default(),
        start: Timestamp::default(),
        value: NativeHistogram::stale_marker(true),
    };
    let many: Vec<_> = (0..50_000).map(marker).collect();
    let first = fitting(&many, 1 << 20);
    assert!(first > 1 && first < many.len());
    assert_eq!((fitting(&many[..1], 0), fitting(&[], 1 << 20)), (1, 0));
}
