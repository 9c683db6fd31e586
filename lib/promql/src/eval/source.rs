//! Where series come from.

use std::sync::Arc;

use narthex_model::{Labels, Matcher, Timestamp};

use crate::value::SampleBuffer;

/// Storage as an evaluation sees it.
pub trait SeriesSource: Sync {
    /// The series that satisfy all matchers and may have samples in the range. A series appears
    /// once.
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SourceError>;
}

/// What an evaluation needs.
#[derive(Debug, Clone, Copy)]
pub struct SelectRequest<'a> {
    /// Conditions, all of which hold.
    pub matchers: &'a [Matcher],
    /// The earliest sample that can matter.
    pub start: Timestamp,
    /// The latest sample that can matter, itself included.
    pub end: Timestamp,
}

/// A series and its samples, which are not read yet.
#[derive(Clone)]
pub struct SelectedSeries {
    /// The labels.
    pub labels: Labels,
    /// The samples.
    pub data: Arc<dyn SeriesData>,
}

/// The samples of one series. Reading is done series by series, outside of any lock.
pub trait SeriesData: Send + Sync {
    /// Appends the samples of `[start, end]` to `into`, in order of time, staleness markers
    /// included. Samples outside of the range may be appended too: they are ignored.
    fn read(
        &self,
        start: Timestamp,
        end: Timestamp,
        into: &mut SampleBuffer,
    ) -> Result<(), SourceError>;
}

/// The source failed. The query fails with it.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct SourceError {
    /// What was being done: `"read chunk"`.
    pub context: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A source without series.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptySource;

impl SeriesSource for EmptySource {
    fn select(&self, _request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SourceError> {
        Ok(Vec::new())
    }
}
