//! What a run is reported as: JSON for programs, one page for people.

mod page;

use std::{fs, io, path::Path};

use serde_json::{Value, json};

pub use self::page::page;
use crate::{
    check::recovery::by_kind,
    scenario::{Ran, Report},
    wait::millis,
    writer::Outcome,
};

/// Writes `report.json` and `index.html` of all that ran.
pub fn write(folder: &Path, ran: &[(&'static str, Ran)]) -> io::Result<()> {
    let reports: Vec<Value> = ran.iter().map(|(id, ran)| summary(id, ran)).collect();
    let reports = json!({ "scenarios": reports });
    fs::write(folder.join("report.json"), serde_json::to_string_pretty(&reports)?)?;
    fs::write(folder.join("index.html"), page(&reports))
}

fn summary(id: &str, ran: &Ran) -> Value {
    match ran {
        Ran::Skipped(reason) => json!({ "id": id, "verdict": "skipped", "reason": reason }),
        Ran::Judged(report) => of(report),
    }
}

/// One run.
pub fn of(report: &Report) -> Value {
    let scenario = &report.scenario;
    let findings = report.findings.iter().map(|finding| {
        json!({
            "check": finding.check,
            "question": finding.question,
            "verdict": finding.verdict.to_string(),
            "detail": finding.detail,
        })
    });
    let seconds = report.length.as_secs();
    json!({
        "id": scenario.id,
        "title": scenario.title,
        "seed": report.seed,
        "nodes": scenario.shape.nodes,
        "shards": scenario.shape.shards,
        "seconds": seconds,
        "tookSeconds": report.took.as_secs(),
        "verdict": report.verdict.to_string(),
        "again": format!("build/chaos --only {} --seed {} --seconds {seconds}", scenario.id, report.seed),
        "findings": findings.collect::<Vec<_>>(),
        "faults": faults(report),
        "recovery": recovery(report),
        "load": load(report),
        "acknowledgements": acknowledgements(report),
        "kept": report.kept.as_ref().map(|path| path.display().to_string()),
    })
}

fn faults(report: &Report) -> Value {
    let Some(evidence) = &report.evidence else { return json!([]) };
    let since = |at: std::time::Instant| millis(at.saturating_duration_since(evidence.start));
    let rows = evidence.faults.iter().map(|(fault, resumed)| {
        json!({
            "fault": fault.event.fault.to_string(),
            "victims": fault.event.victims.to_string(),
            "nodes": fault.hosts,
            "groupsLed": fault.led,
            "atMillis": since(fault.at),
            "healedMillis": fault.healed.map(|(at, _)| since(at)),
            "resumedMillis": resumed.map(|it| millis(it.after)),
            "stalledMillis": resumed.map(|it| it.stalled),
            "fromHeal": resumed.map(|it| it.from_heal),
            "effect": fault.effect,
            "problem": fault.problem,
        })
    });
    rows.collect()
}

fn recovery(report: &Report) -> Value {
    let Some(evidence) = &report.evidence else { return json!([]) };
    let rows = by_kind(&evidence.faults).into_iter().map(|(kind, times)| {
        json!({
            "kind": kind,
            "count": times.count(),
            "p50Millis": times.percentile(50),
            "p99Millis": times.percentile(99),
            "maxMillis": times.percentile(100),
        })
    });
    rows.collect()
}

fn load(report: &Report) -> Value {
    let Some(evidence) = &report.evidence else { return Value::Null };
    let done = &evidence.done;
    let (mut acknowledged, mut tried, mut refused) = (0, 0, 0);
    for written in &done.written {
        let series = written.config().series as usize;
        acknowledged += written.batches() * series;
        tried += written.journal().len() * series;
        refused += written.refused() * series;
    }
    let scraped = evidence.scraped.iter().map(|(job, it)| {
        json!({ "job": job, "slots": it.slots, "missed": it.missed, "missedInARow": it.missed_in_a_row })
    });
    json!({
        "samples": {
            "tried": tried, "acknowledged": acknowledged, "refused": refused,
            "lost": evidence.lost, "maybeThere": evidence.maybe,
        },
        "queries": {
            "asked": done.answers.asked, "complete": done.answers.complete,
            "marked": done.answers.marked, "wrong": done.answers.wrong.len(),
        },
        "registers": { "operations": done.registers.operations, "registers": done.registers.registers },
        "scrapes": scraped.collect::<Vec<_>>(),
        "aliveMillis": evidence.alive.map(millis),
        "equalMillis": evidence.equal.map(millis),
    })
}

/// Acknowledged batches in each quarter of a second.
fn acknowledgements(report: &Report) -> Vec<u32> {
    let Some(evidence) = &report.evidence else { return Vec::new() };
    let mut counts = Vec::new();
    for batch in evidence.done.written.iter().flat_map(|written| written.journal()) {
        let Outcome::Acknowledged(at) = batch.outcome else { continue };
        let Some(since) = at.checked_duration_since(evidence.start) else { continue };
        let quarter = usize::try_from(since.as_millis() / 250).expect("runs are short");
        if counts.len() <= quarter {
            counts.resize(quarter + 1, 0);
        }
        counts[quarter] += 1;
    }
    counts
}

/// What writers tried, when, and what became of it.
pub fn journals(report: &Report) -> Value {
    let Some(evidence) = &report.evidence else { return json!([]) };
    let since = |at: std::time::Instant| {
        i64::try_from(at.saturating_duration_since(evidence.start).as_millis()).unwrap_or(i64::MAX)
    };
    let journal = |written: &crate::writer::Written| {
        let rows = written.journal().iter().map(|batch| {
            let end = match &batch.outcome {
                Outcome::Open => json!("open"),
                Outcome::Acknowledged(at) => json!(since(*at)),
                Outcome::Refused(answer) => json!(answer),
            };
            json!([batch.time, since(batch.begun), end])
        });
        json!({ "writer": written.config().number, "batches": rows.collect::<Vec<_>>() })
    };
    evidence.done.written.iter().map(journal).collect()
}
