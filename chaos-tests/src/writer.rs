//! A remote-write client that journals what it tried and what was acknowledged, and checks
//! afterwards that the cluster has exactly that.
//!
//! A value names its origin: series number and sequence number, so that a value found under
//! another series or time is recognised. The client tries one batch until it is acknowledged,
//! as every sender of remote write does, and only then the next.

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

/// The job of all written series.
pub const JOB: &str = "chaos-writer";

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

/// What was tried: one batch has a sample of each series at one time.
#[derive(Debug, Default, Clone)]
struct Journal {
    /// Times of batches, in order; all but possibly the last are acknowledged.
    intents: Vec<i64>,
    /// When each acknowledgement came, on the monotonic clock.
    acknowledged: Vec<Instant>,
}

/// A writer at work, on a thread of its own.
#[derive(Debug)]
pub struct Writer {
    journal: Arc<Mutex<Journal>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts to write. A refusal that cannot be cured by trying again is a panic.
    pub fn start(api: Api) -> Self {
        let journal = Arc::new(Mutex::new(Journal::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (journal, stop) = (Arc::clone(&journal), Arc::clone(&stop));
            std::thread::spawn(move || write_until(&stop, &journal, &api))
        };
        Self { journal, stop, thread }
    }

    /// Acknowledged batches so far.
    pub fn acknowledged(&self) -> usize {
        lock(&self.journal).acknowledged.len()
    }

    /// Waits for the first acknowledgement after `since`, and says how long it took.
    pub fn resumed_after(&self, since: Instant, deadline: Duration) -> Duration {
        // A batch sent before the fault may be answered after it: the second one counts.
        let before = self.acknowledged();
        until("writes resume", deadline, || {
            let journal = lock(&self.journal);
            let ack = journal.acknowledged.get(before + 1).ok_or("no acknowledgement")?;
            Ok(ack.saturating_duration_since(since))
        })
    }

    /// Stops and hands over the journal. A batch in flight stays a "maybe".
    pub fn stop(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer was refused");
        Written { journal: lock(&self.journal).clone() }
    }
}

fn lock(journal: &Mutex<Journal>) -> std::sync::MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_until(stop: &AtomicBool, journal: &Mutex<Journal>, api: &Api) {
    while !stop.load(Ordering::Relaxed) {
        let sequence = lock(journal).intents.len();
        let time = next_time(lock(journal).intents.last().copied());
        let body = batch(sequence, time);
        lock(journal).intents.push(time);
        loop {
            match api.write(&body) {
                Ok((200..=299, _)) => {
                    lock(journal).acknowledged.push(now());
                    break;
                }
                Ok((429 | 500..=599, _)) | Err(_) => {}
                Ok((status, body)) => panic!("refused for good: {status} {body}"),
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
            pause();
        }
        pause();
    }
}

/// Now, or a millisecond after the last batch if that was just now.
fn next_time(last: Option<i64>) -> i64 {
    last.map_or(i64::MIN, |last| last + 1).max(wall_millis())
}

/// Bits in all parts of the mantissa, and never equal for two series or sequence numbers.
fn value(series: u32, sequence: usize) -> f64 {
    let sequence = u32::try_from(sequence).expect("tests are short");
    f64::from(series) * 1e7 + f64::from(sequence) + 0.1
}

fn instance(series: u32) -> String {
    format!("writer-{series:02}:9100")
}

fn batch(sequence: usize, timestamp: i64) -> Vec<u8> {
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let series = |number: u32| TimeSeries {
        labels: vec![
            label("__name__", "chaos_written"),
            label("instance", &instance(number)),
            label("job", JOB),
        ],
        samples: vec![Sample { value: value(number, sequence), timestamp }],
    };
    let request = WriteRequest { timeseries: (0..SERIES).map(series).collect() };
    snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .expect("a small batch can be compressed")
}

/// A finished journal.
#[derive(Debug)]
pub struct Written {
    journal: Journal,
}

impl Written {
    /// Batches that were acknowledged.
    pub fn batches(&self) -> usize {
        self.journal.acknowledged.len()
    }

    /// The same journal when only so many batches were acknowledged: the others may be there.
    #[must_use]
    pub fn as_of(&self, batches: usize) -> Self {
        let mut journal = self.journal.clone();
        journal.acknowledged.truncate(batches);
        Self { journal }
    }

    /// The longest time between two acknowledgements.
    pub fn longest_pause(&self) -> Duration {
        let acks = self.journal.acknowledged.windows(2);
        acks.map(|pair| pair[1].duration_since(pair[0])).max().unwrap_or_default()
    }

    /// Checks that every acknowledged sample is stored once with its bits, and that nothing is
    /// stored that was never tried.
    ///
    /// # Panics
    /// With the first differences, if there are any.
    pub fn check(&self, api: &Api) {
        let selector = format!("chaos_written{{job={JOB:?}}}[1h]");
        let stored = until("an answer without warnings", Duration::from_secs(30), || {
            api.samples(&selector, "instance")
        });
        let differences = self.differences(&stored);
        let shown: Vec<_> = differences.iter().take(20).cloned().collect();
        assert!(
            differences.is_empty(),
            "{} differences in {} acknowledged batches:\n{}",
            differences.len(),
            self.batches(),
            shown.join("\n")
        );
    }

    fn differences(&self, stored: &BTreeMap<String, Vec<(i64, f64)>>) -> Vec<String> {
        let mut differences = Vec::new();
        for series in 0..SERIES {
            let name = instance(series);
            let empty = Vec::new();
            let samples = stored.get(&name).unwrap_or(&empty);
            let mut found: BTreeMap<i64, f64> = BTreeMap::new();
            for (time, value) in samples {
                if found.insert(*time, *value).is_some() {
                    differences.push(format!("{name}: two samples at {time}"));
                }
            }
            for (sequence, time) in self.journal.intents.iter().enumerate() {
                let expected = value(series, sequence);
                match found.remove(time) {
                    None if sequence < self.batches() => {
                        differences.push(format!("{name}: acknowledged {sequence} is lost"));
                    }
                    Some(value) if value.to_bits() != expected.to_bits() => {
                        differences.push(format!("{name}: {expected} became {value}"));
                    }
                    _ => {}
                }
            }
            let never_tried = found.keys().map(|time| format!("{name}: never tried at {time}"));
            differences.extend(never_tried);
        }
        let unknown = stored.keys().filter(|name| !(0..SERIES).any(|n| instance(n) == **name));
        differences.extend(unknown.map(|name| format!("unknown series {name}")));
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(intents: usize, acknowledged: usize) -> Written {
        let intents = (0..intents).map(|at| i64::try_from(at).expect("small")).collect();
        Written { journal: Journal { intents, acknowledged: vec![now(); acknowledged] } }
    }

    fn stored(batches: usize) -> BTreeMap<String, Vec<(i64, f64)>> {
        let samples = |series| {
            (0..batches).map(|at| (i64::try_from(at).expect("small"), value(series, at))).collect()
        };
        (0..SERIES).map(|series| (instance(series), samples(series))).collect()
    }

    #[test]
    fn the_batch_in_flight_may_be_there_or_not() {
        assert_eq!(written(3, 2).differences(&stored(2)), Vec::<String>::new());
        assert_eq!(written(3, 2).differences(&stored(3)), Vec::<String>::new());
    }

    #[test]
    fn what_is_lost_is_named() {
        let differences = written(3, 3).differences(&stored(2));
        assert_eq!(differences.len(), usize::try_from(SERIES).expect("small"));
        assert_eq!(differences[0], "writer-00:9100: acknowledged 2 is lost");
    }

    #[test]
    fn what_is_wrong_or_too_much_is_named() {
        let mut found = stored(2);
        let series = found.get_mut("writer-03:9100").expect("it is there");
        series[0].1 += 1.0;
        series.push((1, 0.0));
        series.push((9, 0.0));
        let differences = written(2, 2).differences(&found);
        assert!(differences.iter().any(|line| line.contains("became")), "{differences:?}");
        assert!(differences.iter().any(|line| line.contains("two samples at 1")));
        assert!(differences.iter().any(|line| line.contains("never tried at 9")));
    }
}
