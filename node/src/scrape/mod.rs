//! Scraping: which target is due when, fetching its page, and turning the page into samples.
//!
//! The leader of a shard scrapes the targets that hash to it. What happens when is decided in
//! [`Schedule`], which has no clock and waits for nothing; [`Scraper`] performs it. One scrape
//! becomes one [`ScrapeCommand`] for the target's shard, handed to a [`ScrapeSink`]; stale
//! markers are the shard's business.
//!
//! Invariants
//! * all nodes give a target the same id, and its slots the same times;
//! * at most one scrape of a target is under way, and it ends before its timeout;
//! * a page that breaks a limit or cannot be read gives no sample but the report.
//!
//! Nothing here knows raft, shards beyond their number, or how samples are stored.

mod attempt;
mod client;
mod command;
mod core;
pub(crate) mod escape;
mod families;
mod fetch;
mod job;
mod metrics;
mod page;
mod report;
mod status;
mod target;
mod task;
mod tls;

pub(crate) use self::client::HttpClient;
pub use self::{
    command::{
        LeftOut, Scrape, ScrapeCommand, ScrapeFailed, ScrapeSink, ScrapedSample, ScrapedSeries,
        SubmitError, TargetGone,
    },
    core::{Action, Planned, Schedule, Skipped, Slot, Start},
    families::ScrapedFamily,
    metrics::ScrapeMetrics,
    page::{PageError, PageReader, PageSamples, SampleRules},
    status::{Health, TargetStatus},
    target::{DroppedTarget, JobTargets, Target, TargetId, targets_of},
    task::{Leadership, Routing, Scraper, ScraperHandle, ScraperInputs, Stopped, Targets},
};
