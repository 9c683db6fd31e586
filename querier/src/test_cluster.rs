//! Cluster states and fakes for the tests of this crate.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use narthex_cluster::{
    Addresses, Binary, ClusterId, ClusterState, ClusterVersion, Command, Found, Founder, NodeId,
    Request, RequestId, ShardId,
};
use narthex_model::{Labels, Timestamp};
use narthex_proto::{
    client::ShardError,
    internal::v1::{
        AlertmanagersResponse, CardinalityPart, CardinalityRequest, ChangesRequest,
        ChangesResponse, CleanTombstonesResponse, DecidedMove, DeleteRequest, Deleted,
        ExemplarsPart, FragmentPart, FragmentRequest, LabelCount, LabelValuesRequest,
        MetadataFamily, MetadataPart, MetadataRequest, MovesResponse, NodeStatusResponse,
        ReplicaStatus, RuleGroupStatus, RulesRequest, SelectRequest, SeriesPart, ShardCounts,
        TargetsResponse,
    },
    service::{Answers, ready},
    snapshot::NodeFailure,
};
use tonic::Status;

use crate::cluster::{Asked, Cluster};

/// A cluster of three nodes.
pub fn founded(shards: u32) -> ClusterState {
    let founder = |id: u64| Founder {
        node: NodeId(id),
        name: format!("n{id}"),
        addresses: Addresses {
            cluster: format!("n{id}:9095"),
            web: format!("n{id}:9090"),
            host: format!("n{id}"),
        },
        zone: String::new(),
        binary: Binary { level: ClusterVersion::CURRENT, text: "0.1.0".to_owned() },
    };
    let found = Found {
        cluster: ClusterId::from_random_bytes([1; 16]),
        members: (1..=3).map(founder).collect(),
        shards,
        replication_factor: 3,
    };
    let mut state = ClusterState::new();
    let at = Timestamp::from_millis(1_000);
    state.apply(&Request { id: RequestId(1), at, command: Command::Found(found) });
    assert_eq!(state.shards().len(), shards as usize);
    state
}

/// Shards with series of labels, some of which do not answer.
#[derive(Default)]
pub struct FakeCluster {
    pub state: ClusterState,
    pub series: BTreeMap<u32, Vec<Labels>>,
    pub silent_shards: Vec<u32>,
    pub silent_nodes: Vec<u64>,
    pub targets: BTreeMap<u64, TargetsResponse>,
    pub rules: BTreeMap<u64, Vec<RuleGroupStatus>>,
    pub alertmanagers: BTreeMap<u64, AlertmanagersResponse>,
    pub exemplars: BTreeMap<u32, ExemplarsPart>,
    pub families: BTreeMap<u32, Vec<MetadataFamily>>,
    pub fragments: Option<fn(&FragmentRequest) -> Vec<FragmentPart>>,
    /// Whether fragments never come to an answer.
    pub hangs: bool,
    /// What was to be deleted.
    pub deleted: Arc<parking_lot::Mutex<Vec<DeleteRequest>>>,
}

impl FakeCluster {
    fn check(&self, shard: u32) -> Result<(), ShardError> {
        match self.silent_shards.contains(&shard) {
            true => {
                let reason = "no leader".to_owned();
                Err(ShardError::Unavailable { shard: ShardId(shard), reason })
            }
            false => Ok(()),
        }
    }

    fn of(&self, shard: u32) -> &[Labels] {
        self.series.get(&shard).map_or(&[], Vec::as_slice)
    }
}

fn now<'a, T: Send + 'a, E: Send + 'a>(result: Result<T, E>) -> Asked<'a, T, E> {
    Box::pin(std::future::ready(result))
}

impl Cluster for FakeCluster {
    fn state(&self) -> Arc<ClusterState> {
        Arc::new(self.state.clone())
    }

