//! Changes of objects, one claim a test.

use super::*;
use crate::{
    Addresses, Binary, ClusterId, ClusterVersion, Command, Found, Founder, NodeId, Outcome,
    Refusal, Request, RequestId,
};

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        group: "monitoring.coreos.com".into(),
        kind: "ServiceMonitor".into(),
        namespace: "web".into(),
        name: name.into(),
    }
}

fn put(name: &str, body: &str, expected: Expected) -> ObjectChange {
    ObjectChange::Put(PutObject {
        key: key(name),
        expected,
        uid: 7,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        body: body.as_bytes().into(),
    })
}

fn delete(name: &str, expected: Expected) -> ObjectChange {
    ObjectChange::Delete(DeleteObject { key: key(name), expected })
}

fn ann() -> Owner {
    Owner::User("ann".into())
}

struct Script {
    state: ClusterState,
    next: u128,
}

impl Script {
    fn new() -> Self {
        let founder = Founder {
            node: NodeId(1),
            name: "a".into(),
            addresses: Addresses::default(),
            zone: String::new(),
            binary: Binary { level: ClusterVersion::CURRENT, text: String::new() },
        };
        let mut script = Self { state: ClusterState::new(), next: 0 };
        script.apply(Command::Found(Found {
            cluster: ClusterId::from_random_bytes([9; 16]),
            members: vec![founder],
            shards: 1,
            replication_factor: 1,
        }));
        script
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.next += 1;
        let at = Timestamp::from_millis(i64::try_from(self.next).expect("few") * 1000);
        self.state.apply(&Request { id: RequestId(self.next), at, command })
    }

    fn change(&mut self, owner: Owner, changes: Vec<ObjectChange>) -> Vec<ObjectOutcome> {
        let request = ChangeObjects { owner, who: "ann".into(), note: String::new(), changes };
        match self.apply(Command::ChangeObjects(request)) {
            Outcome::Objects { outcomes, .. } => outcomes,
            other => panic!("{other:?}"),
        }
    }

    fn one(&mut self, change: ObjectChange) -> ObjectOutcome {
        self.change(ann(), vec![change]).remove(0)
    }

    fn object(&self, name: &str) -> &Object {
        self.state.objects().get(&key(name)).expect("it is there")
    }
}

