use proptest::prelude::*;
use prost::Message as _;

use super::{super::decompress, *};
use crate::remote_write::DecodeError;

const LIMIT: usize = 32 << 20;

/// The messages of remote write 1.0, decoded by a library, as a model.
#[derive(Clone, PartialEq, prost::Message)]
struct ModelRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<ModelSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<ModelMetadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<ModelLabel>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<ModelSample>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelLabel {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelSample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelMetadata {
    #[prost(string, tag = "2")]
    metric_family_name: String,
}

type Decoded = Vec<(Vec<(String, String)>, Vec<(i64, u64)>)>;

fn decode(bytes: &[u8]) -> Result<Decoded, Malformed> {
    let mut request = WriteRequest::new(bytes);
    let (mut series, mut all) = (Series::default(), Vec::new());
    while let Some(raw) = request.next_series()? {
        raw.read(&mut series, &mut Scratch::default())?;
        let labels = series.labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let samples = series.samples.iter().map(|s| (s.timestamp.millis(), s.value.to_bits()));
        all.push((labels.collect(), samples.collect()));
    }
    Ok(all)
}

fn expected(model: &ModelRequest) -> Decoded {
    let series = |series: &ModelSeries| {
        let labels = series.labels.iter().map(|l| (l.name.clone(), l.value.clone()));
        let samples = series.samples.iter().map(|s| (s.timestamp, s.value.to_bits()));
        (labels.collect(), samples.collect())
    };
    model.timeseries.iter().map(series).collect()
}

fn model() -> impl Strategy<Value = ModelRequest> {
    let label = ("\\PC{0,12}", "\\PC{0,200}").prop_map(|(name, value)| ModelLabel { name, value });
    let sample = (any::<u64>(), any::<i64>())
        .prop_map(|(bits, timestamp)| ModelSample { value: f64::from_bits(bits), timestamp });
    let series = (proptest::collection::vec(label, 0..6), proptest::collection::vec(sample, 0..4))
        .prop_map(|(labels, samples)| ModelSeries { labels, samples });
    let metadata = "[a-z]{0,5}".prop_map(|name| ModelMetadata { metric_family_name: name });
    (proptest::collection::vec(series, 0..5), proptest::collection::vec(metadata, 0..2))
        .prop_map(|(timeseries, metadata)| ModelRequest { timeseries, metadata })
}

proptest! {
    #[test]
    fn what_a_library_encodes_is_decoded(model in model()) {
        prop_assert_eq!(decode(&model.encode_to_vec()), Ok(expected(&model)));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = decompress(&bytes, LIMIT);
    }

    /// Near misses of real requests find more than random bytes do.
    #[test]
    fn damaged_requests_never_panic(
        model in model(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = model.encode_to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        let _ = decode(&bytes);
    }
}

#[test]
fn a_staleness_marker_keeps_its_bits() {
    let stale = narthex_model::stale_nan();
    let sample = ModelSample { value: stale, timestamp: 1 };
    let series = ModelSeries { labels: vec![], samples: vec![sample] };
    let model = ModelRequest { timeseries: vec![series], metadata: vec![] };
    let decoded = decode(&model.encode_to_vec()).expect("valid");
    assert_eq!(decoded[0].1, [(1, narthex_model::STALE_NAN_BITS)]);
}

#[test]
fn a_declared_length_beyond_the_limit_allocates_nothing() {
    // 4 GiB - 1, declared in five bytes.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let error = DecodeError::TooLarge { declared: u32::MAX.into(), limit: LIMIT };
    assert_eq!(decompress(&bomb, LIMIT), Err(error));
}

#[test]
fn text_that_is_not_utf8_is_counted() {
    // One series with the label a="\xff" and the label b="c".
    let bytes = [10, 16, 10, 6, 10, 1, b'a', 18, 1, 0xff, 10, 6, 10, 1, b'b', 18, 1, b'c'];
    let mut series = Series::default();
    let raw = WriteRequest::new(&bytes).next_series().unwrap().unwrap();
    assert_eq!(raw.read(&mut series, &mut Scratch::default()), Ok(()));
    assert_eq!((series.labels.as_slice(), series.labels_not_utf8), ([("b", "c")].as_slice(), 1));
}

#[test]
fn the_offset_of_damage_is_named() {
    let error = Malformed { offset: 2, what: "length beyond the message" };
    assert_eq!(decode(&[10, 9, 10]), Err(error));
}
