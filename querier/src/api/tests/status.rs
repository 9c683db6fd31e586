//! What is told of the process, the cluster and the queries under way.

use super::*;

#[tokio::test]
async fn what_is_in_force_is_told() {
    let flags = BTreeMap::from([("query.timeout".to_owned(), "2m".to_owned())]);
    let served = serve_with(cluster(), |options| {
        options.flags = flags;
        options.parse.experimental_functions = true;
    })
    .await;
    let data = async |path: &str| served.get(path).await.1["data"].clone();
    assert_eq!(data("/api/v1/status/flags").await, json!({"query.timeout": "2m"}));
    assert_eq!(data("/api/v1/status/config").await, json!({"yaml": "global: {}\n"}));
    let replayed = json!({"min": 0, "max": 0, "current": 0});
    assert_eq!(data("/api/v1/status/walreplay").await, replayed);
    assert_eq!(data("/api/v1/scrape_pools").await, json!({"scrapePools": ["node"]}));
    let pool = json!({"yaml": "job_name: node\n"});
    assert_eq!(data("/api/v1/scrape_pools/config?scrapePool=node").await, pool);
    let (status, missing) = served.get("/api/v1/scrape_pools/config?scrapePool=x").await;
    assert_eq!((status.as_u16(), &missing["errorType"]), (404, &json!("not_found")));
    let features = data("/api/v1/features").await;
    assert_eq!(features["promql_functions"]["rate"], true);
    assert_eq!(features["promql_functions"]["info"], true);
    assert_eq!(features["promql"]["fill"], false);
    assert_eq!(features["promql_operators"]["<="], true);
    let refused = json!({
        "text": "Configuration reload has failed.",
        "date": "1970-01-01T00:00:01.3Z",
        "active": true,
    });
    assert_eq!(data("/api/v1/notifications").await, json!([refused]));
    assert_eq!(data("/api/v1/alertmanagers").await["activeAlertmanagers"], json!([]));
}