fn refused(outcome: ObjectOutcome) -> ObjectProblem {
    match outcome {
        ObjectOutcome::Refused(problem) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_bad_change_leaves_the_others() {
    let mut script = Script::new();
    let large = "x".repeat(OBJECT_BYTES_MAX as usize);
    let outcomes = script.change(
        ann(),
        vec![
            put("a", "1", Expected::Any),
            put("b", &large, Expected::Any),
            put("c", "1", Expected::Absent),
            put("c", "2", Expected::Any),
            put("", "1", Expected::Any),
        ],
    );
    assert_eq!(outcomes[0], ObjectOutcome::Created);
    assert!(matches!(refused(outcomes[1].clone()), ObjectProblem::TooLarge { .. }));
    assert_eq!(outcomes[2], ObjectOutcome::Created);
    assert_eq!(refused(outcomes[3].clone()), ObjectProblem::Repeated);
    assert_eq!(refused(outcomes[4].clone()), ObjectProblem::Nameless);
    assert_eq!(script.state.revision(), 2, "one request, one revision");
}

#[test]
fn who_has_not_seen_the_latest_is_refused() {
    let mut script = Script::new();
    assert_eq!(script.one(put("a", "1", Expected::Absent)), ObjectOutcome::Created);
    let seen = script.object("a").revision;
    assert_eq!(script.one(put("a", "2", Expected::Revision(seen))), ObjectOutcome::Updated);
    let problem = refused(script.one(put("a", "3", Expected::Revision(seen))));
    assert_eq!(
        problem.to_string(),
        "metadata.resourceVersion: 2: the object has been modified, it is at 3"
    );
    let problem = refused(script.one(put("a", "3", Expected::Absent)));
    assert_eq!(problem, ObjectProblem::AlreadyExists { current: 3 });
    let problem = refused(script.one(delete("a", Expected::Revision(seen))));
    assert_eq!(problem, ObjectProblem::Conflict { expected: 2, current: 3 });
    assert_eq!(refused(script.one(delete("b", Expected::Any))), ObjectProblem::NotFound);
    assert_eq!(script.one(delete("a", Expected::Revision(3))), ObjectOutcome::Deleted);
}

#[test]
fn a_generation_counts_bodies_and_a_uid_stays() {
    let mut script = Script::new();
    script.one(put("a", "1", Expected::Any));
    let ObjectChange::Put(mut labelled) = put("a", "1", Expected::Any) else { unreachable!() };
    labelled.labels.insert("team".into(), "x".into());
    labelled.uid = 8;
    assert_eq!(script.one(ObjectChange::Put(labelled.clone())), ObjectOutcome::Updated);
    assert_eq!((script.object("a").generation, script.object("a").uid), (1, 7));
    let revision = script.state.revision();
    assert_eq!(script.one(ObjectChange::Put(labelled)), ObjectOutcome::Unchanged);
    assert_eq!(script.state.revision(), revision, "nothing changed");
    script.one(put("a", "2", Expected::Any));
    assert_eq!(script.object("a").generation, 2);
    assert_eq!(script.object("a").created, Timestamp::from_millis(2000));
}

#[test]
fn another_owner_is_refused_by_name_and_users_share() {
    let mut script = Script::new();
    script.change(Owner::Kubernetes, vec![put("a", "1", Expected::Any)]);
    let problem = refused(script.one(put("a", "2", Expected::Any)));
    assert_eq!(problem.to_string(), "it is owned by kubernetes");
    assert!(matches!(
        refused(script.one(delete("a", Expected::Any))),
        ObjectProblem::OwnedBy { .. }
    ));
    assert_eq!(script.state.objects().history().count(), 0, "a mirror has no history");
    script.one(put("b", "1", Expected::Any));
    let bob = Owner::User("bob".into());
    let outcomes = script.change(bob.clone(), vec![put("b", "2", Expected::Any)]);
    assert_eq!(outcomes, [ObjectOutcome::Updated]);
    assert_eq!(script.object("b").owner, bob);
}

#[test]
fn history_finds_what_was_in_force() {
    let mut script = Script::new();
    for body in ["1", "2", "3"] {
        script.one(put("a", body, Expected::Any));
    }
    script.one(delete("a", Expected::Any));
    let objects = script.state.objects();
    for (revision, body) in [(2, "1"), (3, "2"), (4, "3")] {
        let object = objects.at_revision(&key("a"), revision).expect("remembered");
        assert_eq!(&*object.body, body.as_bytes());
    }
    assert_eq!(objects.at_revision(&key("a"), 5), None);
    let actions: Vec<_> = objects.history().map(|entry| entry.action).collect();
    use ObjectAction::{Created, Deleted, Updated};
    assert_eq!(actions, [Created, Updated, Updated, Deleted]);
}

#[test]
fn all_objects_together_have_a_limit_and_so_has_history() {
    let mut script = Script::new();
    assert_eq!(
        script.apply(Command::LimitObjects(5)),
        Outcome::Refused(Refusal::TooLarge { bytes: 5, max: OBJECTS_BYTES_MAX })
    );
    script.apply(Command::LimitObjects(OBJECT_BYTES_MAX));
    let half = "x".repeat(OBJECT_BYTES_MAX as usize / 2);
    script.one(put("a", &half, Expected::Any));
    let problem = refused(script.one(put("b", &half, Expected::Any)));
    assert!(problem.to_string().ends_with("of the setting objects.max-bytes"), "{problem}");
    for number in 0..9 {
        let body = format!("{number}{}", &half[..half.len() / 4]);
        assert_eq!(script.one(put("a", &body, Expected::Any)), ObjectOutcome::Updated);
    }
    let objects = script.state.objects();
    assert!(objects.history_bytes <= OBJECT_BYTES_MAX / HISTORY_SHARE);
    assert_eq!(objects.history().count(), 1, "one of an eighth and its overhead fits");
}

#[test]
fn a_state_reads_back_and_one_without_objects_is_as_before() {
    let mut script = Script::new();
    let before = script.state.encode();
    assert_eq!(before[4], 1, "older members read it");
    assert_eq!(ClusterState::decode(&before).as_ref(), Ok(&script.state));
    script.one(put("a", "1", Expected::Any));
    script.one(put("a", "2", Expected::Any));
    let after = script.state.encode();
    assert_eq!(after[4], 2);
    assert_eq!(ClusterState::decode(&after).as_ref(), Ok(&script.state));
    assert!(!script.state.objects().is_same(&ClusterState::decode(&before).expect("read").objects));
}

#[test]
fn debug_forms_show_no_body() {
    let mut script = Script::new();
    script.one(put("a", "hunter2", Expected::Any));
    assert!(!format!("{:?}", script.state).contains("hunter2"));
    assert!(!format!("{:?}", put("a", "hunter2", Expected::Any)).contains("hunter2"));
}
