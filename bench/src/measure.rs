//! One system under one load: what is read before, during and after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::{
    clock::{now, pause, until, wall_millis},
    fleet::{JOB, instance},
    http::Http,
    load::{INTERVAL_MILLIS, Load, Sent, send},
    page::PageSeries,
    profile::{Profile, ThreadTimes},
    queries::{self, Query, Timed},
    server::{Kind, Programs, Server},
    targets::Targets,
    unmeasured::Unmeasured,
};

/// After a start, until nobody has anything to do.
const REST_BEFORE: Duration = Duration::from_secs(2);
/// Between two looks at the threads: a thread that ends takes at most this much unseen.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// One load; three times what the slowest peer took.
const LOAD_DEADLINE: Duration = Duration::from_secs(1800);
/// Between two scrapes of a target.
pub const SCRAPE_SECONDS: u64 = 2;
/// Until every target is known and was scraped a few times.
const SCRAPES_BEFORE: Duration = Duration::from_secs(10);
/// One query that is not timed.
const QUERY_DEADLINE: Duration = Duration::from_secs(120);
/// After a crash, until the first answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(300);

/// A number of the table, of one load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Microseconds a sample, over all processes.
    Cpu,
    SamplesPerSecond,
    AckP50Millis,
    AckP99Millis,
    SyncsPerSecond,
    SamplesPerSync,
    /// What the load added to the processes, a replica.
    BytesPerSeries,
    ResidentMib,
    /// A replica.
    DiskBytesPerSample,
    LogMibPerNode,
    QueriesMillis,
    ReadySeconds,
    /// Until a query is answered.
    AnswersSeconds,
    /// Acknowledged samples that a query does not count after a crash.
    NotFound,
}

/// How large a load is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    pub hosts: usize,
    pub steps: u64,
    /// See [`Load::mix`].
    pub mix: usize,
}

/// What is done besides the load.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Besides {
    pub queries: bool,
    pub crash: bool,
    pub disk: bool,
}

/// What all measurements share.
#[derive(Debug)]
pub struct Setting {
    pub programs: Programs,
    /// Where systems get their folders.
    pub folder: PathBuf,
    pub page: Vec<PageSeries>,
    pub queries: Vec<Query>,
    pub senders: usize,
    /// Counted after the load: background work that it left.
    pub rest_after: Duration,
    pub targets: usize,
    pub scrape_time: Duration,
}

/// What was found. A figure that failed is missing, its reason among the problems.
#[derive(Debug, Default)]
pub struct Found {
    pub figures: BTreeMap<Figure, f64>,
    pub profile: Option<Profile>,
    pub queries: Vec<Timed>,
    pub problems: Vec<String>,
}

impl Found {
    fn set(&mut self, figure: Figure, value: f64) {
        self.figures.insert(figure, value);
    }

    /// The value, or its problem noted.
    fn noted<T>(&mut self, what: &str, result: Result<T, Unmeasured>) -> Option<T> {
        result.map_err(|why| self.problems.push(format!("{what}: {}", why.in_full()))).ok()
    }
}

impl Setting {
    /// Remote write of this size.
    pub fn write(&self, kind: Kind, size: Size, besides: Besides) -> Found {
        let mut found = Found::default();
        let server = Server::start(kind, &self.programs, &self.folder, None);
        let Some(mut server) = found.noted("start", server) else { return found };
        let load = Load {
            page: &self.page,
            hosts: size.hosts,
            steps: size.steps,
            mix: size.mix,
            senders: self.senders,
            end_millis: wall_millis(),
            deadline: LOAD_DEADLINE,
        };
        let sent = self.load(&server, &load, &mut found);
        let Some(sent) = found.noted("load", sent) else { return found };
        if besides.queries {
            let cached = kind != Kind::Victoria;
            let timed = queries::time(&self.queries, server.url(), load.end_millis, cached);
            if let Some(timed) = found.noted("queries", timed) {
                let sum = timed.iter().map(|query| query.median_millis).sum();
                found.set(Figure::QueriesMillis, sum);
                found.queries = timed;
            }
        }
        // Putting the disk in order leaves ours nothing to apply again: the crash comes first. A
        // peer that loses samples in a crash would be weighed without them: there it comes last,
        // and loses nothing that could be counted.
        if besides.crash && kind.is_ours() {
            let crashed = crash(&mut server, &load, &mut found);
            found.noted("crash", crashed);
        }
        if besides.disk {
            let weighed = disk(&server, sent.samples, &mut found);
            found.noted("disk", weighed);
        }
        if besides.crash && !kind.is_ours() {
            let crashed = crash(&mut server, &load, &mut found);
            found.noted("crash", crashed);
            if besides.disk {
                found.figures.remove(&Figure::NotFound);
            }
        }
        found
    }

