//! Conformance scripts: load series, evaluate queries, compare the answers.
//!
//! The language is that of the Prometheus project's own scripts. A script runs against series in
//! memory, either as one storage or spread over shards; then each query is distributed as in a
//! cluster: fragments travel as text, their answers as bytes. Instant queries are also asked as
//! the middle step of a range, which must not change what they answer.
//!
//! The notation of series and the storage are also for who tests something else than PromQL.

mod buckets;
mod check;
mod engine;
mod notation;
mod script;
mod series;
#[cfg(test)]
mod sharding;
mod storage;

use std::fmt;

use narthex_model::{Labels, Timestamp};

use crate::{
    ParseOptions, Steps,
    ast::{Expr, ExprKind},
    parse,
    types::ValueType,
};
use engine::Engine;
pub use notation::{NotedSeries, read_histogram, read_labels, read_series};
use script::{CommandKind, Eval};
pub use storage::{Storage, spread};

/// How a script is run.
pub struct RunOptions<'a> {
    /// Over how many shards series are spread; 1 runs queries whole.
    pub shards: usize,
    /// Which shard a series belongs to; taken modulo `shards`.
    pub shard_of: &'a dyn Fn(&Labels) -> usize,
    /// When the ring changes: there is one shard more from each of these times on.
    pub splits: &'a [Timestamp],
}

/// How a script went.
#[derive(Debug, Clone, Default)]
pub struct ScriptReport {
    /// Queries that answered as expected.
    pub passed: usize,
    /// Queries that did not.
    pub failed: usize,
    /// What went wrong, in the order of the script.
    pub details: Vec<Failure>,
}

/// A query that did not answer as expected.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The line of the query's command, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// What was wrong with its answer.
    pub why: String,
}

/// A script that cannot be read.
#[derive(Debug, Clone)]
pub struct ScriptError {
    /// 0 for a text that is no script.
    line: usize,
    text: String,
    why: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        write!(f, "{}: {}", self.why, self.text)
    }
}

impl std::error::Error for ScriptError {}

impl ScriptError {
    fn series(text: &str, why: impl ToString) -> Self {
        Self { line: 0, text: text.to_owned(), why: why.to_string() }
    }

    fn command(text: &str) -> Self {
        Self::series(text, "no such command")
    }

    fn at_line(self, line: usize) -> Self {
        Self { line, ..self }
    }
}

/// Runs a script. Queries that answer wrongly are counted, not errors.
pub fn run(script: &str, options: &RunOptions<'_>) -> Result<ScriptReport, ScriptError> {
    let commands = script::parse(script)?;
    let mut storage = Storage::default();
    let mut report = ScriptReport::default();
    for command in commands {
        match command.kind {
            CommandKind::Clear => storage = Storage::default(),
            CommandKind::Load(load) => storage.load(&load),
            CommandKind::Eval(eval) => {
                let engine = Engine::new(&storage, options);
                match evaluate(&eval, &engine) {
                    Ok(()) => report.passed += 1,
                    Err(why) => {
                        report.failed += 1;
                        let failure = Failure { line: command.line, query: eval.query, why };
                        report.details.push(failure);
                    }
                }
            }
        }
    }
    Ok(report)
}

fn evaluate(eval: &Eval, engine: &Engine<'_>) -> Result<(), String> {
    let outcome = engine.query(&eval.query, eval.steps);
    check::check(eval, &outcome)?;
    let has_middle = !eval.is_range && outcome.is_ok() && !eval.expected.ordered;
    if !has_middle || !means_the_same_in_a_range(&eval.query) {
        return Ok(());
    }
    let time: Timestamp = eval.steps.start;
    let steps = Steps {
        start: time.saturating_add_millis(-60_000),
        end: time.saturating_add_millis(60_000),
        step_millis: 60_000,
    };
    check::check_middle(eval, &engine.query(&eval.query, steps))
}

/// Whether a query asks neither for the query's own times nor for what has no step.
fn means_the_same_in_a_range(query: &str) -> bool {
    let Ok(expr) = parse(query, &ParseOptions::everything()) else {
        return false;
    };
    let has_steps = matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector);
    let mut depends = false;
    expr.walk(&mut |node: &Expr| {
        depends |= match &node.kind {
            ExprKind::Call(call) => {
                matches!(call.function.name, "start" | "end" | "range" | "step")
            }
            _ => false,
        };
    });
    // Inside modifiers and durations the words are no calls.
    let words = ["start()", "end()", "step()", "range()"];
    let plain: String = query.to_ascii_lowercase().split_whitespace().collect();
    has_steps && !depends && !words.iter().any(|word| plain.contains(word))
}
