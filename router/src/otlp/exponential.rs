//! Exponential histograms as native ones: the same buckets, counted from one further up.

use narthex_model::{
    CounterResetHint, NativeHistogram,
    histogram::{InvalidHistogram, Span, SpannedCounts, SpannedHistogram},
};
use narthex_proto::{
    batch::Point,
    opentelemetry::proto::metrics::v1::{
        ExponentialHistogramDataPoint, exponential_histogram_data_point::Buckets,
    },
};

use super::{Family, SeriesOf, exemplars::Exemplars, points::is_stale, timestamp};

/// Of a sender that says nothing, as Prometheus assumes it.
const ZERO_THRESHOLD: f64 = 1e-128;

pub fn add(
    points: &[ExponentialHistogramDataPoint],
    family: &Family<'_>,
    series: &mut SeriesOf<'_, '_>,
) {
    for point in points {
        let labels = family.labels(&point.attributes);
        series.add(&family.name, &labels, None, |series| {
            series.push_histogram(Point {
                timestamp: timestamp(point.time_unix_nano),
                start: timestamp(point.start_time_unix_nano),
                value: native(point),
            });
            Exemplars::of(&point.exemplars).push_rest(series);
            series.metadata = Some(family.metadata);
        });
    }
}

/// Nothing is said about resets: that a start differs does not mean that a count is lower.
fn native(point: &ExponentialHistogramDataPoint) -> Result<NativeHistogram, InvalidHistogram> {
    if is_stale(point.flags) {
        return Ok(NativeHistogram::stale_marker(false));
    }
    let (positive_spans, positive_deltas) = buckets(point.positive.as_ref())?;
    let (negative_spans, negative_deltas) = buckets(point.negative.as_ref())?;
    NativeHistogram::from_spans(&SpannedHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: point.scale,
        zero_threshold: if point.zero_threshold > 0.0 {
            point.zero_threshold
        } else {
            ZERO_THRESHOLD
        },
        sum: point.sum.unwrap_or(0.0),
        counts: SpannedCounts::Integer {
            count: point.count,
            zero_count: point.zero_count,
            positive_deltas: &positive_deltas,
            negative_deltas: &negative_deltas,
        },
        positive_spans: &positive_spans,
        negative_spans: &negative_spans,
        custom_values: &[],
    })
}

/// OTLP's bucket i lies above the i-th bound, a native one below it.
fn buckets(sent: Option<&Buckets>) -> Result<(Vec<Span>, Vec<i64>), InvalidHistogram> {
    let Some(Buckets { offset, bucket_counts }) = sent.filter(|it| !it.bucket_counts.is_empty())
    else {
        return Ok((Vec::new(), Vec::new()));
    };
    let offset = offset.checked_add(1).ok_or(InvalidHistogram::BucketIndex)?;
    let length = u32::try_from(bucket_counts.len());
    let length = length.map_err(|_| InvalidHistogram::TooManyBuckets)?;
    let mut before = 0;
    let mut deltas = Vec::with_capacity(bucket_counts.len());
    for count in bucket_counts {
        let count = i64::try_from(*count).map_err(|_| InvalidHistogram::CountOverflow)?;
        deltas.push(count - before);
        before = count;
    }
    Ok((vec![Span { offset, length }], deltas))
}

#[cfg(test)]
mod tests {
    use narthex_model::histogram::Bucket;

    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            count: counts.iter().sum::<u64>() + 2,
            sum: Some(5.0),
            scale,
            zero_count: 2,
            positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
            ..ExponentialHistogramDataPoint::default()
        }
    }

    #[test]
    fn buckets_are_counted_from_one_further_up() {
        let Ok(NativeHistogram::Integer(got)) = native(&point(1, -2, &[4, 0, 1])) else {
            panic!("an integer histogram")
        };
        let want = [Bucket { index: -1, count: 4 }, Bucket { index: 1, count: 1 }];
        assert_eq!((got.schema, &got.positive[..]), (1, &want[..]));
        assert_eq!((got.count, got.zero_count, got.zero_threshold), (7, 2, ZERO_THRESHOLD));
        let wide = ExponentialHistogramDataPoint { zero_threshold: 0.5, ..point(1, 0, &[1]) };
        assert!(
            matches!(native(&wide), Ok(NativeHistogram::Integer(it)) if it.zero_threshold == 0.5)
        );
    }

    #[test]
    fn what_is_too_fine_is_merged_and_what_is_too_coarse_refused() {
        let Ok(NativeHistogram::Integer(got)) = native(&point(9, 0, &[1, 2, 3])) else {
            panic!("an integer histogram")
        };
        // Bounds 1 and 2 of scale 9 make bound 1 of schema 8.
        let want = [Bucket { index: 1, count: 3 }, Bucket { index: 2, count: 3 }];
        assert_eq!((got.schema, &got.positive[..]), (8, &want[..]));
        assert_eq!(native(&point(-5, 0, &[1])), Err(InvalidHistogram::Schema(-5)));
        assert_eq!(native(&point(0, i32::MAX, &[1])), Err(InvalidHistogram::BucketIndex));
        assert_eq!(native(&point(0, 0, &[u64::MAX - 2])), Err(InvalidHistogram::CountOverflow));
        let stale = ExponentialHistogramDataPoint { flags: 1, ..point(-5, 0, &[1]) };
        assert!(native(&stale).is_ok_and(|it| it.is_stale()));
    }
}
