//! Whole nodes in one process, over real sockets and files: founding, writing, reading, failing.

mod again;
mod backing_up;
mod canary;
mod certified;
mod clocks;
mod crash;
mod deleting;
mod joining;
mod keeping;
mod large;
mod limits;
mod parts;
mod repair;
mod rich;
mod splitting;
mod stale;
mod syncs;

use std::{net::TcpListener, path::Path, sync::Arc, time::Duration};

use narthex_cluster::{Command, Outcome, Request, RequestId, ShardId};
use narthex_model::{Labels, Sample, Timestamp};
use narthex_node::{
    clock::{Clock as _, SystemClock},
    control::founding::FoundingPlan,
    founding::Founders,
    node::{Node, NodeConfig, Repair},
    raft::PlainSync,
};
use narthex_promql::{FragmentAnswer, plan::FragmentContent, wire};
use narthex_proto::{
    batch::BatchWriter,
    client::append_request,
    internal::v1::{
        Appended, FragmentRequest, ProposeRequest, SelectRequest, fragment_part::Part,
        propose_response,
    },
};
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;

const DEADLINE: Duration = Duration::from_secs(30);

/// Logs of the nodes, where `RUST_LOG` asks for them.
fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

fn deadline() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test's deadline is real time")]
    let now = Instant::now();
    now + DEADLINE
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

fn config(folder: &Path, listener: TcpListener, founders: &Founders) -> NodeConfig {
    let advertise = listener.local_addr().expect("bound").to_string();
    let factor = if founders.iter().len() >= 3 { 3 } else { 1 };
    NodeConfig {
        folder: folder.to_owned(),
        log_bytes_max: 1 << 30,
        query_bytes_max: 1 << 30,
        cluster_listener: listener,
        advertise,
        web: String::new(),
        zone: String::new(),
        founders: Some(founders.clone()),
        join: Vec::new(),
        repair: Repair {
            rebuild_after: Duration::from_secs(300),
            digest_interval: Duration::ZERO,
            canary_interval: Duration::ZERO,
        },
        plan: FoundingPlan { shards: 3, replication_factor: factor },
        tls: None,
        accept_log_loss: false,
        scrapes_builtin: true,
        sync: Arc::new(PlainSync),
        clock: SystemClock::shared(),
        on_wait: Box::new(|_| {}),
    }
}

fn up(value: f64, millis: i64) -> (Labels, Sample) {
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "api"), ("instance", "a:1")]);
    let timestamp = Timestamp::from_millis(millis);
    (labels.expect("valid"), Sample { timestamp, value })
}

async fn append(node: &Node, labels: &Labels, sample: Sample) -> ShardId {
    let (shard, appended) = try_append(node, labels, sample).await;
    assert_eq!(appended.samples, 1, "{:?}", appended.refused);
    shard
}

async fn try_append(node: &Node, labels: &Labels, sample: Sample) -> (ShardId, Appended) {
    let client = node.client();
    let state = client.state();
    let tenant = narthex_cluster::TenantId(0);
    let shard = state.shard_of(tenant, labels, sample.timestamp).expect("founded");
    let mut batch = BatchWriter::new();
    batch.push(labels, std::iter::once(sample));
    let request = append_request(shard, state.revision(), batch.finish());
    let appended = client.append(shard, request, deadline()).await.expect("appended");
    (shard, appended)
}

/// One node that founds a cluster by itself.
async fn alone(folder: &Path, change: impl FnOnce(&mut NodeConfig)) -> Node {
    log();
    let listener = listener();
    let address = listener.local_addr().expect("bound").to_string();
    let mut config = config(folder, listener, &Founders::alone("n1", &address));
    change(&mut config);
    Node::start(config).await.expect("started")
}

/// The same node, stopped and started again.
async fn restarted(node: Node, folder: &Path, change: impl FnOnce(&mut NodeConfig)) -> Node {
    node.stop().await;
    alone(folder, change).await
}

/// Has the control group do something.
async fn request(node: &Node, command: Command) {
    let id = RequestId(uuid::Uuid::new_v4().as_u128());
    let request = Request { id, at: Timestamp::default(), command };
    let command = request.encode().expect("short").into();
    let response = node.service().propose(ProposeRequest { command }).await.expect("answered");
    let Some(propose_response::Result::Outcome(outcome)) = response.result else {
        panic!("{response:?}")
    };
    Outcome::decode(&outcome).expect("an outcome").accepted().expect("accepted");
}

