//! What each node carries, and what would even it out.
//!
//! Weights are in thousandths of a mean shard. A shard moves from one node to another only where
//! the gap between them is larger than the shard by a margin: with equal shards that is a gap of
//! two, which a move closes.
//!
//! What is measured varies, and nobody remembers here what moved before. So what differs from the
//! mean by less than a quarter of it does not count: shards that are all about as heavy, as a ring
//! makes them, are evened out by their numbers, and no measurement moves them to and fro. For
//! others the margin grows with what they may be off by.

use std::collections::{BTreeMap, BTreeSet};

use super::{Observed, ShardLoad};
use crate::{ClusterState, NodeId, ShardId};

/// What a mean shard weighs.
const MEAN: u64 = 1000;
/// By how much a shard may differ from the mean and count as exactly that. Beyond it only the rest
/// of the difference counts, so that no weight jumps; an empty shard, a raft group all the same,
/// weighs a quarter of a mean one.
const TOLERANCE: u64 = MEAN / 4;
/// By how much a gap is larger than what closes it, at least. Less than a mean shard: one more on
/// a node than on another is as it should be, two more are not.
const MARGIN: u64 = MEAN / 2;
/// The same for nodes with many shards, in percent of what a mean one carries: the rest is not
/// worth the copying. At most a mean shard for up to 18 of them, so that those come out even.
const MARGIN_PERCENT: u64 = 5;
/// What the weight of a shard that counts as another than the mean is off by, often, in percent of
/// it. The gap between two nodes is trusted beyond twice the error that follows.
const ERROR_PERCENT: u64 = 20;

/// Shards on nodes, with their weights.
pub(super) struct Burden {
    weights: BTreeMap<ShardId, u64>,
    carried: BTreeMap<NodeId, Vec<ShardId>>,
    sums: BTreeMap<NodeId, u64>,
}

/// A shard that leaves one node for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shift {
    pub(super) shard: ShardId,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
}

impl Burden {
    pub(super) fn new(
        weights: BTreeMap<ShardId, u64>,
        on_nodes: impl IntoIterator<Item = (NodeId, ShardId)>,
    ) -> Self {
        let mut burden = Self { weights, carried: BTreeMap::new(), sums: BTreeMap::new() };
        for (node, shard) in on_nodes {
            burden.carried.entry(node).or_default().push(shard);
            *burden.sums.entry(node).or_default() += burden.weight(shard);
        }
        burden
    }

    /// What a node carries.
    pub(super) fn on(&self, node: NodeId) -> u64 {
        self.sums.get(&node).copied().unwrap_or(0)
    }

    fn weight(&self, shard: ShardId) -> u64 {
        self.weights.get(&shard).copied().unwrap_or(MEAN)
    }

    /// The shift that evens out most between the heaviest and the lightest of `nodes` between
    /// which one `may` be. Of those about as good, one that does not `disturb`.
    pub(super) fn shift(
        &self,
        nodes: &[NodeId],
        may: impl Fn(&Shift) -> bool,
        disturbs: impl Fn(&Shift) -> bool,
    ) -> Option<Shift> {
        let mut nodes = nodes.to_vec();
        nodes.sort_by_key(|node| (self.on(*node), *node));
        let least = self.margin(&nodes);
        for from in nodes.iter().rev().copied() {
            for to in nodes.iter().copied() {
                let gap = self.on(from).saturating_sub(self.on(to));
                if gap <= least {
                    break;
                }
                let margin = least.max(self.error(from, to));
                let shards = self.carried.get(&from).into_iter().flatten().copied();
                let closing = shards.filter(|shard| gap > self.weight(*shard) + margin);
                let possible = closing.map(|shard| Shift { shard, from, to }).filter(&may);
                let best = possible.min_by_key(|shift| {
                    let gap_after = gap.abs_diff(2 * self.weight(shift.shard));
                    (gap_after / MEAN, disturbs(shift), gap_after, shift.shard)
                });
                if best.is_some() {
                    return best;
                }
            }
        }
        None
    }

    fn margin(&self, nodes: &[NodeId]) -> u64 {
        let sum: u64 = nodes.iter().map(|node| self.on(*node)).sum();
        let mean = sum / (nodes.len() as u64).max(1);
        MARGIN.max(mean * MARGIN_PERCENT / 100)
    }

    /// What the gap between two nodes may be off by: errors of different shards add up as squares.
    fn error(&self, one: NodeId, other: NodeId) -> u64 {
        let shards = |node| -> BTreeSet<ShardId> {
            self.carried.get(&node).into_iter().flatten().copied().collect()
        };
        let (one, other) = (shards(one), shards(other));
        let differing = one.symmetric_difference(&other).map(|shard| self.weight(*shard));
        let squares = differing.filter(|weight| *weight != MEAN).map(|weight| weight * weight);
        2 * ERROR_PERCENT * squares.sum::<u64>().isqrt() / 100
    }

    /// What a node carries, for people.
    pub(super) fn text(&self, node: NodeId) -> String {
        format!("{:.1}", self.on(node) as f64 / MEAN as f64)
    }
}

/// A replica weighs half by its series and half by its bytes: memory and disk.
pub(super) fn of_replicas(state: &ClusterState, seen: &Observed) -> BTreeMap<ShardId, u64> {
    let series = Scale::of(state, seen, |load| load.series);
    let bytes = Scale::of(state, seen, |load| load.bytes);
    weights(state, seen, |load| series.weigh(load.series).midpoint(bytes.weigh(load.bytes)))
}

/// A leadership weighs what the leader does.
pub(super) fn of_leaders(state: &ClusterState, seen: &Observed) -> BTreeMap<ShardId, u64> {
    let work = Scale::of(state, seen, |load| load.work);
    weights(state, seen, |load| work.weigh(load.work))
}

fn weights(
    state: &ClusterState,
    seen: &Observed,
    weigh: impl Fn(&ShardLoad) -> u64,
) -> BTreeMap<ShardId, u64> {
    let weight = |shard| {
        let weight = seen.shards.get(shard).map_or(MEAN, &weigh);
        MEAN.clamp(weight.saturating_sub(TOLERANCE), weight + TOLERANCE)
    };
    state.shards().keys().map(|shard| (*shard, weight(shard))).collect()
}

/// The mean of one amount over all shards it is known of.
struct Scale {
    sum: u128,
    shards: u128,
}

impl Scale {
    fn of(state: &ClusterState, seen: &Observed, amount: impl Fn(&ShardLoad) -> u64) -> Self {
        let known = seen.shards.iter().filter(|(shard, _)| state.placement(**shard).is_some());
        let amounts = known.map(|(_, load)| u128::from(amount(load)));
        amounts.fold(Self { sum: 0, shards: 0 }, |scale, amount| Self {
            sum: scale.sum + amount,
            shards: scale.shards + 1,
        })
    }

    /// An amount in thousandths of the mean: at most a thousand for each shard.
    fn weigh(&self, amount: u64) -> u64 {
        if self.sum == 0 {
            return MEAN;
        }
        let weight = u128::from(amount) * u128::from(MEAN) * self.shards / self.sum;
        u64::try_from(weight).expect("no amount is above the sum, and shards are few")
    }
}
