//! The cluster's state, as every process follows it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};

use narthex_model::{Labels, Timestamp};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    Addresses, Binary, ClusterId, ClusterVersion, DecodeError, Epoch, Gate, Member, MemberState,
    Move, NodeId, Objects, Outcome, Pair, Placement, RequestId, RetentionRule, Ring, SHARDS_MAX,
    Settings, ShardId, TenantId,
    codec::{Reader, Wire, wire_enum, wire_struct},
};

/// What the bytes of a state begin with, before the version of their format.
const MAGIC: &[u8; 4] = b"NXCS";
/// A state without objects is written as before there were any: members that do not know them yet
/// follow it.
const FORMAT_WITHOUT_OBJECTS: u8 = 1;
/// The same, with the objects behind.
const FORMAT_WITH_OBJECTS: u8 = 2;
const CHECKSUM_BYTES: usize = 8;

/// Everything the control group has decided. Changed by [`ClusterState::apply`] and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterState {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) revision: u64,
    pub(crate) time: Timestamp,
    pub(crate) version: ClusterVersion,
    pub(crate) replication_factor: u8,
    pub(crate) settings: Settings,
    pub(crate) members: BTreeMap<NodeId, Member>,
    /// Ids of members that left: never given again.
    pub(crate) retired: BTreeSet<NodeId>,
    pub(crate) shards: BTreeMap<ShardId, Placement>,
    /// In order of their beginnings; empty until the cluster is founded.
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) scrape_config: Option<ScrapeConfig>,
    /// By their names.
    pub(crate) pairs: BTreeMap<String, Pair>,
    pub(crate) retention: Vec<RetentionRule>,
    /// The latest requests that were not refused, oldest first.
    pub(crate) answered: VecDeque<Answered>,
    pub(crate) objects: Objects,
}

/// A remembered request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) id: RequestId,
    pub(crate) outcome: Outcome,
}

/// Who may change a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The file given with `--config.file`.
    File,
    /// The watcher of Kubernetes resources.
    Kubernetes,
    /// A user of the API.
    User(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Kubernetes => f.write_str("kubernetes"),
            Self::User(name) => write!(f, "user {name:?}"),
        }
    }
}

/// What is scraped. Opaque here: whoever scrapes reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScrapeConfig {
    /// Who may replace it.
    pub owner: Owner,
    /// See [`ScrapeConfig::digest_of`].
    pub digest: u128,
    /// The configuration in its canonical form. May hold secrets.
    pub content: Arc<[u8]>,
    /// The state's revision that brought it.
    pub revision: u64,
    /// When it was imported.
    pub imported: Timestamp,
}

impl ScrapeConfig {
    /// xxh3-128 of the content: equal digests, nothing to import.
    pub fn digest_of(content: &[u8]) -> u128 {
        xxh3_128(content)
    }
}

