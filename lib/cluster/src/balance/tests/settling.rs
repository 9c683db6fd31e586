//! Whatever happens to a cluster, decisions come to an end, and to a good one.

use proptest::prelude::*;

use super::*;
use crate::{Member, MemberState};

/// What befalls a cluster between two decisions.
#[derive(Debug, Clone)]
enum Event {
    /// This many decisions are carried out.
    Decide(usize),
    Add(String),
    Drain(u64, bool),
    Lose(u64),
    Return(u64),
    Factor(u8),
    Weigh(Vec<(u64, u64, u64)>),
}

fn any_event() -> impl Strategy<Value = Event> {
    let node = || 1u64..12;
    let weight = (0u64..100, 0u64..1000, 0u64..50);
    prop_oneof![
        4 => (0usize..30).prop_map(Event::Decide),
        3 => "[a-d]?".prop_map(Event::Add),
        2 => (node(), any::<bool>()).prop_map(|(node, draining)| Event::Drain(node, draining)),
        2 => node().prop_map(Event::Lose),
        2 => node().prop_map(Event::Return),
        1 => prop_oneof![Just(1u8), Just(3), Just(5)].prop_map(Event::Factor),
        1 => proptest::collection::vec(weight, 0..48).prop_map(Event::Weigh),
    ]
}

/// What a cluster is founded with.
#[derive(Debug)]
struct Founding {
    zones: Vec<String>,
    shards: u32,
    factor: u8,
}

impl Founding {
    /// The cluster that comes of it and of what happens then.
    fn after(&self, events: Vec<Event>) -> Cluster {
        let zones: Vec<&str> = self.zones.iter().map(String::as_str).collect();
        let odd = zones.len() - (zones.len() + 1) % 2;
        let mut cluster = Cluster::founded(&zones, self.shards, self.factor.min(odd as u8));
        events.into_iter().for_each(|event| cluster.befall(event));
        cluster
    }
}

fn any_founding() -> impl Strategy<Value = Founding> {
    let factor = prop_oneof![Just(1u8), Just(3), Just(5)];
    (proptest::collection::vec("[a-d]?", 1..9), 1u32..48, factor)
        .prop_map(|(zones, shards, factor)| Founding { zones, shards, factor })
}

impl Cluster {
    fn befall(&mut self, event: Event) {
        match event {
            Event::Decide(steps) => (0..steps).for_each(|_| drop(self.step())),
            Event::Add(zone) => drop(self.add(&zone)),
            Event::Drain(node, draining) => {
                drop(self.apply(Command::Drain(Drain { node: NodeId(node), draining })));
            }
            Event::Lose(node) => self.lose(node),
            Event::Return(node) => drop(self.seen.lost.remove(&NodeId(node))),
            Event::Factor(factor) => drop(self.apply(Command::SetReplicationFactor(factor))),
            Event::Weigh(weights) => {
                let load = |(series, bytes, work)| ShardLoad { series, bytes, work };
                let loads = weights.into_iter().map(load);
                self.seen.shards = (0..).map(ShardId).zip(loads).collect();
            }
        }
    }

    /// Nodes that can hold replicas.
    fn usable(&self) -> Vec<&Member> {
        let members = self.state.members().values();
        let is_usable =
            |it: &&Member| it.state == MemberState::Active && !self.seen.lost.contains(&it.id);
        members.filter(is_usable).collect()
    }

    fn lacks_majority(&self, placement: &Placement) -> bool {
        let lost = placement.replicas.iter().filter(|node| self.seen.lost.contains(node)).count();
        lost * 2 >= placement.replicas.len()
    }

    /// Whether not everything can be as it should be: too few nodes, or a shard without a majority.
    fn is_hindered(&self) -> bool {
        let wanted = usize::from(self.state.replication_factor());
        let silenced = self.state.shards().values().any(|it| self.lacks_majority(it));
        silenced || self.usable().len() < wanted
    }

    fn assert_placed_well(&self) {
        let usable = self.usable();
        let wanted = usize::from(self.state.replication_factor());
        for (shard, placement) in self.state.shards() {
            let replicas = &placement.replicas;
            assert_eq!(replicas.len(), wanted, "shard {shard}");
            let holders = || usable.iter().copied().filter(|it| replicas.contains(&it.id));
            assert_eq!(holders().count(), wanted, "shard {shard} is where it cannot stay");
            let (used, available) = (domains(holders()), domains(usable.iter().copied()));
            assert!(used >= wanted.min(available), "shard {shard}: {used} of {available} zones");
        }
    }

