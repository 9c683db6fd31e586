//! The samples that both systems have: small, and with everything in them that functions care about.
//!
//! Three jobs of four instances, so that series lie on all shards, and some without either; counters
//! that are reset; gauges with NaN and infinities, gaps longer than the lookback, and staleness
//! markers; series that begin and end; classic histograms, some of them broken; native ones of
//! several schemas, of whole numbers and of fractions, gauges, with bounds of their own; a metric
//! that is now one, now the other; names and labels beyond ASCII.
//!
//! Most values are multiples of 1/8: their sums are exact in any order, so that no comparison hangs
//! on who added first.

use fastrand::Rng;

use super::{
    MINUTE, Span,
    message::{Histogram, Series, Span as Buckets, Value},
};

/// Between two samples of a series.
const INTERVAL: i64 = 30_000;
/// What requests hold; a metric changes its kind only in between, for within a request floats come
/// before histograms.
pub const SLICE: i64 = 10 * MINUTE;
/// Samples of a series in a slice.
const SLICE_STEPS: i64 = SLICE / INTERVAL;

const JOBS: [&str; 3] = ["api", "db", "web"];
const INSTANCES: [&str; 4] = ["host-1:9100", "host-2:9100", "host-3:9100", "host-4:9100"];
const BOUNDS: [&str; 7] = ["0.1", "0.5", "1", "2.5", "1e1", "50", "+Inf"];

/// What the buckets of histograms that are counters have at least. So no range begins near where
/// they were zero, to which 3.5 extrapolates further than its successors.
const BASE: u64 = 500;

/// The bits of the NaN that says that a series has ended.
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// All series.
pub fn series(span: Span) -> Vec<Series> {
    let mut data = Data { span, numbers: Rng::with_seed(35), series: Vec::new() };
    for job in 0..JOBS.len() {
        for instance in 0..INSTANCES.len() {
            let target = Target { job, instance };
            data.counters(target);
            data.gauges(target);
            data.coming_and_going(target);
            data.classic(target);
            data.native(target);
            data.custom(target);
        }
    }
    data.without_targets();
    data.series
}

/// Whose series they are.
#[derive(Debug, Clone, Copy)]
struct Target {
    job: usize,
    instance: usize,
}

impl Target {
    /// Sorted labels of a series of it.
    fn labels(self, metric: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = [("job", JOBS[self.job]), ("instance", INSTANCES[self.instance])];
        labels(metric, &[&own[..], more].concat())
    }

    fn number(self) -> f64 {
        (self.job * INSTANCES.len() + self.instance) as f64
    }
}

fn labels(metric: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let name = [("__name__", metric)];
    let all = name.iter().chain(more);
    let mut labels: Vec<_> =
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    labels.sort();
    labels
}

struct Data {
    span: Span,
    numbers: Rng,
    series: Vec<Series>,
}

impl Data {
    /// Adds a series that has, at each step, what `value` makes of its number, if anything.
    fn add(
        &mut self,
        labels: Vec<(String, String)>,
        mut value: impl FnMut(&mut Rng, i64) -> Option<Value>,
    ) {
        let phase = self.numbers.i64(0..INTERVAL - 2000);
        let mut samples = Vec::new();
        for step in 0..(self.span.end - self.span.start) / INTERVAL {
            // Neither scrapes nor their stamps are quite regular.
            let late = if self.numbers.u8(0..4) == 0 { self.numbers.i64(0..1000) } else { 0 };
            let time = self.span.start + step * INTERVAL + phase + late;
            samples.extend(value(&mut self.numbers, step).map(|value| (time, value)));
        }
        self.series.push(Series { labels, samples });
    }

    fn add_floats(
        &mut self,
        labels: Vec<(String, String)>,
        mut value: impl FnMut(&mut Rng, i64) -> f64,
    ) {
        self.add(labels, |numbers, step| Some(Value::Float(value(numbers, step))));
    }

    /// Grows by up to `most` eighths, and starts anew now and then.
    fn add_counter(&mut self, labels: Vec<(String, String)>, most: u32) {
        let mut count = 0.0;
        self.add_floats(labels, move |numbers, _| {
            if numbers.u8(0..60) == 0 {
                count = 0.0;
            }
            count += f64::from(numbers.u32(0..most)) / 8.0;
            count
        });
    }

