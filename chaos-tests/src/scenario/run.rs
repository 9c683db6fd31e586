//! One scenario, from the founding of its cluster to its verdict.

use std::{
    any::Any,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Finding, Scenario, Verdict, judge,
    load::{Done, JOBS, Load},
};
use crate::{
    bed::Bed,
    check::{
        recovery::{Resumed, by_kind, resumed},
        replicas,
        resources::{Held, alarms, leaks},
        scrapes::{Scraped, Troubles},
    },
    cluster::alone,
    faults::{
        Event,
        injector::{Injected, perform},
        schedule::Draw,
    },
    report,
    stalls::Stalls,
    targets::Target,
    view::digests_equal,
    wait::{millis, now, pause_for, within},
    workload::registers::Judged,
    writer::Written,
};

/// From the end of the last fault until everything works.
const ALIVE_DEADLINE: Duration = Duration::from_secs(30);
/// Until a complete answer is there.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// Work behind the last fault, before everything stops.
const QUIET: Duration = Duration::from_secs(3);
/// Fewer acknowledged batches of a writer say nothing.
const BATCHES_MIN: usize = 60;
/// Fewer complete answers say nothing.
const ANSWERS_MIN: usize = 20;

/// What became of a scenario.
pub enum Ran {
    /// This machine cannot run it.
    Skipped(String),
    /// It ran to its end, or until the harness failed.
    Judged(Box<Report>),
}

/// All there is to say of a run.
pub struct Report {
    pub scenario: Scenario,
    pub seed: u64,
    pub length: Duration,
    pub took: Duration,
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    pub evidence: Option<Evidence>,
    /// Where logs and journals are kept of a run that did not pass.
    pub kept: Option<PathBuf>,
}

/// What was seen.
pub struct Evidence {
    /// The first moment of the load.
    pub start: Instant,
    pub faults: Vec<(Injected, Option<Resumed>)>,
    pub done: Done,
    pub scraped: Vec<(&'static str, Scraped)>,
    pub lost: usize,
    pub maybe: usize,
    /// From the last heal: until all is alive, and until replicas hold the same.
    pub alive: Option<Duration>,
    pub equal: Option<Duration>,
}

/// What is kept of runs.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// Below which folder.
    pub folder: &'a Path,
    /// Of all, not only of those that did not pass.
    pub all: bool,
}

/// Runs a scenario with a schedule of this length.
pub fn run(scenario: Scenario, seed: u64, length: Duration, kept: Kept<'_>) -> Ran {
    // A thread of its own, as it enters the host in front and stays there.
    let (folder, all) = (kept.folder.to_owned(), kept.all);
    let thread =
        std::thread::spawn(move || run_here(scenario, seed, length, Kept { folder: &folder, all }));
    thread.join().unwrap_or_else(|panic| {
        let findings = vec![harness_failed(&*panic)];
        Ran::Judged(Box::new(Report {
            scenario,
            seed,
            length,
            took: Duration::ZERO,
            verdict: judge(&findings),
            findings,
            evidence: None,
            kept: None,
        }))
    })
}

fn harness_failed(panic: &(dyn Any + Send)) -> Finding {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Finding {
        check: "H",
        question: "did the harness do its work?",
        verdict: Verdict::Unknown,
        detail: text.to_owned(),
    }
}

fn run_here(scenario: Scenario, seed: u64, length: Duration, kept: Kept<'_>) -> Ran {
    let _alone = alone();
    let began = now();
    let mut bed = match Bed::start(scenario.shape) {
        Ok(bed) => bed,
        Err(reason) => return Ran::Skipped(reason),
    };
    let events = (scenario.schedule)(&mut Draw::new(seed, scenario.shape, length));
    let observed = catch_unwind(AssertUnwindSafe(|| observe(&mut bed, &scenario, seed, &events)));
    let (findings, evidence) = match observed {
        Ok((findings, evidence)) => (findings, Some(evidence)),
        Err(panic) => (vec![harness_failed(&*panic)], None),
    };
    let verdict = judge(&findings);
    let mut report = Report {
        scenario,
        seed,
        length,
        took: began.elapsed(),
        verdict,
        findings,
        evidence,
        kept: None,
    };
    if verdict != Verdict::Pass || kept.all {
        report.kept = Some(keep(&bed, &report, kept.folder));
    }
    Ran::Judged(Box::new(report))
}

