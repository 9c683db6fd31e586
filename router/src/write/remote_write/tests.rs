use http::{StatusCode, header};
use narthex_proto::{
    client::ShardError,
    internal::v1::{Appended, Refused},
};

use super::*;
use crate::{
    limits::Limits,
    sender::{compress, encode, encode_v2},
    write::tests::{case, case_with, request, took_all},
};

const V2: &[(&str, &str)] =
    &[("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")];

fn written(headers: &HeaderMap) -> [&str; 3] {
    [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN]
        .map(|name| headers.get(name).map_or("", |value| value.to_str().expect("a number")))
}

#[tokio::test]
async fn what_is_not_spoken_here_is_refused() {
    let case = case(took_all);
    let body = compress(&encode(&request()));
    type Headers = &'static [(&'static str, &'static str)];
    let cases: [(Headers, Vec<u8>, u16); 6] = [
        (
            &[("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v3.Request")],
            body.clone(),
            415,
        ),
        (&[("Content-Type", "application/json")], body.clone(), 415),
        (&[("Content-Encoding", "gzip")], body.clone(), 415),
        (&[], b"no snappy".to_vec(), 400),
        (&[], vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], 413),
        (V2, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], 413),
    ];
    for (headers, body, status) in cases {
        let got = case.send(headers, body).await;
        assert_eq!(got.0.as_u16(), status, "{headers:?}: {}", got.2);
    }
    let v1 = [
        ("Content-Type", "application/x-protobuf; proto=prometheus.WriteRequest"),
        ("Content-Encoding", "Snappy"),
    ];
    assert_eq!(case.send(&v1, body).await.0, StatusCode::NO_CONTENT);
    assert_eq!(case.send(&[], compress(&[])).await.0, StatusCode::NO_CONTENT);
}

#[test]
fn a_message_that_was_switched_off_is_not_supported() {
    let only = |version_1, version_2| AcceptedMessages { version_1, version_2 };
    let mut headers = HeaderMap::new();
    assert_eq!(version(&headers, only(true, false)).expect("1.0"), Version::One);
    assert!(version(&headers, only(false, true)).is_err());
    headers.insert(header::CONTENT_TYPE, V2[0].1.parse().expect("valid"));
    let error = version(&headers, only(true, false)).expect_err("2.0 is off");
    assert!(error.to_string().ends_with("proto=prometheus.WriteRequest is"), "{error}");
    assert_eq!(version(&headers, only(false, true)).expect("2.0"), Version::Two);
}

#[tokio::test]
async fn both_versions_say_the_same() {
    let case = case(took_all);
    let sorted = || {
        let mut stored = std::mem::take(&mut *case.shards.stored.lock());
        stored.sort_by_key(|row| row.2.timestamp);
        stored
    };
    let first = case.send(&[], compress(&encode(&request()))).await;
    let stored = sorted();
    assert_eq!((first.0, written(&first.1)), (StatusCode::NO_CONTENT, ["", "", ""]));
    for turn in 0..3 {
        let second = case.send(V2, compress(&encode_v2(&request()))).await;
        assert_eq!(second.0, StatusCode::NO_CONTENT, "{}", second.2);
        // Each of the four shards says that it has one.
        assert_eq!(written(&second.1), ["4", "0", "0"]);
        assert_eq!(sorted(), stored, "turn {turn}");
    }
}

#[tokio::test]
async fn a_refusal_says_how_much_was_written() {
    let case = case(|_| {
        let reason = "out_of_order".to_owned();
        let row = Refused { reason, samples: 2, example: "up{}".to_owned() };
        Ok(Appended { samples: 5, refused: vec![row], ..Appended::default() })
    });
    let (status, headers, text) = case.send(V2, compress(&encode_v2(&request()))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(written(&headers), ["20", "0", "0"]);
    assert!(text.contains("8 out_of_order (for example up{})"), "{text}");
}

#[tokio::test]
async fn a_silent_shard_is_worth_another_try_and_the_others_count() {
    let case = case(|shard| match shard.0 {
        2 => Err(ShardError::Unavailable { shard, reason: "no leader".to_owned() }),
        _ => took_all(shard),
    });
    let (status, headers, _) = case.send(V2, compress(&encode_v2(&request()))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "1");
    assert_eq!(written(&headers), ["3", "0", "0"]);
}

#[tokio::test]
async fn a_malformed_request_writes_nothing() {
    let case = case(took_all);
    let mut request = encode_v2(&request());
    // A series whose only label has the references 1 and 9999.
    request.extend([42, 5, 10, 3, 1, 0x8f, 0x4e]);
    let (status, headers, text) = case.send(V2, compress(&request)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("reference beyond the table of symbols"), "{text}");
    assert_eq!(written(&headers), ["0", "0", "0"]);
    assert!(case.shards.stored.lock().is_empty());
}

#[tokio::test]
async fn limits_are_named_with_their_flags() {
    let limits = Limits {
        request_bytes_max: 2000,
        labels_max: 3,
        label_value_bytes_max: 6,
        ..Limits::default()
    };
    let case = case_with(took_all, limits);
    let (status, _, text) = case.write(&request()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(text.contains("limit of 2000 bytes (--ingest.max-request-bytes)"), "{text}");
    let (status, _, text) = case.write(&request()[5..20]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.starts_with("10 samples refused, the rest is stored"), "{text}");
    let excess = "label value length of 7 exceeds the limit of 6 (--ingest.max-label-value-length)";
    assert!(text.contains(excess), "{text}");
    assert_eq!(case.shards.stored.lock().len(), 5, "host-5 to host-9");
}
