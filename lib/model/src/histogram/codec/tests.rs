use proptest::prelude::*;

use super::*;
use crate::histogram::{Span, SpannedCounts, SpannedHistogram};

fn encoded(histogram: &NativeHistogram) -> Vec<u8> {
    let mut bytes = Vec::new();
    histogram.encode(&mut bytes);
    bytes
}

/// Integer histograms as a sender would write them: spans, and counts that add up.
fn integer() -> impl Strategy<Value = NativeHistogram> {
    let side = || {
        let span = (0..400i32, proptest::collection::vec(0u64..1 << 40, 0..6));
        (-300_000..300_000i32, proptest::collection::vec(span, 0..5))
    };
    let threshold =
        prop_oneof![Just(0.0), Just(2.938_735_877_055_719e-39), Just(1024.0), any::<f64>()];
    (-4..=8i32, threshold, any::<u64>(), 0..900u64, side(), side(), 0..4u8).prop_map(
        |(schema, zero_threshold, sum, zero_count, positive, negative, hint)| {
            let (positive_spans, positive_deltas, positives) = spans(positive);
            let (negative_spans, negative_deltas, negatives) = spans(negative);
            let hints = [
                CounterResetHint::Unknown,
                CounterResetHint::Reset,
                CounterResetHint::NotReset,
                CounterResetHint::Gauge,
            ];
            let sent = SpannedHistogram {
                counter_reset_hint: hints[usize::from(hint)],
                schema,
                zero_threshold,
                sum: f64::from_bits(sum),
                counts: SpannedCounts::Integer {
                    count: zero_count + positives + negatives,
                    zero_count,
                    positive_deltas: &positive_deltas,
                    negative_deltas: &negative_deltas,
                },
                positive_spans: &positive_spans,
                negative_spans: &negative_spans,
                custom_values: &[],
            };
            NativeHistogram::from_spans(&sent).expect("valid")
        },
    )
}

fn spans((first, runs): (i32, Vec<(i32, Vec<u64>)>)) -> (Vec<Span>, Vec<i64>, u64) {
    let (mut spans, mut deltas, mut before, mut total) = (Vec::new(), Vec::new(), 0, 0);
    for (at, (offset, counts)) in runs.into_iter().enumerate() {
        let offset = if at == 0 { first } else { offset };
        spans.push(Span { offset, length: counts.len() as u32 });
        for count in counts {
            deltas.push(count as i64 - before);
            before = count as i64;
            total += count;
        }
    }
    (spans, deltas, total)
}

fn float() -> impl Strategy<Value = NativeHistogram> {
    let count = || prop_oneof![any::<f64>(), (1..1000u32).prop_map(f64::from)];
    let bounds = proptest::collection::btree_set(-1000..1000i32, 0..20);
    let counts = proptest::collection::vec(count(), 0..21);
    (bounds, counts, any::<u64>(), count()).prop_map(|(bounds, counts, sum, count)| {
        let bounds: Vec<f64> = bounds.into_iter().map(f64::from).collect();
        let counts: Vec<f64> = counts.into_iter().take(bounds.len() + 1).map(f64::abs).collect();
        let sent = SpannedHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            sum: f64::from_bits(sum),
            counts: SpannedCounts::Float {
                count,
                zero_count: 0.0,
                positive: &counts,
                negative: &[],
            },
            positive_spans: &[Span { offset: 0, length: counts.len() as u32 }],
            negative_spans: &[],
            custom_values: &bounds,
        };
        NativeHistogram::from_spans(&sent).expect("valid")
    })
}

/// Equality by bits: `Debug` shows whatever differs, but for the payload of a NaN.
fn assert_same(read: &NativeHistogram, wanted: &NativeHistogram) {
    assert_eq!(format!("{read:?}"), format!("{wanted:?}"));
    assert_eq!(read.sum().to_bits(), wanted.sum().to_bits());
    assert_eq!(encoded(read), encoded(wanted));
}

proptest! {
    #[test]
    fn histograms_read_back(histogram in prop_oneof![integer(), float()]) {
        let bytes = encoded(&histogram);
        let checked = EncodedHistogram::new(&bytes).expect("valid");
        prop_assert_eq!(checked.is_float(), histogram.is_float());
        prop_assert_eq!(checked.is_stale(), histogram.is_stale());
        prop_assert_eq!(checked.sum().to_bits(), histogram.sum().to_bits());
        assert_same(&checked.decode(), &histogram);
        prop_assert!(EncodedHistogram::new(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn shapes_are_compared_whatever_was_observed(a in integer(), b in integer(), c in float()) {
        let (a_bytes, b_bytes, c_bytes) = (encoded(&a), encoded(&b), encoded(&c));
        let checked = |bytes| EncodedHistogram::new(bytes).expect("valid");
        let shape = |histogram: &NativeHistogram| match histogram {
            NativeHistogram::Integer(h) if !h.is_stale() => Some((h.schema, h.zero_threshold.to_bits())),
            _ => None,
        };
        let same = shape(&a).is_some() && shape(&a) == shape(&b);
        prop_assert_eq!(checked(&a_bytes).has_shape_of(&checked(&b_bytes)), same);
        prop_assert!(!checked(&a_bytes).has_shape_of(&checked(&c_bytes)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, head in 0x10u8..0x20, schema in -5i8..10) {
        let _ = NativeHistogram::decode(&bytes);
        if bytes.len() > 2 {
            (bytes[0], bytes[1]) = (head, schema as u8);
        }
        let decoded = NativeHistogram::decode(&bytes);
        prop_assert_eq!(EncodedHistogram::new(&bytes).is_ok(), decoded.is_ok());
    }
}

#[test]
fn a_typical_histogram_takes_few_bytes() {
    let counts: [i64; 12] = [3, 4, 9, 20, 41, 80, 77, 30, 12, 7, 2, 1];
    let deltas: Vec<i64> =
        counts.iter().scan(0, |b, c| Some(c - std::mem::replace(b, *c))).collect();
    let sent = SpannedHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 3,
        zero_threshold: 2.938_735_877_055_719e-39,
        sum: 1.25,
        counts: SpannedCounts::Integer {
            count: counts.iter().sum::<i64>() as u64,
            zero_count: 0,
            positive_deltas: &deltas,
            negative_deltas: &[],
        },
        positive_spans: &[Span { offset: -20, length: 12 }],
        negative_spans: &[],
        custom_values: &[],
    };
    let bytes = encoded(&NativeHistogram::from_spans(&sent).expect("valid"));
    // Head 1, schema 1, threshold 1, sum 8, count 2, zero count 1, buckets 3 + 12, none 1.
    assert_eq!(bytes.len(), 30);
}

#[test]
fn a_marker_is_one_byte_of_its_kind() {
    for (is_float, byte) in [(false, 0x12), (true, 0x13)] {
        let marker = NativeHistogram::stale_marker(is_float);
        assert_eq!(encoded(&marker), [byte]);
        let decoded = NativeHistogram::decode(&[byte]).expect("valid");
        assert!(decoded.is_stale() && decoded.is_float() == is_float);
    }
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let error = EncodedHistogram::new(&[0x22]).expect_err("newer").to_string();
    assert_eq!(error, "malformed version, unknown to this program, of a histogram");
}
