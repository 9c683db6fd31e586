//! Applying an entry: each command's effect on the head.

use narthex_model::{Labels, Timestamp};

use crate::{
    SeriesId,
    bytes::Malformed,
    days::day_of,
    entry::{
        Append, Command, Digest, Entry, EntryError, ExemplarRow, LabelSets, Rich, RichRow,
        RichValue, RuleGroup, Samples, Scrape, ScrapeFailed, Source, Subject, TargetGone,
    },
    exemplars::{self, Added, StoredExemplar},
    families::Told,
    head::{Head, Incoming, IncomingRich, Lateness},
    outcome::{CommandOutcome, Fence, Outcome, Refusal, RefusedSample},
    series::Value,
    targets::vanished,
};

/// What applying an entry leaves to do.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) outcome: Outcome,
    pub(crate) digests: Vec<Digest>,
}

impl Head {
    /// Executes an entry's commands in order. After an error the head is torn and must go.
    pub(crate) fn execute(&mut self, entry: &Entry<'_>) -> Result<Applied, EntryError> {
        let mut applied = Applied::default();
        for command in entry.commands() {
            let mut outcome = CommandOutcome::default();
            match command? {
                Command::Append(append) => self.apply_append(append, &mut outcome)?,
                Command::Backfill(samples) => {
                    self.apply_samples(samples, Lateness::Any, &mut outcome, &mut |_| {})?;
                }
                Command::Register(labels) => {
                    self.resolve(labels, Lateness::Window, &mut outcome);
                }
                Command::Scrape(scrape) => self.apply_scrape(*scrape, &mut outcome)?,
                Command::ScrapeFailed(failed) => self.apply_failed(failed, &mut outcome)?,
                Command::TargetGone(gone) => self.apply_gone(gone, &mut outcome),
                Command::Settings(settings) => {
                    let counted = self.settings.limits_series();
                    self.settings = settings;
                    let exemplars_max = self.settings.exemplars_max as usize;
                    self.exemplars.shrink(exemplars_max, self.applied.index);
                    self.renew_limits();
                    if self.settings.limits_series() != counted {
                        self.count_anew();
                    }
                }
                Command::Horizon(horizons) => {
                    for horizon in horizons {
                        self.move_horizon(horizon.class, horizon.time.millis());
                    }
                }
                Command::Digest(digest) => applied.digests.push(digest),
                Command::Seal => self.seal(),
                Command::Delete(_) if entry.command_count() != 1 => {
                    outcome.fenced = Some(Fence::NotAlone);
                }
                Command::Delete(delete) => self.delete(delete, &mut outcome),
                Command::RuleGroup(RuleGroup { group, position, state }) => {
                    let at = self.applied.index;
                    outcome.fenced = self.rule_groups.advance((group, position), state, at);
                }
            }
            self.samples_total += outcome.appended + outcome.stale_markers;
            self.outcomes = outcome.hash(self.outcomes);
            applied.outcome.commands.push(outcome);
        }
        Ok(applied)
    }

    fn apply_append(
        &mut self,
        append: Append<'_>,
        outcome: &mut CommandOutcome,
    ) -> Result<(), Malformed> {
        if self.is_fenced(append.source, outcome) {
            return Ok(());
        }
        self.apply_samples(append.samples, Lateness::Window, outcome, &mut |_| {})
    }

    /// Whether the source's leader was overtaken; if not, it came this far now.
    fn is_fenced(&mut self, source: Source, outcome: &mut CommandOutcome) -> bool {
        let Source::Foreign(foreign) = source else { return false };
        outcome.fenced = self.sources.fence(&foreign);
        if outcome.fenced.is_none() {
            self.sources.accept(&foreign);
        }
        outcome.fenced.is_some()
    }

