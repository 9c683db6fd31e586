//! What this node answers to the other processes of its cluster.
//!
//! Reads are linearizable: the replica makes sure that it still leads before it takes what is in
//! memory. A replica that does not lead names the one that does, if it knows.

mod appended;
mod follower;
mod targets;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use narthex_cluster::{Request as ControlRequest, ShardId};
use narthex_model::{Labels, Matcher, Timestamp};
use narthex_promql::{ParseOptions, parse_selector};
use narthex_proto::{
    client::ShardClient,
    internal::v1::{
        AlertmanagersRequest, AlertmanagersResponse, AppendRequest, AppendResponse,
        CardinalityPart, CardinalityRequest, ChangesRequest, ChangesResponse, CheckpointPart,
        CheckpointRequest, CleanTombstonesRequest, CleanTombstonesResponse, Consistency,
        ControlCheckpointPart, ControlCheckpointRequest, DeleteRequest, DeleteResponse,
        DeleteSnapshotResponse, DigestRequest, DigestResponse, ExemplarsPart, FollowerStatus,
        ForwardRequest, FragmentPart, FragmentRequest, HoldLogRequest, HoldLogResponse,
        InitRequest, InitResponse, JoinRequest, JoinResponse, LabelValuesRequest, MetadataPart,
        MetadataRequest, MovesRequest, MovesResponse, NamesPart, NodeStatusRequest,
        NodeStatusResponse, NotLeader, PrepareSnapshotResponse, ProposeRequest, ProposeResponse,
        RebuildRequest, RebuildResponse, ReplicaStatus, RuleGroupStatus, RulesRequest,
        SelectRequest, SeriesPart, SettleRequest, SettleResponse, SnapshotPart, SnapshotRequest,
        SnapshotResponse, StateRevision, TargetsRequest, TargetsResponse, WatchStateRequest,
        append_response, delete_response, fragment_part, propose_response,
    },
    service::{Answers, NodeService, ready},
};
use narthex_tsdb::{Refusal, ShardReader};
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{IntervalStream, WatchStream},
};
use tonic::{Request, Status};
use tracing::error;

use crate::{
    backup,
    control::{RequestError, current, joining},
    node::Shared,
    raft::{GroupId, GroupStatus, ReadError},
    rules::{self, RulesHandle},
    scrape::ScraperHandle,
    shard::{
        Replica, Replicas, batch, cardinality, checkpointer,
        core::Urgency,
        deletion,
        digest::{self, DigestError},
        exporting, forward, fragment, repeats, rewriting, series_limits, settle, side,
        task::{Write, WriteError},
    },
};
use appended::{Answered, append_result};
use targets::{active_target, dropped_target};

/// Between two signs of life; a watcher waits for more than two of them.
const SIGN_INTERVAL: Duration = Duration::from_secs(2);

/// This node's answers.
pub struct LocalNode {
    shared: Arc<Shared>,
    replicas: Arc<Replicas>,
    others: OnceLock<ShardClient>,
    scraper: OnceLock<ScraperHandle>,
    rules: OnceLock<RulesHandle>,
}

/// Either the replica, which leads and is up to date, or who leads instead.
type Leading = Result<Arc<Replica>, NotLeader>;

impl LocalNode {
    pub(crate) fn new(shared: Arc<Shared>, replicas: Arc<Replicas>) -> Self {
        Self {
            shared,
            replicas,
            others: OnceLock::new(),
            scraper: OnceLock::new(),
            rules: OnceLock::new(),
        }
    }

    /// Requests to the control group that another node leads are handed on by `client`.
    pub(crate) fn reach_others_by(&self, client: ShardClient) {
        let _ = self.others.set(client);
    }

    /// Targets are asked of `scraper`.
    pub(crate) fn scrape_by(&self, scraper: ScraperHandle) {
        let _ = self.scraper.set(scraper);
    }

    /// Rule groups are asked of `rules`.
    pub(crate) fn evaluate_by(&self, rules: RulesHandle) {
        let _ = self.rules.set(rules);
    }

