//! Histograms of a series that are still being appended to, in their encoding one after the other.
//!
//! All of a run are of one shape, staleness markers aside, so that they can share a layout once
//! the run is sealed. Appending is copying: the effort is spent when a checkpoint seals the run.

use std::sync::Arc;

use narthex_model::{NativeHistogram, histogram::EncodedHistogram};

use crate::columns::Columns;

/// Histograms of a full run.
pub(crate) const HISTOGRAM_SAMPLES: u8 = 120;
/// A run takes no further histogram beyond this many bytes.
pub(crate) const HISTOGRAM_RUN_BYTES: usize = 8 << 10;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HistogramRun {
    bytes: Vec<u8>,
    /// Times, and where each histogram's bytes end.
    rows: Vec<(i64, u32)>,
    /// A row that is no staleness marker.
    shaped: Option<u32>,
}

impl HistogramRun {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether `histogram` has the shape of those that are here, and there is room for it.
    pub(crate) fn suits(&self, histogram: &EncodedHistogram<'_>) -> bool {
        let Some(last) = self.rows.len().checked_sub(1) else { return true };
        if self.bytes.len() >= HISTOGRAM_RUN_BYTES {
            return false;
        }
        match self.shaped {
            Some(shaped) if !histogram.is_stale() => {
                self.encoded(shaped as usize).has_shape_of(histogram)
            }
            _ => self.encoded(last).is_float() == histogram.is_float(),
        }
    }

    /// Adds a histogram that suits, newer than those that are here.
    pub(crate) fn push(&mut self, time: i64, histogram: &EncodedHistogram<'_>) {
        if self.shaped.is_none() && !histogram.is_stale() {
            self.shaped = Some(self.rows.len() as u32);
        }
        self.bytes.extend_from_slice(histogram.as_bytes());
        self.rows.push((time, self.bytes.len() as u32));
    }

    /// The time of the first histogram.
    pub(crate) fn start(&self) -> Option<i64> {
        self.rows.first().map(|row| row.0)
    }

    /// The time of the last histogram.
    pub(crate) fn end(&self) -> Option<i64> {
        self.rows.last().map(|row| row.0)
    }

    /// The bytes of the histogram at `time`.
    pub(crate) fn at(&self, time: i64) -> Option<&[u8]> {
        self.rows.binary_search_by_key(&time, |row| row.0).ok().map(|row| self.row(row))
    }

    /// Times and encoded histograms.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &[u8])> {
        self.rows.iter().enumerate().map(|(at, row)| (row.0, self.row(at)))
    }

    /// Adds the histograms newer than `after` to columns.
    pub(crate) fn read(&self, after: i64, columns: &mut Columns) {
        for row in self.rows.partition_point(|row| row.0 <= after)..self.rows.len() {
            columns.push_histogram(self.rows[row].0, Arc::new(self.encoded(row).decode()));
        }
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.rows.capacity() * 16
    }

    fn row(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.rows[before].1 as usize);
        &self.bytes[start..self.rows[at].1 as usize]
    }

    fn encoded(&self, at: usize) -> EncodedHistogram<'_> {
        EncodedHistogram::new(self.row(at)).expect("histograms were checked when they came")
    }
}

/// A stored histogram, which was checked when it came.
pub(crate) fn decode(bytes: &[u8]) -> Arc<NativeHistogram> {
    Arc::new(NativeHistogram::decode(bytes).expect("histograms were checked when they came"))
}
