//! A remote-write client that journals what it tried and what was acknowledged, and checks
//! afterwards that the cluster has exactly that.
//!
//! A value names its origin: writer, series and sequence number, so that a value found under
//! another series or time is recognised. The client tries one batch until it is acknowledged or
//! refused for good, as every sender of remote write does, and only then the next.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use prost::Message;

use crate::{
    api::Api,
    wait::{now, pause, until, wall_millis},
};

/// Enough instances to have series in every one of six shards.
pub const SERIES: u32 = 24;

/// Apart from each other: the values of series.
const SEQUENCES: f64 = 1e7;

#[derive(Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Who writes what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterConfig {
    /// Tells writers apart.
    pub number: u32,
    /// Of which a batch has one sample each.
    pub series: u32,
    /// Whether a batch that is refused for good is given up instead of ending the test.
    pub gives_up: bool,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self { number: 0, series: SERIES, gives_up: false }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody has said: it may be stored.
    Open,
    /// It is stored.
    Acknowledged(Instant),
    /// Refused for good, with this answer; a part of it may be stored.
    Refused(String),
}

/// One batch: a sample of each series at one time.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The time of its samples.
    pub time: i64,
    /// When it was first tried.
    pub begun: Instant,
    /// How often it was tried.
    pub tries: u32,
    /// What became of it.
    pub outcome: Outcome,
}

impl Batch {
    fn acknowledged(&self) -> Option<Instant> {
        match self.outcome {
            Outcome::Acknowledged(at) => Some(at),
            Outcome::Open | Outcome::Refused(_) => None,
        }
    }
}

/// What was tried, in order; only the last one can be open.
type Journal = Vec<Batch>;

/// A writer at work, on a thread of its own.
#[derive(Debug)]
pub struct Writer {
    config: WriterConfig,
    journal: Arc<Mutex<Journal>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A look into the journal of a writer at work.
#[derive(Debug, Clone)]
pub struct Progress {
    config: WriterConfig,
    journal: Arc<Mutex<Journal>>,
}

impl Progress {
    /// What a selector of all series of the writer is.
    pub fn selector(&self) -> String {
        selector(self.config)
    }

    /// Series of the writer.
    pub fn series(&self) -> u32 {
        self.config.series
    }

    /// Batches that were acknowledged, and those that were tried.
    pub fn batches(&self) -> (usize, usize) {
        let journal = lock(&self.journal);
        (journal.iter().filter(|batch| batch.acknowledged().is_some()).count(), journal.len())
    }
}

impl Writer {
    /// Starts to write. A refusal that cannot be cured by trying again is a panic.
    pub fn start(api: Api) -> Self {
        Self::start_with(api, WriterConfig::default())
    }

    /// Starts to write as one of several.
    pub fn start_with(api: Api, config: WriterConfig) -> Self {
        let journal = Arc::<Mutex<Journal>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (journal, stop) = (Arc::clone(&journal), Arc::clone(&stop));
            std::thread::spawn(move || write_until(&stop, &journal, (&api, config)))
        };
        Self { config, journal, stop, thread }
    }

    /// Its journal, for others to look at.
    pub fn progress(&self) -> Progress {
        Progress { config: self.config, journal: Arc::clone(&self.journal) }
    }

    /// Acknowledged batches so far.
    pub fn acknowledged(&self) -> usize {
        self.progress().batches().0
    }

    /// Waits for the first acknowledgement after `since`, and says how long it took.
    pub fn resumed_after(&self, since: Instant, deadline: Duration) -> Duration {
        // A batch sent before the fault may be answered after it: the second one counts.
        let before = self.acknowledged();
        until("writes resume", deadline, || {
            let journal = lock(&self.journal);
            let ack = journal.iter().filter_map(Batch::acknowledged).nth(before + 1);
            Ok(ack.ok_or("no acknowledgement")?.saturating_duration_since(since))
        })
    }

    /// Stops and hands over the journal. A batch in flight stays a "maybe".
    pub fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer was refused");
        Written { config: self.config, journal: lock(&self.journal).clone() }
    }
}