    fn counters(&mut self, target: Target) {
        for code in ["200", "500"] {
            for method in ["GET", "POST"] {
                let more = [("code", code), ("method", method)];
                self.add_counter(target.labels("http_requests_total", &more), 400);
            }
        }
        self.add_counter(target.labels("ticks", &[]), 9);
        self.add_counter(target.labels("dup_a_total", &[]), 30);
        self.add_counter(target.labels("dup_b_total", &[]), 30);
    }

    fn gauges(&mut self, target: Target) {
        let zone: &[(&str, &str)] = match (target.job, target.instance % 2) {
            (1, _) => &[],
            (_, 0) => &[("zone", "north")],
            _ => &[("zone", "south")],
        };
        self.add_floats(target.labels("temperature", zone), |numbers, _| {
            match numbers.u8(0..120) {
                0..=2 => f64::NAN,
                3 => f64::INFINITY,
                4 => f64::NEG_INFINITY,
                5 => -0.0,
                _ => f64::from(numbers.i32(-100..400)) / 10.0,
            }
        });
        // No two targets ever have the same.
        self.add_floats(target.labels("load", zone), move |numbers, _| {
            f64::from(numbers.u32(0..64)) + target.number() / 16.0
        });
        self.add_floats(target.labels("up", &[]), |numbers, _| {
            f64::from(u8::from(numbers.u8(0..8) > 0))
        });
        let mut length = 20.0;
        self.add(target.labels("queue_length", &[]), move |numbers, step| {
            length += f64::from(numbers.i32(-4..5));
            match step - target.job as i64 * 10 {
                // The first gap is only noticed, the second one is marked.
                100..=115 | 181..=200 => None,
                180 => Some(Value::Float(f64::from_bits(STALE))),
                _ => Some(Value::Float(length)),
            }
        });
        let times = [-86_400.5, 0.0, 951_782_400.0, 1_709_164_799.9, 4e9, 1.7e9, f64::NAN];
        self.add_floats(target.labels("created_seconds", &[]), move |numbers, step| {
            if step % 3 == 0 {
                times[numbers.usize(0..times.len())]
            } else {
                1.6e9 + 40_000.0 * step as f64
            }
        });
    }

    fn coming_and_going(&mut self, target: Target) {
        for (run, first) in [("a", 20), ("b", 90), ("c", 160)] {
            let labels = target.labels("short_lived_total", &[("run", run)]);
            self.add(labels, move |_, step| match step - first {
                0..70 => Some(Value::Float((step - first) as f64 * 1.5)),
                70 if target.instance > 0 => Some(Value::Float(f64::from_bits(STALE))),
                _ => None,
            });
        }
        for (version, from, to) in [("1.0", 0, 150), ("1.1", 150, 400)] {
            let labels = target.labels("build_info", &[("version", version)]);
            self.add(labels, move |_, step| match step {
                step if (from..to).contains(&step) => Some(Value::Float(1.0)),
                step if step == to && target.instance.is_multiple_of(2) => {
                    Some(Value::Float(f64::from_bits(STALE)))
                }
                _ => None,
            });
        }
        let cluster = ["east", "west"][target.instance % 2];
        let os = ["linux", "windows", "plan9"][target.job];
        let labels = target.labels("target_info", &[("cluster", cluster), ("os", os)]);
        self.add_floats(labels, |_, _| 1.0);
    }

    fn classic(&mut self, target: Target) {
        let mut buckets = vec![[0.0; BOUNDS.len()]];
        for _ in 0..(self.span.end - self.span.start) / INTERVAL {
            let mut counts = *buckets.last().expect("there is a first");
            if self.numbers.u8(0..80) == 0 {
                counts = [0.0; BOUNDS.len()];
            }
            let mut more = 0.0;
            for count in &mut counts {
                more += f64::from(self.numbers.u32(0..6));
                *count += more;
            }
            buckets.push(counts);
        }
        let at = |step: i64| usize::try_from(step + 1).expect("steps are counted from 0");
        for (bucket, le) in BOUNDS.into_iter().enumerate() {
            // One target has no last bucket, one counts backwards, one does not say how far it goes.
            let (job, instance) = (JOBS[target.job], target.instance);
            let le = match (job, instance) {
                ("web", 2) if le == "+Inf" => continue,
                ("db", 1) if le == "1" => "one",
                _ => le,
            };
            let less = if (job, instance, bucket) == ("db", 3, 2) { 2.0 } else { 0.0 };
            let counts = buckets.clone();
            let labels = target.labels("request_seconds_bucket", &[("le", le)]);
            self.add_floats(labels, move |_, step| counts[at(step)][bucket] - less);
        }
        let last = BOUNDS.len() - 1;
        let counts = buckets.clone();
        let labels = target.labels("request_seconds_count", &[]);
        self.add_floats(labels, move |_, step| counts[at(step)][last]);
        let labels = target.labels("request_seconds_sum", &[]);
        self.add_floats(labels, move |_, step| buckets[at(step)][last] * 1.25);
    }

