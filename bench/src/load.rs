//! Remote write as fast as a server takes it.
//!
//! Each sender is a thread with hosts and a connection of its own. Time is simulated: steps lie
//! an interval apart and end at the present. A sender waits for each acknowledgement, repeats
//! what was not acknowledged, and is never more than [`LEAD_STEPS`] ahead of the slowest.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    clock::{now, pause},
    fleet::Host,
    http::Http,
    page::PageSeries,
    request::{labels_of_host, put_series},
    statistics::percentile,
    unmeasured::Unmeasured,
};

/// Between two samples of a series.
pub const INTERVAL_MILLIS: i64 = 15_000;
/// Far below every out-of-order window, and far above what senders drift apart by themselves.
const LEAD_STEPS: u64 = 20;
/// An answer to one request; the slowest seen is two seconds.
const ACK_DEADLINE: Duration = Duration::from_secs(60);
/// Attempts at one request, the pauses between them doubling up to [`RETRY_PAUSE_MAX`].
const ATTEMPTS: u32 = 12;
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Bytes to reserve for a sample with its labels.
const SAMPLE_BYTES: usize = 180;

/// What to send, and where.
#[derive(Debug, Clone)]
pub struct Load<'a> {
    pub page: &'a [PageSeries],
    pub hosts: usize,
    pub steps: u64,
    /// Samples of a request, taken over all hosts of a sender in turn; 0 sends one request a
    /// host with all its series.
    pub mix: usize,
    pub senders: usize,
    /// The end of the data.
    pub end_millis: i64,
    /// Gives up after this time.
    pub deadline: Duration,
}

/// How it went.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Acknowledged.
    pub samples: u64,
    /// From the first request to the last acknowledgement.
    pub seconds: f64,
    /// Latencies of acknowledgements, in milliseconds.
    pub ack_p50: f64,
    pub ack_p99: f64,
    /// Requests that were sent again.
    pub repeated: u64,
}

/// What senders share.
struct Course {
    /// Steps that each sender has begun; `u64::MAX` once it has ended.
    steps: Vec<AtomicU64>,
    stopped: AtomicBool,
    failure: Mutex<Option<Unmeasured>>,
    repeated: AtomicU64,
    deadline: Instant,
}

impl Course {
    /// Waits until no sender is too far behind `step`. False when the load has failed.
    fn may_begin(&self, sender: usize, step: u64) -> bool {
        self.steps[sender].store(step, Ordering::Relaxed);
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return false;
            }
            let slowest = self.steps.iter().map(|step| step.load(Ordering::Relaxed)).min();
            if slowest.is_none_or(|slowest| step <= slowest.saturating_add(LEAD_STEPS)) {
                return true;
            }
            pause(Duration::from_millis(1));
        }
    }

    fn fail(&self, why: Unmeasured) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(why);
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Sends it all, or fails when one request is never acknowledged.
pub fn send(load: &Load<'_>, url: &str) -> Result<Sent, Unmeasured> {
    let start = now();
    let course = Course {
        steps: (0..load.senders).map(|_| AtomicU64::new(0)).collect(),
        stopped: AtomicBool::new(false),
        failure: Mutex::new(None),
        repeated: AtomicU64::new(0),
        deadline: start + load.deadline,
    };
    let mut latencies: Vec<f64> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..load.senders)
            .map(|number| {
                let course = &course;
                scope.spawn(move || Sender::new(load, number, url).run(course))
            })
            .collect();
        let join = |sender: std::thread::ScopedJoinHandle<'_, Vec<f64>>| {
            sender.join().expect("BUG: a sender panicked")
        };
        senders.into_iter().flat_map(join).collect()
    });
    if let Some(why) = course.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(why);
    }
    latencies.sort_by(f64::total_cmp);
    Ok(Sent {
        samples: (load.hosts * load.page.len()) as u64 * load.steps,
        seconds: start.elapsed().as_secs_f64(),
        ack_p50: percentile(&latencies, 0.5),
        ack_p99: percentile(&latencies, 0.99),
        repeated: course.repeated.into_inner(),
    })
}

