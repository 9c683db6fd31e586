//! The head: a shard's state in memory, and the rules by which samples enter it.
//!
//! Samples arrive in raft-log order and leave as finished chunks, which a checkpoint writes.
//! There is no write-ahead log here: a checkpoint and the shard's raft log behind it rebuild the
//! head.
//!
//! Invariants
//! * within a series, the times of the open chunk strictly increase;
//! * `applied` never decreases and covers every sample in the head;
//! * equal entries in equal order give equal heads and outcomes on every replica: nothing here
//!   reads a clock, the disk, the order of a map, or what a checkpoint has written.

use std::sync::Arc;

use hashbrown::HashMap;
use narthex_model::{Labels, STALE_NAN_BITS, Timestamp, histogram::EncodedHistogram};

use crate::{
    LogPosition, SeriesId, Settings,
    changes::Changes,
    counts::Counts,
    days::Days,
    entry::Header,
    exemplars::Exemplars,
    families::Families,
    index::Index,
    outcome::{CommandOutcome, Refusal, RefusedSample},
    retention::Horizons,
    rich::RichSeries,
    rule_groups::RuleGroups,
    series::{Ended, FinishedChunk, GROUP_SERIES, Group, Hot, Known, LATE_SAMPLES, Value, place},
    targets::{Sources, Targets},
    tombstones::Tombstones,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) applied: LogPosition,
    pub(crate) leader_time: i64,
    pub(crate) settings: Settings,
    pub(crate) horizons: Horizons,
    pub(crate) next_series: u32,
    pub(crate) index: Index,
    pub(crate) groups: Vec<Option<Box<Group>>>,
    pub(crate) days: Days,
    pub(crate) targets: Targets,
    pub(crate) sources: Sources,
    pub(crate) rule_groups: RuleGroups,
    pub(crate) exemplars: Exemplars,
    pub(crate) families: Families,
    pub(crate) tombstones: Tombstones,
    /// How many series there are, where that is limited.
    pub(crate) counts: Counts,
    /// Finished chunks that no confirmed checkpoint has written, by series, oldest first.
    pub(crate) finished: HashMap<u32, Vec<Arc<FinishedChunk>>, foldhash::fast::RandomState>,
    /// Groups whose series are all gone, with the log index, until a checkpoint has written that.
    pub(crate) emptied: Vec<(u32, u64)>,
    /// A hash over the outcomes of all entries.
    pub(crate) outcomes: u64,
    /// Samples stored over the shard's life, in order or late.
    pub(crate) samples_total: u64,
    /// The earliest time that the entry which is being applied changed.
    pub(crate) earliest: i64,
    pub(crate) changes: Changes,
    limits: Limits,
}

/// What holds for all samples of an entry.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// From here on every class is kept.
    floor: i64,
    /// The last time a sample may have.
    ceiling: i64,
    /// How far behind its series a late sample may be.
    window: i64,
}

/// How samples that are not newer than their series' newest are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lateness {
    /// They may use the out-of-order window.
    Window,
    /// Scraped samples: they may not.
    Refused,
    /// What is told of a scrape: neither, and its series are made at any limit. A target that has
    /// too many series must not lose `up` for it.
    Report,
    /// Backfilled samples: as old as retention allows.
    Any,
}

/// A float on its way in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) series: SeriesId,
    pub(crate) time: i64,
    pub(crate) value: u64,
}

/// Any sample on its way in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IncomingRich<'a> {
    pub(crate) series: SeriesId,
    pub(crate) time: i64,
    pub(crate) value: Value<'a>,
    /// When what it counts began; 0 if unknown.
    pub(crate) start: i64,
}

impl Head {
    pub(crate) fn new() -> Self {
        let mut head = Self {
            applied: LogPosition::default(),
            leader_time: i64::MIN,
            settings: Settings::default(),
            horizons: Horizons::default(),
            next_series: 0,
            index: Index::default(),
            groups: Vec::new(),
            days: Days::default(),
            targets: Targets::default(),
            sources: Sources::default(),
            rule_groups: RuleGroups::default(),
            exemplars: Exemplars::default(),
            families: Families::default(),
            tombstones: Tombstones::default(),
            counts: Counts::default(),
            finished: HashMap::default(),
            emptied: Vec::new(),
            outcomes: 0,
            samples_total: 0,
            earliest: i64::MAX,
            changes: Changes::behind(0),
            limits: Limits { floor: 0, ceiling: 0, window: 0 },
        };
        head.renew_limits();
        head
    }

    /// Begins an entry.
    pub(crate) fn begin(&mut self, at: LogPosition, header: &Header) {
        self.applied = at;
        let before = self.leader_time;
        self.leader_time = before.max(header.leader_time.millis());
        self.discount_silent(before);
        self.renew_limits();
        self.end_idle(before);
    }

    /// Ends an entry.
    pub(crate) fn end(&mut self) {
        if self.earliest < i64::MAX {
            self.changes.note(self.applied.index, self.earliest);
            self.earliest = i64::MAX;
        }
    }

