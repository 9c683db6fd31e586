use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use narthex_cluster::{
    ChangeRing, ClusterState, Command, NodeId, Request, RequestId, ShardId, TenantId,
};
use narthex_model::{Labels, MatchOp};
use narthex_promql::{
    FragmentKind, SampleBuffer, Scope, ScopedSource, SelectRequest, SelectedSeries, SeriesData,
    SeriesSource, SourceError,
    eval::{Inputs, NoLeaves},
    run_fragment,
    value::Sample,
};
use narthex_proto::{
    client::ShardError,
    internal::v1::{
        self as internal, AlertmanagersResponse, CardinalityPart, CardinalityRequest,
        ChangesRequest, ChangesResponse, CleanTombstonesResponse, DeleteRequest, Deleted,
        ExemplarsPart, FragmentEnd, FragmentPart, FragmentRequest, LabelValuesRequest,
        MetadataPart, MetadataRequest, MovesResponse, NodeStatusResponse, RuleGroupStatus,
        RulesRequest, SelectRequest as Select, SeriesPart, TargetsResponse, fragment_part,
    },
    service::{Answers, ready},
    snapshot::NodeFailure,
};
use narthex_web::Clock;
use prometheus_client::registry::Registry;
use tonic::Status;

use super::*;
use crate::{
    QuerierOptions,
    cluster::{Asked, Cluster},
    test_cluster::founded,
};

fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_millis(minutes * 60_000)
}

const NOW: Timestamp = Timestamp::from_millis(600_000);

#[derive(Clone)]
struct Stored(Vec<(Labels, Arc<Buffer>)>);

struct Buffer(Vec<(i64, f64)>);

impl SeriesData for Buffer {
    fn read(
        &self,
        from: Timestamp,
        to: Timestamp,
        into: &mut SampleBuffer,
    ) -> Result<(), SourceError> {
        for &(time, value) in &self.0 {
            if (from.millis()..=to.millis()).contains(&time) {
                into.push_float(time, value);
            }
        }
        Ok(())
    }
}

impl SeriesSource for Stored {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SourceError> {
        let fits = |labels: &Labels| {
            request.matchers.iter().all(|matcher| matcher.matches(labels.value(matcher.name())))
        };
        let found = self.0.iter().filter(|(labels, _)| fits(labels));
        Ok(found
            .map(|(labels, data)| SelectedSeries { labels: labels.clone(), data: data.clone() })
            .collect())
    }
}

/// Real shards in memory, without leaders, logs and networks.
struct Shards {
    state: ClusterState,
    stored: BTreeMap<u32, Stored>,
    silent: Vec<u32>,
    /// Shards whose leaders never come to an answer.
    stuck: Vec<u32>,
    asked: parking_lot::Mutex<Vec<u32>>,
    /// Where what was asked begins.
    began: parking_lot::Mutex<Vec<i64>>,
    /// The earliest time that has changed since whatever is asked about.
    earliest: AtomicI64,
    age_ms: u64,
}

impl Shards {
    /// `up{job="j", instance="iN"}` for N below twelve, worth N, a sample a minute.
    fn new(shards: u32) -> Self {
        let state = founded(shards);
        let mut stored: BTreeMap<u32, Stored> =
            (0..shards).map(|shard| (shard, Stored(vec![]))).collect();
        for i in 0..12 {
            let instance = format!("i{i}");
            let pairs = [("__name__", "up"), ("job", "j"), ("instance", &instance)];
            let labels = Labels::from_pairs(pairs).expect("valid");
            let shard = state.shard_of(TenantId(0), &labels, NOW).expect("founded");
            let samples = (0..=10).map(|minute| (minute * 60_000, f64::from(i))).collect();
            let rows = &mut stored.get_mut(&shard.0).expect("a shard").0;
            rows.push((labels, Arc::new(Buffer(samples))));
        }
        Self::of(state, stored)
    }

