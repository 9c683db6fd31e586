//! Rules on a cluster of real processes: evaluated once a slot whoever leads, alerts that no failover
//! sets back, notifications, and the answers of a Prometheus that has the same rules.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use narthex_chaos_tests::{
    api::{Api, Samples},
    cluster::Cluster,
    peers::peer,
    prometheus::Prometheus,
    targets::PageTarget,
    wait::{until, wall_millis},
};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);
/// Groups of the test: enough that each node evaluates some.
const GROUPS: usize = 12;
/// How long an alert of the test is pending.
const HOLD_SECONDS: i64 = 15;

/// Groups that record when they were evaluated, and read what they have recorded.
fn clocks() -> String {
    let group = |number| {
        format!(
            "- name: clock{number}\n  interval: 1s\n  rules:\n  \
             - {{record: 'slot:time', expr: 'time()', labels: {{n: '{number}'}}}}\n  \
             - {{record: 'slot:chained', expr: 'slot:time{{n=\"{number}\"}}'}}\n  \
             - {{alert: Watched, expr: 'page_value > 0', for: {HOLD_SECONDS}s, \
             labels: {{n: '{number}'}}}}\n"
        )
    };
    format!("groups:\n{}", (0..GROUPS).map(group).collect::<String>())
}

fn config(rules: &Path, target: &PageTarget, more: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{zone: eu}}}}\n\
         rule_files: [{:?}]\n{more}scrape_configs:\n- job_name: page\n  static_configs:\n  \
         - targets: [{:?}]\n",
        rules.display(),
        target.address()
    )
}

#[test]
fn no_slot_is_lost_or_repeated_when_leaders_die() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("clock.rules");
    fs::write(&rules, clocks()).expect("a file");
    let target = PageTarget::start("127.0.0.1", "page_value 1\n");
    let cluster = Cluster::start(&config(&rules, &target, ""));
    until("every group was evaluated", DEADLINE, || {
        let found = cluster.api().vector("count by (n) (slot:chained)", "n")?;
        let alerts = cluster.api().vector("count by (n) (ALERTS)", "n")?;
        match (found.len(), alerts.len()) {
            (GROUPS, GROUPS) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let before = active_since(&cluster.api());
    assert_eq!(before.len(), GROUPS, "{before:?}");
    let start = wall_millis();
    for name in ["n1", "n2"] {
        cluster.kill_node(name);
        let killed = wall_millis();
        until("all nodes are back", DEADLINE, || cluster.all_reachable());
        until("every group goes on", DEADLINE, || {
            let newest = cluster.api().vector("min by (n) (slot:chained)", "n")?;
            let wanted = (killed / 1000 + 5) as f64;
            let late: Vec<_> = newest.iter().filter(|(_, time)| **time < wanted).collect();
            match newest.len() == GROUPS && late.is_empty() {
                true => Ok(()),
                false => Err(format!("{} groups, behind {wanted}: {late:?}", newest.len())),
            }
        });
    }
    until("every alert fires", DEADLINE, || {
        let firing = cluster.api().vector("ALERTS{alertstate=\"firing\"}", "n")?;
        if firing.len() == GROUPS { Ok(()) } else { Err(format!("{firing:?}")) }
    });
    let end = wall_millis();
    let range = format!("[{}s]", (end - start) / 1000 + 3);
    for metric in ["slot:time", "slot:chained"] {
        let samples = cluster.api().samples(&format!("{metric}{range}"), "n").expect("complete");
        assert_eq!(samples.len(), GROUPS);
        samples.iter().for_each(|(n, samples)| check_slots(metric, n, samples));
    }
    assert_eq!(active_since(&cluster.api()), before, "an alert was set back");
    let firing = format!("ALERTS{{alertstate=\"firing\"}}{range}");
    let firing = cluster.api().samples(&firing, "n").expect("complete");
    for (n, samples) in firing {
        let held = samples[0].0 - before[&n];
        // It fires at the first slot at which it has been active for long enough.
        assert!((HOLD_SECONDS * 1000..HOLD_SECONDS * 1000 + 1000).contains(&held), "{n}: {held}");
    }
    until("replicas hold the same", DEADLINE, || cluster.digests_equal());
}

/// Every slot of a second has its own time, with none missing in between.
fn check_slots(metric: &str, n: &str, samples: &Samples) {
    assert!(samples.len() > 10, "{metric} {n}: {samples:?}");
    for pair in samples.windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, 1000, "{metric} of group {n} has a gap: {samples:?}");
    }
    for (time, value) in samples {
        let seconds = *time as f64 / 1000.0;
        assert!((seconds - value).abs() < 0.0005, "{metric} of group {n}: {value} at {seconds}");
    }
}

