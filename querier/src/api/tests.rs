//! The HTTP and gRPC APIs through a real listener, over shards that are made up.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use narthex_model::{
    FloatHistogram, Labels, Timestamp,
    histogram::{Bucket, CUSTOM_BUCKETS_SCHEMA},
    stale_nan,
};
use narthex_promql::{FragmentAnswer, FragmentContent, SampleBuffer, SampledSeries, wire};
use narthex_proto::{
    internal::v1::{
        ExemplarsPart, FragmentEnd, FragmentPart, FragmentRequest, LabelPair, MetadataFamily,
        SeriesExemplars, StoredExemplar, Target, TargetsResponse, fragment_part,
    },
    v1::{
        FindRequest, InstantRequest, LabelValuesRequest, MembersRequest, MetadataRequest,
        WatchRequest, cluster_client::ClusterClient, instant_response, query_client::QueryClient,
    },
};
use narthex_web::{Clock, Web, WebOptions};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    ConfigStatus, QuerierOptions,
    test_cluster::{FakeCluster, founded},
};

mod remote_read;
mod status;

struct Served {
    url: String,
    stop: CancellationToken,
}

fn labels(name: &str, instance: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("instance", instance)]).expect("valid")
}

fn cluster() -> FakeCluster {
    let series = BTreeMap::from([
        (0, vec![labels("up", "b"), labels("up", "c")]),
        (1, vec![labels("up", "a"), labels("up", "b")]),
    ]);
    let target = Target {
        labels: vec![LabelPair { name: "job".to_owned(), value: "node".to_owned() }],
        scrape_pool: "node".to_owned(),
        scrape_url: "http://a:9100/metrics".to_owned(),
        health: "up".to_owned(),
        last_scrape_ms: 1_435_781_451_781,
        last_scrape_duration_seconds: 0.25,
        ..Target::default()
    };
    let targets = TargetsResponse { active: vec![target], dropped: vec![] };
    FakeCluster {
        state: founded(2),
        series,
        targets: BTreeMap::from([(1, targets)]),
        ..FakeCluster::default()
    }
}

async fn serve(cluster: FakeCluster) -> Served {
    serve_with(cluster, |_| ()).await
}

