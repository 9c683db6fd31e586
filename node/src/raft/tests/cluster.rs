//! Nodes in this process that speak over loopback, and can be killed and started again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use narthex_proto::connect::RaftStream;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Extensions,
    transport::{Channel, Endpoint, Server},
};

use crate::raft::{
    Applied, ApplyPool, Command, CommittedEntry, Group, GroupConfig, GroupId, LOG_BYTES_MAX,
    Leadership, LogConfig, LogDb, LogIdentity, LogPosition, MachineError, Network, NodeId,
    PeerHello, PeerRefusal, Peers, RaftNode, RaftRuntime, StateMachine, SyncSeam, metrics::now,
};

pub const GROUP: GroupId = GroupId::shard(0);

/// Longer than anything here takes, even on a machine that is busy otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps what it was given.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub state: Arc<Mutex<LedgerState>>,
}

#[derive(Debug, Default)]
pub struct LedgerState {
    pub applied: Applied,
    pub entries: Vec<(LogPosition, Bytes)>,
    /// An entry with these bytes fails apply.
    pub poison: Option<Bytes>,
}

impl StateMachine for Ledger {
    fn applied(&self) -> Applied {
        self.state.lock().applied.clone()
    }

    fn apply(&mut self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, MachineError> {
        let mut state = self.state.lock();
        let mut outcomes = Vec::new();
        for CommittedEntry { position, command } in entries {
            state.applied.position = Some(position);
            let mut outcome = Bytes::new();
            match command {
                Command::Nothing => {}
                Command::Members(members) => state.applied.members = members,
                Command::Data(data) if Some(&data) == state.poison.as_ref() => {
                    return Err("poisoned".into());
                }
                Command::Data(data) => {
                    outcome = Bytes::from(format!("applied {}", String::from_utf8_lossy(&data)));
                    state.entries.push((position, data));
                }
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn checkpoint(&mut self) -> Result<(), MachineError> {
        Ok(())
    }
}

impl Ledger {
    /// Another ledger with the same state.
    pub fn copy(&self) -> Self {
        let state = self.state.lock();
        let (applied, entries) = (state.applied.clone(), state.entries.clone());
        Self { state: Arc::new(Mutex::new(LedgerState { applied, entries, poison: None })) }
    }

    pub fn data(&self) -> Vec<Bytes> {
        self.state.lock().entries.iter().map(|(_, data)| data.clone()).collect()
    }
}

/// Sleeps before each sync.
#[derive(Debug, Default)]
pub struct SlowSync {
    pub millis: AtomicU64,
}

impl SyncSeam for SlowSync {
    #[expect(clippy::disallowed_methods, reason = "the slowness is what is tested")]
    fn sync(&self, sync_wal: &mut dyn FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.millis.load(Ordering::Relaxed)));
        sync_wal()
    }
}

/// Where the nodes listen, and what they say of themselves.
#[derive(Debug, Default)]
pub struct AddressBook {
    addresses: Mutex<BTreeMap<NodeId, SocketAddr>>,
    /// Where they take streams.
    streams: Mutex<BTreeMap<NodeId, SocketAddr>>,
    /// Whether nodes close streams at once, as those of an older version do.
    pub is_older: AtomicBool,
    /// When each peer was first dialled for a call.
    pub dialled: Mutex<BTreeMap<NodeId, std::time::Instant>>,
}

pub struct TestPeers {
    pub book: Arc<AddressBook>,
    pub hello: PeerHello,
}

impl Peers for TestPeers {
    fn hello(&self) -> PeerHello {
        self.hello.clone()
    }

    fn admit(&self, caller: &PeerHello, _: &Extensions) -> Result<(), PeerRefusal> {
        if caller.cluster != self.hello.cluster {
            let (theirs, ours) = (caller.cluster.clone(), self.hello.cluster.clone());
            return Err(PeerRefusal::OtherCluster { theirs, ours });
        }
        Ok(())
    }

    fn channel(&self, peer: NodeId) -> Option<Channel> {
        self.book.dialled.lock().entry(peer).or_insert_with(now);
        let address = *self.book.addresses.lock().get(&peer)?;
        Some(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
    }

    fn stream(&self, peer: NodeId) -> Option<BoxFuture<'static, std::io::Result<RaftStream>>> {
        let address = *self.book.streams.lock().get(&peer)?;
        let dialling = async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(stream) as RaftStream)
        };
        Some(dialling.boxed())
    }

    fn may_be_older(&self) -> bool {
        self.book.is_older.load(Ordering::Relaxed)
    }
}

/// A running node with one group.
pub struct TestNode {
    pub group: Group,
    pub ledger: Ledger,
    pub raft: RaftNode,
}

impl TestNode {
    /// Waits until the leadership, as this node sees it, is as wanted.
    pub async fn wait_for(&self, wanted: impl FnMut(&Leadership) -> bool) -> Leadership {
        let mut leadership = self.group.leadership();
        let found = tokio::time::timeout(PATIENCE, leadership.wait_for(wanted)).await;
        *found.expect("in time").expect("the group is open")
    }

    pub async fn propose(&self, term: u64, data: &str) -> Bytes {
        let entry = Bytes::copy_from_slice(data.as_bytes());
        self.group.propose(term, entry).await.unwrap().await.unwrap().data
    }