    /// The replica that may answer a linearizable read now.
    async fn reading(&self, tenant: u32, shard: u32) -> Result<Leading, Status> {
        refuse_other_tenants(tenant)?;
        let Some(replica) = self.replicas.get(ShardId(shard)) else {
            return Ok(Err(NotLeader { leader_node_id: 0 }));
        };
        match replica.group.read_linearizable().await {
            Ok(_) => Ok(Ok(replica)),
            Err(ReadError::NotLeader { leader }) => {
                Ok(Err(NotLeader { leader_node_id: leader.unwrap_or(0) }))
            }
            Err(ReadError::Stalled) => {
                Err(Status::unavailable(format!("shard {shard} hears no majority")))
            }
        }
    }
}

impl LocalNode {
    /// Empty revisions for a watcher, as long as this node's cluster state is current: who follows
    /// a node that is cut off from the control group's leader looks for another one.
    fn signs_of_life(&self) -> impl Stream<Item = StateRevision> + use<> {
        let (shared, others) = (Arc::clone(&self.shared), self.others.get().cloned());
        let turns = IntervalStream::new(tokio::time::interval(SIGN_INTERVAL));
        let are_current = turns.then(move |_| {
            let (shared, others) = (Arc::clone(&shared), others.clone());
            async move {
                match others {
                    Some(client) => current::catch_up(&shared.control, &client).await,
                    None => true,
                }
            }
        });
        are_current.filter_map(|is_current| is_current.then(StateRevision::default))
    }

    /// The replica that samples of a shard are written to, or who has it. Only a leader may refuse
    /// them for its disk: one that has handed over says to whom, and nobody has to wait for room.
    fn writable(&self, shard: ShardId) -> Result<Result<Arc<Replica>, NotLeader>, Status> {
        let Some(replica) = self.replicas.get(shard) else {
            return Ok(Err(NotLeader { leader_node_id: 0 }));
        };
        let Err(reason) = self.shared.disk.check_writes() else { return Ok(Ok(replica)) };
        let leadership = *replica.group.leadership().borrow();
        match leadership.ready {
            true => Err(Status::resource_exhausted(reason)),
            false => Ok(Err(NotLeader { leader_node_id: leadership.leader.unwrap_or(0) })),
        }
    }
}

#[tonic::async_trait]
impl NodeService for LocalNode {
    async fn append(&self, request: AppendRequest) -> Result<AppendResponse, Status> {
        refuse_other_tenants(request.tenant)?;
        let replica = match self.writable(ShardId(request.shard_id))? {
            Ok(replica) => replica,
            Err(elsewhere) => {
                let result = append_response::Result::NotLeader(elsewhere);
                return Ok(AppendResponse { result: Some(result) });
            }
        };
        let (batch, sent) = (request.batch.clone(), request.batch);
        let names = Arc::new(OnceLock::new());
        let named = Arc::clone(&names);
        let write = Write {
            bytes: batch.len(),
            urgency: Urgency::AtOnce,
            encode: Box::new(move |entry, reader| {
                named.set(batch::encode(entry, reader, &batch)?).ok();
                Ok(())
            }),
        };
        let outcome = replica.writer.write(write).await;
        if outcome.as_ref().is_ok_and(|outcome| outcome.refused(Refusal::NoSpace) > 0) {
            // What is known was stored; the rest can be sent again when there is room.
            let reason = "new series are refused: a node of the shard is short of disk space";
            return Err(Status::resource_exhausted(reason));
        }
        let outcome = match outcome {
            Ok(outcome) => Ok(repeats::as_told(outcome, &replica.reader, sent.clone()).await),
            Err(error) => Err(error),
        };
        let names = names.get().map_or(&[][..], Vec::as_slice);
        let answered = Answered { names, batch: &sent, reader: &replica.reader };
        Ok(AppendResponse { result: Some(append_result(outcome, &answered)?) })
    }

    async fn forward(&self, request: ForwardRequest) -> Result<AppendResponse, Status> {
        refuse_other_tenants(request.tenant)?;
        let replica = match self.writable(ShardId(request.shard_id))? {
            Ok(replica) => replica,
            Err(elsewhere) => {
                let result = append_response::Result::NotLeader(elsewhere);
                return Ok(AppendResponse { result: Some(result) });
            }
        };
        let write = Write {
            bytes: request.samples.len() + request.stamped.len() + request.report.len(),
            urgency: forward::urgency(&request),
            encode: Box::new(move |entry, reader| forward::encode(entry, reader, &request)),
        };
        let outcome = replica.writer.write(write).await;
        let answered = Answered { names: &[], batch: &[], reader: &replica.reader };
        Ok(AppendResponse { result: Some(append_result(outcome, &answered)?) })
    }

