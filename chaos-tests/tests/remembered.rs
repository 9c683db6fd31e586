//! What a querier remembers of range queries is what the shards would say, whatever comes late or is
//! deleted meanwhile.

use std::{fmt::Write as _, time::Duration};

use fastrand::Rng;
use narthex_chaos_tests::{
    api::Api,
    cluster::Cluster,
    wait::{until, wall_millis},
};

const DEADLINE: Duration = Duration::from_secs(60);
const INSTANCES: u32 = 8;
const STEP: i64 = 15_000;
const ROUNDS: i64 = 60;
/// How long ago samples begin: retention lets go of what is older than weeks.
const AGO: i64 = 3_600_000;

const EXPRESSIONS: [&str; 8] = [
    "m",
    "sum by (zone) (rate(m[1m]))",
    "m / ignoring (zone) group_left m_info",
    "sum(m offset 30s) - sum(m offset -30s)",
    "max_over_time(sum(m)[2m:15s])",
    "count_values(\"value\", m > 5)",
    "topk(2, m)",
    "absent(m{instance=\"1\"}) or quantile(0.5, m)",
];

fn import(api: &Api, text: &str) {
    until("samples are taken", DEADLINE, || match api.import(text)? {
        (200..300, _) => Ok(()),
        refused => Err(format!("{refused:?}")),
    });
}

/// A sample of every instance at a time, and of some at one before it.
fn samples(random: &mut Rng, time: i64) -> String {
    let mut text = String::new();
    for instance in 0..INSTANCES {
        let (value, zone) = (random.u32(0..20), instance % 3);
        let job = if instance == 7 { "" } else { "job=\"j\"," };
        let labels = format!("{job}instance=\"{instance}\",zone=\"z{zone}\"");
        writeln!(text, "m{{{labels}}} {value} {time}").expect("memory");
        writeln!(text, "m_info{{{job}instance=\"{instance}\"}} 2 {time}").expect("memory");
        if random.u32(0..40) == 0 {
            let late = time - random.i64(1..8) * STEP - 5_000;
            writeln!(text, "m{{{labels}}} 100 {late}").expect("memory");
        }
    }
    text
}

fn delete(api: &Api, random: &mut Rng, time: i64) {
    let start = (time - random.i64(1..9) * STEP) / 1000;
    let (end, instance) = (start + 30, random.u32(0..INSTANCES));
    let path = format!(
        "/api/v1/admin/tsdb/delete_series?match[]=m%7Binstance=%22{instance}%22%7D&start={start}&end={end}"
    );
    until("samples are deleted", DEADLINE, || match api.post(&path)? {
        (204, _) => Ok(()),
        refused => Err(format!("{refused:?}")),
    });
}

#[test]
fn remembered_answers_are_those_of_the_shards() {
    let flags = ["--listen=127.0.0.1:0", "--web.enable-admin-api"];
    let cluster = Cluster::start_with(Some("{}"), &flags);
    let (api, mut random) = (cluster.api(), Rng::with_seed(7));
    let start = (wall_millis() - AGO) / STEP * STEP;
    for round in 0..ROUNDS {
        let time = start + round * STEP;
        import(&api, &samples(&mut random, time));
        if random.u32(0..8) == 0 {
            delete(&api, &mut random, time);
        }
        let from = ((start + (round - 20).max(0) * STEP) / 1000).to_string();
        let to = (time / 1000).to_string();
        for expression in EXPRESSIONS {
            let asked = [("query", expression), ("start", &from), ("end", &to), ("step", "15")];
            let ask = |more: &[(&str, &str)]| {
                let asked = [&asked[..], more].concat();
                let answer = api.asked("/api/v1/query_range", &asked).expect("an answer");
                assert_eq!(answer["status"], "success", "{answer}");
                answer
            };
            let remembered = ask(&[]);
            assert_eq!(remembered, ask(&[("nocache", "1")]), "{expression} in round {round}");
            if random.u32(0..4) == 0 {
                assert_eq!(remembered, ask(&[]), "{expression} in round {round}, again");
            }
        }
    }
    for found in ["Part", "Whole"] {
        let name = format!("narthex_querier_results_cache_requests_total{{found=\"{found}\"}}");
        let count = api.metric(&name).expect("it is counted");
        assert!(count >= 50.0, "{found}: {count}");
    }
}