    /// Must follow every change of what limits depend on.
    pub(crate) fn renew_limits(&mut self) {
        let millis = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        self.limits = Limits {
            // The earliest time stands for "no sample yet" and is never stored.
            floor: self.horizons.highest().max(i64::MIN + 1),
            ceiling: self.leader_time.saturating_add(millis(self.settings.ahead_max)),
            window: millis(self.settings.out_of_order_window),
        };
    }

    /// Whether a sample of a series at this time would be kept.
    pub(crate) fn keeps(&self, series: SeriesId, time: i64) -> bool {
        (self.floor_at(series, time)..=self.limits.ceiling).contains(&time)
    }

    #[inline]
    pub(crate) fn group(&self, id: SeriesId) -> Option<(&Group, usize)> {
        let (group, place) = place(id);
        let group = self.groups.get(group)?.as_deref()?;
        group.hot.get(place).is_some_and(|hot| hot.alive).then_some((group, place))
    }

    /// Stores one float without a start timestamp, or counts why not.
    #[inline]
    pub(crate) fn append(
        &mut self,
        sample: Incoming,
        lateness: Lateness,
        outcome: &mut CommandOutcome,
    ) {
        let (group, place) = place(sample.series);
        let found = self.groups.get_mut(group).and_then(Option::as_deref_mut);
        if let Some(group) = found
            && let Some(hot) = group.hot.get_mut(place)
            && hot.plain
            && hot.takes(sample.time)
            && (self.limits.floor..=self.limits.ceiling).contains(&sample.time)
        {
            hot.append(sample.time, sample.value);
            group.touched = self.applied.index;
            self.earliest = self.earliest.min(sample.time);
            outcome.appended += 1;
            return;
        }
        let Incoming { series, time, value } = sample;
        let sample = IncomingRich { series, time, value: Value::Float(value), start: 0 };
        self.append_rich(sample, lateness, outcome);
    }

    /// Stores one sample of any kind, or counts why not.
    #[inline(never)]
    pub(crate) fn append_rich(
        &mut self,
        sample: IncomingRich<'_>,
        lateness: Lateness,
        outcome: &mut CommandOutcome,
    ) {
        let stored = self.try_append(sample, lateness);
        if stored == Ok(true) {
            self.count(sample.series);
        }
        let is_histogram = matches!(sample.value, Value::Histogram(_));
        outcome.histograms += u64::from(stored.is_ok() && is_histogram);
        match stored {
            Ok(true) => outcome.appended += 1,
            Ok(false) => outcome.repeated += 1,
            Err(reason) => outcome.refuse(RefusedSample {
                reason,
                series: sample.series,
                timestamp: Timestamp::from_millis(sample.time),
            }),
        }
    }

    /// `Ok(false)` for a sample that was stored before.
    fn try_append(
        &mut self,
        mut sample: IncomingRich<'_>,
        lateness: Lateness,
    ) -> Result<bool, Refusal> {
        let IncomingRich { series, time, start, .. } = sample;
        let at = self.applied.index;
        let Some((group, place)) = self.group(series) else {
            return Err(Refusal::UnknownSeries);
        };
        if time < self.limits.floor && time < self.floor_at(series, time) {
            return Err(Refusal::BehindHorizon);
        }
        if time > self.limits.ceiling {
            return Err(Refusal::TooFarAhead);
        }
        if sample.value == Value::Float(STALE_NAN_BITS) {
            sample.value = stale_marker(group, place);
        }
        if !group.hot[place].is_newest(time) {
            return self.append_late(sample, lateness);
        }
        let group = self.groups[series.0 as usize / GROUP_SERIES]
            .as_deref_mut()
            .expect("the group was just found");
        let rolled = match sample.value {
            Value::Float(bits) => group.append_float(series, (time, bits), start),
            Value::Histogram(histogram) => group.append_histogram(series, (time, histogram), start),
        };
        group.touched = at;
        self.earliest = self.earliest.min(time);
        if rolled.began {
            self.mark(time, series);
        }
        if let Some(ended) = rolled.ended {
            self.finish(series, ended);
        }
        Ok(true)
    }

    fn append_late(
        &mut self,
        sample: IncomingRich<'_>,
        lateness: Lateness,
    ) -> Result<bool, Refusal> {
        let IncomingRich { series, time, value, start } = sample;
        let (at, limits) = (self.applied.index, self.limits);
        let (group, place) = place(series);
        let group = self.groups[group].as_deref_mut().expect("the caller found the group");
        match group.known(place, time, value) {
            Known::Same => return Ok(false),
            Known::Other => return Err(Refusal::Conflict),
            Known::Nothing => {}
        }
        let age = group.hot[place].run.last_time().saturating_sub(time);
        match lateness {
            Lateness::Refused | Lateness::Report => return Err(Refusal::OutOfOrder),
            Lateness::Window if limits.window == 0 => return Err(Refusal::OutOfOrder),
            Lateness::Window if age > limits.window => return Err(Refusal::TooOld),
            Lateness::Window | Lateness::Any => {}
        }
        let waiting = group.add_late(place, (time, value), start);
        group.touched = at;
        self.earliest = self.earliest.min(time);
        self.mark(time, series);
        if waiting >= LATE_SAMPLES {
            self.finish_late(series);
        }
        Ok(true)
    }