/// Since when each alert is active, in milliseconds, by its group.
fn active_since(api: &Api) -> BTreeMap<String, i64> {
    let data = until("alerts are told", DEADLINE, || {
        let data = api.data("/api/v1/alerts")?;
        let count = data["alerts"].as_array().map_or(0, Vec::len);
        if count == GROUPS { Ok(data) } else { Err(data.to_string()) }
    });
    let since = |alert: &Value| {
        let n = alert["labels"]["n"].as_str().expect("a label").to_owned();
        let text = alert["activeAt"].as_str().expect("a time");
        (n, text.to_owned())
    };
    let alerts = data["alerts"].as_array().expect("a list").iter().map(since);
    alerts.map(|(n, text)| (n, millis_of(&text))).collect()
}

/// The milliseconds of a time of day of RFC 3339, since midnight of 1970.
fn millis_of(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().expect("digits");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Days of the civil calendar, counted in years that begin with March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + of_year - 719_468;
    let seconds = days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    let fraction = text[19..].trim_end_matches('Z').trim_start_matches('.');
    let millis: i64 = format!("{fraction:0<3}")[..3].parse().expect("digits");
    seconds * 1000 + millis
}

#[test]
fn alerts_reach_an_alertmanager_and_end_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("alerts.rules");
    let text = "groups: [{name: g, rules: [{alert: High, expr: 'page_value > 5', \
                labels: {severity: page}, annotations: {summary: '{{ $value }} is high'}}]}]";
    fs::write(&rules, text).expect("a file");
    let target = PageTarget::start("127.0.0.1", "page_value 7\n");
    let manager = Manager::start();
    let alerting = format!(
        "alerting:\n  alert_relabel_configs: [{{target_label: via, replacement: narthex}}]\n  \
         alertmanagers:\n  - path_prefix: /am\n    static_configs: [{{targets: [{:?}]}}]\n",
        manager.address
    );
    let cluster = Cluster::start(&config(&rules, &target, &alerting));
    let alert = until("the alert is sent", DEADLINE, || {
        manager.alerts().last().cloned().ok_or_else(|| "nothing yet".to_owned())
    });
    assert_eq!(manager.path(), "/am/api/v2/alerts");
    assert_eq!(
        alert["labels"],
        json!({
            "alertname": "High", "severity": "page", "zone": "eu", "via": "narthex",
            "job": "page", "instance": target.address(),
        })
    );
    assert_eq!(alert["annotations"], json!({"summary": "7 is high"}));
    let time = |alert: &Value, key: &str| millis_of(alert[key].as_str().expect("a time"));
    // Four times the pause between two sends, from the evaluation on.
    let valid = time(&alert, "endsAt") - time(&alert, "startsAt");
    assert!((240_000..300_000).contains(&valid), "{alert}");
    let url = alert["generatorURL"].as_str().expect("a link");
    let expected = "/graph?g0.expr=page_value+%3E+5&g0.tab=1";
    assert_eq!(url, format!("{}{expected}", cluster.api().url()));
    let managers = cluster.api().data("/api/v1/alertmanagers").expect("told");
    let url = format!("http://{}/am/api/v2/alerts", manager.address);
    assert_eq!(managers["activeAlertmanagers"], json!([{"url": url}]));

    target.show("page_value 1\n");
    let end = until("the end is sent", DEADLINE, || {
        let last = manager.alerts().last().cloned().unwrap_or_default();
        let is_over = time(&last, "endsAt") <= wall_millis();
        if is_over { Ok(last) } else { Err(last.to_string()) }
    });
    assert_eq!(end["labels"], alert["labels"]);
    assert_eq!(end["startsAt"], alert["startsAt"]);
    assert!(cluster.api().data("/api/v1/alerts").expect("told")["alerts"] == json!([]));
}

