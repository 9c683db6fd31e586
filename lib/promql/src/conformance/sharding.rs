//! Random queries over random series: twelve shards answer as one does.
//!
//! Series come with, without and with half of the labels that decide where they live. Values are
//! such that no two series tie, since which of two equal elements `topk` takes is open.

use std::collections::BTreeSet;

use narthex_model::{Labels, Timestamp};
use proptest::{prelude::*, sample::select};

use super::{
    RunOptions,
    engine::{Engine, Outcome, SPREAD_JOB},
    script::{self, CommandKind},
    storage::{Storage, spread},
};
use crate::{Steps, Value, value::Sample};

const SHARDS: usize = 12;

/// Relative difference that compensation and the order of sums may leave.
const EPSILON: f64 = 1e-9;

/// Lines of a load command: labels drawn from few values, so that series meet.
fn arbitrary_series() -> impl Strategy<Value = Vec<String>> {
    let label = |name: &'static str, values: &'static [&'static str]| {
        select(values).prop_map(move |value| match value {
            "" => String::new(),
            _ => format!("{name}=\"{value}\","),
        })
    };
    let labels = (
        select(&["a", "b", "c", "d_bucket", "target_info"][..]),
        label("job", &["", "x", "y", "spread"]),
        label("instance", &["", "1", "2", "3"]),
        label("zone", &["", "n", "s"]),
        label("le", &["", "", "1", "+Inf"]),
    );
    let items = prop_oneof![
        4 => (1u32..9000, 1u32..50).prop_map(|(first, step)| format!("{first}.{step}+{step}.125x12")),
        2 => (1u32..9000, 1u32..9000)
            .prop_map(|(first, second)| format!("{first}.5x3 _x2 {second}.75 stale _ {first}x4")),
        1 => (1u32..9).prop_map(|n| {
            format!("{{{{schema:0 sum:{n} count:{n} buckets:[{n}]}}}}+{{{{sum:1 count:2 buckets:[1 1]}}}}x9")
        }),
    ];
    let series = (labels, items).prop_map(|((name, job, instance, zone, le), items)| {
        format!("{name}{{{job}{instance}{zone}{le}}} {items}")
    });
    proptest::collection::vec(series, 1..24)
}

fn arbitrary_selector() -> impl Strategy<Value = String> {
    let matchers = select(
        &[
            "",
            "{job=\"x\"}",
            "{instance!=\"\"}",
            "{zone=~\"n|\"}",
            "{job!~\"x|y\"}",
            "{job=\"\",instance=\"1\"}",
        ][..],
    );
    let times = select(&["", "", "", " offset 30s", " @ 60", " @ end()"][..]);
    (select(&["a", "b", "c", "d_bucket"][..]), matchers, times)
        .prop_map(|(name, matchers, times)| format!("{name}{matchers}{times}"))
}

/// Vectors whose elements are as distinct as the series are.
fn arbitrary_plain() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => arbitrary_selector(),
        2 => (select(&["rate", "increase", "max_over_time", "sum_over_time", "last_over_time"][..]), select(&["a", "b{job=\"x\"}", "c"][..]))
            .prop_map(|(function, name)| format!("{function}({name}[45s])")),
    ]
}

fn arbitrary_query() -> impl Strategy<Value = String> {
    const GROUPING: &[&str] = &[
        "",
        " by (job)",
        " by (job, instance)",
        " without (zone)",
        " by (zone)",
        " without (job, instance)",
    ];
    const MATCHING: &[&str] = &[
        "",
        "on (job, instance)",
        "on (job)",
        "ignoring (zone)",
        "on (instance) group_left (zone)",
        "on (job, instance) group_right",
        "ignoring (zone, le) group_left",
        "on (job, instance, zone)",
        "on (job, instance) fill (7)",
    ];
    let ranked =
        (select(&["topk", "bottomk", "limitk"][..]), 1u32..4, select(GROUPING), arbitrary_plain())
            .prop_map(|(op, k, grouping, inner)| format!("{op}{grouping} ({k}, {inner})"));
    let leaf = prop_oneof![4 => arbitrary_plain(), 1 => ranked];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let reduced = "sum|avg|count|min|max|group|stddev|stdvar";
        prop_oneof![
            4 => (reduced, select(GROUPING), inner.clone())
                .prop_map(|(op, grouping, inner)| format!("{op}{grouping} ({inner})")),
            1 => (select(GROUPING), inner.clone())
                .prop_map(|(grouping, inner)| format!("quantile{grouping} (0.3, {inner})")),
            1 => (select(GROUPING), arbitrary_plain())
                .prop_map(|(grouping, inner)| format!("count_values{grouping} (\"v\", {inner})")),
            4 => (inner.clone(), "\\+|/|-|>|== bool", select(MATCHING), inner.clone())
                .prop_map(|(lhs, op, matching, rhs)| format!("({lhs}) {op} {matching} ({rhs})")),
            3 => (inner.clone(), "and|or|unless", select(&MATCHING[..4]), inner.clone())
                .prop_map(|(lhs, op, matching, rhs)| format!("({lhs}) {op} {matching} ({rhs})")),
            1 => inner.clone().prop_map(|inner| format!("absent({inner})")),
            1 => inner.clone().prop_map(|inner| format!("{inner} * scalar({inner})")),
            1 => inner.clone().prop_map(|inner| format!("histogram_quantile(0.5, {inner})")),
            1 => inner.clone().prop_map(|inner| format!("-abs({inner}) + 1")),
            1 => inner.clone().prop_map(|inner| format!("info({inner})")),
            1 => inner.clone().prop_map(|inner| format!("max_over_time(({inner})[60s:15s])")),
            1 => inner.clone().prop_map(|inner| format!("sort_desc({inner})")),
            1 => inner.clone()
                .prop_map(|inner| format!("label_replace({inner}, \"job\", \"z$1\", \"zone\", \"(.*)\")")),
            1 => inner.prop_map(|inner| format!("quantile_over_time(scalar({inner}), a[30s])")),
        ]
    })
}

