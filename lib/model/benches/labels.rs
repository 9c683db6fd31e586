//! What labels cost: their hash, their fingerprint, and putting them together.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex_model::Labels;

/// Hashed in turn, so that no branch predictor knows the next one's length.
const SERIES: usize = 1024;

fn pairs(series: usize) -> Vec<(String, String)> {
    let mut pairs = vec![
        (
            "__name__".to_owned(),
            format!("node_network_receive_{}_total", "bytes".repeat(series % 3)),
        ),
        ("device".to_owned(), format!("veth{series:04x}")),
        ("instance".to_owned(), format!("host-{:05}.example:9100", series / 16)),
        ("job".to_owned(), "node".to_owned()),
    ];
    pairs.extend((0..series % 5).map(|at| (format!("label_{at}"), format!("value-{series}"))));
    pairs
}

fn bench(criterion: &mut Criterion) {
    let all: Vec<Vec<(String, String)>> = (0..SERIES).map(pairs).collect();
    let labels: Vec<Labels> = all
        .iter()
        .map(|pairs| Labels::from_pairs(pairs.iter().map(|(n, v)| (n, v))).expect("valid"))
        .collect();
    let mut group = criterion.benchmark_group("labels");
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("hash", |bencher| {
        bencher.iter(|| black_box(&labels).iter().fold(0, |sum, one| sum ^ one.hash64()));
    });
    group.bench_function("fingerprint", |bencher| {
        bencher.iter(|| black_box(&labels).iter().fold(0, |sum, one| sum ^ one.fingerprint()));
    });
    group.bench_function("from pairs", |bencher| {
        bencher.iter(|| {
            for pairs in &all {
                black_box(Labels::from_pairs(pairs.iter().map(|(n, v)| (n, v))).expect("valid"));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
