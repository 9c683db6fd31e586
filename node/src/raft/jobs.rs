//! What waits for an apply thread.
//!
//! Waking a thread costs as much as applying an entry, and two of three entries are a follower's,
//! which nobody waits for. So a thread that had work just now looks for more after a moment, and
//! is woken before that only by what somebody waits for.

use std::{collections::VecDeque, mem, time::Duration};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::metrics::now;

/// A piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// How long what nobody waits for may lie: some entries of a busy node.
const DOZE: Duration = Duration::from_millis(5);

/// After a longer rest a thread was not busy, and is woken by whatever comes.
const BUSY_REST_MAX: Duration = Duration::from_millis(10);

/// How much somebody waits for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Nobody does.
    Someday,
    /// Somebody does.
    Now,
}

/// The thread has ended, or is about to.
#[derive(Debug)]
pub struct Closed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Looks for more by itself.
    Awake,
    /// Looks for more in a moment.
    Dozing,
    /// Until it is woken.
    Asleep,
}

struct State {
    waiting: VecDeque<Job>,
    rest: Rest,
    is_closed: bool,
}

/// The jobs of one thread, in the order they came. Not bounded here: whoever adds one waits for it,
/// or has taken room for it.
pub struct Jobs {
    state: Mutex<State>,
    wake: Condvar,
}

impl Default for Jobs {
    fn default() -> Self {
        let state = State { waiting: VecDeque::new(), rest: Rest::Awake, is_closed: false };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl Jobs {
    /// Adds a job to those that wait.
    pub fn push(&self, job: Job, urgency: Urgency) -> Result<(), Closed> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(Closed);
        }
        state.waiting.push_back(job);
        let wakes = match state.rest {
            Rest::Awake => false,
            Rest::Dozing => urgency == Urgency::Now,
            Rest::Asleep => true,
        };
        if wakes {
            state.rest = Rest::Awake;
            drop(state);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes no more jobs. Those that wait are still done.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.rest = Rest::Awake;
        drop(state);
        self.wake.notify_one();
    }

    /// Does jobs as they come, until it is closed and none is left.
    pub fn run(&self) {
        let (mut jobs, mut is_busy) = (VecDeque::new(), false);
        loop {
            let mut state = self.state.lock();
            if state.waiting.is_empty() && !state.is_closed {
                let tired = now();
                if is_busy {
                    self.rest(&mut state, Rest::Dozing);
                }
                if state.waiting.is_empty() && !state.is_closed {
                    self.rest(&mut state, Rest::Asleep);
                }
                is_busy = tired.elapsed() <= BUSY_REST_MAX;
            }
            mem::swap(&mut state.waiting, &mut jobs);
            drop(state);
            if jobs.is_empty() {
                return;
            }
            jobs.drain(..).for_each(|job| job());
        }
    }

    /// Does what waits, on the caller's thread.
    #[cfg(test)]
    pub fn run_waiting(&self) {
        let waiting = mem::take(&mut self.state.lock().waiting);
        waiting.into_iter().for_each(|job| job());
    }

    /// Rests as told until woken, or a doze is over.
    fn rest(&self, state: &mut MutexGuard<'_, State>, rest: Rest) {
        state.rest = rest;
        while state.rest == rest {
            match rest {
                Rest::Dozing => {
                    self.wake.wait_for(state, DOZE);
                    state.rest = Rest::Awake;
                }
                _ => self.wake.wait(state),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    /// Rests of the thread are as long as the test makes them: none, a doze, or longer.
    #[test]
    fn every_job_is_done_in_its_turn() {
        let jobs = Arc::new(Jobs::default());
        let (done, order) = mpsc::sync_channel(256);
        let running = jobs.clone();
        let thread = std::thread::spawn(move || running.run());
        let mut expected = 0..;
        for number in 0..200_u32 {
            let done = done.clone();
            let urgency = if number % 7 == 0 { Urgency::Now } else { Urgency::Someday };
            jobs.push(Box::new(move || done.send(number).unwrap()), urgency).unwrap();
            if number % 31 == 0 {
                // Nobody needs to push another for it to be done.
                while expected.start <= number {
                    assert_eq!(expected.next(), order.recv().ok());
                }
            }
        }
        drop(done);
        jobs.close();
        thread.join().unwrap();
        assert!(order.iter().eq(expected.start..200), "what waits at the end is done");
        assert!(jobs.push(Box::new(|| {}), Urgency::Now).is_err());
    }
}
