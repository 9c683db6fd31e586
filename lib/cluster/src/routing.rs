//! Routing keys: what of a series decides its shard.
//!
//! ```text
//! keyed    job and instance not empty, job not spread:
//!          key = H(instance, H(job, 2·tenant))
//! unkeyed  every other series, over its labels but __name__ in order of their names:
//!          key = H(value, H(name, … H("", 2·tenant + 1)))
//! H(text, seed) = xxh3-64 of the text's bytes with that seed
//! ```
//!
//! A text's hash is the seed of the next, so no two texts run together, nothing is copied and
//! labels need no particular encoding. This is version 1 of the hash; `testdata/routing-v1.tsv`
//! holds it fixed, since another key would move every stored series.

use std::collections::BTreeSet;

use narthex_model::{INSTANCE, JOB, METRIC_NAME};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::TenantId;

/// The version of the hash in this module and of the ring's tokens.
pub const HASH_VERSION: u8 = 1;

/// The routing key of a series, given its labels sorted by name and the jobs that are spread.
pub fn routing_key<'a, L>(tenant: TenantId, labels: L, spread_jobs: &BTreeSet<String>) -> u64
where
    L: Iterator<Item = (&'a str, &'a str)> + Clone,
{
    let (mut job, mut instance) = ("", "");
    for (name, value) in labels.clone() {
        match name {
            JOB => job = value,
            INSTANCE => instance = value,
            _ => {}
        }
    }
    match is_keyed(job, instance, spread_jobs) {
        true => keyed(tenant, job, instance),
        false => unkeyed(tenant, labels),
    }
}

/// Whether a series with this `job` and `instance` is keyed: together with all others of its
/// target on one shard.
pub fn is_keyed(job: &str, instance: &str, spread_jobs: &BTreeSet<String>) -> bool {
    !job.is_empty()
        && !instance.is_empty()
        && (spread_jobs.is_empty() || !spread_jobs.contains(job))
}

/// The key of the series of one target.
pub fn keyed(tenant: TenantId, job: &str, instance: &str) -> u64 {
    hash(instance, hash(job, u64::from(tenant.0) << 1))
}

/// The key of a series that is not keyed. `labels` must be sorted by name.
pub fn unkeyed<'a>(tenant: TenantId, labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let nameless = labels.filter(|(name, _)| *name != METRIC_NAME);
    let start = hash("", u64::from(tenant.0) << 1 | 1);
    nameless.fold(start, |seed, (name, value)| hash(value, hash(name, seed)))
}

/// The key of something that has a name and no labels: a discovery config, a rule group.
pub fn named(tenant: TenantId, kind: &str, name: &str) -> u64 {
    unkeyed(tenant, std::iter::once((kind, name)))
}

fn hash(text: &str, seed: u64) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), seed)
}

#[cfg(test)]
mod tests {
    use narthex_model::Labels;
    use proptest::prelude::*;

    use super::*;
    use crate::{Ring, ShardId};

    const VECTORS: &str = include_str!("../testdata/routing-v1.tsv");

    fn labels(text: &str) -> Labels {
        let pairs = text.split(',').filter(|pair| !pair.is_empty());
        Labels::from_pairs(pairs.map(|pair| pair.split_once('=').expect("name=value"))).unwrap()
    }

    fn spread(jobs: &[&str]) -> BTreeSet<String> {
        jobs.iter().map(|job| (*job).to_owned()).collect()
    }

    fn key(text: &str, jobs: &[&str]) -> u64 {
        routing_key(TenantId(0), labels(text).iter(), &spread(jobs))
    }

    /// Columns: tenant, spread job, labels, key, shard of 6, shard of 64.
    #[test]
    fn committed_vectors_hold() {
        let ring = |shards| Ring::new((0..shards).map(ShardId));
        let (six, sixty_four) = (ring(6), ring(64));
        let inputs = VECTORS.lines().filter(|line| !line.starts_with('#'));
        let line = |line: &str| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [tenant, job, text, ..] = columns[..] else { panic!("short line {line:?}") };
            let jobs = spread(&if job.is_empty() { vec![] } else { vec![job] });
            let key = routing_key(tenant.parse().unwrap(), labels(text).iter(), &jobs);
            let (a, b) = (six.shard_of_key(key), sixty_four.shard_of_key(key));
            format!("{tenant}\t{job}\t{text}\t{key:016x}\t{a}\t{b}")
        };
        let computed: Vec<String> = inputs.clone().map(line).collect();
        assert!(computed.len() >= 12, "only {} vectors", computed.len());
        assert_eq!(computed, inputs.collect::<Vec<_>>(), "computed:\n{}", computed.join("\n"));
    }

    #[test]
    fn a_target_has_one_key_whatever_else_its_series_carry() {
        let up = key("__name__=up,instance=a:1,job=x", &[]);
        assert_eq!(up, key("__name__=cpu,cpu=0,instance=a:1,job=x,mode=idle", &[]));
        assert_ne!(up, key("__name__=up,instance=a:2,job=x", &[]));
    }

    #[test]
    fn a_spread_job_or_a_missing_instance_unkeys() {
        let one = key("__name__=m,instance=a:1,job=x,k=1", &["x"]);
        assert_ne!(one, key("__name__=m,instance=a:1,job=x,k=2", &["x"]));
        assert_eq!(one, key("__name__=other,instance=a:1,job=x,k=1", &["x"]));
        assert_ne!(key("job=x,k=1", &[]), key("job=x,k=2", &[]));
    }

    #[test]
    fn text_boundaries_and_kinds_are_part_of_the_key() {
        assert_ne!(keyed(TenantId(0), "ab", "c"), keyed(TenantId(0), "a", "bc"));
        assert_ne!(keyed(TenantId(0), "a", "b"), unkeyed(TenantId(0), [("a", "b")].into_iter()));
        assert_ne!(keyed(TenantId(0), "a", "b"), keyed(TenantId(1), "a", "b"));
    }

    proptest! {
        #[test]
        fn the_metric_name_never_counts(a in "[a-z]{1,9}", b in "[a-z]{1,9}", rest in "k=[a-z]{1,9}") {
            prop_assert_eq!(key(&format!("__name__={a},{rest}"), &[]), key(&format!("__name__={b},{rest}"), &[]));
        }
    }
}
