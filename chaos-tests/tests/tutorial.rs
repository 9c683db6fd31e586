//! The walk of a tutorial: two hosts with an exporter and a page of containers each, whose labels
//! change under way, and pages whose samples carry timestamps of their own.

use std::time::Duration;

use narthex_chaos_tests::{
    api::Api,
    cluster::Cluster,
    targets::PageTarget,
    wait::{until, wall_millis},
};

const DEADLINE: Duration = Duration::from_secs(30);
const USAGE: &str = "container_memory_usage_bytes";

/// A page of containers. `more` are labels that all of them have, `time` stands behind values.
fn containers(scale: u64, more: &str, time: &str) -> String {
    let line = |id: &str, name: &str, image: &str, bytes: u64| {
        format!(
            "{USAGE}{{container_name={name:?},id=\"/docker/{id}\",image={image:?},name={name:?}{more}}} \
             {bytes}{time}\n"
        )
    };
    format!(
        "# HELP {USAGE} Current memory usage in bytes.\n# TYPE {USAGE} gauge\n{}{}{}",
        line("a1", "webapp1", "mycom/webapp:1.3", 100 * scale),
        line("a2", "webapp2", "mycom/webapp:1.3", 200 * scale),
        line("a3", "db", "mysql:8", 1000 * scale),
    )
}

fn config(job: &str, containers: &[PageTarget], hosts: &[PageTarget]) -> String {
    let addresses = |targets: &[PageTarget]| {
        format!("{:?}", targets.iter().map(PageTarget::address).collect::<Vec<_>>())
    };
    format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  external_labels:\n    monitor: \
         'tutorial'\nscrape_configs:\n  - job_name: '{job}'\n    static_configs:\n      - targets: \
         {}\n  - job_name: 'hosts'\n    static_configs:\n      - targets: {}\n        labels:\n          \
         group: 'tutorial'\n",
        addresses(containers),
        addresses(hosts)
    )
}

fn hosts() -> [PageTarget; 2] {
    ["127.0.0.1", "127.0.0.2"].map(|host| PageTarget::start(host, "node_load1 0.5\n"))
}

fn container_pages(more: &str, time: &str) -> [PageTarget; 2] {
    [("127.0.0.1", 1), ("127.0.0.2", 3)]
        .map(|(host, scale)| PageTarget::start(host, &containers(scale, more, time)))
}

fn expect(api: &Api, expression: &str, expected: f64) {
    until(expression, DEADLINE, || match api.single(expression)? {
        value if value == expected => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn a_label_that_appears_makes_new_series_and_keeps_the_old() {
    let (pages, hosts) = (container_pages("", ""), hosts());
    let cluster = Cluster::start(&config("docker-containers", &pages, &hosts));
    let api = cluster.api();
    expect(&api, "sum(up)", 4.0);
    expect(&api, "sum(node_load1{group=\"tutorial\"})", 1.0);
    expect(&api, &format!("avg({USAGE}{{container_name=\"webapp2\"}})"), 400.0);
    expect(&api, &format!("sum({USAGE}{{image=\"mycom/webapp:1.3\"}})"), 1200.0);

    for (page, (scale, user)) in pages.iter().zip([(1, "ann"), (3, "bob")]) {
        page.show(&containers(scale, &format!(",user={user:?}"), ""));
    }
    let by_user = format!("sum by (user) ({USAGE}{{image=\"mycom/webapp:1.3\"}})");
    until("only users are left", DEADLINE, || {
        let users = api.vector(&by_user, "user")?;
        let wanted = [("ann".to_owned(), 300.0), ("bob".to_owned(), 900.0)];
        if users.clone().into_iter().eq(wanted) { Ok(()) } else { Err(format!("{users:?}")) }
    });
    expect(&api, &format!("avg({USAGE}{{container_name=\"webapp2\"}})"), 400.0);
    expect(&api, &format!("count(last_over_time({USAGE}{{user=\"\"}}[10m]))"), 6.0);
}

#[test]
fn repeats_of_samples_with_their_own_time_are_silent() {
    let now = wall_millis();
    let (pages, hosts) = (container_pages("", &format!(" {now}")), hosts());
    let cluster = Cluster::start(&config("docker-containers", &pages, &hosts));
    let api = cluster.api();
    let five_more = || {
        let before: Vec<u64> = pages.iter().map(PageTarget::served).collect();
        until("five more scrapes", DEADLINE, || {
            let served = pages.iter().map(PageTarget::served);
            let done = served.zip(&before).all(|(now, before)| now >= before + 5);
            if done { Ok(()) } else { Err(format!("{before:?}")) }
        });
    };
    expect(&api, &format!("sum({USAGE}{{image=\"mycom/webapp:1.3\"}})"), 1200.0);
    five_more();
    expect(&api, &format!("sum(count_over_time({USAGE}[10m]))"), 6.0);
    expect(&api, &format!("max(timestamp({USAGE})) * 1000"), now as f64);
    expect(&api, "min(up)", 1.0);

    // Series without the label got no stale marker, as they may only be late: they stay until
    // they are older than the lookback.
    let later = now + 1;
    for (page, scale) in pages.iter().zip([1, 3]) {
        page.show(&containers(scale, ",user=\"ann\"", &format!(" {later}")));
    }
    expect(&api, &format!("count({USAGE}{{user=\"ann\"}})"), 6.0);
    five_more();
    expect(&api, &format!("count({USAGE}{{user=\"\"}})"), 6.0);

    let log = cluster.log().to_lowercase();
    for word in ["out of order", "out-of-order", "out_of_order", "duplicate"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
    for node in cluster.status().expect("an answer")["nodes"].as_array().expect("a list") {
        expect_no_refusals(node["webAddress"].as_str().expect("an address"));
    }
}

/// Nothing that counts samples left out has counted any.
fn expect_no_refusals(address: &str) {
    let api = Api::new(&format!("http://{address}"), DEADLINE);
    let (_, page) = api.text("/metrics").expect("an answer");
    let counts = |line: &&str| {
        ["sample_out_of_order", "sample_duplicate", "sample_out_of_bounds", "samples_refused"]
            .iter()
            .any(|part| line.contains(part))
            && !line.starts_with('#')
    };
    let risen: Vec<_> = page
        .lines()
        .filter(counts)
        .filter(|line| !line.ends_with(" 0") && !line.ends_with(" 0.0"))
        .collect();
    assert!(risen.is_empty(), "{risen:?}");
}
