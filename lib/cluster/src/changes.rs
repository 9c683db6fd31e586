//! What differs between two states, for those who follow them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ClusterState, NodeId, ShardId};

/// What has to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The cluster was founded.
    pub founded: bool,
    /// Members that came, went, or differ in any field.
    pub members: BTreeSet<NodeId>,
    /// Shards that came or whose placement differs.
    pub shards: BTreeSet<ShardId>,
    /// An epoch was added.
    pub epochs: bool,
    /// Something else is scraped.
    pub scrape_config: bool,
    /// Shards have something else to keep.
    pub settings: bool,
    /// Shards should have another number of replicas.
    pub replication_factor: bool,
    /// Gates may have opened.
    pub version: bool,
    /// Config objects came, went, or differ.
    pub objects: bool,
}

impl Changes {
    /// What differs in `new` from `old`.
    pub fn between(old: &ClusterState, new: &ClusterState) -> Self {
        Self {
            founded: old.cluster() != new.cluster(),
            members: differing_keys(old.members(), new.members()),
            shards: differing_keys(old.shards(), new.shards()),
            epochs: old.epochs().len() != new.epochs().len(),
            scrape_config: old.scrape_config() != new.scrape_config(),
            settings: old.settings() != new.settings() || old.retention() != new.retention(),
            replication_factor: old.replication_factor() != new.replication_factor(),
            version: old.version() != new.version(),
            objects: !old.objects().is_same(new.objects()),
        }
    }

    /// Whether nothing has to be looked at.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn differing_keys<K: Ord + Copy, V: PartialEq>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> BTreeSet<K> {
    let gone = old.keys().filter(|key| !new.contains_key(key));
    let other = new.iter().filter(|(key, value)| old.get(key) != Some(*value)).map(|(key, _)| key);
    gone.chain(other).copied().collect()
}
