//! Rules as this node evaluates them: the configuration of cluster state, the groups of the shards that
//! it leads, and the door to them.

use std::{collections::HashMap, sync::Arc};

use narthex_cluster::ShardId;
use narthex_proto::client::ShardClient;
use tokio::task::JoinSet;

use super::{
    RuleMetrics, RuleQueries, Schedule,
    delivery::Delivery,
    evaluation::Evaluator,
    notify::{Notifier, NotifierMetrics},
    task::{Message, RulesHandle, Runner},
};
use crate::{
    node::Shared,
    owners::{self, Owner},
    scrape::Stopped,
    scraping::follow_config,
    shard::{Replica, Replicas},
};

/// What rules are evaluated with.
pub(crate) struct RuleInputs {
    /// Answers their expressions.
    pub queries: Arc<dyn RuleQueries>,
    /// Where people reach the cluster.
    pub external_url: String,
    /// Counters.
    pub metrics: (Arc<RuleMetrics>, Arc<NotifierMetrics>),
}

/// Starts evaluating rules. Which ones follows cluster state and leadership by itself.
pub(crate) fn start(
    shared: &Arc<Shared>,
    replicas: &Arc<Replicas>,
    client: ShardClient,
    inputs: RuleInputs,
) -> RulesHandle {
    let RuleInputs { queries, external_url, metrics: (metrics, notifier_metrics) } = inputs;
    let state = shared.control.state();
    let config = follow_config(shared, state.clone());
    let notifier = Notifier {
        clock: shared.clock.clone(),
        config: config.clone(),
        metrics: notifier_metrics,
        tasks: shared.tasks.clone(),
        stop: shared.stop.clone(),
    };
    let notifier = notifier.spawn();
    let (handle, inbox) = RulesHandle::new(notifier.clone());
    let delivery = Delivery { client: client.clone(), metrics: metrics.clone() };
    let external_url = external_url.trim_end_matches('/').to_owned();
    let evaluator = Evaluator { shared: shared.clone(), queries, delivery, metrics, external_url };
    let runner = Runner {
        evaluator: Arc::new(evaluator),
        client,
        config,
        state,
        notifier,
        schedule: Schedule::new(),
        groups: HashMap::new(),
        parsed: None,
        memories: HashMap::new(),
        shown: HashMap::new(),
        sent: HashMap::new(),
        led: HashMap::new(),
        running: JoinSet::new(),
        endings: JoinSet::new(),
    };
    let stop = shared.stop.clone();
    shared.tasks.spawn(stop.run_until_cancelled_owned(runner.run(inbox)));
    shared.tasks.spawn(owners::follow(shared.clone(), replicas.clone(), handle.clone()));
    handle
}

impl Owner for RulesHandle {
    async fn lead(&self, replica: &Arc<Replica>, term: u64) -> Result<(), Stopped> {
        self.send(Message::Lead(replica.clone(), term)).await
    }

    async fn leave(&self, shard: ShardId) -> Result<(), Stopped> {
        self.send(Message::Leave(shard)).await
    }
}