/// Something that takes alerts as an Alertmanager does, and writes them down.
struct Manager {
    address: String,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    path: String,
    alerts: Vec<Value>,
}

impl Manager {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let taken = Arc::<Mutex<Taken>>::default();
        let journal = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let journal = Arc::clone(&journal);
                // A sender that goes away in the middle is not our concern.
                std::thread::spawn(move || drop(take(&stream, &journal)));
            }
        });
        Self { address, taken }
    }

    fn alerts(&self) -> Vec<Value> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).alerts.clone()
    }

    fn path(&self) -> String {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).path.clone()
    }
}

fn take(stream: &TcpStream, journal: &Mutex<Taken>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut path) = (0, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("post ") {
                path = rest.split(' ').next().unwrap_or_default().to_owned();
            }
            if let Some(rest) = line.strip_prefix("content-length:") {
                length = rest.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if let Ok(Value::Array(alerts)) = serde_json::from_slice(&body) {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.path = path;
            journal.alerts.extend(alerts);
        }
        write!(&mut &*stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}

/// Rules whose results do not depend on when they are evaluated.
const SAME_RULES: &str = "
groups:
- name: recording
  labels: {team: x}
  rules:
  - {record: 'job:page:sum', expr: 'sum by (job) (page_value)'}
  - {record: 'job:page:twice', expr: '2 * job:page:sum', labels: {kind: derived}}
  - {record: broken, expr: 'page_value * on () group_left page_pair', labels: {l: v}}
  - {record: same, expr: 'label_replace(page_pair, \"p\", \"\", \"\", \"\")', labels: {p: one}}
- name: alerting
  limit: 3
  rules:
  - alert: Firing
    expr: page_value > 5
    labels: {severity: '{{ if gt $value 6.0 }}page{{ else }}mail{{ end }}'}
    annotations: {summary: '{{ $labels.job }} has {{ $value | humanize }}'}
  - {alert: Pending, expr: 'page_value > 5', for: 1h, keep_firing_for: 5m}
  - {alert: Quiet, expr: 'page_value > 50', annotations: {a: b}}
  - {record: 'alerts:count', expr: 'count by (alertname, alertstate) (ALERTS)'}
";

#[test]
fn rules_come_to_what_they_come_to_in_prometheus() {
    let name = "rules::rules_come_to_what_they_come_to_in_prometheus";
    let Some(program) = peer(name, "prometheus") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("same.rules");
    fs::write(&rules, SAME_RULES).expect("a file");
    let page = "page_value 7\npage_pair{p=\"a\"} 1\npage_pair{p=\"b\"} 2\n";
    let target = PageTarget::start("127.0.0.1", page);
    let config = config(&rules, &target, "");
    let cluster = Cluster::start(&config);
    let prometheus = Prometheus::with_config(&program, &config);
    let (ours, theirs) = (cluster.api(), prometheus.api().clone());
    let results = "{__name__=~\"job:.*|broken|same|alerts:.*|ALERTS\"}";
    until("both come to the same", DEADLINE, || {
        let (a, b) = (vector(&ours, results)?, vector(&theirs, results)?);
        if a == b && a.len() >= 6 { Ok(()) } else { Err(format!("{a:#?}\n{b:#?}")) }
    });
    until("both tell the same of their rules", DEADLINE, || {
        let of = |api: &Api| api.data("/api/v1/rules").map(without_times);
        let (a, b) = (of(&ours)?, of(&theirs)?);
        if a == b { Ok(()) } else { Err(format!("{a:#}\n{b:#}")) }
    });
}

/// Labels and value of each series.
fn vector(api: &Api, expression: &str) -> Result<BTreeMap<String, String>, String> {
    let rows = api.query(&[("query", expression)])?;
    let rows = rows.as_array().ok_or("no vector")?.iter();
    Ok(rows.map(|row| (row["metric"].to_string(), row["value"][1].to_string())).collect())
}

/// What is said of rules, but for when and how long.
fn without_times(mut data: Value) -> Value {
    strip(&mut data);
    data
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["lastEvaluation", "evaluationTime", "activeAt"] {
                fields.remove(key);
            }
            // Errors name series in an order of their own.
            if let Some(error) = fields.get_mut("lastError") {
                let text = error.as_str().unwrap_or_default();
                *error = json!(text.split([':', ';']).next().unwrap_or_default());
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