    async fn delete(&self, request: DeleteRequest) -> Result<DeleteResponse, Status> {
        let selectors = parse_selectors(&request.selectors)?;
        if selectors.is_empty() {
            return Err(Status::invalid_argument("a delete names at least one selector"));
        }
        match self.reading(request.tenant, request.shard_id).await? {
            Ok(replica) => deletion::delete(&replica, selectors, &request).await,
            Err(to) => Ok(DeleteResponse { result: Some(delete_response::Result::NotLeader(to)) }),
        }
    }

    async fn fragment(&self, request: FragmentRequest) -> Result<Answers<FragmentPart>, Status> {
        match request.consistency() {
            Consistency::Linearizable => {}
            Consistency::Bounded => return self.fragment_of_old(request),
            Consistency::Follower => return self.fragment_of_follower(request).await,
        }
        match self.reading(request.tenant, request.shard_id).await? {
            Ok(replica) => {
                let how = (Duration::ZERO, self.shared.query_pool.clone());
                Ok(fragment::evaluate(replica.reader.clone(), request, how))
            }
            Err(not_leader) => {
                let part = Some(fragment_part::Part::NotLeader(not_leader));
                Ok(ready(vec![FragmentPart { part }]))
            }
        }
    }

    async fn series(&self, request: SelectRequest) -> Result<Answers<SeriesPart>, Status> {
        let replica = match self.reading(request.tenant, request.shard_id).await? {
            Ok(replica) => replica,
            Err(to) => {
                return Ok(ready(vec![SeriesPart { labels: Vec::new(), not_leader: Some(to) }]));
            }
        };
        let limit = limit(request.limit);
        let found = select(&replica, request, move |reader, matchers, start, end| {
            reader.series(matchers, start, end)
        });
        let mut labels: Vec<Labels> = found.await?;
        labels.truncate(limit);
        Ok(ready(side::series(&labels)))
    }

    async fn exemplars(&self, request: SelectRequest) -> Result<Answers<ExemplarsPart>, Status> {
        match self.reading(request.tenant, request.shard_id).await? {
            Ok(replica) => Ok(ready(side::exemplars(replica.reader.clone(), request).await?)),
            Err(to) => Ok(ready(vec![ExemplarsPart { series: Vec::new(), not_leader: Some(to) }])),
        }
    }

    async fn metadata(&self, request: MetadataRequest) -> Result<Answers<MetadataPart>, Status> {
        match self.reading(request.tenant, request.shard_id).await? {
            Ok(replica) => Ok(ready(side::metadata(&replica.reader, &request.name))),
            Err(to) => Ok(ready(vec![MetadataPart { families: Vec::new(), not_leader: Some(to) }])),
        }
    }

    async fn cardinality(
        &self,
        request: CardinalityRequest,
    ) -> Result<Answers<CardinalityPart>, Status> {
        match self.reading(request.tenant, request.shard_id).await? {
            Ok(replica) => Ok(cardinality::count(replica.reader.clone(), &request)),
            Err(to) => {
                let not_leader = Some(to);
                Ok(ready(vec![CardinalityPart { not_leader, ..CardinalityPart::default() }]))
            }
        }
    }

    async fn label_names(&self, request: SelectRequest) -> Result<Answers<NamesPart>, Status> {
        match self.reading(request.tenant, request.shard_id).await? {
            Ok(replica) => {
                let limit = limit(request.limit);
                let found = select(&replica, request, |reader, matchers, start, end| {
                    reader.label_names(matchers, start, end)
                });
                let mut names = found.await?;
                names.truncate(limit);
                Ok(ready(side::names(names)))
            }
            Err(to) => Ok(ready(vec![NamesPart { names: Vec::new(), not_leader: Some(to) }])),
        }
    }

