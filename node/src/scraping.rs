//! Scraping as this node does it: the configuration of cluster state, the targets of the shards
//! that it leads, and the door to them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use narthex_cluster::{ClusterState, Member, NodeId, ShardId, TenantId};
use narthex_model::{Labels, Timestamp};
use narthex_proto::client::ShardClient;
use tokio::{runtime::Handle, sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    clock::Clock,
    config::{BuiltinHost, Config},
    discovery::{Discovery, DiscoveryMetrics},
    generated::{self, OwnConfig},
    node::{Shared, StartError},
    owners::{self, Owner},
    scrape::{
        Leadership, Routing, ScrapeMetrics, Scraper, ScraperHandle, ScraperInputs, Stopped,
        TargetId,
    },
    shard::{
        Replica, Replicas,
        hand_over::{HandOver, Held},
        sink::ReplicaSink,
    },
};

/// How long a process that waits for an epoch sleeps without looking at the clock, and one that
/// waits for none.
const CLOCK_PAUSE_MAX: Duration = Duration::from_secs(1);
const ROUTING_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Starts scraping. What is scraped follows cluster state and leadership by itself. Samples enter
/// the log on the caller's runtime.
pub(crate) fn start(
    shared: &Arc<Shared>,
    replicas: &Arc<Replicas>,
    client: ShardClient,
    (metrics, discovery): (Arc<ScrapeMetrics>, Arc<DiscoveryMetrics>),
) -> Result<ScraperHandle, StartError> {
    let state = shared.control.state();
    let config = follow_config(shared, state.clone());
    let discovery = Discovery::new(shared.clock.clone(), config.clone(), discovery);
    let discovery = discovery.spawn(&shared.tasks, shared.stop.clone());
    let scraper = Scraper::new(ScraperInputs {
        clock: shared.clock.clone(),
        sink: Arc::new(HandOver {
            sink: Arc::new(ReplicaSink::new(shared.clone(), replicas.clone(), client)),
            runtime: Handle::current(),
            tasks: shared.tasks.clone(),
            clock: shared.clock.clone(),
            held: Held::default(),
        }),
        config,
        discovered: discovery.subscribe(),
        hash_seed: uuid::Uuid::new_v4().as_u64_pair().0,
        metrics,
    });
    let io = |source| StartError::Io { step: "start the scraper", source };
    let scraper = scraper.spawn(&shared.tasks, shared.stop.clone()).map_err(io)?;
    let (clock, stop) = (shared.clock.clone(), shared.stop.clone());
    shared.tasks.spawn(follow_routing(scraper.clone(), state, clock, stop));
    let owner = ScrapeOwner { scraper: scraper.clone(), clock: shared.clock.clone() };
    shared.tasks.spawn(owners::follow(shared.clone(), replicas.clone(), owner));
    Ok(scraper)
}

/// The configuration in force: that of cluster state, or the built-in one where it is wanted, and
/// behind it the jobs of objects.
pub(crate) fn follow_config(
    shared: &Arc<Shared>,
    state: watch::Receiver<Arc<ClusterState>>,
) -> watch::Receiver<Arc<Config>> {
    let builtin_node = shared.scrapes_builtin.then_some(shared.node);
    let own: Arc<OwnConfig> = Arc::new(move |state| config_of(state, builtin_node));
    generated::follow(state, own, &shared.tasks, shared.stop.clone())
}

/// `builtin_node`: the node, where the built-in configuration stands in for one of cluster state.
fn config_of(state: &ClusterState, builtin_node: Option<NodeId>) -> Config {
    if let Some(imported) = state.scrape_config() {
        match Config::decode(&imported.content) {
            Ok(config) => return config,
            // Checked before it was proposed; a newer version's is not readable here.
            Err(problem) => error!(%problem, "scrape configuration of cluster state is unreadable"),
        }
    }
    let Some(node) = builtin_node else { return Config::default() };
    let members = || state.members().values().filter(|member| !member.addresses.web.is_empty());
    let processes: Vec<String> = members().map(|member| member.addresses.web.clone()).collect();
    Config::builtin(&processes, &hosts(members(), node))
}

/// The machines. This node, which runs, is asked before others for the page of its machine.
fn hosts<'a>(members: impl Iterator<Item = &'a Member>, node: NodeId) -> Vec<BuiltinHost> {
    let mut machines: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
    for member in members.filter(|member| !member.addresses.host.is_empty()) {
        machines.entry(&member.addresses.host).or_default().push(member);
    }
    let host = |(host_name, members): (&str, Vec<&Member>)| {
        let address = members[0].addresses.web.clone();
        let mut sources = members;
        sources.sort_by_key(|member| (member.id != node, member.id));
        BuiltinHost {
            host_name: host_name.to_owned(),
            address,
            sources: sources.into_iter().map(|member| member.addresses.web.clone()).collect(),
        }
    };
    machines.into_iter().map(host).collect()
}

/// Targets belong to shards as the epoch of the present says. What a scrape brings of another
/// epoch, since clocks differ or a page says its own times, goes to its shard all the same.
async fn follow_routing(
    scraper: ScraperHandle,
    mut state: watch::Receiver<Arc<ClusterState>>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut routed = None;
    loop {
        let current = state.borrow_and_update().clone();
        let now = clock.now();
        let epoch = current.epoch_at(now).cloned();
        if let Some(epoch) = &epoch
            && routed.as_ref() != Some(epoch)
        {
            info!(epoch = epoch.number, shards = epoch.ring.shards().len(), "targets are routed");
            routed = Some(epoch.clone());
            let epoch = epoch.clone();
            let routing: Routing =
                Arc::new(move |labels: &Labels| epoch.shard_of(TenantId(0), labels));
            if scraper.route(routing).await == Err(Stopped) {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(until_next(&current, now)) => {}
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

/// Until the next epoch begins, or the clock is to be looked at again: it may be set.
fn until_next(state: &ClusterState, now: Timestamp) -> Duration {
    let mut later = state.epochs().iter().filter(|epoch| epoch.from > now);
    let Some(next) = later.next() else { return ROUTING_PAUSE_MAX };
    let millis = u64::try_from(next.from.millis_since(now)).unwrap_or(0).max(1);
    Duration::from_millis(millis).min(CLOCK_PAUSE_MAX)
}

/// The scraper as an owner of shards.
#[derive(Clone)]
struct ScrapeOwner {
    scraper: ScraperHandle,
    clock: Arc<dyn Clock>,
}

impl Owner for ScrapeOwner {
    async fn lead(&self, replica: &Arc<Replica>, _term: u64) -> Result<(), Stopped> {
        let known = replica.reader.targets().into_iter();
        // Parts of other shards' targets, and of rules' results, end when those say so.
        let known = known.filter(|target| target.owner.is_none());
        let known = known.map(|target| TargetId(target.id.0)).collect();
        let since = self.clock.now();
        self.scraper.lead(Leadership { shard: replica.shard, since, known }).await
    }

    async fn leave(&self, shard: ShardId) -> Result<(), Stopped> {
        self.scraper.leave(shard).await
    }
}
