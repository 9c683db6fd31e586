//! Summaries: how long things took lately, as quantiles, as Prometheus's own servers expose them.
//!
//! Observations are counted in buckets that grow by a twenty-second, in windows of two minutes, of
//! which the last five count: a quantile is off by a few per cent of its value, and speaks of the
//! last eight to ten minutes. Without observations in them it is NaN. Sum and count are of all time.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};

use crate::clock::Clock;

const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];
/// Windows that count, and how long each is.
const WINDOWS: usize = 5;
const WINDOW: Duration = Duration::from_secs(120);
/// Upper end of the first bucket, in seconds.
const SMALLEST: f64 = 1e-6;
/// Buckets for each doubling, and doublings: up to 18 minutes.
const BUCKETS_PER_DOUBLING: f64 = 16.0;
const BUCKETS: usize = 30 * 16;

/// What a family of summaries is called, and by what its members are told apart.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// Without suffix.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// The label besides `quantile`.
    pub label: &'static str,
    /// All values of it.
    pub values: &'static [&'static str],
}

/// A family of summaries. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Summaries {
    named: Named,
    members: Arc<[Mutex<Summary>]>,
    clock: Clock,
}

impl Summaries {
    /// A family in which nothing was observed.
    pub fn new(named: Named, clock: Clock) -> Self {
        let members = named.values.iter().map(|_| Mutex::default()).collect();
        Self { named, members, clock }
    }

    /// Adds it to what is exposed.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// Observes `seconds` of the member with this value of the label.
    pub fn observe(&self, value: &str, seconds: f64) {
        if let Some(at) = self.named.values.iter().position(|known| *known == value) {
            self.members[at].lock().observe(self.window(), seconds);
        }
    }

    /// The number of the present window.
    fn window(&self) -> u64 {
        self.clock.monotonic().as_secs() / WINDOW.as_secs()
    }
}

/// The registry knows no summaries. `metrics::encode` makes one of three families, the first of
/// which is of unknown type.
impl Collector for Summaries {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Named { name, help, label, values } = self.named;
        let now = self.window();
        let members: Vec<_> = self.members.iter().map(|it| it.lock().clone()).collect();
        let members = || values.iter().zip(&members);
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
        for (value, member) in members() {
            for (text, quantile) in QUANTILES {
                let labels = [(label, *value), ("quantile", text)];
                let found = ConstGauge::new(member.quantile(now, quantile));
                found.encode(metric.encode_family(&labels)?)?;
            }
        }
        let count = |member: &Summary| member.count as f64;
        let sum = |member: &Summary| member.sum;
        for (suffix, part) in [("_sum", sum as fn(&Summary) -> f64), ("_count", count)] {
            let name = format!("{name}{suffix}");
            let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Unknown)?;
            for (value, member) in members() {
                let labels = [(label, *value)];
                ConstGauge::new(part(member)).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Default)]
struct Summary {
    windows: [Window; WINDOWS],
    sum: f64,
    count: u64,
}

/// What was observed in a stretch of time.
#[derive(Debug, Clone, Default)]
struct Window {
    /// Which one.
    number: u64,
    /// By bucket; empty until something was observed.
    counts: Vec<u32>,
}

impl Summary {
    fn observe(&mut self, now: u64, seconds: f64) {
        self.sum += seconds;
        self.count += 1;
        let window = &mut self.windows[now as usize % WINDOWS];
        if window.number != now || window.counts.is_empty() {
            (window.number, window.counts) = (now, vec![0; BUCKETS]);
        }
        let count = &mut window.counts[bucket(seconds)];
        *count = count.saturating_add(1);
    }

