//! Cost of a remote-write request up to the batches for its shards.

use std::{collections::BTreeSet, hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex_cluster::{Epoch, Ring, ShardId};
use narthex_model::Timestamp;
use narthex_proto::batch::KnownSeries;
use narthex_router::{
    remote_write::{Series, WriteRequest, decompress},
    sender::{Outgoing, compress, encode},
    series_cache::{Home, SeriesCache},
    split::{Labelled, Naming, split},
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
    let now = Timestamp::from_millis(1_700_000_000_000);
    let mut group = criterion.benchmark_group("remote_write");
    group.throughput(Throughput::Elements(page.len() as u64));
    group.bench_function("decompress", |b| b.iter(|| decompress(black_box(&body))));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let mut decoder = WriteRequest::new(black_box(&request));
            let mut series = Series::default();
            let mut samples = 0;
            while let Some(raw) = decoder.next_series().expect("valid") {
                series.read(raw).expect("valid");
                samples += series.samples.len();
            }
            samples
        });
    });
    let cache = SeriesCache::new(10_000, 1);
    group.bench_function("split", |b| {
        b.iter(|| split(black_box(&request), &epochs, now, &cache, Naming::Labels));
    });
    let first = split(&request, &epochs, now, &cache, Naming::Labels).expect("valid");
    for (shard, batch) in first.batches.iter().flat_map(|(s, b)| b.iter().map(move |b| (s, b))) {
        let home = |(series, labelled): (usize, &Labelled)| {
            let series = KnownSeries { series: series as u32, fingerprint: labelled.fingerprint };
            Some((labelled.hash?, Home { epoch: labelled.epoch, shard: *shard, series }))
        };
        cache.learn(batch.labelled.iter().enumerate().filter_map(home));
    }
    group.bench_function("split known", |b| {
        b.iter(|| split(black_box(&request), &epochs, now, &cache, Naming::Known));
    });
    group.finish();
}

criterion_group!(remote_write, benches);
criterion_main!(remote_write);
