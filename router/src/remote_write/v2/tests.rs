use narthex_model::{Labels, MetricType};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// The messages of remote write 2.0, decoded by a library, as a model.
#[derive(Clone, PartialEq, prost::Message)]
struct ModelRequest {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<ModelSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelSeries {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<ModelSample>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<ModelExemplar>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<ModelMetadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelSample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelExemplar {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelMetadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

type Pairs = Vec<(String, String)>;

/// What a series says, owned.
#[derive(Debug, PartialEq)]
struct Decoded {
    labels: Pairs,
    samples: Vec<(i64, u64, i64)>,
    exemplars: Vec<(String, u64, i64)>,
    exemplars_refused: usize,
    metadata: Option<(MetricType, String, String)>,
}

fn owned(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn decode(bytes: &[u8]) -> Result<Vec<Decoded>, Malformed> {
    let mut request = Request::new(bytes)?;
    let (mut series, mut scratch, mut all) = (Series::default(), Scratch::default(), Vec::new());
    let mut plain = (Vec::new(), PlainRest::default());
    while let Some(raw) = request.next_series()? {
        raw.read(request.symbols(), &mut series, &mut scratch)?;
        // What the short way finds, the long way finds too.
        if let Some(refs_len) = raw.leading_refs(&mut plain.0)
            && raw.plain_rest(refs_len, &mut plain.1)
        {
            assert_eq!(plain.0, scratch.refs);
            let bits = |samples: &[Sample]| -> Vec<_> {
                samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect()
            };
            assert_eq!(bits(&plain.1.samples), bits(&series.samples));
            let metadata = plain.1.metadata.map(|raw| raw.read(request.symbols()));
            assert_eq!(metadata.transpose()?, series.metadata);
            assert!(series.starts.is_empty() && series.exemplars.is_empty());
        }
        let start = |at: usize| series.starts.get(at).map_or(0, |start| start.millis());
        let samples = series.samples.iter().enumerate();
        all.push(Decoded {
            labels: owned(&series.labels),
            samples: samples
                .map(|(at, s)| (s.timestamp.millis(), s.value.to_bits(), start(at)))
                .collect(),
            exemplars: series
                .exemplars
                .iter()
                .map(|e| (e.labels.to_string(), e.value.to_bits(), e.timestamp.millis()))
                .collect(),
            exemplars_refused: series.exemplars_refused,
            metadata: series
                .metadata
                .map(|m| (m.metric_type, m.help.to_owned(), m.unit.to_owned())),
        });
    }
    Ok(all)
}

fn expected(model: &ModelRequest) -> Vec<Decoded> {
    let text = |reference: u32| model.symbols[reference as usize].clone();
    let pairs = |refs: &[u32]| -> Pairs {
        refs.chunks(2).map(|pair| (text(pair[0]), text(pair[1]))).collect()
    };
    let exemplar = |e: &ModelExemplar| {
        let labels = Labels::from_pairs(pairs(&e.labels_refs)).ok()?;
        Some((labels.to_string(), e.value.to_bits(), e.timestamp))
    };
    let described = |reference| if reference == 0 { String::new() } else { text(reference) };
    let series = |series: &ModelSeries| Decoded {
        labels: pairs(&series.labels_refs),
        samples: series
            .samples
            .iter()
            .map(|s| (s.timestamp, s.value.to_bits(), s.start_timestamp))
            .collect(),
        exemplars: series.exemplars.iter().filter_map(exemplar).collect(),
        exemplars_refused: series.exemplars.iter().filter(|e| exemplar(e).is_none()).count(),
        metadata: series.metadata.as_ref().map(|m| {
            let kind = metric_type(m.kind as u64);
            (kind, described(m.help_ref), described(m.unit_ref))
        }),
    };
    model.timeseries.iter().map(series).collect()
}

fn model() -> impl Strategy<Value = ModelRequest> {
    proptest::collection::vec("\\PC{0,12}", 1..300).prop_flat_map(|symbols| {
        let reference = 0..symbols.len() as u32;
        let pairs = proptest::collection::vec((reference.clone(), reference.clone()), 0..5)
            .prop_map(|pairs| pairs.into_iter().flat_map(|(a, b)| [a, b]).collect::<Vec<_>>());
        let sample = (any::<u64>(), any::<i64>(), prop_oneof![Just(0), any::<i64>()]).prop_map(
            |(bits, timestamp, start_timestamp)| ModelSample {
                value: f64::from_bits(bits),
                timestamp,
                start_timestamp,
            },
        );
        let exemplar = (pairs.clone(), any::<u64>(), any::<i64>()).prop_map(
            |(labels_refs, bits, timestamp)| ModelExemplar {
                labels_refs,
                value: f64::from_bits(bits),
                timestamp,
            },
        );
        let metadata = (0..9i32, reference.clone(), reference)
            .prop_map(|(kind, help_ref, unit_ref)| ModelMetadata { kind, help_ref, unit_ref });
        let series = (
            pairs,
            proptest::collection::vec(sample, 0..4),
            proptest::collection::vec(exemplar, 0..2),
            proptest::option::of(metadata),
        )
            .prop_map(|(labels_refs, samples, exemplars, metadata)| ModelSeries {
                labels_refs,
                samples,
                exemplars,
                metadata,
            });
        let symbols = Just(symbols);
        (symbols, proptest::collection::vec(series, 0..5))
            .prop_map(|(symbols, timeseries)| ModelRequest { symbols, timeseries })
    })
}

proptest! {
    #[test]
    fn what_a_library_encodes_is_decoded(model in model()) {
        prop_assert_eq!(decode(&model.encode_to_vec()), Ok(expected(&model)));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
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
fn references_may_come_alone_and_symbols_last() {
    // A series with the references 0 and 1, each a field of its own; then the symbols.
    let bytes = [42, 4, 8, 0, 8, 1, 34, 1, b'a', 34, 1, b'b'];
    let decoded = decode(&bytes).expect("valid");
    assert_eq!(decoded[0].labels, [("a".to_owned(), "b".to_owned())]);
}

#[test]
fn references_beyond_the_table_or_without_a_partner_are_malformed() {
    for (refs, what) in
        [(vec![0, 2], BEYOND_THE_TABLE), (vec![0], "a label's name without its value")]
    {
        let series = ModelSeries { labels_refs: refs, ..ModelSeries::default() };
        let symbols = vec![String::new(), "a".to_owned()];
        let request = ModelRequest { symbols, timeseries: vec![series] };
        let error = decode(&request.encode_to_vec()).expect_err("malformed");
        assert_eq!(error.what, what);
    }
}

#[test]
fn symbols_that_are_not_utf8_are_counted() {
    // The symbols "\xff" and "b", and series of (0, 1) and (1, 1).
    let bytes = [34, 1, 0xff, 34, 1, b'b', 42, 6, 10, 4, 0, 1, 1, 1];
    let mut request = Request::new(&bytes).expect("valid");
    let raw = request.next_series().expect("valid").expect("a series");
    let mut series = Series::default();
    raw.read(request.symbols(), &mut series, &mut Scratch::default()).expect("valid");
    assert_eq!((series.labels.as_slice(), series.labels_not_utf8), ([("b", "b")].as_slice(), 1));
}
