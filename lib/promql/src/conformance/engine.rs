//! How scripts' queries are evaluated: whole, or over shards as in a cluster.

use narthex_model::Timestamp;

use super::{RunOptions, storage::Storage};
use crate::{
    Answer, CancelToken, EvalOptions, ParseOptions, Plan, Severity, Steps, Value, ast::Expr, cut,
    eval::Inputs, eval::NoLeaves, evaluate, join, parse, resolve, run_fragment, wire,
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
    Sharded(Shards),
}

/// One storage per shard; some come later.
pub(super) struct Shards {
    shards: Vec<Storage>,
    splits: Vec<Timestamp>,
}

impl<'a> Engine<'a> {
    pub(super) fn new(storage: &'a Storage, options: &RunOptions<'_>) -> Self {
        if options.shards <= 1 && options.splits.is_empty() {
            return Self::Whole(storage);
        }
        let shards = storage.split(options.shards, options.shard_of, options.splits);
        Self::Sharded(Shards { shards, splits: options.splits.to_vec() })
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

/// Everything that a cluster does but the network: each piece of the query on the shards of its
/// epochs, fragments as text, answers as bytes.
fn query_shards(expr: &Expr, options: &EvalOptions, all: &Shards) -> Result<Answer, String> {
    let mut answers = Vec::new();
    for piece in cut(expr, options, &all.splits) {
        let later = all.splits.iter().filter(|split| **split > piece.reads.1).count();
        let shards = &all.shards[..all.shards.len() - later];
        answers.push(query_piece(&piece.plan(expr, options), shards)?);
    }
    Ok(join(answers))
}

fn query_piece(plan: &Plan, shards: &[Storage]) -> Result<Answer, String> {
    let cancel = CancelToken::new();
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
