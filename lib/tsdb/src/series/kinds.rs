//! How samples of each kind enter a group: which chunks they end, and what they are compared with.

use std::sync::Arc;

use narthex_model::histogram::EncodedHistogram;

use super::{Ended, FinishedSamples, Group, Hot, Known, Rolled, Value, place, stagger};
use crate::{
    SeriesId,
    days::{day_end, day_of},
    histogram_run::HISTOGRAM_SAMPLES,
    rich::RichSeries,
    runs::{Run, Runs},
};

impl Group {
    /// Adds a newest float, and ends what has to end before it.
    pub(crate) fn append_float(
        &mut self,
        id: SeriesId,
        (time, bits): (i64, u64),
        start: i64,
    ) -> Rolled {
        let place = place(id).1;
        let mut rolled = Rolled { ended: self.end_histograms(place), began: false };
        if !self.hot[place].takes(time) {
            let Rolled { ended, began } = self.roll(id, time);
            rolled = Rolled { ended: rolled.ended.or(ended), began };
        }
        self.hot[place].append(time, bits);
        if start != 0 {
            self.rich.get_or_insert_default().get_or_insert(place);
        }
        if let Some(rich) = self.rich_mut(place) {
            rich.last.clear();
            rich.note_start(time, start);
            self.settle(place);
        }
        rolled
    }