/// Logs, data and journals of a run that did not pass.
fn keep(bed: &Bed, report: &Report, folder: &Path) -> PathBuf {
    let kept = folder.join(format!("{}-{}", report.scenario.id, report.seed));
    let copied = fs::create_dir_all(&kept)
        .map_err(|error| error.to_string())
        .and_then(|()| bed.keep(&kept))
        .and_then(|()| {
            let journals = report::journals(report).to_string();
            fs::write(kept.join("journals.json"), journals).map_err(|error| error.to_string())
        });
    if let Err(why) = copied {
        eprintln!("not all of {} is kept: {why}", kept.display());
    }
    kept
}

/// Loads the cluster, injects, heals, and asks.
fn observe(
    bed: &mut Bed,
    scenario: &Scenario,
    seed: u64,
    events: &[Event],
) -> (Vec<Finding>, Evidence) {
    let load = Load::start(bed, seed, scenario.limits.has_wrong_clocks);
    let start = now();
    let injected = perform(bed, events);
    let healed = now();
    let alive = alive(bed, &load, healed);
    let equal = within(scenario.limits.equal, || {
        bed.supervise(&[]);
        digests_equal(bed.read(), scenario.shape.size())
    });
    let equal = equal.map(|_| healed.elapsed());
    pause_for(QUIET);
    let held = leaks(&load.held, &Held::by_nodes(bed));
    let (done, targets, stalls) = load.stop();
    let mut findings = vec![faults(&injected), machine(&stalls)];
    findings.extend([
        alive_finding(&alive),
        Finding::of("D1", "do replicas hold the same?", errors(&equal), seen(&equal)),
        Finding::of("R1", "is memory, are files given back?", &held, String::new()),
        Finding::of("R1", "did no process fail?", &alarms(bed), String::new()),
    ]);
    let evidence = Evidence {
        start,
        faults: recoveries(&injected, &done.written, &stalls, scenario.shape.nodes),
        scraped: scraped(bed, scenario, &injected, (&targets, &stalls)),
        done,
        lost: 0,
        maybe: 0,
        alive: alive.ok(),
        equal: equal.ok(),
    };
    let evidence = ask(bed, scenario, evidence, &mut findings);
    (findings, evidence)
}

fn errors<T>(result: &Result<T, String>) -> &[String] {
    result.as_ref().err().map_or(&[], std::slice::from_ref)
}

fn seen(took: &Result<Duration, String>) -> String {
    took.as_ref().map_or(String::new(), |took| format!("after {took:.1?}"))
}

/// What the journals say, against what the cluster says now.
fn ask(
    bed: &Bed,
    scenario: &Scenario,
    mut evidence: Evidence,
    findings: &mut Vec<Finding>,
) -> Evidence {
    let done = &evidence.done;
    let (mut lines, mut batches, mut refused) = (Vec::new(), Vec::new(), 0);
    for written in &done.written {
        match within(ANSWER_DEADLINE, || written.compare(bed.read())) {
            Ok(differences) => {
                evidence.lost += differences.lost;
                evidence.maybe += differences.maybe;
                lines.extend(differences.lines);
            }
            Err(why) => lines.push(format!("no complete answer: {why}")),
        }
        batches.push(written.batches());
        refused += written.refused();
    }
    let fewest = batches.iter().min().copied().unwrap_or(0);
    let k2 = Finding::of(
        "K2",
        "is all there that was acknowledged, once, bit for bit, and nothing else?",
        &lines,
        format!("{batches:?} batches acknowledged, {refused} refused for good"),
    );
    findings.push(k2.only_if(fewest >= BATCHES_MIN, "too little was written"));
    findings.push(questions(done));
    findings.push(registers("are registers linearizable?", &done.registers));
    findings.push(registers("are writes of a setting linearizable?", &done.setting));
    findings.push(monotonic(bed, done));
    findings.push(coverage(bed));
    findings.extend(scrapes(&evidence, scenario));
    findings.push(recovery(&evidence, scenario));
    if scenario.limits.reads_replicas {
        let lines = replicas::differences(bed, &evidence.done.written);
        let question = "does each replica hold all that was acknowledged, read from it alone?";
        findings.push(Finding::of("K2", question, &lines, String::new()));
    }
    if scenario.limits.is_planned {
        findings.push(planned(&evidence.done));
    }
    evidence
}

