//! Chunks of native histograms.
//!
//! ```text
//! chunk  := samples u16, flags u8, layout, samples
//! layout := zero threshold, schema int, spans, spans,
//!           bounds, only of schema −53                   positive spans first
//! spans  := count uint { length uint, offset int }
//! bounds := count uint { uint n > 0: (n − 1) / 1000 | 0, 64 bits }
//! zero threshold := 0 | 1 to 254: 2^(n − 244) | 255, 64 bits
//! sample := time int, count uint, zero count uint, sum, { bucket int }       the first one
//!         | the same as changes of their steps, all int, and sum as in chunks of floats
//!         | time, count, zero count, sum, { bucket }     of float histograms: times as above,
//!                                                        all others as in chunks of floats
//! ```
//!
//! Whole buckets are told as differences to the bucket before. A staleness marker has its sum and
//! nothing behind that. The layout has every bucket that any histogram of the chunk has.

use std::collections::BTreeSet;

use narthex_model::{
    CounterResetHint, FloatHistogram,
    histogram::{Bucket, Span, spans_of_buckets},
};

use super::bits::{Bits, Xored};

const GAUGE: u8 = 0b1100_0000;
const RESET: u8 = 0b1000_0000;
/// Whole numbers up to here are the same as floats and as integers.
const WHOLE_MAX: f64 = (1u64 << 53) as f64;
/// Powers of two that a zero threshold may be to be told in a byte, which is this much more.
const THRESHOLD_POWERS: std::ops::RangeInclusive<i32> = -243..=10;
const THRESHOLD_BIAS: i32 = 244;
/// Thousandths of a bound that are told as a number.
const BOUND_MAX: f64 = 33_554_430.0;

/// How counts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// As integers.
    Whole,
    /// As floats.
    Float,
}

/// Whether all counts of a histogram are whole numbers.
pub fn is_whole(histogram: &FloatHistogram) -> bool {
    let buckets = histogram.positive.iter().chain(&histogram.negative).map(|it| it.count);
    let mut counts = buckets.chain([histogram.count, histogram.zero_count]);
    counts.all(|count| (0.0..=WHOLE_MAX).contains(&count) && count.fract() == 0.0)
}

/// Whether a histogram may follow another one in a chunk.
pub fn goes_on(before: &FloatHistogram, next: &FloatHistogram) -> bool {
    if before.is_stale() || next.is_stale() {
        return next.is_stale();
    }
    let is_gauge = |it: &FloatHistogram| it.counter_reset_hint == CounterResetHint::Gauge;
    let same_layout = before.schema == next.schema
        && before.zero_threshold.to_bits() == next.zero_threshold.to_bits()
        && before.custom_values == next.custom_values;
    let is_reset =
        || next.counter_reset_hint == CounterResetHint::Reset || next.is_reset_from(before);
    same_layout && is_gauge(before) == is_gauge(next) && (is_gauge(next) || !is_reset())
}

/// Encodes histograms that [`goes_on`] lets follow each other, at least one and at most
/// `u16::MAX`, with their times.
pub fn encode(times: &[i64], histograms: &[&FloatHistogram], counts: Counts) -> Vec<u8> {
    let mut bits = Bits::default();
    let first = histograms[0];
    bits.put(times.len() as u64, 16);
    bits.put(flags(first).into(), 8);
    let layout = Layout::of(histograms);
    layout.put(first, &mut bits);
    match counts {
        Counts::Whole => put_whole(times, histograms, &layout, &mut bits),
        Counts::Float => put_floats(times, histograms, &layout, &mut bits),
    }
    bits.into_bytes()
}

fn flags(first: &FloatHistogram) -> u8 {
    match first.counter_reset_hint {
        CounterResetHint::Gauge => GAUGE,
        CounterResetHint::Reset => RESET,
        CounterResetHint::Unknown | CounterResetHint::NotReset => 0,
    }
}

/// The buckets of a chunk.
struct Layout {
    positive: Vec<i32>,
    negative: Vec<i32>,
}

impl Layout {
    fn of(histograms: &[&FloatHistogram]) -> Self {
        let indexes = |buckets: fn(&FloatHistogram) -> &[Bucket]| {
            let all = histograms.iter().flat_map(|it| buckets(it)).map(|bucket| bucket.index);
            all.collect::<BTreeSet<i32>>().into_iter().collect()
        };
        Self { positive: indexes(|it| &it.positive), negative: indexes(|it| &it.negative) }
    }

    fn put(&self, first: &FloatHistogram, out: &mut Bits) {
        put_threshold(first.zero_threshold, out);
        out.int(first.schema.into());
        put_spans(&self.positive, out);
        put_spans(&self.negative, out);
        if first.uses_custom_buckets() {
            out.uint(first.custom_values.len() as u64);
            first.custom_values.iter().for_each(|bound| put_bound(*bound, out));
        }
    }

    /// The counts of all buckets, those first that are positive.
    fn counts(&self, histogram: &FloatHistogram) -> Vec<f64> {
        let mut counts = spread(&self.positive, &histogram.positive);
        counts.extend(spread(&self.negative, &histogram.negative));
        counts
    }

    /// The same as differences to the bucket before.
    fn differences(&self, histogram: &FloatHistogram) -> Vec<i64> {
        let mut differences = Vec::with_capacity(self.positive.len() + self.negative.len());
        for (indexes, buckets) in
            [(&self.positive, &histogram.positive), (&self.negative, &histogram.negative)]
        {
            let mut before = 0;
            differences.extend(spread(indexes, buckets).into_iter().map(|count| {
                let difference = count as i64 - before;
                before = count as i64;
                difference
            }));
        }
        differences
    }
}

