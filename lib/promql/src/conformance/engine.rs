//! How scripts' queries are evaluated: whole, or over shards as in a cluster.

use narthex_model::Timestamp;

use super::{RunOptions, storage::Storage};
use crate::{
    Answer, CancelToken, EvalError, EvalOptions, Fragment, FragmentAnswer, FragmentAnswers,
    ParseOptions, Plan, Reach, ScopedSource, Severity, Steps, Value,
    ast::Expr,
    cut,
    eval::{Inputs, NoLeaves},
    evaluate, join, parse, resolve, run_fragment, wire,
};

/// The job whose series are spread over shards, where one is.
pub(super) const SPREAD_JOB: &str = "spread";

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
        let of_targets = query_piece(&piece.plan(expr, options, Reach::Targets), shards);
        let undecided = EvalError::Undecided.to_string();
        answers.push(match of_targets {
            Err(error) if error == undecided => {
                query_piece(&piece.plan(expr, options, Reach::Series), shards)?
            }
            answer => answer?,
        });
    }
    Ok(join(answers))
}

fn query_piece(plan: &Plan, shards: &[Storage]) -> Result<Answer, String> {
    let (mut of_fragments, cancel) = (Vec::new(), CancelToken::new());
    for fragment in plan.fragments() {
        of_fragments.push(ask_shards(plan, fragment, shards)?);
    }
    plan.finish(of_fragments, &cancel).map_err(|error| error.to_string())
}

fn ask_shards(
    plan: &Plan,
    fragment: &Fragment,
    shards: &[Storage],
) -> Result<FragmentAnswers, String> {
    let mut answers = FragmentAnswers::default();
    let mut unfinished = Vec::new();
    for shard in shards {
        let (answer, left_out) = ask(plan, fragment, shard)?;
        answers.of_shards.push(answer);
        if left_out > 0 {
            unfinished.push(shard);
        }
    }
    let Some(rest) = fragment.rest().filter(|_| !unfinished.is_empty()) else {
        return Ok(answers);
    };
    for fragment in rest.fragments() {
        let asked = unfinished.iter().map(|shard| ask(rest, fragment, shard).map(|(it, _)| it));
        answers.of_rest.push(asked.collect::<Result<_, _>>()?);
    }
    Ok(answers)
}

/// What a shard answers, and how many series it left out.
fn ask(plan: &Plan, fragment: &Fragment, shard: &Storage) -> Result<(FragmentAnswer, u64), String> {
    let (options, cancel) = (plan.fragment_options(fragment), CancelToken::new());
    let is_keyed =
        |job: &str, instance: &str| !job.is_empty() && !instance.is_empty() && job != SPREAD_JOB;
    let source = ScopedSource::new(shard, fragment.scope, &is_keyed);
    let inputs = Inputs { source: &source, leaves: &NoLeaves, cancel: &cancel };
    let answer = run_fragment(&fragment.text, fragment.kind, &options, inputs)
        .map_err(|error| error.to_string())?;
    let answer = wire::decode(&wire::encode(&answer)).map_err(|error| error.to_string())?;
    Ok((answer, source.left_out()))
}