fn storage(lines: &[String]) -> Storage {
    let text = format!("load 15s\n{}\n", lines.join("\n"));
    let mut storage = Storage::default();
    for command in script::parse(&text).expect("a valid script") {
        if let CommandKind::Load(load) = command.kind {
            storage.load(&load);
        }
    }
    storage
}

/// Where series live: those of the spread job like series without a job.
fn shard_of(labels: &Labels) -> usize {
    let key = match labels.value("job") {
        SPREAD_JOB => labels.without_metric_name().hash64(),
        _ => spread(labels),
    };
    key as usize
}

/// An outcome as a set of lines, samples apart.
fn samples(outcome: &Outcome) -> Vec<(String, i64, Sample)> {
    let mut samples = Vec::new();
    match &outcome.value {
        Value::Scalar(point) => {
            samples.push((String::new(), point.timestamp.millis(), Sample::Float(point.value)));
        }
        Value::String(_) => {}
        Value::Vector(elements) => {
            for element in elements {
                let time = element.timestamp.millis();
                samples.push((element.labels.to_string(), time, element.sample.clone()));
            }
        }
        Value::Matrix(series) => {
            for one in series {
                for at in 0..one.samples.len() {
                    let sample = match one.samples.histogram(at) {
                        Some(histogram) => Sample::Histogram(histogram.clone()),
                        None => Sample::Float(one.samples.values()[at]),
                    };
                    let time = one.samples.timestamps()[at];
                    samples.push((one.labels.to_string(), time, sample));
                }
            }
        }
    }
    samples.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
    samples
}

fn is_same(left: &Sample, right: &Sample) -> bool {
    let is_close = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= EPSILON * (a.abs() + b.abs())
    };
    match (left, right) {
        (Sample::Float(left), Sample::Float(right)) => is_close(*left, *right),
        (Sample::Histogram(left), Sample::Histogram(right)) => {
            is_close(left.count, right.count)
                && is_close(left.sum, right.sum)
                && left.positive.len() == right.positive.len()
        }
        _ => false,
    }
}

fn compare(
    query: &str,
    steps: Steps,
    whole: &Engine<'_>,
    sharded: &Engine<'_>,
) -> Result<(), String> {
    let (one, many) = match (whole.query(query, steps), sharded.query(query, steps)) {
        (Ok(one), Ok(many)) => (one, many),
        (Err(_), Err(_)) => return Ok(()),
        (one, many) => {
            let (one, many) = (one.err(), many.err());
            return Err(format!("{query}: one shard {one:?}, twelve {many:?}"));
        }
    };
    let (left, right) = (samples(&one), samples(&many));
    let keys = |samples: &[(String, i64, Sample)]| -> Vec<(String, i64)> {
        samples.iter().map(|(labels, time, _)| (labels.clone(), *time)).collect()
    };
    if keys(&left) != keys(&right) {
        return Err(format!("{query}: one shard\n{left:?}\ntwelve\n{right:?}"));
    }
    let differing = left.iter().zip(&right).find(|(left, right)| !is_same(&left.2, &right.2));
    if let Some((left, right)) = differing {
        return Err(format!("{query}: one shard {left:?}, twelve {right:?}"));
    }
    let notes = |outcome: &Outcome| -> BTreeSet<String> {
        outcome.warnings.iter().chain(&outcome.infos).cloned().collect()
    };
    if notes(&one) != notes(&many) {
        return Err(format!("{query}: one shard {:?}, twelve {:?}", notes(&one), notes(&many)));
    }
    Ok(())
}

proptest! {
    #[test]
    fn twelve_shards_answer_as_one_also_if_some_come_later(
        lines in arbitrary_series(),
        queries in proptest::collection::vec(arbitrary_query(), 4),
        is_range: bool,
        splits in proptest::collection::btree_set(0_i64..130, 0..3),
    ) {
        let storage = storage(&lines);
        let splits: Vec<_> = splits.iter().map(|at| Timestamp::from_millis(at * 1000)).collect();
        let shard_of = &shard_of;
        let whole = Engine::new(&storage, &RunOptions { shards: 1, shard_of, splits: &[] });
        let options = RunOptions { shards: SHARDS, shard_of, splits: &splits };
        let sharded = Engine::new(&storage, &options);
        let steps = Steps {
            start: Timestamp::from_millis(60_000),
            end: Timestamp::from_millis(if is_range { 120_000 } else { 60_000 }),
            step_millis: if is_range { 30_000 } else { 0 },
        };
        for query in queries {
            if let Err(difference) = compare(&query, steps, &whole, &sharded) {
                return Err(TestCaseError::fail(format!("{difference}\n{}", lines.join("\n"))));
            }
        }
    }
}
