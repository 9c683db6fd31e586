//! Answers to range queries that are kept in memory, to be gone on from when the same is asked for
//! a later range.
//!
//! Invariants
//! * an answer is kept with the entry of each shard's log that it is of; whoever takes it asks the
//!   shards what has changed since and uses no step that could tell;
//! * what is kept takes no more bytes than it may: what was not asked for the longest goes first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use narthex_cluster::ShardId;
use narthex_model::Timestamp;
use narthex_promql::{MatrixSeries, SampleBuffer, Steps};
use parking_lot::Mutex;

/// Bytes of an answer beside its samples, near enough.
const ANSWER_BYTES: usize = 512;
/// Bytes of a series beside its labels and samples.
const SERIES_BYTES: usize = 160;
/// The part of the whole that one answer may take.
const SHARE_MAX: usize = 8;

/// What is asked, but for the range.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Question {
    /// The expression, resolved.
    pub text: String,
    /// Between two steps.
    pub step_millis: i64,
    /// Where steps lie between multiples of the step.
    pub phase: i64,
    /// How old a sample may be.
    pub lookback_millis: u128,
}

impl Question {
    /// What is asked about these steps, which are more than one instant.
    pub fn new(text: String, steps: &Steps, lookback: std::time::Duration) -> Self {
        let step_millis = steps.step_millis;
        let phase = steps.start.millis().rem_euclid(step_millis.max(1));
        Self { text, step_millis, phase, lookback_millis: lookback.as_millis() }
    }
}

/// An answer without anything odd about it.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    /// The steps that it is about.
    pub steps: Steps,
    /// The series, in order of labels.
    pub series: Arc<[MatrixSeries]>,
    /// The entry of each shard's log that the shard had applied before it answered.
    pub applied: BTreeMap<ShardId, u64>,
    /// The revision of cluster state then: a lower one is that of another past.
    pub revision: u64,
}

impl Remembered {
    /// The series at the steps from `first` to `last`, both included.
    pub fn between(&self, first: Timestamp, last: Timestamp) -> Vec<MatrixSeries> {
        let mut found = Vec::with_capacity(self.series.len());
        for series in self.series.iter() {
            let times = series.samples.timestamps();
            let from = times.partition_point(|time| *time < first.millis());
            let to = times.partition_point(|time| *time <= last.millis());
            if from < to {
                let mut samples = SampleBuffer::new();
                samples.extend_of(&series.samples, from..to);
                found.push(MatrixSeries { labels: series.labels.clone(), samples });
            }
        }
        found
    }

    fn bytes(&self, question: &Question) -> usize {
        let of_series = |series: &MatrixSeries| {
            SERIES_BYTES + series.labels.as_bytes().len() + 16 * series.samples.sample_weight()
        };
        ANSWER_BYTES + question.text.len() + self.series.iter().map(of_series).sum::<usize>()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Results {
    kept: Mutex<Kept>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Question, Answer>,
    /// Questions by when they were last asked.
    asked: BTreeMap<u64, Question>,
    turn: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Answer {
    remembered: Remembered,
    bytes: usize,
    asked: u64,
}

impl Results {
    /// Nothing yet, and never more than `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { kept: Mutex::default(), bytes_max }
    }

    /// Whether anything is kept at all.
    pub fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    /// Bytes that answers take, near enough.
    pub fn bytes(&self) -> usize {
        self.kept.lock().bytes
    }

    /// The answer to a question.
    pub fn get(&self, question: &Question) -> Option<Remembered> {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        let answer = kept.answers.get_mut(question)?;
        kept.turn += 1;
        kept.asked.remove(&answer.asked);
        kept.asked.insert(kept.turn, question.clone());
        answer.asked = kept.turn;
        Some(answer.remembered.clone())
    }

    /// Keeps an answer in place of what was known, unless it is large beside all that is kept.
    pub fn put(&self, question: Question, remembered: Remembered) {
        let bytes = remembered.bytes(&question);
        let mut kept = self.kept.lock();
        kept.remove(&question);
        if bytes > self.bytes_max / SHARE_MAX {
            return;
        }
        kept.turn += 1;
        let asked = kept.turn;
        kept.bytes += bytes;
        kept.asked.insert(asked, question.clone());
        kept.answers.insert(question, Answer { remembered, bytes, asked });
        while kept.bytes > self.bytes_max {
            let Some((_, oldest)) = kept.asked.pop_first() else { return };
            kept.remove(&oldest);
        }
    }

    /// Forgets the answer to a question.
    pub fn forget(&self, question: &Question) {
        self.kept.lock().remove(question);
    }
}

impl Kept {
    fn remove(&mut self, question: &Question) {
        if let Some(answer) = self.answers.remove(question) {
            self.asked.remove(&answer.asked);
            self.bytes -= answer.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use narthex_model::Labels;

    use super::*;

    fn question(text: &str) -> Question {
        Question::new(text.to_owned(), &steps(1, 9), Duration::from_secs(300))
    }

    fn steps(start: i64, end: i64) -> Steps {
        let [start, end] = [start, end].map(Timestamp::from_millis);
        Steps { start, end, step_millis: 2 }
    }

    fn remembered(series: usize) -> Remembered {
        let of = |number: usize| {
            let mut samples = SampleBuffer::new();
            for time in [1, 3, 7, 9] {
                samples.push_float(time, time as f64);
            }
            let labels = Labels::from_pairs([("a", number.to_string())]).expect("valid");
            MatrixSeries { labels, samples }
        };
        let series = (0..series).map(of).collect();
        Remembered { steps: steps(1, 9), series, applied: BTreeMap::new(), revision: 1 }
    }

    #[test]
    fn a_part_of_an_answer_has_its_steps_alone() {
        let times = |first, last| {
            let [first, last] = [first, last].map(Timestamp::from_millis);
            let found = remembered(2).between(first, last);
            found.iter().map(|series| series.samples.timestamps().to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(times(3, 7), [[3, 7], [3, 7]]);
        assert_eq!(times(1, 1), [[1], [1]]);
        assert!(times(5, 5).is_empty(), "a series without a sample is none");
    }

    #[test]
    fn what_was_not_asked_for_the_longest_goes_first() {
        let one = remembered(3).bytes(&question("a"));
        let results = Results::new(one * SHARE_MAX);
        let names: Vec<String> =
            (0..=SHARE_MAX).map(|n| char::from(b'a' + n as u8).into()).collect();
        for name in &names[..SHARE_MAX] {
            results.put(question(name), remembered(3));
        }
        assert_eq!(results.bytes(), one * SHARE_MAX);
        assert!(results.get(&question("a")).is_some());
        results.put(question(&names[SHARE_MAX]), remembered(3));
        assert!(results.get(&question("a")).is_some(), "it was asked for");
        assert!(results.get(&question("b")).is_none());
        results.put(question("a"), remembered(4));
        assert!(results.get(&question("a")).is_none(), "too large beside the others");
        results.forget(&question("c"));
        assert_eq!(results.bytes(), one * (SHARE_MAX - 2));
        let other = Question { phase: 0, ..question("d") };
        assert!(results.get(&other).is_none() && results.get(&question("d")).is_some());
    }
}
