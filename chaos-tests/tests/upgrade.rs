//! Folders that earlier versions have left are opened, with all that is in them.

use std::{path::Path, time::Duration};

use narthex_chaos_tests::{cluster::Cluster, wait::until};

const DEADLINE: Duration = Duration::from_secs(60);
/// The evaluation time of the queries: 15 s after the last sample that was kept.
const END: i64 = 1_795_780_800;

/// Three nodes, killed in the middle of work: 20 series of 300 samples, 15 s apart, of which the
/// first half of one was deleted. The first half was settled, the rest lies in the raft log.
const FOLDERS: [&str; 1] = ["issue-2.tar.gz"];

fn value(cluster: &Cluster, query: &str) -> Result<String, String> {
    let data = cluster.api().data(&format!("/api/v1/query?query={query}&time={END}"))?;
    let value = data["result"][0]["value"][1].as_str();
    value.map(str::to_owned).ok_or_else(|| data.to_string())
}

#[test]
fn folders_of_earlier_versions_are_opened() {
    for folder in FOLDERS {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
        let flags = ["--listen=127.0.0.1:0", "--storage.tsdb.retention.time=36500d"];
        let cluster = Cluster::start_from_archive(&archive, &flags);
        let expected =
            [("sum(kept_total)", "195980"), ("sum(count_over_time(kept_total[2h]))", "5850")];
        for (query, expected) in expected {
            until(&format!("{folder}: {query}"), DEADLINE, || match value(&cluster, query)? {
                value if value == expected => Ok(()),
                value => Err(value),
            });
        }
        until("replicas hold the same", DEADLINE, || cluster.digests_equal());
        let later = (END + 15) * 1000;
        let line = format!("kept_total{{job=\"kept\",instance=\"host-00:9100\"}} 300 {later}\n");
        assert_eq!(cluster.api().import(&line).map(|(status, _)| status), Ok(204));
    }
}