/// Waits for a condition, with a deadline.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = deadline();
    loop {
        let seen = match look().await {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        #[expect(clippy::disallowed_methods, reason = "a test's deadline is real time")]
        let now = Instant::now();
        assert!(now < deadline, "{what}: last seen: {seen}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn wall_millis() -> i64 {
    SystemClock.now().millis()
}

async fn values(node: &Node, shard: ShardId, query: &str, at_millis: i64) -> Vec<(String, f64)> {
    let request = FragmentRequest {
        shard_id: shard.0,
        query: query.to_owned(),
        start_ms: at_millis,
        end_ms: at_millis,
        lookback_delta_ms: 300_000,
        samples_max: 1_000_000,
        ..FragmentRequest::default()
    };
    let mut parts = node.client().fragment(shard, request, deadline()).await.expect("asked");
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        match part.expect("part").part {
            Some(Part::Answer(more)) => bytes.extend_from_slice(&more),
            Some(Part::End(_)) => break,
            other => panic!("{other:?}"),
        }
    }
    let FragmentAnswer { content, .. } = wire::decode(&bytes).expect("decodes");
    let FragmentContent::Columns(series) = content else { panic!("columns") };
    series
        .iter()
        .map(|series| (series.labels.to_string(), series.column.float(0).unwrap_or(f64::NAN)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_acknowledged_is_there_after_a_restart() {
    log();
    let folder = tempfile::tempdir().expect("folder");
    let listener = listener();
    let address = listener.local_addr().expect("bound");
    let founders = Founders::alone("n1", &address.to_string());
    let node = Node::start(config(folder.path(), listener, &founders)).await.expect("started");
    let now = wall_millis();
    let (labels, sample) = up(1.0, now);
    let shard = append(&node, &labels, sample).await;
    assert_eq!(values(&node, shard, "up", now).await, [(labels.to_string(), 1.0)]);
    node.stop().await;

    let listener = TcpListener::bind(address).expect("the port is free again");
    let node = Node::start(config(folder.path(), listener, &founders)).await.expect("restarted");
    assert_eq!(values(&node, shard, "up", now).await, [(labels.to_string(), 1.0)]);
    node.stop().await;
}

/// Three nodes that found a cluster together.
async fn three(folder: &Path, change: impl Fn(usize, &mut NodeConfig)) -> Vec<Node> {
    log();
    let listeners: Vec<TcpListener> = (0..3).map(|_| listener()).collect();
    let list: Vec<String> = listeners
        .iter()
        .enumerate()
        .map(|(at, it)| format!("n{at}={}", it.local_addr().expect("bound")))
        .collect();
    let founders: Founders = list.join(",").parse().expect("founders");
    let mut starting = tokio::task::JoinSet::new();
    for (at, listener) in listeners.into_iter().enumerate() {
        let mut config = config(&folder.join(format!("n{at}")), listener, &founders);
        change(at, &mut config);
        starting.spawn(Node::start(config));
    }
    let mut nodes = Vec::new();
    while let Some(started) = starting.join_next().await {
        nodes.push(started.expect("no panic").expect("started"));
    }
    nodes.sort_by_key(Node::id);
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_found_a_cluster_and_two_go_on_without_the_third() {
    let folder = tempfile::tempdir().expect("folder");
    let mut nodes = three(folder.path(), |_, _| {}).await;
    let now = wall_millis();
    let (labels, first) = up(1.0, now);
    let shard = append(&nodes[0], &labels, first).await;
    for node in &nodes {
        assert_eq!(values(node, shard, "up", now).await, [(labels.to_string(), 1.0)]);
    }

    let leader = nodes.iter().position(|node| {
        let replica = node.replicas().get(shard);
        replica.is_some_and(|replica| replica.leadership().ready)
    });
    nodes.swap_remove(leader.expect("somebody leads")).stop().await;
    let (_, second) = up(2.0, now + 1_000);
    append(&nodes[0], &labels, second).await;
    assert_eq!(values(&nodes[1], shard, "up", now + 1_000).await, [(labels.to_string(), 2.0)]);
    let request = SelectRequest { shard_id: shard.0, end_ms: i64::MAX, ..Default::default() };
    let names = nodes[0].client().label_names(shard, request, deadline()).await.expect("names");
    assert_eq!(names, ["__name__", "instance", "job"]);
    for node in nodes {
        node.stop().await;
    }
    sleep(Duration::ZERO).await;
}