#[tokio::test]
async fn cardinality_is_added_up_over_shards() {
    let served = serve(cluster()).await;
    let (status, told) = served.get("/api/v1/status/tsdb?limit=2").await;
    let row = |name: &str, value: u64| json!({"name": name, "value": value});
    let expected = json!({
        "headStats": {
            "numSeries": 4, "numLabelPairs": 4, "chunkCount": 4, "minTime": 1_000, "maxTime": 2_001
        },
        "seriesCountByMetricName": [row("up", 4)],
        "labelValueCountByLabelName": [row("instance", 3), row("__name__", 1)],
        "memoryInBytesByLabelName": [row("__name__", 8), row("instance", 4)],
        "seriesCountByLabelValuePair": [row("__name__=up", 4), row("instance=b", 2)],
    });
    assert_eq!((status.as_u16(), &told["data"]), (200, &expected));
    let (_, fewer) = served.get("/api/v1/status/tsdb?limit=1").await;
    assert_eq!(fewer["data"]["labelValueCountByLabelName"], json!([row("instance", 3)]));
    for (limit, why) in [
        ("0", "limit must be a positive number"),
        ("x", "limit must be a positive number"),
        ("10001", "limit must not exceed 10000"),
    ] {
        let (status, refused) = served.get(&format!("/api/v1/status/tsdb?limit={limit}")).await;
        assert_eq!((status.as_u16(), &refused["error"]), (400, &json!(why)));
    }
    let silent = serve(FakeCluster { silent_shards: vec![1], ..cluster() }).await;
    assert_eq!(silent.get("/api/v1/status/tsdb").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (status, partial) = silent.get("/api/v1/status/tsdb?partial_response=true").await;
    assert_eq!((status.as_u16(), &partial["data"]["headStats"]["numSeries"]), (200, &json!(2)));
    assert!(partial["warnings"][0].as_str().is_some_and(|warning| warning.contains("shard 1")));
}

#[tokio::test]
async fn targets_tell_what_they_said_of_their_families() {
    let family = |name: &str| MetadataFamily {
        name: name.to_owned(),
        metric_type: 1,
        help: "h".to_owned(),
        unit: String::new(),
    };
    let families = BTreeMap::from([(0, vec![family("up"), family("elsewhere")])]);
    let served = serve(FakeCluster { families, ..cluster() }).await;
    let (_, told) =
        served.get("/api/v1/targets/metadata?match_target=%7Bjob%3D%22node%22%7D").await;
    let target = json!({"job": "node"});
    let row = json!({"target": target, "metric": "up", "type": "counter", "help": "h", "unit": ""});
    assert_eq!(told["data"], json!([row]));
    let (_, told) = served.get("/api/v1/targets/metadata?metric=up&limit=1").await;
    assert_eq!(
        told["data"],
        json!([{"target": target, "type": "counter", "help": "h", "unit": ""}])
    );
    for query in ["match_target=%7Bjob%3D%22x%22%7D", "metric=elsewhere", "limit=0"] {
        let (status, none) = served.get(&format!("/api/v1/targets/metadata?{query}")).await;
        assert_eq!(
            (status.as_u16(), &none["error"]),
            (404, &json!("specified metadata not found")),
            "{query}"
        );
    }
}

#[tokio::test]
async fn an_explanation_names_fragments_and_shards() {
    fn none(_: &FragmentRequest) -> Vec<FragmentPart> {
        let content = FragmentContent::Columns(Vec::new());
        let answer = FragmentAnswer { content, annotations: <_>::default(), stats: <_>::default() };
        let part = |part| FragmentPart { part: Some(part) };
        vec![
            part(fragment_part::Part::Answer(wire::encode(&answer).into())),
            part(fragment_part::Part::End(FragmentEnd::default())),
        ]
    }
    let served = serve(FakeCluster { fragments: Some(none), ..cluster() }).await;
    let (_, answer) = served.get("/api/v1/query?query=up%20%2B%201&explain=true").await;
    let explain = &answer["data"]["explain"];
    assert_eq!(explain["shards"], 2, "{answer}");
    let fragment = &explain["pieces"][0]["fragments"][0];
    assert_eq!(fragment["shards"].as_array().map(Vec::len), Some(2), "{answer}");
    assert_eq!(fragment["shardsPruned"], 0);
    assert!(fragment["query"].as_str().is_some_and(|query| query.contains("up")), "{answer}");
    let (_, plain) = served.get("/api/v1/query?query=up&stats=1").await;
    assert!(plain["data"]["explain"].is_null());
    assert!(plain["warnings"][0].as_str().is_some_and(|warning| warning.contains("stats=1")));
}

#[tokio::test]
async fn queries_under_way_are_listed_and_can_be_killed() {
    let served = serve(FakeCluster { hangs: true, ..cluster() }).await;
    let asked = served.get("/api/v1/query?query=up");
    let killed = async {
        let listed = loop {
            let (_, listed) = served.get("/api/v1/status/queries").await;
            if listed["data"]["queries"][0]["state"] == "running" {
                break listed;
            }
            tokio::task::yield_now().await;
        };
        let query = &listed["data"]["queries"][0];
        assert_eq!((&query["query"], &query["user"]), (&json!("up"), &json!("127.0.0.1")));
        let (status, _) = served.post("/api/v1/admin/queries/kill?id=77", "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let id = query["id"].as_u64().expect("an id");
        let (status, _) = served.post(&format!("/api/v1/admin/queries/kill?id={id}"), "").await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    };
    let ((status, answer), ()) = tokio::join!(asked, killed);
    assert_eq!((status.as_u16(), &answer["errorType"]), (499, &json!("canceled")));
    let (_, listed) = served.get("/api/v1/status/queries").await;
    assert_eq!(listed["data"]["queries"], json!([]));
    let (status, _) = served.post("/api/v1/admin/queries/kill?id=x", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