    /// The same from minute 50 to 70, of `shards` shards that become two more at minute 60. Only what
    /// is asked of the right shards is found.
    fn split(shards: u32) -> Self {
        let mut state = founded(shards);
        let change = ChangeRing { shards: shards + 2, spread_jobs: None };
        let (id, at) = (RequestId(2), Timestamp::from_millis(1_000));
        let request = Request { id, at, command: Command::ChangeRing(change) };
        state.apply(&request).accepted().expect("accepted");
        assert_eq!(state.epochs()[1].from, minute(60));
        let mut stored: BTreeMap<u32, Stored> =
            (0..shards + 2).map(|shard| (shard, Stored(vec![]))).collect();
        for i in 0..12 {
            let instance = format!("i{i}");
            let pairs = [("__name__", "up"), ("job", "j"), ("instance", &instance)];
            let labels = Labels::from_pairs(pairs).expect("valid");
            for at in (50..=70).map(minute) {
                let shard = state.shard_of(TenantId(0), &labels, at).expect("founded");
                let rows = &mut stored.get_mut(&shard.0).expect("a shard").0;
                let sample = (at.millis(), f64::from(i) + at.seconds());
                match rows.iter_mut().find(|(known, _)| *known == labels) {
                    Some((_, buffer)) => Arc::get_mut(buffer).expect("ours").0.push(sample),
                    None => rows.push((labels.clone(), Arc::new(Buffer(vec![sample])))),
                }
            }
        }
        Self::of(state, stored)
    }

    fn of(state: ClusterState, stored: BTreeMap<u32, Stored>) -> Self {
        let (asked, began, earliest) = Default::default();
        let earliest: AtomicI64 = earliest;
        earliest.store(i64::MAX, Ordering::Relaxed);
        let (silent, stuck, age_ms) = Default::default();
        Self { state, stored, silent, stuck, asked, began, earliest, age_ms }
    }

    fn run(&self, request: &FragmentRequest) -> Vec<FragmentPart> {
        let steps = Steps {
            start: Timestamp::from_millis(request.start_ms),
            end: Timestamp::from_millis(request.end_ms),
            step_millis: request.step_ms,
        };
        let mut options = EvalOptions::new(steps);
        options.lookback = Duration::from_millis(request.lookback_delta_ms);
        options.marks_resets = request.marks_resets;
        options.counts_samples = request.count_samples;
        let kind = match request.kind() {
            internal::FragmentKind::Columns => FragmentKind::Columns,
            internal::FragmentKind::Partial => FragmentKind::Partial,
            internal::FragmentKind::Absent => FragmentKind::Absent,
            internal::FragmentKind::Samples => FragmentKind::Samples,
            internal::FragmentKind::SortedSamples | internal::FragmentKind::NewestSamples => {
                panic!("a query asks for neither")
            }
        };
        let scope = match request.scope() {
            internal::FragmentScope::All => Scope::All,
            internal::FragmentScope::Keyed => Scope::Keyed,
            internal::FragmentScope::Unkeyed => Scope::Unkeyed,
        };
        let is_keyed = |job: &str, instance: &str| {
            !job.is_empty() && !instance.is_empty() && !request.spread_jobs.iter().any(|j| j == job)
        };
        let source = ScopedSource::new(&self.stored[&request.shard_id], scope, &is_keyed);
        let inputs = Inputs { source: &source, leaves: &NoLeaves, cancel: &CancelToken::new() };
        let answer = run_fragment(&request.query, kind, &options, inputs).expect("evaluates");
        let bytes = wire::encode(&answer);
        // In small pieces, as a large answer would come.
        let pieces =
            bytes.chunks(7).map(|piece| fragment_part::Part::Answer(piece.to_vec().into()));
        let end = fragment_part::Part::End(FragmentEnd {
            age_ms: self.age_ms,
            left_out: source.left_out(),
            applied_index: 7,
        });
        pieces.chain([end]).map(|part| FragmentPart { part: Some(part) }).collect()
    }
}

fn unasked<T>() -> Asked<'static, T, ShardError> {
    panic!("a query does not ask this")
}

impl Cluster for Shards {
    fn state(&self) -> Arc<ClusterState> {
        Arc::new(self.state.clone())
    }

