//! Labels near every limit: what Prometheus takes is stored, replicated and found again, and what no
//! entry of a log takes costs its neighbours nothing.

use std::time::Duration;

use narthex_chaos_tests::{cluster::Cluster, wait::until};

const DEADLINE: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// Lines with one label each of so many bytes.
fn long(metric: &str, bytes: usize, count: usize) -> String {
    let line = |n| format!("{metric}{{n=\"{n}\",x=\"{}\"}} {n}\n", "x".repeat(bytes));
    (0..count).map(line).collect()
}

#[test]
fn labels_of_any_size_are_stored_or_refused_alone() {
    let mut cluster = Cluster::start_with(Some("{}"), &["--listen=127.0.0.1:0"]);
    let api = cluster.api();
    let many: Vec<_> = (0..60_000).map(|n| format!("l{n}=\"value of label {n}\"")).collect();
    let taken = [
        long("long", MIB, 12),
        long("longest", 7 * MIB / 2 - 100, 1),
        format!("many{{{}}} 1\n", many.join(",")),
        format!("name_of_label{{{}=\"v\"}} 1\n", "n".repeat(64 << 10)),
        format!("{} 1\n", "name_of_metric".repeat(4 << 10)),
        long("neighbour", 10, 1000),
    ]
    .concat();
    let page = format!("{}{taken}{}", long("beyond", 5 * MIB, 2), long("behind", 10, 10));
    let (status, body) = api.import(&page).unwrap();
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("2 samples refused, the rest is stored: 2 labels_too_large"), "{body}");
    assert!(body.len() < 2000, "{} bytes are a long answer", body.len());
    let refused = "narthex_router_append_samples_total{outcome=\"labels_too_large\"}";
    assert_eq!(api.metric(refused).unwrap(), 2.0);
    assert_eq!(api.import(&taken).unwrap().0, 204, "the same again is no conflict");

    let check = |cluster: &Cluster| {
        let api = cluster.api();
        let count = "count by (__name__) ({__name__!~\"name_of_metric.*|up|scrape_.*\",__name__!=\"\",job=\"\"})";
        let counts = until("all is there", DEADLINE, || api.vector(count, "__name__"));
        let found: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let want = [
            ("behind", 10.0),
            ("long", 12.0),
            ("longest", 1.0),
            ("many", 1.0),
            ("name_of_label", 1.0),
            ("neighbour", 1000.0),
        ];
        assert_eq!(found, want);
        assert_eq!(api.single("count({__name__=~\"name_of_metric.*\"})").unwrap(), 1.0);
        let series = api.data("/api/v1/series?match[]=long").unwrap();
        assert_eq!(series.as_array().map(Vec::len), Some(12));
        assert_eq!(series[3]["x"].as_str().map(str::len), Some(MIB));
        let whole = api.query(&[("query", "longest")]).unwrap();
        assert_eq!(whole[0]["metric"]["x"].as_str().map(str::len), Some(7 * MIB / 2 - 100));
    };
    check(&cluster);
    until("replicas hold the same", DEADLINE, || cluster.digests_equal());
    cluster.kill_all();
    cluster.start_again();
    check(&cluster);
    assert_eq!(cluster.api().post("/api/v1/admin/tsdb/settle").unwrap().0, 204);
    cluster.kill_all();
    cluster.start_again();
    check(&cluster);
}
