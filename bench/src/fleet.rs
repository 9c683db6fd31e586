//! Hosts of one shape: their labels, and the values they have at each step.

use std::io::Write as _;

use fastrand::Rng;

use crate::page::{Motion, PageSeries};

/// The job of all hosts.
pub const JOB: &str = "node";

/// Scrapes come this much too early or too late now and then.
const JITTER_MILLIS_MAX: i64 = 2;

/// The `instance` of a host; our queries name some.
pub fn instance(host: usize) -> String {
    format!("host-{host:05}.example:9100")
}

/// The values of one host.
#[derive(Debug)]
pub struct Host {
    /// When in each interval it is scraped.
    offset_millis: i64,
    motions: Vec<Motion>,
    values: Vec<f64>,
    random: Rng,
}

impl Host {
    /// The host with this number at its start.
    pub fn new(host: usize, page: &[PageSeries], interval_millis: i64) -> Self {
        let mut random = Rng::with_seed(host as u64 + 1);
        let offset_millis = (random.f64() * interval_millis as f64) as i64;
        Self {
            offset_millis,
            motions: page.iter().map(|series| series.motion).collect(),
            values: page.iter().map(|series| series.value).collect(),
            random,
        }
    }

    /// Its values at the next step.
    pub fn step(&mut self) -> &[f64] {
        // What fell into the buckets of the histogram that is being stepped through.
        let mut fallen = 0.0;
        for (motion, value) in self.motions.iter().zip(&mut self.values) {
            let random = &mut self.random;
            match *motion {
                Motion::Still => {}
                Motion::Events(size) => *value += (random.f64() * 2.0 * size).round(),
                Motion::Amount(size) => {
                    *value = ((*value + random.f64() * size) * 100.0).round() / 100.0;
                }
                Motion::Level(size) => {
                    *value = (*value + ((random.f64() - 0.5) * 2.0 * size).round()).abs();
                }
                Motion::Ratio(size) => {
                    let next = *value + (random.f64() - 0.5) * size;
                    *value = ((next * 1000.0).round() / 1000.0).abs();
                }
                Motion::FirstBucket(size) | Motion::Bucket(size) => {
                    if matches!(motion, Motion::FirstBucket(_)) {
                        fallen = 0.0;
                    }
                    fallen += (random.f64() * 2.0 * size).round();
                    *value += fallen;
                }
                Motion::BucketCount => *value += fallen,
            }
        }
        &self.values
    }

    /// When in its interval the next step is scraped, in milliseconds; one in twenty is early or
    /// late.
    pub fn scraped_at(&mut self) -> i64 {
        let jitter = match self.random.u64(..20) {
            0 => self.random.i64(-JITTER_MILLIS_MAX..=JITTER_MILLIS_MAX),
            _ => 0,
        };
        self.offset_millis + jitter
    }
}

/// Writes the page of a host in the text format; `series` are from [`texts`].
pub fn write_page(series: &[String], values: &[f64], into: &mut Vec<u8>) {
    for (series, value) in series.iter().zip(values) {
        into.extend_from_slice(series.as_bytes());
        // The format spells infinity as Rust does not.
        let written = match *value {
            f64::INFINITY => into.write_all(b" +Inf\n"),
            f64::NEG_INFINITY => into.write_all(b" -Inf\n"),
            value => writeln!(into, " {value}"),
        };
        written.expect("memory takes everything");
    }
}

/// The series of a page as the text format spells them.
pub fn texts(page: &[PageSeries]) -> Vec<String> {
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    page.iter()
        .map(|series| {
            let (name, labels) = series.labels.split_first().expect("a series has a name");
            let labels: Vec<_> = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            match labels.is_empty() {
                true => name.1.clone(),
                false => format!("{}{{{}}}", name.1, labels.join(",")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page;

    const PAGE: &str = "# TYPE c counter\nc 5\nc{a=\"b\\\\c\"} 0.5\n# TYPE g gauge\ng -3\n\
                        # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 1\n\
                        h_bucket{le=\"+Inf\"} 1\nh_sum 2.5\nh_count 1\nn NaN\ni +Inf\n";

    #[test]
    fn counters_rise_and_buckets_hold_those_before_them() {
        for number in 0..20 {
            let page = page::read(&(page::made_up() + PAGE)).unwrap();
            let mut host = Host::new(number, &page, 15_000);
            let mut before = host.step().to_vec();
            for _ in 0..50 {
                let after = host.step().to_vec();
                for ((series, before), after) in page.iter().zip(&before).zip(&after) {
                    match series.motion {
                        Motion::Still => assert_eq!(before.to_bits(), after.to_bits()),
                        Motion::Level(_) | Motion::Ratio(_) => assert!(*after >= 0.0),
                        _ => assert!(after >= before, "{series:?}"),
                    }
                }
                let h = page.len() - 7;
                assert!(after[h] <= after[h + 1] && after[h + 1] <= after[h + 2]);
                assert_eq!(after[h + 2], after[h + 4], "count and last bucket");
                before = after;
            }
        }
    }

    #[test]
    fn equal_hosts_move_equally_and_others_do_not() {
        let page = page::read(&page::made_up()).unwrap();
        let steps = |number| {
            let mut host = Host::new(number, &page, 15_000);
            (0..5).map(|_| (host.scraped_at(), host.step().to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(steps(3), steps(3));
        assert_ne!(steps(3), steps(4));
    }

    #[test]
    fn a_served_page_reads_back_with_its_values() {
        let page = page::read(PAGE).unwrap();
        let mut host = Host::new(1, &page, 15_000);
        let values = host.step().to_vec();
        let mut text = Vec::new();
        write_page(&texts(&page), &values, &mut text);
        let again = page::read(std::str::from_utf8(&text).unwrap()).unwrap();
        for ((sent, read), value) in page.iter().zip(&again).zip(&values) {
            assert_eq!(sent.labels, read.labels);
            assert!(read.value == *value || (read.value.is_nan() && value.is_nan()));
        }
    }
}
