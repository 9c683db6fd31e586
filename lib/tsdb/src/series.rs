//! A series' open chunk: what apply touches for every sample.
//!
//! A chunk is a row of runs of at most 120 samples, the last of which is still open. It ends
//! when it has four full runs or when midnight UTC is passed; the first run of a day is shorter
//! by an amount that differs from group to group, so that neither packing nor sealing happens
//! for all series at one moment. Late samples wait in a buffer of their own.
//!
//! All of this is decided by the log alone: a replica that made a checkpoint yesterday and one
//! that made it a second ago answer every append alike.
//!
//! Series live in groups of 64 neighbours: the unit of memory, of pages and of checkpoints.

mod kinds;

use std::{collections::BTreeMap, sync::Arc};

use narthex_model::histogram::EncodedHistogram;

use crate::{
    SeriesId,
    columns::Columns,
    days::day_end,
    histogram_run::{self, HistogramRun},
    rich::{LateHistogram, Rich, RichSeries},
    runs::{Run, Runs},
    xor::OpenRun,
};

/// Samples of a full run.
pub(crate) const RUN_SAMPLES: u8 = 120;
/// Full runs of a full chunk: 480 samples.
pub(crate) const CHUNK_RUNS: usize = 4;
/// Late samples that wait before they become a chunk.
pub(crate) const LATE_SAMPLES: usize = 120;
/// Series of a group.
pub(crate) const GROUP_SERIES: usize = 64;

/// The group of a series and its place there.
#[inline]
pub(crate) const fn place(id: SeriesId) -> (usize, usize) {
    (id.0 as usize / GROUP_SERIES, id.0 as usize % GROUP_SERIES)
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A float's bits.
    Float(u64),
    Histogram(EncodedHistogram<'a>),
}

/// A chunk that ended: immutable, waiting to be encoded and written by a checkpoint.
#[derive(Debug)]
pub(crate) struct FinishedChunk {
    pub(crate) series: SeriesId,
    /// Log index of the entry that ended it.
    pub(crate) at: u64,
    pub(crate) chunk: Ended,
}

/// A chunk as it ends: samples of one kind, and the steps of their start timestamps.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) samples: FinishedSamples,
    pub(crate) starts: Box<[(i64, i64)]>,
}

#[derive(Debug)]
pub(crate) enum FinishedSamples {
    /// Samples that came in order.
    InOrder(Runs),
    /// Samples that came late, sorted by time, all of one day.
    Late(Vec<(i64, u64)>),
    /// Histograms that came in order.
    Histograms(Arc<HistogramRun>),
    /// Histograms that came late, sorted by time, all of one day.
    LateHistograms(Vec<LateHistogram>),
}

impl FinishedChunk {
    pub(crate) fn is_late(&self) -> bool {
        let samples = &self.chunk.samples;
        matches!(samples, FinishedSamples::Late(_) | FinishedSamples::LateHistograms(_))
    }

    /// Adds the samples newer than `after` to columns.
    pub(crate) fn read(&self, after: i64, columns: &mut Columns) {
        let first = columns.len();
        let is_newer = |sample: &(i64, u64)| sample.0 > after;
        match &self.chunk.samples {
            FinishedSamples::InOrder(runs) => {
                runs.iter().for_each(|run| columns.extend(run.samples().filter(is_newer)));
            }
            FinishedSamples::Late(samples) => {
                columns.extend(samples.iter().copied().filter(is_newer));
            }
            FinishedSamples::Histograms(run) => run.read(after, columns),
            FinishedSamples::LateHistograms(samples) => {
                for (time, bytes) in samples.iter().filter(|sample| sample.0 > after) {
                    columns.push_histogram(*time, histogram_run::decode(bytes));
                }
            }
        }
        columns.set_starts(first, &self.chunk.starts);
    }

    /// The time of the first sample.
    pub(crate) fn start(&self) -> i64 {
        let start = match &self.chunk.samples {
            FinishedSamples::InOrder(runs) => runs.start(),
            FinishedSamples::Late(samples) => samples.first().map(|first| first.0),
            FinishedSamples::Histograms(run) => run.start(),
            FinishedSamples::LateHistograms(samples) => samples.first().map(|first| first.0),
        };
        start.unwrap_or(i64::MAX)
    }

