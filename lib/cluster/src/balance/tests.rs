//! Decisions, one claim a test.

mod settling;

use narthex_model::Timestamp;

use super::*;
use crate::{
    AddMember, Addresses, Binary, ClusterId, ClusterVersion, Drain, EndMove, Found, Founder, Move,
    MoveReplica, Outcome, Placement, Preference, Request, RequestId,
};

/// A cluster and whoever decides and performs for it.
struct Cluster {
    state: ClusterState,
    seen: Observed,
    requests: u128,
}

impl Cluster {
    /// Nodes n1, n2, … in these zones.
    fn founded(zones: &[&str], shards: u32, factor: u8) -> Self {
        let founder = |(at, zone): (usize, &&str)| Founder {
            node: NodeId(at as u64 + 1),
            name: format!("n{}", at + 1),
            addresses: Addresses::default(),
            zone: (*zone).to_owned(),
            binary: binary(),
        };
        let members = zones.iter().enumerate().map(founder).collect();
        let cluster = ClusterId::from_random_bytes([9; 16]);
        let found = Found { cluster, members, shards, replication_factor: factor };
        let mut founded =
            Self { state: ClusterState::new(), seen: Observed::default(), requests: 0 };
        founded.accept(Command::Found(found));
        founded
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.requests += 1;
        let at = Timestamp::from_millis(0);
        self.state.apply(&Request { id: RequestId(self.requests), at, command })
    }

    /// Applies what changes something.
    fn accept(&mut self, command: Command) {
        let outcome = self.apply(command.clone());
        let changed = matches!(outcome, Outcome::Changed { .. } | Outcome::MemberAdded { .. });
        assert!(changed, "{command:?}: {outcome:?}");
    }

    fn add(&mut self, zone: &str) -> NodeId {
        let name = format!("n{}", self.state.members().len() + 1);
        let (addresses, zone) = (Addresses::default(), zone.to_owned());
        let add = AddMember { node: None, name, addresses, zone, binary: binary() };
        match self.apply(Command::AddMember(add)) {
            Outcome::MemberAdded { node, .. } => node,
            other => panic!("{other:?}"),
        }
    }

    fn drain(&mut self, node: u64) {
        self.accept(Command::Drain(Drain { node: NodeId(node), draining: true }));
    }

    fn lose(&mut self, node: u64) {
        self.seen.silent.remove(&NodeId(node));
        self.seen.lost.insert(NodeId(node));
    }

    fn place(&mut self, shard: u32, replicas: &[u64]) {
        let replicas = replicas.iter().copied().map(NodeId).collect();
        self.state.shards.insert(ShardId(shard), Placement { replicas, moving: None });
    }

    fn replicas(&self, shard: u32) -> Vec<u64> {
        let placement = self.state.placement(ShardId(shard)).expect("there is such a shard");
        placement.replicas.iter().map(|node| node.0).collect()
    }

    fn decide(&self) -> Decided {
        decide(&self.state, &self.seen)
    }

    fn decided_move(&self) -> (u32, Option<u64>, Option<u64>) {
        match self.decide() {
            Decided::Step {
                command: Command::StartMove(MoveReplica { shard, change: Move { add, remove }, .. }),
                ..
            } => (shard.0, add.map(|node| node.0), remove.map(|node| node.0)),
            other => panic!("{other:?}"),
        }
    }

