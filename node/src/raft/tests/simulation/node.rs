//! One node of a simulation: the product's groups and network on a runtime whose time we make pass.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use narthex_cluster::{ClusterState, ShardId};
use openraft::async_runtime::Instant as _;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::sleep,
};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};
use tonic::{Extensions, transport::Server};

use super::{
    SHARDS,
    clock::SimulatedClock,
    replica::{Hosts, Replica},
    scraping::Scraping,
    wires::{Dialled, SimulatedPeers, Wires},
};
use crate::raft::{
    Group, GroupConfig, GroupId, Leadership, Network, NodeId, StateMachine,
    group::Core,
    jobs::Jobs,
    log::simulated::{Disk, SimulatedLog},
    machine::Machine,
    runtime::{RaftInstant, begin_grid},
};

pub struct SimulatedNode {
    pub id: NodeId,
    runtime: Runtime,
    /// Where its grid of timers begins.
    origin: RaftInstant,
    log: SimulatedLog,
    jobs: Arc<Jobs>,
    pub replicas: BTreeMap<GroupId, Replica>,
    pub scraping: Scraping,
    /// Applies in one of so many ticks.
    pub apply_ticks: u64,
    ticks: u64,
}

impl SimulatedNode {
    /// Starts a node on what its disk has.
    pub fn start(
        (id, incarnation): (NodeId, u64),
        disk: &mut Disk,
        wires: &Wires,
        clock: &Arc<SimulatedClock>,
    ) -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let origin = runtime.block_on(async { RaftInstant::now() });
        let (log, jobs) = (disk.open(), Arc::<Jobs>::default());
        let peers = Arc::new(SimulatedPeers { wires: wires.clone(), node: id, incarnation });
        let network = Network::new(id, peers, runtime.handle().clone());
        runtime.spawn(serve(network.clone(), wires.listen(id)));
        let mut node = Self {
            id,
            runtime,
            origin,
            log,
            jobs,
            replicas: BTreeMap::new(),
            scraping: Scraping::default(),
            apply_ticks: 1,
            ticks: 0,
        };
        node.open(GroupId::CONTROL, Replica::control(), (&network, clock));
        for shard in SHARDS {
            node.open(GroupId::shard(shard), Replica::shard(id), (&network, clock));
        }
        node
    }

    fn open(
        &mut self,
        group: GroupId,
        (replica, machine): (Replica, Box<dyn StateMachine>),
        (network, clock): (&Network, &Arc<SimulatedClock>),
    ) {
        let (place, applied) = ((self.id, network.clone()), machine.applied());
        let machine = (Machine::new(self.jobs.clone(), group, machine), applied);
        let core = Core::new(place, GroupConfig::new(group), self.log.group(group), machine);
        let (failure, handle) = (self.log.failure(), self.runtime.handle().clone());
        let (id, clock, hosts, open) =
            (self.id, clock.clone(), replica.hosts.clone(), replica.open.clone());
        self.runtime.spawn(async move {
            let group = Group::start(core, failure, &handle).await.unwrap();
            *open.lock() = Some(hosts.open(group, id, clock));
        });
        self.replicas.insert(group, replica);
    }

    /// Lets `tick` pass; `now` is the time since the beginning.
    pub fn step(&mut self, disk: &mut Disk, now: Duration, tick: Duration) {
        begin_grid(self.origin);
        self.runtime.block_on(async move { sleep(tick).await });
        self.ticks += 1;
        if self.ticks.is_multiple_of(self.apply_ticks) {
            self.jobs.run_waiting();
        }
        disk.step(&self.log, now);
    }

    pub fn is_open(&self) -> bool {
        self.replicas.values().all(|replica| replica.open.lock().is_some())
    }

    pub fn leadership(&self, group: GroupId) -> Leadership {
        let group = self.replicas[&group].group();
        group.map_or_else(Leadership::default, |group| *group.leadership().borrow())
    }

    pub fn shard(&self, shard: ShardId) -> &Replica {
        &self.replicas[&GroupId::shard(shard.0)]
    }

    /// Cluster state as this node has it.
    pub fn state(&self) -> Arc<ClusterState> {
        match &self.replicas[&GroupId::CONTROL].hosts {
            Hosts::Control(state) => state.borrow().clone(),
            Hosts::Shard(_) => unreachable!("the control group has no shard"),
        }
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    pub fn found(&self, group: GroupId, voters: impl Iterator<Item = NodeId>) {
        let Some(group) = self.replicas[&group].group() else { return };
        let voters = voters.collect();
        self.spawn(async move { drop(group.initialize(&voters).await) });
    }

    pub fn transfer_leader(&self, group: GroupId, to: NodeId) {
        let Some(group) = self.replicas[&group].group() else { return };
        self.spawn(async move { drop(group.transfer_leader(to).await) });
    }
}

async fn serve(network: Network, dialled: mpsc::UnboundedReceiver<Dialled>) {
    let (calls, incoming) = mpsc::unbounded_channel();
    let incoming = UnboundedReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
    let service = network.service();
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    let mut dialled = UnboundedReceiverStream::new(dialled);
    while let Some(dialled) = dialled.next().await {
        match dialled {
            Dialled::Call(stream) => calls.send(stream).unwrap(),
            Dialled::Stream(stream) => {
                let network = network.clone();
                tokio::spawn(async move {
                    network.serve(Box::new(stream), &Extensions::new()).await;
                });
            }
        }
    }
}
