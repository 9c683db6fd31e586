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
/// From when a node is healed until it leads again what it led: one shard after the other, and only
/// once it was up to date for a while.
const GIVEN_BACK: i64 = 30_000;
/// A scrape that is on time begins so many milliseconds after its slot.
const ON_TIME: i64 = 40;
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What explains a gap.
#[derive(Debug, Clone, Copy)]
pub struct Troubles<'a> {
    /// Wall-clock milliseconds from which and until which nobody could scrape some targets. One
    /// that is over at once, such as the end of a leader, still costs a scrape, or as many as fit
    /// into an election where that takes longer.
    pub spans: &'a [(i64, i64)],
    /// Wall-clock milliseconds at which nodes were healed: they are given back what they led within
    /// `GIVEN_BACK`, and a leader begins with the next slot.
    pub healed: &'a [i64],
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
        let is_given_back = |healed: &i64| *healed < to && healed + GIVEN_BACK >= from;
        let given_back = if self.healed.iter().any(is_given_back) { interval } else { 0 };
        explained.sum::<i64>() + given_back + self.stalls.within(from, to)
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

    /// A scrape is in the slot that its time lies in, however late in it.
    fn add_slots(
        &mut self,
        name: &str,
        interval: i64,
        scrapes: &[(i64, f64)],
        troubles: &Troubles<'_>,
    ) {
        self.slots += scrapes.len();
        let phase = phase(scrapes, interval);
        let slot = |time: i64| (time - phase).div_euclid(interval);
        for pair in scrapes.windows(2) {
            let (before, after) = (pair[0].0, pair[1].0);
            let missed = slot(after) - slot(before) - 1;
            if missed < 0 {
                self.problems.push(format!("{name}: one slot twice, at {before} and {after}"));
                continue;
            }
            let count = usize::try_from(missed).expect("it is not negative");
            self.missed += count;
            self.missed_in_a_row = self.missed_in_a_row.max(count);
            // The scrape of a slot begins within the interval that ends with the next one.
            let explained = troubles.explain(before - interval, after, interval);
            if missed * interval > interval / 2 + explained {
                self.problems.push(format!(
                    "{name}: {missed} slots missed before {after}, of which {explained} ms are \
                     explained"
                ));
            }
        }
    }
}

/// When slots begin within an interval: just before most scrapes do.
fn phase(scrapes: &[(i64, f64)], interval: i64) -> i64 {
    let times = || scrapes.iter().map(|(time, _)| time.rem_euclid(interval));
    let on_time =
        |phase: i64| times().filter(|time| (time - phase).rem_euclid(interval) <= ON_TIME).count();
    // With room for one that was a little early.
    times().max_by_key(|time| on_time(*time)).unwrap_or(0) - ON_TIME / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: [i64; 6] = [0, 1_000, 2_010, 3_000, 4_000, 5_001];

    fn problems(then: &[i64], spans: &[(i64, i64)], healed: &[i64]) -> (usize, Vec<String>) {
        let (stalls, mut scraped) = (Stalls::watch(), Scraped::default());
        let scrapes: Vec<_> = SLOTS.iter().chain(then).map(|time| (*time, 1.0)).collect();
        let troubles = Troubles { spans, healed, stalls: &stalls };
        scraped.add_slots("a:1", 1_000, &scrapes, &troubles);
        (scraped.missed, scraped.problems)
    }

    #[test]
    fn a_gap_is_explained_by_what_fell_into_it() {
        assert_eq!(problems(&[], &[], &[]), (0, Vec::new()));
        assert_eq!(problems(&[10_000], &[], &[]).1.len(), 1);
        assert_eq!(problems(&[9_000], &[(6_000, 6_000)], &[]), (3, Vec::new()));
        assert_eq!(problems(&[10_000], &[(6_000, 6_000)], &[]).1.len(), 1);
        assert_eq!(problems(&[14_000], &[(6_000, 11_000)], &[]), (8, Vec::new()));
        assert_eq!(problems(&[16_000], &[(6_000, 11_000)], &[]).1.len(), 1);
        assert_eq!(problems(&[7_000], &[], &[500]), (1, Vec::new()));
        assert_eq!(problems(&[8_000], &[], &[500]).1.len(), 1);
    }

    #[test]
    fn a_late_scrape_is_not_the_next_one() {
        assert_eq!(problems(&[6_800, 7_000, 8_003], &[], &[]), (0, Vec::new()));
        assert_eq!(problems(&[6_000, 6_400, 7_000], &[], &[]).1.len(), 1, "one slot twice");
    }
}
