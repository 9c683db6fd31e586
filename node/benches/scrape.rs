//! What a scraped page costs between its arrival and its shard: reading it against what the last
//! page of the target said.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex_model::{Labels, Timestamp};
use narthex_node::{
    config::ScrapeLimits,
    scrape::{PageReader, SampleRules},
};

/// The page to read: `NARTHEX_BENCH_PAGE`, or a made-up one of 900 samples.
fn page() -> Vec<u8> {
    if let Ok(path) = std::env::var("NARTHEX_BENCH_PAGE") {
        return std::fs::read(path).expect("the page is readable");
    }
    let line = |at: u32| {
        let value = f64::from(at) * 1.37;
        format!("metric_{}_total{{device=\"dev{at}\",mode=\"idle\"}} {value}\n", at / 30)
    };
    (0..900).map(line).collect::<String>().into_bytes()
}

fn bench(criterion: &mut Criterion) {
    let page = page();
    let target = [("job", "node"), ("instance", "host-1:9100")];
    let rules = SampleRules {
        target_labels: Labels::from_pairs(target).expect("valid labels"),
        honor_labels: false,
        honor_timestamps: true,
        relabel: Arc::default(),
        limits: ScrapeLimits::default(),
    };
    let mut reader = PageReader::new(rules.clone(), 1);
    let samples = reader.read(&page, Timestamp::from_millis(0)).scraped;
    let mut group = criterion.benchmark_group("scrape");
    group.throughput(Throughput::Elements(samples));
    group.bench_function("first page", |bencher| {
        let read = || PageReader::new(rules.clone(), 1).read(&page, Timestamp::from_millis(15_000));
        bencher.iter(|| black_box(read()));
    });
    group.bench_function("next page", |bencher| {
        bencher.iter(|| black_box(reader.read(&page, Timestamp::from_millis(15_000))));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
