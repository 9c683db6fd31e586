//! Goes on from an answer that is remembered.
//!
//! Samples mostly come in order, so that of an answer to a range query all but the last steps stay
//! true. Each shard tells how far back it has changed since the answer; steps that look at nothing
//! from there on are taken, and only those behind them are evaluated.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::try_join_all;
use narthex_cluster::{Gate, ShardId};
use narthex_model::Timestamp;
use narthex_promql::{Answer, EvalStats, MatrixSeries, Steps, Value, join, looks_ahead};
use narthex_proto::{client::ShardError, internal::v1::ChangesRequest};

use super::{Evaluated, Prepared, QueryRequest, lower};
use crate::{
    Querier,
    explain::Explanation,
    metrics::Recall,
    results::{Question, Remembered},
};

/// How long shards may take to say what has changed: as long as that, they can be asked for all.
const PATIENCE: Duration = Duration::from_secs(1);

/// The first steps of a query, remembered and still true.
pub(super) struct Recalled {
    series: Vec<MatrixSeries>,
    steps: Steps,
    /// The step behind them.
    pub(super) next: Timestamp,
    /// The last step that is wanted.
    end: Timestamp,
    applied: BTreeMap<ShardId, u64>,
    shards: usize,
}

impl Recalled {
    /// Whether nothing is left to ask.
    pub(super) fn is_whole(&self) -> bool {
        self.next > self.end
    }

    /// The answer, of what was remembered alone.
    pub(super) fn alone(self) -> Evaluated {
        let mut evaluated = Evaluated::of(self.shards);
        evaluated.explanation.remembered = Some(self.steps);
        evaluated.answer = answer(self.series);
        evaluated.applied = self.applied;
        evaluated
    }

    /// The answer, with the steps behind.
    pub(super) fn followed_by(self, later: Evaluated) -> Evaluated {
        let mut applied = self.applied;
        for (shard, index) in later.applied {
            lower(&mut applied, shard, index);
        }
        let explanation = Explanation { remembered: Some(self.steps), ..later.explanation };
        let answer = join(vec![answer(self.series), later.answer]);
        Evaluated { answer, explanation, applied, ..later }
    }
}

/// An answer that nothing is odd about.
pub(super) fn answer(series: Vec<MatrixSeries>) -> Answer {
    let (annotations, stats) = (Default::default(), EvalStats::default());
    Answer { value: Value::Matrix(series), annotations, stats }
}

impl Querier {
    /// What a query asks, if its answer may be remembered.
    pub(super) fn question(&self, request: &QueryRequest, prepared: &Prepared) -> Option<Question> {
        let is_range = request.steps.step_millis > 0;
        if !self.results.is_on() || !request.remembers || !is_range {
            return None;
        }
        looks_ahead(&prepared.expr, &prepared.options)?;
        let options = &prepared.options;
        Some(Question::new(prepared.expr.to_string(), &request.steps, options.lookback))
    }

    /// The first steps of what was prepared, as far as they are remembered and have not changed.
    pub(super) async fn recall(
        &self,
        question: &Question,
        prepared: &Prepared,
    ) -> Option<Recalled> {
        let recalled = self.try_recall(question, prepared).await;
        let recall = match &recalled {
            None => Recall::Nothing,
            Some(recalled) if recalled.is_whole() => Recall::Whole,
            Some(_) => Recall::Part,
        };
        self.metrics.recalled(recall);
        recalled
    }

    async fn try_recall(&self, question: &Question, prepared: &Prepared) -> Option<Recalled> {
        let remembered = self.results.get(question)?;
        let state = self.cluster.state();
        let steps = prepared.options.steps;
        let known = remembered.steps;
        if state.revision() < remembered.revision || !state.is_open(Gate::Scopes) {
            self.results.forget(question);
            return None;
        }
        let (start, end) = (steps.start.millis(), last_step(&steps));
        if start < known.start.millis() || start > last_step(&known) {
            return None;
        }
        let (earliest, applied) = self.changes(&remembered).await.ok()?;
        let ahead = looks_ahead(&prepared.expr, &prepared.options)?;
        // The last time from which a step sees nothing that has changed.
        let unchanged = earliest.saturating_sub(ahead).saturating_sub(1);
        let last = end.min(last_step(&known)).min(unchanged);
        if last < start {
            self.results.forget(question);
            return None;
        }
        let steps = Steps { end: Timestamp::from_millis(last), ..steps };
        let last = last_step(&steps);
        let steps = Steps { end: Timestamp::from_millis(last), ..steps };
        Some(Recalled {
            series: remembered.between(steps.start, steps.end),
            next: Timestamp::from_millis(last.saturating_add(steps.step_millis)),
            end: Timestamp::from_millis(end),
            steps,
            applied,
            shards: state.shards().len(),
        })
    }

    /// The earliest time that a shard has changed since an answer, and what each has applied now.
    async fn changes(
        &self,
        remembered: &Remembered,
    ) -> Result<(i64, BTreeMap<ShardId, u64>), ShardError> {
        let asked = remembered.applied.iter().map(|(&shard, &since_index)| async move {
            let request = ChangesRequest { tenant: 0, shard_id: shard.0, since_index };
            let changes = self.cluster.changes(request, PATIENCE).await?;
            Ok((shard, changes))
        });
        let (mut earliest, mut applied) = (i64::MAX, BTreeMap::new());
        for (shard, changes) in try_join_all(asked).await? {
            earliest = earliest.min(changes.earliest_ms);
            applied.insert(shard, changes.applied_index);
        }
        Ok((earliest, applied))
    }

    /// Keeps an answer that nothing is odd about, to go on from it.
    pub(super) fn remember(&self, question: Question, steps: Steps, evaluated: &Evaluated) {
        let Evaluated { answer, missing, age, applied, .. } = evaluated;
        let is_plain = missing.is_empty() && age.is_zero() && answer.annotations.is_empty();
        // A node of an earlier version does not say what it has applied.
        let is_known = !applied.is_empty() && !applied.values().any(|index| *index == 0);
        let Value::Matrix(series) = &answer.value else { return };
        if !is_plain || !is_known {
            return self.results.forget(&question);
        }
        let steps = Steps { end: Timestamp::from_millis(last_step(&steps)), ..steps };
        let revision = self.cluster.state().revision();
        let (series, applied) = (series.as_slice().into(), applied.clone());
        self.results.put(question, Remembered { steps, series, applied, revision });
        self.metrics.remembered_bytes.set(i64::try_from(self.results.bytes()).unwrap_or(i64::MAX));
    }
}

/// The time of the last step.
fn last_step(steps: &Steps) -> i64 {
    let (start, end) = (steps.start.millis(), steps.end.millis());
    let past = end.saturating_sub(start).rem_euclid(steps.step_millis.max(1));
    end - past
}