    async fn label_values(
        &self,
        request: LabelValuesRequest,
    ) -> Result<Answers<NamesPart>, Status> {
        let name = request.name;
        let request =
            request.select.ok_or_else(|| Status::invalid_argument("label values of nothing"))?;
        match self.reading(request.tenant, request.shard_id).await? {
            Ok(replica) => {
                let limit = limit(request.limit);
                let found = select(&replica, request, move |reader, matchers, start, end| {
                    reader.label_values(&name, matchers, start, end)
                });
                let mut names = found.await?;
                names.truncate(limit);
                Ok(ready(side::names(names)))
            }
            Err(to) => Ok(ready(vec![NamesPart { names: Vec::new(), not_leader: Some(to) }])),
        }
    }

    async fn changes(&self, request: ChangesRequest) -> Result<ChangesResponse, Status> {
        match self.reading(request.tenant, request.shard_id).await? {
            Ok(replica) => {
                let (applied, earliest) = replica.reader.changes_since(request.since_index);
                let (applied_index, earliest_ms) = (applied.index, earliest.millis());
                Ok(ChangesResponse { not_leader: None, applied_index, earliest_ms })
            }
            Err(to) => Ok(ChangesResponse { not_leader: Some(to), ..ChangesResponse::default() }),
        }
    }

    async fn digest(&self, request: DigestRequest) -> Result<DigestResponse, Status> {
        let not_leader = |leader_node_id| {
            let to = Some(NotLeader { leader_node_id });
            Ok(DigestResponse { not_leader: to, ..DigestResponse::default() })
        };
        let Some(replica) = self.replicas.get(ShardId(request.shard_id)) else {
            return not_leader(0);
        };
        let index = match request.index {
            0 => match digest::propose(&replica).await {
                Ok(index) => index,
                Err(WriteError::NotLeader { leader }) => {
                    return not_leader(leader.map_or(0, |leader| leader.0));
                }
                Err(problem) => return Err(Status::unavailable(problem.to_string())),
            },
            asked => asked,
        };
        let digest = digest::at(&replica, index).await.map_err(|problem| match problem {
            DigestError::Unreadable(_) => Status::data_loss(problem.to_string()),
            _ => Status::unavailable(problem.to_string()),
        })?;
        Ok(DigestResponse {
            index,
            term: digest.position.term,
            content: bytes::Bytes::copy_from_slice(&digest.content.to_be_bytes()),
            samples: digest.samples,
            outcomes: digest.outcomes,
            not_leader: None,
        })
    }

    async fn propose(&self, request: ProposeRequest) -> Result<ProposeResponse, Status> {
        let request = ControlRequest::decode(&request.command)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        use propose_response::Result as Outcome;
        let result = match self.shared.control.request(request.id, request.command.clone()).await {
            Ok(outcome) => Outcome::Outcome(outcome.encode().into()),
            Err(RequestError::NotLeader { leader: Some(leader) }) => {
                let Some(leader) = self.others.get().and_then(|client| client.node(leader).ok())
                else {
                    return Err(Status::unavailable("the control leader is not known"));
                };
                let command = request.encode().map_err(|e| Status::internal(e.to_string()))?;
                return leader.propose(ProposeRequest { command: command.into() }).await;
            }
            Err(RequestError::Invalid(error)) => {
                return Err(Status::invalid_argument(error.to_string()));
            }
            Err(unavailable) => Outcome::Unavailable(unavailable.to_string()),
        };
        Ok(ProposeResponse { result: Some(result) })
    }

    async fn watch(&self, request: WatchStateRequest) -> Result<Answers<StateRevision>, Status> {
        let known = request.revision;
        let states = WatchStream::new(self.shared.control.state());
        let revisions = states.map(move |state| StateRevision {
            revision: state.revision(),
            state: match state.revision() > known {
                true => state.encode().into(),
                false => bytes::Bytes::new(),
            },
        });
        Ok(Box::pin(revisions.merge(self.signs_of_life()).map(Ok)))
    }

    async fn init(&self, _request: InitRequest) -> Result<InitResponse, Status> {
        match self.shared.control.state().borrow().cluster() {
            Some(cluster) => Err(Status::already_exists(format!("cluster {cluster} is founded"))),
            None => Err(Status::unavailable("the cluster is being founded")),
        }
    }