    fn fragment(
        &self,
        request: FragmentRequest,
        _: Duration,
    ) -> Asked<'_, Answers<FragmentPart>, ShardError> {
        self.asked.lock().push(request.shard_id);
        self.began.lock().push(request.start_ms);
        let shard = ShardId(request.shard_id);
        if self.stuck.contains(&shard.0) && request.consistency() != Consistency::Follower {
            return Box::pin(std::future::pending());
        }
        let answer = match self.silent.contains(&shard.0) {
            true => Err(ShardError::Unavailable { shard, reason: "no leader".to_owned() }),
            false => Ok(ready(self.run(&request))),
        };
        Box::pin(std::future::ready(answer))
    }

    fn series(&self, _: Select, _: Duration) -> Asked<'_, Answers<SeriesPart>, ShardError> {
        unasked()
    }

    fn label_names(&self, _: Select, _: Duration) -> Asked<'_, Vec<String>, ShardError> {
        unasked()
    }

    fn label_values(
        &self,
        _: LabelValuesRequest,
        _: Duration,
    ) -> Asked<'_, Vec<String>, ShardError> {
        unasked()
    }

    fn exemplars(&self, _: Select, _: Duration) -> Asked<'_, Answers<ExemplarsPart>, ShardError> {
        unasked()
    }

    fn metadata(
        &self,
        _: MetadataRequest,
        _: Duration,
    ) -> Asked<'_, Answers<MetadataPart>, ShardError> {
        unasked()
    }

    fn cardinality(
        &self,
        _: CardinalityRequest,
        _: Duration,
    ) -> Asked<'_, Answers<CardinalityPart>, ShardError> {
        unasked()
    }

    fn changes(
        &self,
        request: ChangesRequest,
        _: Duration,
    ) -> Asked<'_, ChangesResponse, ShardError> {
        assert_eq!(request.since_index, 7);
        let earliest_ms = self.earliest.load(Ordering::Relaxed);
        let changes = ChangesResponse { not_leader: None, applied_index: 7, earliest_ms };
        Box::pin(std::future::ready(Ok(changes)))
    }

    fn delete(&self, _: DeleteRequest, _: Duration) -> Asked<'_, Deleted, ShardError> {
        unasked()
    }

    fn take_snapshot(&self, _: String) -> Asked<'_, (), NodeFailure> {
        panic!("a query does not ask this")
    }

    fn clean_tombstones(
        &self,
        _: NodeId,
        _: Duration,
    ) -> Asked<'_, CleanTombstonesResponse, Status> {
        panic!("a query does not ask this")
    }

    fn node_status(&self, _: NodeId, _: Duration) -> Asked<'_, NodeStatusResponse, Status> {
        panic!("a query does not ask this")
    }

    fn targets(&self, _: NodeId, _: Duration) -> Asked<'_, TargetsResponse, Status> {
        panic!("a query does not ask this")
    }

    fn rules(
        &self,
        _: NodeId,
        _: RulesRequest,
        _: Duration,
    ) -> Asked<'_, Vec<RuleGroupStatus>, Status> {
        panic!("a query does not ask this")
    }

    fn alertmanagers(&self, _: NodeId, _: Duration) -> Asked<'_, AlertmanagersResponse, Status> {
        panic!("a query does not ask this")
    }

    fn moves(&self, _: NodeId, _: Duration) -> Asked<'_, MovesResponse, Status> {
        panic!("a query does not ask this")
    }
}

fn querier(shards: Arc<Shards>, options: QuerierOptions) -> Arc<Querier> {
    Querier::new(shards, Clock::fixed(NOW), options, &mut Registry::default())
}

fn at(text: &str) -> QueryRequest {
    QueryRequest {
        text: text.to_owned(),
        steps: Steps { start: NOW, end: NOW, step_millis: 0 },
        timeout: None,
        lookback: None,
        partial_response: false,
        consistency: Consistency::Linearizable,
        counts_samples: false,
        user: Arc::default(),
        remembers: true,
    }
}

fn only_float(value: &Value) -> f64 {
    match value {
        Value::Vector(elements) => match elements.as_slice() {
            [element] => match &element.sample {
                Sample::Float(value) => *value,
                Sample::Histogram(_) => panic!("a histogram"),
            },
            _ => panic!("{} elements", elements.len()),
        },
        Value::Scalar(point) => point.value,
        _ => panic!("no vector"),
    }
}

#[tokio::test]
async fn an_answer_is_put_together_from_all_shards() {
    let shards = Arc::new(Shards::new(5));
    let querier = querier(Arc::clone(&shards), QuerierOptions::default());
    for (text, expected) in [
        ("sum(up)", 66.0),
        ("count(up)", 12.0),
        ("avg(up)", 5.5),
        ("max(up) - on() min(up)", 11.0),
        ("sum(up / on (instance) up)", f64::NAN),
        ("scalar(sum(up)) + 1", 67.0),
        ("absent(nothing)", 1.0),
    ] {
        let answered = querier.query(&at(text)).await.expect(text);
        let got = only_float(&answered.value);
        assert!(got == expected || (got.is_nan() && expected.is_nan()), "{text}: {got}");
        assert_eq!(answered.age, Duration::ZERO);
    }
    assert_eq!(querier.metrics.running.get(), 0);
}

