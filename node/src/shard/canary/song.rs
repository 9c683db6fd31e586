//! What a canary sings, and what is heard of it. Plain functions.

use narthex_cluster::{Epoch, NodeId, ShardId, TenantId};
use narthex_model::{Labels, Timestamp};
use narthex_promql::plan::FragmentContent;
use narthex_proto::internal::v1::{Consistency, FragmentRequest};

use super::{Failure, Fault};

/// The tenant that there is.
pub(super) const TENANT: TenantId = TenantId(0);
const NAME: &str = "narthex_canary";
const JOB: &str = "narthex-canary";
/// Salts that are tried. Of 1024 shards of equal shares one is missed by all with a chance of e⁻²⁰.
const SALTS_MAX: u32 = 20_000;

/// One sample.
#[derive(Debug, Clone)]
pub(super) struct Song {
    pub series: Labels,
    pub time: Timestamp,
}

/// The canary's series of a shard: the first whose labels belong there, so that queries and
/// duplicates of it go where those of any other series go. `None` where the ring lacks the shard.
pub(super) fn series(epoch: &Epoch, shard: ShardId) -> Option<Labels> {
    if !epoch.ring.shards().contains(&shard) {
        return None;
    }
    let salted = |salt: u32| {
        let instance = format!("shard-{shard}-{salt}");
        let pairs = [("__name__", NAME), ("job", JOB), ("instance", instance.as_str())];
        Labels::from_pairs(pairs).expect("three names that differ")
    };
    (0..SALTS_MAX).map(salted).find(|labels| epoch.shard_of(TENANT, labels) == shard)
}

impl Song {
    /// Seconds since 1970: `time() - narthex_canary` is its age.
    pub(super) fn value(&self) -> f64 {
        self.time.millis() as f64 / 1000.0
    }

    /// Asks a replica for this very sample, as it is in what the replica has applied.
    pub(super) fn question(&self, shard: ShardId) -> FragmentRequest {
        let of = |name| self.series.value(name);
        let (job, instance) = (of("job"), of("instance"));
        FragmentRequest {
            tenant: TENANT.0,
            shard_id: shard.0,
            query: format!("{NAME}{{job=\"{job}\",instance=\"{instance}\"}}"),
            start_ms: self.time.millis(),
            end_ms: self.time.millis(),
            lookback_delta_ms: 1,
            samples_max: 10,
            consistency: Consistency::Bounded.into(),
            ..FragmentRequest::default()
        }
    }

    /// Whether what a replica answered is what was written.
    pub(super) fn judge(
        &self,
        node: NodeId,
        answer: Result<Option<f64>, String>,
    ) -> Result<(), Failure> {
        let value = self.value();
        match answer {
            Ok(Some(heard)) if heard.to_bits() == value.to_bits() => Ok(()),
            Ok(Some(heard)) => {
                Err((Fault::Differs, format!("node {node} has {heard} for {value}")))
            }
            Ok(None) => Err((Fault::Missing, format!("node {node} lacks the sample"))),
            Err(problem) => {
                Err((Fault::NoAnswer, format!("node {node} gives no answer: {problem}")))
            }
        }
    }
}

/// The value in an answer.
pub(super) fn heard(content: &FragmentContent) -> Option<f64> {
    match content {
        FragmentContent::Columns(series) => series.first()?.column.float(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use narthex_cluster::Ring;

    use super::*;

    fn epoch(shards: u32, spread_jobs: &[&str]) -> Epoch {
        Epoch {
            number: 0,
            from: Timestamp::MIN,
            ring: Arc::new(Ring::new((0..shards).map(ShardId))),
            spread_jobs: spread_jobs.iter().map(|job| (*job).to_owned()).collect(),
        }
    }

    #[test]
    fn every_shard_has_a_series_that_belongs_there() {
        for (shards, spread) in [(1, &[][..]), (6, &[]), (6, &[JOB]), (1024, &[])] {
            let epoch = epoch(shards, spread);
            let mut found = BTreeSet::new();
            for shard in (0..shards).map(ShardId) {
                let series = series(&epoch, shard).expect("a salt fits");
                assert_eq!(epoch.shard_of(TENANT, &series), shard);
                found.insert(series);
            }
            assert_eq!(found.len(), shards as usize);
        }
    }

    #[test]
    fn a_shard_that_the_ring_lacks_has_none() {
        assert_eq!(series(&epoch(6, &[]), ShardId(6)), None);
    }

    #[test]
    fn only_the_same_bits_pass() {
        let time = Timestamp::from_millis(1_700_000_000_123);
        let song = Song { series: series(&epoch(1, &[]), ShardId(0)).unwrap(), time };
        let judge = |answer| song.judge(NodeId(2), answer).map_err(|(fault, _)| fault);
        assert_eq!(judge(Ok(Some(1_700_000_000.123))), Ok(()));
        assert_eq!(judge(Ok(Some(1_700_000_000.123f64.next_up()))), Err(Fault::Differs));
        assert_eq!(judge(Ok(None)), Err(Fault::Missing));
        assert_eq!(judge(Err("late".to_owned())), Err(Fault::NoAnswer));
    }
}