struct Sender<'a> {
    load: &'a Load<'a>,
    number: usize,
    http: Http,
    hosts: Vec<(Host, Vec<Vec<u8>>)>,
    encoder: snap::raw::Encoder,
    compressed: Vec<u8>,
    /// Milliseconds.
    latencies: Vec<f64>,
}

impl<'a> Sender<'a> {
    fn new(load: &'a Load<'a>, number: usize, url: &str) -> Self {
        let host = |host: usize| {
            (Host::new(host, load.page, INTERVAL_MILLIS), labels_of_host(load.page, host))
        };
        Self {
            load,
            number,
            http: Http::new(url, ACK_DEADLINE),
            hosts: (number..load.hosts).step_by(load.senders).map(host).collect(),
            encoder: snap::raw::Encoder::new(),
            compressed: Vec::new(),
            latencies: Vec::new(),
        }
    }

    /// Sends all steps and returns the latencies.
    fn run(mut self, course: &Course) -> Vec<f64> {
        let sent = match self.load.mix {
            0 => self.run_by_host(course),
            _ => self.run_mixed(course),
        };
        course.steps[self.number].store(u64::MAX, Ordering::Relaxed);
        if let Err(why) = sent {
            course.fail(why);
        }
        self.latencies
    }

    fn step_millis(&self, step: u64) -> i64 {
        self.load.end_millis - (self.load.steps - step) as i64 * INTERVAL_MILLIS
    }

    fn run_by_host(&mut self, course: &Course) -> Result<(), Unmeasured> {
        let mut request = Vec::with_capacity(self.load.page.len() * SAMPLE_BYTES);
        for step in 0..self.load.steps {
            if !course.may_begin(self.number, step) {
                break;
            }
            for at in 0..self.hosts.len() {
                let start = self.step_millis(step);
                let (host, labels) = &mut self.hosts[at];
                let millis = start + host.scraped_at();
                request.clear();
                for (labels, value) in labels.iter().zip(host.step()) {
                    put_series(labels, millis, *value, &mut request);
                }
                self.post(&request, course)?;
            }
        }
        Ok(())
    }

    /// As a sender does that queues by series: neighbours of a page are in different requests.
    fn run_mixed(&mut self, course: &Course) -> Result<(), Unmeasured> {
        let samples = self.hosts.len() * self.load.page.len();
        let mut requests = vec![Vec::new(); samples.div_ceil(self.load.mix)];
        for step in 0..self.load.steps {
            if !course.may_begin(self.number, step) {
                break;
            }
            requests.iter_mut().for_each(Vec::clear);
            let (start, count, mut next) = (self.step_millis(step), requests.len(), 0);
            for (host, labels) in &mut self.hosts {
                let millis = start + host.scraped_at();
                for (labels, value) in labels.iter().zip(host.step()) {
                    put_series(labels, millis, *value, &mut requests[next % count]);
                    next += 1;
                }
            }
            for request in &requests {
                self.post(request, course)?;
            }
        }
        Ok(())
    }

    /// Sends one request until it is acknowledged.
    fn post(&mut self, request: &[u8], course: &Course) -> Result<(), Unmeasured> {
        self.compressed.resize(snap::raw::max_compress_len(request.len()), 0);
        let len = self.encoder.compress(request, &mut self.compressed);
        let body = &self.compressed[..len.expect("the buffer is as large as it is told to be")];
        let mut rest = RETRY_PAUSE;
        for attempt in 1.. {
            let sent = now();
            let answer = self.http.write("/api/v1/write", body);
            self.latencies.push(sent.elapsed().as_secs_f64() * 1e3);
            match answer {
                Ok(()) => break,
                // What is refused for good is not sent again.
                Err(why @ Unmeasured::Refused { status: 400, .. }) => return Err(why),
                Err(why) if attempt == ATTEMPTS || now() > course.deadline => return Err(why),
                Err(_) => course.repeated.fetch_add(1, Ordering::Relaxed),
            };
            pause(rest);
            rest = (rest * 2).min(RETRY_PAUSE_MAX);
        }
        match now() > course.deadline {
            true => Err(Unmeasured::Absent("the load took too long and was stopped".to_owned())),
            false => Ok(()),
        }
    }
}