    /// Makes chunks, one a day and kind, of a series' late samples.
    pub(crate) fn finish_late(&mut self, series: SeriesId) {
        let (group, place) = place(series);
        let group = self.groups[group].as_deref_mut().expect("the caller found the group");
        let late = group.take_late(place);
        for ended in late {
            self.finish(series, ended);
        }
    }

    pub(crate) fn finish(&mut self, series: SeriesId, chunk: Ended) {
        let chunk = FinishedChunk { series, at: self.applied.index, chunk };
        self.finished.entry(series.0).or_default().push(Arc::new(chunk));
    }

    /// Ends every open chunk. What comes next begins a new one.
    pub(crate) fn seal(&mut self) {
        for number in 0..self.groups.len() {
            let Some(group) = self.groups[number].as_deref_mut() else { continue };
            let mut ended = Vec::new();
            for place in 0..group.hot.len() {
                if let Some(samples) = group.seal(place) {
                    ended.push((place, samples));
                }
            }
            let late: Vec<usize> =
                (0..group.hot.len()).filter(|&place| group.has_late(place)).collect();
            if !ended.is_empty() || !late.is_empty() {
                group.touched = self.applied.index;
            }
            let id = |place| SeriesId((number * GROUP_SERIES + place) as u32);
            for (place, samples) in ended {
                self.finish(id(place), samples);
            }
            late.into_iter().for_each(|place| self.finish_late(id(place)));
        }
    }

    /// The series with these encoded labels; made now if there is none. Tells whether it was.
    pub(crate) fn series(
        &mut self,
        labels: &[u8],
        lateness: Lateness,
    ) -> Result<(SeriesId, bool), Refusal> {
        if let Some(found) = self.index.find(labels) {
            return Ok((found, false));
        }
        let labels = Labels::from_bytes(labels).map_err(|_| Refusal::InvalidLabels)?;
        if labels.is_empty() {
            return Err(Refusal::InvalidLabels);
        }
        if self.settings.refuses_new_series {
            return Err(Refusal::NoSpace);
        }
        if self.next_series == SeriesId::NONE.0 {
            return Err(Refusal::SeriesLimit);
        }
        if lateness != Lateness::Report {
            self.check_series_limits(&labels)?;
        }
        let id = SeriesId(self.next_series);
        self.next_series += 1;
        self.index.insert(id, &labels);
        let (touched, now) = (self.applied.index, self.leader_time);
        let group = self.group_for_new(id);
        group.push(Hot::created(now));
        group.series_touched = touched;
        self.count(id);
        Ok((id, true))
    }

    /// The group that a new id belongs to, filled up to the id's place.
    fn group_for_new(&mut self, id: SeriesId) -> &mut Group {
        let (group, place) = place(id);
        if self.groups.len() <= group {
            self.groups.resize_with(group + 1, || None);
        }
        let group = self.groups[group].get_or_insert_default();
        while group.hot.len() < place {
            group.push(Hot::removed());
        }
        group
    }

    /// Ends a series at `time`, unless it ended or has newer samples. Tells whether it did.
    pub(crate) fn write_stale_marker(&mut self, series: SeriesId, time: i64) -> bool {
        let Some((group, place)) = self.group(series) else { return false };
        let hot = &group.hot[place];
        if !hot.started || hot.run.last_value() == STALE_NAN_BITS || !hot.is_newest(time) {
            return false;
        }
        let value = Value::Float(STALE_NAN_BITS);
        let marker = IncomingRich { series, time, value, start: 0 };
        let is_stored = self.try_append(marker, Lateness::Refused) == Ok(true);
        if is_stored {
            self.count(series);
        }
        is_stored
    }

    /// Removes a series that is there. Its id is not given again.
    pub(crate) fn remove_series(&mut self, id: SeriesId) {
        self.discount(id);
        let (number, place) = place(id);
        let group = self.groups[number].as_deref_mut().expect("the series is there");
        group.remove(place);
        group.series_touched = self.applied.index;
        group.touched = self.applied.index;
        self.index.remove(id);
    }

    /// Removes a group whose series are all gone.
    pub(crate) fn remove_dead_group(&mut self, number: usize) {
        let Some(group) = self.groups[number].as_deref() else { return };
        // The last group still grows: it stays even if all its series are gone.
        let complete = group.hot.len() == GROUP_SERIES;
        if complete && group.hot.iter().all(|hot| !hot.alive) {
            self.groups[number] = None;
            self.emptied.push((number as u32, self.applied.index));
        }
    }
}

/// The staleness marker of a series: of the kind that its newest sample is.
fn stale_marker(group: &Group, place: usize) -> Value<'static> {
    let newest = group.rich(place).and_then(RichSeries::newest);
    newest.map_or(Value::Float(STALE_NAN_BITS), |newest| {
        Value::Histogram(EncodedHistogram::stale_marker(newest.is_float()))
    })
}