#[tokio::test]
async fn a_range_query_is_a_sorted_matrix() {
    let querier = querier(Arc::new(Shards::new(5)), QuerierOptions::default());
    let mut request = at("up");
    let start = Timestamp::from_millis(0);
    request.steps = Steps { start, end: NOW, step_millis: 60_000 };
    let answered = querier.query(&request).await.expect("answer");
    let Value::Matrix(series) = answered.value else { panic!("no matrix") };
    assert_eq!(series.len(), 12);
    assert!(series.is_sorted_by(|a, b| a.labels < b.labels));
    assert!(series.iter().all(|one| one.samples.len() == 11));
    assert!(answered.stats.samples_read >= 12 * 11);
    request.text = "up[5m]".to_owned();
    let error = querier.query(&request).await.expect_err("a range vector");
    let expected = "invalid parameter \"query\": invalid expression type \"range vector\" for \
                    range query, must be Scalar or instant Vector";
    assert_eq!((error.kind, error.message.as_str()), (ErrorType::BadData, expected));
}

#[tokio::test]
async fn what_has_not_changed_is_not_asked_again() {
    let shards = Arc::new(Shards::new(5));
    let querier = querier(Arc::clone(&shards), QuerierOptions::default());
    let ask = async |text: &str, from: i64, to: i64, remembers: bool| {
        let steps = Steps { start: minute(from), end: minute(to), step_millis: 60_000 };
        let request = QueryRequest { steps, remembers, ..at(text) };
        let answered = querier.query(&request).await.expect(text);
        shards.asked.lock().clear();
        let mut began: Vec<i64> = std::mem::take(&mut *shards.began.lock());
        began.iter_mut().for_each(|time| *time /= 60_000);
        began.dedup();
        (answered.value, began)
    };
    for (text, first_asked) in
        [("up", 4), ("sum by (job) (up)", 4), ("up offset -2m", 2), ("up offset 2m", 6)]
    {
        let changed = |earliest| shards.earliest.store(earliest, Ordering::Relaxed);
        changed(i64::MAX);
        let (early, began) = ask(text, 1, 7, true).await;
        assert_eq!(began, [1], "{text}: nothing is known");
        assert_eq!(ask(text, 1, 7, true).await, (early, vec![]), "{text}");
        let (whole, _) = ask(text, 2, 9, false).await;
        assert_eq!(ask(text, 2, 9, true).await, (whole.clone(), vec![8]), "{text}: the new steps");
        changed(minute(4).millis());
        assert_eq!(ask(text, 2, 9, true).await, (whole, vec![first_asked]), "{text}: what changed");
        let (last, began) = ask(text, 5, 9, true).await;
        assert_eq!(began, [first_asked.max(5)], "{text}");
        assert_eq!(last, ask(text, 5, 9, false).await.0, "{text}");
        changed(i64::MIN);
        assert_eq!(ask(text, 2, 9, true).await.1, [2], "{text}: nobody knows what changed");
    }
    assert_eq!(ask("up @ 60", 1, 7, true).await.1, ask("up @ 60", 1, 7, true).await.1);
}

#[tokio::test]
async fn samples_count_at_each_step_that_looks_at_them() {
    for shards in [1, 5] {
        let querier = querier(Arc::new(Shards::new(shards)), QuerierOptions::default());
        for (text, expected) in [
            ("1", [0, 0, 0]),
            ("up", [12, 12, 12]),
            ("sum(up) + max(up)", [24, 24, 24]),
            ("sum(up @ 300)", [12, 12, 12]),
            ("count_over_time(up[2m])", [12, 24, 24]),
            ("sort(timestamp(up))", [12, 12, 12]),
            // What its windows hold of the subquery's steps.
            ("sum(count_over_time(up[4m:2m]))", [12, 24, 24]),
            ("scalar(sum(up)) > bool 3 * count(up)", [24, 24, 24]),
        ] {
            let start = Timestamp::from_millis(0);
            let steps = Steps { start, end: NOW, step_millis: 300_000 };
            let request = QueryRequest { steps, counts_samples: true, ..at(text) };
            let answered = querier.query(&request).await.expect(text);
            assert_eq!(answered.stats.queryable, expected, "{text} on {shards} shards");
        }
        for (text, expected) in [("up[5m]", 60), ("up[4m:2m]", 24)] {
            let request = QueryRequest { counts_samples: true, ..at(text) };
            let answered = querier.query(&request).await.expect(text);
            assert_eq!(answered.stats.queryable, [expected], "{text} on {shards} shards");
        }
        let answered = querier.query(&at("up")).await.expect("answer");
        assert!(answered.stats.queryable.is_empty(), "they were not to be counted");
    }
}

