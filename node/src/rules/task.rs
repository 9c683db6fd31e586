//! Performs the [`Schedule`]: one task that owns the rule groups of this node's shards.
//!
//! It follows the configuration, is told which shards the node leads, and begins evaluations when they
//! are due. Each runs on its own and comes back with the group's memory. When the task ends,
//! evaluations under way are dropped: whoever leads the shard next ends them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use narthex_cluster::{ClusterState, Gate, ShardId, TenantId};
use narthex_model::Timestamp;
use narthex_proto::client::ShardClient;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::{debug, error, info, warn};

use super::{
    core::{Action, Known, Planned, Schedule, Start},
    evaluation::{EvaluationError, Evaluator, GroupMemory, RuleStatus, Work},
    groups::{Group, GroupId, RuleKey, groups_of},
    notify::{NotifierHandle, Outgoing, Sent},
    state::{GroupState, RuleMemory},
};
use crate::{
    config::Config,
    control::current,
    scrape::{Slot, Stopped},
    shard::Replica,
};

/// Messages come from leadership changes and API requests: a handful a second at worst.
const MESSAGE_QUEUE_LEN: usize = 64;
/// The wall clock may be set; so no sleep is longer.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// The kind of thing that a group is, where its name is hashed to a shard.
const RING_KIND: &str = "rule_group";

/// A group as it is shown.
#[derive(Debug, Clone)]
pub struct ShownGroup {
    /// The group.
    pub group: Arc<Group>,
    /// What its rules remember.
    pub rules: HashMap<RuleKey, Arc<RuleMemory>>,
    /// What came of their last evaluations here.
    pub statuses: BTreeMap<RuleKey, RuleStatus>,
    /// The last evaluation, if there was one.
    pub evaluated: Option<Timestamp>,
    /// How long it took.
    pub took: Duration,
}

pub(super) enum Message {
    Lead(Arc<Replica>, u64),
    Leave(ShardId),
    Show(oneshot::Sender<Vec<ShownGroup>>),
}

/// The door to the runner.
#[derive(Debug, Clone)]
pub struct RulesHandle {
    messages: mpsc::Sender<Message>,
    notifier: NotifierHandle,
}

impl RulesHandle {
    /// A handle, and what comes through it.
    pub(super) fn new(notifier: NotifierHandle) -> (Self, mpsc::Receiver<Message>) {
        let (messages, inbox) = mpsc::channel(MESSAGE_QUEUE_LEN);
        (Self { messages, notifier }, inbox)
    }

