//! What an entry costs from its proposal to its outcome in a group of one: raft, the log's batch,
//! the sync, and a state machine that does nothing. Alone it waits for a sync of its own; of many
//! at once, from several groups, most share one.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::{BoxFuture, join_all};
use narthex_node::raft::{
    Applied, ApplyPool, Command, CommittedEntry, Group, GroupConfig, GroupId, LogConfig, LogDb,
    LogIdentity, MachineError, Network, NodeId, PeerHello, PeerRefusal, Peers, RaftNode,
    RaftRuntime, StateMachine,
};
use narthex_proto::connect::RaftStream;
use tokio::runtime::{Builder, Runtime};
use tonic::{Extensions, transport::Channel};

/// About what the samples of a host take.
const ENTRY_BYTES: usize = 8 << 10;
const GROUPS: u32 = 6;
const NODE: NodeId = 1;
/// Until a group of one leads.
const LEADS_DEADLINE: Duration = Duration::from_secs(30);

/// Keeps nothing but its place.
#[derive(Default)]
struct Nothing(Applied);

impl StateMachine for Nothing {
    fn applied(&self) -> Applied {
        self.0.clone()
    }

    fn apply(&mut self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, MachineError> {
        for entry in &entries {
            self.0.position = Some(entry.position);
            if let Command::Members(members) = &entry.command {
                self.0.members = members.clone();
            }
        }
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn checkpoint(&mut self) -> Result<(), MachineError> {
        Ok(())
    }
}

struct Nobody;

impl Peers for Nobody {
    fn hello(&self) -> PeerHello {
        PeerHello { cluster: "bench".to_owned(), node: NODE, incarnation: 1 }
    }

    fn admit(&self, _: &PeerHello, _: &Extensions) -> Result<(), PeerRefusal> {
        Ok(())
    }

    fn channel(&self, _: NodeId) -> Option<Channel> {
        None
    }

    fn stream(&self, _: NodeId) -> Option<BoxFuture<'static, io::Result<RaftStream>>> {
        None
    }

    fn may_be_older(&self) -> bool {
        false
    }
}

/// Groups of one on one log, each with the term in which it leads.
async fn groups(node: &RaftNode) -> Vec<(Group, u64)> {
    let mut groups = Vec::new();
    for number in 0..GROUPS {
        let config = GroupConfig::new(GroupId::shard(number));
        let group = Group::open(node, config, Box::<Nothing>::default()).await.expect("opens");
        group.initialize(&[NODE].into()).await.expect("a new group");
        let mut leadership = group.leadership();
        let leads = tokio::time::timeout(LEADS_DEADLINE, leadership.wait_for(|seen| seen.ready));
        let term = leads.await.expect("in time").expect("the group is open").term;
        groups.push((group, term));
    }
    groups
}

/// Proposes to the groups in turn, and waits for every outcome.
async fn commit(groups: &[(Group, u64)], entry: &Bytes, count: usize) {
    let proposals = groups.iter().cycle().take(count).map(async |(group, term)| {
        let proposal = group.propose(*term, entry.clone()).await.expect("it leads");
        proposal.await.expect("it is committed")
    });
    join_all(proposals).await;
}

fn bench(criterion: &mut Criterion) {
    let runtime: Runtime = Builder::new_multi_thread().enable_all().build().expect("threads");
    // Beside what cargo builds: a temporary folder may lie in memory, where a sync is free.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (path, mark) = (folder.path().join("log"), folder.path().join("WATERMARK"));
    let identity = LogIdentity { node: NODE, folder: 1 };
    let raft = RaftRuntime::start(1).expect("threads");
    let network = Network::new(NODE, Arc::new(Nobody), raft.handle().clone());
    let node = RaftNode {
        node: NODE,
        log: LogDb::open(LogConfig::new(path, mark, identity)).expect("an empty folder"),
        pool: ApplyPool::start(1).expect("threads"),
        network,
        runtime: raft,
    };
    let groups = runtime.block_on(groups(&node));
    let entry = Bytes::from(vec![7; ENTRY_BYTES]);
    let mut group = criterion.benchmark_group("commit");
    group.sample_size(20);
    for (name, count) in [("one entry", 1), ("64 entries at once", 64)] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(commit(&groups, &entry, count)));
        });
    }
    group.finish();
    drop((groups, node));
}

criterion_group!(benches, bench);
criterion_main!(benches);
