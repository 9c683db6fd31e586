//! What routing a sample costs: its key, and the shard of the key.

use std::{collections::BTreeSet, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use narthex_cluster::{Ring, ShardId, TenantId, routing};
use narthex_model::Labels;

/// Keys asked for in turn, so that neither cache nor branch predictor knows the answer.
const KEYS: u64 = 4096;

fn shard_of_key(criterion: &mut Criterion) {
    for shards in [6, 64, 1024] {
        let ring = Ring::new((0..shards).map(ShardId));
        let mut next = 0u64;
        criterion.bench_function(&format!("shard of a key, {shards} shards"), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % KEYS;
                ring.shard_of_key(black_box(next.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            });
        });
    }
}

fn routing_key(criterion: &mut Criterion) {
    let pairs = [
        ("__name__", "node_cpu_seconds_total"),
        ("cpu", "11"),
        ("instance", "web-17.example.org:9100"),
        ("job", "node"),
        ("mode", "idle"),
    ];
    let labels = Labels::from_pairs(pairs).expect("valid labels");
    let (none, spread) = (BTreeSet::new(), BTreeSet::from(["node".to_owned()]));
    for (name, spread_jobs) in [("keyed", &none), ("unkeyed", &spread)] {
        criterion.bench_function(&format!("key of a {name} series"), |bencher| {
            bencher
                .iter(|| routing::routing_key(TenantId(0), black_box(&labels).iter(), spread_jobs));
        });
    }
}

criterion_group!(benches, shard_of_key, routing_key);
criterion_main!(benches);
