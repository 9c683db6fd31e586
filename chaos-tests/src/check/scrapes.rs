//! Whether scrapes are where they belong: every stored page is one that its target served, no slot
//! is stored twice, and no gap is longer than what faults in it explain.

use std::time::Duration;

use crate::{
    api::Api,
    stalls::Stalls,
    targets::{SEQUENCE, Target},
    wait::{millis, until},
};

/// A leader's silence, the election behind it, and the retry of the router.
pub const RESUME_MAX: Duration = Duration::from_secs(3);
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What explains a gap.
#[derive(Debug, Clone, Copy)]
pub struct Troubles<'a> {
    /// Wall-clock milliseconds from which and until which nobody could scrape some targets. One
    /// that is over at once, such as the end of a leader, still costs a scrape, or as many as fit
    /// into an election where that takes longer.
    pub spans: &'a [(i64, i64)],
    /// Moments at which the machine did not run what was ready to run.
    pub stalls: &'a Stalls,
}

impl Troubles<'_> {
    /// How much longer than its interval a gap may be for all that fell into it.
    fn explain(&self, from: i64, to: i64, interval: i64) -> i64 {
        let in_gap = self.spans.iter().filter(|(start, end)| *start < to && *end >= from);
        let explained = in_gap.map(|(start, end)| {
            (*end).min(to) - (*start).max(from).min(*end) + interval.max(millis(RESUME_MAX))
        });
        explained.sum::<i64>() + self.stalls.within(from, to)
    }
}

/// What was found of one job.
#[derive(Debug, Default, Clone)]
pub struct Scraped {
    /// Slots that are stored.
    pub slots: usize,
    /// Slots between the first and the last of each target that are not.
    pub missed: usize,
    /// The most that one target missed in a row.
    pub missed_in_a_row: usize,
    /// What should not be.
    pub problems: Vec<String>,
}

impl Scraped {
    /// Looks at what is stored of the job, whose targets are scraped at this interval in seconds.
    pub fn check(
        api: &Api,
        (job, interval_seconds): (&str, u64),
        targets: &[Target],
        troubles: &Troubles<'_>,
    ) -> Result<Self, String> {
        let stored = |name: &str| {
            let selector = format!("{name}{{job={job:?}}}[3h]");
            until("an answer", ANSWER_DEADLINE, || api.samples(&selector, "instance"))
        };
        let (pages, up) = (stored(SEQUENCE), stored("up"));
        let interval = millis(Duration::from_secs(interval_seconds));
        let mut scraped = Self::default();
        for target in targets {
            let of = |stored: &std::collections::BTreeMap<String, Vec<(i64, f64)>>| {
                stored.get(target.address()).cloned().unwrap_or_default()
            };
            scraped.add_pages(target, &of(&pages));
            scraped.add_slots(target.address(), interval, &of(&up), troubles);
        }
        if scraped.slots == 0 { Err(format!("nothing of {job} is stored")) } else { Ok(scraped) }
    }

    fn add_pages(&mut self, target: &Target, pages: &[(i64, f64)]) {
        let name = target.address();
        if pages.windows(2).any(|pair| pair[1].1 <= pair[0].1) {
            self.problems.push(format!("{name}: a page is stored twice"));
        }
        #[expect(clippy::cast_precision_loss, reason = "tests serve few pages")]
        let served = target.served() as f64;
        if pages.iter().any(|page| page.1 >= served || page.1.fract() != 0.0) {
            self.problems.push(format!("{name}: a page is stored that was not served"));
        }
    }

    /// Slots lie whole intervals apart: twice one slot is a distance far below an interval.
    fn add_slots(
        &mut self,
        name: &str,
        interval: i64,
        slots: &[(i64, f64)],
        troubles: &Troubles<'_>,
    ) {
        self.slots += slots.len();
        for pair in slots.windows(2) {
            let (before, after) = (pair[0].0, pair[1].0);
            let distance = after - before;
            let missed = usize::try_from((distance + interval / 2) / interval - 1).unwrap_or(0);
            self.missed += missed;
            self.missed_in_a_row = self.missed_in_a_row.max(missed);
            if distance < interval / 2 {
                let problem = format!("{name}: two scrapes {distance} ms apart at {after}");
                self.problems.push(problem);
            }
            // The scrape of a slot begins within the interval that ends with the next one.
            let explained = troubles.explain(before - interval, after, interval);
            if distance > interval + interval / 2 + explained {
                self.problems.push(format!(
                    "{name}: no scrape for {distance} ms before {after}, of which {explained} ms \
                     are explained"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(slots: &[i64], spans: &[(i64, i64)]) -> (usize, Vec<String>) {
        let (stalls, mut scraped) = (Stalls::watch(), Scraped::default());
        let slots: Vec<_> = slots.iter().map(|slot| (*slot, 1.0)).collect();
        scraped.add_slots("a:1", 1_000, &slots, &Troubles { spans, stalls: &stalls });
        (scraped.missed, scraped.problems)
    }

    #[test]
    fn a_gap_is_explained_by_what_fell_into_it() {
        assert_eq!(problems(&[0, 1_000, 2_010, 3_000], &[]), (0, Vec::new()));
        assert_eq!(problems(&[0, 5_000], &[]).1.len(), 1);
        assert_eq!(problems(&[0, 4_000], &[(1_000, 1_000)]), (3, Vec::new()));
        assert_eq!(problems(&[0, 5_000], &[(1_000, 1_000)]).1.len(), 1);
        assert_eq!(problems(&[0, 9_000], &[(1_000, 6_000)]), (8, Vec::new()));
        assert_eq!(problems(&[0, 11_000], &[(1_000, 6_000)]).1.len(), 1);
        assert_eq!(problems(&[0, 400], &[]).1.len(), 1, "one slot twice");
    }
}
