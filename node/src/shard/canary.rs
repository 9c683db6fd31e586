//! The canary: a series of each shard that is written as users' are and read back from every
//! replica. What fails here fails for users, too, and is told before one of them asks.
//!
//! Once in an interval the leader of a shard appends a sample of
//! `narthex_canary{job="narthex-canary",instance="shard-N-SALT"}` through the door that samples
//! come by. Then it asks each replica, itself among them, for that very sample by a bounded read:
//! what it has applied, no leader asked. `song.rs` says what is sung, and judges what comes back.
//!
//! Invariants
//! * a replica passes with the very bits that were written, within [`DEADLINE`];
//! * the sample's time is one that a majority of clocks agrees on: a leader with a wrong clock
//!   cannot put the series beyond the reach of the next one;
//! * when a shard passed last is known on every node that hosts it, so that it also grows old where
//!   no leader is left to check. Only a leader's checks renew it.
//!
//! A shard with one replica has no canary: it has nobody to read it back from.

mod song;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use narthex_cluster::{ClusterState, Gate, NodeId, ShardId};
use narthex_model::{Labels, Sample, Timestamp};
use narthex_promql::wire;
use narthex_proto::{
    batch::BatchWriter,
    client::{ShardClient, append_request},
    internal::v1::{FragmentRequest, fragment_part::Part},
};
use parking_lot::Mutex;
use tokio::time::timeout_at;
use tokio_stream::StreamExt as _;
use tracing::{info, warn};

use self::song::Song;
use super::{Replica, Replicas};
use crate::node::Shared;

/// Pause between looks at which shards are due.
const TURN: Duration = Duration::from_secs(1);
/// From writing a sample until every replica has given it back. An election takes 1.4 s.
const DEADLINE: Duration = Duration::from_secs(5);
/// Before a replica is asked, and asked again: followers learn of a commit with a heartbeat, which
/// comes every 150 ms.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// What was wrong with a canary, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The sample was refused, or not committed in time.
    NotWritten,
    /// A replica did not answer.
    NoAnswer,
    /// A replica answers, and has not got that far in time.
    Missing,
    /// A replica has another value.
    Differs,
}

impl Fault {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::NotWritten, Self::NoAnswer, Self::Missing, Self::Differs];

    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotWritten => "not_written",
            Self::NoAnswer => "no_answer",
            Self::Missing => "missing",
            Self::Differs => "differs",
        }
    }
}

/// A fault, and a sentence for people.
type Failure = (Fault, String);

/// The canaries of the shards that a node hosts.
#[derive(Debug, Default)]
pub struct Canaries(Mutex<BTreeMap<ShardId, Canary>>);

/// What is known of a shard's canary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Canary {
    /// When it passed last under this node as the leader; at first, since when the node hosts the
    /// shard.
    pub passed_at: Timestamp,
    /// From writing to the last replica's answer, when it passed last.
    pub took: Option<Duration>,
    /// Checks by this node that failed, in the order of [`Fault::ALL`].
    pub failures: [u64; Fault::ALL.len()],
    /// What is wrong now.
    problem: Option<String>,
}

impl Canaries {
    /// By shard.
    pub fn all(&self) -> BTreeMap<ShardId, Canary> {
        self.0.lock().clone()
    }

    /// Knows these shards' from now on, and no others.
    fn watch(&self, shards: &[ShardId], now: Timestamp) {
        let mut canaries = self.0.lock();
        canaries.retain(|shard, _| shards.contains(shard));
        for shard in shards {
            let new = || Canary { passed_at: now, ..Canary::default() };
            canaries.entry(*shard).or_insert_with(new);
        }
    }

