//! Answers of a cluster of three nodes beside those of Prometheus 3.5 that has the same samples.
//!
//! `make test` asks for about a minute, always the same questions. By hand, for longer or for others:
//! `SEED=12345 QUERIES=20000 cargo test … --test compare -- --nocapture`. A difference is printed with
//! the seed that asks for it again: `SEED=that QUERIES=1`.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use narthex_chaos_tests::{
    compare::{
        Span,
        answers::{Answer, Given, Terms},
        generator::{Question, When},
        known::{known, without_later_notes},
        peers::{Pair, Peers},
        shrink::smallest,
    },
    peers::{output_of, peer, skip},
    wait::now,
};

const NAME: &str = "compare::answers_are_those_of_prometheus";
/// How long is asked where nobody says how much.
const BUDGET: Duration = Duration::from_secs(60);
/// And no more than this, so that a fast machine asks what others have asked.
const QUERIES_MAX: u64 = 10_000;
/// Beyond them a run shows nothing new.
const DIFFERENCES_MAX: usize = 20;
/// Of an answer, this much is shown.
const SHOWN_MAX: usize = 700;

#[test]
fn answers_are_those_of_prometheus() {
    let Some(program) = peer(NAME, "prometheus") else { return };
    let version = version(&program);
    if !version.contains("version 3.5.") {
        return skip(NAME, &format!("differences are known of Prometheus 3.5, this is {version}"));
    }
    let span = Span::latest();
    let peers = Peers::start(&program, span);
    let first = number("SEED").unwrap_or(1);
    let queries = number("QUERIES");
    let start = now();
    let mut tally = Tally::default();
    let is_over = |asked: u64, start: Instant| match queries {
        Some(queries) => asked >= queries,
        None => asked >= QUERIES_MAX || start.elapsed() >= BUDGET,
    };
    while !is_over(tally.asked, start) && tally.differences.len() < DIFFERENCES_MAX {
        let seed = first.wrapping_add(tally.asked);
        tally.take(&peers, Question::of(seed, span), seed);
    }
    eprintln!(
        "{} questions from seed {first} on in {:?}: {}",
        tally.asked,
        start.elapsed(),
        tally.shape()
    );
    assert!(tally.differences.is_empty(), "{}", tally.differences.join("\n"));
    // Otherwise it is errors and nothing that is compared.
    assert!(queries.is_some() || tally.with_samples * 2 > tally.asked, "{}", tally.shape());
}

/// What Prometheus counts as looked at, of these, step by step.
const COUNTED: [&str; 16] = [
    "load",
    "load offset 10m",
    "sum by (job) (load)",
    "rate(http_requests_total[5m])",
    "sum(rate(http_requests_total[5m])) by (job)",
    "topk(2, load)",
    "load / on (job, instance) temperature",
    "http_requests_total and on (job) load",
    "load @ 1e9 or queue_length",
    "sum_over_time(load[10m:2m])",
    "max_over_time(rate(ticks[5m])[20m:1m])",
    "absent(nothing) or absent_over_time(load[5m])",
    "histogram_quantile(0.9, sum by (le) (rate(request_seconds_bucket[5m])))",
    "timestamp(load)",
    "scalar(sum(load)) + vector(1)",
    "quantile_over_time(0.5, queue_length[7m])",
];

#[test]
fn samples_are_counted_as_by_prometheus() {
    const NAME: &str = "compare::samples_are_counted_as_by_prometheus";
    let Some(program) = peer(NAME, "prometheus") else { return };
    let version = version(&program);
    if !version.contains("version 3.5.") {
        return skip(NAME, &format!("samples are counted as by Prometheus 3.5, this is {version}"));
    }
    let span = Span::latest();
    let peers = Peers::start(&program, span);
    let [start, end] = [span.start + 3_600_000, span.end].map(|time| (time / 1000).to_string());
    let mut counted = 0;
    for expression in COUNTED {
        let instant = [("query", expression), ("time", &end), ("stats", "all")];
        let range = [
            ("query", expression),
            ("start", &start),
            ("end", &end),
            ("step", "177"),
            ("stats", "all"),
        ];
        for (path, parameters) in [("query", &instant[..]), ("query_range", &range[..])] {
            let [ours, theirs] = peers.apis().map(|api| {
                let answer = api.asked(&format!("/api/v1/{path}"), parameters).expect("an answer");
                answer["data"]["stats"]["samples"].clone()
            });
            for name in ["totalQueryableSamples", "totalQueryableSamplesPerStep"] {
                assert!(!theirs[name].is_null(), "{theirs}");
                assert_eq!(ours[name], theirs[name], "{name} of {path} {expression}");
            }
            counted += theirs["totalQueryableSamples"].as_u64().unwrap_or_default();
        }
    }
    assert!(counted > 50_000, "{counted}");
}

