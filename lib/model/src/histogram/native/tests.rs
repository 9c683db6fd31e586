use super::*;

const SENT: SpannedHistogram<'static> = SpannedHistogram {
    counter_reset_hint: CounterResetHint::Unknown,
    schema: 0,
    zero_threshold: 0.25,
    sum: 9.5,
    counts: SpannedCounts::Integer {
        count: 9,
        zero_count: 2,
        positive_deltas: &[1, 2, -3, 1],
        negative_deltas: &[2],
    },
    positive_spans: &[Span { offset: -1, length: 2 }, Span { offset: 3, length: 2 }],
    negative_spans: &[Span { offset: 5, length: 1 }],
    custom_values: &[],
};

const CUSTOM: SpannedHistogram<'static> = SpannedHistogram {
    schema: CUSTOM_BUCKETS_SCHEMA,
    zero_threshold: 0.0,
    counts: SpannedCounts::Integer {
        count: 5,
        zero_count: 0,
        positive_deltas: &[2, 1],
        negative_deltas: &[],
    },
    positive_spans: &[Span { offset: 1, length: 2 }],
    negative_spans: &[],
    custom_values: &[1.0, 2.5],
    ..SENT
};

fn error(sent: &SpannedHistogram<'_>) -> InvalidHistogram {
    NativeHistogram::from_spans(sent).expect_err("invalid")
}

fn counted(count: u64, positive_deltas: &[i64]) -> SpannedCounts<'_> {
    SpannedCounts::Integer { count, zero_count: 2, positive_deltas, negative_deltas: &[2] }
}

#[test]
fn spans_become_populated_buckets() {
    let NativeHistogram::Integer(kept) = NativeHistogram::from_spans(&SENT).expect("valid") else {
        panic!("integers were sent");
    };
    let bucket = |index, count| Bucket { index, count };
    assert_eq!(kept.positive, [bucket(-1, 1), bucket(0, 3), bucket(5, 1)]);
    assert_eq!(kept.negative, [bucket(5, 2)]);
    let NativeHistogram::Integer(kept) = NativeHistogram::from_spans(&CUSTOM).expect("valid")
    else {
        panic!("integers were sent");
    };
    assert_eq!(kept.positive, [bucket(1, 2), bucket(2, 3)]);
    assert_eq!(*kept.custom_values, [1.0, 2.5]);
}

#[test]
fn counts_must_add_up_unless_nan_was_observed() {
    let fewer = SpannedHistogram { counts: counted(8, &[1, 2, -3, 1]), ..SENT };
    assert_eq!(error(&fewer), InvalidHistogram::CountMismatch);
    assert_eq!(
        error(&SpannedHistogram { sum: f64::NAN, ..fewer }),
        InvalidHistogram::CountTooSmall
    );
    let more = SpannedHistogram { counts: counted(10, &[1, 2, -3, 1]), ..SENT };
    assert_eq!(error(&more), InvalidHistogram::CountMismatch);
    assert!(NativeHistogram::from_spans(&SpannedHistogram { sum: f64::NAN, ..more }).is_ok());
}

#[test]
fn spans_and_counts_must_go_together() {
    let mismatch = SpannedHistogram { counts: counted(9, &[1, 2, -3]), ..SENT };
    assert_eq!(error(&mismatch), InvalidHistogram::SpanMismatch { spans: 4, counts: 3 });
    let back = [Span { offset: -1, length: 2 }, Span { offset: -1, length: 2 }];
    let back = SpannedHistogram { positive_spans: &back, ..SENT };
    assert_eq!(error(&back), InvalidHistogram::NegativeOffset);
    let huge = [Span { offset: i32::MAX, length: 2 }, Span { offset: i32::MAX, length: 2 }];
    let huge = SpannedHistogram { positive_spans: &huge, ..SENT };
    assert_eq!(error(&huge), InvalidHistogram::BucketIndex);
}

#[test]
fn counts_stay_numbers_of_observations() {
    let below = SpannedHistogram { counts: counted(9, &[1, 2, -4, 2]), ..SENT };
    assert_eq!(error(&below), InvalidHistogram::NegativeCount);
    let beyond = SpannedHistogram { counts: counted(9, &[i64::MAX, 1, 0, 0]), ..SENT };
    assert_eq!(error(&beyond), InvalidHistogram::CountOverflow);
    let floats = SpannedCounts::Float {
        count: 1.0,
        zero_count: 0.0,
        positive: &[1.0, 0.0, -1.0, 2.0],
        negative: &[0.5],
    };
    let floats = SpannedHistogram { counts: floats, ..SENT };
    assert_eq!(error(&floats), InvalidHistogram::NegativeCount);
}

#[test]
fn schemas_and_bounds_must_go_together() {
    let unknown = [-5, 53, -52].map(|schema| error(&SpannedHistogram { schema, ..SENT }));
    assert_eq!(unknown, [-5, 53, -52].map(InvalidHistogram::Schema));
    let bounds = SpannedHistogram { custom_values: &[1.0], ..SENT };
    assert_eq!(error(&bounds), InvalidHistogram::ExponentialCustomBounds);
    let with = |custom_values| error(&SpannedHistogram { custom_values, ..CUSTOM });
    assert_eq!(with(&[1.0]), InvalidHistogram::TooFewBounds);
    assert_eq!(with(&[2.0, 2.0]), InvalidHistogram::BoundOrder);
    assert_eq!(with(&[2.0, f64::INFINITY]), InvalidHistogram::BoundInfinite);
    assert_eq!(with(&[2.0, f64::NAN]), InvalidHistogram::BoundNan);
    assert_eq!(
        error(&SpannedHistogram { zero_threshold: 0.5, ..CUSTOM }),
        InvalidHistogram::CustomZeroThreshold
    );
    let zero = SpannedHistogram { counts: counted(9, &[2, 1]), ..CUSTOM };
    assert_eq!(error(&zero), InvalidHistogram::CustomZeroCount);
    let negative = SpannedHistogram { negative_spans: SENT.negative_spans, ..CUSTOM };
    assert_eq!(error(&negative), InvalidHistogram::CustomNegativeBuckets);
}

#[test]
fn a_schema_finer_than_kept_is_reduced() {
    let sent = SpannedHistogram { schema: 10, ..SENT };
    let NativeHistogram::Integer(kept) = NativeHistogram::from_spans(&sent).expect("valid") else {
        panic!("integers were sent");
    };
    // Indexes -1, 0 and 5 by fours become 0, 0 and 2.
    let bucket = |index, count| Bucket { index, count };
    assert_eq!((kept.schema, kept.positive), (8, vec![bucket(0, 4), bucket(2, 1)]));
}

#[test]
fn a_marker_needs_nothing_but_its_sum() {
    let sent = SpannedHistogram { sum: crate::stale_nan(), schema: 77, ..SENT };
    let marker = NativeHistogram::from_spans(&sent).expect("valid");
    assert!(marker.is_stale() && !marker.is_float());
}
