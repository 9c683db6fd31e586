use std::io::Write as _;

use flate2::{Compression as Level, write::GzEncoder};
use narthex_proto::client::ShardError;

use super::*;
use crate::write::tests::{Case, NOW, Told, case, told, took_all};

impl Case {
    async fn import(&self, query: &str, headers: &[(&str, &str)], body: Body) -> Told {
        let mut builder = Request::builder().method("POST").uri(format!("/{query}"));
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        told(self.router.import(builder.body(body).expect("request")).await).await
    }

    fn rows(&self) -> Vec<String> {
        let stored = std::mem::take(&mut *self.shards.stored.lock());
        let row = |labels: &narthex_model::Labels, sample: &narthex_model::Sample| {
            format!("{labels} {} {}", sample.timestamp.millis(), sample.value)
        };
        let mut rows: Vec<_> = stored.iter().map(|(_, labels, s)| row(labels, s)).collect();
        rows.sort();
        rows
    }
}

const PAGE: &str =
    "# HELP a A.\n# TYPE a counter\na{x=\"1\"} 1 -5000\na{x=\"2\",job=\"own\"} 2\n\nb 3 7";

#[tokio::test]
async fn lines_are_stored_with_their_times_or_ours() {
    let case = case(took_all);
    let (status, _, text) = case.import("", &[], Body::from(PAGE)).await;
    assert_eq!((status, text.as_str()), (StatusCode::NO_CONTENT, ""));
    let now = NOW.millis();
    let want = [
        r#"{__name__="a", job="own", x="2"}"#.to_owned() + &format!(" {now} 2"),
        r#"{__name__="a", x="1"} -5000 1"#.to_owned(),
        r#"{__name__="b"} 7 3"#.to_owned(),
    ];
    assert_eq!(case.rows(), want);
    let query = "?timestamp=42&extra_label=job=a%20b&extra_label=env%3Dx+y&other=1";
    assert_eq!(case.import(query, &[], Body::from(PAGE)).await.0, StatusCode::NO_CONTENT);
    let want = [
        r#"{__name__="a", env="x y", job="a b", x="1"} -5000 1"#,
        r#"{__name__="a", env="x y", job="a b", x="2"} 42 2"#,
        r#"{__name__="b", env="x y", job="a b"} 7 3"#,
    ];
    assert_eq!(case.rows(), want);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let case = case(took_all);
    let long = "a 1\n".repeat(PIECE_BYTES / 4) + "b 1\nc{ 2\n";
    type Headers = &'static [(&'static str, &'static str)];
    let cases: [(&str, Headers, String, u16, &str); 6] = [
        ("?timestamp=soon", &[], String::new(), 400, "timestamp=soon: expected milliseconds"),
        ("?extra_label=x", &[], String::new(), 400, "expected extra_label=name=value"),
        ("", &[("Content-Encoding", "br")], String::new(), 415, "only gzip is"),
        ("", &[("Content-Encoding", "gzip")], "a 1".to_owned(), 400, "malformed gzip"),
        ("", &[], "a 1\n{ 2\n".to_owned(), 400, "line 2: "),
        ("", &[], long, 400, "line 262146: "),
    ];
    for (query, headers, body, want, words) in cases {
        let (status, _, text) = case.import(query, headers, Body::from(body)).await;
        assert_eq!(status.as_u16(), want, "{text}");
        assert!(text.contains(words), "{text}");
    }
    assert!(case.rows().len() >= PIECE_BYTES / 4, "lines before the piece are stored");
}

#[tokio::test]
async fn a_body_of_any_length_takes_bounded_memory() {
    let case = case(took_all);
    let lines = 300_000;
    let page: String = (0..lines).map(|i| format!("m{{i=\"{}\"}} 1 {i}\n", i % 50)).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(page.as_bytes()).expect("memory");
    let body = Body::from(encoder.finish().expect("memory"));
    let headers = [("Content-Encoding", "gzip")];
    assert_eq!(case.import("", &headers, body).await.0, StatusCode::NO_CONTENT);
    assert_eq!(case.rows().len(), lines);

    let mut pieces = Pieces::new(Compression::Identity, PIECE_BYTES);
    let endless = vec![b'a'; COMPRESSED_BYTES];
    let refused = (0..1000).find(|_| pieces.push(&endless).is_err()).expect("a limit");
    assert_eq!(refused * COMPRESSED_BYTES, PIECE_BYTES);
}

#[tokio::test]
async fn a_failure_says_how_far_it_came() {
    let case = case(|shard| match shard.0 {
        2 => Err(ShardError::Unavailable { shard, reason: "no leader".to_owned() }),
        _ => took_all(shard),
    });
    let page: String = (0..200).map(|i| format!("m{{i=\"{i}\"}} 1 1\n")).collect();
    let (status, headers, text) = case.import("", &[], Body::from(page)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "1");
    assert!(text.contains("no leader (the first 0 lines are done)"), "{text}");
}

#[tokio::test]
async fn what_a_text_says_of_metrics_is_handed_on_once() {
    let case = case(took_all);
    for _ in 0..2 {
        let page = format!("{PAGE}\n# HELP c C.\n# TYPE d gauge\n");
        assert_eq!(case.import("", &[], Body::from(page)).await.0, StatusCode::NO_CONTENT);
    }
    let metrics = case.metrics();
    assert!(metrics.contains("narthex_router_metadata_sent_total 3\n"), "{metrics}");
}

#[test]
fn what_is_said_of_a_metric_stays_in_one_piece() {
    let mut pieces = Pieces::new(Compression::Identity, PIECE_BYTES);
    let mut take = |text: &str, bytes_min| {
        pieces.push(text.as_bytes()).expect("short");
        pieces.take(bytes_min).map(|piece| String::from_utf8_lossy(&piece).into_owned())
    };
    let said = "# HELP b B.\n# TYPE b gauge\n";
    assert_eq!(take(&format!("a 1\n{said}# U"), 1).as_deref(), Some("a 1\n"));
    assert_eq!(take("NIT b\nb", 1).as_deref(), Some(&*format!("{said}# UNIT b\n")), "nothing else");
    assert_eq!(take(&format!(" 1\n{said}"), 0).as_deref(), Some(&*format!("b 1\n{said}")));
}