    pub async fn wait_until_applied(&self, count: usize) {
        eventually(|| self.ledger.data().len() >= count).await;
    }
}

/// Waits for what no channel tells.
pub async fn eventually(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in time");
}

pub struct TestCluster {
    folders: BTreeMap<NodeId, TempDir>,
    pub book: Arc<AddressBook>,
    pub sync: Arc<SlowSync>,
    /// Of the nodes' logs.
    log_bytes_max: u64,
    pub nodes: BTreeMap<NodeId, TestNode>,
}

impl TestCluster {
    /// Starts nodes `1..=count` and founds the group on them.
    pub async fn found(count: u64) -> Self {
        Self::found_with(count, LOG_BYTES_MAX).await
    }

    /// The same, with logs of so many bytes.
    pub async fn found_with(count: u64, log_bytes_max: u64) -> Self {
        let cluster = Self::start_with(count, log_bytes_max).await;
        let voters: BTreeSet<NodeId> = (1..=count).collect();
        cluster.nodes[&1].group.initialize(&voters).await.unwrap();
        cluster
    }

    /// Starts nodes `1..=count`, members of nothing yet.
    pub async fn start(count: u64) -> Self {
        Self::start_with(count, LOG_BYTES_MAX).await
    }

    async fn start_with(count: u64, log_bytes_max: u64) -> Self {
        let folders = (1..=count).map(|node| (node, tempfile::tempdir().unwrap())).collect();
        let (book, sync) = (Arc::default(), Arc::default());
        let mut cluster = Self { folders, book, sync, log_bytes_max, nodes: BTreeMap::new() };
        for node in 1..=count {
            cluster.start_node(node, Ledger::default()).await;
        }
        cluster
    }

    /// Starts a node on its folder, on whatever port is free.
    pub async fn start_node(&mut self, node: NodeId, ledger: Ledger) {
        let hello = PeerHello { cluster: "test".to_owned(), node, incarnation: 1 };
        let peers = TestPeers { book: self.book.clone(), hello };
        let folder = self.folders[&node].path();
        let identity = LogIdentity { node, folder: node };
        let config = LogConfig {
            sync: self.sync.clone(),
            ..LogConfig::new(folder.join("log"), folder.join("WATERMARK"), identity)
        };
        let runtime = RaftRuntime::start(1).unwrap();
        let network = Network::new(node, Arc::new(peers), runtime.handle().clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.book.addresses.lock().insert(node, listener.local_addr().unwrap());
        let listener = listener.into_std().unwrap();
        let service = network.service();
        runtime.handle().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = TcpListenerStream::new(listener);
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        self.serve_streams(node, &runtime, network.clone()).await;
        let log = LogDb::open(config).unwrap();
        let pool = ApplyPool::start(1).unwrap();
        let raft = RaftNode { node, runtime, log, pool, network };
        let machine = Box::new(ledger.clone());
        let log_bytes_max = self.log_bytes_max;
        let config = GroupConfig { log_bytes_max, ..GroupConfig::new(GROUP) };
        let group = Group::open(&raft, config, machine).await.unwrap();
        self.nodes.insert(node, TestNode { group, ledger, raft });
    }

    async fn serve_streams(&self, node: NodeId, runtime: &RaftRuntime, network: Network) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.book.streams.lock().insert(node, listener.local_addr().unwrap());
        let (listener, book) = (listener.into_std().unwrap(), self.book.clone());
        runtime.handle().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if !book.is_older.load(Ordering::Relaxed) {
                    let network = network.clone();
                    let serve = async move {
                        network.serve(Box::new(stream), &Extensions::new()).await;
                    };
                    serving.spawn(serve);
                }
            }
        });
    }

    /// Ends a node without a word to anyone. Gives its state machine.
    pub async fn kill(&mut self, node: NodeId) -> Ledger {
        let TestNode { group, ledger, raft } = self.nodes.remove(&node).unwrap();
        // Dropping waits for threads.
        tokio::task::spawn_blocking(move || drop((raft, group))).await.unwrap();
        ledger
    }

    /// The node that leads and may act as a leader, with its term.
    pub async fn leader(&self) -> (NodeId, u64) {
        let waits = self.nodes.iter().map(|(&node, running)| {
            Box::pin(async move { (node, running.wait_for(|seen| seen.ready).await.term) })
        });
        futures_util::future::select_all(waits).await.0
    }

    /// Proposes until some leader has committed it; gives that leader.
    pub async fn propose_to_any_leader(&self, data: &'static str) -> NodeId {
        let attempt = async {
            loop {
                let (leader, term) = self.leader().await;
                let entry = Bytes::from_static(data.as_bytes());
                if let Ok(proposal) = self.nodes[&leader].group.propose(term, entry).await
                    && proposal.await.is_ok()
                {
                    return leader;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, attempt).await.expect("in time")
    }

    /// All data of every running node, which must be equal, once `count` entries are applied.
    pub async fn agreed(&self, count: usize) -> Vec<Bytes> {
        let mut all = Vec::new();
        for node in self.nodes.values() {
            node.wait_until_applied(count).await;
            all.push(node.ledger.data());
        }
        all.dedup();
        assert_eq!(all.len(), 1, "replicas differ");
        all.remove(0)
    }
}