    fn native(&mut self, target: Target) {
        let schema = [0, 2, 3, 1][target.instance];
        let shape = Shape { schema, has_negative: target.instance == 2, threshold: 0.001 };
        let wide = Shape { threshold: if target.job == 1 { 0.01 } else { 0.001 }, ..shape };
        self.add_histogram(target.labels("latency", &[]), |counts| wide.integers(counts));
        self.add_histogram(target.labels("latency_float", &[]), |counts| shape.floats(counts, 0));
        self.add(target.labels("latency_gauge", &[]), |numbers, _| {
            let counts: Vec<u64> = (0..8).map(|_| numbers.u64(0..9)).collect();
            Some(shape.floats(&counts, 3).into())
        });
        // Ten observations are of NaN, which no bucket has.
        self.add_histogram(target.labels("latency_nan", &[]), |counts| {
            let known = shape.floats(counts, 0);
            let count_float = known.count_float.map(|count| count + 10.0);
            Histogram { count_float, sum: f64::NAN, ..known }
        });
        let mut counts = vec![BASE; 8];
        self.add(target.labels("latency_gone", &[]), move |numbers, step| {
            grow(&mut counts, numbers);
            match step - target.instance as i64 * 30 {
                100 => Some(ended().into()),
                101..130 => None,
                _ => Some(shape.integers(&counts).into()),
            }
        });
        let mut counts = vec![BASE; 8];
        self.add(target.labels("mixed", &[]), move |numbers, step| {
            grow(&mut counts, numbers);
            match step / SLICE_STEPS % 2 {
                0 => Some(Value::Float(counts.iter().sum::<u64>() as f64 / 4.0)),
                _ => Some(shape.integers(&counts).into()),
            }
        });
    }

    fn custom(&mut self, target: Target) {
        let of_job = [vec![0.5, 1.0, 2.0, 5.0], vec![0.5, 2.0], vec![1.0, 2.0, 4.0]];
        let same = of_job[0].clone();
        self.add_histogram(target.labels("size", &[]), move |counts| custom(counts, &same));
        let bounds = of_job[target.job].clone();
        self.add_histogram(target.labels("size_other", &[]), move |counts| custom(counts, &bounds));
    }

    /// A histogram whose counts only grow, but for restarts.
    fn add_histogram(
        &mut self,
        labels: Vec<(String, String)>,
        made_of: impl Fn(&[u64]) -> Histogram,
    ) {
        let mut counts = vec![2 * BASE; 8];
        self.add(labels, move |numbers, step| {
            if numbers.u8(0..70) == 0 {
                counts.fill(BASE);
            }
            grow(&mut counts, numbers);
            (step % 97 != 50).then(|| made_of(&counts).into())
        });
    }

    fn without_targets(&mut self) {
        for shop in ["1", "2", "3", "4", "5"] {
            self.add_counter(labels("orders_total", &[("shop", shop)]), 100);
        }
        self.add_counter(labels("orders_total", &[("shop", "6"), ("job", "api")]), 100);
        for job in JOBS {
            self.add_counter(labels("job_only", &[("job", job)]), 20);
        }
        for instance in INSTANCES {
            self.add_counter(labels("instance_only", &[("instance", instance)]), 20);
        }
        for city in ["München", "東京", "a\"b\\c", "two\nlines", " "] {
            self.add_counter(labels("cafe_orders", &[("city", city), ("job", "café")]), 50);
        }
        for (service, job) in [("shop", "api"), ("shop", "web"), ("päy", "db"), ("", "db")] {
            let more: &[(&str, &str)] = &[("service.name", service), ("job", job)];
            let more = if service.is_empty() { &more[1..] } else { more };
            self.add_floats(labels("http.latency", more), |numbers, _| {
                f64::from(numbers.u32(1..80)) / 8.0
            });
        }
    }
}

