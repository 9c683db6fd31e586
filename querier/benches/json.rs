//! Cost of writing an answer as JSON.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex_model::{Labels, Timestamp};
use narthex_querier::json::Json;

const POINTS: i64 = 10_000;

fn benches(criterion: &mut Criterion) {
    let values: Vec<f64> = (0..POINTS).map(|i| i as f64 * 0.37 + 1e3).collect();
    let labels = Labels::from_pairs([("__name__", "up"), ("instance", "a:9100"), ("job", "node")])
        .expect("valid labels");
    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Elements(POINTS as u64));
    group.bench_function("matrix", |bench| {
        bench.iter(|| {
            let mut json = Json::new(Vec::<Bytes>::new());
            json.raw("{").name("metric").labels(&labels).name("values").raw("[");
            for (i, value) in black_box(&values).iter().enumerate() {
                let time = Timestamp::from_millis(1_700_000_000_000 + 15_000 * i as i64);
                json.point(time, *value);
            }
            json.raw("]}");
            json.finish()
        });
    });
    group.finish();
}

criterion_group!(json, benches);
criterion_main!(json);