fn questions(done: &Done) -> Finding {
    let answers = &done.answers;
    let seen = format!(
        "{} asked, {} complete, {} errors or marked",
        answers.asked, answers.complete, answers.marked
    );
    Finding::of("Q1", "was every answer complete, or marked?", &answers.wrong, seen)
        .only_if(answers.complete >= ANSWERS_MIN, "too little was answered")
}

fn registers(question: &'static str, judged: &Judged) -> Finding {
    let seen = format!(
        "{} operations on {} registers, {} of them open; {} reads of old values",
        judged.operations, judged.registers, judged.open, judged.stale
    );
    Finding::of("K1", question, &judged.broken, seen)
        .only_if(judged.undecided == 0, "some could not be judged")
        .only_if(judged.operations > 3 * judged.registers, "too few operations")
}

fn monotonic(bed: &Bed, done: &Done) -> Finding {
    let fallen = match within(ANSWER_DEADLINE, || bed.view()) {
        Ok(view) => done.highest.fallen(&view),
        Err(why) => vec![why],
    };
    let seen = format!("{} looks", done.highest.looks);
    Finding::of("M1", "does what was committed stay so?", &fallen, seen)
        .only_if(done.highest.looks > 5, "nobody looked")
}

/// A shard that nobody writes to proves nothing.
fn coverage(bed: &Bed) -> Finding {
    let view = bed.view();
    let empty = view.as_ref().map_or(usize::MAX, |view| {
        view.groups().iter().filter(|group| group.shard.is_some() && group.series == 0).count()
    });
    Finding::of("W1", "does every shard have series?", &[], String::new())
        .only_if(empty == 0, &format!("{empty} shards have none"))
}

fn scrapes(evidence: &Evidence, scenario: &Scenario) -> Vec<Finding> {
    let judged = evidence.scraped.iter().map(|(job, scraped)| {
        let seen = format!(
            "{job}: {} slots stored, {} missed, at most {} in a row",
            scraped.slots, scraped.missed, scraped.missed_in_a_row
        );
        let problems = if scenario.limits.has_wrong_clocks { &[][..] } else { &scraped.problems };
        Finding::of(
            "S1",
            "is every gap between scrapes explained, and no slot there twice?",
            problems,
            seen,
        )
    });
    judged.collect()
}

fn recovery(evidence: &Evidence, scenario: &Scenario) -> Finding {
    let max = millis(scenario.limits.resume);
    let (mut seen, mut late) = (Vec::new(), Vec::new());
    for (kind, times) in by_kind(&evidence.faults) {
        let [p50, p99, longest] = [50, 99, 100].map(|percent| times.percentile(percent));
        seen.push(format!(
            "{kind}: {} times, p50 {p50} ms, p99 {p99} ms, max {longest} ms",
            times.count()
        ));
        if p99 > max {
            late.push(format!("{kind}: more than {max} ms"));
        }
    }
    Finding::of("T1", "do writes go on in time?", &late, seen.join("\n"))
}

/// A client that tries twice sees no error, one that asks none at all.
fn planned(done: &Done) -> Finding {
    let again: Vec<_> = done.written.iter().map(|written| written.tried_more_than(1)).collect();
    let thrice: usize = done.written.iter().map(|written| written.tried_more_than(2)).sum();
    let mut problems = Vec::new();
    if thrice > 0 {
        problems.push(format!("{thrice} batches were tried more than twice"));
    }
    if done.answers.marked > 0 {
        problems.push(format!("{} queries failed", done.answers.marked));
    }
    let seen = format!("batches tried again: {again:?}");
    Finding::of("P1", "did nobody notice who tries twice?", &problems, seen)
}

