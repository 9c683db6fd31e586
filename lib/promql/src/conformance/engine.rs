//! How scripts' queries are evaluated: whole, or over shards as in a cluster.

use super::{RunOptions, storage::Storage};
use crate::{
    Answer, CancelToken, EvalOptions, ParseOptions, Severity, Steps, Value, ast::Expr, distribute,
    eval::Inputs, eval::NoLeaves, evaluate, parse, resolve, run_fragment, wire,
};

/// What scripts allow a query to hold in memory.
const SAMPLES_MAX: usize = 10_000;

/// What a query answered.
pub(super) struct Outcome {
    pub(super) value: Value,
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

pub(super) enum Engine<'a> {
    Whole(&'a Storage),
    /// One storage per shard.
    Sharded(Vec<Storage>),
}

impl<'a> Engine<'a> {
    pub(super) fn new(storage: &'a Storage, options: &RunOptions<'_>) -> Self {
        match options.shards {
            0 | 1 => Self::Whole(storage),
            shards => Self::Sharded(storage.split(shards, options.shard_of)),
        }
    }

    pub(super) fn query(&self, query: &str, steps: Steps) -> Result<Outcome, String> {
        let options = EvalOptions {
            samples_max: SAMPLES_MAX,
            has_delayed_name_removal: true,
            uses_start_timestamps: true,
            ..EvalOptions::new(steps)
        };
        let expr = parse(query, &ParseOptions::everything()).map_err(|error| error.to_string())?;
        let expr = resolve(expr, query, &steps).map_err(|error| error.to_string())?;
        let answer = match self {
            Self::Whole(storage) => evaluate(&expr, &options, *storage, &CancelToken::new())
                .map_err(|error| error.to_string())?,
            Self::Sharded(shards) => query_shards(&expr, &options, shards)?,
        };
        let mut outcome = Outcome { value: answer.value, warnings: Vec::new(), infos: Vec::new() };
        for note in answer.annotations.iter() {
            let text = note.render(query);
            match note.severity {
                Severity::Warning => outcome.warnings.push(text),
                Severity::Info => outcome.infos.push(text),
            }
        }
        Ok(outcome)
    }
}

/// Everything that a cluster does but the network: fragments as text, answers as bytes.
fn query_shards(expr: &Expr, options: &EvalOptions, shards: &[Storage]) -> Result<Answer, String> {
    let cancel = CancelToken::new();
    let plan = distribute(expr, options);
    let mut answers = Vec::new();
    for fragment in plan.fragments() {
        let options = plan.fragment_options(fragment);
        let mut of_shards = Vec::new();
        for source in shards {
            let inputs = Inputs { source, leaves: &NoLeaves, cancel: &cancel };
            let answer = run_fragment(&fragment.text, fragment.kind, &options, inputs)
                .map_err(|error| error.to_string())?;
            let answer = wire::decode(&wire::encode(&answer)).map_err(|error| error.to_string())?;
            of_shards.push(answer);
        }
        answers.push(of_shards);
    }
    plan.finish(answers, &cancel).map_err(|error| error.to_string())
}