/// What says that a series of histograms has ended.
fn ended() -> Histogram {
    Histogram {
        count_int: Some(0),
        zero_count_int: Some(0),
        sum: f64::from_bits(STALE),
        ..Histogram::default()
    }
}

fn grow(counts: &mut [u64], numbers: &mut Rng) {
    for count in counts {
        *count += numbers.u64(0..4);
    }
}

/// How an exponential histogram is laid out.
#[derive(Debug, Clone, Copy)]
struct Shape {
    schema: i32,
    has_negative: bool,
    threshold: f64,
}

impl Shape {
    /// The first count is of zero, the next five of positive observations, the rest of negative.
    fn integers(self, counts: &[u64]) -> Histogram {
        let deltas = |counts: &[u64]| {
            let mut last = 0;
            let deltas = counts.iter().map(|count| {
                let count = i64::try_from(*count).expect("counts are small");
                let delta = count - last;
                last = count;
                delta
            });
            deltas.collect::<Vec<_>>()
        };
        Histogram {
            count_int: Some(self.observations(counts).iter().sum()),
            zero_count_int: Some(counts[0]),
            negative_deltas: if self.has_negative { deltas(&counts[6..]) } else { Vec::new() },
            positive_deltas: deltas(&counts[1..6]),
            ..self.outline(counts, 0)
        }
    }

    fn floats(self, counts: &[u64], reset_hint: i32) -> Histogram {
        let halves = |counts: &[u64]| counts.iter().map(|count| *count as f64 / 2.0).collect();
        Histogram {
            count_float: Some(self.observations(counts).iter().sum::<u64>() as f64 / 2.0),
            zero_count_float: Some(counts[0] as f64 / 2.0),
            negative_counts: if self.has_negative { halves(&counts[6..]) } else { Vec::new() },
            positive_counts: halves(&counts[1..6]),
            ..self.outline(counts, reset_hint)
        }
    }

    fn observations(self, counts: &[u64]) -> &[u64] {
        if self.has_negative { counts } else { &counts[..6] }
    }

    fn outline(self, counts: &[u64], reset_hint: i32) -> Histogram {
        let negative = Buckets { offset: 0, length: 2 };
        Histogram {
            sum: self.observations(counts).iter().sum::<u64>() as f64 * 1.5,
            schema: self.schema,
            zero_threshold: self.threshold,
            negative_spans: if self.has_negative { vec![negative] } else { Vec::new() },
            positive_spans: vec![
                Buckets { offset: 0, length: 3 },
                Buckets { offset: 2, length: 2 },
            ],
            reset_hint,
            ..Histogram::default()
        }
    }
}

/// A histogram of these bounds, and of what lies above the last of them.
fn custom(counts: &[u64], bounds: &[f64]) -> Histogram {
    let counts = &counts[..=bounds.len()];
    let count: u64 = counts.iter().sum();
    Histogram {
        count_float: Some(count as f64),
        zero_count_float: Some(0.0),
        sum: count as f64 * 1.25,
        schema: -53,
        positive_spans: vec![Buckets {
            offset: 0,
            length: u32::try_from(counts.len()).expect("few"),
        }],
        positive_counts: counts.iter().map(|count| *count as f64).collect(),
        custom_values: bounds.to_vec(),
        ..Histogram::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn senders_may_send_this() {
        let span = Span { start: 1_700_000_000_000, end: 1_700_009_000_000 };
        let all = series(span);
        // NaN is not equal to itself, but its text is.
        assert!(format!("{all:?}") == format!("{:?}", series(span)), "it is the same each time");
        let labels: BTreeSet<_> = all.iter().map(|series| &series.labels).collect();
        assert_eq!(labels.len(), all.len(), "each series is there once");
        for series in &all {
            assert!(series.samples.is_sorted_by(|a, b| a.0 < b.0), "{:?}", series.labels);
            let slice_of = |time: i64| (time - span.start) / SLICE;
            let kinds: BTreeSet<_> = series
                .samples
                .iter()
                .map(|(time, value)| (slice_of(*time), matches!(value, Value::Float(_))))
                .collect();
            let slices: BTreeSet<_> = kinds.iter().map(|(slice, _)| slice).collect();
            assert_eq!(kinds.len(), slices.len(), "{:?} has both in a slice", series.labels);
        }
    }
}