async fn serve_with(cluster: FakeCluster, change: impl FnOnce(&mut QuerierOptions)) -> Served {
    let clock = Clock::fixed(Timestamp::from_millis(1_500));
    let web = Web::open(WebOptions::default(), clock.clone()).expect("valid options");
    let mut registry = Registry::default();
    let config = ConfigStatus {
        inactive: vec!["alerting".to_owned()],
        problem: "no".to_owned(),
        problem_since: Timestamp::from_millis(1_300),
        external_labels: BTreeMap::from([("region".to_owned(), "eu".to_owned())]),
        yaml: "global: {}\n".to_owned(),
        pools: BTreeMap::from([("node".to_owned(), "job_name: node\n".to_owned())]),
        loaded: Timestamp::from_millis(1_200),
    };
    let config = tokio::sync::watch::Sender::new(config).subscribe();
    let mut options = QuerierOptions { config, ..QuerierOptions::default() };
    change(&mut options);
    let querier = Querier::new(Arc::new(cluster), clock, options, &mut registry);
    let mut routes = Routes::new();
    querier.add_routes(&mut routes);
    querier.add_services(&mut routes);
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", socket.local_addr().expect("address"));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    web.serve(vec![socket], routes, registry, (&tasks, &stop)).await.expect("serve");
    Served { url, stop }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Served {
    async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
        let client: Client<HttpConnector, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let (head, body) = client.request(request).await.expect("answer").into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        (head.status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(format!("{}{path}", self.url)).body(Full::default());
        self.send(request.expect("request")).await
    }

    async fn post(&self, path: &str, form: &'static str) -> (StatusCode, Value) {
        let request = Request::post(format!("{}{path}", self.url))
            .header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(Full::from(form));
        self.send(request.expect("request")).await
    }
}

#[tokio::test]
async fn metadata_is_merged_sorted_and_cut() {
    let served = serve(cluster()).await;
    let (_, series) = served.post("/api/v1/series", "match[]=up&match%5B%5D=down").await;
    let row = |instance: &str| json!({"__name__": "up", "instance": instance});
    assert_eq!(series, json!({"status": "success", "data": [row("a"), row("b"), row("c")]}));
    let (_, names) = served.get("/api/v1/labels").await;
    assert_eq!(names["data"], json!(["__name__", "instance"]));
    let (_, values) = served.get("/api/v1/label/instance/values?limit=2&match[]=up").await;
    assert_eq!(values["data"], json!(["a", "b"]));
    assert_eq!(values["warnings"], json!(["results truncated due to limit"]));
}

#[tokio::test]
async fn refusals_have_prometheuss_words() {
    let served = serve(cluster()).await;
    let cases = [
        ("/api/v1/series", 400, "no match[] parameter provided"),
        (
            "/api/v1/series?match[]={}",
            400,
            "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher",
        ),
        ("/api/v1/labels?limit=-1", 400, "invalid parameter \"limit\": limit must be non-negative"),
        (
            "/api/v1/query?query=1&time=x",
            400,
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a \
             valid timestamp",
        ),
        (
            "/api/v1/query_range?query=1&start=2&end=1&step=1",
            400,
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            "/api/v1/query_range?query=1&start=1&end=2&step=0",
            400,
            "invalid parameter \"step\": zero or negative query resolution step widths are not \
             accepted. Try a positive integer",
        ),
        (
            "/api/v1/query_range?query=1&start=0&end=11001&step=1",
            400,
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
        ),
    ];
    for (path, status, message) in cases {
        let (got, body) = served.get(path).await;
        assert_eq!((got.as_u16(), body["error"].as_str()), (status, Some(message)), "{path}");
        assert_eq!(body["errorType"], "bad_data");
    }
}

#[tokio::test]
async fn numbers_need_no_shard() {
    let served = serve(cluster()).await;
    let (_, scalar) = served.get("/api/v1/query?query=1e3").await;
    assert_eq!(scalar["data"], json!({"resultType": "scalar", "result": [1.5, "1000"]}));
    let (_, matrix) = served.post("/api/v1/query_range", "query=2&start=0&end=20&step=10").await;
    assert_eq!(
        matrix["data"],
        json!({"resultType": "matrix", "result": [
            {"metric": {}, "values": [[0, "2"], [10, "2"], [20, "2"]]}]})
    );
    let (_, stats) = served.get("/api/v1/query?query=1&stats=true").await;
    assert!(stats["data"]["stats"]["timings"]["execTotalTime"].is_number());
    let samples = &stats["data"]["stats"]["samples"];
    assert_eq!(samples["totalQueryableSamples"], 0);
    assert!(samples["totalQueryableSamplesPerStep"].is_null());
    let served = serve_with(cluster(), |options| options.per_step_stats = true).await;
    let form = "query=2&start=0&end=20&step=10&stats=all";
    let (_, stats) = served.post("/api/v1/query_range", form).await;
    let per_step = &stats["data"]["stats"]["samples"]["totalQueryableSamplesPerStep"];
    assert_eq!(per_step, &json!([[0, 0], [10, 0], [20, 0]]));
}

#[tokio::test]
async fn targets_and_status_are_told() {
    let served = serve(FakeCluster { silent_nodes: vec![3], ..cluster() }).await;
    let (_, targets) = served.get("/api/v1/targets?state=active").await;
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!(target["lastScrape"], "2015-07-01T20:10:51.781Z");
    assert_eq!((&target["health"], &target["labels"]), (&json!("up"), &json!({"job": "node"})));
    assert_eq!(targets["data"]["droppedTargetCounts"], json!({"node": 0}));
    assert!(targets["warnings"][0].as_str().is_some_and(|warning| warning.contains("n3")));
    let (_, cluster) = served.get("/api/v1/status/cluster").await;
    assert_eq!(cluster["data"]["shards"][1]["leader"], 1);
    assert_eq!(cluster["data"]["nodes"][2]["reachable"], false);
    let (_, build) = served.get("/api/v1/status/buildinfo").await;
    assert_eq!(build["data"]["application"], "narthex");
    let (_, runtime) = served.get("/api/v1/status/runtimeinfo").await;
    assert_eq!(runtime["data"]["startTime"], "1970-01-01T00:00:01.5Z");
    assert_eq!(runtime["data"]["reloadConfigSuccess"], false);
    assert_eq!(runtime["data"]["lastConfigTime"], "1970-01-01T00:00:01.2Z");
    assert_eq!(cluster["data"]["config"]["inactiveSections"], json!(["alerting"]));
    let epoch = &cluster["data"]["ring"][0];
    assert_eq!(epoch["begins"], "0001-01-01T00:00:00Z");
    assert_eq!((&epoch["current"], &epoch["shares"][1]["shard"]), (&json!(true), &json!(1)));
    let decided = json!([{
        "time": "1970-01-01T00:00:01Z", "what": "move shard 1", "why": "node 3 is full"
    }]);
    let moves = json!({"error": "", "state": "all is even", "underWay": [], "decided": decided});
    assert_eq!(cluster["data"]["moves"], moves);
    assert_eq!(served.get("/api/v1/rules").await.1["data"], json!({"groups": []}));
    assert_eq!(served.get("/api/v1/alerts").await.1["data"], json!({"alerts": []}));
    let (status, page) = served.get("/").await;
    assert!(status.is_success() && page.as_str().is_some_and(|page| page.contains("Narthex")));
}

#[tokio::test]
async fn grpc_is_served_on_the_same_port() {
    let served = serve(cluster()).await;
    let mut query = QueryClient::connect(served.url.clone()).await.expect("connect");
    let request = InstantRequest { query: "1 + 1".to_owned(), ..InstantRequest::default() };
    let answer = query.instant(request).await.expect("answer");
    assert_eq!(answer.metadata().get("narthex-consistency").expect("set"), "linearizable");
    let Some(instant_response::Result::Scalar(point)) = answer.into_inner().result else {
        panic!("no scalar");
    };
    assert_eq!((point.timestamp_ms, point.value), (1_500, 2.0));
    let request = FindRequest { matches: vec!["up".to_owned()], ..FindRequest::default() };
    let mut found = query.find_series(request.clone()).await.expect("series").into_inner();
    let message = found.message().await.expect("message").expect("first");
    assert_eq!((message.series.len(), message.series[0].labels.len()), (3, 2));
    let among = Some(FindRequest { limit: 2, ..request.clone() });
    let request = LabelValuesRequest { name: "instance".to_owned(), among };
    let values = query.label_values(request).await.expect("values").into_inner();
    assert_eq!(values.names, ["a", "b"]);
    assert_eq!(values.warnings, ["results truncated due to limit"]);
    let names = query.label_names(FindRequest::default()).await.expect("names").into_inner();
    assert_eq!(names.names, ["__name__", "instance"]);
    let status = query.find_series(FindRequest::default()).await.expect_err("no selector");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let metadata = query.metadata(MetadataRequest::default()).await.expect("metadata");
    assert!(metadata.into_inner().families.is_empty());
    let request = InstantRequest { query: "sum(".to_owned(), ..InstantRequest::default() };
    let status = query.instant(request).await.expect_err("syntax");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);

    let mut cluster = ClusterClient::connect(served.url.clone()).await.expect("connect");
    let members = cluster.members(MembersRequest {}).await.expect("members").into_inner();
    assert_eq!((members.members.len(), members.members[0].reachable), (3, true));
    let mut watch = cluster.watch(WatchRequest {}).await.expect("watch").into_inner();
    let first = watch.message().await.expect("message").expect("first");
    assert_eq!(first.shards.map(|shards| shards.shards.len()), Some(2));
}

