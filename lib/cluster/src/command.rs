//! What can be asked of the control group, and what it answers.

use std::{collections::BTreeSet, sync::Arc};

use narthex_model::Timestamp;

use crate::{
    Addresses, Binary, ChangeObjects, ClusterId, ClusterVersion, DecodeError, Gate, HeardReplica,
    Incarnation, Move, NodeId, ObjectOutcome, Owner, RetentionRule, RuleProblem, SettingsChange,
    ShardId,
    codec::{Reader, Wire, wire_enum, wire_struct},
};

/// The version of the encoding of requests and outcomes.
const FORMAT_VERSION: u8 = 1;

/// Names a request, so that repeating it after a lost answer does nothing. Drawn at random by
/// whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u128);

/// One entry of the control group's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which request this is.
    pub id: RequestId,
    /// The leader's time when it proposed it.
    pub at: Timestamp,
    /// What is asked.
    pub command: Command,
}

impl Request {
    /// The bytes of the entry. A request with a text or list so long that it would not be read
    /// back is an error here, before it is proposed.
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        let mut out = vec![FORMAT_VERSION];
        self.put(&mut out);
        Self::decode(&out).map(|_| out)
    }

    /// The request in an entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, "request format")
    }
}

/// A change of the cluster's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Founds the cluster. The first request that is not refused.
    Found(Found),
    /// A member has started, perhaps with other addresses.
    StartMember(StartMember),
    /// A node joins; the outcome has its id.
    AddMember(AddMember),
    /// A member is to be emptied, or is not after all.
    Drain(Drain),
    /// An emptied member leaves for ever.
    RemoveMember(NodeId),
    /// A replica begins to move.
    StartMove(MoveReplica),
    /// The shard's move is done: its group has the new members.
    FinishMove(EndMove),
    /// The shard's move is given up: its group has the old members.
    CancelMove(EndMove),
    /// A shard's replicas should lead in another order.
    SetPreference(Preference),
    /// More shards, or other jobs spread: a new epoch.
    ChangeRing(ChangeRing),
    /// How many replicas each shard should have.
    SetReplicationFactor(u8),
    /// What shards keep.
    ChangeSettings(SettingsChange),
    /// The cluster version goes up.
    RaiseVersion(ClusterVersion),
    /// Other scrape configuration.
    ImportScrapeConfig(ImportScrapeConfig),
    /// Replicas of pairs of senders are heard.
    HearReplicas(Vec<HeardReplica>),
    /// Series that are kept for another time than the others: all rules, in order.
    SetRetention(Vec<RetentionRule>),
    /// Config objects are written and deleted.
    ChangeObjects(ChangeObjects),
    /// How many bytes all config objects may have.
    LimitObjects(u64),
}

impl Command {
    /// The gate that must be open before this is proposed.
    pub const fn gate(&self) -> Gate {
        match self {
            Self::ChangeRing(_) => Gate::Splits,
            Self::ChangeObjects(_) | Self::LimitObjects(_) => Gate::Objects,
            _ => Gate::Base,
        }
    }
}

/// See [`Command::Found`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Drawn by the founder that proposes.
    pub cluster: ClusterId,
    /// The nodes whose majority founds.
    pub members: Vec<Founder>,
    /// Shards of the first epoch, 1 to 1024. Default 6: for three nodes, two leaderships each.
    pub shards: u32,
    /// Replicas of each shard: odd, and not more than members.
    pub replication_factor: u8,
}

/// A node that founds the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founder {
    /// Its id, from 1 up.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub addresses: Addresses,
    /// Its zone; empty if not known.
    pub zone: String,
    /// What it runs.
    pub binary: Binary,
}

/// See [`Command::StartMember`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartMember {
    /// Who started.
    pub node: NodeId,
    /// How often its folder was opened.
    pub incarnation: Incarnation,
    /// Where it listens now.
    pub addresses: Addresses,
    /// Its zone.
    pub zone: String,
    /// What it runs.
    pub binary: Binary,
}

