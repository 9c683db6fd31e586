//! The hot stages of a shard: applying an entry, sealing and writing a checkpoint, selecting and
//! decoding. Figures are per sample or per series, as the throughput says.

use std::{hint::black_box, mem::replace, ops::ControlFlow, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use narthex_model::{
    CounterResetHint, Labels, Matcher, NativeHistogram, Timestamp,
    histogram::{EncodedHistogram, Span, SpannedCounts, SpannedHistogram},
};
use narthex_tsdb::{
    Columns, LogPosition, ReplicaNumber, SeriesId, Shard,
    entry::{EntryWriter, Header, RowOwner, SampleBlock, SampleTimes, Source},
    kv::{KeyValue, MemoryKv, Space},
};

const HOSTS: u32 = 20;
const SERIES_OF_HOST: u32 = 847;
const STEP: i64 = 15_000;
const START: i64 = 1_700_000_000_000;

fn labels(host: u32, series: u32) -> Labels {
    let pairs = [
        ("__name__", format!("metric_{}_total", series / 7)),
        ("device", format!("d{}", series % 7)),
        ("instance", format!("host-{host}:9100")),
        ("job", "node".to_owned()),
    ];
    Labels::from_pairs(pairs).expect("valid")
}

/// Counters, gauges of two decimals and constants in turn.
fn value(series: u32, step: i64) -> f64 {
    let noise = (i64::from(series) * 7919 + step * 104_729) % 1000;
    match series % 3 {
        0 => (step * 1000 + noise) as f64,
        1 => noise as f64 / 100.0,
        _ => f64::from(series),
    }
}

fn entry(host: u32, step: i64, known: bool) -> Vec<u8> {
    let time = Timestamp::from_millis(START + step * STEP);
    let mut block = SampleBlock::new();
    for series in 0..SERIES_OF_HOST {
        let value = value(series, step);
        if known {
            block.push(SeriesId(host * SERIES_OF_HOST + series), time, value);
        } else {
            block.push_labels(&labels(host, series), time, value);
        }
    }
    let mut entry = EntryWriter::new(Header { leader_time: time, leader_node: 1, tenant: 0 });
    entry.append(Source::Client, &block);
    entry.finish()
}

struct Loaded {
    shard: Shard,
    index: u64,
}

impl Loaded {
    fn new(steps: i64) -> Self {
        let kv: Arc<dyn KeyValue> = Arc::new(MemoryKv::new());
        let shard = Shard::open(kv, ReplicaNumber(1)).expect("empty");
        let mut loaded = Self { shard, index: 0 };
        for step in 0..steps {
            for host in 0..HOSTS {
                loaded.apply(&entry(host, step, step > 0));
            }
        }
        loaded
    }

    fn apply(&mut self, entry: &[u8]) {
        self.index += 1;
        let at = LogPosition { term: 1, index: self.index };
        let outcome = self.shard.apply(at, entry).expect("valid");
        assert_eq!(outcome.appended(), u64::from(SERIES_OF_HOST));
    }
}

fn bench_entry(c: &mut Criterion) {
    let mut group = c.benchmark_group("entry");
    group.throughput(Throughput::Elements(u64::from(SERIES_OF_HOST)));
    group.bench_function("encode", |b| b.iter(|| black_box(entry(3, 9, true))));
    group.finish();
}

fn bench_apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.sample_size(10);
    let steps = 100;
    group.throughput(Throughput::Elements(steps as u64 * u64::from(HOSTS * SERIES_OF_HOST)));
    let later: Vec<Vec<u8>> =
        (1..=steps).flat_map(|step| (0..HOSTS).map(move |host| entry(host, step, true))).collect();
    group.bench_function("known series", |b| {
        let load = || Loaded::new(1);
        let run = |mut loaded: Loaded| {
            later.iter().for_each(|entry| loaded.apply(entry));
            loaded
        };
        b.iter_batched(load, run, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(u64::from(HOSTS * SERIES_OF_HOST)));
    let first: Vec<Vec<u8>> = (0..HOSTS).map(|host| entry(host, 0, false)).collect();
    group.bench_function("new series", |b| {
        let run = |mut loaded: Loaded| {
            first.iter().for_each(|entry| loaded.apply(entry));
            loaded
        };
        b.iter_batched(|| Loaded::new(0), run, BatchSize::PerIteration);
    });
    group.finish();
}

fn bench_checkpoint(c: &mut Criterion) {
    let mut group = c.benchmark_group("checkpoint");
    group.sample_size(10);
    let mut loaded = Loaded::new(480);
    let series = u64::from(HOSTS * SERIES_OF_HOST);
    let bytes = loaded.shard.reader().stats().memory_bytes;
    println_figure("memory bytes a series, chunks full", bytes / series);
    group.throughput(Throughput::Elements(series));
    group.bench_function("freeze", |b| {
        b.iter_batched(
            || (),
            |()| loaded.shard.freeze(b"").expect("sound"),
            BatchSize::PerIteration,
        );
    });
    group.throughput(Throughput::Elements(series * 480));
    group.bench_function("seal and write", |b| {
        b.iter_batched(
            || loaded.shard.freeze(b"").expect("sound"),
            |frozen| frozen.write().expect("memory"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

#[expect(clippy::print_stdout, reason = "a bench reports figures that criterion does not measure")]
fn println_figure(name: &str, figure: u64) {
    println!("{name}: {figure}");
}

fn bench_read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    let mut loaded = Loaded::new(700);
    let frozen = loaded.shard.freeze(b"").expect("sound");
    let position = frozen.write().expect("memory");
    loaded.shard.checkpointed(position);
    let reader = loaded.shard.reader();
    let (start, end) = (Timestamp::from_millis(START), Timestamp::from_millis(START + 700 * STEP));
    let recent = Timestamp::from_millis(START + 690 * STEP);
    let matchers = [Matcher::equal("__name__", "metric_3_total")];
    let selected = reader.select(&matchers, start, end).len() as u64;
    group.throughput(Throughput::Elements(selected));
    group.bench_function("select", |b| b.iter(|| reader.select(&matchers, recent, end)));
    group.bench_function("select all and drop", |b| b.iter(|| reader.select(&[], recent, end)));
    for (name, from, samples) in [("decode memory", recent, 11), ("decode all", start, 700)] {
        group.throughput(Throughput::Elements(selected * samples));
        group.bench_function(name, |b| {
            let mut columns = Columns::new();
            b.iter(|| {
                for series in reader.select(&matchers, from, end) {
                    columns.clear();
                    series.samples.read(from, end, &mut columns).expect("sound");
                    black_box(&columns);
                }
            });
        });
    }
    group.finish();
}

const HISTOGRAM_SERIES: u32 = 640;
const HISTOGRAM_STEPS: i64 = 240;

/// Latencies in twenty buckets of which some see hundreds of requests a step, others none.
fn histogram(series: u32, step: i64) -> Vec<u8> {
    let count = |bucket: i64| {
        let rate = 400 >> (bucket - 8).abs().min(9);
        let noise = (i64::from(series) * 7919 + step * 104_729 + bucket * 31) % (rate / 4 + 1);
        rate * step + noise
    };
    let counts: Vec<i64> = (0..20).map(count).collect();
    let deltas: Vec<i64> = counts.iter().scan(0, |b, c| Some(c - replace(b, *c))).collect();
    let sent = SpannedHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 3,
        zero_threshold: 2.938_735_877_055_719e-39,
        sum: counts.iter().sum::<i64>() as f64 * 0.0173,
        counts: SpannedCounts::Integer {
            count: counts.iter().sum::<i64>() as u64,
            zero_count: 0,
            positive_deltas: &deltas,
            negative_deltas: &[],
        },
        positive_spans: &[Span { offset: -40, length: 20 }],
        negative_spans: &[],
        custom_values: &[],
    };
    let mut bytes = Vec::new();
    NativeHistogram::from_spans(&sent).expect("valid").encode(&mut bytes);
    bytes
}

fn histogram_entry(step: i64) -> Vec<u8> {
    let time = Timestamp::from_millis(START + step * STEP);
    let mut block = SampleBlock::new();
    for series in 0..HISTOGRAM_SERIES {
        let owner = match step {
            0 => RowOwner::Inline(block.inline(&labels(0, series))),
            _ => RowOwner::Known(SeriesId(series)),
        };
        let bytes = histogram(series, step);
        let histogram = EncodedHistogram::new(&bytes).expect("valid");
        let times = SampleTimes { timestamp: time, start: Timestamp::from_millis(START) };
        block.push_histogram(owner, times, &histogram);
    }
    let mut entry = EntryWriter::new(Header { leader_time: time, leader_node: 1, tenant: 0 });
    entry.append(Source::Client, &block);
    entry.finish()
}

fn bench_histograms(c: &mut Criterion) {
    let mut group = c.benchmark_group("histograms");
    group.sample_size(10);
    let entries: Vec<Vec<u8>> = (0..HISTOGRAM_STEPS).map(histogram_entry).collect();
    let samples = u64::from(HISTOGRAM_SERIES) * HISTOGRAM_STEPS as u64;
    let kv: Arc<MemoryKv> = Arc::new(MemoryKv::new());
    let load = || Shard::open(kv.clone(), ReplicaNumber(1)).expect("empty");
    let run = |mut shard: Shard| {
        for (at, entry) in entries.iter().enumerate() {
            let at = LogPosition { term: 1, index: at as u64 + 1 };
            shard.apply(at, entry).expect("valid");
        }
        shard
    };
    group.throughput(Throughput::Elements(samples));
    group.bench_function("apply", |b| b.iter_batched(load, run, BatchSize::PerIteration));
    let mut shard = run(load());
    group.bench_function("seal and write", |b| {
        b.iter_batched(
            || shard.freeze(b"").expect("sound"),
            |frozen| frozen.write().expect("memory"),
            BatchSize::PerIteration,
        );
    });
    let mut bytes = 0;
    let all = &mut |_: &[u8], page: &[u8]| {
        bytes += page.len();
        ControlFlow::Continue(())
    };
    kv.scan(Space::Chunks, &[], &[u8::MAX; 64], all).expect("memory");
    println_figure("log bytes a histogram", entries[9].len() as u64 / u64::from(HISTOGRAM_SERIES));
    println_figure("sealed bytes in all", bytes as u64);
    println_figure("histograms in all", samples);
    group.finish();
}

criterion_group!(benches, bench_entry, bench_apply, bench_checkpoint, bench_read, bench_histograms);
criterion_main!(benches);
