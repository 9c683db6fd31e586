//! Which loads there are, how large they are, and how long they take.

use std::time::Duration;

use crate::measure::{Besides, Figure, Found, Setting, Size};
use crate::server::Kind;

/// One load; a few lines of the table each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Row {
    /// Remote write, one request a host; then queries, a crash, the disk.
    Write,
    /// Remote write, requests mixed over hosts.
    Mixed,
    /// Remote write of ten times as many series; then a crash.
    New,
    /// Scrapes of fake targets.
    Scrape,
    /// A day of samples; then the disk.
    Day,
}

/// Microseconds of wall time a sample takes, load included, on two cores: the mean of systems.
const MICROS_PER_SAMPLE: u64 = 3;

impl Row {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Write, Self::Mixed, Self::New, Self::Scrape, Self::Day];

    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Mixed => "mixed",
            Self::New => "new",
            Self::Scrape => "scrape",
            Self::Day => "day",
        }
    }

    /// The published size; scrapes have none.
    pub fn size(self) -> Option<Size> {
        match self {
            Self::Write => Some(Size { hosts: 60, steps: 240, mix: 0 }),
            Self::Mixed => Some(Size { hosts: 60, steps: 240, mix: 2000 }),
            Self::New => Some(Size { hosts: 600, steps: 60, mix: 0 }),
            Self::Day => Some(Size { hosts: 8, steps: 5760, mix: 0 }),
            Self::Scrape => None,
        }
    }

    fn besides(self) -> Besides {
        match self {
            Self::Write => Besides { queries: true, crash: true, disk: true },
            Self::New => Besides { crash: true, ..Besides::default() },
            Self::Day => Besides { disk: true, ..Besides::default() },
            Self::Mixed | Self::Scrape => Besides::default(),
        }
    }

    /// What it takes besides its samples: starts, rests, and what is done after it.
    fn fixed(self) -> Duration {
        Duration::from_secs(match self {
            Self::Write => 45,
            Self::Mixed => 15,
            Self::New | Self::Day => 40,
            Self::Scrape => 20,
        })
    }
}

/// What is measured.
#[derive(Debug)]
pub struct Plan {
    pub rows: Vec<Row>,
    pub kinds: Vec<Kind>,
    pub runs: usize,
    /// Instead of the published ones.
    pub hosts: Option<usize>,
    pub steps: Option<u64>,
}

impl Plan {
    /// Whether its figures compare with the published ones.
    pub fn is_whole(&self, setting: &Setting) -> bool {
        let default_sizes = self.hosts.is_none() && self.steps.is_none();
        let all_rows = Row::ALL.iter().all(|row| self.rows.contains(row));
        let all_kinds = Kind::ALL.iter().all(|kind| self.kinds.contains(kind));
        let scrape = setting.targets == 100 && setting.scrape_time >= Duration::from_secs(40);
        default_sizes && all_rows && all_kinds && scrape && self.runs >= 3
    }

    /// The size of a row in this plan.
    pub fn size(&self, row: Row) -> Option<Size> {
        row.size().map(|size| Size {
            hosts: self.hosts.unwrap_or(size.hosts),
            steps: self.steps.unwrap_or(size.steps),
            mix: size.mix,
        })
    }

    /// The title of a row in the table.
    pub fn title(&self, row: Row, setting: &Setting) -> String {
        let Some(Size { hosts, steps, mix }) = self.size(row) else {
            return format!("scrape, {} targets", setting.targets);
        };
        let series = hosts * setting.page.len();
        match (row, mix) {
            (Row::New, _) => format!("{series} new series × {steps}"),
            (_, 0) => format!("remote write, {series} series × {steps}"),
            _ => format!("the same in requests of {mix} samples, mixed over hosts"),
        }
    }

    /// A guess of how long it takes for `kinds` systems.
    pub fn expected(&self, kinds: usize, setting: &Setting) -> Duration {
        let of_row = |row: &Row| {
            let load = self.size(*row).map_or(setting.scrape_time, |size| {
                let samples = (size.hosts * setting.page.len()) as u64 * size.steps;
                Duration::from_micros(samples * MICROS_PER_SAMPLE)
            });
            row.fixed() + setting.rest_after + load
        };
        self.rows.iter().map(of_row).sum::<Duration>() * (kinds * self.runs) as u32
    }

    /// Measures one system under one load.
    pub fn measure(&self, row: Row, kind: Kind, setting: &Setting) -> Found {
        match self.size(row) {
            Some(size) => setting.write(kind, size, row.besides()),
            None => setting.scrape(kind),
        }
    }
}

/// One line on what a run found, for whoever waits.
pub fn in_short(found: &Found) -> String {
    let figures = [
        (Figure::Cpu, "µs/sample"),
        (Figure::SyncsPerSecond, "syncs/s"),
        (Figure::AckP99Millis, "ms p99"),
        (Figure::BytesPerSeries, "bytes/series"),
        (Figure::DiskBytesPerSample, "bytes/sample"),
        (Figure::QueriesMillis, "ms of queries"),
        (Figure::ReadySeconds, "s until ready"),
    ];
    let shown = figures.iter().filter_map(|(figure, unit)| {
        let value = found.figures.get(figure)?;
        Some(format!("{value:.2} {unit}"))
    });
    shown.chain(found.problems.iter().cloned()).collect::<Vec<_>>().join(", ")
}