    async fn node_status(&self, _: NodeStatusRequest) -> Result<NodeStatusResponse, Status> {
        let mut replicas = vec![replica_status(&self.shared.control.group().status())];
        for replica in self.replicas.all() {
            let stats = replica.reader.stats();
            replicas.push(ReplicaStatus {
                active_series: stats.series,
                bytes: replica.state.bytes(),
                samples_behind_checkpoint: replica.state.behind_checkpoint().samples,
                ..replica_status(&replica.group.status())
            });
        }
        let (settings, shards) = {
            let state = self.shared.control.state();
            let state = state.borrow();
            (state.settings(), state.shards().len())
        };
        let jobs = series_limits::jobs_led(&self.replicas, &settings, shards);
        Ok(NodeStatusResponse {
            node_id: self.shared.node.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replicas,
            time_ms: self.shared.clock.now().millis(),
            first_day_kept: self.shared.first_day_kept.get(),
            disk_problem: self.shared.disk.reason(),
            counted_series: series_limits::series_held(&self.replicas),
            jobs,
        })
    }

    async fn settle(&self, request: SettleRequest) -> Result<SettleResponse, Status> {
        settle::step(&self.shared, &self.replicas, request).await
    }

    async fn clean_tombstones(
        &self,
        _: CleanTombstonesRequest,
    ) -> Result<CleanTombstonesResponse, Status> {
        // What was deleted is behind a checkpoint then, and can go.
        checkpointer::write_all(&self.shared, &self.replicas).await;
        match rewriting::clean_all(&self.replicas).await {
            Ok(cleaned) => Ok(CleanTombstonesResponse {
                bytes_before: cleaned.bytes_before,
                bytes_after: cleaned.bytes_after,
            }),
            Err(problem) => {
                error!(error = &problem as &dyn std::error::Error, "pages were not rewritten");
                Err(Status::unavailable(problem.to_string()))
            }
        }
    }

    async fn targets(&self, _request: TargetsRequest) -> Result<TargetsResponse, Status> {
        let Some(scraper) = self.scraper.get() else {
            return Ok(TargetsResponse::default());
        };
        let targets =
            scraper.targets().await.map_err(|stopped| Status::unavailable(stopped.to_string()))?;
        Ok(TargetsResponse {
            active: targets.active.iter().map(active_target).collect(),
            dropped: targets.dropped.iter().map(dropped_target).collect(),
        })
    }

    async fn rules(&self, request: RulesRequest) -> Result<Answers<RuleGroupStatus>, Status> {
        let Some(handle) = self.rules.get() else { return Ok(ready(Vec::new())) };
        let groups =
            handle.groups().await.map_err(|stopped| Status::unavailable(stopped.to_string()))?;
        let told = groups
            .into_iter()
            .map(move |group| Ok(rules::group_status(&group, request.excludes_alerts)));
        Ok(Box::pin(tokio_stream::iter(told)))
    }

    async fn alertmanagers(
        &self,
        _: AlertmanagersRequest,
    ) -> Result<AlertmanagersResponse, Status> {
        let managers = self.rules.get().map(|rules| rules.notifier().managers());
        Ok(rules::alertmanagers(managers.unwrap_or_default()))
    }

    async fn prepare_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<PrepareSnapshotResponse, Status> {
        backup::prepare(&self.shared, &self.replicas, &request.name).await?;
        Ok(PrepareSnapshotResponse {})
    }

    async fn hold_log(&self, request: HoldLogRequest) -> Result<HoldLogResponse, Status> {
        let at_most = Duration::from_millis(request.hold_ms.into());
        backup::hold_log(&self.shared, &request.name, at_most).await?;
        Ok(HoldLogResponse {})
    }

    async fn complete_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<SnapshotResponse, Status> {
        Ok(backup::complete(&self.shared, &request.name).await?)
    }

    async fn read_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<Answers<SnapshotPart>, Status> {
        Ok(backup::read(&self.shared, &request.name)?)
    }