    fn note(&self, shard: ShardId, checked: Result<(Timestamp, Duration), Failure>) {
        let mut canaries = self.0.lock();
        let Some(canary) = canaries.get_mut(&shard) else { return };
        match checked {
            Ok((at, took)) => {
                (canary.passed_at, canary.took) = (at, Some(took));
                if canary.problem.take().is_some() {
                    info!(%shard, "canary passes again");
                }
            }
            Err((fault, problem)) => {
                canary.failures[fault as usize] += 1;
                if canary.problem.as_ref() != Some(&problem) {
                    warn!(%shard, fault = fault.name(), problem, "canary failed");
                    canary.problem = Some(problem);
                }
            }
        }
    }
}

/// Checks each shard that this node leads once in `interval`, until the node stops. Never with an
/// interval of 0.
pub(crate) async fn run(
    shared: Arc<Shared>,
    replicas: Arc<Replicas>,
    client: ShardClient,
    interval: Duration,
) {
    let mut known: BTreeMap<ShardId, Labels> = BTreeMap::new();
    let mut due: BTreeMap<ShardId, Instant> = BTreeMap::new();
    while !interval.is_zero() {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN.min(interval)) => {}
        }
        let monotonic = shared.clock.monotonic();
        let Some(time) = shared.clocks.agreed_time(monotonic) else { continue };
        let state = shared.control.state().borrow().clone();
        // Nodes of the first version cannot be asked for what they have applied.
        if !state.is_open(Gate::Moves) {
            continue;
        }
        let mut all = replicas.all();
        all.retain(|it| state.placement(it.shard).is_some_and(|it| it.replicas.len() > 1));
        let shards: Vec<ShardId> = all.iter().map(|it| it.shard).collect();
        shared.canaries.watch(&shards, time);
        all.retain(|it| it.leadership().ready);
        due.retain(|shard, _| all.iter().any(|it| it.shard == *shard));
        let count = all.len() as u32 + 1;
        let mut checks = Vec::new();
        for (replica, place) in all.iter().zip(1..) {
            // Spread over the interval.
            let first = || monotonic + interval * place / count;
            let at = due.entry(replica.shard).or_insert_with(first);
            if *at > monotonic {
                continue;
            }
            *at = monotonic + interval;
            if let Some(song) = song_of(&state, &mut known, (replica.shard, time)) {
                checks.push(check(&shared, &client, (replica, song)));
            }
        }
        if shared.stop.run_until_cancelled(join_all(checks)).await.is_none() {
            return;
        }
    }
}

/// What a shard's canary sings at this time; nothing before the shard has any series.
fn song_of(
    state: &ClusterState,
    known: &mut BTreeMap<ShardId, Labels>,
    (shard, time): (ShardId, Timestamp),
) -> Option<Song> {
    let epoch = state.epoch_at(time)?;
    let is_home = |labels: &Labels| epoch.shard_of(song::TENANT, labels) == shard;
    if !known.get(&shard).is_some_and(is_home) {
        known.insert(shard, song::series(epoch, shard)?);
    }
    Some(Song { series: known[&shard].clone(), time })
}

async fn check(shared: &Shared, client: &ShardClient, (replica, song): (&Replica, Song)) {
    let begun = shared.clock.monotonic();
    let checked = sing(client, replica.shard, &song).await;
    // A leader that is deposed meanwhile has nothing to say: the next one checks.
    if checked.is_ok() || replica.leadership().ready {
        let took = shared.clock.monotonic().saturating_duration_since(begun);
        shared.canaries.note(replica.shard, checked.map(|()| (song.time, took)));
    }
}

/// Writes the sample, and has every replica give it back.
async fn sing(client: &ShardClient, shard: ShardId, song: &Song) -> Result<(), Failure> {
    #[expect(clippy::disallowed_methods, reason = "deadlines of network calls are in tokio's time")]
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let state = client.state();
    let mut batch = BatchWriter::new();
    let sample = Sample { timestamp: song.time, value: song.value() };
    batch.push(&song.series, std::iter::once(sample));
    let request = append_request(shard, state.revision(), batch.finish());
    let written = client.append(shard, request, deadline).await;
    let written = written.map_err(|error| (Fault::NotWritten, error.to_string()))?;
    if let Some(refused) = written.refused.first() {
        return Err((Fault::NotWritten, format!("the sample was refused: {}", refused.reason)));
    }
    let Some(placement) = state.placement(shard) else { return Ok(()) };
    // One that is leaving may be gone by now.
    let leaving = placement.moving.and_then(|it| it.remove);
    let asked = placement.replicas.iter().filter(|node| Some(**node) != leaving);
    let question = song.question(shard);
    let answers = asked.map(|node| read_back(client, (*node, &question), (song, deadline)));
    let failures = join_all(answers).await.into_iter().filter_map(Result::err);
    failures.max_by_key(|(fault, _)| *fault).map_or(Ok(()), Err)
}

