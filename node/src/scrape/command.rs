//! What a scrape asks of its shard.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use narthex_cluster::ShardId;
use narthex_model::{Labels, Timestamp};

use super::{core::Slot, families::ScrapedFamily, target::TargetId};

/// A change of a target's state in its shard.
#[derive(Debug, Clone)]
pub enum ScrapeCommand {
    /// A page was read.
    Scrape(Scrape),
    /// No page, or one that was refused: the target's series end.
    Failed(ScrapeFailed),
    /// The target exists no longer: its series end, the report's too.
    Gone(TargetGone),
}

impl ScrapeCommand {
    /// The target it is about.
    pub fn target(&self) -> TargetId {
        match self {
            Self::Scrape(scrape) => scrape.target,
            Self::Failed(failed) => failed.target,
            Self::Gone(gone) => gone.target,
        }
    }
}

/// All samples of one page, and the report.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// Whose page.
    pub target: TargetId,
    /// The shard refuses a slot that is not above the target's last.
    pub slot: Slot,
    /// When the scrape began: the time of samples that bring none.
    pub time: Timestamp,
    /// Samples in the order of the page.
    pub samples: Vec<ScrapedSample>,
    /// Descriptions of metric families that the shard may not know yet.
    pub families: Vec<ScrapedFamily>,
    /// `up` and `scrape_*`.
    pub report: Vec<ScrapedSample>,
}

/// The report of a scrape that gave no samples.
#[derive(Debug, Clone)]
pub struct ScrapeFailed {
    /// Whose page.
    pub target: TargetId,
    /// See [`Scrape::slot`].
    pub slot: Slot,
    /// When the scrape began: the time of the stale markers.
    pub time: Timestamp,
    /// `up` and `scrape_*`.
    pub report: Vec<ScrapedSample>,
    /// What went wrong.
    pub reason: String,
}

/// A target that discovery no longer finds, or that another shard scrapes from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetGone {
    /// Which one.
    pub target: TargetId,
    /// The time of the stale markers. A series gets none that is older than its newest sample.
    pub time: Timestamp,
}

impl TargetGone {
    /// Of a target whose series go on in another shard: there are no stale markers.
    pub fn moved(target: TargetId) -> Self {
        Self { target, time: Timestamp::MIN }
    }

    /// Whether its series go on in another shard.
    pub fn has_moved(&self) -> bool {
        self.time == Timestamp::MIN
    }
}

/// One sample of a page.
#[derive(Debug, Clone)]
pub struct ScrapedSample {
    /// Its series, shared with the cache of the target. It lies somewhere in memory: what is asked
    /// of each sample is in the sample, too.
    pub series: Arc<ScrapedSeries>,
    /// [`ScrapedSeries::reference`] when the page was read.
    pub reference: u64,
    /// As [`ScrapedSeries::follows_target`].
    pub follows_target: bool,
    /// When it was taken.
    pub timestamp: Timestamp,
    /// What was measured.
    pub value: f64,
    /// The page gave the time itself: its series gets no stale marker when it ends.
    pub has_own_timestamp: bool,
}

impl ScrapedSample {
    /// A sample at the time of the scrape.
    pub fn new(series: Arc<ScrapedSeries>, timestamp: Timestamp, value: f64) -> Self {
        Self {
            reference: series.reference(),
            follows_target: series.follows_target,
            series,
            timestamp,
            value,
            has_own_timestamp: false,
        }
    }
}

/// A series of a target, as stored: after relabelling, with the target's labels.
#[derive(Debug)]
pub struct ScrapedSeries {
    /// The labels of the series.
    pub labels: Labels,
    /// `job` and `instance` are the target's, so that the series belongs to the target's shard.
    pub follows_target: bool,
    reference: AtomicU64,
}

impl ScrapedSeries {
    /// A series that the shard has not numbered yet.
    pub fn new(labels: Labels, follows_target: bool) -> Self {
        Self { labels, follows_target, reference: AtomicU64::new(0) }
    }

    /// What the sink noted with [`ScrapedSeries::set_reference`]; 0 before that.
    pub fn reference(&self) -> u64 {
        self.reference.load(Ordering::Relaxed)
    }

    /// A place for the sink to note how the shard names the series, so that the next scrape
    /// need not repeat the labels. The meaning is the sink's, except that 0 is nothing.
    pub fn set_reference(&self, reference: u64) {
        self.reference.store(reference, Ordering::Relaxed);
    }
}

/// Where scrapes go: the shard's door on this node.
pub trait ScrapeSink: Send + Sync + 'static {
    /// Hands `command` to `shard` and returns once its fate is known. May wait for a slow shard,
    /// but not for ever.
    fn submit(
        &self,
        shard: ShardId,
        command: ScrapeCommand,
    ) -> impl Future<Output = Result<LeftOut, SubmitError>> + Send;
}

/// Samples of a command that the shard did not store; the others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Older than their series' newest.
    pub out_of_order: u64,
    /// Another value is stored at their time.
    pub duplicate: u64,
    /// Too far ahead, or older than what is kept.
    pub out_of_bounds: u64,
    /// Of series beyond a limit.
    pub series_limit: u64,
    /// For any other reason: want of disk space, or labels that cannot be stored.
    pub other: u64,
}

impl std::ops::Add for LeftOut {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            out_of_order: self.out_of_order + other.out_of_order,
            duplicate: self.duplicate + other.duplicate,
            out_of_bounds: self.out_of_bounds + other.out_of_bounds,
            series_limit: self.series_limit + other.series_limit,
            other: self.other + other.other,
        }
    }
}

/// Why a command did not reach its shard. The scrape is lost; nothing is sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Another node owns the target now and scrapes it.
    #[error("this node does not lead shard {0}")]
    NotLeader(ShardId),
    /// The shard is behind: scrape again at the next slot.
    #[error("shard {0} is busy")]
    Busy(ShardId),
    /// The target shows more than one entry takes: let the scrape fail with this.
    #[error("sample limit exceeded: {0}; set sample_limit or split the target")]
    TooLarge(String),
    /// The shard refused the command whole: the slot was taken.
    #[error("refused: {0}")]
    Refused(String),
}