    async fn delete_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<DeleteSnapshotResponse, Status> {
        backup::delete(&self.shared, &request.name).await?;
        Ok(DeleteSnapshotResponse {})
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<JoinResponse, Status> {
        let client =
            self.others.get().ok_or_else(|| Status::unavailable("the node is starting"))?;
        joining::admit(&self.shared.control, client, request).await
    }

    async fn control_checkpoint(
        &self,
        request: ControlCheckpointRequest,
    ) -> Result<Answers<ControlCheckpointPart>, Status> {
        let path = self.shared.folder.join("control");
        joining::state_for(&self.shared.control, &path, request.node_id).await
    }

    async fn checkpoint(
        &self,
        request: CheckpointRequest,
    ) -> Result<Answers<CheckpointPart>, Status> {
        exporting::checkpoint(&self.replicas, request).await
    }

    async fn rebuild(&self, request: RebuildRequest) -> Result<RebuildResponse, Status> {
        let shard = ShardId(request.shard_id);
        let replica = self.replicas.get(shard);
        let replica = replica.ok_or_else(|| Status::not_found(format!("no replica of {shard}")))?;
        if replica.leadership().ready {
            return Err(Status::failed_precondition(format!("it leads shard {shard}")));
        }
        replica.group.must_be_filled();
        Ok(RebuildResponse {})
    }

    async fn moves(&self, _: MovesRequest) -> Result<MovesResponse, Status> {
        let leadership = *self.shared.control.group().leadership().borrow();
        match leadership.ready {
            true => Ok(self.shared.moves.report()),
            false => Ok(MovesResponse {
                leader_node_id: Some(leadership.leader.unwrap_or(0)),
                ..MovesResponse::default()
            }),
        }
    }
}

fn refuse_other_tenants(tenant: u32) -> Result<(), Status> {
    match tenant {
        0 => Ok(()),
        other => Err(Status::invalid_argument(format!(
            "tenant {other} is not known: there is only tenant 0"
        ))),
    }
}

fn limit(limit: u64) -> usize {
    match limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    }
}

/// The matchers of each selector of a request.
pub(crate) fn selectors(request: &SelectRequest) -> Result<Vec<Vec<Matcher>>, Status> {
    parse_selectors(&request.selectors)
}

fn parse_selectors(texts: &[String]) -> Result<Vec<Vec<Matcher>>, Status> {
    let parse = |text: &String| parse_selector(text, &ParseOptions::everything());
    let parsed: Result<_, _> = texts.iter().map(parse).collect();
    parsed.map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Runs a look-up for every selector of `request` on the blocking pool; the union, in order.
async fn select<T: Ord + Send + 'static>(
    replica: &Replica,
    request: SelectRequest,
    find: impl Fn(&ShardReader, &[Matcher], Timestamp, Timestamp) -> Vec<T> + Send + 'static,
) -> Result<Vec<T>, Status> {
    let mut selectors = selectors(&request)?;
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    let (start, end) =
        (Timestamp::from_millis(request.start_ms), Timestamp::from_millis(request.end_ms));
    let reader = replica.reader.clone();
    let found = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        for matchers in &selectors {
            found.append(&mut find(&reader, matchers, start, end));
        }
        found.sort();
        found.dedup();
        found
    });
    found.await.map_err(|error| Status::internal(format!("BUG: look-up panicked: {error}")))
}

fn replica_status(status: &GroupStatus) -> ReplicaStatus {
    let index = |position: Option<crate::raft::LogPosition>| position.map_or(0, |at| at.index);
    ReplicaStatus {
        group_id: status.group.number(),
        leader_node_id: status.leadership.leader.unwrap_or(0),
        is_leader_ready: status.leadership.ready,
        member_node_ids: status.voters.iter().chain(&status.learners).copied().collect(),
        members_settled: status.members_settled,
        term: status.leadership.term,
        last_index: status.last_index.unwrap_or(0),
        commit_index: index(status.committed),
        applied_index: index(status.applied),
        persisted_index: index(status.persisted),
        purged_index: index(status.purged),
        followers: status
            .followers
            .iter()
            .map(|follower| FollowerStatus {
                node_id: follower.node,
                match_index: index(follower.matched),
            })
            .collect(),
        ..ReplicaStatus::default()
    }
}

/// The shard of a group's number; `None` for the control group.
pub fn shard_of_group(group: u32) -> Option<ShardId> {
    group.checked_sub(GroupId::shard(0).number()).map(ShardId)
}