#[tokio::test]
async fn exemplars_are_merged_by_series() {
    let part = |instance: &str, times: &[i64]| {
        let exemplar = |time: &i64| StoredExemplar {
            labels: Labels::from_pairs([("trace_id", "t1")])
                .expect("valid")
                .as_bytes()
                .to_vec()
                .into(),
            value: 6.0,
            timestamp_ms: *time,
        };
        SeriesExemplars {
            labels: labels("lat", instance).as_bytes().to_vec().into(),
            exemplars: times.iter().map(exemplar).collect(),
        }
    };
    let parts = |series| ExemplarsPart { series, not_leader: None };
    let exemplars = BTreeMap::from([
        (0, parts(vec![part("b", &[1_600_096_945_479]), part("a", &[5])])),
        (1, parts(vec![part("a", &[2])])),
    ]);
    let served = serve(FakeCluster { exemplars, ..cluster() }).await;
    let (status, found) = served.post("/api/v1/query_exemplars", "query=rate(lat[5m])").await;
    let exemplar =
        |time: Value| json!({"labels": {"trace_id": "t1"}, "value": "6", "timestamp": time});
    let series = |instance: &str, exemplars: Value| json!({"seriesLabels": {"__name__": "lat", "instance": instance}, "exemplars": exemplars});
    let a = series("a", json!([exemplar(json!(0.002)), exemplar(json!(0.005))]));
    let b = series("b", json!([exemplar(json!(1_600_096_945.479))]));
    assert_eq!((status, found), (StatusCode::OK, json!({"status": "success", "data": [a, b]})));
    let (_, none) = served.get("/api/v1/query_exemplars?query=1").await;
    assert_eq!(none["data"], json!([]));
    let (status, error) = served.get("/api/v1/query_exemplars?query=up&start=2&end=1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(error["error"], "end timestamp must not be before start timestamp");
    let (status, _) = served.get("/api/v1/query_exemplars?query=up(").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn metadata_keeps_every_different_word() {
    let family = |name: &str, help: &str| MetadataFamily {
        name: name.to_owned(),
        metric_type: 1,
        help: help.to_owned(),
        unit: String::new(),
    };
    let families = BTreeMap::from([
        (0, vec![family("a", "x"), family("b", "y")]),
        (1, vec![family("a", "x"), family("a", "other")]),
    ]);
    let served = serve(FakeCluster { families, ..cluster() }).await;
    let word = |help: &str| json!({"type": "counter", "help": help, "unit": ""});
    let get = async |query: &str| served.get(&format!("/api/v1/metadata{query}")).await.1;
    let both = json!({"a": [word("other"), word("x")], "b": [word("y")]});
    assert_eq!(get("").await, json!({"status": "success", "data": both}));
    assert_eq!(get("?limit=1").await["data"], json!({"a": [word("other"), word("x")]}));
    assert_eq!(get("?limit=0").await["data"], json!({}));
    assert_eq!(get("?metric=a&limit_per_metric=1").await["data"], json!({"a": [word("other")]}));
    assert_eq!(get("?limit=x").await["error"], "limit must be a number");
}

#[tokio::test]
async fn deleting_asks_every_shard_and_needs_the_flag() {
    let path = "/api/v1/admin/tsdb/delete_series";
    let off = serve(cluster()).await;
    let (code, answer) = off.post(path, "match[]=up").await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    let disabled = json!({
        "status": "error", "errorType": "unavailable", "error": "admin APIs disabled"
    });
    assert_eq!(answer, disabled);
    assert_eq!(off.post("/api/v1/admin/tsdb/clean_tombstones", "").await.1, disabled);

    let fake = cluster();
    let deleted = Arc::clone(&fake.deleted);
    let on = serve_with(fake, |options| options.enable_admin_api = true).await;
    let (code, answer) = on.post(path, "").await;
    assert_eq!(
        (code, &answer["error"]),
        (StatusCode::BAD_REQUEST, &json!("no match[] parameter provided"))
    );
    assert!(deleted.lock().is_empty());
    let form = "match[]=up&match[]=%7Bjob%3D%22a%22%7D&start=1&end=2.5";
    assert_eq!(on.post(path, form).await.0, StatusCode::NO_CONTENT);
    let mut asked: Vec<_> = deleted.lock().drain(..).collect();
    asked.sort_by_key(|request| request.shard_id);
    assert_eq!(asked.iter().map(|request| request.shard_id).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(asked[0].selectors, ["up", "{job=\"a\"}"]);
    assert_eq!((asked[0].start_ms, asked[0].end_ms), (1000, 2500));
    assert_eq!(on.post("/api/v1/admin/tsdb/clean_tombstones", "").await.0, StatusCode::NO_CONTENT);

    let (code, answer) = on.post("/api/v1/admin/tsdb/snapshot", "").await;
    let name = answer["data"]["name"].as_str().expect("a name");
    assert_eq!((code, name.len()), (StatusCode::OK, "19700101T000001Z-0123456789abcdef".len()));
    assert!(name.starts_with("19700101T000001Z-"));
    let silent = FakeCluster { silent_shards: vec![1], silent_nodes: vec![2], ..cluster() };
    let silent = serve_with(silent, |options| options.enable_admin_api = true).await;
    assert_eq!(silent.post(path, "match[]=up").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (code, answer) = silent.post("/api/v1/admin/tsdb/clean_tombstones", "").await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["error"], "node 2 did not clean: connection refused");
}

#[tokio::test]
async fn queries_are_laid_out_and_taken_apart() {
    let served = serve(cluster()).await;
    let (_, text) = served.get("/api/v1/format_query?query=sum(up)by(job)").await;
    assert_eq!(text, json!({"status": "success", "data": "sum by (job) (up)"}));
    let (_, tree) =
        served.post("/api/v1/parse_query", "query=-rate(up{a!~'b'}[5m] @ end()) > bool 1e3").await;
    let selector = json!({
        "type": "matrixSelector", "name": "up", "range": 300_000, "offset": 0,
        "matchers": [
            {"name": "a", "value": "b", "type": "!~"},
            {"name": "__name__", "value": "up", "type": "="},
        ],
        "timestamp": null, "startOrEnd": "end", "anchored": false, "smoothed": false,
    });
    let rate =
        json!({"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"});
    let call = json!({"type": "call", "func": rate, "args": [selector]});
    let expected = json!({
        "type": "binaryExpr", "op": ">", "bool": true, "matching": null,
        "lhs": {"type": "unaryExpr", "op": "-", "expr": call},
        "rhs": {"type": "numberLiteral", "val": "1000"},
    });
    assert_eq!(tree, json!({"status": "success", "data": expected}));
    let (status, refused) = served.get("/api/v1/format_query?query=sum(").await;
    assert_eq!((status.as_u16(), &refused["errorType"]), (400, &json!("bad_data")));
}

#[tokio::test]
async fn the_newest_samples_are_handed_to_another_server() {
    let served = serve(FakeCluster { fragments: Some(stored), ..cluster() }).await;
    let (status, page) = served.get("/federate?match[]=up&match[]=%7Bjob%3D%22x%22%7D").await;
    let expected = [
        "# TYPE a_b untyped",
        r#"a_b{k="v\"",instance="",region="eu"} 1e+06 1200"#,
        "# TYPE h histogram",
        r#"h_bucket{instance="",region="eu",le="1"} 2 1300"#,
        r#"h_bucket{instance="",region="eu",le="2.5"} 5 1300"#,
        r#"h_bucket{instance="",region="eu",le="+Inf"} 6 1300"#,
        r#"h_sum{instance="",region="eu"} 9.5 1300"#,
        r#"h_count{instance="",region="eu"} 6 1300"#,
        "# TYPE up untyped",
        r#"up{instance="i",region="us"} 2 1400"#,
        "",
    ];
    assert_eq!((status.as_u16(), page), (200, json!(expected.join("\n"))));
    let (status, page) = served.get("/federate?match[]=").await;
    assert_eq!(status.as_u16(), 400, "{page}");
    let (_, version) = served.get("/version").await;
    assert!(version["version"].is_string());
}

#[tokio::test]
async fn rules_are_applied_one_after_the_other() {
    let step = |action, output: Option<&[(&str, &str)]>| crate::RelabelStep {
        rule: crate::RelabelRule {
            source_labels: vec!["a".to_owned()],
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action,
        },
        output: output.map(|pairs| Labels::from_pairs(pairs.iter().copied()).expect("valid")),
    };
    let relabelling = crate::Relabelling::new(move |job, labels| {
        assert_eq!(labels.value("a"), "1");
        let steps = vec![step("replace", Some(&[("b", "1")])), step("drop", None)];
        (job == "node").then_some(steps)
    });
    let served = serve_with(cluster(), |options| options.relabelling = relabelling).await;
    let path = "/api/v1/targets/relabel_steps";
    let (_, answer) =
        served.get(&format!("{path}?scrapePool=node&labels=%7B%22a%22:%221%22%7D")).await;
    let rule = |action: &str| {
        json!({"sourceLabels": ["a"], "separator": ";", "regex": "(.*)", "replacement": "$1",
            "action": action})
    };
    let expected = json!({"steps": [
        {"rule": rule("replace"), "output": {"b": "1"}, "keep": true},
        {"rule": rule("drop"), "output": {}, "keep": false},
    ]});
    assert_eq!(answer["data"], expected);
    for (query, status) in [
        ("", 400),
        ("?scrapePool=node", 400),
        ("?scrapePool=node&labels=x", 400),
        ("?scrapePool=other&labels=%7B%22a%22:%221%22%7D", 404),
    ] {
        assert_eq!(served.get(&format!("{path}{query}")).await.0.as_u16(), status, "{query}");
    }
}

/// Series as every shard has them: what is found twice is told once, what has ended not at all.
fn stored(request: &FragmentRequest) -> Vec<FragmentPart> {
    assert_eq!((request.start_ms, request.end_ms), (1_500 - 300_000, 1_500));
    let series = |pairs: &[(&str, &str)], samples: &[(i64, f64)]| {
        let mut buffer = SampleBuffer::new();
        samples.iter().for_each(|(time, value)| buffer.push_float(*time, *value));
        let labels = Labels::from_pairs(pairs.iter().copied()).expect("valid");
        SampledSeries { labels, samples: Arc::new(buffer) }
    };
    let mut histogram = series(&[("__name__", "h")], &[]);
    let mut buffer = SampleBuffer::new();
    let bucket = |index, count| Bucket { index, count };
    buffer.push_histogram(
        1_300,
        Arc::new(FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            sum: 9.5,
            positive: vec![bucket(0, 2.0), bucket(1, 3.0), bucket(2, 1.0)],
            custom_values: [1.0, 2.5].into(),
            ..FloatHistogram::default()
        }),
    );
    histogram.samples = Arc::new(buffer);
    let content = FragmentContent::Samples(vec![
        series(
            &[("__name__", "up"), ("instance", "i"), ("region", "us")],
            &[(1_000, 1.0), (1_400, 2.0)],
        ),
        series(&[("__name__", "gone")], &[(1_000, 1.0), (1_400, stale_nan())]),
        series(&[("__name__", "a.b"), ("k", "v\"")], &[(1_200, 1e6)]),
        histogram,
    ]);
    let answer = FragmentAnswer { content, annotations: <_>::default(), stats: <_>::default() };
    let part = |part| FragmentPart { part: Some(part) };
    vec![
        part(fragment_part::Part::Answer(wire::encode(&answer).into())),
        part(fragment_part::Part::End(FragmentEnd::default())),
    ]
}
