//! Samples in columns: how they are decoded, encoded and handed out.
//!
//! Invariants
//! * `timestamps` rise, and `values` is as long;
//! * the value of a histogram is its sum, so that a staleness marker looks the same for both kinds;
//! * `histograms` and `starts` name rows, rising: floats without a start timestamp pay nothing.

use std::{ops::Range, sync::Arc};

use narthex_model::NativeHistogram;

/// Times in milliseconds and values, row by row, in time order. Reused by its owner.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// When each sample was taken.
    pub timestamps: Vec<i64>,
    /// What was measured, bit-exact, staleness markers included; sums of histograms.
    pub values: Vec<f64>,
    /// The rows that are histograms.
    pub histograms: Vec<(usize, Arc<NativeHistogram>)>,
    /// The rows that have a start timestamp, and when that was.
    pub starts: Vec<(usize, i64)>,
}

/// One row, taken out.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) time: i64,
    pub(crate) value: f64,
    pub(crate) histogram: Option<Arc<NativeHistogram>>,
    /// 0 if unknown.
    pub(crate) start: i64,
}

/// Start timestamps as they change: each holds from its time on.
pub(crate) type StartSteps = [(i64, i64)];

impl Columns {
    /// No samples.
    pub const fn new() -> Self {
        Self {
            timestamps: Vec::new(),
            values: Vec::new(),
            histograms: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Forgets the samples, keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    #[inline]
    pub(crate) fn push(&mut self, time: i64, value: f64) {
        self.timestamps.push(time);
        self.values.push(value);
    }

    pub(crate) fn push_histogram(&mut self, time: i64, histogram: Arc<NativeHistogram>) {
        self.push(time, histogram.sum());
        self.histograms.push((self.len() - 1, histogram));
    }

    pub(crate) fn push_row(&mut self, row: Row) {
        self.push(row.time, row.value);
        let at = self.len() - 1;
        self.histograms.extend(row.histogram.map(|histogram| (at, histogram)));
        self.starts.extend((row.start != 0).then_some((at, row.start)));
    }

    pub(crate) fn extend(&mut self, samples: impl Iterator<Item = (i64, u64)>) {
        for (time, bits) in samples {
            self.push(time, f64::from_bits(bits));
        }
    }

    /// Gives the rows from `first` on their start timestamps.
    pub(crate) fn set_starts(&mut self, first: usize, steps: &StartSteps) {
        if steps.is_empty() {
            return;
        }
        let mut steps = steps.iter().copied().peekable();
        let mut start = 0;
        for row in first..self.len() {
            while let Some((_, next)) = steps.next_if(|step| step.0 <= self.timestamps[row]) {
                start = next;
            }
            if start != 0 {
                self.starts.push((row, start));
            }
        }
    }

    /// The steps that [`Columns::set_starts`] gives `rows` their start timestamps by.
    pub(crate) fn start_steps(&self, rows: Range<usize>) -> Vec<(i64, i64)> {
        let from = self.starts.partition_point(|start| start.0 < rows.start);
        let mut known = self.starts[from..].iter().peekable();
        let (mut steps, mut before) = (Vec::new(), 0);
        if known.peek().is_none_or(|start| start.0 >= rows.end) {
            return steps;
        }
        for row in rows {
            let start = known.next_if(|start| start.0 == row).map_or(0, |start| start.1);
            if start != before {
                steps.push((self.timestamps[row], start));
                before = start;
            }
        }
        steps
    }

    /// The histograms among `rows`.
    pub(crate) fn histograms_of(&self, rows: Range<usize>) -> &[(usize, Arc<NativeHistogram>)] {
        let from = self.histograms.partition_point(|histogram| histogram.0 < rows.start);
        let to = self.histograms.partition_point(|histogram| histogram.0 < rows.end);
        &self.histograms[from..to]
    }

    /// Takes the rows from `first` on out.
    pub(crate) fn take_rows(&mut self, first: usize) -> impl Iterator<Item = Row> + use<> {
        let timestamps = self.timestamps.split_off(first);
        let values = self.values.split_off(first);
        let at = self.histograms.partition_point(|histogram| histogram.0 < first);
        let mut histograms = self.histograms.split_off(at).into_iter().peekable();
        let at = self.starts.partition_point(|start| start.0 < first);
        let mut starts = self.starts.split_off(at).into_iter().peekable();
        timestamps.into_iter().zip(values).zip(first..).map(move |((time, value), row)| Row {
            time,
            value,
            histogram: histograms.next_if(|histogram| histogram.0 == row).map(|found| found.1),
            start: starts.next_if(|start| start.0 == row).map_or(0, |found| found.1),
        })
    }

    /// Removes the rows `[from, to)`.
    pub(crate) fn remove(&mut self, from: usize, to: usize) {
        self.timestamps.drain(from..to);
        self.values.drain(from..to);
        let stays = |row: &mut usize| {
            let is_kept = !(from..to).contains(row);
            if *row >= to {
                *row -= to - from;
            }
            is_kept
        };
        self.histograms.retain_mut(|histogram| stays(&mut histogram.0));
        self.starts.retain_mut(|start| stays(&mut start.0));
    }

    /// Keeps the rows `[from, to)` behind the first `before` rows.
    pub(crate) fn keep(&mut self, before: usize, from: usize, to: usize) {
        self.timestamps.truncate(to);
        self.timestamps.drain(before..from);
        self.values.truncate(to);
        self.values.drain(before..from);
        let stays = |row: &mut usize| {
            let is_kept = *row < before || (from..to).contains(row);
            if *row >= from {
                *row -= from - before;
            }
            is_kept
        };
        self.histograms.retain_mut(|histogram| stays(&mut histogram.0));
        self.starts.retain_mut(|start| stays(&mut start.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed() -> Columns {
        let mut columns = Columns::new();
        for time in 0..6i64 {
            let histogram = NativeHistogram::stale_marker(false);
            match time % 2 {
                0 => columns.push(time, time as f64),
                _ => columns.push_histogram(time, Arc::new(histogram)),
            }
        }
        columns.set_starts(0, &[(1, 7), (3, 0), (4, 9)]);
        columns
    }

    #[test]
    fn starts_hold_from_their_times_on() {
        let columns = mixed();
        assert_eq!(columns.starts, [(1, 7), (2, 7), (4, 9), (5, 9)]);
        assert_eq!(columns.start_steps(0..6), [(1, 7), (3, 0), (4, 9)]);
        assert_eq!(columns.start_steps(2..4), [(2, 7), (3, 0)]);
        assert!(columns.start_steps(3..4).is_empty());
    }

    #[test]
    fn rows_keep_what_is_theirs() {
        let mut columns = mixed();
        columns.keep(1, 3, 5);
        assert_eq!(columns.timestamps, [0, 3, 4]);
        assert_eq!(columns.histograms_of(0..3).iter().map(|h| h.0).collect::<Vec<_>>(), [1]);
        assert_eq!(columns.starts, [(2, 9)]);
        let taken: Vec<Row> = columns.take_rows(1).collect();
        assert_eq!((columns.len(), columns.histograms.len(), columns.starts.len()), (1, 0, 0));
        taken.into_iter().for_each(|row| columns.push_row(row));
        assert_eq!(columns.timestamps, [0, 3, 4]);
        assert_eq!((columns.histograms[0].0, columns.starts[0]), (1, (2, 9)));
    }
}
