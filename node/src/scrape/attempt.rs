//! One scrape from request to shard.

use std::{sync::Arc, time::Duration};

use narthex_model::Timestamp;

use super::{
    command::{LeftOut, Scrape, ScrapeCommand, ScrapeFailed, ScrapeSink, SubmitError},
    core::Start,
    fetch::{FetchError, FetchRequest, fetch},
    job::Job,
    page::{PageError, PageReader, PageSamples},
    report::{Report, ReportSeries},
    target::Target,
};
use crate::clock::Clock;

/// A scrape that begins within this of its slot counts as punctual: its samples get the slot's
/// time, so that a target's timestamps are evenly spaced. At most a hundredth of the interval.
const PUNCTUAL_WITHIN: Duration = Duration::from_millis(2);
/// A longer page is read on the pool for blocking work: it takes more than half a millisecond.
const INLINE_PAGE_BYTES_MAX: usize = 128 << 10;

/// A scrape to perform.
pub struct Attempt<S> {
    pub clock: Arc<dyn Clock>,
    pub sink: Arc<S>,
    pub target: Arc<Target>,
    pub job: Arc<Job>,
    pub start: Start,
    pub reader: PageReader,
    pub report: ReportSeries,
    /// The scrape fails with this, without a request.
    pub forced_error: Option<String>,
    /// Bytes of the last page.
    pub expected_bytes: usize,
}

/// What came of a scrape.
#[derive(Debug)]
pub struct Ended {
    pub reader: PageReader,
    pub time: Timestamp,
    pub duration: Duration,
    /// Empty if the target is up.
    pub error: String,
    pub page_bytes: usize,
    /// The limit that the page broke.
    pub exceeded: Option<Exceeded>,
    /// Samples left out because their own timestamps lie too far ahead.
    pub samples_ahead: u64,
    pub submitted: Result<LeftOut, SubmitError>,
}

/// Limits of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// `body_size_limit`
    BodySize,
    /// `sample_limit`
    Samples,
    /// `label_limit` and the limits on lengths
    Labels,
}

/// Why there is no page.
struct NoPage {
    reason: String,
    exceeded: Option<Exceeded>,
}

impl<S: ScrapeSink> Attempt<S> {
    /// Fetches, reads and submits. Takes as long as the target's timeout and the sink.
    pub async fn run(mut self) -> Ended {
        let began = self.clock.monotonic();
        let time = self.time();
        let (page, page_bytes) = self.page(time).await;
        let duration = self.clock.monotonic().saturating_duration_since(began);
        let (read, error, exceeded) = match page {
            Ok(read) => {
                let error = read.error.as_ref().map(ToString::to_string).unwrap_or_default();
                let exceeded = match read.error {
                    Some(PageError::SampleLimit { .. }) => Some(Exceeded::Samples),
                    Some(PageError::LabelLimit(_)) => Some(Exceeded::Labels),
                    _ => None,
                };
                (read, error, exceeded)
            }
            Err(NoPage { reason, exceeded }) => (PageSamples::default(), reason, exceeded),
        };
        let samples_ahead = read.ahead;
        let (submitted, too_large) = self.submit(time, duration, read, &error).await;
        let (error, exceeded) = match too_large {
            Some(too_large) => (too_large, Some(Exceeded::Samples)),
            None => (error, exceeded),
        };
        Ended {
            reader: self.reader,
            time,
            duration,
            error,
            page_bytes,
            exceeded,
            samples_ahead,
            submitted,
        }
    }

    /// Submits what was read. More than the shard takes at once fails like a page that breaks a
    /// limit: the target is down, and the reason is given back.
    async fn submit(
        &self,
        time: Timestamp,
        duration: Duration,
        read: PageSamples,
        error: &str,
    ) -> (Result<LeftOut, SubmitError>, Option<String>) {
        let PageSamples { scraped, kept, added, .. } = read;
        let shard = self.start.shard;
        let command = self.command(time, duration, read, error);
        let submitted = self.sink.submit(shard, command).await;
        let Err(too_large @ SubmitError::TooLarge(_)) = submitted else { return (submitted, None) };
        let too_large = too_large.to_string();
        let read = PageSamples { scraped, kept, added, ..PageSamples::default() };
        let command = self.command(time, duration, read, &too_large);
        (self.sink.submit(shard, command).await, Some(too_large))
    }

    fn time(&self) -> Timestamp {
        let slot = self.start.slot.start();
        let now = self.clock.now();
        let tolerance = PUNCTUAL_WITHIN.min(self.target.interval / 100);
        let late = now.millis_since(slot);
        if (0..=tolerance.as_millis() as i64).contains(&late) { slot } else { now }
    }

    async fn page(&mut self, time: Timestamp) -> (Result<PageSamples, NoPage>, usize) {
        if let Some(error) = &self.forced_error {
            return (Err(NoPage { reason: error.clone(), exceeded: None }), 0);
        }
        match self.fetch().await {
            Ok(page) => {
                let bytes = page.len();
                (Ok(self.read(page, time).await), bytes)
            }
            Err(error) => (Err(error), self.expected_bytes),
        }
    }

    /// The page of the first source that has it, within the target's timeout for all of them.
    async fn fetch(&self) -> Result<Vec<u8>, NoPage> {
        // A little more than last time: pages grow by digits.
        let expected_bytes = self.expected_bytes + self.expected_bytes / 32;
        let tries = u32::try_from(self.target.sources.len()).unwrap_or(u32::MAX).max(1);
        let (mut problems, mut exceeded) = (Vec::new(), None);
        for url in &self.target.sources {
            let request = FetchRequest {
                url,
                timeout: self.target.timeout / tries,
                body_bytes_max: self.job.config.limits.body_size_limit,
                asks_gzip: self.job.config.enable_compression,
                falls_back_to_text: self.job.config.falls_back_to_text,
            };
            match fetch(&self.job.client, request, expected_bytes).await {
                Ok(page) => return Ok(page),
                Err(error) => {
                    let is_too_large = matches!(error, FetchError::BodyLimit(_));
                    exceeded = exceeded.or(is_too_large.then_some(Exceeded::BodySize));
                    problems.push(error.to_string());
                }
            }
        }
        Err(NoPage { reason: problems.join("; "), exceeded })
    }

    async fn read(&mut self, page: Vec<u8>, time: Timestamp) -> PageSamples {
        if page.len() <= INLINE_PAGE_BYTES_MAX {
            return self.reader.read(&page, time);
        }
        let empty = PageReader::new(self.job.rules_for(&self.target), 0);
        let mut reader = std::mem::replace(&mut self.reader, empty);
        let reading = tokio::task::spawn_blocking(move || {
            let read = reader.read(&page, time);
            (reader, read)
        });
        let (reader, read) = reading.await.expect("BUG: reading a page panicked");
        self.reader = reader;
        read
    }

    fn command(
        &self,
        time: Timestamp,
        duration: Duration,
        read: PageSamples,
        error: &str,
    ) -> ScrapeCommand {
        let report = Report {
            is_up: error.is_empty(),
            duration,
            scraped: read.scraped,
            kept: read.kept,
            added: read.added,
        };
        let report = self.report.samples(&report, time);
        let (target, slot) = (self.start.target, self.start.slot);
        if error.is_empty() {
            let PageSamples { samples, families, .. } = read;
            let report = report.to_vec();
            ScrapeCommand::Scrape(Scrape { target, slot, time, samples, families, report })
        } else {
            let (report, reason) = (report.to_vec(), error.to_owned());
            ScrapeCommand::Failed(ScrapeFailed { target, slot, time, report, reason })
        }
    }
}