    fn decided_order(&self) -> (u32, Vec<u64>) {
        match self.decide() {
            Decided::Step {
                command: Command::SetPreference(Preference { shard, order }), ..
            } => (shard.0, order.iter().map(|node| node.0).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn waits_for(&self) -> String {
        match self.decide() {
            Decided::Waiting(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// Does what is decided next, or finishes the move under way. `None` at the end.
    fn step(&mut self) -> Option<Command> {
        let command = match self.decide() {
            Decided::Step { command, .. } => command,
            Decided::Settled => return None,
            Decided::Waiting(_) => {
                let is_moving = |it: &(&ShardId, &Placement)| it.1.moving.is_some();
                let (shard, placement) = self.state.shards().iter().find(is_moving)?;
                let lost = |node: &&NodeId| self.seen.lost.contains(*node);
                let lost = placement.replicas.iter().filter(lost).count();
                if lost * 2 >= placement.replicas.len() {
                    return None;
                }
                let change = placement.moving.expect("it moves");
                Command::FinishMove(EndMove { shard: *shard, change })
            }
        };
        self.accept(command.clone());
        Some(command)
    }

    /// All commands until nothing is left to do.
    fn settle(&mut self) -> Vec<Command> {
        let replicas: usize = self.state.shards().values().map(|it| it.replicas.len()).sum();
        let steps_max = 20 * (replicas + self.state.shards().len() * self.state.members().len());
        let mut commands = Vec::new();
        while let Some(command) = self.step() {
            commands.push(command);
            assert!(commands.len() <= steps_max, "does not end: {:?}", self.state.shards());
        }
        commands
    }
}

fn binary() -> Binary {
    Binary { level: ClusterVersion(1), text: String::new() }
}

fn moves(commands: &[Command]) -> Vec<MoveReplica> {
    let moves = commands.iter().filter_map(|command| match command {
        Command::StartMove(change) => Some(change.clone()),
        _ => None,
    });
    moves.collect()
}

fn assert_each_moved_once(moves: &[MoveReplica]) {
    let arrived: BTreeSet<_> = moves.iter().map(|it| (it.shard, it.change.add)).collect();
    assert_eq!(arrived.len(), moves.len(), "one came back: {moves:?}");
    let left_again = moves.iter().any(|it| arrived.contains(&(it.shard, it.change.remove)));
    assert!(!left_again, "one moved twice: {moves:?}");
}

#[test]
fn a_founded_cluster_is_settled() {
    for (nodes, shards) in [(1, 6), (3, 6), (3, 16), (5, 24), (4, 64)] {
        let factor = if nodes == 1 { 1 } else { 3 };
        let cluster = Cluster::founded(&vec![""; nodes], shards, factor);
        assert_eq!(cluster.decide(), Decided::Settled, "{nodes} nodes, {shards} shards");
    }
}

#[test]
fn a_fourth_node_takes_a_quarter_of_the_replicas_each_once() {
    for (shards, quarter) in [(6, 4..=5), (12, 9..=9), (24, 18..=18)] {
        let mut cluster = Cluster::founded(&["", "", ""], shards, 3);
        let new = cluster.add("");
        let moves = moves(&cluster.settle());
        assert!(quarter.contains(&moves.len()), "{shards} shards: {} moves", moves.len());
        assert!(moves.iter().all(|it| it.change.add == Some(new)), "{moves:?}");
        assert_each_moved_once(&moves);
        assert_eq!(cluster.decide(), Decided::Settled);
    }
}

#[test]
fn a_fourth_node_leads_its_share() {
    let mut cluster = Cluster::founded(&["", "", ""], 24, 3);
    let new = cluster.add("");
    cluster.settle();
    let leaders = cluster.state.shards().values().map(Placement::preferred_leader);
    let led = leaders.filter(|leader| *leader == Some(new)).count();
    assert!((5..=7).contains(&led), "{led} of 24");
}

#[test]
fn the_shard_with_the_fewest_replicas_left_comes_first() {
    let mut cluster = Cluster::founded(&[""; 8], 3, 5);
    cluster.place(0, &[1, 3, 4, 5, 6]);
    cluster.place(1, &[1, 2, 3, 4, 5]);
    cluster.place(2, &[2, 3, 4, 5, 6]);
    cluster.lose(1);
    cluster.lose(2);
    let (shard, add, remove) = cluster.decided_move();
    assert_eq!((shard, remove), (1, Some(1)));
    assert!(matches!(add, Some(7 | 8)), "the lightest take it: {add:?}");
}

#[test]
fn a_repair_says_what_it_does() {
    let mut cluster = Cluster::founded(&[""; 4], 1, 3);
    cluster.place(0, &[1, 2, 3]);
    cluster.lose(2);
    let Decided::Step { why, .. } = cluster.decide() else { panic!("{:?}", cluster.decide()) };
    assert_eq!(why, "n4 takes shard 0 over from n2, which is lost");
}

#[test]
fn nodes_lost_silent_or_draining_are_given_nothing() {
    let mut cluster = Cluster::founded(&[""; 7], 1, 3);
    cluster.place(0, &[1, 2, 3]);
    cluster.lose(1);
    cluster.lose(4);
    cluster.seen.silent.insert(NodeId(5));
    cluster.drain(6);
    assert_eq!(cluster.decided_move(), (0, Some(7), Some(1)));
    cluster.seen.silent.insert(NodeId(7));
    cluster.settle();
    assert_eq!(
        cluster.waits_for(),
        "shard 0 has a replica on n1, which is lost, and no node can take one: 2 active nodes \
         heard of, 3 wanted"
    );
}

#[test]
fn a_stalled_shard_holds_up_no_repair_of_others() {
    let mut cluster = Cluster::founded(&[""; 4], 2, 3);
    cluster.place(0, &[1, 2, 3]);
    cluster.place(1, &[1, 2, 3]);
    cluster.lose(1);
    cluster.seen.stalled.insert(ShardId(0));
    assert_eq!(cluster.decided_move(), (1, Some(4), Some(1)));
    cluster.settle();
    assert_eq!(cluster.waits_for(), "shard 0 has no leader");
    assert_eq!(cluster.replicas(0), [1, 2, 3]);
}

#[test]
fn a_shard_without_a_majority_is_left_alone() {
    let mut cluster = Cluster::founded(&[""; 5], 1, 3);
    cluster.place(0, &[1, 2, 3]);
    cluster.lose(1);
    cluster.seen.silent.insert(NodeId(2));
    assert_eq!(cluster.waits_for(), "shard 0 has no majority: 1 of 3 replicas");
}

#[test]
fn missing_replicas_are_added_and_said_to_be_missing_where_they_cannot_be() {
    let mut cluster = Cluster::founded(&[""; 3], 1, 3);
    cluster.place(0, &[1, 2]);
    assert_eq!(cluster.decided_move(), (0, Some(3), None));
    cluster.lose(3);
    assert_eq!(
        cluster.waits_for(),
        "shard 0 is short of replicas and no node can take one: 2 active nodes heard of, 3 wanted"
    );
}

#[test]
fn a_drain_goes_on_while_another_node_is_silent() {
    let mut cluster = Cluster::founded(&[""; 5], 1, 3);
    cluster.place(0, &[1, 2, 3]);
    cluster.drain(1);
    cluster.seen.silent.insert(NodeId(2));
    assert_eq!(cluster.decided_move(), (0, Some(4), Some(1)));
}

#[test]
fn a_node_that_cannot_be_drained_yet_leads_last() {
    let mut cluster = Cluster::founded(&[""; 3], 1, 3);
    cluster.place(0, &[1, 2, 3]);
    cluster.drain(1);
    assert_eq!(cluster.decided_order(), (0, vec![2, 3, 1]));
    cluster.settle();
    assert_eq!(
        cluster.waits_for(),
        "shard 0 has a replica on n1, which is being drained, and no node can take one: 2 active \
         nodes heard of, 3 wanted"
    );
}

#[test]
fn nothing_is_evened_out_while_a_node_is_silent_or_a_shard_stalled() {
    let mut cluster = Cluster::founded(&["", "", ""], 6, 3);
    cluster.add("");
    cluster.seen.silent.insert(NodeId(2));
    assert_eq!(cluster.waits_for(), "node n2 has not been heard for a moment");
    cluster.seen.silent.clear();
    cluster.seen.stalled.insert(ShardId(3));
    assert_eq!(cluster.waits_for(), "shard 3 has no leader");
    cluster.seen.stalled.clear();
    assert_eq!(cluster.decided_move().1, Some(4));
}

#[test]
fn while_a_replica_moves_nothing_else_begins() {
    let mut cluster = Cluster::founded(&["", "", ""], 6, 3);
    cluster.add("");
    let Some(Command::StartMove(MoveReplica { shard, change, .. })) = cluster.step() else {
        panic!("should begin to move");
    };
    let from = change.remove.expect("a swap");
    cluster.drain(if from == NodeId(3) { 2 } else { 3 });
    let moving = format!("a replica of shard {shard} is moving from n{from} to n4");
    assert_eq!(cluster.waits_for(), moving);
    cluster.seen.stalled.insert(shard);
    assert_eq!(cluster.waits_for(), format!("{moving}, and the shard has no leader"));
}

/// Starts a move of shard 0 on 1, 2, 3 of five nodes and gives the reason why it is given up.
fn given_up(change: (Option<u64>, Option<u64>), happens: impl Fn(&mut Cluster)) -> String {
    let mut cluster = Cluster::founded(&[""; 5], 1, 3);
    let replicas: &[u64] = if change.0.is_none() { &[1, 2, 3, 4] } else { &[1, 2, 3] };
    cluster.place(0, replicas);
    if change.1.is_none() {
        cluster.place(0, &[1, 2]);
    }
    let change = Move { add: change.0.map(NodeId), remove: change.1.map(NodeId) };
    let lost = BTreeSet::new();
    cluster.accept(Command::StartMove(MoveReplica { shard: ShardId(0), change, lost }));
    assert!(matches!(cluster.decide(), Decided::Waiting(_)), "before: {:?}", cluster.decide());
    happens(&mut cluster);
    match cluster.decide() {
        Decided::Step { command: Command::CancelMove(end), why }
            if end == (EndMove { shard: ShardId(0), change }) =>
        {
            why
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_move_to_a_node_that_cannot_take_it_is_given_up() {
    let swap = (Some(5), Some(1));
    let why = given_up(swap, |cluster| cluster.lose(5));
    assert_eq!(why, "the move of shard 0 is given up: n5 is lost");
    let why = given_up(swap, |cluster| cluster.drain(5));
    assert_eq!(why, "the move of shard 0 is given up: n5 is being drained");
}

#[test]
fn a_replica_is_not_removed_that_is_needed_since() {
    let why = given_up((None, Some(1)), |cluster| cluster.lose(2));
    assert_eq!(why, "the move of shard 0 is given up: 2 replicas would be left, 3 wanted");
    let why = given_up((None, Some(1)), |cluster| cluster.accept(Command::SetReplicationFactor(5)));
    assert_eq!(why, "the move of shard 0 is given up: 3 replicas would be left, 5 wanted");
}

#[test]
fn a_replica_is_not_added_that_is_not_needed_any_more() {
    let why = given_up((Some(5), None), |cluster| cluster.accept(Command::SetReplicationFactor(1)));
    assert_eq!(why, "the move of shard 0 is given up: it has replicas enough");
}

#[test]
fn of_too_many_replicas_the_least_useful_goes_first() {
    let mut cluster = Cluster::founded(&["a", "b", "c", "d", "a", "b", "c"], 2, 3);
    cluster.place(0, &[1, 2, 3, 4, 5, 6, 7]);
    cluster.place(1, &[2, 3, 5]);
    cluster.lose(6);
    cluster.drain(7);
    let mut gone = Vec::new();
    while cluster.replicas(0).len() > 3 {
        if let Some(Command::StartMove(MoveReplica { shard: ShardId(0), change, .. })) =
            cluster.step()
        {
            assert_eq!(change.add, None);
            gone.push(change.remove.expect("one goes").0);
        }
    }
    assert_eq!(gone[..3], [6, 7, 5], "lost, draining, in a zone with another");
    assert!(matches!(gone[3], 2 | 3), "on a node that carries more: {gone:?}");
}

#[test]
fn of_too_many_replicas_one_in_the_fullest_zone_goes_first() {
    let mut cluster = Cluster::founded(&["a", "a", "a", "b", "b"], 2, 3);
    cluster.place(0, &[1, 2, 3, 4, 5]);
    cluster.place(1, &[5, 4, 1]);
    assert_eq!(cluster.decided_move(), (0, None, Some(1)));
}

#[test]
fn a_lost_replica_that_cannot_be_replaced_holds_up_no_other() {
    let mut cluster = Cluster::founded(&["a", "b", "c", "a", "c"], 2, 3);
    cluster.place(0, &[1, 2, 3]);
    cluster.place(1, &[1, 4, 3]);
    cluster.lose(3);
    cluster.seen.silent.insert(NodeId(5));
    assert_eq!(cluster.decided_move(), (1, Some(2), Some(3)), "shard 0 waits for n5 of zone c");
}

#[test]
fn no_replica_that_is_there_goes_before_a_lost_one() {
    let mut cluster = Cluster::founded(&["a", "a", "b", "b", "c"], 1, 5);
    cluster.accept(Command::SetReplicationFactor(3));
    cluster.lose(5);
    assert_eq!(cluster.decided_move(), (0, None, Some(5)), "zone c is lost with n5");
}

#[test]
fn replicas_in_one_zone_part_when_there_is_another() {
    let mut cluster = Cluster::founded(&["a", "a", "b"], 1, 3);
    assert_eq!(cluster.decide(), Decided::Settled);
    cluster.add("c");
    let (shard, add, remove) = cluster.decided_move();
    assert_eq!((shard, add), (0, Some(4)));
    assert!(matches!(remove, Some(1 | 2)), "{remove:?}");
}

#[test]
fn zones_that_hold_different_numbers_of_replicas_are_evened_out() {
    let mut cluster = Cluster::founded(&["a", "a", "a", "a", "b", "b"], 1, 5);
    cluster.place(0, &[1, 2, 3, 4, 5]);
    assert_eq!(cluster.decided_move().1, Some(6), "three and two, not four and one");
}

#[test]
fn a_zone_that_is_lost_is_rebuilt_in_those_that_are_left() {
    let mut cluster = Cluster::founded(&["a", "a", "b", "b", "c", "c"], 1, 3);
    cluster.place(0, &[1, 3, 5]);
    cluster.lose(5);
    assert_eq!(cluster.decided_move(), (0, Some(6), Some(5)), "zone c is there");
    cluster.seen.silent.insert(NodeId(6));
    assert_eq!(
        cluster.waits_for(),
        "shard 0 has a replica on n5, which is lost, and all that could take one share zones with \
         its others: n6 may come back"
    );
    cluster.lose(6);
    assert_eq!(cluster.decided_move(), (0, Some(2), Some(5)));
    cluster.settle();
    assert_eq!(cluster.replicas(0).len(), 3);
    cluster.seen.lost.clear();
    let (_, add, remove) = cluster.decided_move();
    assert!(matches!(add, Some(5 | 6)), "zones suffice again: {add:?}");
    assert!(matches!(remove, Some(1 | 2)), "{remove:?}");
}

#[test]
fn what_evens_out_most_moves() {
    let mut cluster = Cluster::founded(&["", "", ""], 4, 1);
    for (shard, node) in [(0, 1), (1, 1), (2, 1), (3, 2)] {
        cluster.place(shard, &[node]);
    }
    for (shard, series) in [(0, 100), (1, 900), (2, 1000), (3, 1000)] {
        let load = ShardLoad { series, bytes: series * 10, work: 0 };
        cluster.seen.shards.insert(ShardId(shard), load);
    }
    let (shard, add, remove) = cluster.decided_move();
    assert_eq!((add, remove), (Some(3), Some(1)));
    assert!(matches!(shard, 1 | 2), "{shard}");
}

#[test]
fn series_and_bytes_weigh_half_each() {
    let mut cluster = Cluster::founded(&["", ""], 4, 1);
    for (shard, node) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        cluster.place(shard, &[node]);
    }
    let mut load = |shard, series, bytes| {
        cluster.seen.shards.insert(ShardId(shard), ShardLoad { series, bytes, work: 0 });
    };
    (0..2).for_each(|shard| load(shard, 1000, 0));
    (2..4).for_each(|shard| load(shard, 0, 7));
    assert_eq!(cluster.decide(), Decided::Settled);
}

#[test]
fn an_empty_cluster_is_evened_out_by_numbers() {
    let mut cluster = Cluster::founded(&["", "", ""], 6, 3);
    cluster.seen.shards = (0..6).map(|shard| (ShardId(shard), ShardLoad::default())).collect();
    assert_eq!(cluster.decide(), Decided::Settled);
    cluster.add("");
    assert_eq!(moves(&cluster.settle()).len(), 4);
}

#[test]
fn a_shard_of_unknown_weight_counts_as_the_mean() {
    let mut cluster = Cluster::founded(&["", "", ""], 6, 3);
    let load = ShardLoad { series: 5_000_000, bytes: 1 << 40, work: 10_000 };
    cluster.seen.shards.insert(ShardId(0), load);
    assert_eq!(cluster.decide(), Decided::Settled);
}

#[test]
fn shards_about_as_heavy_as_the_mean_are_evened_out_by_their_numbers() {
    for heavy in 0..12 {
        let mut cluster = Cluster::founded(&["", "", ""], 12, 3);
        for shard in 0..12 {
            let series = if shard < heavy { 1150 } else { 950 };
            let load = ShardLoad { series, bytes: series, work: series };
            cluster.seen.shards.insert(ShardId(shard), load);
        }
        cluster.add("");
        let moves = moves(&cluster.settle());
        assert_eq!(moves.len(), 9, "{heavy} of 12 are heavier");
        assert_each_moved_once(&moves);
    }
}

#[test]
fn leaderships_are_even_by_work() {
    let mut cluster = Cluster::founded(&["", ""], 1, 1);
    cluster.state.replication_factor = 3;
    cluster.add("");
    for shard in 0..4 {
        cluster.place(shard, &[1, 2, 3]);
    }
    for (shard, work) in [(0, 10), (1, 10), (2, 10), (3, 90)] {
        cluster.seen.shards.insert(ShardId(shard), ShardLoad { series: 1, bytes: 1, work });
    }
    let commands = cluster.settle();
    assert_eq!(moves(&commands), []);
    let leads = |shard| cluster.replicas(shard)[0];
    assert!((0..3).all(|shard| leads(shard) != leads(3)), "{:?}", cluster.state.shards());
}

#[test]
fn a_leadership_does_not_move_for_less_than_itself() {
    let mut cluster = Cluster::founded(&["", "", ""], 4, 3);
    for (shard, work) in [(0, 100), (1, 80), (2, 120), (3, 95)] {
        cluster.seen.shards.insert(ShardId(shard), ShardLoad { series: 1, bytes: 1, work });
    }
    assert_eq!(cluster.decide(), Decided::Settled);
}

#[test]
fn a_lost_node_leads_last_where_it_cannot_be_replaced() {
    let mut cluster = Cluster::founded(&["", "", ""], 6, 3);
    cluster.lose(1);
    cluster.place(0, &[1, 2, 3]);
    cluster.seen.stalled.insert(ShardId(0));
    cluster.settle();
    for shard in 1..6 {
        assert_eq!(cluster.replicas(shard)[2], 1, "shard {shard}");
    }
    assert_eq!(cluster.replicas(0), [1, 2, 3], "nobody could hand it over");
    let led = (1..6).filter(|shard| cluster.replicas(*shard)[0] == 2).count();
    assert!((2..=3).contains(&led), "{:?}", cluster.state.shards());
}

#[test]
fn successors_of_one_leader_are_even_over_the_others() {
    let mut cluster = Cluster::founded(&["", "", ""], 6, 3);
    let orders = [[1, 2, 3], [1, 2, 3], [2, 3, 1], [2, 3, 1], [3, 1, 2], [3, 1, 2]];
    orders.iter().zip(0..).for_each(|(order, shard)| cluster.place(shard, order));
    assert_eq!(cluster.decided_order(), (0, vec![1, 3, 2]));
    cluster.settle();
    let pairs: BTreeSet<Vec<u64>> =
        (0..6).map(|shard| cluster.replicas(shard)[..2].to_vec()).collect();
    assert_eq!(pairs.len(), 6, "each once: {pairs:?}");
}
