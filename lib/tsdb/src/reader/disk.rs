//! Sealed pages as a selection reads them: each group's once, for its neighbours in turn.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};

use parking_lot::Mutex;

use super::ReadError;
use crate::{
    RetentionClass, SeriesId,
    days::DaySeries,
    keys::DayOfGroup,
    kv::{KvError, Space},
    page::Page,
    series::GROUP_SERIES,
    shard::Core,
};

/// Pages kept for the neighbours of the series that was read last, in bytes. Readers go through
/// a selection in order of ids, so little more than one group's pages is of use.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The days a selection may read, and the pages it read last.
#[derive(Debug)]
pub(super) struct DiskPages {
    core: Arc<Core>,
    days: Vec<DaySeries>,
    kept: Mutex<VecDeque<Kept>>,
}

#[derive(Debug)]
struct Kept {
    group: u32,
    day: i64,
    class: RetentionClass,
    start: i64,
    end: i64,
    pages: Arc<Vec<Page>>,
    bytes: usize,
}

/// A series' part of a day.
#[derive(Debug, Clone, Copy)]
struct DayOfSeries {
    series: SeriesId,
    day: i64,
    class: RetentionClass,
}

impl DiskPages {
    pub(super) fn new(core: &Arc<Core>, days: Vec<DaySeries>) -> Self {
        Self { core: Arc::clone(core), days, kept: Mutex::default() }
    }

    /// The days in order, with their series as they were when the selection was made.
    pub(super) fn days(&self) -> &[DaySeries] {
        &self.days
    }

    /// The pages, day by day, that may have samples of a series in `[start, end]`.
    pub(super) fn pages(
        &self,
        series: SeriesId,
        start: i64,
        end: i64,
    ) -> Result<Vec<Arc<Vec<Page>>>, ReadError> {
        let mut found = Vec::new();
        for day in &self.days {
            let first = crate::days::DAY_MS.saturating_mul(day.number);
            let last = first.saturating_add(crate::days::DAY_MS - 1);
            if first > end || last < start {
                continue;
            }
            if let Some(class) = day.class_of(series) {
                let of_day = DayOfSeries { series, day: day.number, class };
                found.push(self.pages_of_day(of_day, (start.max(first), end.min(last)))?);
            }
        }
        Ok(found)
    }

    /// Pages that begin before the range may reach into it, as far as the day's longest page.
    /// That may become longer while pages are rewritten, but never after a page is seen.
    fn pages_of_day(
        &self,
        of_day: DayOfSeries,
        (start, end): (i64, i64),
    ) -> Result<Arc<Vec<Page>>, ReadError> {
        let first = crate::days::DAY_MS.saturating_mul(of_day.day);
        let page_span = || self.core.head.read().days.page_span(of_day.day);
        let mut span = page_span();
        loop {
            let from = start.saturating_sub(span).max(first);
            let pages = self.pages_between(of_day, (from, end))?;
            let longest = page_span();
            if longest <= span {
                return Ok(pages);
            }
            span = longest;
        }
    }

    fn pages_between(
        &self,
        DayOfSeries { series, day, class }: DayOfSeries,
        (start, end): (i64, i64),
    ) -> Result<Arc<Vec<Page>>, ReadError> {
        let group = series.0 / GROUP_SERIES as u32;
        let covers = |kept: &Kept| {
            (kept.group, kept.day, kept.class) == (group, day, class)
                && kept.start <= start
                && kept.end >= end
        };
        if let Some(kept) = self.kept.lock().iter().find(|kept| covers(kept)) {
            return Ok(Arc::clone(&kept.pages));
        }
        let lies = DayOfGroup {
            replica: self.core.replica,
            class,
            day,
            tenant: 0,
            first_series: group * GROUP_SERIES as u32,
        };
        let pages =
            Arc::new(self.read_pages(series, (&lies.page(start, 0), &lies.page(end, u64::MAX)))?);
        let bytes = pages.iter().map(Page::encoded_len).sum();
        self.keep(Kept { group, day, class, start, end, pages: Arc::clone(&pages), bytes });
        Ok(pages)
    }

    fn read_pages(
        &self,
        series: SeriesId,
        (start, end): (&[u8], &[u8]),
    ) -> Result<Vec<Page>, ReadError> {
        let mut pages = Vec::new();
        let mut damaged = None;
        let visited: Result<(), KvError> =
            self.core.kv.scan(Space::Chunks, start, end, &mut |_, value| match Page::decode(
                value.to_vec(),
            ) {
                Ok(page) => {
                    pages.push(page);
                    ControlFlow::Continue(())
                }
                Err(source) => {
                    damaged = Some(ReadError::Damaged { series, source });
                    ControlFlow::Break(())
                }
            });
        visited?;
        damaged.map_or(Ok(pages), Err)
    }

    fn keep(&self, kept: Kept) {
        let mut all = self.kept.lock();
        all.push_back(kept);
        let mut bytes: usize = all.iter().map(|kept| kept.bytes).sum();
        while bytes > KEPT_BYTES_MAX && all.len() > 1 {
            bytes -= all.pop_front().map_or(0, |oldest| oldest.bytes);
        }
    }
}