    fn quantile(&self, now: u64, quantile: f64) -> f64 {
        let recent = self.windows.iter().filter(|it| it.number + WINDOWS as u64 > now);
        let counts: Vec<_> = recent.map(|it| &it.counts).filter(|it| !it.is_empty()).collect();
        let count = |bucket: usize| counts.iter().map(|it| u64::from(it[bucket])).sum::<u64>();
        let all: u64 = (0..BUCKETS).map(count).sum();
        let wanted = ((all as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        let found = (0..BUCKETS).find(|bucket| {
            below += count(*bucket);
            below >= wanted
        });
        found.map_or(f64::NAN, middle)
    }
}

fn bucket(seconds: f64) -> usize {
    let doublings = (seconds.max(SMALLEST) / SMALLEST).log2();
    ((doublings * BUCKETS_PER_DOUBLING) as usize).min(BUCKETS - 1)
}

fn middle(bucket: usize) -> f64 {
    SMALLEST * ((bucket as f64 + 0.5) / BUCKETS_PER_DOUBLING).exp2()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use narthex_model::Timestamp;

    use super::*;
    use crate::metrics;

    const NAMED: Named =
        Named { name: "t_seconds", help: "How long", label: "slice", values: &["a", "b"] };

    fn at(seconds: &Arc<AtomicU64>) -> Clock {
        let seconds = Arc::clone(seconds);
        Clock::from_sources(Timestamp::default, move || Duration::from_secs(seconds.load(Relaxed)))
    }

    #[test]
    fn quantiles_are_those_of_the_last_minutes() {
        let seconds = Arc::new(AtomicU64::new(1000));
        let summaries = Summaries::new(NAMED, at(&seconds));
        let quantiles = || {
            let member = summaries.members[0].lock();
            QUANTILES.map(|(_, quantile)| member.quantile(summaries.window(), quantile))
        };
        assert!(quantiles().iter().all(|it| it.is_nan()));
        for millis in (1..=1000).rev() {
            summaries.observe("a", f64::from(millis) / 1000.0);
        }
        for (found, want) in quantiles().into_iter().zip([0.5, 0.9, 0.99]) {
            assert!((found / want - 1.0).abs() < 0.04, "{found} is not about {want}");
        }
        seconds.store(1000 + 7 * 60, Relaxed);
        summaries.observe("a", 0.0);
        summaries.observe("a", 1e9);
        assert!((quantiles()[0] / 0.5 - 1.0).abs() < 0.04);
        seconds.store(1000 + 11 * 60, Relaxed);
        let (least, most) = (quantiles()[0], quantiles()[2]);
        assert!(least < 2e-6 && most > 1000.0, "only the last two count: {least} {most}");
        seconds.store(1000 + 60 * 60, Relaxed);
        assert!(quantiles().iter().all(|it| it.is_nan()));
        assert_eq!(summaries.members[0].lock().count, 1002);
    }

    #[test]
    fn a_family_is_written_as_prometheus_writes_one() {
        let mut registry = Registry::default();
        let summaries = Summaries::new(NAMED, at(&Arc::default()));
        summaries.register(&mut registry);
        summaries.observe("b", 1.5);
        summaries.observe("b", 1.5);
        let text = metrics::encode(&registry).expect("text");
        let quantile = middle(bucket(1.5));
        let want = format!(
            "# HELP t_seconds How long\n# TYPE t_seconds summary\n\
             t_seconds{{slice=\"a\",quantile=\"0.5\"}} NaN\n\
             t_seconds{{slice=\"a\",quantile=\"0.9\"}} NaN\n\
             t_seconds{{slice=\"a\",quantile=\"0.99\"}} NaN\n\
             t_seconds{{slice=\"b\",quantile=\"0.5\"}} {quantile}\n\
             t_seconds{{slice=\"b\",quantile=\"0.9\"}} {quantile}\n\
             t_seconds{{slice=\"b\",quantile=\"0.99\"}} {quantile}\n\
             t_seconds_sum{{slice=\"a\"}} 0\nt_seconds_sum{{slice=\"b\"}} 3\n\
             t_seconds_count{{slice=\"a\"}} 0\nt_seconds_count{{slice=\"b\"}} 2\n"
        );
        assert_eq!(text, want);
    }
}
