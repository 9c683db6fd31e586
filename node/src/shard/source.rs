//! Where the query language meets storage: the one file that knows both.

use std::{cell::RefCell, sync::Arc};

use narthex_model::Timestamp;
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
            into.extend_floats(&columns.timestamps, &columns.values);
            Ok(())
        })
    }
}
