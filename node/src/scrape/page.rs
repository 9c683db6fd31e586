//! From a page to samples: labels of the target, metric relabelling, limits.
//!
//! Invariants
//! * a page gives all of its samples or an error;
//! * what a series becomes is computed once and remembered by its text, so the rules of a reader
//!   must not change: a new configuration means a new reader.

use std::sync::Arc;

use narthex_exposition::{
    Item, ParseError, ParsedSeries, Parser, SampleLine, SeriesCache, parse_series,
};
use narthex_model::{INSTANCE, JOB, Labels, LabelsBuilder, METRIC_NAME, Timestamp};

use super::{
    command::{ScrapedSample, ScrapedSeries},
    families::{Heard, Said, ScrapedFamily},
};
use crate::{config::ScrapeLimits, relabel::Rules};

/// How far ahead of the scrape a page's own timestamps may lie.
const AHEAD_MILLIS_MAX: i64 = 10 * 60 * 1000;

/// What turns the series of a page into those of a target.
#[derive(Debug, Clone)]
pub struct SampleRules {
    /// Added to every series.
    pub target_labels: Labels,
    /// Whether the page's labels win over the target's.
    pub honor_labels: bool,
    /// Whether the page's timestamps count.
    pub honor_timestamps: bool,
    /// Metric relabelling.
    pub relabel: Arc<Rules>,
    /// Breaking one refuses the page.
    pub limits: ScrapeLimits,
}

/// Why a page was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// It is not in the text format.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// More samples than `sample_limit`.
    #[error("sample limit exceeded: {samples} samples after relabelling, limit {limit}")]
    SampleLimit {
        /// Samples after relabelling.
        samples: u64,
        /// The limit.
        limit: u64,
    },
    /// A series without a name.
    #[error("missing metric name (__name__ label)")]
    NoName,
    /// A limit on labels.
    #[error("{0}")]
    LabelLimit(String),
}

/// What a page came to.
#[derive(Debug, Clone, Default)]
pub struct PageSamples {
    /// Samples in the order of the page; none if it was refused.
    pub samples: Vec<ScrapedSample>,
    /// Samples on the page: `scrape_samples_scraped`.
    pub scraped: u64,
    /// Samples that relabelling left: `scrape_samples_post_metric_relabeling`.
    pub kept: u64,
    /// Series that the last page did not have: `scrape_series_added`.
    pub added: u64,
    /// Samples left out because their own timestamps lie too far ahead.
    pub ahead: u64,
    /// Descriptions of metric families, if the page says something else than the last ones.
    pub families: Vec<ScrapedFamily>,
    /// Why the page was refused.
    pub error: Option<PageError>,
}

/// What a series of the page becomes.
#[derive(Debug)]
enum Outcome {
    Kept(Arc<ScrapedSeries>),
    Dropped,
}

/// Reads the pages of one target.
#[derive(Debug)]
pub struct PageReader {
    rules: SampleRules,
    cache: SeriesCache<Outcome>,
    said: Said,
}

impl PageReader {
    /// A reader that has seen no page. The seed is that of the cache's hash.
    pub fn new(rules: SampleRules, hash_seed: u64) -> Self {
        Self { rules, cache: SeriesCache::new(hash_seed), said: Said::default() }
    }

    /// Reads a page that was scraped at `time`.
    pub fn read(&mut self, page: &[u8], time: Timestamp) -> PageSamples {
        let mut read =
            PageSamples { samples: Vec::with_capacity(self.cache.len()), ..Default::default() };
        self.cache.begin();
        let mut heard = Heard::default();
        let result = self
            .read_samples(page, time, (&mut read, &mut heard))
            .and_then(|()| self.check_limit(&read));
        match result {
            Ok(()) => {
                self.cache.commit();
                read.families = self.said.news(&heard, page, time);
            }
            Err(error) => {
                self.cache.abort();
                read.samples = Vec::new();
                read.error = Some(error);
            }
        }
        read
    }

    /// Series remembered.
    pub fn series(&self) -> usize {
        self.cache.len()
    }

    fn check_limit(&self, read: &PageSamples) -> Result<(), PageError> {
        let limit = self.rules.limits.sample_limit;
        if limit > 0 && read.kept > limit {
            return Err(PageError::SampleLimit { samples: read.kept, limit });
        }
        Ok(())
    }

    fn read_samples(
        &mut self,
        page: &[u8],
        time: Timestamp,
        (read, heard): (&mut PageSamples, &mut Heard),
    ) -> Result<(), PageError> {
        let mut parser = Parser::new(page);
        while let Some(item) = parser.next(self.cache.expected())? {
            let Item::Sample(line) = item else {
                heard.hear(&item);
                continue;
            };
            read.scraped += 1;
            if let Some(series) =
                self.series_of(&line, read).map_err(|error| at(error, page, &line))?
            {
                read.kept += 1;
                self.push(series, &line, time, read);
            }
        }
        Ok(())
    }