    /// The load itself, with what it costs.
    fn load(
        &self,
        server: &Server,
        load: &Load<'_>,
        found: &mut Found,
    ) -> Result<Sent, Unmeasured> {
        pause(REST_BEFORE);
        let (system, syncs_before) = (server.system(), server.syncs()?);
        let before = system.usage();
        let watched = watched(server, || -> Result<_, Unmeasured> {
            let sent = send(load, server.url())?;
            let loaded = system.usage();
            let syncs = server.syncs()?;
            pause(self.rest_after);
            Ok((sent, loaded, syncs))
        });
        let (times, (sent, loaded, syncs)) = (watched.0, watched.1?);
        let cpu = system.usage().cpu_seconds - before.cpu_seconds;
        let samples = sent.samples as f64;
        found.profile = Some(times.profile(cpu));
        found.set(Figure::Cpu, cpu / samples * 1e6);
        found.set(Figure::SamplesPerSecond, samples / sent.seconds);
        found.set(Figure::AckP50Millis, sent.ack_p50);
        found.set(Figure::AckP99Millis, sent.ack_p99);
        found.syncs(server.kind, syncs_before.zip(syncs), samples, sent.seconds);
        let grown = loaded.resident_bytes.saturating_sub(before.resident_bytes) as f64;
        let series = (load.hosts * load.page.len()) as f64;
        found.set(Figure::BytesPerSeries, grown / series / server.kind.replicas() as f64);
        found.set(Figure::ResidentMib, mib(loaded.resident_bytes));
        if sent.repeated > 0 {
            found.problems.push(format!("{} requests were sent again", sent.repeated));
        }
        Ok(sent)
    }

    /// Scrapes of fake targets.
    pub fn scrape(&self, kind: Kind) -> Found {
        let mut found = Found::default();
        let scraped = self.scraped(kind, &mut found);
        found.noted("scrape", scraped);
        found
    }

    fn scraped(&self, kind: Kind, found: &mut Found) -> Result<(), Unmeasured> {
        let targets = Targets::start(&self.page, self.targets, SCRAPE_SECONDS)?;
        let config = targets.config(SCRAPE_SECONDS);
        let server = Server::start(kind, &self.programs, &self.folder, Some(&config))?;
        pause(SCRAPES_BEFORE);
        let (syncs_before, samples_before) = (server.syncs()?, targets.samples_served());
        let before = server.system().usage();
        let (times, ()) = watched(&server, || pause(self.scrape_time));
        let cpu = server.system().usage().cpu_seconds - before.cpu_seconds;
        let samples = (targets.samples_served() - samples_before) as f64;
        let syncs = server.syncs()?;
        let up = number(&server, format!("count(up{{job=\"{JOB}\"}} == 1)"), wall_millis())?;
        if up != self.targets as f64 {
            let all = self.targets;
            return Err(Unmeasured::Absent(format!("{up} of {all} targets are up")));
        }
        found.profile = Some(times.profile(cpu));
        found.set(Figure::Cpu, cpu / samples * 1e6);
        let seconds = self.scrape_time.as_secs_f64();
        found.set(Figure::SamplesPerSecond, samples / seconds);
        found.syncs(kind, syncs_before.zip(syncs), samples, seconds);
        Ok(())
    }
}

