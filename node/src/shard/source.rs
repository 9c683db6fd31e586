//! Where the query language meets storage: the one file that knows both.

use std::{cell::RefCell, sync::Arc};

use narthex_model::{CounterResetHint, FloatHistogram, NativeHistogram, Timestamp};
use narthex_promql::{
    SampleBuffer, SelectRequest, SelectedSeries, SeriesData, SeriesSource, SourceError,
};
use narthex_tsdb::{Columns, SeriesHandle, ShardReader};

/// A shard's series, as an evaluation sees them.
pub struct ShardSource<'a>(pub &'a ShardReader);

impl SeriesSource for ShardSource<'_> {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SourceError> {
        let selected = self.0.select(request.matchers, request.start, request.end);
        let series = selected.into_iter().map(|series| SelectedSeries {
            labels: series.labels,
            data: Arc::new(StoredSamples(series.samples)),
        });
        Ok(series.collect())
    }
}

struct StoredSamples(SeriesHandle);

thread_local! {
    /// One buffer a thread that evaluates: series are read one after the other.
    static COLUMNS: RefCell<Columns> = const { RefCell::new(Columns::new()) };
}

impl SeriesData for StoredSamples {
    fn read(
        &self,
        start: Timestamp,
        end: Timestamp,
        into: &mut SampleBuffer,
    ) -> Result<(), SourceError> {
        COLUMNS.with_borrow_mut(|columns| {
            columns.clear();
            let read = self.0.read(start, end, columns);
            read.map_err(|source| SourceError { context: "read series", source: source.into() })?;
            fill(columns, into);
            Ok(())
        })
    }
}

fn fill(columns: &Columns, into: &mut SampleBuffer) {
    if columns.histograms.is_empty() && columns.starts.is_empty() {
        return into.extend_floats(&columns.timestamps, &columns.values);
    }
    let mut histograms = columns.histograms.iter().peekable();
    let mut starts = columns.starts.iter().peekable();
    for (row, (&time, &value)) in columns.timestamps.iter().zip(&columns.values).enumerate() {
        match histograms.next_if(|histogram| histogram.0 == row) {
            None => into.push_float(time, value),
            Some((_, histogram)) => into.push_histogram(time, Arc::new(float(histogram))),
        }
        if let Some((_, start)) = starts.next_if(|start| start.0 == row) {
            into.set_last_start(*start);
        }
    }
}

/// That no reset lies before a histogram was said of the one that its sender sent before, which
/// may not be the one before it here.
fn float(histogram: &NativeHistogram) -> FloatHistogram {
    let mut histogram = histogram.clone().into_float();
    if histogram.counter_reset_hint == CounterResetHint::NotReset {
        histogram.counter_reset_hint = CounterResetHint::Unknown;
    }
    histogram
}