    /// What each shard weighs, in thousandths of the mean.
    fn weights(&self, halves: impl Fn(&ShardLoad) -> (u64, u64)) -> BTreeMap<ShardId, u64> {
        let shards: Vec<ShardId> = self.state.shards().keys().copied().collect();
        let known = shards.iter().filter_map(|shard| self.seen.shards.get(shard)).map(&halves);
        let known: Vec<(u64, u64)> = known.collect();
        let of_mean = |amount: u64, sum: u64| match sum {
            0 => 1000,
            sum => 1000 * amount * known.len() as u64 / sum,
        };
        let sums = known.iter().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        let weigh = |load: &ShardLoad| {
            let (first, second) = halves(load);
            match (of_mean(first, sums.0) + of_mean(second, sums.1)) / 2 {
                lighter @ 0..750 => lighter + 250,
                750..=1250 => 1000,
                heavier => heavier - 250,
            }
        };
        let weight = |shard| self.seen.shards.get(shard).map_or(1000, weigh);
        shards.iter().map(|shard| (*shard, weight(shard))).collect()
    }

    fn assert_replicas_are_even(&self) {
        let weights = self.weights(|load| (load.series, load.bytes));
        let domain = |node: NodeId| self.state.member(node).map(Member::failure_domain);
        let shared = |placement: &Placement, from: NodeId, node: NodeId| {
            let others = placement.replicas.iter().filter(|other| **other != from);
            others.filter(|other| domain(**other) == domain(node)).count()
        };
        let could = |placement: &Placement, from, to| {
            let is_spread = shared(placement, from, to) <= shared(placement, from, from);
            is_spread && !placement.replicas.contains(&to)
        };
        self.assert_even(&weights, |placement| &placement.replicas, could);
    }

    fn assert_leaderships_are_even(&self) {
        let weights = self.weights(|load| (load.work, load.work));
        let could = |placement: &Placement, _, to| placement.replicas.contains(&to);
        self.assert_even(&weights, |placement| &placement.replicas[..1], could);
    }

    /// Nothing is left whose move would even nodes out by more than the margin.
    fn assert_even(
        &self,
        weights: &BTreeMap<ShardId, u64>,
        carriers: impl Fn(&Placement) -> &[NodeId],
        could: impl Fn(&Placement, NodeId, NodeId) -> bool,
    ) {
        let usable: Vec<NodeId> = self.usable().iter().map(|member| member.id).collect();
        let carries = |node: NodeId, shard: &ShardId| {
            self.state.placement(*shard).is_some_and(|it| carriers(it).contains(&node))
        };
        let carried = |node: NodeId| -> u64 {
            weights.iter().filter(|(shard, _)| carries(node, shard)).map(|(_, it)| *it).sum()
        };
        let all: u64 = usable.iter().map(|node| carried(*node)).sum();
        let margin = u64::max(500, all / usable.len() as u64 * 5 / 100);
        // A fifth, twice, of what is on one node only and has another weight than the mean.
        let error = |one, other| {
            let differing = weights.iter().filter(|(shard, weight)| {
                carries(one, shard) != carries(other, shard) && **weight != 1000
            });
            let squares: u64 = differing.map(|(_, weight)| weight * weight).sum();
            (0.4 * (squares as f64).sqrt()) as u64
        };
        for (shard, placement) in self.state.shards() {
            for from in carriers(placement) {
                for to in usable.iter().filter(|to| could(placement, *from, **to)) {
                    let gap = carried(*from).saturating_sub(carried(*to));
                    let enough = weights[shard] + margin.max(error(*from, *to));
                    assert!(gap <= enough, "{shard} from {from} to {to}: {gap}");
                }
            }
        }
    }
}

fn domains<'a>(members: impl Iterator<Item = &'a Member>) -> usize {
    members.map(Member::failure_domain).collect::<BTreeSet<_>>().len()
}

/// A shard's load, give or take a fifth.
fn varied(shard: u32, load: u64, seed: u64) -> (ShardId, ShardLoad) {
    let load = load * (800 + random(shard, seed) % 400) / 1000;
    (ShardId(shard), ShardLoad { series: load, bytes: load, work: load })
}

fn random(shard: u32, seed: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&shard.to_le_bytes(), seed)
}

