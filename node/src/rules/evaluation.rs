//! One evaluation of a group: its rules one stage after the other, at the time of its slot.
//!
//! Invariants
//! * what a stage comes to is state of the group's shard before any of it is stored elsewhere, and is
//!   stored, as far as shards can be reached, before the next stage begins;
//! * a rule whose expression is not answered whole changes nothing: its alerts and series stay as they
//!   are, and it is noted since when they are unconfirmed;
//! * after an entry that failed the state is what the shard says, not what was meant.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _,
    stream::{self, StreamExt as _},
};
use narthex_model::{Labels, Timestamp};
use narthex_promql::{Sample, VectorElement};
use narthex_rules::{Expansion, Queries, Rule, RuleState};
use narthex_tsdb::{RuleGroupId, entry};
use tokio::runtime::Handle;

use super::{
    RuleQueries,
    delivery::{Delivery, RuleResult, parcels},
    groups::{Group, RuleKey},
    metrics::{Evaluated, RuleMetrics},
    state::{GroupState, Parcel, RuleMemory, StateError, position},
};
use crate::{
    node::Shared,
    scrape::Slot,
    shard::{
        Replica,
        core::Urgency,
        forward::Owner,
        task::{Write, WriteError},
    },
};

/// Rules of a stage whose expressions are evaluated at once, as Prometheus does with
/// `--rules.max-concurrent-evals`.
const CONCURRENT_MAX: usize = 4;
/// How long the shards of results may take, in between as long as the interval: an election fits.
const DELIVERY_TIME_MIN: Duration = Duration::from_secs(5);
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(10);

/// What every evaluation works with.
pub(super) struct Evaluator {
    pub shared: Arc<Shared>,
    pub queries: Arc<dyn RuleQueries>,
    pub delivery: Delivery,
    pub metrics: Arc<RuleMetrics>,
    pub external_url: String,
}

/// What came of a rule's last evaluation under this owner.
#[derive(Debug, Clone, Default)]
pub struct RuleStatus {
    /// `None` before the first one.
    pub evaluated: Option<Timestamp>,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; empty if it did not.
    pub error: String,
}

/// What the owner of a group keeps in memory of it.
#[derive(Debug, Default)]
pub(super) struct GroupMemory {
    /// What the shard has of it; `None`: look.
    pub state: Option<GroupState>,
    pub statuses: BTreeMap<RuleKey, RuleStatus>,
    pub evaluated: Option<Timestamp>,
    pub took: Duration,
}

/// An evaluation to perform.
pub(super) struct Work {
    pub replica: Arc<Replica>,
    /// The term in which this node leads the group's shard.
    pub term: u64,
    pub group: Arc<Group>,
    pub slot: Slot,
    pub external_labels: Arc<BTreeMap<String, String>>,
}

/// Why an evaluation was not carried through.
#[derive(Debug, thiserror::Error)]
pub(super) enum EvaluationError {
    /// Another node goes on.
    #[error("this node no longer leads the group's shard")]
    NotLeader,
    /// The next slot tries again.
    #[error("the group's shard did not take what its rules came to: {0}")]
    NotStored(WriteError),
    /// Upgrade this program.
    #[error(transparent)]
    State(#[from] StateError),
    /// Split the group.
    #[error("what the rules of the group remember does not fit an entry: {0}")]
    TooLarge(WriteError),
    /// The disk is full.
    #[error("{0}")]
    NoSpace(String),
}

/// The answer to one rule's expression, and how long that took.
type Answered = (Result<Vec<VectorElement>, String>, Duration);

impl Evaluator {
    /// Evaluates the group at its slot, or what is left of that.
    pub(super) async fn evaluate(
        &self,
        work: &Work,
        memory: &mut GroupMemory,
    ) -> Result<(), EvaluationError> {
        self.shared.disk.check_writes().map_err(EvaluationError::NoSpace)?;
        let began = self.shared.clock.monotonic();
        let mut state = match memory.state.take() {
            Some(state) => state,
            None => self.load(work).await?,
        };
        let Some(first) = state.next_stage(work.slot, &work.group) else {
            memory.state = Some(state);
            return Ok(());
        };
        let mut evaluated = Evaluated { at: work.slot.start().seconds(), ..Evaluated::default() };
        state.stages = work.group.stages.len().max(1);
        state.fingerprint = work.group.fingerprint;
        state.interval_millis = i64::try_from(work.group.interval.as_millis()).unwrap_or(i64::MAX);
        for stage in first..state.stages {
            self.stage(work, stage, (&mut state, memory), &mut evaluated).await?;
        }
        evaluated.took = self.elapsed(began);
        (memory.evaluated, memory.took) = (Some(work.slot.start()), evaluated.took);
        memory.state = Some(state);
        self.metrics.note_evaluated(work.group.id, &evaluated);
        Ok(())
    }

