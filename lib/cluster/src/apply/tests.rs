//! Requests against the state, one claim a test, and random histories.

use narthex_model::{Labels, MatchOp};
use proptest::prelude::*;

use super::*;
use crate::{
    Addresses, Binary, Changes, ClusterId, Decided, EndMove, Founder, Gate, Observed, Owner,
    RequestId, RetentionRule, RuleMatcher, Summary, TenantId, decide,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn addresses(text: &str) -> Addresses {
    Addresses {
        cluster: format!("{text}:9095"),
        web: format!("{text}:9090"),
        host: text.to_owned(),
    }
}

fn binary(level: u32) -> Binary {
    Binary { level: ClusterVersion(level), text: format!("0.{level}.0") }
}

fn found(members: u64, factor: u8) -> Command {
    let founder = |id: u64| Founder {
        node: NodeId(id),
        name: format!("n{id}"),
        addresses: addresses(&format!("n{id}")),
        zone: String::new(),
        binary: binary(1),
    };
    Command::Found(Found {
        cluster: ClusterId::from_random_bytes([9; 16]),
        members: (1..=members).map(founder).collect(),
        shards: 6,
        replication_factor: factor,
    })
}

fn start(node: u64, incarnation: u64, host: &str) -> Command {
    Command::StartMember(StartMember {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        addresses: addresses(host),
        zone: String::new(),
        binary: binary(1),
    })
}

fn add(name: &str, level: u32) -> Command {
    let (addresses, zone) = (addresses(name), String::new());
    let binary = binary(level);
    Command::AddMember(AddMember { node: None, name: name.to_owned(), addresses, zone, binary })
}

fn moving(shard: u32, add: Option<u64>, remove: Option<u64>) -> Command {
    let change = Move { add: add.map(NodeId), remove: remove.map(NodeId) };
    Command::StartMove(MoveReplica { shard: ShardId(shard), change, lost: BTreeSet::new() })
}

fn spread(jobs: &[&str]) -> Command {
    let spread_jobs = Some(jobs.iter().map(|job| (*job).to_owned()).collect());
    Command::ChangeRing(ChangeRing { shards: 0, spread_jobs })
}

fn import(owner: Owner, content: &str) -> Command {
    Command::ImportScrapeConfig(ImportScrapeConfig { owner, content: content.as_bytes().into() })
}

/// A state and the number of its next request.
#[derive(Default)]
struct Script {
    state: ClusterState,
    next: u128,
    now: Timestamp,
}

impl Script {
    fn founded(members: u64, factor: u8) -> Self {
        let mut script = Self::default();
        script.changes(found(members, factor));
        script
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.next += 1;
        self.state.apply(&Request { id: RequestId(self.next), at: self.now, command })
    }

    fn changes(&mut self, command: Command) {
        let revision = self.state.revision + 1;
        assert_eq!(self.apply(command), Outcome::Changed { revision });
    }

    /// Does all that should be done, and says how many replicas moved.
    fn balances(&mut self) -> usize {
        let mut moves = 0;
        while let Decided::Step { command, .. } = decide(&self.state, &Observed::default()) {
            self.changes(command.clone());
            if let Command::StartMove(MoveReplica { shard, change, .. }) = command {
                self.changes(Command::FinishMove(EndMove { shard, change }));
                moves += 1;
            }
        }
        moves
    }

    fn refused(&mut self, command: Command) -> Refusal {
        let before = self.state.clone();
        let outcome = self.apply(command);
        assert_eq!(self.state, before, "a refused request changed the state");
        outcome.accepted().expect_err("should be refused")
    }
}

#[test]
fn a_cluster_is_founded_once() {
    let mut script = Script::default();
    assert_eq!(script.refused(start(1, 1, "a")), Refusal::NotFounded);
    script.changes(found(3, 3));
    let cluster = script.state.cluster().expect("founded");
    assert_eq!(script.refused(found(3, 3)), Refusal::AlreadyFounded { cluster });
    assert!(script.state.is_open(Gate::Base));
    assert_eq!(script.state.shards().len(), 6);
    assert_eq!(script.state.epoch_at(Timestamp::MIN).map(|epoch| epoch.number), Some(0));
}

#[test]
fn founders_need_ids_names_and_an_odd_factor() {
    let change = |edit: &dyn Fn(&mut Found)| {
        let Command::Found(mut founding) = found(3, 3) else { unreachable!() };
        edit(&mut founding);
        Script::default().refused(Command::Found(founding))
    };
    assert_eq!(change(&|f| f.members[1].node = NodeId(1)), Refusal::InvalidFounders);
    assert_eq!(change(&|f| f.members[1].node = NodeId(0)), Refusal::InvalidFounders);
    assert_eq!(change(&|f| f.members[1].name = "n1".into()), Refusal::InvalidFounders);
    assert_eq!(change(&|f| f.members.clear()), Refusal::InvalidFounders);
    assert_eq!(change(&|f| f.cluster = ClusterId::from_bytes([0; 16])), Refusal::InvalidFounders);
    assert_eq!(change(&|f| f.shards = 0), Refusal::InvalidShardCount { shards: 0, max: 1024 });
    let even = change(&|f| f.replication_factor = 2);
    assert_eq!(
        even.to_string(),
        "replication factor 2 is even: it survives no more failures than 1 and every write waits \
         for one node more"
    );
}

#[test]
fn a_repeated_request_gets_its_first_outcome() {
    let mut script = Script::founded(3, 3);
    let request = Request { id: RequestId(77), at: at(5), command: add("n4", 1) };
    let first = script.state.apply(&request);
    assert_eq!(first, Outcome::MemberAdded { revision: 2, node: NodeId(4) });
    let before = script.state.clone();
    assert_eq!(script.state.apply(&request), first);
    assert_eq!(script.state, before);
}

#[test]
fn an_address_may_change_at_every_start_but_only_by_the_newest_incarnation() {
    let mut script = Script::founded(3, 3);
    script.changes(start(2, 1, "old"));
    script.changes(start(2, 2, "new"));
    let stale = |got| Refusal::StaleIncarnation {
        node: NodeId(2),
        got: Incarnation(got),
        current: Incarnation(2),
    };
    assert_eq!(script.refused(start(2, 1, "new")), stale(1));
    for host in ["new", "elsewhere"] {
        assert_eq!(script.refused(start(2, 2, host)), stale(2), "one count, two folders");
    }
    assert_eq!(script.state.member(NodeId(2)).expect("member").addresses, addresses("new"));
}

#[test]
fn node_ids_are_never_given_twice() {
    let mut script = Script::founded(1, 1);
    script.apply(add("n2", 1));
    assert_eq!(script.refused(add("n2", 1)), Refusal::NameTaken { node: NodeId(2) });
    script.changes(Command::RemoveMember(NodeId(2)));
    let outcome = script.apply(add("n2", 1));
    assert!(matches!(outcome, Outcome::MemberAdded { node: NodeId(3), .. }), "{outcome:?}");
    assert_eq!(script.refused(start(2, 9, "x")), Refusal::UnknownMember { node: NodeId(2) });
    let mut join = |node| {
        let Command::AddMember(join) = add(&format!("as-{node}"), 1) else { unreachable!() };
        script.apply(Command::AddMember(AddMember { node: Some(NodeId(node)), ..join }))
    };
    for used in [0, 1, 2, 3] {
        assert_eq!(join(used), Outcome::Refused(Refusal::NodeIdUsed { node: NodeId(used) }));
    }
    assert!(matches!(join(9), Outcome::MemberAdded { node: NodeId(9), .. }));
}

#[test]
fn a_member_with_replicas_does_not_leave() {
    let mut script = Script::founded(3, 3);
    let refusal = script.refused(Command::RemoveMember(NodeId(1)));
    assert_eq!(refusal, Refusal::MemberInUse { node: NodeId(1), replicas: 6 });
}

#[test]
fn one_node_grows_into_three() {
    let mut script = Script::founded(1, 1);
    let refusal = script.refused(Command::SetReplicationFactor(3));
    assert_eq!(refusal, Refusal::TooFewMembers { factor: 3, members: 1 });
    script.apply(add("n2", 1));
    script.apply(add("n3", 1));
    script.changes(Command::SetReplicationFactor(3));
    assert_eq!(script.balances(), 12);
    assert!(script.state.shards().values().all(|placement| placement.replicas.len() == 3));
}

#[test]
fn draining_empties_a_member() {
    let mut script = Script::founded(3, 3);
    script.apply(add("n4", 1));
    script.changes(Command::Drain(Drain { node: NodeId(1), draining: true }));
    assert_eq!(script.balances(), 6);
    script.changes(Command::RemoveMember(NodeId(1)));
}

#[test]
fn moves_are_checked() {
    let mut script = Script::founded(3, 3);
    script.apply(add("n4", 1));
    let problem = |refusal| match refusal {
        Refusal::InvalidMove { problem, .. } => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(script.refused(moving(0, None, None))), MoveProblem::Empty);
    assert_eq!(problem(script.refused(moving(0, Some(2), None))), MoveProblem::AlreadyThere);
    assert_eq!(problem(script.refused(moving(0, Some(9), None))), MoveProblem::InactiveTarget);
    assert_eq!(problem(script.refused(moving(0, Some(4), Some(9)))), MoveProblem::NotThere);
    assert_eq!(problem(script.refused(moving(0, None, Some(1)))), MoveProblem::TooFewLeft);
    script.changes(moving(0, Some(4), Some(1)));
    let shard = ShardId(0);
    assert_eq!(script.refused(moving(0, Some(4), None)), Refusal::MoveInProgress { shard });
    let end = |add: u64, remove: u64| {
        let change = Move { add: Some(NodeId(add)), remove: Some(NodeId(remove)) };
        EndMove { shard, change }
    };
    assert_eq!(script.refused(Command::CancelMove(end(4, 2))), Refusal::NoMove { shard });
    script.changes(Command::CancelMove(end(4, 1)));
    assert_eq!(script.refused(Command::FinishMove(end(4, 1))), Refusal::NoMove { shard });
    script.changes(moving(0, Some(4), Some(2)));
    assert_eq!(script.refused(Command::FinishMove(end(4, 1))), Refusal::NoMove { shard });
    script.changes(Command::FinishMove(end(4, 2)));
}

#[test]
fn an_epoch_begins_at_a_full_hour_one_window_ahead() {
    let mut script = Script::founded(3, 3);
    script.now = at(10 * HOUR + 45 * MINUTE);
    let outcome = script.apply(spread(&["big"]));
    let from = at(12 * HOUR);
    assert_eq!(outcome, Outcome::EpochAdded { revision: 2, epoch: 1, from });
    assert_eq!(script.apply(spread(&["big"])), Outcome::Unchanged);
    let split = |shards| Command::ChangeRing(ChangeRing { shards, spread_jobs: None });
    let outcome = script.apply(split(8));
    assert_eq!(outcome, Outcome::EpochAdded { revision: 3, epoch: 2, from: at(13 * HOUR) });
    assert_eq!(script.apply(split(8)), Outcome::Unchanged, "asked twice, split once");
    assert_eq!(script.refused(split(6)), Refusal::FewerShards { shards: 6, present: 8 });
    let numbers = |start, end| -> Vec<u64> {
        script.state.epochs_between(start, end).iter().map(|epoch| epoch.number).collect()
    };
    assert_eq!(numbers(at(0), at(12 * HOUR - 1)), [0]);
    assert_eq!(numbers(at(12 * HOUR), at(13 * HOUR)), [1, 2]);
    assert_eq!(numbers(Timestamp::MIN, Timestamp::MAX), [0, 1, 2]);
    assert!(Arc::ptr_eq(&script.state.epochs[0].ring, &script.state.epochs[1].ring));
}

#[test]
fn an_unchanged_import_is_nothing_and_another_owner_is_refused() {
    let mut script = Script::founded(1, 1);
    script.changes(import(Owner::File, "a"));
    assert_eq!(script.apply(import(Owner::File, "a")), Outcome::Unchanged);
    let refusal = script.refused(import(Owner::User("eve".into()), "b"));
    assert_eq!(refusal.to_string(), "the scrape configuration is owned by file");
    script.changes(import(Owner::File, "b"));
    assert_eq!(script.state.scrape_config().map(|it| it.revision), Some(3));
}

#[test]
fn the_version_follows_the_lowest_member_when_told_to() {
    let mut script = Script::founded(1, 1);
    script.apply(add("n2", 2));
    let too_high = script.refused(Command::RaiseVersion(ClusterVersion(2)));
    assert!(matches!(too_high, Refusal::VersionNotReached { .. }));
    let mut upgrade = StartMember {
        node: NodeId(1),
        incarnation: Incarnation(2),
        addresses: addresses("n1"),
        zone: String::new(),
        binary: binary(2),
    };
    script.changes(Command::StartMember(upgrade.clone()));
    assert_eq!(script.state.version(), ClusterVersion(1));
    script.changes(Command::RaiseVersion(ClusterVersion(2)));
    (upgrade.incarnation, upgrade.binary) = (Incarnation(3), binary(1));
    let refusal = script.refused(Command::StartMember(upgrade));
    let (level, current) = (ClusterVersion(1), ClusterVersion(2));
    assert_eq!(refusal, Refusal::BinaryTooOld { level, current });
}

#[test]
fn only_the_latest_requests_are_remembered() {
    let mut script = Script::founded(1, 1);
    for round in 0..2000 {
        script.apply(import(Owner::File, &round.to_string()));
    }
    assert_eq!(script.state.answered.len(), ANSWERED_MAX);
    assert!(script.state.answer(RequestId(2001)).is_some());
}

#[test]
fn changes_and_summary_name_what_differs() {
    let mut script = Script::founded(3, 3);
    let before = script.state.clone();
    assert!(Changes::between(&before, &before).is_empty());
    script.changes(start(2, 1, "new"));
    script.apply(spread(&["big"]));
    let changes = Changes::between(&before, &script.state);
    let members = [NodeId(2)].into();
    assert_eq!(changes, Changes { members, epochs: true, ..Changes::default() });
    let summary = Summary::of(&script.state, script.now);
    assert_eq!(summary.members.iter().map(|it| it.leads).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!((summary.epoch, summary.next_epoch), (Some(0), Some((1, at(HOUR)))));
}

#[test]
fn shards_are_not_added_where_too_few_nodes_may_hold_them() {
    let mut script = Script::founded(3, 3);
    script.changes(Command::Drain(Drain { node: NodeId(2), draining: true }));
    let more = || Command::ChangeRing(ChangeRing { shards: 8, spread_jobs: None });
    assert_eq!(script.refused(more()), Refusal::TooFewMembers { factor: 3, members: 2 });
    assert!(script.apply(spread(&["big"])).accepted().is_ok());
    script.changes(Command::Drain(Drain { node: NodeId(2), draining: false }));
    assert!(script.apply(more()).accepted().is_ok());
}

fn any_command() -> impl Strategy<Value = Command> {
    let node = || 0u64..7;
    let optional_node = || proptest::option::of(1u64..7);
    let end = |command: fn(EndMove) -> Command| {
        (0u32..8, optional_node(), optional_node()).prop_map(move |(shard, add, remove)| {
            let change = Move { add: add.map(NodeId), remove: remove.map(NodeId) };
            command(EndMove { shard: ShardId(shard), change })
        })
    };
    prop_oneof![
        (1u64..5, 0u8..5).prop_map(|(members, factor)| found(members, factor)),
        (node(), 0u64..4, "[ab]").prop_map(|(id, incarnation, host)| start(id, incarnation, &host)),
        ("n[0-9]", 1u32..3).prop_map(|(name, level)| add(&name, level)),
        (node(), any::<bool>())
            .prop_map(|(id, draining)| Command::Drain(Drain { node: NodeId(id), draining })),
        node().prop_map(|id| Command::RemoveMember(NodeId(id))),
        (0u32..8, optional_node(), optional_node()).prop_map(|(s, a, r)| moving(s, a, r)),
        end(Command::FinishMove),
        end(Command::CancelMove),
        (0u32..8, proptest::collection::vec(1u64..4, 3)).prop_map(|(shard, order)| {
            let order = order.into_iter().map(NodeId).collect();
            Command::SetPreference(Preference { shard: ShardId(shard), order })
        }),
        (0u32..9, proptest::option::of(proptest::collection::btree_set("[a-c]", 0..3))).prop_map(
            |(shards, spread_jobs)| Command::ChangeRing(ChangeRing { shards, spread_jobs })
        ),
        (0u8..6).prop_map(Command::SetReplicationFactor),
        (-1i64..3 * HOUR, 0i64..9, -1i64..3).prop_map(|(window, retention_millis, bytes)| {
            let out_of_order_window_millis = window;
            Command::ChangeSettings(SettingsChange {
                out_of_order_window_millis: Some(out_of_order_window_millis),
                retention_millis: Some(retention_millis),
                retention_bytes: (bytes >= 0).then_some(bytes),
                series_per_job_max: Some(bytes.unsigned_abs() as u32),
                ..SettingsChange::default()
            })
        }),
        proptest::collection::vec(any_rule(), 0..3).prop_map(Command::SetRetention),
        (0u32..4).prop_map(|to| Command::RaiseVersion(ClusterVersion(to))),
        ("[a-c]", any::<bool>()).prop_map(|(content, file)| {
            import(if file { Owner::File } else { Owner::User("u".into()) }, &content)
        }),
    ]
}

fn any_rule() -> impl Strategy<Value = RetentionRule> {
    let op = prop_oneof![Just(MatchOp::Equal), Just(MatchOp::NotRegex)];
    let matcher =
        (op, "[a-b(]{0,2}").prop_map(|(op, value)| RuleMatcher { op, name: "job".into(), value });
    (proptest::collection::vec(matcher, 0..3), 0u32..3)
        .prop_map(|(matchers, keep_days)| RetentionRule { matchers, keep_days })
}

fn any_requests() -> impl Strategy<Value = Vec<Request>> {
    let request = (0u128..60, 0i64..9 * HOUR, any_command())
        .prop_map(|(id, millis, command)| Request { id: RequestId(id), at: at(millis), command });
    proptest::collection::vec(request, 0..40).prop_map(|mut requests| {
        let command = found(3, 3);
        requests.insert(0, Request { id: RequestId(99), at: at(0), command });
        requests
    })
}

fn assert_sound(state: &ClusterState) {
    let shards: Vec<u32> = state.shards().keys().map(|shard| shard.0).collect();
    assert_eq!(shards, (0..shards.len() as u32).collect::<Vec<_>>(), "shards are dense");
    for placement in state.shards().values() {
        let distinct: BTreeSet<NodeId> = placement.nodes().collect();
        assert_eq!(distinct.len(), placement.nodes().count(), "{placement:?}");
        assert!(!placement.replicas.is_empty());
        assert!(distinct.iter().all(|node| state.members().contains_key(node)), "{placement:?}");
    }
    assert!(state.epochs().is_sorted_by(|a, b| a.from < b.from && a.number + 1 == b.number));
    assert!(state.epochs().iter().skip(1).all(|epoch| epoch.from.millis() % HOUR == 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn histories_are_sound_repeatable_and_survive_their_encoding(requests in any_requests()) {
        let (mut direct, mut decoded) = (ClusterState::new(), ClusterState::new());
        for request in &requests {
            let before = direct.clone();
            let outcome = direct.apply(request);
            if matches!(outcome, Outcome::Refused(_)) {
                let time = direct.time;
                prop_assert_eq!(&direct, &ClusterState { time, ..before });
            }
            let entry = request.encode().expect("short");
            let read = Request::decode(&entry).expect("written here");
            prop_assert_eq!(&read, request);
            prop_assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome.clone()));
            decoded = ClusterState::decode(&decoded.encode()).expect("written here");
            prop_assert_eq!(decoded.apply(&read), outcome);
            assert_sound(&direct);
        }
        prop_assert_eq!(direct.encode(), decoded.encode());
    }

    #[test]
    fn a_sample_has_one_home_for_ever(requests in any_requests(), jobs in proptest::collection::vec("[a-d]", 4), now in 0i64..9 * HOUR) {
        let mut state = ClusterState::new();
        state.apply(&requests[0]);
        let series: Vec<Labels> = jobs.iter().enumerate().map(|(i, job)| {
            Labels::from_pairs([("__name__", "m"), ("instance", &i.to_string()), ("job", job)]).expect("valid")
        }).collect();
        let homes = |state: &ClusterState, until: i64| -> Vec<Option<ShardId>> {
            let times = (-2..until / HOUR + 1).map(|hour| at((hour * HOUR).min(until)));
            times.flat_map(|time| series.iter().map(move |labels| state.shard_of(TenantId(0), labels, time))).collect()
        };
        for request in &requests[1..] {
            // Whatever could have been stored before the request stays where it was: samples as
            // old as one likes, and as new as the least lead allows.
            let stored_until = state.time.max(request.at).millis().max(now.min(0)) + crate::EPOCH_LEAD_MILLIS_MIN - 1;
            let before = homes(&state, stored_until);
            state.apply(request);
            prop_assert_eq!(homes(&state, stored_until), before);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_back_equal(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(request.encode(), Ok(bytes.clone()));
        }
        if let Ok(outcome) = Outcome::decode(&bytes) {
            prop_assert_eq!(outcome.encode(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_of_a_request_is_refused_or_another_request(command in any_command(), place: usize, flip in 1u8..) {
        let request = Request { id: RequestId(1), at: at(1), command };
        let mut bytes = request.encode().expect("short");
        let place = place % bytes.len();
        bytes[place] ^= flip;
        if let Ok(other) = Request::decode(&bytes) {
            prop_assert_ne!(&other, &request);
            prop_assert_eq!(other.encode(), Ok(bytes));
        }
    }

    #[test]
    fn a_changed_byte_of_a_state_is_refused(requests in any_requests(), place: usize, flip in 1u8..) {
        let mut state = ClusterState::new();
        requests.iter().for_each(|request| drop(state.apply(request)));
        let mut bytes = state.encode();
        let place = place % bytes.len();
        bytes[place] ^= flip;
        prop_assert!(ClusterState::decode(&bytes).is_err());
        prop_assert!(ClusterState::decode(&bytes[..place]).is_err());
    }
}
