//! Classic and native histograms in one vector, for quantiles and fractions.

use std::collections::HashMap;

use narthex_model::{FloatHistogram, Labels, is_stale, quote};

use super::quantile::{ClassicBucket, ClassicHistogram};
use crate::{
    annotations::for_metric,
    eval::{EvalError, Grid},
    value::{Column, Series},
};

/// The label with a classic bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// One histogram at one step.
pub(crate) enum AnyHistogram<'a> {
    Classic(ClassicHistogram),
    Native(&'a FloatHistogram),
}

/// A histogram of either kind over all steps.
struct Group<'v> {
    labels: Labels,
    drop_name: bool,
    /// Bounds and counts.
    buckets: Vec<(f64, &'v Column)>,
    native: Option<&'v Column>,
}

/// The histograms in a vector.
pub(crate) struct Histograms<'v> {
    groups: Vec<Group<'v>>,
}

impl<'v> Histograms<'v> {
    /// Gathers the buckets of each classic histogram. A bucket without a bound is left out with a
    /// warning.
    pub fn gather(vector: &'v [Series], mut warn: impl FnMut(String)) -> Self {
        let mut histograms = Self { groups: Vec::new() };
        let mut places: HashMap<Labels, usize> = HashMap::new();
        for series in vector {
            if series.column.has_histograms() {
                let group = histograms.group(&mut places, series.labels.clone(), series);
                group.native = Some(&series.column);
            }
            if series.column.floats().iter().all(|value| is_stale(*value)) {
                continue;
            }
            let bound = series.labels.value(BUCKET_LABEL);
            let Ok(bound) = bound.parse::<f64>() else {
                warn(bad_bucket(&series.labels, bound));
                continue;
            };
            let labels = series.labels.filtered(|name| name != BUCKET_LABEL);
            let group = histograms.group(&mut places, labels, series);
            group.buckets.push((bound, &series.column));
        }
        histograms
    }

    fn group(
        &mut self,
        places: &mut HashMap<Labels, usize>,
        labels: Labels,
        series: &Series,
    ) -> &mut Group<'v> {
        let groups = &mut self.groups;
        let at = *places.entry(labels.clone()).or_insert_with(|| {
            let drop_name = series.drop_name;
            groups.push(Group { labels, drop_name, buckets: Vec::new(), native: None });
            groups.len() - 1
        });
        &mut groups[at]
    }

    /// Makes one series per histogram. `value` gets the labels with the metric's name, the step,
    /// and the histogram; `warn` gets warnings.
    pub fn map(
        &self,
        grid: Grid,
        mut value: impl FnMut(&Labels, usize, AnyHistogram<'_>) -> f64,
        mut warn: impl FnMut(String),
    ) -> Result<Vec<Series>, EvalError> {
        let mut result = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let mut column = Column::absent(grid.len);
            for step in 0..grid.len {
                let native = group.native.and_then(|column| column.histogram(step));
                let buckets = group.buckets_at(step);
                let found = match (native, buckets.is_empty()) {
                    (Some(_), false) => {
                        let metric = group.labels.metric_name().unwrap_or("");
                        warn(for_metric(
                            "vector contains a mix of classic and native histograms",
                            metric,
                        ));
                        continue;
                    }
                    (Some(native), true) => {
                        value(&group.labels, step, AnyHistogram::Native(native))
                    }
                    (None, true) => continue,
                    (None, false) => {
                        let histogram = AnyHistogram::Classic(ClassicHistogram::new(buckets));
                        value(&group.labels, step, histogram)
                    }
                };
                column.set_float(step, found);
            }
            if column.has_samples() {
                let labels = group.labels.filtered(|name| name != BUCKET_LABEL);
                result.push(Series { labels, drop_name: group.drop_name, column });
            }
        }
        Ok(result)
    }
}

impl Group<'_> {
    fn buckets_at(&self, step: usize) -> Vec<ClassicBucket> {
        let bucket = |(bound, column): &(f64, &Column)| {
            column.float(step).map(|count| ClassicBucket { bound: *bound, count })
        };
        self.buckets.iter().filter_map(bucket).collect()
    }
}

fn bad_bucket(labels: &Labels, bound: &str) -> String {
    let message =
        format!("bucket label \"le\" is missing or has a malformed value of {}", quote(bound));
    for_metric(&message, labels.metric_name().unwrap_or(""))
}