fn assert_succession_is_even(cluster: &Cluster) {
    let mut times: BTreeMap<(NodeId, NodeId), usize> = BTreeMap::new();
    for placement in cluster.state.shards().values().filter(|it| it.replicas.len() > 1) {
        *times.entry((placement.replicas[0], placement.replicas[1])).or_default() += 1;
    }
    for placement in cluster.state.shards().values().filter(|it| it.replicas.len() > 1) {
        let often = times[&(placement.replicas[0], placement.replicas[1])];
        for other in &placement.replicas[2..] {
            let rarely = times.get(&(placement.replicas[0], *other)).copied().unwrap_or(0);
            assert!(often <= rarely + 1, "{:?}", cluster.state.shards());
        }
    }
}

#[test]
fn unequal_weights_that_vary_by_a_fifth_come_to_rest() {
    let mut restless = 0;
    for seed in 0..40 {
        let mut cluster = Cluster::founded(&["", "", ""], 24, 3);
        cluster.add("");
        for round in 0..600 {
            let load = |shard| varied(shard, 100 + random(shard, seed) % 4000, seed << 10 | round);
            cluster.seen.shards = (0..24).map(load).collect();
            let step = cluster.step();
            let begins = !matches!(step, None | Some(Command::FinishMove(_)));
            restless += usize::from(begins && round >= 100);
        }
    }
    assert!(restless <= 80, "{restless} steps in 20 000 decisions");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn decisions_end_where_all_is_well_or_say_what_hinders(
        founding in any_founding(),
        events in proptest::collection::vec(any_event(), 0..12),
    ) {
        let mut cluster = founding.after(events);
        cluster.settle();
        if cluster.is_hindered() {
            return Ok(());
        }
        prop_assert_eq!(cluster.decide(), Decided::Settled);
        cluster.assert_placed_well();
        cluster.assert_replicas_are_even();
        cluster.assert_leaderships_are_even();
        assert_succession_is_even(&cluster);
    }

    #[test]
    fn a_hindered_cluster_rebuilds_all_it_can(
        founding in any_founding(),
        events in proptest::collection::vec(any_event(), 0..12),
    ) {
        let mut cluster = founding.after(events);
        cluster.settle();
        let usable: Vec<NodeId> = cluster.usable().iter().map(|member| member.id).collect();
        let is_moving = cluster.state.shards().values().any(|it| it.moving.is_some());
        for placement in cluster.state.shards().values() {
            let stays = placement.replicas.iter().all(|node| usable.contains(node));
            let free = usable.iter().any(|node| !placement.replicas.contains(node));
            let excused = is_moving || cluster.lacks_majority(placement);
            prop_assert!(stays || !free || excused, "{:?}", placement);
            let is_unfit = |node: &NodeId| !usable.contains(node);
            let fit_first = placement.replicas.is_sorted_by_key(is_unfit);
            prop_assert!(fit_first || is_moving || cluster.lacks_majority(placement));
        }
        if cluster.is_hindered() {
            let is_hurt = cluster.state.shards().values().any(|it| {
                it.replicas.len() != usize::from(cluster.state.replication_factor())
                    || it.replicas.iter().any(|node| !usable.contains(node))
            });
            let waits = matches!(cluster.decide(), Decided::Waiting(_));
            prop_assert_eq!(is_hurt, waits, "{:?}", cluster.decide());
        }
    }

    #[test]
    fn weights_that_vary_by_a_fifth_move_nothing_to_and_fro(
        shards in prop_oneof![Just(6u32), Just(12), Just(24)],
        seed: u64,
    ) {
        let mut cluster = Cluster::founded(&["", "", ""], shards, 3);
        cluster.add("");
        let mut commands = Vec::new();
        for round in 0..200 {
            cluster.seen.shards = (0..shards).map(|it| varied(it, 1000, seed ^ round)).collect();
            commands.extend(cluster.step());
        }
        let moves = moves(&commands);
        assert_each_moved_once(&moves);
        let quarter = shards as usize * 3 / 4;
        prop_assert!((quarter..=quarter + 1).contains(&moves.len()), "{} moves", moves.len());
        prop_assert_eq!(cluster.decide(), Decided::Settled);
    }

    #[test]
    fn equal_states_have_equal_decisions(
        founding in any_founding(),
        events in proptest::collection::vec(any_event(), 0..12),
    ) {
        let cluster = founding.after(events);
        let read = ClusterState::decode(&cluster.state.encode()).expect("written here");
        prop_assert_eq!(decide(&read, &cluster.seen.clone()), cluster.decide());
    }
}