/// See [`Command::AddMember`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddMember {
    /// The id its certificate names; `None` lets the cluster choose.
    pub node: Option<NodeId>,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where it listens.
    pub addresses: Addresses,
    /// Its zone.
    pub zone: String,
    /// What it runs.
    pub binary: Binary,
}

/// See [`Command::Drain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Which member.
    pub node: NodeId,
    /// Whether to empty it.
    pub draining: bool,
}

/// See [`Command::StartMove`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveReplica {
    /// Which shard.
    pub shard: ShardId,
    /// Who gets a replica and who loses one.
    pub change: Move,
    /// Members that whoever decides takes for lost: zones that only they lie in are not there.
    pub lost: BTreeSet<NodeId>,
}

/// See [`Command::FinishMove`] and [`Command::CancelMove`]. It names the move, so that one asked for
/// late does not end the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndMove {
    /// Which shard.
    pub shard: ShardId,
    /// What was begun.
    pub change: Move,
}

/// See [`Command::SetPreference`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// Which shard.
    pub shard: ShardId,
    /// Its replicas, all of them, in the order in which they should lead.
    pub order: Vec<NodeId>,
}

/// See [`Command::ChangeRing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRing {
    /// How many shards there are to be in all, so that asking twice adds them once; 0 leaves them.
    pub shards: u32,
    /// All jobs that are spread from then on; `None` leaves them as they are.
    pub spread_jobs: Option<BTreeSet<String>>,
}

/// See [`Command::ImportScrapeConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportScrapeConfig {
    /// Who imports. One who does not own the present one is refused.
    pub owner: Owner,
    /// The configuration in the canonical form of whoever reads it; opaque here.
    pub content: Arc<[u8]>,
}

/// What came of a request. Equal on all replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The state changed.
    Changed {
        /// Its revision since.
        revision: u64,
    },
    /// The state is as asked already.
    Unchanged,
    /// A node has joined.
    MemberAdded {
        /// The state's revision since.
        revision: u64,
        /// Its id.
        node: NodeId,
    },
    /// An epoch was added.
    EpochAdded {
        /// The state's revision since.
        revision: u64,
        /// Its number.
        epoch: u64,
        /// When it begins.
        from: Timestamp,
    },
    /// Nothing changed.
    Refused(Refusal),
    /// Each change of objects was decided for itself.
    Objects {
        /// The state's revision since: that of whatever was changed.
        revision: u64,
        /// What became of each, in the order of the request.
        outcomes: Vec<ObjectOutcome>,
    },
}

impl Outcome {
    /// The bytes of the outcome, for the proposer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION];
        self.put(&mut out);
        out
    }

    /// The outcome in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, "outcome format")
    }

    /// The refusal as an error.
    pub fn accepted(self) -> Result<Self, Refusal> {
        match self {
            Self::Refused(refusal) => Err(refusal),
            accepted => Ok(accepted),
        }
    }
}

