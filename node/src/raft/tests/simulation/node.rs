//! One node of a simulation: the product's group and network on a runtime whose time we make pass.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::async_runtime::Instant as _;
use parking_lot::Mutex;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::sleep,
};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};
use tonic::{Extensions, transport::Server};

use super::wires::{Dialled, SimulatedPeers, Wires};
use crate::raft::{
    Group, GroupConfig, Leadership, LogPosition, Network, NodeId, StateMachine as _,
    group::Core,
    jobs::Jobs,
    log::simulated::{Disk, SimulatedLog},
    machine::Machine,
    runtime::{RaftInstant, begin_grid},
    tests::cluster::{GROUP, Ledger},
};

/// Writes that were acknowledged: what, and where.
pub type Acks = Arc<Mutex<Vec<(Bytes, LogPosition)>>>;

pub struct SimulatedNode {
    runtime: Runtime,
    /// Where its grid of timers begins.
    origin: RaftInstant,
    log: SimulatedLog,
    jobs: Arc<Jobs>,
    group: Arc<Mutex<Option<Group>>>,
    pub ledger: Ledger,
    /// Entries of the ledger that were checked.
    pub checked: usize,
}

impl SimulatedNode {
    /// Starts a node on what its disk has.
    pub fn start(node: NodeId, incarnation: u64, disk: &mut Disk, wires: &Wires) -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let origin = runtime.block_on(async { RaftInstant::now() });
        let (log, jobs, ledger) = (disk.open(), Arc::<Jobs>::default(), Ledger::default());
        let peers = Arc::new(SimulatedPeers { wires: wires.clone(), node, incarnation });
        let network = Network::new(node, peers, runtime.handle().clone());
        runtime.spawn(serve(network.clone(), wires.listen(node)));
        let machine = Machine::new(jobs.clone(), GROUP, Box::new(ledger.clone()));
        let group_log = log.group(GROUP);
        let config = GroupConfig::new(GROUP);
        let core = Core::new((node, network), config, group_log, (machine, ledger.applied()));
        let (failure, group) = (log.failure(), Arc::new(Mutex::new(None)));
        let (handle, opened) = (runtime.handle().clone(), group.clone());
        runtime.spawn(async move {
            *opened.lock() = Some(Group::start(core, failure, &handle).await.unwrap());
        });
        Self { runtime, origin, log, jobs, group, ledger, checked: 0 }
    }

    /// Lets `tick` pass; `now` is the time since the beginning.
    pub fn step(&mut self, disk: &mut Disk, now: Duration, tick: Duration) {
        begin_grid(self.origin);
        self.runtime.block_on(async move { sleep(tick).await });
        self.jobs.run_waiting();
        disk.step(&self.log, now);
    }

    pub fn group(&self) -> Option<Group> {
        self.group.lock().clone()
    }

    pub fn leadership(&self) -> Leadership {
        self.group().map_or_else(Leadership::default, |group| *group.leadership().borrow())
    }

    pub fn found(&self, voters: impl Iterator<Item = NodeId>) {
        let (group, voters) = (self.group().expect("it is open"), voters.collect());
        self.runtime.spawn(async move { group.initialize(&voters).await.unwrap() });
    }

    /// Proposes a write as the leader of `term`.
    pub fn write(&self, term: u64, data: Bytes, acks: &Acks) {
        let (Some(group), acks) = (self.group(), acks.clone()) else { return };
        self.runtime.spawn(async move {
            let Ok(proposal) = group.propose(term, data.clone()).await else { return };
            if let Ok(outcome) = proposal.await {
                acks.lock().push((data, outcome.position));
            }
        });
    }

    pub fn transfer_leader(&self, to: NodeId) {
        let Some(group) = self.group() else { return };
        self.runtime.spawn(async move { group.transfer_leader(to).await.ok() });
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