/// What came of the questions so far.
#[derive(Debug, Default)]
struct Tally {
    asked: u64,
    with_samples: u64,
    refused: u64,
    known: BTreeMap<&'static str, u64>,
    /// Prometheus gave two answers to the same question.
    unsteady: u64,
    differences: Vec<String>,
}

impl Tally {
    fn take(&mut self, peers: &Peers, question: Question, seed: u64) {
        self.asked += 1;
        let pair = peers.ask(&question);
        match &pair.prometheus {
            Answer::Refused { .. } => self.refused += 1,
            Answer::Given(given) => self.with_samples += u64::from(!given.rows.is_empty()),
        }
        if difference(&question, &pair).is_none() {
            return;
        }
        if let Some(known) = known(&question.expression.to_string(), &pair) {
            *self.known.entry(known.name).or_default() += 1;
            return;
        }
        let again = peers.ask(&question);
        let terms = Terms::of(&question.expression.to_string());
        if again.narthex.difference(&pair.narthex, terms).is_none()
            && again.prometheus.difference(&pair.prometheus, terms).is_some()
        {
            self.unsteady += 1;
            return;
        }
        let difference = explain(peers, question, pair);
        eprintln!("\nseed {seed}: {difference}");
        self.differences.push(format!("\nseed {seed}: {difference}"));
    }

    fn shape(&self) -> String {
        format!(
            "{} with samples, {} refused, {} answered twice by Prometheus, {} differences, on purpose {:?}",
            self.with_samples,
            self.refused,
            self.unsteady,
            self.differences.len(),
            self.known
        )
    }
}

/// The smallest question that is still answered differently, with both answers.
fn explain(peers: &Peers, question: Question, pair: Pair) -> String {
    let whole = question.expression.to_string();
    let what = difference(&question, &pair).unwrap_or_default();
    let mut found = (what, pair);
    let small = smallest(question, |question| {
        let pair = peers.ask(question);
        let Some(what) = difference(question, &pair) else { return false };
        let is_new = known(&question.expression.to_string(), &pair).is_none();
        if is_new {
            found = (what, pair);
        }
        is_new
    });
    let (what, pair) = found;
    format!(
        "{what}\n  smallest: {}\n  {}\n  made of: {whole}\n  Narthex: {}\n  Prometheus: {}",
        small.expression,
        time(small.when),
        shown(&pair.narthex),
        shown(&pair.prometheus),
    )
}

/// What differs, but for what 3.5 does not say.
fn difference(question: &Question, pair: &Pair) -> Option<String> {
    let terms = Terms::of(&question.expression.to_string());
    let theirs = without_later_notes(pair.prometheus.clone());
    without_later_notes(pair.narthex.clone()).difference(&theirs, terms)
}

fn time(when: When) -> String {
    match when {
        When::Instant(time) => format!("at {time} ms"),
        When::Range { start, end, step } => format!("from {start} to {end} every {step} ms"),
    }
}

fn shown(answer: &Answer) -> String {
    let text = match answer {
        Answer::Refused { kind, text } => format!("{kind}: {text}"),
        Answer::Given(Given { kind, rows, warnings, infos }) => {
            let series = rows.len();
            format!("a {kind} of {series}, warnings {warnings:?}, infos {infos:?}, {rows:?}")
        }
    };
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text,
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn version(program: &Path) -> String {
    let output = output_of(Command::new(program).arg("--version"));
    output.lines().next().unwrap_or_default().to_owned()
}