    /// The groups of this node's shards.
    pub async fn groups(&self) -> Result<Vec<ShownGroup>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Show(answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Where alerts are sent.
    pub fn notifier(&self) -> &NotifierHandle {
        &self.notifier
    }

    pub(super) async fn send(&self, message: Message) -> Result<(), Stopped> {
        self.messages.send(message).await.map_err(|_| Stopped)
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

/// Evaluates what this node owns.
pub(super) struct Runner {
    pub evaluator: Arc<Evaluator>,
    pub client: ShardClient,
    pub config: watch::Receiver<Arc<Config>>,
    pub state: watch::Receiver<Arc<ClusterState>>,
    pub notifier: NotifierHandle,
    pub schedule: Schedule,
    pub groups: HashMap<GroupId, Arc<Group>>,
    /// What was computed from which configuration.
    pub parsed: Option<Arc<Config>>,
    pub memories: HashMap<GroupId, GroupMemory>,
    pub shown: HashMap<GroupId, ShownGroup>,
    pub sent: HashMap<GroupId, Sent>,
    pub led: HashMap<ShardId, (Arc<Replica>, u64)>,
    pub running: JoinSet<Ended>,
    pub endings: JoinSet<(ShardId, Known, Result<(), EvaluationError>)>,
}

/// An evaluation that has ended.
pub(super) struct Ended {
    group: Arc<Group>,
    shard: ShardId,
    term: u64,
    slot: Slot,
    memory: GroupMemory,
    result: Result<(), EvaluationError>,
}

impl Runner {
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        self.reassign();
        loop {
            let wait = self.until_due();
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                Ok(()) = self.config.changed() => self.reassign(),
                Ok(()) = self.state.changed() => self.reassign(),
                Some(ended) = self.running.join_next() => match ended {
                    Ok(ended) => self.end(ended),
                    Err(failed) => error!(error = %failed, "an evaluation ended in a panic"),
                },
                Some(Ok((shard, known, told))) = self.endings.join_next() => {
                    if let Err(error) = told {
                        let group = known.group;
                        debug!(%shard, %group, %error, "rule group could not be ended; trying again");
                        let now = self.evaluator.shared.clock.now();
                        self.schedule.retry_gone(shard, known, now);
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
            self.tick();
        }
    }

    fn until_due(&self) -> Duration {
        let Some(due) = self.schedule.next_due() else { return SLEEP_MAX };
        let millis = due.millis_since(self.evaluator.shared.clock.now());
        Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(SLEEP_MAX)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Lead(replica, term) => self.lead(replica, term),
            Message::Leave(shard) => {
                self.led.remove(&shard);
                self.schedule.disown(shard);
                self.forget_unowned();
            }
            Message::Show(answer) => {
                let mut shown: Vec<ShownGroup> = self.shown.values().cloned().collect();
                shown.sort_by(|a, b| {
                    (&a.group.file, &a.group.group.name).cmp(&(&b.group.file, &b.group.group.name))
                });
                // Whoever asked may have gone.
                let _ = answer.send(shown);
            }
        }
    }

    fn lead(&mut self, replica: Arc<Replica>, term: u64) {
        let shard = replica.shard;
        let (mut known, mut states) = (Vec::new(), HashMap::new());
        for stored in replica.reader.rule_groups() {
            let group = GroupId(stored.id.0);
            match GroupState::decode(&stored.state) {
                Ok(state) => {
                    known.push(known_as(group, &state));
                    states.insert(group, state);
                }
                Err(error) => error!(%shard, %group, %error, "rule group cannot go on"),
            }
        }
        info!(%shard, groups_known = known.len(), "shard is ours: evaluating its rule groups");
        self.led.insert(shard, (replica, term));
        // Others may have led it in between.
        self.schedule.disown(shard);
        self.schedule.own(shard, self.evaluator.shared.clock.now(), &known);
        for (id, state) in states {
            self.memories.remove(&id);
            if let Some(group) = self.groups.get(&id).cloned() {
                let evaluated = Some(state.slot.start());
                self.shown.insert(
                    id,
                    ShownGroup {
                        group,
                        rules: state.rules,
                        statuses: BTreeMap::new(),
                        evaluated,
                        took: Duration::ZERO,
                    },
                );
            }
        }
        self.forget_unowned();
    }

    /// Recomputes the groups where the configuration is another one, and plans them.
    fn reassign(&mut self) {
        let config = self.config.borrow_and_update().clone();
        let state = self.state.borrow_and_update().clone();
        if self.parsed.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &config)) {
            let (groups, problems) = groups_of(&config);
            for problem in problems {
                error!(problem, "rule file of the configuration in force cannot be read");
            }
            self.groups = groups.into_iter().map(|group| (group.id, group)).collect();
            self.parsed = Some(config);
        }
        // Groups belong to shards as the first ring says, whose shards are there for ever: a later one
        // moves series, but no group's state.
        let first = state.epochs().first().filter(|_| state.is_open(Gate::Rules));
        let planned: Vec<Planned> = first.map_or_else(Vec::new, |epoch| {
            let plan = |group: &Arc<Group>| Planned {
                group: group.id,
                shard: epoch.shard_of_name(TenantId(0), RING_KIND, &group.id.to_string()),
                interval: group.interval,
            };
            self.groups.values().map(plan).collect()
        });
        if first.is_some() {
            self.schedule.assign(&planned, self.evaluator.shared.clock.now());
        }
        self.forget_unowned();
    }

    /// Drops what is remembered of groups that others evaluate, and shows those that are ours.
    fn forget_unowned(&mut self) {
        let state = self.state.borrow().clone();
        let Some(epoch) = state.epochs().first() else { return };
        let shard_of = |id: GroupId| epoch.shard_of_name(TenantId(0), RING_KIND, &id.to_string());
        let is_ours =
            |id: &GroupId| self.groups.contains_key(id) && self.led.contains_key(&shard_of(*id));
        self.memories.retain(|id, _| is_ours(id));
        self.shown.retain(|id, _| is_ours(id));
        self.sent.retain(|id, _| is_ours(id));
        let ours: Vec<Arc<Group>> =
            self.groups.values().filter(|group| is_ours(&group.id)).cloned().collect();
        for group in &ours {
            let shown = self.shown.entry(group.id).or_insert_with(|| ShownGroup {
                group: group.clone(),
                rules: HashMap::new(),
                statuses: BTreeMap::new(),
                evaluated: None,
                took: Duration::ZERO,
            });
            shown.group = group.clone();
        }
        self.evaluator.metrics.note_groups(&ours);
    }

    fn tick(&mut self) {
        let now = self.evaluator.shared.clock.now();
        for action in self.schedule.tick(now) {
            match action {
                Action::Evaluate(start) => self.start(start),
                Action::Gone { shard, group } => self.end_group(shard, group, now),
            }
        }
    }

    fn start(&mut self, start: Start) {
        let Start { group: id, shard, slot, missed } = start;
        self.evaluator.metrics.note_missed(id, missed);
        let group = self.groups.get(&id).cloned();
        let led = self.led.get(&shard).cloned();
        let (Some(group), Some((replica, term))) = (group, led) else {
            return self.schedule.finish(id, self.evaluator.shared.clock.now());
        };
        let mut memory = self.memories.remove(&id).unwrap_or_default();
        let external_labels = self.config.borrow().global.external_labels.clone();
        let external_labels = Arc::new(external_labels);
        let work = Work { replica, term, group: group.clone(), slot, external_labels };
        let evaluator = self.evaluator.clone();
        self.running.spawn(async move {
            let result = evaluator.evaluate(&work, &mut memory).await;
            Ended { group, shard, term, slot, memory, result }
        });
    }

    fn end(&mut self, ended: Ended) {
        let Ended { group, shard, term, slot, mut memory, result } = ended;
        self.schedule.finish(group.id, self.evaluator.shared.clock.now());
        if self.led.get(&shard).is_none_or(|(_, current)| *current != term) {
            // What it remembers may be behind what others have done since.
            return;
        }
        if let Err(error) = result {
            memory.state = None;
            self.fail(&group, (slot, &mut memory), &error);
        }
        let Some(shown) = self.shown.get_mut(&group.id) else { return };
        if let Some(state) = &memory.state {
            shown.rules.clone_from(&state.rules);
        }
        shown.statuses.clone_from(&memory.statuses);
        (shown.evaluated, shown.took) = (memory.evaluated.or(shown.evaluated), memory.took);
        let shown = shown.clone();
        self.notify(&shown, slot);
        self.memories.insert(group.id, memory);
    }

    /// Notes on all rules that their evaluation came to nothing.
    fn fail(
        &self,
        group: &Group,
        (slot, memory): (Slot, &mut GroupMemory),
        error: &EvaluationError,
    ) {
        if matches!(error, EvaluationError::NotLeader) {
            return debug!(group = group.group.name, %error, "evaluation lost");
        }
        warn!(file = group.file, group = group.group.name, %error, "evaluation lost");
        self.evaluator.metrics.note_not_stored();
        for key in &group.keys {
            let status = memory.statuses.entry(*key).or_default();
            status.evaluated = Some(slot.start());
            status.error = error.to_string();
        }
    }

    /// Has alerts sent that are due.
    fn notify(&mut self, shown: &ShownGroup, slot: Slot) {
        let group = &shown.group;
        let sent = self.sent.entry(group.id).or_default();
        let mut outgoing = Vec::new();
        for (rule, key) in group.group.rules.iter().zip(&group.keys) {
            let Some(memory) = shown.rules.get(key) else { continue };
            let url = &self.evaluator.external_url;
            outgoing.extend(sent.due(*key, memory, slot.start()).into_iter().map(|alert| {
                Outgoing::new(alert, memory, (rule, url), (slot.start(), group.interval))
            }));
        }
        sent.forget_missing(shown);
        if !outgoing.is_empty() {
            self.notifier.send(outgoing);
        }
    }

    /// Ends a group that the configuration lacks, once that is known to be the present one.
    fn end_group(&mut self, shard: ShardId, id: GroupId, now: Timestamp) {
        let Some((replica, term)) = self.led.get(&shard).cloned() else { return };
        let stored = replica.reader.rule_group(narthex_tsdb::RuleGroupId(id.0));
        let state = stored.and_then(|stored| GroupState::decode(&stored.state).ok());
        let Some(state) = state else { return };
        let known = known_as(id, &state);
        // Without rules, all that is remembered of it is to end.
        let group = Arc::new(Group::without_rules(id, known.interval));
        let work = Work {
            replica,
            term,
            group,
            slot: Slot(now.millis()),
            external_labels: Arc::default(),
        };
        let (evaluator, client) = (self.evaluator.clone(), self.client.clone());
        let digest = |state: &ClusterState| state.scrape_config().map(|it| it.digest);
        let before = digest(&self.state.borrow());
        info!(%shard, group = %id, "rule group is gone: its series end");
        self.endings.spawn(async move {
            let control = &evaluator.shared.control;
            let is_current = current::catch_up(control, &client).await;
            if !is_current || digest(&control.state().borrow()) != before {
                return (shard, known, Err(EvaluationError::NotLeader));
            }
            let result = evaluator.end(&work).await;
            (shard, known, result)
        });
    }
}

/// A group as the schedule knows it: one that was begun and not ended is due again.
fn known_as(group: GroupId, state: &GroupState) -> Known {
    let begun = i64::from(state.is_begun());
    Known {
        group,
        last: Slot(state.slot.0.saturating_sub(begun)),
        interval: Duration::from_millis(u64::try_from(state.interval_millis).unwrap_or(0)),
    }
}
