//! Which series count against limits, and how many of each target and job do.
//!
//! A series counts from when it is made, and again when a sample comes after a silence. It no
//! longer does once an hour of the leader's clock begins and it has had no sample for an hour:
//! what churn leaves behind is kept for weeks, and must not take the place of what there is. A
//! target is a pair of `job` and `instance`, whoever brings its series; a series without one of
//! them is of no target, one without `job` of no job.
//!
//! Invariants
//! * a series that exists is never refused: limits are for those that would be made;
//! * whether a series counts is part of the shard's state, a bit in its group's page; the numbers
//!   are sums of those bits;
//! * where nothing is limited nothing is counted, and no bit is set.

use hashbrown::HashMap;
use narthex_model::Labels;

use crate::{
    SeriesId,
    head::Head,
    index::Index,
    outcome::Refusal,
    series::{GROUP_SERIES, Group, Hot, place},
};

/// How long a series may be silent, and how often that is looked at.
const SILENCE: i64 = 3_600_000;

type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Sums over the series that count. Labels go by their numbers in the index.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    all: u64,
    targets: FastMap<(u32, u32), u32>,
    jobs: FastMap<u32, u32>,
}

impl Counts {
    /// How many series count.
    pub(crate) fn all(&self) -> u64 {
        self.all
    }

    /// The jobs with the number of their series.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = (u32, u64)> {
        self.jobs.iter().map(|(&job, &series)| (job, u64::from(series)))
    }

    fn add(&mut self, index: &Index, id: SeriesId) {
        let (job, instance) = index.job_and_instance(id);
        self.all += 1;
        let Some(job) = job else { return };
        *self.jobs.entry(job).or_default() += 1;
        if let Some(instance) = instance {
            *self.targets.entry((job, instance)).or_default() += 1;
        }
    }

    fn subtract(&mut self, index: &Index, id: SeriesId) {
        let (job, instance) = index.job_and_instance(id);
        self.all -= 1;
        let Some(job) = job else { return };
        take_one(&mut self.jobs, job);
        if let Some(instance) = instance {
            take_one(&mut self.targets, (job, instance));
        }
    }
}

/// Leaves no zero behind: the index gives the number of a label that is gone to another.
fn take_one<K: Eq + std::hash::Hash>(counts: &mut FastMap<K, u32>, key: K) {
    if let hashbrown::hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Group {
    fn counts(&self, place: usize) -> bool {
        self.counted >> place & 1 == 1
    }

    /// Says whether the series at a place counts. One that does not goes the long way with its
    /// next sample, so that it is counted again.
    fn set_counts(&mut self, place: usize, counts: bool) {
        self.counted = self.counted & !(1 << place) | u64::from(counts) << place;
        self.renew_plain(place, counts);
    }

    fn renew_plain(&mut self, place: usize, may_be: bool) {
        let is_plain = self.rich(place).is_none_or(|rich| rich.is_plain());
        let hot = &mut self.hot[place];
        hot.plain = hot.alive && may_be && is_plain;
    }
}

/// Whether nothing was heard of a series since `time`.
fn is_silent(hot: &Hot, time: i64) -> bool {
    let newest = if hot.started { hot.run.last_time() } else { hot.day_end };
    newest < time
}

impl Head {
    /// Why a series with these labels, of which there is none, must not be made.
    pub(crate) fn check_series_limits(&self, labels: &Labels) -> Result<(), Refusal> {
        let settings = &self.settings;
        let is_full = |limit: u32, count: u64| limit > 0 && count >= u64::from(limit);
        if settings.is_node_full || is_full(settings.series_max, self.counts.all) {
            return Err(Refusal::NodeSeriesLimit);
        }
        let job_name = labels.value("job");
        if job_name.is_empty() {
            return Ok(());
        }
        let job = self.index.pair_of("job", job_name);
        let instance = self.index.pair_of("instance", labels.value("instance"));
        let target = job.zip(instance).and_then(|target| self.counts.targets.get(&target));
        let target = target.map_or(0, |&count| u64::from(count));
        if is_full(settings.series_per_target_max, target) {
            return Err(Refusal::TargetSeriesLimit);
        }
        let of_job = job.and_then(|job| self.counts.jobs.get(&job));
        let of_job = of_job.map_or(0, |&count| u64::from(count));
        let is_told = settings.full_jobs.binary_search_by(|full| (**full).cmp(job_name)).is_ok();
        match is_told || is_full(settings.series_per_job_max, of_job) {
            true => Err(Refusal::JobSeriesLimit),
            false => Ok(()),
        }
    }

    /// Counts a series that was made, or has a sample again.
    pub(crate) fn count(&mut self, id: SeriesId) {
        if !self.settings.limits_series() {
            return;
        }
        let (number, place) = place(id);
        let Some(group) = self.groups.get_mut(number).and_then(Option::as_deref_mut) else {
            return;
        };
        if !group.counts(place) {
            group.set_counts(place, true);
            group.touched = self.applied.index;
            self.counts.add(&self.index, id);
        }
    }

    /// Counts a series no longer that is about to be removed.
    pub(crate) fn discount(&mut self, id: SeriesId) {
        let (number, place) = place(id);
        let group = self.groups[number].as_deref_mut().expect("the series is there");
        if group.counts(place) {
            group.set_counts(place, false);
            self.counts.subtract(&self.index, id);
        }
    }

    /// Counts silent series no longer, if an hour began since the leader's clock showed `before`.
    pub(crate) fn discount_silent(&mut self, before: i64) {
        let now = self.leader_time;
        if now.div_euclid(SILENCE) == before.div_euclid(SILENCE) || self.counts.all == 0 {
            return;
        }
        let since = now.saturating_sub(SILENCE);
        for number in 0..self.groups.len() {
            let Some(group) = self.groups[number].as_deref_mut() else { continue };
            for place in 0..group.hot.len() {
                if group.counts(place) && is_silent(&group.hot[place], since) {
                    group.set_counts(place, false);
                    group.touched = self.applied.index;
                    let id = SeriesId((number * GROUP_SERIES + place) as u32);
                    self.counts.subtract(&self.index, id);
                }
            }
        }
    }

    /// Begins to count, or ends it, as settings now say.
    pub(crate) fn count_anew(&mut self) {
        let limits = self.settings.limits_series();
        let since = self.leader_time.saturating_sub(SILENCE);
        self.counts = Counts::default();
        for group in self.groups.iter_mut().flatten() {
            for place in 0..group.hot.len() {
                let hot = &group.hot[place];
                let counts = limits && hot.alive && !is_silent(hot, since);
                group.set_counts(place, counts);
                group.renew_plain(place, counts || !limits);
            }
            group.touched = self.applied.index;
        }
        self.sum_counts();
    }

    /// Sums what a checkpoint says.
    pub(crate) fn count_restored(&mut self) {
        if !self.settings.limits_series() {
            return;
        }
        for group in self.groups.iter_mut().flatten() {
            for place in 0..group.hot.len() {
                group.renew_plain(place, group.counts(place));
            }
        }
        self.sum_counts();
    }

    fn sum_counts(&mut self) {
        for (number, group) in self.groups.iter().enumerate() {
            let Some(group) = group.as_deref() else { continue };
            for place in (0..group.hot.len()).filter(|&place| group.counts(place)) {
                let id = SeriesId((number * GROUP_SERIES + place) as u32);
                self.counts.add(&self.index, id);
            }
        }
    }
}