    fn push(
        &self,
        series: Arc<ScrapedSeries>,
        line: &SampleLine<'_>,
        time: Timestamp,
        read: &mut PageSamples,
    ) {
        let own = line.timestamp_millis.filter(|_| self.rules.honor_timestamps);
        let timestamp = own.map_or(time, Timestamp::from_millis);
        if timestamp.millis_since(time) > AHEAD_MILLIS_MAX {
            read.ahead += 1;
            return;
        }
        let has_own_timestamp = own.is_some();
        let sample = ScrapedSample::new(series, timestamp, line.value);
        read.samples.push(ScrapedSample { has_own_timestamp, ..sample });
    }

    /// The series that a line's sample belongs to; nothing where it is dropped.
    fn series_of(
        &mut self,
        line: &SampleLine<'_>,
        read: &mut PageSamples,
    ) -> Result<Option<Arc<ScrapedSeries>>, PageError> {
        let known = if line.is_expected {
            self.cache.take_expected()
        } else {
            self.cache.find(line.series)
        };
        if let Some(outcome) = known {
            return Ok(outcome.series());
        }
        let parsed = parse_series(line.series)
            .map_err(|reason| PageError::Parse(ParseError { line: 0, reason }))?;
        let outcome = self.rules.outcome(&parsed)?;
        read.added += u64::from(matches!(outcome, Outcome::Kept(_)));
        Ok(self.cache.insert(line.series, outcome).series())
    }
}

/// Fills in the line of an error in a series.
fn at(error: PageError, page: &[u8], line: &SampleLine<'_>) -> PageError {
    match error {
        PageError::Parse(ParseError { reason, .. }) => {
            let offset = line.series.as_ptr().addr() - page.as_ptr().addr();
            let line = 1 + memchr::memchr_iter(b'\n', &page[..offset]).count();
            PageError::Parse(ParseError { line, reason })
        }
        error => error,
    }
}

impl Outcome {
    fn series(&self) -> Option<Arc<ScrapedSeries>> {
        match self {
            Self::Kept(series) => Some(series.clone()),
            Self::Dropped => None,
        }
    }
}

impl SampleRules {
    fn outcome(&self, parsed: &ParsedSeries<'_>) -> Result<Outcome, PageError> {
        let mut labels = self.with_target_labels(parsed);
        if !self.relabel.apply(&mut labels) {
            return Ok(Outcome::Dropped);
        }
        if labels.value(METRIC_NAME).is_empty() {
            return Err(PageError::NoName);
        }
        let labels = labels.build();
        self.check_limits(&labels)?;
        let follows = |name| labels.value(name) == self.target_labels.value(name);
        let follows_target = follows(JOB) && follows(INSTANCE);
        Ok(Outcome::Kept(Arc::new(ScrapedSeries::new(labels, follows_target))))
    }

    /// The page's labels and the target's. Where both have one, the page's wins with
    /// `honor_labels`, even if empty; otherwise it is renamed.
    fn with_target_labels(&self, parsed: &ParsedSeries<'_>) -> LabelsBuilder {
        let mut labels = LabelsBuilder::new();
        for (name, value) in parsed {
            labels.set(name, value.as_ref());
        }
        let mut renamed = Vec::new();
        for (name, value) in self.target_labels.iter() {
            if self.honor_labels {
                if !parsed.iter().any(|(own, _)| own == name) {
                    labels.set(name, value);
                }
                continue;
            }
            let own = labels.value(name);
            if !own.is_empty() {
                renamed.push((name, own.to_owned()));
            }
            labels.set(name, value);
        }
        renamed.sort_by_key(|(name, _)| name.len());
        for (name, value) in renamed {
            let mut free = format!("exported_{name}");
            while !labels.value(&free).is_empty() {
                free.insert_str(0, "exported_");
            }
            labels.set(&free, value);
        }
        labels
    }

    fn check_limits(&self, labels: &Labels) -> Result<(), PageError> {
        let limits = &self.limits;
        let metric = || shortened(labels.value(METRIC_NAME));
        let exceeds = |len: usize, limit: u64| limit > 0 && len as u64 > limit;
        let count = labels.count();
        if exceeds(count, limits.label_limit) {
            return Err(PageError::LabelLimit(format!(
                "label_limit exceeded (metric: {}, number of labels: {count}, limit: {})",
                metric(),
                limits.label_limit
            )));
        }
        for (name, value) in labels.iter() {
            if exceeds(name.len(), limits.label_name_length_limit) {
                return Err(PageError::LabelLimit(format!(
                    "label_name_length_limit exceeded (metric: {}, label name: {}, length: {}, \
                     limit: {})",
                    metric(),
                    shortened(name),
                    name.len(),
                    limits.label_name_length_limit
                )));
            }
            if exceeds(value.len(), limits.label_value_length_limit) {
                return Err(PageError::LabelLimit(format!(
                    "label_value_length_limit exceeded (metric: {}, label name: {}, value: {:?}, \
                     length: {}, limit: {})",
                    metric(),
                    shortened(name),
                    shortened(value),
                    value.len(),
                    limits.label_value_length_limit
                )));
            }
        }
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(50).collect()
}

#[cfg(test)]
mod tests;