    /// The time of the last sample.
    pub(crate) fn end(&self) -> i64 {
        let end = match &self.chunk.samples {
            FinishedSamples::InOrder(runs) => runs.end(),
            FinishedSamples::Late(samples) => samples.last().map(|last| last.0),
            FinishedSamples::Histograms(run) => run.end(),
            FinishedSamples::LateHistograms(samples) => samples.last().map(|last| last.0),
        };
        end.unwrap_or(i64::MIN)
    }

    /// Bytes of memory behind it.
    pub(crate) fn memory_bytes(&self) -> usize {
        let samples = match &self.chunk.samples {
            FinishedSamples::InOrder(runs) => runs.memory_bytes(),
            FinishedSamples::Late(samples) => samples.len() * 16,
            FinishedSamples::Histograms(run) => run.memory_bytes(),
            FinishedSamples::LateHistograms(samples) => {
                samples.iter().map(|sample| sample.1.len() + 40).sum()
            }
        };
        samples + self.chunk.starts.len() * 16 + 80
    }
}

/// What apply reads and writes for every sample: dense, one group's after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hot {
    pub(crate) run: OpenRun,
    /// Midnight after the open chunk's day; before the first sample, after the series' creation.
    pub(crate) day_end: i64,
    /// Samples the open run still takes; 0 also while no chunk is open.
    pub(crate) run_left: u8,
    /// Whether a sample was ever appended.
    pub(crate) started: bool,
    /// Whether the series exists: a removed one leaves its place behind.
    pub(crate) alive: bool,
    /// Whether it exists and a float may be appended without a look at [`Group::rich`] and at
    /// [`Group::counted`].
    pub(crate) plain: bool,
}

/// Neighbouring series.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) hot: Vec<Hot>,
    /// The full runs of open chunks.
    pub(crate) runs: Vec<Runs>,
    /// Late floats by place, each sorted by time, none of which is in the open chunk. None is empty.
    pub(crate) late: BTreeMap<u8, Vec<(i64, u64)>>,
    /// Histograms and start timestamps, if a series has any.
    pub(crate) rich: Option<Box<Rich>>,
    /// The newest time of all late samples that became chunks.
    pub(crate) late_end: i64,
    /// The places whose series count against limits, a bit each; none where nothing is limited.
    pub(crate) counted: u64,
    /// Log index of the entry that last changed a sample here.
    pub(crate) touched: u64,
    /// Log index of the entry that last created or removed a series here.
    pub(crate) series_touched: u64,
}

/// What became of a sample that is not newer than its series' newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// The same bits are there.
    Same,
    /// Other bits are there.
    Other,
    /// Nothing is known there.
    Nothing,
}

impl Hot {
    /// A series created when the leader's clock showed `now`.
    pub(crate) fn created(now: i64) -> Self {
        Self {
            run: OpenRun::default(),
            day_end: day_end(now),
            run_left: 0,
            started: false,
            alive: true,
            plain: true,
        }
    }

    /// A place without a series.
    pub(crate) fn removed() -> Self {
        Self { alive: false, plain: false, ..Self::created(0) }
    }

    /// Whether `time` can simply be appended to the open run.
    #[inline]
    pub(crate) const fn takes(&self, time: i64) -> bool {
        self.run_left > 0 && time > self.run.last_time() && time < self.day_end
    }

    /// Whether `time` is newer than all there is.
    #[inline]
    pub(crate) const fn is_newest(&self, time: i64) -> bool {
        !self.started || time > self.run.last_time()
    }

    /// Adds a sample for which [`Hot::takes`] holds. Out of line, so that the codec is compiled
    /// into this one place whatever calls it: spread over its callers it takes a quarter longer.
    #[inline(never)]
    pub(crate) fn append(&mut self, time: i64, value: u64) {
        self.run.append(time, value);
        self.run_left -= 1;
    }
}

impl Default for Group {
    fn default() -> Self {
        Self {
            hot: Vec::new(),
            runs: Vec::new(),
            late: BTreeMap::new(),
            rich: None,
            late_end: i64::MIN,
            counted: 0,
            touched: 0,
            series_touched: 0,
        }
    }
}