    /// Gives each label set its series, in order. Returns why those without one have none.
    fn resolve(
        &mut self,
        labels: LabelSets<'_>,
        lateness: Lateness,
        outcome: &mut CommandOutcome,
    ) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for labels in labels.iter() {
            match self.series(labels, lateness) {
                Ok((id, created)) => {
                    outcome.series_created += u64::from(created);
                    outcome.resolved.push(id);
                    refusals.push(Refusal::UnknownSeries);
                }
                Err(reason) => {
                    outcome.resolved.push(SeriesId::NONE);
                    refusals.push(reason);
                }
            }
        }
        refusals
    }

    /// Stores a block's samples and reports every series that was named.
    fn apply_samples(
        &mut self,
        samples: Samples<'_>,
        lateness: Lateness,
        outcome: &mut CommandOutcome,
        seen: &mut impl FnMut(SeriesId),
    ) -> Result<(), Malformed> {
        let first = outcome.resolved.len();
        let refusals = self.resolve(samples.inline(), lateness, outcome);
        for row in samples.rows() {
            let row = row?;
            let series = match row.subject {
                Subject::Known(id) => id,
                Subject::Inline(position) => outcome.resolved[first + position],
            };
            if let (SeriesId::NONE, Subject::Inline(position)) = (series, row.subject) {
                outcome.refuse(RefusedSample {
                    reason: refusals[position],
                    series,
                    timestamp: Timestamp::from_millis(row.timestamp),
                });
                continue;
            }
            let sample = Incoming { series, time: row.timestamp, value: row.bits };
            self.append(sample, lateness, outcome);
            seen(series);
        }
        let resolved = Resolved { first, refusals };
        self.apply_rich(samples.rich(), lateness, (outcome, &resolved), seen)
    }

    /// Stores what a block has beside plain floats.
    #[inline(never)]
    fn apply_rich(
        &mut self,
        rich: &Rich<'_>,
        lateness: Lateness,
        (outcome, resolved): (&mut CommandOutcome, &Resolved),
        seen: &mut impl FnMut(SeriesId),
    ) -> Result<(), Malformed> {
        for row in rich.rows() {
            let RichRow { subject, times, value } = row?;
            let series = match resolved.series(subject, outcome) {
                Ok(series) => series,
                Err(reason) => {
                    let (series, timestamp) = (SeriesId::NONE, times.timestamp);
                    outcome.refuse(RefusedSample { reason, series, timestamp });
                    continue;
                }
            };
            let value = match value {
                RichValue::Float(bits) => Value::Float(bits),
                RichValue::Histogram(histogram) => Value::Histogram(histogram),
            };
            let (time, start) = (times.timestamp.millis(), times.start.millis());
            self.append_rich(IncomingRich { series, time, value, start }, lateness, outcome);
            seen(series);
        }
        for exemplar in rich.exemplars() {
            let exemplar = exemplar?;
            let series = resolved.series(exemplar.subject, outcome);
            self.add_exemplar(series.ok(), &exemplar, outcome);
        }
        for metadata in rich.families() {
            let told = self.families.tell(&metadata?, day_of(self.leader_time), self.applied.index);
            outcome.families_refused += u64::from(told == Told::Refused);
        }
        Ok(())
    }

    fn add_exemplar(
        &mut self,
        series: Option<SeriesId>,
        row: &ExemplarRow<'_>,
        outcome: &mut CommandOutcome,
    ) {
        let series = series.filter(|&series| self.group(series).is_some());
        let labels = Labels::from_bytes(row.labels).ok().filter(exemplars::are_short);
        let added = match (series, labels) {
            (Some(series), Some(labels)) if self.keeps(series, row.timestamp) => {
                let exemplar = StoredExemplar {
                    series,
                    time: row.timestamp,
                    bits: row.bits,
                    labels: labels.as_bytes().into(),
                };
                let max = self.settings.exemplars_max as usize;
                self.exemplars.add(exemplar, self.applied.index, max)
            }
            _ => Added::Refused,
        };
        match added {
            Added::Stored | Added::Repeated => outcome.exemplars += 1,
            Added::Refused => outcome.exemplars_refused += 1,
        }
    }

    fn apply_scrape(
        &mut self,
        scrape: Scrape<'_>,
        outcome: &mut CommandOutcome,
    ) -> Result<(), Malformed> {
        outcome.fenced = self.targets.fence(scrape.target, scrape.slot);
        if outcome.fenced.is_some() || self.is_fenced(scrape.source, outcome) {
            return Ok(());
        }
        let mut target = self.targets.take(scrape.target);
        let mut seen = Vec::with_capacity(target.series.len());
        let track_stamped = scrape.track_stamped;
        self.apply_samples(scrape.samples, Lateness::Refused, outcome, &mut |id| seen.push(id.0))?;
        self.apply_samples(scrape.stamped, Lateness::Refused, outcome, &mut |id| {
            if track_stamped {
                seen.push(id.0);
            }
        })?;
        self.end_series(&vanished(&target.series, &seen), scrape.time.millis(), outcome);
        target.series = seen;
        target.owner = owner(scrape.source);
        target.elsewhere = scrape.elsewhere.iter().collect();
        target.report.clear();
        self.apply_samples(scrape.report, Lateness::Report, outcome, &mut |id| {
            target.report.push(id.0);
        })?;
        (target.last_slot, target.healthy) = (scrape.slot, true);
        (target.last_time, target.touched) = (scrape.time.millis(), self.applied.index);
        self.targets.insert(scrape.target, target);
        Ok(())
    }

    fn apply_failed(
        &mut self,
        failed: ScrapeFailed<'_>,
        outcome: &mut CommandOutcome,
    ) -> Result<(), Malformed> {
        outcome.fenced = self.targets.fence(failed.target, failed.slot);
        if outcome.fenced.is_some() || self.is_fenced(failed.source, outcome) {
            return Ok(());
        }
        let mut target = self.targets.take(failed.target);
        self.end_series(&vanished(&target.series, &[]), failed.time.millis(), outcome);
        target.series.clear();
        target.owner = owner(failed.source);
        target.report.clear();
        self.apply_samples(failed.report, Lateness::Report, outcome, &mut |id| {
            target.report.push(id.0);
        })?;
        (target.last_slot, target.healthy) = (failed.slot, false);
        (target.last_time, target.touched) = (failed.time.millis(), self.applied.index);
        self.targets.insert(failed.target, target);
        Ok(())
    }

    fn apply_gone(&mut self, gone: TargetGone, outcome: &mut CommandOutcome) {
        if self.is_fenced(gone.source, outcome) {
            return;
        }
        let owner = owner(gone.source);
        let Some(target) = self.targets.end(gone.target, owner, self.applied.index) else {
            return;
        };
        let time = gone.time.millis();
        for series in [&target.series, &target.report] {
            self.end_series(&vanished(series, &[]), time, outcome);
        }
    }

    fn end_series(&mut self, series: &[SeriesId], time: i64, outcome: &mut CommandOutcome) {
        for &id in series {
            outcome.stale_markers += u64::from(self.write_stale_marker(id, time));
        }
    }
}

/// The series of a block's inline label sets.
struct Resolved {
    /// Where they begin among all that the command resolved.
    first: usize,
    /// Why those without one have none.
    refusals: Vec<Refusal>,
}

impl Resolved {
    fn series(&self, subject: Subject, outcome: &CommandOutcome) -> Result<SeriesId, Refusal> {
        match subject {
            Subject::Known(id) => Ok(id),
            Subject::Inline(position) => match outcome.resolved[self.first + position] {
                SeriesId::NONE => Err(self.refusals[position]),
                id => Ok(id),
            },
        }
    }
}

/// The shard that a target belongs to, where it is not this one.
fn owner(source: Source) -> Option<u32> {
    match source {
        Source::Client => None,
        Source::Foreign(foreign) => Some(foreign.owner_shard),
    }
}
