//! The ring: which shard a routing key falls to.
//!
//! A `hashring` of (shard, virtual node) tokens, each the xxh3-64 of the two numbers; a key
//! belongs to the first token at or after it, going round. Adding a shard takes keys from the
//! others and moves none between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{BuildHasher, Hash, Hasher},
};

use hashring::HashRing;
use xxhash_rust::xxh3::xxh3_64;

use crate::ShardId;

/// Tokens a shard has. A shard's share of the keys scatters by 1/√tokens, here 4.4 %: a new
/// shard takes at most 1.2 times its ideal share at every count up to 1024, which 256 fail.
pub const VIRTUAL_NODES_PER_SHARD: u32 = 512;

/// Maps routing keys to shards. A function of the set of shards alone.
#[derive(Clone)]
pub struct Ring {
    shards: BTreeSet<ShardId>,
    /// The tokens in order, beside the shard that `hashring` gives each: searching its nodes for
    /// every key would cost a cache miss a step on large rings.
    tokens: Vec<u64>,
    owners: Vec<ShardId>,
    /// For each value of a key's top bits, the first token that a key with them can fall to.
    starts: Vec<u32>,
    top_bits: u32,
}

impl Ring {
    /// The ring of `shards`, of which there must be one at least, in whatever order.
    pub fn new(shards: impl IntoIterator<Item = ShardId>) -> Self {
        let shards: BTreeSet<ShardId> = shards.into_iter().collect();
        assert!(!shards.is_empty(), "BUG: a ring without shards");
        let ring = hash_ring(&shards);
        let mut tokens: Vec<u64> = virtual_nodes(&shards).map(|node| node.token()).collect();
        tokens.sort_unstable();
        let owner = |token| ring.get(token).expect("a ring has tokens").shard;
        let owners = tokens.iter().map(owner).collect();
        let top_bits = tokens.len().next_power_of_two().trailing_zeros();
        let starts = (0..1u64 << top_bits)
            .map(|top| tokens.partition_point(|token| *token < top << (64 - top_bits)) as u32)
            .collect();
        Self { shards, tokens, owners, starts, top_bits }
    }

    /// The shard a routing key belongs to. Allocates nothing.
    #[inline]
    pub fn shard_of_key(&self, key: u64) -> ShardId {
        let mut at = self.starts[(key >> (64 - self.top_bits)) as usize] as usize;
        while at < self.tokens.len() && self.tokens[at] < key {
            at += 1;
        }
        self.owners[if at == self.tokens.len() { 0 } else { at }]
    }

    /// The shards, in order.
    pub fn shards(&self) -> &BTreeSet<ShardId> {
        &self.shards
    }

    /// The part of all keys that belongs to each shard. They add up to 1.
    pub fn shares(&self) -> BTreeMap<ShardId, f64> {
        let mut previous = *self.tokens.last().expect("a ring has tokens");
        let mut shares = BTreeMap::new();
        for (token, owner) in self.tokens.iter().zip(&self.owners) {
            let arc = token.wrapping_sub(previous) as f64;
            *shares.entry(*owner).or_default() += arc / 2f64.powi(64);
            previous = *token;
        }
        shares
    }
}

impl PartialEq for Ring {
    fn eq(&self, other: &Self) -> bool {
        self.shards == other.shards
    }
}

impl Eq for Ring {}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("shards", &self.shards).finish_non_exhaustive()
    }
}

fn hash_ring(shards: &BTreeSet<ShardId>) -> HashRing<VirtualNode, PassThrough> {
    let mut ring = HashRing::with_hasher(PassThrough);
    ring.batch_add(virtual_nodes(shards).collect());
    ring
}

fn virtual_nodes(shards: &BTreeSet<ShardId>) -> impl Iterator<Item = VirtualNode> {
    shards.iter().flat_map(|shard| {
        (0..VIRTUAL_NODES_PER_SHARD).map(|number| VirtualNode { shard: *shard, number })
    })
}

/// One token of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct VirtualNode {
    shard: ShardId,
    number: u32,
}

impl VirtualNode {
    fn token(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.shard.0.to_le_bytes());
        bytes[4..].copy_from_slice(&self.number.to_le_bytes());
        xxh3_64(&bytes)
    }
}

impl Hash for VirtualNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.token());
    }
}

/// Takes tokens and keys as they are: they are hashes already, and `hashring`'s own hasher is
/// not part of its promises.
#[derive(Debug, Clone, PartialEq)]
struct PassThrough;

impl BuildHasher for PassThrough {
    type Hasher = PassThroughHasher;

    fn build_hasher(&self) -> PassThroughHasher {
        PassThroughHasher(0)
    }
}

struct PassThroughHasher(u64);

impl Hasher for PassThroughHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("BUG: a ring hashes one u64 at a time");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(shards: u32) -> Ring {
        Ring::new((0..shards).map(ShardId))
    }

    /// The definition, in the crate's own words.
    fn by_hashring(shards: &BTreeSet<ShardId>, key: u64) -> ShardId {
        hash_ring(shards).get(&key).expect("not empty").shard
    }

    #[test]
    fn a_new_shard_takes_at_most_1_2_times_its_ideal_share() {
        for shards in (2..=64).chain([65, 100, 128, 200, 256, 400, 512, 777, 1000, 1024]) {
            let share = ring(shards).shares()[&ShardId(shards - 1)];
            let ideal = 1.0 / f64::from(shards);
            assert!(share <= 1.2 * ideal, "{shards} shards: {share} of {ideal}");
        }
    }

    #[test]
    fn shares_are_even_and_complete() {
        for shards in [1, 6, 64] {
            let ring = ring(shards);
            let shares: Vec<f64> = ring.shares().into_values().collect();
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let most = shares.iter().copied().fold(0.0, f64::max);
            assert!(most <= 1.2 / f64::from(shards), "{shards} shards: largest {most}");
        }
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_hashring(shards in proptest::collection::btree_set(0u32..1024, 1..12), keys in proptest::collection::vec(any::<u64>(), 40)) {
            let shards: BTreeSet<ShardId> = shards.into_iter().map(ShardId).collect();
            let ring = Ring::new(shards.iter().copied());
            let edges = [ring.tokens[0], ring.tokens[0].wrapping_add(1), 0, u64::MAX, *ring.tokens.last().unwrap()];
            for key in keys.into_iter().chain(edges) {
                prop_assert_eq!(ring.shard_of_key(key), by_hashring(&shards, key));
            }
        }

        #[test]
        fn adding_a_shard_moves_keys_only_to_it(shards in 1u32..40, keys in proptest::collection::vec(any::<u64>(), 200)) {
            let (before, after) = (ring(shards), ring(shards + 1));
            for key in keys {
                let moved = after.shard_of_key(key);
                prop_assert!(moved == before.shard_of_key(key) || moved == ShardId(shards));
            }
        }

        #[test]
        fn order_of_shards_does_not_matter(mut shards in proptest::collection::vec(0u32..100, 1..10), key: u64) {
            let one = Ring::new(shards.iter().copied().map(ShardId)).shard_of_key(key);
            shards.reverse();
            prop_assert_eq!(one, Ring::new(shards.into_iter().map(ShardId)).shard_of_key(key));
        }
    }
}