impl Group {
    pub(crate) fn rich(&self, place: usize) -> Option<&RichSeries> {
        self.rich.as_ref()?.find(place)
    }

    /// Adds a place behind all others.
    pub(crate) fn push(&mut self, hot: Hot) {
        self.hot.push(hot);
        self.runs.push(Runs::default());
    }

    /// Late floats of a place, sorted by time.
    pub(crate) fn late(&self, place: usize) -> &[(i64, u64)] {
        self.late.get(&(place as u8)).map_or(&[], Vec::as_slice)
    }

    fn rich_mut(&mut self, place: usize) -> Option<&mut RichSeries> {
        self.rich.as_mut()?.find_mut(place)
    }

    /// Makes room for a newest float at `time`: packs a full run, ends a full chunk or one of
    /// another day, begins a new one. Returns what ended, and whether a chunk began.
    pub(crate) fn roll(&mut self, id: SeriesId, time: i64) -> Rolled {
        let (group, place) = place(id);
        let (hot, runs) = (&mut self.hot[place], &mut self.runs[place]);
        let new_day = !hot.started || time >= hot.day_end;
        let mut ended = None;
        if hot.run.count() > 0 {
            let (words, count) = hot.run.take();
            if new_day || runs.len() + 1 == CHUNK_RUNS {
                // The checkpoint encodes it soon: it is not worth packing.
                runs.push(Run::xor(&words, count));
                ended = Some(FinishedSamples::InOrder(std::mem::take(runs)));
            } else {
                runs.push_packed(Run::xor(&words, count));
            }
        }
        let began = runs.is_empty();
        hot.run_left = RUN_SAMPLES;
        if new_day {
            hot.day_end = day_end(time);
            hot.run_left -= stagger(group, RUN_SAMPLES);
        }
        hot.started = true;
        Rolled { ended: ended.map(|samples| self.end(place, samples)), began }
    }

    /// How many series have an open chunk.
    pub(crate) fn open_chunks(&self) -> usize {
        let is_open = |(place, (hot, runs)): &(usize, (&Hot, &Runs))| {
            let histograms = self.rich.as_ref().and_then(|rich| rich.find(*place));
            hot.run.count() > 0
                || !runs.is_empty()
                || histograms.is_some_and(|series| !series.open.is_empty())
        };
        self.hot.iter().zip(&self.runs).enumerate().filter(is_open).count()
    }

    /// The times of the first and the last sample of a series' open chunk, if there is one.
    pub(crate) fn open_range(&self, place: usize) -> Option<(i64, i64)> {
        let hot = &self.hot[place];
        let floats = self.runs[place].start().or(hot.run.first_time());
        let histograms = || self.rich(place).and_then(|rich| rich.open.start());
        Some((floats.or_else(histograms)?, hot.run.last_time()))
    }

    /// Whether a sample of `[start, end]` waits in a series' late buffers.
    pub(crate) fn has_late_in(&self, place: usize, start: i64, end: i64) -> bool {
        let in_range = |time: i64| (start..=end).contains(&time);
        let histograms = self.rich(place).map_or(&[][..], |rich| &rich.late);
        self.late(place).iter().any(|late| in_range(late.0))
            || histograms.iter().any(|late| in_range(late.0))
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let hot: usize =
            self.hot.iter().map(|hot| size_of::<Hot>() + hot.run.capacity_bytes()).sum();
        let runs = self.runs.iter().map(|runs| size_of::<Runs>() + runs.memory_bytes());
        let late = self.late.values().map(|late| late.capacity() * 16 + 32);
        let rich = self.rich.as_ref().map_or(0, |rich| rich.memory_bytes());
        hot + runs.sum::<usize>() + late.sum::<usize>() + rich
    }
}

/// By how many samples the first run of a group's day is shorter.
const fn stagger(group: usize, run_samples: u8) -> u8 {
    (group * 7 % run_samples as usize) as u8
}

/// See [`Group::roll`].
#[derive(Debug)]
pub(crate) struct Rolled {
    pub(crate) ended: Option<Ended>,
    pub(crate) began: bool,
}