fn lock(journal: &Mutex<Journal>) -> std::sync::MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_until(stop: &AtomicBool, journal: &Mutex<Journal>, (api, config): (&Api, WriterConfig)) {
    while !stop.load(Ordering::Relaxed) {
        let sequence = lock(journal).len();
        let time = next_time(lock(journal).last().map(|batch| batch.time));
        let body = batch(config, sequence, time);
        lock(journal).push(Batch { time, begun: now(), tries: 0, outcome: Outcome::Open });
        let outcome = loop {
            lock(journal)[sequence].tries += 1;
            match api.write(&body) {
                Ok((200..=299, _)) => break Outcome::Acknowledged(now()),
                Ok((429 | 500..=599, _)) | Err(_) => {}
                Ok((status, body)) if config.gives_up => {
                    break Outcome::Refused(format!("{status} {}", body.trim()));
                }
                Ok((status, body)) => panic!("refused for good: {status} {body}"),
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
            pause();
        };
        lock(journal)[sequence].outcome = outcome;
        pause();
    }
}

/// Now, or a millisecond after the last batch if that was just now.
fn next_time(last: Option<i64>) -> i64 {
    last.map_or(i64::MIN, |last| last + 1).max(wall_millis())
}

/// Bits in all parts of the mantissa, and never equal for two writers, series or sequence numbers.
fn value(config: WriterConfig, series: u32, sequence: usize) -> f64 {
    let sequence = u32::try_from(sequence).expect("tests are short");
    f64::from(config.number * 1000 + series) * SEQUENCES + f64::from(sequence) + 0.1
}

fn instance(series: u32) -> String {
    format!("writer-{series:02}:9100")
}

fn job(config: WriterConfig) -> String {
    format!("chaos-writer-{}", config.number)
}

fn selector(config: WriterConfig) -> String {
    format!("chaos_written{{job={:?}}}", job(config))
}

fn batch(config: WriterConfig, sequence: usize, timestamp: i64) -> Vec<u8> {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let series = |number: u32| TimeSeries {
        labels: vec![
            label("__name__", "chaos_written"),
            label("instance", &instance(number)),
            label("job", &job(config)),
        ],
        samples: vec![Sample { value: value(config, number, sequence), timestamp }],
    };
    let request = WriteRequest { timeseries: (0..config.series).map(series).collect() };
    snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .expect("a small batch can be compressed")
}

/// A finished journal.
#[derive(Debug)]
pub struct Written {
    config: WriterConfig,
    journal: Journal,
}

/// How a journal and what is stored differ.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Differences {
    /// Acknowledged samples that are not there.
    pub lost: usize,
    /// Samples of batches without an answer that are there.
    pub maybe: usize,
    /// What should not be, in words.
    pub lines: Vec<String>,
}

impl Written {
    /// Batches that were acknowledged.
    pub fn batches(&self) -> usize {
        self.acknowledgements().count()
    }

    /// Batches that were refused for good.
    pub fn refused(&self) -> usize {
        self.journal.iter().filter(|batch| matches!(batch.outcome, Outcome::Refused(_))).count()
    }

    /// All batches, in the order in which they were tried.
    pub fn journal(&self) -> &[Batch] {
        &self.journal
    }

    /// What it was told.
    pub fn config(&self) -> WriterConfig {
        self.config
    }

    /// The same journal when only so many batches were acknowledged: the others may be there.
    #[must_use]
    pub fn as_of(&self, batches: usize) -> Self {
        let mut journal = self.journal.clone();
        let acknowledged = journal.iter_mut().filter(|batch| batch.acknowledged().is_some());
        acknowledged.skip(batches).for_each(|batch| batch.outcome = Outcome::Open);
        Self { config: self.config, journal }
    }

    fn acknowledgements(&self) -> impl Iterator<Item = Instant> {
        self.journal.iter().filter_map(Batch::acknowledged)
    }

    /// The longest time between two acknowledgements.
    pub fn longest_pause(&self) -> Duration {
        let acks = self.acknowledgements().zip(self.acknowledgements().skip(1));
        acks.map(|(one, next)| next.duration_since(one)).max().unwrap_or_default()
    }

