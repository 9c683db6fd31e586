//! Moments at which the machine did not run what was ready to run.
//!
//! Tests that measure in real time share the machine with whatever else it does. A thread here
//! wakes again and again and does a little work, as every process of a cluster does; where that
//! takes it far too long, nobody else was served either, and a gap at that moment says nothing
//! about the cluster. A run with too many such moments says nothing at all.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::wait::{now, pause, wall_millis};

/// A turn of the thread takes some 20 ms; one longer than this is a stall. Short beside the
/// shortest silence after which a follower campaigns, 1.1 s.
const STALL_MIN: Duration = Duration::from_millis(250);
/// Turns of the loop that is the work: about a third of a millisecond.
const WORK: u64 = 300_000;
/// A stall is felt until what was late has caught up: an election and a retry.
const AFTERMATH_MILLIS: i64 = 3_000;
/// A share of the run; beyond it there is no verdict.
const SHARE_MAX: f64 = 0.1;

/// What a measured run was worth.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All held that could be judged.
    Held,
    /// The machine was too busy for a judgement.
    Unknown(String),
}

/// Runs a measurement, and once more where the first says nothing.
///
/// # Panics
/// Where the second says nothing either.
pub fn judged(mut measure: impl FnMut() -> Verdict) {
    for last in [false, true] {
        match measure() {
            Verdict::Held => return,
            Verdict::Unknown(why) if last => panic!("no verdict twice: {why}"),
            Verdict::Unknown(why) => eprintln!("no verdict, trying once more: {why}"),
        }
    }
}

/// Watches the machine until it is dropped.
#[derive(Debug)]
pub struct Stalls {
    seen: Arc<Mutex<Vec<Stall>>>,
    start_millis: i64,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Wall-clock milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stall {
    start: i64,
    end: i64,
}

impl Stalls {
    /// Begins to watch.
    pub fn watch() -> Self {
        let seen = Arc::<Mutex<Vec<Stall>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || watch_until(&stop, &seen))
        };
        Self { seen, start_millis: wall_millis(), stop, thread: Some(thread) }
    }

    /// How much of `[from, to]` was a stall, or the aftermath of one, in milliseconds.
    pub fn within(&self, from: i64, to: i64) -> i64 {
        within(&lock(&self.seen), from, to)
    }

    /// The verdict on a run in which nothing else failed.
    pub fn verdict(&self) -> Verdict {
        let end = wall_millis();
        let seen = lock(&self.seen);
        let stalled: i64 = seen.iter().map(|stall| stall.end - stall.start).sum();
        #[expect(clippy::cast_precision_loss, reason = "runs are short")]
        let share = stalled as f64 / (end - self.start_millis).max(1) as f64;
        match share > SHARE_MAX {
            true => {
                Verdict::Unknown(format!("the machine stalled {} times, {stalled} ms", seen.len()))
            }
            false => Verdict::Held,
        }
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It holds nothing that could fail.
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Vec<Stall>>) -> MutexGuard<'_, Vec<Stall>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch_until(stop: &AtomicBool, seen: &Mutex<Vec<Stall>>) {
    let mut last = now();
    while !stop.load(Ordering::Relaxed) {
        pause();
        std::hint::black_box((0..WORK).fold(0u64, |sum, at| std::hint::black_box(sum ^ at)));
        let took = last.elapsed();
        last = now();
        if took > STALL_MIN {
            let end = wall_millis();
            let took = i64::try_from(took.as_millis()).expect("turns are short");
            lock(seen).push(Stall { start: end - took, end });
        }
    }
}

fn within(stalls: &[Stall], from: i64, to: i64) -> i64 {
    let (mut covered, mut upto) = (0, from);
    for stall in stalls {
        let (start, end) = (stall.start.max(upto), (stall.end + AFTERMATH_MILLIS).min(to));
        if end > start {
            covered += end - start;
            upto = end;
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stalls_cover_is_counted_once() {
        let stalls = [Stall { start: 1_000, end: 2_000 }, Stall { start: 3_000, end: 3_500 }];
        assert_eq!(within(&stalls, 0, 500), 0);
        assert_eq!(within(&stalls, 0, 1_500), 500);
        assert_eq!(within(&stalls, 0, 10_000), 5_500, "aftermaths overlap");
        assert_eq!(within(&stalls, 6_000, 7_000), 500);
        assert_eq!(within(&[], 0, 10_000), 0);
    }

    #[test]
    fn a_measurement_without_a_verdict_is_repeated_once() {
        let mut runs = 0;
        judged(|| {
            runs += 1;
            if runs == 2 { Verdict::Held } else { Verdict::Unknown("busy".to_owned()) }
        });
        assert_eq!(runs, 2);
    }

    #[test]
    #[should_panic(expected = "no verdict twice")]
    fn twice_without_a_verdict_is_a_failure() {
        judged(|| Verdict::Unknown("busy".to_owned()));
    }
}