/// Asks a replica until it has the sample or another value.
async fn read_back(
    client: &ShardClient,
    (node, question): (NodeId, &FragmentRequest),
    (song, deadline): (&Song, tokio::time::Instant),
) -> Result<(), Failure> {
    let mut last = (Fault::NoAnswer, format!("node {node} does not answer"));
    let asking = async {
        loop {
            tokio::time::sleep(READ_PAUSE).await;
            let answer = ask(client, node, question.clone()).await;
            match song.judge(node, answer) {
                Err(failure) if failure.0 != Fault::Differs => last = failure,
                judged => return judged,
            }
        }
    };
    let judged = timeout_at(deadline, asking).await;
    judged.unwrap_or(Err(last))
}

/// What a replica has, if anything; an error that it does not say.
async fn ask(
    client: &ShardClient,
    node: NodeId,
    question: FragmentRequest,
) -> Result<Option<f64>, String> {
    let message = |status: tonic::Status| status.message().to_owned();
    let asked = client.node(node).map_err(message)?;
    let mut parts = asked.fragment(question).await.map_err(message)?;
    let mut answer = Vec::new();
    while let Some(part) = parts.next().await {
        match part.map_err(message)?.part {
            Some(Part::Answer(more)) => answer.extend_from_slice(&more),
            Some(Part::End(_)) => {
                let answer = wire::decode(&answer).map_err(|error| error.to_string())?;
                return Ok(song::heard(&answer.content));
            }
            Some(Part::Error(error)) => return Err(error.message),
            Some(Part::NotLeader(_)) | None => break,
        }
    }
    Err("the answer has no end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(3);

    fn failure(fault: Fault) -> Result<(Timestamp, Duration), Failure> {
        Err((fault, "a sentence".to_owned()))
    }

    #[test]
    fn only_a_check_that_passes_renews_the_time() {
        let (first, later) = (Timestamp::from_millis(1_000), Timestamp::from_millis(9_000));
        let canaries = Canaries::default();
        canaries.watch(&[SHARD], first);
        canaries.watch(&[SHARD], later);
        assert_eq!(canaries.all()[&SHARD].passed_at, first, "the clock alone renews nothing");
        canaries.note(SHARD, failure(Fault::Missing));
        canaries.note(SHARD, failure(Fault::Missing));
        canaries.note(SHARD, failure(Fault::Differs));
        let canary = canaries.all()[&SHARD].clone();
        assert_eq!((canary.passed_at, canary.took), (first, None));
        assert_eq!(canary.failures, [0, 0, 2, 1]);
        canaries.note(SHARD, Ok((later, Duration::from_millis(5))));
        let canary = canaries.all()[&SHARD].clone();
        assert_eq!((canary.passed_at, canary.took), (later, Some(Duration::from_millis(5))));
        assert_eq!((canary.failures, canary.problem), ([0, 0, 2, 1], None));
    }

    #[test]
    fn what_is_not_hosted_any_more_is_forgotten() {
        let canaries = Canaries::default();
        canaries.watch(&[SHARD], Timestamp::from_millis(1));
        canaries.watch(&[], Timestamp::from_millis(2));
        canaries.note(SHARD, failure(Fault::Differs));
        assert!(canaries.all().is_empty());
    }

    #[test]
    fn faults_are_counted_in_the_order_of_their_names() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
        }
    }
}