/// Why a request changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Found it first.
    #[error("the cluster is not founded yet")]
    NotFounded,
    /// Join it instead.
    #[error("the cluster is founded already, as {cluster}")]
    AlreadyFounded {
        /// The id it was given.
        cluster: ClusterId,
    },
    /// Correct the request.
    #[error("founding needs a cluster id, and members with distinct ids from 1 up and names")]
    InvalidFounders,
    /// Ask for another number.
    #[error("{shards} shards in all: want 1 to {max}")]
    InvalidShardCount {
        /// What was asked for.
        shards: u64,
        /// The most there can be.
        max: u64,
    },
    /// Shards are never merged: ask for as many as there are, or more.
    #[error(
        "there are {present} shards already, and shards are never merged; {shards} are too few"
    )]
    FewerShards {
        /// How many were asked for.
        shards: u64,
        /// How many there are.
        present: u64,
    },
    /// Ask for an odd number.
    #[error(
        "replication factor {factor} is even: it survives no more failures than {} and \
         every write waits for one node more",
        factor.saturating_sub(1)
    )]
    EvenReplicationFactor {
        /// What was asked for.
        factor: u8,
    },
    /// Add nodes first.
    #[error("replication factor {factor} needs {factor} active members, there are {members}")]
    TooFewMembers {
        /// What was asked for.
        factor: u8,
        /// Active members.
        members: u64,
    },
    /// Use an id that `narthex cluster status` lists.
    #[error("node {node} is no member")]
    UnknownMember {
        /// The id asked for.
        node: NodeId,
    },
    /// Join under another id, with a certificate for it.
    #[error("node id {node} is or was given to another node")]
    NodeIdUsed {
        /// The id asked for.
        node: NodeId,
    },
    /// Choose another name.
    #[error("node {node} has this name already")]
    NameTaken {
        /// Who has it.
        node: NodeId,
    },
    /// Stop: this folder is an old copy, or runs twice.
    #[error(
        "node {node} shows incarnation {got}, but {current} was seen: an old copy of its folder, or a second process with it"
    )]
    StaleIncarnation {
        /// Who started.
        node: NodeId,
        /// What it shows.
        got: Incarnation,
        /// The highest seen.
        current: Incarnation,
    },
    /// Start a newer binary.
    #[error("the binary understands cluster version {level}, the cluster is at {current}")]
    BinaryTooOld {
        /// What the binary understands.
        level: ClusterVersion,
        /// What the cluster runs at.
        current: ClusterVersion,
    },
    /// Upgrade every member first; versions never go down.
    #[error(
        "cluster version {to} is not between the current {current} and the members' lowest {lowest}"
    )]
    VersionNotReached {
        /// What was asked for.
        to: ClusterVersion,
        /// What the cluster runs at.
        current: ClusterVersion,
        /// The lowest of all members' binaries.
        lowest: ClusterVersion,
    },
    /// Drain it first.
    #[error("node {node} still has {replicas} replicas")]
    MemberInUse {
        /// Who was to leave.
        node: NodeId,
        /// What it holds.
        replicas: u64,
    },
    /// Use an id that `narthex cluster status` lists.
    #[error("there is no shard {shard}")]
    UnknownShard {
        /// The id asked for.
        shard: ShardId,
    },
    /// Wait for the move, or cancel it.
    #[error("a replica of shard {shard} is moving")]
    MoveInProgress {
        /// Which shard.
        shard: ShardId,
    },
    /// Nothing to do.
    #[error("no replica of shard {shard} is moving")]
    NoMove {
        /// Which shard.
        shard: ShardId,
    },
    /// Decide again from the present state.
    #[error("shard {shard} cannot change so: {problem}")]
    InvalidMove {
        /// Which shard.
        shard: ShardId,
        /// What is wrong.
        problem: MoveProblem,
    },
    /// Wait until an epoch has passed out of retention.
    #[error("there are {epochs} epochs, the most there can be")]
    TooManyEpochs {
        /// How many.
        epochs: u64,
    },
    /// Ask its owner.
    #[error("the scrape configuration is owned by {owner}")]
    OwnedBy {
        /// Who owns it.
        owner: Owner,
    },
    /// Make it smaller.
    #[error("{bytes} bytes are more than the {max} allowed")]
    TooLarge {
        /// What was sent.
        bytes: u64,
        /// The most there can be.
        max: u64,
    },
    /// Correct the request.
    #[error(
        "settings out of range: an out-of-order window is 366 days at most, and samples are kept for \
         more than no time"
    )]
    InvalidSettings,
    /// Let fewer senders come in pairs.
    #[error("there are {max} pairs of senders, the most there can be")]
    TooManyPairs {
        /// How many.
        max: u64,
    },
    /// Join some of them.
    #[error("{rules} rules of retention are more than the {max} allowed")]
    TooManyRules {
        /// What was sent.
        rules: u64,
        /// The most there can be.
        max: u64,
    },
    /// Correct it.
    #[error("rule {number} of retention: {problem}")]
    InvalidRule {
        /// Which one, counted from 1.
        number: u64,
        /// What is wrong.
        problem: RuleProblem,
    },
    /// Ask for them in several requests.
    #[error("{changes} changes of objects are more than the {max} allowed in one request")]
    TooManyChanges {
        /// What was sent.
        changes: u64,
        /// The most there can be.
        max: u64,
    },
}

