//! What some series of a group have beside floats: histograms and start timestamps.
//!
//! It lies apart, so that a group of plain floats pays one pointer for it.
//!
//! Invariants
//! * a series has an open run of floats or one of histograms, never both: chunks that came in
//!   order do not overlap, whatever their kinds;
//! * `Hot::plain` is false while a float may not simply be appended: while the series' newest
//!   sample is a histogram or has a start timestamp.

use std::sync::Arc;

use narthex_model::histogram::EncodedHistogram;

use crate::histogram_run::HistogramRun;

/// A late histogram: its time and encoding.
pub(crate) type LateHistogram = (i64, Arc<[u8]>);

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RichSeries {
    /// The open run, if the newest sample is a histogram.
    pub(crate) open: Arc<HistogramRun>,
    /// Histograms the open run still takes.
    pub(crate) run_left: u8,
    /// The newest sample's encoding, if it is a histogram; empty if it is a float.
    pub(crate) last: Vec<u8>,
    /// Late histograms sorted by time, none of which is in the open chunk.
    pub(crate) late: Vec<LateHistogram>,
    /// The newest sample's start timestamp, 0 if unknown.
    pub(crate) start: i64,
    /// How start timestamps change within the open chunk.
    pub(crate) starts: Vec<(i64, i64)>,
    /// Late samples with a start timestamp, and that, sorted by time.
    pub(crate) late_starts: Vec<(i64, i64)>,
}

impl RichSeries {
    /// Whether the newest sample is a histogram.
    pub(crate) fn is_histogram(&self) -> bool {
        !self.last.is_empty()
    }

    /// The newest sample, if it is a histogram.
    pub(crate) fn newest(&self) -> Option<EncodedHistogram<'_>> {
        EncodedHistogram::new(&self.last).ok()
    }

    /// Whether a float without a start timestamp may follow without more.
    pub(crate) fn is_plain(&self) -> bool {
        self.last.is_empty() && self.start == 0
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_plain()
            && self.open.is_empty()
            && self.late.is_empty()
            && self.starts.is_empty()
            && self.late_starts.is_empty()
    }

    /// Notes the start timestamp of a newest sample at `time`.
    pub(crate) fn note_start(&mut self, time: i64, start: i64) {
        // A chunk that begins knows of no start yet.
        let known = self.starts.last().map_or(0, |last| last.1);
        if start != known {
            self.starts.push((time, start));
        }
        self.start = start;
    }

    /// Takes the start timestamps of late samples in `[first, last]`, as steps for `times`.
    pub(crate) fn late_steps(&self, times: impl Iterator<Item = i64>) -> Box<[(i64, i64)]> {
        let (mut steps, mut before) = (Vec::new(), 0);
        if self.late_starts.is_empty() {
            return steps.into();
        }
        for time in times {
            let found = self.late_starts.binary_search_by_key(&time, |late| late.0);
            let start = found.map_or(0, |at| self.late_starts[at].1);
            if start != before {
                steps.push((time, start));
                before = start;
            }
        }
        steps.into()
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let late: usize = self.late.iter().map(|late| late.1.len() + 32).sum();
        let steps = self.starts.capacity() + self.late_starts.capacity();
        size_of::<Self>() + self.open.memory_bytes() + self.last.capacity() + late + 16 * steps
    }
}

/// The rich series of a group, by place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rich {
    series: Vec<(u8, RichSeries)>,
}

impl Rich {
    pub(crate) fn find(&self, place: usize) -> Option<&RichSeries> {
        let at = self.series.binary_search_by_key(&place, |series| usize::from(series.0));
        at.ok().map(|at| &self.series[at].1)
    }

    pub(crate) fn find_mut(&mut self, place: usize) -> Option<&mut RichSeries> {
        let at = self.series.binary_search_by_key(&place, |series| usize::from(series.0));
        at.ok().map(|at| &mut self.series[at].1)
    }

    pub(crate) fn get_or_insert(&mut self, place: usize) -> &mut RichSeries {
        let at = self.series.partition_point(|series| usize::from(series.0) < place);
        if self.series.get(at).is_none_or(|series| usize::from(series.0) != place) {
            self.series.insert(at, (place as u8, RichSeries::default()));
        }
        &mut self.series[at].1
    }

    pub(crate) fn insert(&mut self, place: usize, series: RichSeries) {
        *self.get_or_insert(place) = series;
    }

    pub(crate) fn remove(&mut self, place: usize) {
        self.series.retain(|series| usize::from(series.0) != place);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.series.iter().map(|series| series.1.memory_bytes() + 8).sum()
    }
}