#[tokio::test]
async fn a_missing_shard_fails_the_query_unless_it_may_be_partial() {
    let shards = Shards { silent: vec![2], age_ms: 1500, ..Shards::new(5) };
    let missing = shards.stored[&2].0.len();
    let querier = querier(Arc::new(shards), QuerierOptions::default());
    let error = querier.query(&at("count(up)")).await.expect_err("incomplete");
    assert_eq!(error.kind, ErrorType::Unavailable);
    assert!(error.message.contains("shard 2"), "{error}");
    let mut partial = at("count(up)");
    partial.partial_response = true;
    let answered = querier.query(&partial).await.expect("partial");
    assert_eq!(only_float(&answered.value), (12 - missing) as f64);
    let [old, missing] = answered.remarks.warnings.as_slice() else {
        panic!("{:?}", answered.remarks.warnings)
    };
    assert!(missing.contains("shard 2"), "{missing}");
    assert!(old.contains("as of 1.500s ago"), "{old}");
    assert_eq!(consistency(answered.age), "bounded; age=1.500s");
}

#[tokio::test(start_paused = true)]
async fn a_slow_shard_is_asked_of_a_follower() {
    let shards = Arc::new(Shards { stuck: vec![3], ..Shards::new(5) });
    let querier = querier(Arc::clone(&shards), QuerierOptions::default());
    let answered = querier.query(&at("sum(up)")).await.expect("a follower answers");
    assert_eq!(only_float(&answered.value), 66.0);
    assert_eq!(shards.asked.lock().len(), 6);
    assert_eq!((querier.metrics.hedged.get(), querier.metrics.hedges_won.get()), (1, 1));
    let slow = Arc::new(Shards { stuck: vec![0, 1, 2], ..Shards::new(5) });
    let querier = self::querier(slow, QuerierOptions::default());
    let error = querier.query(&at("sum(up)")).await.expect_err("all may be slow");
    assert_eq!(error.kind, ErrorType::Timeout);
    assert_eq!(querier.metrics.hedged.get(), 0);
}