/// Nodes answer, groups are led, and samples of all shards are taken.
fn alive(bed: &mut Bed, load: &Load, healed: Instant) -> Result<Duration, String> {
    let before: Vec<_> = load.writers.iter().map(|it| it.progress().batches().1).collect();
    within(ALIVE_DEADLINE, || {
        bed.supervise(&[]);
        bed.view()?.is_whole(bed.shape().size())?;
        for (writer, before) in load.writers.iter().zip(&before) {
            let (_, tried) = writer.progress().batches();
            if tried < before + 2 {
                return Err("a writer waits".to_owned());
            }
        }
        Ok(healed.elapsed())
    })
}

fn alive_finding(alive: &Result<Duration, String>) -> Finding {
    Finding::of("V1", "is everything alive within 30 s?", errors(alive), seen(alive))
}

fn faults(injected: &[Injected]) -> Finding {
    let struck = injected.iter().filter(|fault| !fault.is_passed_over()).count();
    let problems: Vec<_> = injected
        .iter()
        .filter_map(|fault| Some(format!("{}: {}", fault.event.fault, fault.problem.as_ref()?)))
        .collect();
    let is_proof = struck > 0 && problems.is_empty();
    let refusal_failed = problems.iter().any(|problem| problem.contains("was taken"));
    let shown = if refusal_failed { &problems[..] } else { &[] };
    Finding::of("F", "was every fault felt?", shown, format!("{struck} faults"))
        .only_if(is_proof, &problems.join("\n"))
}

fn machine(stalls: &Stalls) -> Finding {
    let finding = Finding::of("H", "did the machine run?", &[], String::new());
    match stalls.verdict() {
        crate::stalls::Verdict::Held => finding,
        crate::stalls::Verdict::Unknown(why) => finding.only_if(false, &why),
    }
}

fn recoveries(
    injected: &[Injected],
    written: &[Written],
    stalls: &Stalls,
    nodes: usize,
) -> Vec<(Injected, Option<Resumed>)> {
    let of = |fault: &Injected| resumed(fault, injected, (written, stalls), nodes);
    injected.iter().map(|fault| (fault.clone(), of(fault))).collect()
}

/// A fault of a minority is over for scrapes once others lead; any other when it is healed.
fn scraped(
    bed: &Bed,
    scenario: &Scenario,
    injected: &[Injected],
    (targets, stalls): (&[Vec<Target>], &Stalls),
) -> Vec<(&'static str, Scraped)> {
    let felt: Vec<_> = injected.iter().filter(|fault| !fault.is_passed_over()).collect();
    let overlaps = |fault: &Injected| {
        felt.iter().any(|other| {
            !std::ptr::eq(*other, fault)
                && other.wall < fault.healed.map_or(i64::MAX, |(_, wall)| wall)
                && other.healed.is_none_or(|(_, wall)| wall > fault.wall)
        })
    };
    let span = |fault: &&Injected| {
        let end = fault.healed.map_or(i64::MAX, |(_, wall)| wall);
        let is_short = fault.keeps_quorum(scenario.shape.nodes) && !overlaps(fault);
        let end = if is_short && fault.event.fault.strikes_once() { fault.wall } else { end };
        (fault.wall, end)
    };
    let spans: Vec<_> = felt.iter().map(span).collect();
    let healed: Vec<_> = felt.iter().filter_map(|fault| Some(fault.healed?.1)).collect();
    let troubles = Troubles { spans: &spans, healed: &healed, stalls };
    let check = |(&(job, seconds, _), targets): (&(&'static str, u64, usize), &Vec<Target>)| {
        let scraped = Scraped::check(bed.read(), (job, seconds), targets, &troubles);
        let failed = |why| Scraped { problems: vec![why], ..Scraped::default() };
        (job, scraped.unwrap_or_else(failed))
    };
    JOBS.iter().zip(targets).map(check).collect()
}