    /// What the group's shard has of it, once all that was acknowledged is applied here. What it is
    /// not known to have delivered is delivered again.
    async fn load(&self, work: &Work) -> Result<GroupState, EvaluationError> {
        let current = work.replica.group.read_linearizable().await;
        current.map_err(|_| EvaluationError::NotLeader)?;
        let stored = work.replica.reader.rule_group(RuleGroupId(work.group.id.0));
        let mut state = match stored {
            Some(stored) => GroupState::decode(&stored.state)?,
            None => GroupState::default(),
        };
        self.deliver(work, &mut state.outbox).await;
        Ok(state)
    }

    async fn stage(
        &self,
        work: &Work,
        stage: usize,
        (state, memory): (&mut GroupState, &mut GroupMemory),
        evaluated: &mut Evaluated,
    ) -> Result<(), EvaluationError> {
        let group = &work.group;
        let rules = group.stages.get(stage).cloned().unwrap_or(0..0);
        let missing = state.outbox.iter().find(|it| it.position >= position(work.slot, 0));
        let answers = match missing {
            // What earlier rules of the slot came to is not stored everywhere.
            Some(parcel) => {
                let problem = format!("shard {} lacks results of earlier rules", parcel.shard);
                rules.clone().map(|_| (Err(problem.clone()), Duration::ZERO)).collect()
            }
            None => self.answers(work, &group.group.rules[rules.clone()]).await,
        };
        (state.slot, state.stages_done) = (work.slot, stage + 1);
        let at = position(work.slot, stage + 1);
        let mut outbox = Vec::new();
        for (number, (answer, took)) in rules.zip(answers) {
            let key = group.keys[number];
            let began = self.shared.clock.monotonic();
            let rule = state.rules.remove(&key).unwrap_or_default();
            let mut rule = Arc::unwrap_or_clone(rule);
            let outcome = match answer {
                Ok(answer) => self.judge(work, number, rule.alerts.clone(), answer).await,
                Err(problem) => Err((rule.alerts.clone(), problem)),
            };
            let took = took + self.elapsed(began);
            let error = match outcome {
                Ok((alerts, samples)) => {
                    evaluated.samples += samples.len() as u64;
                    rule.alerts = alerts;
                    rule.unconfirmed_since = None;
                    outbox.extend(self.part(work, (key, &mut rule), &samples, at));
                    String::new()
                }
                Err((alerts, problem)) => {
                    rule.alerts = alerts;
                    let is_active = rule.alerts.active_alerts().next().is_some();
                    let since = rule.unconfirmed_since.unwrap_or(work.slot.start());
                    rule.unconfirmed_since = is_active.then_some(since);
                    evaluated.failures += 1;
                    problem
                }
            };
            evaluated.rules += 1;
            self.metrics.note_rule(took);
            let status = RuleStatus { evaluated: Some(work.slot.start()), took, error };
            memory.statuses.insert(key, status);
            state.rules.insert(key, Arc::new(rule));
        }
        if stage == 0 {
            outbox.extend(end_orphans(work, state, at));
        }
        state.outbox.extend(outbox);
        self.store(work, Some(state)).await?;
        self.deliver(work, &mut state.outbox).await;
        Ok(())
    }

    /// What the expressions of a stage's rules give, in their order.
    async fn answers(&self, work: &Work, rules: &[Rule]) -> Vec<Answered> {
        let time = self.query_time(work);
        let asked: Vec<_> = rules.iter().map(|rule| self.answer(rule, time).boxed()).collect();
        stream::iter(asked).buffered(CONCURRENT_MAX).collect().await
    }

    async fn answer(&self, rule: &Rule, time: Timestamp) -> Answered {
        let began = self.shared.clock.monotonic();
        let answer = self.queries.query(&rule.query, time).await;
        (answer, self.elapsed(began))
    }

    /// What a rule makes of an answer. Templates may ask queries, and wait for them: not on a thread of
    /// the runtime. With an error comes what the alerts are then: a broken limit clears them.
    async fn judge(
        &self,
        work: &Work,
        number: usize,
        mut alerts: RuleState,
        answer: Vec<VectorElement>,
    ) -> Result<(RuleState, Vec<(Labels, Sample)>), (RuleState, String)> {
        let (group, time) = (work.group.clone(), work.slot.start());
        let external_labels = work.external_labels.clone();
        let external_url = self.external_url.clone();
        let queries = Waiting { handle: Handle::current(), queries: self.queries.clone() };
        let before = alerts.clone();
        let judged = tokio::task::spawn_blocking(move || {
            let expansion = Expansion {
                time,
                external_labels: &external_labels,
                external_url: &external_url,
                queries: &queries,
            };
            let rule = &group.group.rules[number];
            match alerts.answered(&group.group, rule, answer, &expansion) {
                Ok(samples) => Ok((alerts, samples)),
                Err(error) => Err((alerts, error.to_string())),
            }
        });
        judged.await.unwrap_or_else(|error| Err((before, format!("BUG: a rule panicked: {error}"))))
    }