#[tokio::test]
async fn a_fixed_target_asks_one_shard_and_a_number_none() {
    let shards = Arc::new(Shards::new(5));
    let querier = querier(Arc::clone(&shards), QuerierOptions::default());
    querier.query(&at("1 + 1")).await.expect("number");
    assert!(shards.asked.lock().is_empty());
    let answered = querier.query(&at(r#"up{job="j", instance="i7"}"#)).await.expect("one");
    assert_eq!(only_float(&answered.value), 7.0);
    assert_eq!(shards.asked.lock().len(), 1);
}

/// A series without an instance, worth 50, on the shard where it belongs.
fn with_unkeyed(mut shards: Shards) -> Shards {
    let pairs = [("__name__", "up"), ("job", "j"), ("zone", "z")];
    let labels = Labels::from_pairs(pairs).expect("valid");
    let shard = shards.state.shard_of(TenantId(0), &labels, NOW).expect("founded");
    let samples = (0..=10).map(|minute| (minute * 60_000, 50.0)).collect();
    let rows = &mut shards.stored.get_mut(&shard.0).expect("a shard").0;
    rows.push((labels, Arc::new(Buffer(samples))));
    shards
}

#[tokio::test]
async fn what_relates_series_of_a_target_is_evaluated_where_they_are() {
    let keyed = Arc::new(Shards::new(5));
    let mixed = Arc::new(with_unkeyed(Shards::new(5)));
    for (shards, unkeyed) in [(keyed, 0), (mixed, 1)] {
        let querier = querier(Arc::clone(&shards), QuerierOptions::default());
        let sum = 66.0 + 50.0 * f64::from(unkeyed);
        for (text, expected, asked) in [
            ("sum(up + up)", 2.0 * sum, 5 + unkeyed),
            ("count(up / on (job, instance) up >= 0)", 11.0 + f64::from(unkeyed), 5 + unkeyed),
            (
                "max(topk by (job, instance, zone) (1, up + up))",
                2.0 * (11.0 + 39.0 * f64::from(unkeyed)),
                5 + unkeyed,
            ),
            ("sum(up and ignoring (zone) up unless up > 5)", 15.0, 5 + 2 * unkeyed),
            ("count(quantile(0.5, up + up))", 1.0, 5 + unkeyed),
        ] {
            let answered = querier.query(&at(text)).await.expect(text);
            assert_eq!(only_float(&answered.value), expected, "{text}");
            assert_eq!(std::mem::take(&mut *shards.asked.lock()).len(), asked as usize, "{text}");
            let [piece] = answered.explanation.pieces.as_slice() else { panic!("one epoch") };
            assert_eq!(piece.fragments[0].shards.len(), 5);
        }
    }
}

#[tokio::test]
async fn a_query_over_a_split_answers_as_if_there_had_been_none() {
    let split = Arc::new(Shards::split(3));
    let moved = split.stored.iter().filter(|(shard, _)| **shard >= 3);
    assert!(moved.map(|(_, stored)| stored.0.len()).sum::<usize>() > 0, "some series moved");
    let querier = querier(Arc::clone(&split), QuerierOptions::default());
    let mut request = at("");
    request.steps = Steps { start: minute(50), end: minute(70), step_millis: 60_000 };
    for (text, expected) in [
        ("count(up)", 12.0),
        ("count(up > 0)", 12.0),
        ("count(increase(up[3m]) > 0)", 12.0),
        ("sum(max_over_time(up[2m:1m]) - on (instance) up) + 1", 1.0),
        ("count(up and on (instance) up offset 30s)", 12.0),
    ] {
        request.text = text.to_owned();
        let answered = querier.query(&request).await.expect(text);
        let Value::Matrix(series) = answered.value else { panic!("no matrix") };
        let [sum] = series.as_slice() else { panic!("{text}: {} series", series.len()) };
        let late = sum.samples.timestamps().iter().position(|at| *at == minute(52).millis());
        let values = &sum.samples.values()[late.expect("a step")..];
        assert!(values.len() == 19 && values.iter().all(|v| *v == expected), "{text}: {values:?}");
    }
}

#[tokio::test]
async fn a_new_shard_is_asked_for_its_own_time_alone() {
    let split = Arc::new(Shards::split(3));
    let querier = querier(Arc::clone(&split), QuerierOptions::default());
    let asked = async |from: i64, to: i64| {
        let mut request = at("up");
        request.steps = Steps { start: minute(from), end: minute(to), step_millis: 60_000 };
        querier.query(&request).await.expect("answer");
        let mut asked = std::mem::take(&mut *split.asked.lock());
        asked.sort_unstable();
        asked
    };
    assert_eq!(asked(50, 59).await, [0, 1, 2]);
    assert_eq!(asked(66, 70).await, [0, 1, 2, 3, 4]);
    assert_eq!(asked(58, 62).await, [0, 0, 1, 1, 2, 2, 3, 4], "before, and over the beginning");
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_shards_are_asked() {
    let shards = Arc::new(Shards::new(3));
    let querier = querier(Arc::clone(&shards), QuerierOptions::default());
    let error = querier.query(&at("sum(up")).await.expect_err("syntax");
    assert_eq!(error.kind, ErrorType::BadData);
    assert!(error.message.starts_with("invalid parameter \"query\": 1:"), "{error}");
    assert!(shards.asked.lock().is_empty());
}

#[tokio::test]
async fn limits_end_a_query() {
    let options = QuerierOptions { samples_max: 3, ..QuerierOptions::default() };
    let querier = querier(Arc::new(Shards::new(3)), options);
    let error = querier.query(&at("up")).await.expect_err("too many samples");
    assert_eq!(error.kind, ErrorType::Execution);
    assert!(error.message.contains("too many samples"), "{error}");
}

#[test]
fn selectors_are_found_for_pruning() {
    let expr = parse("rate(a{b=\"c\"}[5m]) + d", &Default::default()).expect("valid");
    let found = selectors(&expr);
    assert_eq!(found.len(), 2);
    assert!(found[0].iter().any(|m| m.name() == "b" && m.op() == MatchOp::Equal));
}
