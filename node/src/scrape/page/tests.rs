use super::*;
use crate::{config::RelabelAction, config::RelabelConfig};

const TIME: Timestamp = Timestamp::from_millis(1_000_000);

fn rules() -> SampleRules {
    SampleRules {
        target_labels: Labels::from_pairs([("job", "api"), ("instance", "a:1")]).expect("labels"),
        honor_labels: false,
        honor_timestamps: true,
        relabel: Arc::default(),
        limits: ScrapeLimits::default(),
    }
}

fn relabel(configs: &[RelabelConfig]) -> SampleRules {
    SampleRules { relabel: Arc::new(Rules::compile(configs).expect("rules")), ..rules() }
}

fn read(rules: SampleRules, page: &str) -> PageSamples {
    PageReader::new(rules, 1).read(page.as_bytes(), TIME)
}

fn texts(read: &PageSamples) -> Vec<String> {
    assert_eq!(read.error, None);
    read.samples.iter().map(|sample| sample.series.labels.to_string()).collect()
}

#[test]
fn samples_get_the_labels_of_their_target() {
    let read = read(rules(), "up{x=\"y\"} 1\nplain 2 999000\n");
    assert_eq!(
        texts(&read),
        [
            r#"{__name__="up", instance="a:1", job="api", x="y"}"#,
            r#"{__name__="plain", instance="a:1", job="api"}"#
        ]
    );
    assert_eq!((read.scraped, read.kept, read.added), (2, 2, 2));
    assert_eq!(read.samples[0].timestamp, TIME);
    assert!(!read.samples[0].has_own_timestamp && read.samples[0].series.follows_target);
    assert_eq!(read.samples[1].timestamp, Timestamp::from_millis(999_000));
    assert!(read.samples[1].has_own_timestamp);
}

#[test]
fn labels_that_both_have_are_renamed_until_free() {
    let read = read(rules(), "m{job=\"x\",exported_job=\"y\",instance=\"\"} 1\n");
    assert_eq!(
        texts(&read),
        [
            r#"{__name__="m", exported_exported_job="x", exported_job="y", instance="a:1", job="api"}"#
        ]
    );
}

#[test]
fn honoured_labels_win_even_where_they_are_empty() {
    let rules = SampleRules { honor_labels: true, ..rules() };
    let read = read(rules, "m{job=\"x\"} 1\nm{instance=\"\"} 1\n");
    assert_eq!(
        texts(&read),
        [r#"{__name__="m", instance="a:1", job="x"}"#, r#"{__name__="m", job="api"}"#]
    );
    assert!(read.samples.iter().all(|sample| !sample.series.follows_target));
}

#[test]
fn metric_relabelling_drops_and_renames() {
    let drop = RelabelConfig {
        source_labels: vec!["__name__".into()],
        regex: "go_.*".into(),
        action: RelabelAction::Drop,
        ..RelabelConfig::default()
    };
    let rename = RelabelConfig {
        source_labels: vec!["__name__".into()],
        regex: "old(.*)".into(),
        target_label: "__name__".into(),
        replacement: "new$1".into(),
        ..RelabelConfig::default()
    };
    let read1 = read(relabel(&[drop, rename]), "go_x 1\nold_y 2\n");
    assert_eq!(texts(&read1), [r#"{__name__="new_y", instance="a:1", job="api"}"#]);
    assert_eq!((read1.scraped, read1.kept, read1.added), (2, 1, 1));
    let unname = RelabelConfig {
        regex: "__name__".into(),
        action: RelabelAction::LabelDrop,
        ..RelabelConfig::default()
    };
    let read2 = read(relabel(&[unname]), "a 1\n");
    let error = read2.error.expect("no name").to_string();
    assert_eq!(error, "missing metric name (__name__ label)");
}

#[test]
fn a_limit_refuses_the_page_whole() {
    let limited = |limits| SampleRules { limits, ..rules() };
    let default = ScrapeLimits::default();
    let page = "a 1\nb{long_label=\"long value\"} 2\n";
    let cases = [
        (ScrapeLimits { sample_limit: 1, ..default }, "sample limit exceeded: 2 samples"),
        (
            ScrapeLimits { label_limit: 3, ..default },
            "label_limit exceeded (metric: b, number of labels: 4, limit: 3)",
        ),
        (
            ScrapeLimits { label_name_length_limit: 8, ..default },
            "label_name_length_limit exceeded (metric: b, label name: long_label, length: 10, limit: 8)",
        ),
        (
            ScrapeLimits { label_value_length_limit: 9, ..default },
            "label_value_length_limit exceeded (metric: b, label name: long_label, value: \"long value\", length: 10, limit: 9)",
        ),
    ];
    for (limits, reason) in cases {
        let read = read(limited(limits), page);
        let error = read.error.expect(reason).to_string();
        assert!(error.starts_with(reason), "{error}");
        assert!(read.samples.is_empty());
        assert_eq!(read.scraped, 2);
    }
}

#[test]
fn added_series_are_those_the_last_page_lacked() {
    let mut reader = PageReader::new(rules(), 1);
    let mut added = |page: &str| reader.read(page.as_bytes(), TIME).added;
    assert_eq!(added("a 1\nb 1\n"), 2);
    assert_eq!(added("a 2\nb 2\n"), 0);
    assert_eq!(added("b 3\nc 3\n"), 1);
    assert_eq!(added("a 4\n"), 1);
}

#[test]
fn series_are_shared_between_pages() {
    let mut reader = PageReader::new(rules(), 1);
    let first = reader.read(b"a 1\n", TIME);
    first.samples[0].series.set_reference(42);
    let second = reader.read(b"a 2\n", TIME);
    assert_eq!(second.samples[0].series.reference(), 42);
    reader.read(b"b 1\n", TIME);
    let third = reader.read(b"a 3\n", TIME);
    assert_eq!((third.samples[0].series.reference(), third.added), (0, 1));
}

#[test]
fn errors_in_a_series_name_their_line() {
    let read = read(rules(), "a 1\n\nb{c} 1\n");
    let error = read.error.expect("no value").to_string();
    assert_eq!(error, "line 3: expected equal sign after the label name, found \"}\"");
}

#[test]
fn times_far_ahead_are_left_out_and_times_of_the_page_can_be_ignored() {
    let ahead = TIME.millis() + AHEAD_MILLIS_MAX;
    let page = format!("a 1 {}\nb 1 {}\nc 1 {}\n", ahead, ahead + 1, i64::MIN);
    let read1 = read(rules(), &page);
    assert_eq!((read1.samples.len(), read1.ahead, read1.kept), (2, 1, 3));
    let read2 = read(SampleRules { honor_timestamps: false, ..rules() }, &page);
    assert_eq!((read2.samples.len(), read2.ahead), (3, 0));
    assert!(
        read2.samples.iter().all(|sample| sample.timestamp == TIME && !sample.has_own_timestamp)
    );
}