    fn fragment(
        &self,
        request: FragmentRequest,
        _: Duration,
    ) -> Asked<'_, Answers<FragmentPart>, ShardError> {
        if self.hangs {
            return Box::pin(std::future::pending());
        }
        let parts = self.fragments.expect("fragments are given")(&request);
        now(self.check(request.shard_id).map(|()| ready(parts)))
    }

    fn series(
        &self,
        request: SelectRequest,
        _: Duration,
    ) -> Asked<'_, Answers<SeriesPart>, ShardError> {
        let labels = self.of(request.shard_id).iter().map(|l| l.as_bytes().to_vec().into());
        let part = SeriesPart { labels: labels.collect(), not_leader: None };
        now(self.check(request.shard_id).map(|()| ready(vec![part])))
    }

    fn label_names(
        &self,
        request: SelectRequest,
        _: Duration,
    ) -> Asked<'_, Vec<String>, ShardError> {
        let pairs = self.of(request.shard_id).iter().flat_map(|labels| labels.iter());
        let names = pairs.map(|(name, _)| name.to_owned()).collect();
        now(self.check(request.shard_id).map(|()| names))
    }

    fn label_values(
        &self,
        request: LabelValuesRequest,
        _: Duration,
    ) -> Asked<'_, Vec<String>, ShardError> {
        let shard = request.select.as_ref().map_or(0, |select| select.shard_id);
        let values = self.of(shard).iter().filter_map(|labels| labels.get(&request.name));
        let values = values.map(str::to_owned).collect();
        now(self.check(shard).map(|()| values))
    }

    fn exemplars(
        &self,
        request: SelectRequest,
        _: Duration,
    ) -> Asked<'_, Answers<ExemplarsPart>, ShardError> {
        assert!(!request.selectors.is_empty());
        let part = self.exemplars.get(&request.shard_id).cloned().unwrap_or_default();
        now(self.check(request.shard_id).map(|()| ready(vec![part])))
    }

    fn metadata(
        &self,
        request: MetadataRequest,
        _: Duration,
    ) -> Asked<'_, Answers<MetadataPart>, ShardError> {
        let families = self.families.get(&request.shard_id).cloned().unwrap_or_default();
        let wanted =
            |family: &MetadataFamily| request.name.is_empty() || family.name == request.name;
        let part = MetadataPart {
            families: families.into_iter().filter(wanted).collect(),
            not_leader: None,
        };
        now(self.check(request.shard_id).map(|()| ready(vec![part])))
    }

    fn cardinality(
        &self,
        request: CardinalityRequest,
        _: Duration,
    ) -> Asked<'_, Answers<CardinalityPart>, ShardError> {
        let of_shard = self.of(request.shard_id);
        let mut counts = BTreeMap::<(&str, &str), u64>::new();
        for label in of_shard.iter().flat_map(Labels::iter) {
            *counts.entry(label).or_default() += 1;
        }
        let counts = counts.into_iter().map(|((name, value), series)| LabelCount {
            name: name.to_owned(),
            value: value.to_owned(),
            series,
        });
        let shard = ShardCounts {
            series: of_shard.len() as u64,
            chunks: of_shard.len() as u64,
            min_time_ms: Some(1_000 + i64::from(request.shard_id)),
            max_time_ms: Some(2_000 + i64::from(request.shard_id)),
        };
        let first = CardinalityPart { shard: Some(shard), ..CardinalityPart::default() };
        // One label a part, as they may come.
        let parts = counts
            .map(|label| CardinalityPart { labels: vec![label], ..CardinalityPart::default() });
        let parts = std::iter::once(first).chain(parts).collect();
        now(self.check(request.shard_id).map(|()| ready(parts)))
    }

    fn changes(
        &self,
        request: ChangesRequest,
        _: Duration,
    ) -> Asked<'_, ChangesResponse, ShardError> {
        let unknown = ChangesResponse { earliest_ms: i64::MIN, ..ChangesResponse::default() };
        now(self.check(request.shard_id).map(|()| unknown))
    }

    fn delete(&self, request: DeleteRequest, _: Duration) -> Asked<'_, Deleted, ShardError> {
        let checked = self.check(request.shard_id);
        self.deleted.lock().push(request);
        now(checked.map(|()| Deleted { series: 1 }))
    }

    fn clean_tombstones(
        &self,
        node: NodeId,
        _: Duration,
    ) -> Asked<'_, CleanTombstonesResponse, Status> {
        now(match self.silent_nodes.contains(&node.0) {
            true => Err(Status::unavailable("connection refused")),
            false => Ok(CleanTombstonesResponse::default()),
        })
    }

    fn take_snapshot(&self, _: String) -> Asked<'_, (), NodeFailure> {
        now(match self.silent_nodes.first() {
            Some(&node) => Err((NodeId(node), Status::unavailable("connection refused"))),
            None => Ok(()),
        })
    }

    fn node_status(&self, node: NodeId, _: Duration) -> Asked<'_, NodeStatusResponse, Status> {
        if self.silent_nodes.contains(&node.0) {
            return now(Err(Status::unavailable("connection refused")));
        }
        // Node 1 leads everything.
        let replica = |group_id: u32| ReplicaStatus {
            group_id,
            leader_node_id: 1,
            term: 4,
            last_index: 100,
            commit_index: 99,
            applied_index: 99,
            active_series: 7,
            followers: match node.0 {
                1 => [(1, 100), (2, 98), (3, 0)]
                    .map(|(node_id, match_index)| narthex_proto::internal::v1::FollowerStatus {
                        node_id,
                        match_index,
                    })
                    .to_vec(),
                _ => vec![],
            },
            ..ReplicaStatus::default()
        };
        let groups = self.state.shards().len() as u32 + 1;
        let replicas = (0..groups).map(replica).collect();
        now(Ok(NodeStatusResponse {
            node_id: node.0,
            version: "0.1.0".to_owned(),
            replicas,
            ..NodeStatusResponse::default()
        }))
    }

    fn targets(&self, node: NodeId, _: Duration) -> Asked<'_, TargetsResponse, Status> {
        if self.silent_nodes.contains(&node.0) {
            return now(Err(Status::unavailable("connection refused")));
        }
        now(Ok(self.targets.get(&node.0).cloned().unwrap_or_default()))
    }

    fn rules(
        &self,
        node: NodeId,
        _: RulesRequest,
        _: Duration,
    ) -> Asked<'_, Vec<RuleGroupStatus>, Status> {
        now(match self.silent_nodes.contains(&node.0) {
            true => Err(Status::unavailable("connection refused")),
            false => Ok(self.rules.get(&node.0).cloned().unwrap_or_default()),
        })
    }

    fn alertmanagers(&self, node: NodeId, _: Duration) -> Asked<'_, AlertmanagersResponse, Status> {
        now(match self.silent_nodes.contains(&node.0) {
            true => Err(Status::unavailable("connection refused")),
            false => Ok(self.alertmanagers.get(&node.0).cloned().unwrap_or_default()),
        })
    }

    fn moves(&self, node: NodeId, _: Duration) -> Asked<'_, MovesResponse, Status> {
        let decided = DecidedMove {
            time_ms: 1_000,
            what: "move shard 1".to_owned(),
            why: "node 3 is full".to_owned(),
        };
        now(match node.0 {
            1 => Ok(MovesResponse {
                state: "all is even".to_owned(),
                moves: vec![decided],
                leader_node_id: None,
            }),
            _ => Ok(MovesResponse { leader_node_id: Some(1), ..MovesResponse::default() }),
        })
    }
}