    /// What shards are to store of a rule's samples.
    fn part(
        &self,
        work: &Work,
        (key, rule): (RuleKey, &mut RuleMemory),
        samples: &[(Labels, Sample)],
        position: u64,
    ) -> Vec<Parcel> {
        let cluster = self.shared.control.state().borrow().clone();
        let time = self.query_time(work);
        let before = std::mem::take(&mut rule.shards);
        let result = RuleResult { rule: key, samples, before: &before, position, time };
        let (parcels, shards) = parcels(&cluster, &result);
        rule.shards = shards;
        parcels
    }

    /// Makes it state of the group's shard how far the group came, or that it has ended.
    async fn store(&self, work: &Work, state: Option<&GroupState>) -> Result<(), EvaluationError> {
        let bytes = state.map(GroupState::encode);
        let position = state.map_or_else(|| position(work.slot, 0), GroupState::position);
        let group = RuleGroupId(work.group.id.0);
        let write = Write {
            bytes: bytes.as_ref().map_or(0, Vec::len) + 64,
            urgency: Urgency::AtOnce,
            encode: Box::new(move |entry, _| {
                let state = bytes.as_deref();
                entry.rule_group(entry::RuleGroup { group, position, state });
                Ok(())
            }),
        };
        match work.replica.writer.write(write).await {
            Ok(outcome) if outcome.fenced.is_some() => {
                // Somebody of a later term was there already.
                Err(EvaluationError::NotLeader)
            }
            Ok(_) => Ok(()),
            Err(WriteError::NotLeader { .. }) => Err(EvaluationError::NotLeader),
            Err(problem @ WriteError::TooLarge { .. }) => Err(EvaluationError::TooLarge(problem)),
            Err(problem) => Err(EvaluationError::NotStored(problem)),
        }
    }

    async fn deliver(&self, work: &Work, outbox: &mut Vec<Parcel>) {
        if outbox.is_empty() {
            return;
        }
        let within = work.group.interval.clamp(DELIVERY_TIME_MIN, DELIVERY_TIME_MAX);
        let deadline = (self.shared.clock.monotonic() + within).into();
        let shard = work.replica.shard;
        let owner = Owner { shard, term: work.term, node: self.shared.node.0 };
        self.delivery.deliver(owner, outbox, deadline).await;
    }

    /// Ends the series of a group that exists no longer, and what its shard has of it.
    pub(super) async fn end(&self, work: &Work) -> Result<(), EvaluationError> {
        let mut state = self.load(work).await?;
        state.slot = state.slot.max(work.slot);
        state.stages_done = state.stages;
        let at = position(state.slot, state.stages_done);
        let mut outbox = end_orphans(work, &mut state, at);
        self.deliver(work, &mut outbox).await;
        if !outbox.is_empty() {
            let reason = "a shard of its series does not answer".to_owned();
            let busy = WriteError::Busy { retry_after: Duration::ZERO, reason };
            return Err(EvaluationError::NotStored(busy));
        }
        let last = Work { slot: Slot(state.slot.0.saturating_add(1)), ..work.clone() };
        self.store(&last, None).await
    }

    fn query_time(&self, work: &Work) -> Timestamp {
        let offset = i64::try_from(work.group.query_offset.as_millis()).unwrap_or(i64::MAX);
        work.slot.start().saturating_add_millis(-offset)
    }

    fn elapsed(&self, began: Instant) -> Duration {
        self.shared.clock.monotonic().saturating_duration_since(began)
    }
}

impl Clone for Work {
    fn clone(&self) -> Self {
        Self {
            replica: self.replica.clone(),
            term: self.term,
            group: self.group.clone(),
            slot: self.slot,
            external_labels: self.external_labels.clone(),
        }
    }
}

/// Forgets rules that are not the group's any more; their series end.
fn end_orphans(work: &Work, state: &mut GroupState, position: u64) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    for key in state.orphans(&work.group) {
        let Some(rule) = state.rules.remove(&key) else { continue };
        parcels.extend(rule.shards.iter().map(|&shard| Parcel {
            shard,
            rule: key.0,
            position,
            time_ms: work.slot.0,
            is_gone: true,
            samples: bytes::Bytes::new(),
        }));
    }
    parcels
}

/// Queries of templates, which wait for their answer on a thread that may.
struct Waiting {
    handle: Handle,
    queries: Arc<dyn RuleQueries>,
}

impl Queries for Waiting {
    fn query(&self, query: &str, time: Timestamp) -> Result<Vec<VectorElement>, String> {
        self.handle.block_on(self.queries.query(query, time))
    }
}