/// What is wrong with a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoveProblem {
    /// Neither adds nor removes.
    #[error("nothing changes")]
    Empty,
    /// The new node is no active member.
    #[error("the new node is no active member")]
    InactiveTarget,
    /// The new node has a replica.
    #[error("the new node holds a replica already")]
    AlreadyThere,
    /// The old node has none.
    #[error("the old node holds no replica")]
    NotThere,
    /// None would be left, or fewer than the replication factor.
    #[error("too few replicas would be left")]
    TooFewLeft,
    /// Two would share a zone although there are zones enough.
    #[error("two replicas would share a zone")]
    SharedZone,
    /// Not the shard's replicas in another order.
    #[error("not the shard's replicas, each once")]
    OtherReplicas,
}

wire_struct!(Request { id, at, command });
wire_struct!(Found { cluster, members, shards, replication_factor });
wire_struct!(Founder { node, name, addresses, zone, binary });
wire_struct!(StartMember { node, incarnation, addresses, zone, binary });
wire_struct!(AddMember { node, name, addresses, zone, binary });
wire_struct!(Drain { node, draining });
wire_struct!(EndMove { shard, change });
wire_struct!(MoveReplica { shard, change, lost });
wire_struct!(Preference { shard, order });
wire_struct!(ChangeRing { shards, spread_jobs });
wire_struct!(ImportScrapeConfig { owner, content });

wire_enum!(Command, "command" {
    1 => Found(found),
    2 => StartMember(start),
    3 => AddMember(member),
    4 => Drain(drain),
    5 => RemoveMember(node),
    6 => StartMove(change),
    7 => FinishMove(end),
    8 => CancelMove(end),
    9 => SetPreference(preference),
    10 => ChangeRing(change),
    11 => SetReplicationFactor(factor),
    12 => ChangeSettings(change),
    13 => RaiseVersion(version),
    14 => ImportScrapeConfig(import),
    15 => HearReplicas(heard),
    16 => SetRetention(rules),
    17 => ChangeObjects(changes),
    18 => LimitObjects(bytes),
});

wire_enum!(Outcome, "outcome" {
    1 => Changed { revision },
    2 => Unchanged,
    3 => MemberAdded { revision, node },
    4 => EpochAdded { revision, epoch, from },
    5 => Refused(refusal),
    6 => Objects { revision, outcomes },
});

wire_enum!(Refusal, "refusal" {
    1 => NotFounded,
    2 => AlreadyFounded { cluster },
    3 => InvalidFounders,
    4 => InvalidShardCount { shards, max },
    5 => EvenReplicationFactor { factor },
    6 => TooFewMembers { factor, members },
    7 => UnknownMember { node },
    8 => NameTaken { node },
    9 => StaleIncarnation { node, got, current },
    10 => BinaryTooOld { level, current },
    11 => VersionNotReached { to, current, lowest },
    12 => MemberInUse { node, replicas },
    13 => UnknownShard { shard },
    14 => MoveInProgress { shard },
    15 => NoMove { shard },
    16 => InvalidMove { shard, problem },
    17 => TooManyEpochs { epochs },
    18 => OwnedBy { owner },
    19 => TooLarge { bytes, max },
    20 => InvalidSettings,
    21 => NodeIdUsed { node },
    22 => TooManyPairs { max },
    23 => TooManyRules { rules, max },
    24 => InvalidRule { number, problem },
    25 => FewerShards { shards, present },
    26 => TooManyChanges { changes, max },
});

wire_enum!(MoveProblem, "move problem" {
    1 => Empty,
    2 => InactiveTarget,
    3 => AlreadyThere,
    4 => NotThere,
    5 => TooFewLeft,
    6 => SharedZone,
    7 => OtherReplicas,
});

impl Wire for RequestId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u128::read(from).map(Self)
    }
}

fn decode<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T, DecodeError> {
    let mut from = Reader::new(bytes);
    match u8::read(&mut from)? {
        FORMAT_VERSION => {}
        number => return Err(DecodeError::Unknown { what, number: number.into() }),
    }
    let value = T::read(&mut from)?;
    from.finish()?;
    Ok(value)
}
