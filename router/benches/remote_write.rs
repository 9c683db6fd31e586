//! Cost of a remote-write request up to the batches for its shards.

use std::{collections::BTreeSet, hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex_cluster::{Epoch, Ring, ShardId};
use narthex_model::Timestamp;
use narthex_proto::batch::KnownSeries;
use narthex_router::{
    Limits,
    families::Described,
    memory::Memory,
    remote_write::{
        decompress,
        v1::{Scratch, WriteRequest},
    },
    sender::{Outgoing, compress, encode, encode_v2},
    series::Series,
    series_cache::{Home, SeriesCache},
    split::{Age, Labelled, Naming, Split, SplitBy, split_v1, split_v2},
};

/// One host's page: 847 series with eight labels, one sample each.
fn page() -> Vec<Outgoing> {
    let series = |i: usize| {
        let mut labels = vec![
            ("__name__".to_owned(), format!("node_network_receive_bytes_{}_total", i % 40)),
            ("device".to_owned(), format!("veth{i:04x}")),
            ("instance".to_owned(), "host-00003.example:9100".to_owned()),
            ("job".to_owned(), "node".to_owned()),
        ];
        labels.extend((0..4).map(|j| (format!("label_{j}"), format!("value-{}", i * j % 17))));
        Outgoing { labels, samples: vec![(1_700_000_000_000, i as f64 * 0.5)] }
    };
    (0..847).map(series).collect()
}

fn benches(criterion: &mut Criterion) {
    let page = page();
    let request = encode(&page);
    let body = compress(&request);
    let epochs = [Epoch {
        number: 0,
        from: Timestamp::MIN,
        ring: Arc::new(Ring::new((0..6).map(ShardId))),
        spread_jobs: BTreeSet::new(),
    }];
    let cache = SeriesCache::new(10_000, 1);
    let by = SplitBy {
        epochs: &epochs,
        now: Timestamp::from_millis(1_700_000_000_000),
        cache: &cache,
        naming: Naming::Labels,
        age: Age::Window,
        limits: &Limits::default(),
        described: &Described::default(),
        pairs: None,
        memory: &Memory::new(Limits::default(), Default::default()).share(),
    };
    let known = SplitBy { naming: Naming::Known, ..by };
    let mut group = criterion.benchmark_group("remote_write");
    group.throughput(Throughput::Elements(page.len() as u64));
    group.bench_function("decompress", |b| b.iter(|| decompress(black_box(&body), 32 << 20)));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let mut decoder = WriteRequest::new(black_box(&request));
            let (mut series, mut scratch) = (Series::default(), Scratch::default());
            let mut samples = 0;
            while let Some(raw) = decoder.next_series().expect("valid") {
                raw.read(&mut series, &mut scratch).expect("valid");
                samples += series.samples.len();
            }
            samples
        });
    });
    group.bench_function("split", |b| b.iter(|| split_v1(black_box(&request), &by)));
    learn(&cache, &split_v1(&request, &by).expect("valid"));
    group.bench_function("split known", |b| b.iter(|| split_v1(black_box(&request), &known)));
    let request = encode_v2(&page);
    group.bench_function("split 2.0", |b| b.iter(|| split_v2(black_box(&request), &by)));
    learn(&cache, &split_v2(&request, &by).expect("valid"));
    group.bench_function("split known 2.0", |b| b.iter(|| split_v2(black_box(&request), &known)));
    group.finish();
}

/// Learns as from the answers of shards.
fn learn(cache: &SeriesCache, split: &Split) {
    for (shard, batch) in split.batches.iter().flat_map(|(s, b)| b.iter().map(move |b| (s, b))) {
        let home = |(series, labelled): (usize, &Labelled)| {
            let series = KnownSeries { series: series as u32, fingerprint: labelled.fingerprint };
            Some((labelled.hash?, Home { epoch: labelled.epoch, shard: *shard, series }))
        };
        cache.learn(batch.labelled.iter().enumerate().filter_map(home));
    }
}

criterion_group!(remote_write, benches);
criterion_main!(remote_write);
