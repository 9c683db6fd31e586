//! The two systems, with the same samples, and what they answer.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    Span,
    answers::Answer,
    data::{self, SLICE},
    generator::{Question, When},
    message::{self, Series, Value},
};
use crate::{
    api::Api,
    cluster::Cluster,
    prometheus::Prometheus,
    wait::{until, within},
};

/// What both are told to have on that is off by itself.
const FEATURES: &str = "--enable-feature=promql-experimental-functions,promql-per-step-stats";
/// From their start until both have all samples.
const DEADLINE: Duration = Duration::from_secs(60);
/// A query of either; one that takes longer is a difference.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// A cluster of three nodes, and a Prometheus.
#[derive(Debug)]
pub struct Peers {
    narthex: Api,
    prometheus: Api,
    _cluster: Cluster,
    _process: Prometheus,
}

/// What both said.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Of Narthex.
    pub narthex: Answer,
    /// Of Prometheus.
    pub prometheus: Answer,
}

impl Peers {
    /// Starts both and sends them the same requests.
    pub fn start(program: &Path, span: Span) -> Self {
        let cluster = Cluster::start_with(Some("{}"), &["--listen=127.0.0.1:0", FEATURES]);
        let process = Prometheus::receiver(program, &[FEATURES]);
        let narthex = Api::new(cluster.api().url(), ANSWER_DEADLINE);
        let prometheus = Api::new(process.api().url(), ANSWER_DEADLINE);
        until("Prometheus is ready", DEADLINE, || match prometheus.text("/-/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let series = data::series(span);
        for api in [&narthex, &prometheus] {
            send(api, &series, span);
        }
        let peers = Self { narthex, prometheus, _cluster: cluster, _process: process };
        peers.have_all(&series, span);
        peers
    }

    /// Each has every sample that is not a marker of an end.
    fn have_all(&self, series: &[Series], span: Span) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for series in series {
            let samples = series.samples.iter().filter(|(_, value)| !is_marker(value));
            *counts.entry(series.name()).or_default() += samples.count();
        }
        let time = (span.end / 1000).to_string();
        for api in [&self.narthex, &self.prometheus] {
            for (name, count) in &counts {
                let expression = format!("sum(count_over_time({{__name__={name:?}}}[3h]))");
                let wanted = Value::Float(*count as f64);
                until("all samples are there", DEADLINE, || {
                    let found =
                        api.query(&[("query", expression.as_str()), ("time", time.as_str())])?;
                    let number = found[0]["value"][1].as_str().and_then(|it| it.parse().ok());
                    match number.map(Value::Float) == Some(wanted.clone()) {
                        true => Ok(()),
                        false => Err(format!("{name}: {found} instead of {count}")),
                    }
                });
            }
        }
    }

    /// The APIs of both, Narthex's first.
    pub fn apis(&self) -> [&Api; 2] {
        [&self.narthex, &self.prometheus]
    }

    /// Asks both.
    pub fn ask(&self, question: &Question) -> Pair {
        Pair {
            narthex: answer(&self.narthex, question),
            prometheus: answer(&self.prometheus, question),
        }
    }
}

fn is_marker(value: &Value) -> bool {
    let value = match value {
        Value::Float(value) => *value,
        Value::Histogram(histogram) => histogram.sum,
    };
    value.to_bits() == data::STALE
}

/// Sends slice after slice, half of the series as each version of remote write.
pub fn send(api: &Api, series: &[Series], span: Span) {
    let first: Vec<_> = series.iter().step_by(2).collect();
    let second: Vec<_> = series.iter().skip(1).step_by(2).collect();
    let mut from = span.start;
    while from < span.end {
        let to = from + SLICE;
        let one = message::version_1(&first, from, to);
        let two = message::version_2(&second, from, to);
        for (version, sent) in [(1, api.write(&one)), (2, api.write_2(&two))] {
            let (status, body) = sent.expect("an answer");
            assert!((200..300).contains(&status), "version {version}: {status} {body}");
        }
        from = to;
    }
}

/// No answer is one, too: then it says why there is none.
fn answer(api: &Api, question: &Question) -> Answer {
    let expression = question.expression.to_string();
    let seconds = |millis: i64| format!("{}.{:03}", millis / 1000, millis % 1000);
    let answer = match question.when {
        When::Instant(time) => {
            let time = seconds(time);
            let parameters = [("query", expression.as_str()), ("time", time.as_str())];
            asked(api, "/api/v1/query", &parameters)
        }
        When::Range { start, end, step } => {
            let (start, end, step) = (seconds(start), seconds(end), seconds(step));
            let parameters =
                [("query", expression.as_str()), ("start", &start), ("end", &end), ("step", &step)];
            asked(api, "/api/v1/query_range", &parameters)
        }
    };
    answer.unwrap_or_else(|text| Answer::Refused { kind: "no answer".to_owned(), text })
}

fn asked(api: &Api, path: &str, parameters: &[(&str, &str)]) -> Result<Answer, String> {
    // A leader may change meanwhile, which is not what this is about.
    within(ANSWER_DEADLINE, || {
        let found = Answer::of(&api.asked(path, parameters)?)?;
        match &found {
            Answer::Refused { kind, text } if kind == "unavailable" => Err(text.clone()),
            _ => Ok(found),
        }
    })
}