    /// The longest that a batch waited of those that were on their way between two moments, counted
    /// from the first moment at the earliest. As each has samples of every shard, that is how long
    /// the slowest of them took no samples. `None` if there was none, or one was never acknowledged.
    pub fn longest_wait(&self, from: Instant, to: Instant) -> Option<Duration> {
        let is_later = |batch: &&Batch| batch.acknowledged().is_none_or(|ack| ack > from);
        let meant = self.journal.iter().filter(|batch| batch.begun < to).filter(is_later);
        let waits = meant.map(|batch| Some(batch.acknowledged()? - batch.begun.max(from)));
        waits.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Batches that were tried more than so many times before they were acknowledged.
    pub fn tried_more_than(&self, times: u32) -> usize {
        self.journal.iter().filter(|batch| batch.tries > times).count()
    }

    /// Checks that every acknowledged sample is stored once with its bits, and that nothing is
    /// stored that was never tried.
    ///
    /// # Panics
    /// With the first differences, if there are any.
    pub fn check(&self, api: &Api) {
        let lines = until("an answer without warnings", Duration::from_secs(30), || {
            self.compare(api).map(|differences| differences.lines)
        });
        let shown: Vec<_> = lines.iter().take(20).cloned().collect();
        assert!(
            lines.is_empty(),
            "{} differences in {} acknowledged batches:\n{}",
            lines.len(),
            self.batches(),
            shown.join("\n")
        );
    }

    /// Compares what is stored with the journal. An answer that is not complete is an error.
    pub fn compare(&self, api: &Api) -> Result<Differences, String> {
        let stored = api.samples(&self.everything(), "instance")?;
        Ok(self.differences(&stored))
    }

    /// The same with what replicas hold that have lost their majority.
    pub fn compare_old(&self, api: &Api) -> Result<Differences, String> {
        let stored = api.old_samples(&self.everything(), "instance")?;
        Ok(self.differences(&stored))
    }

    fn everything(&self) -> String {
        format!("{}[3h]", selector(self.config))
    }

    fn differences(&self, stored: &BTreeMap<String, Vec<(i64, f64)>>) -> Differences {
        let mut differences = Differences::default();
        for series in 0..self.config.series {
            let name = instance(series);
            let samples = stored.get(&name).map_or(&[][..], Vec::as_slice);
            self.differences_of(series, samples, &mut differences);
        }
        let is_known = |name: &str| (0..self.config.series).any(|n| instance(n) == name);
        let unknown = stored.keys().filter(|name| !is_known(name));
        differences.lines.extend(unknown.map(|name| format!("unknown series {name}")));
        differences
    }

    fn differences_of(&self, series: u32, samples: &[(i64, f64)], to: &mut Differences) {
        let name = instance(series);
        let mut found: BTreeMap<i64, f64> = BTreeMap::new();
        for (time, value) in samples {
            if found.insert(*time, *value).is_some() {
                to.lines.push(format!("{name}: two samples at {time}"));
            }
        }
        for (sequence, batch) in self.journal.iter().enumerate() {
            let expected = value(self.config, series, sequence);
            let is_acknowledged = batch.acknowledged().is_some();
            match found.remove(&batch.time) {
                None if is_acknowledged => {
                    to.lost += 1;
                    to.lines.push(format!("{name}: acknowledged {sequence} is lost"));
                }
                Some(value) if value.to_bits() != expected.to_bits() => {
                    to.lines.push(format!("{name}: {expected} became {value}"));
                }
                Some(_) if !is_acknowledged => to.maybe += 1,
                _ => {}
            }
        }
        to.lines.extend(found.keys().map(|time| format!("{name}: never tried at {time}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: WriterConfig = WriterConfig { number: 0, series: SERIES, gives_up: false };

    fn written(intents: usize, acknowledged: usize) -> Written {
        let batch = |at| Batch {
            time: i64::try_from(at).expect("small"),
            begun: now(),
            tries: 1,
            outcome: if at < acknowledged { Outcome::Acknowledged(now()) } else { Outcome::Open },
        };
        Written { config: CONFIG, journal: (0..intents).map(batch).collect() }
    }

    fn stored(batches: usize) -> BTreeMap<String, Vec<(i64, f64)>> {
        let samples = |series| {
            (0..batches)
                .map(|at| (i64::try_from(at).expect("small"), value(CONFIG, series, at)))
                .collect()
        };
        (0..SERIES).map(|series| (instance(series), samples(series))).collect()
    }

    #[test]
    fn the_batch_in_flight_may_be_there_or_not() {
        assert_eq!(written(3, 2).differences(&stored(2)), Differences::default());
        let maybe = usize::try_from(SERIES).expect("small");
        let there = Differences { maybe, ..Differences::default() };
        assert_eq!(written(3, 2).differences(&stored(3)), there);
    }

    #[test]
    fn a_wait_is_counted_from_the_blow() {
        let second = Duration::from_secs(1);
        let mut written = written(3, 3);
        let start = now();
        let times = [(0, 1), (2, 9), (10, 11)];
        for (batch, (begun, end)) in written.journal.iter_mut().zip(times) {
            batch.begun = start + begun * second;
            batch.outcome = Outcome::Acknowledged(start + end * second);
        }
        let wait = |written: &Written, from, to| {
            written.longest_wait(start + from * second, start + to * second)
        };
        assert_eq!(wait(&written, 3, 12), Some(6 * second));
        assert_eq!(wait(&written, 9, 12), Some(second));
        assert_eq!(wait(&written, 11, 12), None);
        assert_eq!(written.longest_pause(), 8 * second);
        written.journal[2].outcome = Outcome::Open;
        assert_eq!(wait(&written, 3, 12), None, "one was never acknowledged");
        assert_eq!(wait(&written, 3, 9), Some(6 * second));
    }

    #[test]
    fn what_is_lost_is_named() {
        let differences = written(3, 3).differences(&stored(2));
        assert_eq!(differences.lost, usize::try_from(SERIES).expect("small"));
        assert_eq!(differences.lines[0], "writer-00:9100: acknowledged 2 is lost");
    }

    #[test]
    fn what_is_wrong_or_too_much_is_named() {
        let mut found = stored(2);
        let series = found.get_mut("writer-03:9100").expect("it is there");
        series[0].1 += 1.0;
        series.push((1, 0.0));
        series.push((9, 0.0));
        let differences = written(2, 2).differences(&found).lines;
        assert!(differences.iter().any(|line| line.contains("became")), "{differences:?}");
        assert!(differences.iter().any(|line| line.contains("two samples at 1")));
        assert!(differences.iter().any(|line| line.contains("never tried at 9")));
    }
}