impl fmt::Debug for ScrapeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScrapeConfig")
            .field("owner", &self.owner)
            .field("digest", &format_args!("{:032x}", self.digest))
            .field("content_bytes", &self.content.len())
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl ClusterState {
    /// The state before the first request.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cluster, once founded.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// How many requests have changed the state.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The latest time of a request. Never runs backwards.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What all members are held to understand.
    pub fn version(&self) -> ClusterVersion {
        self.version
    }

    /// Whether what is behind `gate` may be used.
    pub fn is_open(&self, gate: Gate) -> bool {
        self.version >= gate.opens_at()
    }

    /// The lowest level of all members' binaries: what the version can be raised to.
    pub fn lowest_level(&self) -> ClusterVersion {
        self.members.values().map(|member| member.binary.level).min().unwrap_or(self.version)
    }

    /// How many replicas each shard should have.
    pub fn replication_factor(&self) -> u8 {
        self.replication_factor
    }

    /// What shards keep.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The nodes.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// One node.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// All shards, also those of an epoch that has not begun.
    pub fn shards(&self) -> &BTreeMap<ShardId, Placement> {
        &self.shards
    }

    /// Where one shard is.
    pub fn placement(&self, shard: ShardId) -> Option<&Placement> {
        self.shards.get(&shard)
    }

    /// What is scraped.
    pub fn scrape_config(&self) -> Option<&ScrapeConfig> {
        self.scrape_config.as_ref()
    }

    /// The epochs, in order of their beginnings; empty until the cluster is founded.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// The epoch that covers a sample timestamp; `None` until the cluster is founded.
    pub fn epoch_at(&self, timestamp: Timestamp) -> Option<&Epoch> {
        let after = self.epochs.partition_point(|epoch| epoch.from <= timestamp);
        self.epochs.get(after.checked_sub(1)?)
    }

    /// The epochs that cover a timestamp of `[start, end]`, in order.
    pub fn epochs_between(&self, start: Timestamp, end: Timestamp) -> &[Epoch] {
        let after = self.epochs.partition_point(|epoch| epoch.from <= end);
        let first = self.epochs.partition_point(|epoch| epoch.from <= start).saturating_sub(1);
        &self.epochs[first.min(after)..after]
    }

    /// R1: the shard of a series' sample is a function of its labels and its timestamp. Both
    /// ingest and queries ask here; `None` until the cluster is founded.
    pub fn shard_of(
        &self,
        tenant: TenantId,
        labels: &Labels,
        timestamp: Timestamp,
    ) -> Option<ShardId> {
        Some(self.epoch_at(timestamp)?.shard_of(tenant, labels))
    }

    /// What was answered to a request that is still remembered.
    pub fn answer(&self, request: RequestId) -> Option<&Outcome> {
        self.answered.iter().rev().find(|it| it.id == request).map(|it| &it.outcome)
    }

    /// The bytes of a checkpoint or snapshot. Equal states have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let without_objects = self.objects == Objects::default();
        out.push(if without_objects { FORMAT_WITHOUT_OBJECTS } else { FORMAT_WITH_OBJECTS });
        self.put(&mut out);
        if !without_objects {
            self.objects.put(&mut out);
        }
        out.extend_from_slice(&xxh3_64(&out).to_le_bytes());
        out
    }

    /// The state in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut header = Reader::new(bytes);
        if header.take(MAGIC.len(), "cluster state")? != MAGIC {
            return Err(Reader::new(bytes).malformed("cluster state"));
        }
        let number = u8::read(&mut header)?;
        if ![FORMAT_WITHOUT_OBJECTS, FORMAT_WITH_OBJECTS].contains(&number) {
            let what = "cluster state format";
            return Err(DecodeError::Unknown { what, number: number.into() });
        }
        let body_end = bytes.len().checked_sub(CHECKSUM_BYTES);
        let body_end = body_end.ok_or_else(|| header.malformed("checksum"))?;
        let (body, checksum) = bytes.split_at(body_end);
        let want = u64::from_le_bytes(checksum.try_into().expect("eight bytes were split off"));
        let got = xxh3_64(body);
        if got != want {
            return Err(DecodeError::Checksum { got, want });
        }
        let mut from = Reader::new(body);
        from.take(MAGIC.len() + 1, "cluster state")?;
        let mut state = Self::read(&mut from)?;
        if number == FORMAT_WITH_OBJECTS {
            state.objects = Objects::read(&mut from)?;
            if state.objects == Objects::default() {
                return Err(from.malformed("objects"));
            }
        }
        from.finish()?;
        state.share_rings();
        Ok(state)
    }

    /// Epochs over the same shards share one ring, which may be megabytes.
    fn share_rings(&mut self) {
        for at in 1..self.epochs.len() {
            if self.epochs[at].ring == self.epochs[at - 1].ring {
                self.epochs[at].ring = Arc::clone(&self.epochs[at - 1].ring);
            }
        }
    }
}

wire_struct!(Answered { id, outcome });
wire_struct!(ScrapeConfig { owner, digest, content, revision, imported });
wire_struct!(Member { id, name, addresses, zone, binary, incarnation, state, started });
wire_struct!(Addresses { cluster, web, host });
wire_struct!(Binary { level, text });
wire_struct!(Placement { replicas, moving });
wire_struct!(Move { add, remove });
wire_enum!(Owner, "owner" { 1 => File, 2 => Kubernetes, 3 => User(name), });
wire_enum!(MemberState, "member state" { 1 => Active, 2 => Draining, });

/// All but the objects, which have a format version of their own.
impl Wire for ClusterState {
    fn put(&self, out: &mut Vec<u8>) {
        self.cluster.put(out);
        self.revision.put(out);
        self.time.put(out);
        self.version.put(out);
        self.replication_factor.put(out);
        self.settings.put(out);
        self.members.put(out);
        self.retired.put(out);
        self.shards.put(out);
        self.epochs.put(out);
        self.scrape_config.put(out);
        self.pairs.put(out);
        self.retention.put(out);
        self.answered.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            cluster: Wire::read(from)?,
            revision: Wire::read(from)?,
            time: Wire::read(from)?,
            version: Wire::read(from)?,
            replication_factor: Wire::read(from)?,
            settings: Wire::read(from)?,
            members: Wire::read(from)?,
            retired: Wire::read(from)?,
            shards: Wire::read(from)?,
            epochs: Wire::read(from)?,
            scrape_config: Wire::read(from)?,
            pairs: Wire::read(from)?,
            retention: Wire::read(from)?,
            answered: Wire::read(from)?,
            objects: Objects::default(),
        })
    }
}

/// A ring is rebuilt from its shards.
impl Wire for Epoch {
    fn put(&self, out: &mut Vec<u8>) {
        self.number.put(out);
        self.from.put(out);
        self.ring.shards().put(out);
        self.spread_jobs.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = u64::read(from)?;
        let begins = Timestamp::read(from)?;
        let at = from.malformed("number of shards of an epoch");
        let shards = BTreeSet::<ShardId>::read(from)?;
        if shards.is_empty() || shards.len() as u64 > SHARDS_MAX {
            return Err(at);
        }
        let ring = Arc::new(Ring::new(shards));
        Ok(Self { number, from: begins, ring, spread_jobs: BTreeSet::read(from)? })
    }
}