impl Found {
    /// Each replica is synced: a sync's samples are counted with their copies.
    fn syncs(&mut self, kind: Kind, syncs: Option<(f64, f64)>, samples: f64, seconds: f64) {
        if let Some((before, after)) = syncs {
            self.set(Figure::SyncsPerSecond, (after - before) / seconds);
            let copies = samples * kind.replicas() as f64;
            self.set(Figure::SamplesPerSync, copies / (after - before).max(1.0));
        }
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Runs `work` while the server's threads are looked at.
fn watched<T>(server: &Server, work: impl FnOnce() -> T) -> (ThreadTimes, T) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut times = ThreadTimes::default();
            loop {
                // Read first: what was done before is seen by the last look.
                let last = done.load(Ordering::Acquire);
                times.look(&server.system().processes());
                if last {
                    return times;
                }
                pause(LOOK_INTERVAL);
            }
        });
        let made = work();
        done.store(true, Ordering::Release);
        (watch.join().expect("BUG: the watch panicked"), made)
    })
}

/// Kills everything, starts it again, and counts what is there.
fn crash(server: &mut Server, load: &Load<'_>, found: &mut Found) -> Result<(), Unmeasured> {
    let ready = server.crash()?;
    found.set(Figure::ReadySeconds, ready.as_secs_f64());
    let start = now();
    // What is lost is counted below: an empty answer is one.
    let one_host = format!("count({{job=\"{JOB}\",instance=\"{}\"}}) or vector(0)", instance(0));
    let answered = until("a query is answered", ANSWER_DEADLINE, || {
        number(server, one_host.clone(), load.end_millis)
    });
    if found.noted("after the crash", answered).is_some() {
        let seconds = (ready + start.elapsed()).as_secs_f64();
        found.set(Figure::AnswersSeconds, seconds);
    }
    let missing = (load.hosts * load.page.len()) as f64 * load.steps as f64 - stored(server, load)?;
    found.set(Figure::NotFound, missing);
    Ok(())
}

fn disk(server: &Server, samples: u64, found: &mut Found) -> Result<(), Unmeasured> {
    let bytes = server.disk()?;
    let replicas = server.kind.replicas() as f64;
    let data = bytes.data as f64 / replicas / samples as f64;
    found.set(Figure::DiskBytesPerSample, data);
    if let Some(log) = bytes.log {
        found.set(Figure::LogMibPerNode, mib(log) / replicas);
    }
    Ok(())
}

/// How many samples of a load queries count, one metric after the other: without their names
/// series of several metrics would be the same.
fn stored(server: &Server, load: &Load<'_>) -> Result<f64, Unmeasured> {
    let minutes = load.steps as i64 * INTERVAL_MILLIS / 60_000 + 2;
    let metrics: BTreeSet<&str> =
        load.page.iter().map(|series| series.labels[0].1.as_str()).collect();
    let mut sum = 0.0;
    for metric in metrics {
        let series = format!("{metric}{{job=\"{JOB}\",instance=~\"host-.*\"}}");
        let expression = format!("sum(count_over_time({series}[{minutes}m])) or vector(0)");
        sum += number(server, expression, load.end_millis + INTERVAL_MILLIS)?;
    }
    Ok(sum)
}

/// The only value of an instant query.
fn number(server: &Server, expression: String, at_millis: i64) -> Result<f64, Unmeasured> {
    let time = (at_millis as f64 / 1e3).to_string();
    let http = Http::new(server.url(), QUERY_DEADLINE);
    let data = http.query("/api/v1/query", &[("query", expression.clone()), ("time", time)])?;
    let value = data["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok());
    value.ok_or_else(|| Unmeasured::Absent(format!("no value of {expression}")))
}

/// Whether a folder lies in memory, where a sync costs nothing.
pub fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    rustix::fs::statfs(folder).is_ok_and(|fs| fs.f_type == TMPFS)
}
