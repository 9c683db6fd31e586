//! A range query answers at each step what an instant query answers at that time.
//!
//! Instant queries see one window at a time and are the dumb reference for everything that slides,
//! matches once per query, or is worked out once for all steps.

use std::{collections::BTreeMap, sync::Arc};

use narthex_model::{Labels, Timestamp, stale_nan};
use narthex_promql::{
    CancelToken, EvalOptions, ParseOptions, Sample, SampleBuffer, SelectRequest, SelectedSeries,
    SeriesData, SeriesSource, SourceError, Steps, Value, evaluate, parse, resolve,
};
use proptest::prelude::*;

/// Series in memory. Samples outside of the asked range are handed over too.
#[derive(Debug)]
struct Memory(Vec<(Labels, Arc<Samples>)>);

#[derive(Debug)]
struct Samples(Vec<(i64, f64)>);

impl SeriesData for Samples {
    fn read(
        &self,
        start: Timestamp,
        end: Timestamp,
        into: &mut SampleBuffer,
    ) -> Result<(), SourceError> {
        let wanted = start.millis()..=end.millis();
        for (at, value) in self.0.iter().filter(|(at, _)| wanted.contains(at)) {
            into.push_float(*at, *value);
        }
        Ok(())
    }
}

impl SeriesSource for Memory {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SourceError> {
        let matches =
            |labels: &Labels| request.matchers.iter().all(|m| m.matches(labels.value(m.name())));
        let found = self.0.iter().filter(|(labels, _)| matches(labels));
        Ok(found
            .map(|(labels, samples)| SelectedSeries {
                labels: labels.clone(),
                data: Arc::clone(samples) as Arc<dyn SeriesData>,
            })
            .collect())
    }
}

const QUERIES: &[&str] = &[
    "a",
    "a offset 90s",
    "a @ 120",
    "-a",
    "rate(a[3m])",
    "increase(a[2m])",
    "delta(a[2m])",
    "irate(a[2m])",
    "idelta(a[3m])",
    "changes(a[4m])",
    "resets(a[4m])",
    "sum_over_time(a[3m])",
    "avg_over_time(a[3m])",
    "min_over_time(a[3m])",
    "max_over_time(a[3m] offset 1m)",
    "stddev_over_time(a[3m])",
    "quantile_over_time(0.3, a[3m])",
    "last_over_time(a[30s])",
    "first_over_time(a[5m])",
    "count_over_time(a[5m])",
    "deriv(a[3m])",
    "predict_linear(a[3m], 60)",
    "rate(a[3m] anchored)",
    "increase(a[3m] smoothed)",
    "a smoothed",
    "absent(a{x=\"1\"})",
    "absent_over_time(a{x=\"1\"}[20s])",
    "sum(a)",
    "sum by (x) (a)",
    "avg without (y) (rate(a[2m]))",
    "max by (y) (a)",
    "count(a > 2)",
    "stddev(a)",
    "topk(2, a)",
    "bottomk by (x) (1, a)",
    "quantile(0.7, a)",
    "count_values(\"v\", round(a))",
    "limitk(1, a)",
    "limit_ratio(0.5, a)",
    "a + on (x, y) b",
    "a / ignoring (x) group_left b{x=\"1\"}",
    "a > bool 2",
    "a == b",
    "a and b",
    "a or b",
    "a unless on (x, y) b",
    "a + on (x, y) fill(1) b",
    "max_over_time(sum(a)[3m:30s])",
    "sum_over_time(a[2m:20s] offset 30s)",
    "timestamp(a)",
    "clamp(a, 1, time() / 100)",
    "scalar(sum(a)) + vector(time())",
    "label_replace(a, \"z\", \"$1\", \"x\", \"(.*)\")",
    "hour(a * 3600)",
];

const STEP_MILLIS: i64 = 25_000;
const STEPS: i64 = 20;

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (0..6i32).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(stale_nan()),
        1 => -3.0..3.0f64,
    ]
}

fn samples() -> impl Strategy<Value = Samples> {
    proptest::collection::vec((1_000i64..60_000, value()), 0..20).prop_map(|gaps| {
        let mut time = 0;
        Samples(
            gaps.into_iter()
                .map(|(gap, value)| {
                    time += gap;
                    (time, value)
                })
                .collect(),
        )
    })
}

