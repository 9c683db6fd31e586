//! What a series has beside floats: through a node's door, into queries, over a restart.

use std::net::TcpListener;

use narthex_model::{
    CounterResetHint, Exemplar, FamilyMetadata, Labels, MetricType, NativeHistogram, Timestamp,
    histogram::{Span, SpannedCounts, SpannedHistogram},
};
use narthex_node::node::Node;
use narthex_proto::{
    batch::{BatchWriter, Owner, Point, RichRows},
    client::append_request,
    internal::v1::{Appended, ExemplarsPart, MetadataPart, MetadataRequest, SelectRequest},
};
use tokio_stream::StreamExt as _;

use crate::{Founders, ShardId, config, deadline, listener, log, values, wall_millis};

/// `count` observations between 1 and 2.
fn latencies(count: u64) -> NativeHistogram {
    let sent = SpannedHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.001,
        sum: count as f64 * 1.5,
        counts: SpannedCounts::Integer {
            count,
            zero_count: 0,
            positive_deltas: &[count as i64],
            negative_deltas: &[],
        },
        positive_spans: &[Span { offset: 1, length: 1 }],
        negative_spans: &[],
        custom_values: &[],
    };
    NativeHistogram::from_spans(&sent).expect("valid")
}

fn latency() -> Labels {
    let pairs = [("__name__", "latency"), ("job", "api"), ("instance", "a:1")];
    Labels::from_pairs(pairs).expect("valid")
}

fn exemplar(at: i64) -> Exemplar {
    Exemplar {
        labels: Labels::from_pairs([("trace_id", "abc")]).expect("valid"),
        value: 1.25,
        timestamp: Timestamp::from_millis(at),
    }
}

/// Five histograms, one every fifteen seconds up to `now`, with an exemplar and metadata.
async fn append(node: &Node, now: i64) -> (ShardId, Appended) {
    let point = |round: i64| Point {
        timestamp: Timestamp::from_millis(now - 60_000 + round * 15_000),
        start: Timestamp::from_millis(now - 60_000),
        value: latencies(30 * round as u64),
    };
    let histograms: Vec<_> = (0..5).map(point).collect();
    let rows =
        RichRows { histograms: &histograms, exemplars: &[exemplar(now)], ..RichRows::default() };
    let mut batch = BatchWriter::new();
    batch.push_rich(Owner::Labels(&latency()), rows);
    batch.push_metadata(&FamilyMetadata {
        family: "latency",
        metric_type: MetricType::Histogram,
        help: "How long it took.",
        unit: "seconds",
    });
    let client = node.client();
    let state = client.state();
    let tenant = narthex_cluster::TenantId(0);
    let shard = state.shard_of(tenant, &latency(), Timestamp::from_millis(now)).expect("founded");
    let request = append_request(shard, state.revision(), batch.finish());
    (shard, client.append(shard, request, deadline()).await.expect("appended"))
}

async fn check(node: &Node, shard: ShardId, now: i64) {
    let nameless = latency().without_metric_name().to_string();
    let median = "histogram_quantile(0.5, rate(latency[1m]))";
    let found = values(node, shard, median, now).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, nameless);
    assert!((found[0].1 - 2f64.sqrt()).abs() < 1e-9, "{found:?}");
    let count = values(node, shard, "histogram_count(latency)", now).await;
    assert_eq!(count, [(nameless, 120.0)]);

    let request = SelectRequest {
        shard_id: shard.0,
        selectors: vec!["{job=\"api\"}".to_owned()],
        end_ms: i64::MAX,
        ..Default::default()
    };
    let parts = node.client().exemplars(shard, request, deadline()).await.expect("exemplars");
    let parts: Vec<ExemplarsPart> = parts.map(|part| part.expect("part")).collect().await;
    let found = &parts[0].series[0];
    assert_eq!(found.labels, latency().as_bytes());
    let wanted = exemplar(now);
    let found = &found.exemplars[0];
    assert_eq!(found.labels, wanted.labels.as_bytes());
    assert_eq!((found.value, found.timestamp_ms), (wanted.value, now));

    let request = MetadataRequest { shard_id: shard.0, ..Default::default() };
    let parts = node.client().metadata(shard, request, deadline()).await.expect("metadata");
    let parts: Vec<MetadataPart> = parts.map(|part| part.expect("part")).collect().await;
    let family = &parts[0].families[0];
    assert_eq!((family.name.as_str(), family.unit.as_str()), ("latency", "seconds"));
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_exemplars_and_metadata_are_there_after_a_restart() {
    log();
    let folder = tempfile::tempdir().expect("folder");
    let listener = listener();
    let address = listener.local_addr().expect("bound");
    let founders = Founders::alone("n1", &address.to_string());
    let node = Node::start(config(folder.path(), listener, &founders)).await.expect("started");
    let now = wall_millis();
    let (shard, appended) = append(&node, now).await;
    assert_eq!((appended.samples, appended.histograms, appended.exemplars), (5, 5, 1));
    check(&node, shard, now).await;
    let (_, repeated) = append(&node, now).await;
    assert_eq!((repeated.samples, repeated.refused.len(), repeated.exemplars), (5, 0, 1));
    node.stop().await;

    let listener = TcpListener::bind(address).expect("the port is free again");
    let node = Node::start(config(folder.path(), listener, &founders)).await.expect("restarted");
    check(&node, shard, now).await;
    node.stop().await;
}
