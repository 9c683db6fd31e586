//! Which samples of a scrape belong to which shard.
//!
//! R1 holds for scraped samples as for any other: where the page chooses `job` or `instance`
//! itself, where the job is spread, or where a sample's own time lies in another epoch, the
//! sample's shard may be another than the target's.
//!
//! Pure: `sink.rs` sends what is taken out here.

use std::{collections::BTreeMap, ops::Range};

use narthex_cluster::{ClusterState, ShardId, TenantId};
use narthex_model::{INSTANCE, JOB, Timestamp};

use crate::{
    planted::{Planted, is_planted},
    scrape::{Scrape, ScrapeCommand, ScrapeFailed, ScrapedSample},
};

/// What a scrape brings to one other shard.
#[derive(Debug, Default)]
pub struct Part {
    /// Samples of the page.
    pub samples: Vec<ScrapedSample>,
    /// `up` and `scrape_*`.
    pub report: Vec<ScrapedSample>,
}

/// Takes from `command` what does not belong to `own`.
pub fn take_foreign(
    command: &mut ScrapeCommand,
    own: ShardId,
    state: &ClusterState,
) -> BTreeMap<ShardId, Part> {
    let mut parts = BTreeMap::new();
    let (samples, report) = match command {
        ScrapeCommand::Scrape(Scrape { samples, report, .. }) => (Some(samples), report),
        ScrapeCommand::Failed(ScrapeFailed { report, .. }) => (None, report),
        ScrapeCommand::Gone(_) => return parts,
    };
    if is_planted(Planted::ForeignKept) {
        return parts;
    }
    let homes = Homes::new(state, report, own);
    for (shard, sample) in samples.map_or_else(Vec::new, |samples| homes.take(samples)) {
        parts.entry(shard).or_insert_with(Part::default).samples.push(sample);
    }
    for (shard, sample) in homes.take(report) {
        parts.entry(shard).or_default().report.push(sample);
    }
    parts
}

/// Finds a sample's shard, without looking at its labels where the target's say it.
struct Homes<'a> {
    state: &'a ClusterState,
    own: ShardId,
    /// The shard of the target's keyed series, and the times for which it is.
    keyed: Option<(ShardId, Range<Timestamp>)>,
}

impl<'a> Homes<'a> {
    fn new(state: &'a ClusterState, report: &[ScrapedSample], own: ShardId) -> Self {
        Self { state, own, keyed: Self::keyed(state, report) }
    }

    fn keyed(
        state: &ClusterState,
        report: &[ScrapedSample],
    ) -> Option<(ShardId, Range<Timestamp>)> {
        let sample = report.first()?;
        let labels = &sample.series.labels;
        let epoch = state.epoch_at(sample.timestamp)?;
        let next = state.epochs().iter().find(|later| later.from > epoch.from);
        let until = next.map_or(Timestamp::MAX, |next| next.from);
        let is_keyed = epoch.is_keyed(labels.value(JOB), labels.value(INSTANCE));
        is_keyed.then(|| (epoch.shard_of(TenantId(0), labels), epoch.from..until))
    }

    fn of(&self, sample: &ScrapedSample) -> ShardId {
        match &self.keyed {
            Some((shard, times)) if sample.follows_target && times.contains(&sample.timestamp) => {
                *shard
            }
            _ => {
                let labels = &sample.series.labels;
                self.state.shard_of(TenantId(0), labels, sample.timestamp).unwrap_or(self.own)
            }
        }
    }

    /// Takes out what is not our own, in order. Usually that is nothing, and nothing moves.
    fn take(&self, samples: &mut Vec<ScrapedSample>) -> Vec<(ShardId, ScrapedSample)> {
        if samples.iter().all(|sample| self.of(sample) == self.own) {
            return Vec::new();
        }
        let mut foreign = Vec::new();
        for sample in std::mem::take(samples) {
            match self.of(&sample) {
                shard if shard == self.own => samples.push(sample),
                shard => foreign.push((shard, sample)),
            }
        }
        foreign
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use narthex_cluster::{
        Addresses, Binary, ClusterId, ClusterVersion, Command, Found, Founder, NodeId, Request,
        RequestId,
    };
    use narthex_model::Labels;

    use super::*;
    use crate::scrape::{ScrapedSeries, Slot, TargetId};

    fn founded() -> ClusterState {
        let mut state = ClusterState::new();
        let found = Found {
            cluster: ClusterId::from_random_bytes([7; 16]),
            members: vec![Founder {
                node: NodeId(1),
                name: "n1".to_owned(),
                addresses: Addresses { cluster: "a:1".to_owned(), ..Addresses::default() },
                zone: String::new(),
                binary: Binary { level: ClusterVersion::CURRENT, text: String::new() },
            }],
            shards: 6,
            replication_factor: 1,
        };
        let at = Timestamp::from_millis(0);
        let request = Request { id: RequestId(1), at, command: Command::Found(found) };
        state.apply(&request).accepted().expect("founded");
        state
    }

    fn sample(instance: &str, follows_target: bool) -> ScrapedSample {
        let labels =
            Labels::from_pairs([("__name__", "m"), ("instance", instance), ("job", "push")]);
        let series = Arc::new(ScrapedSeries::new(labels.expect("valid"), follows_target));
        ScrapedSample::new(series, Timestamp::from_millis(1_000), 1.0)
    }

    #[test]
    fn every_sample_goes_where_a_query_looks_for_it() {
        let state = founded();
        let home = |sample: &ScrapedSample| {
            state.shard_of(TenantId(0), &sample.series.labels, sample.timestamp).expect("founded")
        };
        let target = sample("gateway:1", true);
        let own = home(&target);
        let pushed: Vec<_> = (0..40).map(|at| sample(&format!("batch:{at}"), false)).collect();
        let mut command = ScrapeCommand::Scrape(Scrape {
            target: TargetId(5),
            slot: Slot(1_000),
            time: Timestamp::from_millis(1_000),
            samples: [vec![target.clone()], pushed].concat(),
            families: Vec::new(),
            report: vec![target],
        });
        let parts = take_foreign(&mut command, own, &state);
        let ScrapeCommand::Scrape(scrape) = &command else { panic!("{command:?}") };
        assert!(scrape.samples.iter().all(|sample| home(sample) == own));
        assert_eq!(scrape.report.len(), 1);
        assert!(parts.len() > 1, "{parts:?}");
        let taken: usize = parts.values().map(|part| part.samples.len()).sum();
        assert_eq!(scrape.samples.len() + taken, 41);
        for (shard, part) in parts {
            assert!(part.samples.iter().all(|sample| home(sample) == shard));
        }
    }
}
