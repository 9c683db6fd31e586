//! A real Prometheus that scrapes a cluster's federated page and reads from it remotely.

use std::{collections::BTreeSet, time::Duration};

use narthex_chaos_tests::{
    api::Api,
    cluster::Cluster,
    compare::{
        Span,
        answers::{Answer, Terms},
        data,
        message::{self, Series, Value},
        peers::send,
    },
    peers::peer,
    prometheus::Prometheus,
    targets::{SEQUENCE, Target, config},
    wait::{until, wall_millis},
};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn prometheus_federates_and_reads() {
    let Some(program) = peer("prometheus_federates_and_reads", "prometheus") else { return };
    let targets = [Target::start(), Target::start()];
    let jobs = config(&[("page", 1, &targets)]);
    let cluster = Cluster::start(&format!("global:\n  external_labels: {{region: eu}}\n{jobs}"));
    let samples =
        |of: &Api, labels: &str| of.samples(&format!("{SEQUENCE}{labels}[5m]"), "instance");
    let before = until("three samples of each target", DEADLINE, || {
        let samples = samples(&cluster.api(), "")?;
        let ready = samples.len() == 2 && samples.values().all(|samples| samples.len() >= 3);
        if ready { Ok(samples) } else { Err(format!("{samples:?}")) }
    });

    let reader = Prometheus::reader(&program, cluster.api().url(), r#"{job="page"}"#);
    let read = until("samples from before it started", DEADLINE, || {
        let read = samples(reader.api(), r#"{region="eu"}"#)?;
        if read.is_empty() { Err("none".to_owned()) } else { Ok(read) }
    });
    for (instance, samples) in &before {
        let read = read.get(instance).expect("each target's series");
        for sample in samples {
            assert!(read.contains(sample), "{sample:?} of {instance} is not among {read:?}");
        }
    }
    assert!(samples(reader.api(), r#"{region="us"}"#).expect("an answer").is_empty());
    until("the page was scraped", DEADLINE, || {
        match reader.api().single(r#"min(up{job="federation"})"#)? {
            1.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    let scraped = reader.api().single(r#"min(scrape_samples_scraped{job="federation"})"#);
    assert!(scraped.expect("a count") >= 10.0, "the pages of two targets");
    let failed = reader.total("prometheus_remote_storage_read_queries_total{code=\"500\"");
    assert!(failed.is_err(), "{failed:?}");
}

/// Floats, markers and histograms of every kind come in streamed chunks and mean the same.
#[test]
fn prometheus_reads_chunks_of_every_kind() {
    let Some(program) = peer("prometheus_reads_chunks_of_every_kind", "prometheus") else { return };
    let cluster = Cluster::start("scrape_configs: []\n");
    let span = Span::latest();
    let series = data::series(span);
    send(&cluster.api(), &series, span);
    let reader = Prometheus::reader(&program, cluster.api().url(), r#"{job="nobody"}"#);
    until("Prometheus is ready", DEADLINE, || match reader.api().text("/-/ready") {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let time = (span.end / 1000).to_string();
    let names: BTreeSet<&str> = series.iter().map(Series::name).collect();
    let mut samples = 0;
    for name in names {
        let of_name = format!("{{__name__={name:?}}}");
        for expression in [format!("{of_name}[3h]"), format!("resets({of_name}[10m])[2h:5m]")] {
            let asked = |api: &Api| {
                let parameters = [("query", expression.as_str()), ("time", time.as_str())];
                Answer::of(&api.asked("/api/v1/query", &parameters)?)
            };
            let ours = asked(&cluster.api()).expect("an answer");
            let theirs = asked(reader.api()).expect("an answer");
            let (Answer::Given(mut ours), Answer::Given(mut theirs)) = (ours, theirs) else {
                panic!("{expression} is refused");
            };
            samples += ours.rows.iter().map(|(_, points)| points.len()).sum::<usize>();
            // Notes are of 3.14.
            for given in [&mut ours, &mut theirs] {
                given.warnings.clear();
                given.infos.clear();
            }
            let (ours, theirs) = (Answer::Given(ours), Answer::Given(theirs));
            let difference = ours.difference(&theirs, Terms::of(&expression));
            assert_eq!(difference, None, "{expression}");
        }
    }
    assert!(samples > 10_000, "{samples}");
    let (_, page) = reader.api().text("/metrics").expect("its own page");
    let chunked = |line: &str| {
        let is_count = line.starts_with("prometheus_remote") && line.contains("queries_total{");
        is_count && line.contains("chunked") && !line.ends_with(" 0")
    };
    assert!(page.lines().any(chunked), "all was read in samples");
}

/// Native histograms have no text form: they are there because the scraper takes protobuf.
#[test]
fn prometheus_federates_native_histograms() {
    let Some(program) = peer("prometheus_federates_native_histograms", "prometheus") else {
        return;
    };
    let cluster = Cluster::start("scrape_configs: []\n");
    let now = wall_millis();
    let series = data::series(Span { start: now - 60_000, end: now });
    let is_wanted =
        |series: &&Series| ["latency", "latency_gauge", "size", "load"].contains(&series.name());
    let newest: Vec<Series> = series
        .iter()
        .filter(is_wanted)
        .map(|series| {
            let (_, value) = series.samples.last().expect("it has samples").clone();
            Series { labels: series.labels.clone(), samples: vec![(now - 1000, value)] }
        })
        .collect();
    let sent: Vec<&Series> = newest.iter().collect();
    let (status, body) =
        cluster.api().write(&message::version_1(&sent, now - 60_000, now)).expect("an answer");
    assert!((200..300).contains(&status), "{status} {body}");
    let selector = r#"{__name__=~"latency|latency_gauge|size|load"}"#;
    let other = Prometheus::federating(&program, cluster.api().url(), selector);
    let is_native = |series: &&Series| matches!(series.samples[0].1, Value::Histogram(_));
    let count_of = |name: &str| newest.iter().filter(|series| series.name() == name).count();
    assert!(newest.iter().filter(is_native).count() > 10);
    for name in ["latency", "latency_gauge"] {
        let counts = format!("histogram_count({name})");
        until("its histograms were scraped", DEADLINE, || {
            let found = other.api().query(&[("query", &counts)])?;
            let found = found.as_array().map_or(0, Vec::len);
            if found == count_of(name) { Ok(()) } else { Err(format!("{found}")) }
        });
        for function in ["histogram_count", "histogram_sum", "histogram_avg"] {
            let sum = format!("sum({function}({name}))");
            let (ours, theirs) = (cluster.api().single(&sum), other.api().single(&sum));
            assert_eq!(ours.expect("an answer"), theirs.expect("an answer"), "{sum}");
        }
        let quantile = format!("histogram_quantile(0.9, {name})");
        let value = |api: &Api| api.query(&[("query", &format!("sort({quantile})"))]);
        let values = |api: &Api| {
            let found = value(api).expect("an answer");
            let rows = found.as_array().cloned().unwrap_or_default();
            let of_row = |row: &serde_json::Value| row["value"][1].as_str()?.parse().ok();
            rows.iter().map(of_row).collect::<Option<Vec<f64>>>().expect("numbers")
        };
        let (ours, theirs) = (values(&cluster.api()), values(other.api()));
        // The last bits of logarithms are not the same everywhere.
        let is_close = |(ours, theirs): (&f64, &f64)| (ours - theirs).abs() <= 1e-12 * ours.abs();
        let are_close = ours.iter().zip(&theirs).all(is_close);
        assert!(ours.len() == theirs.len() && are_close, "{quantile}: {ours:?} {theirs:?}");
    }
    // Those with custom bounds come as classic ones.
    let buckets = other.api().query(&[("query", "count(size_bucket)")]).expect("an answer");
    assert_ne!(buckets, serde_json::json!([]), "classic buckets");
    let floats = other.api().single("count(load)").expect("a count");
    assert_eq!(floats as usize, count_of("load"));
}
