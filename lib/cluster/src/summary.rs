//! The state in short, for status pages. What it cannot know (who leads, who lags) is joined to
//! it by whoever shows it.

use narthex_model::Timestamp;

use crate::{
    ClusterId, ClusterState, ClusterVersion, Incarnation, MemberState, NodeId, Owner, Placement,
    ShardId,
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The cluster, once founded.
    pub cluster: Option<ClusterId>,
    /// How many requests have changed the state.
    pub revision: u64,
    /// What all members are held to understand.
    pub version: ClusterVersion,
    /// How many replicas each shard should have.
    pub replication_factor: u8,
    /// The epoch at the time asked for.
    pub epoch: Option<u64>,
    /// The next epoch and its beginning.
    pub next_epoch: Option<(u64, Timestamp)>,
    /// The scrape configuration's owner and digest.
    pub scrape_config: Option<(Owner, u128)>,
    /// By id.
    pub members: Vec<MemberSummary>,
    /// By id.
    pub shards: Vec<ShardSummary>,
}

/// A member in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSummary {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// `HOST:PORT` of its cluster listener.
    pub address: String,
    /// Its zone, perhaps empty.
    pub zone: String,
    /// The version of its binary.
    pub binary: String,
    /// How often its folder was opened.
    pub incarnation: Incarnation,
    /// Whether it takes replicas.
    pub state: MemberState,
    /// Replicas it holds.
    pub replicas: usize,
    /// Shards it should lead.
    pub leads: usize,
}

/// A shard in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSummary {
    /// Its id.
    pub id: ShardId,
    /// Where it is.
    pub placement: Placement,
}

impl Summary {
    /// The state in short, at a time.
    pub fn of(state: &ClusterState, now: Timestamp) -> Self {
        let members = state.members().keys().filter_map(|id| MemberSummary::of(state, *id));
        let shards = state.shards().iter();
        let shard = |(id, placement): (&ShardId, &Placement)| ShardSummary {
            id: *id,
            placement: placement.clone(),
        };
        let next = state.epochs().iter().find(|epoch| epoch.from > now);
        Self {
            cluster: state.cluster(),
            revision: state.revision(),
            version: state.version(),
            replication_factor: state.replication_factor(),
            epoch: state.epoch_at(now).map(|epoch| epoch.number),
            next_epoch: next.map(|epoch| (epoch.number, epoch.from)),
            scrape_config: state.scrape_config().map(|it| (it.owner.clone(), it.digest)),
            members: members.collect(),
            shards: shards.map(shard).collect(),
        }
    }
}

impl MemberSummary {
    fn of(state: &ClusterState, id: NodeId) -> Option<Self> {
        let member = state.member(id)?;
        let placements = state.shards().values();
        Some(Self {
            id,
            name: member.name.clone(),
            address: member.addresses.cluster.clone(),
            zone: member.zone.clone(),
            binary: member.binary.text.clone(),
            incarnation: member.incarnation,
            state: member.state,
            replicas: placements.clone().filter(|it| it.replicas.contains(&id)).count(),
            leads: placements.filter(|it| it.preferred_leader() == Some(id)).count(),
        })
    }
}