fn memory() -> impl Strategy<Value = Memory> {
    proptest::collection::vec(samples(), 8).prop_map(|all| {
        let mut names = Vec::new();
        for metric in ["a", "b"] {
            for x in ["1", "2"] {
                for y in ["", "3"] {
                    let pairs = [("__name__", metric), ("x", x), ("y", y)];
                    names.push(Labels::from_pairs(pairs).expect("valid labels"));
                }
            }
        }
        Memory(names.into_iter().zip(all.into_iter().map(Arc::new)).collect())
    })
}

/// Per time and series the sample's bits, or the error.
type Answers = BTreeMap<(i64, String), u64>;

fn answer(memory: &Memory, query: &str, steps: Steps) -> Result<Answers, String> {
    let expr = parse(query, &ParseOptions::everything()).expect("parses");
    let expr = resolve(expr, query, &steps).expect("resolves");
    let options = EvalOptions { has_delayed_name_removal: true, ..EvalOptions::new(steps) };
    let answer = evaluate(&expr, &options, memory, &CancelToken::new());
    let mut answers = Answers::new();
    let mut put = |time: i64, labels: &Labels, value: f64| {
        // Which NaN it is depends on the order of operands.
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        let known = answers.insert((time, labels.to_string()), bits);
        assert_eq!(known, None, "{query}: one sample per series and time");
    };
    match answer.map_err(|error| error.to_string())?.value {
        Value::Vector(elements) => {
            for element in elements {
                let Sample::Float(value) = element.sample else { panic!("only floats") };
                put(element.timestamp.millis(), &element.labels, value);
            }
        }
        Value::Matrix(matrix) => {
            for series in matrix {
                for (at, value) in series.samples.timestamps().iter().zip(series.samples.values()) {
                    put(*at, &series.labels, *value);
                }
            }
        }
        other => panic!("{query}: not a vector: {other:?}"),
    }
    Ok(answers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_step_answers_as_an_instant_query(memory in memory(), start in 0i64..200_000) {
        let at = |time: i64| {
            let time = Timestamp::from_millis(time);
            Steps { start: time, end: time, step_millis: 0 }
        };
        let steps = Steps {
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(start + (STEPS - 1) * STEP_MILLIS),
            step_millis: STEP_MILLIS,
        };
        for query in QUERIES {
            let whole = answer(&memory, query, steps);
            let parts: Result<Vec<Answers>, String> = (0..STEPS)
                .map(|step| answer(&memory, query, at(start + step * STEP_MILLIS)))
                .collect();
            match (whole, parts) {
                (Ok(whole), Ok(parts)) => {
                    let parts: Answers = parts.into_iter().flatten().collect();
                    prop_assert_eq!(whole, parts, "{}", query);
                }
                (Err(_), Err(_)) => {}
                (whole, parts) => prop_assert!(false, "{query}: {whole:?} but {parts:?}"),
            }
        }
    }
}

/// As Prometheus does by default, names go at once: a function of two metrics then has the same
/// series twice, also where nothing but an aggregation sees it.
#[test]
fn series_that_lost_their_names_are_told_apart_before_they_are_added_up() {
    let series = |name: &str, at| {
        let labels = Labels::from_pairs([("__name__", name), ("x", "1")]).expect("valid labels");
        (labels, Arc::new(Samples(vec![(at, 1.0), (at + 1000, 2.0)])))
    };
    let memory = Memory(vec![series("a", 10_000), series("b", 10_000)]);
    let time = Timestamp::from_millis(20_000);
    let steps = Steps { start: time, end: time, step_millis: 0 };
    let ask = |query: &str| {
        let expr = parse(query, &ParseOptions::everything()).expect("parses");
        let expr = resolve(expr, query, &steps).expect("resolves");
        let answer = evaluate(&expr, &EvalOptions::new(steps), &memory, &CancelToken::new());
        answer.map(|answer| answer.value).map_err(|error| error.to_string())
    };
    for query in [
        "sum(count_over_time({x=\"1\"}[1m]))",
        "sum by (x) (abs({x=\"1\"}))",
        "max(rate({x=\"1\"}[1m]))",
        "sum(abs(rate({x=\"1\"}[1m])))",
        "count(max_over_time(({x=\"1\"})[1m:1s]))",
        "avg(abs({__name__=~\"a|b\"}))",
        "topk(1, abs({x=\"1\"}))",
        "abs({x=\"1\"})",
    ] {
        let error = ask(query).expect_err(query);
        assert_eq!(error, "vector cannot contain metrics with the same labelset", "{query}");
    }
    for query in ["sum({x=\"1\"})", "sum(abs(a))", "sum(count_over_time(b[1m]))", "sum(abs(a) + 1)"]
    {
        assert!(ask(query).is_ok(), "{query}");
    }
}