    /// Adds a newest histogram, and ends what has to end before it.
    pub(crate) fn append_histogram(
        &mut self,
        id: SeriesId,
        (time, histogram): (i64, EncodedHistogram<'_>),
        start: i64,
    ) -> Rolled {
        let (group, place) = place(id);
        let mut ended = self.end_floats(place);
        let new_day = !self.hot[place].started || time >= self.hot[place].day_end;
        self.rich.get_or_insert_default().get_or_insert(place);
        let open = self.rich(place).expect("it was just made");
        if new_day || open.run_left == 0 || !open.open.suits(&histogram) {
            ended = ended.or(self.end_histograms(place));
        }
        let hot = &mut self.hot[place];
        if new_day {
            hot.day_end = day_end(time);
        }
        (hot.started, hot.plain) = (true, false);
        hot.run.pass(time, histogram.sum().to_bits());
        let rich = self.rich_mut(place).expect("it was just made");
        let began = rich.open.is_empty();
        if began {
            let shorter = if new_day { stagger(group, HISTOGRAM_SAMPLES) } else { 0 };
            rich.run_left = HISTOGRAM_SAMPLES - shorter;
        }
        Arc::make_mut(&mut rich.open).push(time, &histogram);
        rich.run_left -= 1;
        rich.last.clear();
        rich.last.extend_from_slice(histogram.as_bytes());
        rich.note_start(time, start);
        Rolled { ended, began }
    }

    /// Brings [`Hot::plain`] up to date, and forgets what there is no more to say of a series.
    fn settle(&mut self, place: usize) {
        let Some(rich) = self.rich.as_mut() else { return };
        let Some(series) = rich.find(place) else { return };
        self.hot[place].plain = self.hot[place].alive && series.is_plain();
        if series.is_idle() {
            rich.remove(place);
        }
        if rich.is_empty() {
            self.rich = None;
        }
    }

    /// A chunk that ends now, with the start timestamps of its samples.
    pub(super) fn end(&mut self, place: usize, samples: FinishedSamples) -> Ended {
        let starts = self.rich_mut(place).map(|rich| std::mem::take(&mut rich.starts));
        Ended { samples, starts: starts.unwrap_or_default().into() }
    }

    fn end_histograms(&mut self, place: usize) -> Option<Ended> {
        let rich = self.rich_mut(place)?;
        if rich.open.is_empty() {
            return None;
        }
        let run = std::mem::take(&mut rich.open);
        Some(self.end(place, FinishedSamples::Histograms(run)))
    }

    /// Ends a series' open chunk, if there is one.
    pub(crate) fn seal(&mut self, place: usize) -> Option<Ended> {
        let ended = self.end_floats(place).or_else(|| self.end_histograms(place));
        self.settle(place);
        ended
    }

    fn end_floats(&mut self, place: usize) -> Option<Ended> {
        let (hot, runs) = (&mut self.hot[place], &mut self.runs[place]);
        if hot.run.count() > 0 {
            let (words, count) = hot.run.take();
            runs.push(Run::xor(&words, count));
        }
        hot.run_left = 0;
        if runs.is_empty() {
            return None;
        }
        let runs = std::mem::take(runs);
        Some(self.end(place, FinishedSamples::InOrder(runs)))
    }

    /// Removes the series at a place.
    pub(crate) fn remove(&mut self, place: usize) {
        self.hot[place] = Hot::removed();
        self.runs[place] = Runs::default();
        self.late.remove(&(place as u8));
        if let Some(rich) = self.rich.as_mut() {
            rich.remove(place);
        }
    }

    /// Whether late samples of a place wait to become chunks.
    pub(crate) fn has_late(&self, place: usize) -> bool {
        !self.late(place).is_empty() || self.rich(place).is_some_and(|rich| !rich.late.is_empty())
    }

    /// Adds a late sample at a time that has none. Returns how many of its kind wait.
    pub(crate) fn add_late(
        &mut self,
        place: usize,
        (time, value): (i64, Value<'_>),
        start: i64,
    ) -> usize {
        if start != 0 {
            let rich = self.rich.get_or_insert_default().get_or_insert(place);
            insert_at_time(&mut rich.late_starts, time, start);
        }
        match value {
            Value::Float(bits) => {
                insert_at_time(self.late.entry(place as u8).or_default(), time, bits)
            }
            Value::Histogram(histogram) => {
                let rich = self.rich.get_or_insert_default().get_or_insert(place);
                insert_at_time(&mut rich.late, time, histogram.as_bytes().into())
            }
        }
    }

    /// Takes the late samples of a place: floats, then histograms, a chunk for each day.
    pub(crate) fn take_late(&mut self, place: usize) -> Vec<Ended> {
        let mut ended = Vec::new();
        let floats = self.late.remove(&(place as u8)).unwrap_or_default();
        let (mut histograms, mut starts) = (Vec::new(), RichSeries::default());
        if let Some(rich) = self.rich_mut(place) {
            histograms = std::mem::take(&mut rich.late);
            starts.late_starts = std::mem::take(&mut rich.late_starts);
        }
        let newest = |late: Option<i64>| late.unwrap_or(i64::MIN);
        self.late_end = self
            .late_end
            .max(newest(floats.last().map(|late| late.0)))
            .max(newest(histograms.last().map(|late| late.0)));
        for day in floats.chunk_by(|a, b| day_of(a.0) == day_of(b.0)) {
            let steps = starts.late_steps(day.iter().map(|late| late.0));
            ended.push(Ended { samples: FinishedSamples::Late(day.to_vec()), starts: steps });
        }
        for day in histograms.chunk_by(|a, b| day_of(a.0) == day_of(b.0)) {
            let steps = starts.late_steps(day.iter().map(|late| late.0));
            let samples = FinishedSamples::LateHistograms(day.to_vec());
            ended.push(Ended { samples, starts: steps });
        }
        self.settle(place);
        ended
    }

    /// What the open chunk and the late buffers hold at `time`.
    pub(crate) fn known(&self, place: usize, time: i64, value: Value<'_>) -> Known {
        let found = match self.hot[place].started && time == self.hot[place].run.last_time() {
            true => self.newest(place),
            false => self.float_at(place, time).or_else(|| self.histogram_at(place, time)),
        };
        match (found, value) {
            (None, _) => Known::Nothing,
            (Some(Stored::Float(found)), Value::Float(bits)) if found == bits => Known::Same,
            (Some(Stored::Histogram(found)), Value::Histogram(histogram))
                if found == histogram.as_bytes() =>
            {
                Known::Same
            }
            (Some(_), _) => Known::Other,
        }
    }

    /// The series' newest sample, which must have been there.
    fn newest(&self, place: usize) -> Option<Stored<'_>> {
        match self.rich(place).filter(|rich| rich.is_histogram()) {
            Some(rich) => Some(Stored::Histogram(&rich.last)),
            None => Some(Stored::Float(self.hot[place].run.last_value())),
        }
    }

    fn float_at(&self, place: usize, time: i64) -> Option<Stored<'_>> {
        let (hot, late) = (&self.hot[place], self.late(place));
        if let Ok(at) = late.binary_search_by_key(&time, |late| late.0) {
            return Some(Stored::Float(late[at].1));
        }
        let found = if hot.run.first_time().is_some_and(|first| first <= time) {
            hot.run.samples().into_iter().find(|sample| sample.0 == time)
        } else {
            let run = self.runs[place].iter().take_while(|run| run.start() <= time).last();
            run.and_then(|run| run.samples().find(|sample| sample.0 == time))
        };
        found.map(|sample| Stored::Float(sample.1))
    }

    fn histogram_at(&self, place: usize, time: i64) -> Option<Stored<'_>> {
        let rich = self.rich(place)?;
        if let Ok(at) = rich.late.binary_search_by_key(&time, |late| late.0) {
            return Some(Stored::Histogram(&rich.late[at].1));
        }
        rich.open.at(time).map(Stored::Histogram)
    }
}

/// A sample's value as it lies in memory.
enum Stored<'a> {
    Float(u64),
    Histogram(&'a [u8]),
}

/// Inserts in order of time; returns how many there are then.
fn insert_at_time<V>(late: &mut Vec<(i64, V)>, time: i64, value: V) -> usize {
    let position = late.partition_point(|found| found.0 < time);
    late.insert(position, (time, value));
    late.len()
}