fn spread(indexes: &[i32], buckets: &[Bucket]) -> Vec<f64> {
    let mut buckets = buckets.iter().peekable();
    let count = |index: &i32| {
        buckets.next_if(|bucket| bucket.index == *index).map_or(0.0, |bucket| bucket.count)
    };
    indexes.iter().map(count).collect()
}

fn put_threshold(threshold: f64, out: &mut Bits) {
    let power = power_of(threshold).filter(|power| THRESHOLD_POWERS.contains(power));
    match (threshold == 0.0, power) {
        (true, _) => out.put(0, 8),
        (false, Some(power)) => out.put((power + THRESHOLD_BIAS) as u64, 8),
        (false, None) => out.put(255, 8).put(threshold.to_bits(), 64),
    };
}

/// The power of two that a number is, if it is one.
fn power_of(number: f64) -> Option<i32> {
    let bits = number.to_bits();
    let exponent = (bits >> 52) as i32;
    let is_power = bits & ((1 << 52) - 1) == 0 && (1..0x7ff).contains(&exponent);
    is_power.then_some(exponent - 1023)
}

fn put_spans(indexes: &[i32], out: &mut Bits) {
    let bucket = |index: &i32| Bucket { index: *index, count: 0.0 };
    let spans = spans_of_buckets(&indexes.iter().map(bucket).collect::<Vec<_>>());
    out.uint(spans.len() as u64);
    for Span { offset, length } in spans {
        out.uint(length.into()).int(offset.into());
    }
}

fn put_bound(bound: f64, out: &mut Bits) {
    let thousandths = (bound * 1000.0).round();
    let is_number = (0.0..=BOUND_MAX).contains(&(bound * 1000.0)) && thousandths / 1000.0 == bound;
    match is_number && !bound.is_sign_negative() {
        true => out.uint(thousandths as u64 + 1),
        false => out.put(0, 1).put(bound.to_bits(), 64),
    };
}

/// An integer that is written as the change of its step.
#[derive(Debug, Clone, Copy, Default)]
struct Stepped {
    value: i64,
    step: i64,
}

impl Stepped {
    fn first(value: i64) -> Self {
        Self { value, step: 0 }
    }

    fn next(&mut self, value: i64, out: &mut Bits) {
        let step = value.wrapping_sub(self.value);
        out.int(step.wrapping_sub(self.step));
        *self = Self { value, step };
    }
}

fn put_whole(times: &[i64], histograms: &[&FloatHistogram], layout: &Layout, out: &mut Bits) {
    let first = histograms[0];
    out.int(times[0]).uint(first.count as u64).uint(first.zero_count as u64);
    let mut time = Stepped::first(times[0]);
    let mut count = Stepped::first(first.count as i64);
    let mut zero_count = Stepped::first(first.zero_count as i64);
    let mut sum = Xored::first(first.sum, out);
    let differences = layout.differences(first);
    for difference in &differences {
        out.int(*difference);
    }
    let mut buckets: Vec<Stepped> = differences.into_iter().map(Stepped::first).collect();
    for (at, histogram) in times.iter().zip(histograms).skip(1) {
        time.next(*at, out);
        count.next(histogram.count as i64, out);
        zero_count.next(histogram.zero_count as i64, out);
        sum.next(histogram.sum, out);
        if !histogram.is_stale() {
            for (bucket, difference) in buckets.iter_mut().zip(layout.differences(histogram)) {
                bucket.next(difference, out);
            }
        }
    }
}

fn put_floats(times: &[i64], histograms: &[&FloatHistogram], layout: &Layout, out: &mut Bits) {
    let first = histograms[0];
    out.int(times[0]);
    let mut time = Stepped::first(times[0]);
    let mut count = Xored::first(first.count, out);
    let mut zero_count = Xored::first(first.zero_count, out);
    let mut sum = Xored::first(first.sum, out);
    let mut buckets: Vec<Xored> =
        layout.counts(first).into_iter().map(|it| Xored::first(it, out)).collect();
    for (at, histogram) in times.iter().zip(histograms).skip(1) {
        time.next(*at, out);
        count.next(histogram.count, out);
        zero_count.next(histogram.zero_count, out);
        sum.next(histogram.sum, out);
        if !histogram.is_stale() {
            for (bucket, count) in buckets.iter_mut().zip(layout.counts(histogram)) {
                bucket.next(count, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_and_bounds_are_short_where_they_can_be() {
        let bytes = |put: fn(f64, &mut Bits), value: f64| {
            let mut bits = Bits::default();
            put(value, &mut bits);
            bits.into_bytes()
        };
        assert_eq!(bytes(put_threshold, 0.0), [0]);
        assert_eq!(bytes(put_threshold, 2f64.powi(-128)), [116]);
        assert_eq!(bytes(put_threshold, 2f64.powi(10)), [254]);
        assert_eq!(bytes(put_threshold, 2f64.powi(11)).len(), 9);
        assert_eq!(bytes(put_threshold, 0.3).len(), 9);
        // 501 in nine bits behind three ones and a zero; what is no whole thousandth in full.
        assert_eq!(bytes(put_bound, 0.5), [0b1110_1111, 0b1010_1000]);
        assert_eq!(bytes(put_bound, -0.5).len(), 9);
        assert_eq!(bytes(put_bound, 1e9).len(), 9);
        assert_eq!(bytes(put_bound, 0.0001).len(), 9);
    }
}
