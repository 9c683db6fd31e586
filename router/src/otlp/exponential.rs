//! Exponential histograms.

use narthex_proto::opentelemetry::proto::metrics::v1::ExponentialHistogramDataPoint;

use super::{Family, SeriesOf};
use crate::split::RefuseReason;

pub fn add(
    points: &[ExponentialHistogramDataPoint],
    family: &Family<'_>,
    series: &mut SeriesOf<'_, '_>,
) {
    series.refuse(RefuseReason::NativeHistogram, points.len(), || family.name.clone());
}
