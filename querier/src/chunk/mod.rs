//! Samples in the chunks of Prometheus's own storage, as remote read streams them.
//!
//! ```text
//! xor        := samples u16, first time varint, first value 64 bits,
//!               second step uvarint, value, { change of step, value }
//! histograms := samples u16, flags u8, layout, samples          see `histogram`
//! ```
//!
//! Invariants
//! * a chunk holds 1 to [`SAMPLES_MAX`] samples of one kind, in order of time;
//! * no counter is reset within a chunk: readers compare only the first histogram of one;
//! * floats are kept as their bits, staleness markers with them.
//!
//! The importer of the program reads the same chunks and is tested against what is written here.

mod bits;
mod histogram;
mod xor;

use narthex_model::FloatHistogram;
use narthex_promql::SampleBuffer;

use self::histogram::Counts;

/// Samples of a chunk, as Prometheus cuts them.
pub const SAMPLES_MAX: usize = 120;

/// How a chunk's bytes are to be read, by Prometheus's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Floats.
    Xor = 1,
    /// Histograms with whole counts.
    Histogram = 2,
    /// Histograms whose counts may be fractions.
    FloatHistogram = 3,
}

/// Some samples of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// What the bytes are.
    pub encoding: Encoding,
    /// The first sample's time, in milliseconds since the epoch.
    pub start_ms: i64,
    /// The last sample's time.
    pub end_ms: i64,
    /// The samples.
    pub bytes: Vec<u8>,
}

/// The samples of a series in chunks.
pub fn chunks(samples: &SampleBuffer) -> impl Iterator<Item = Chunk> + '_ {
    // One kind for all of a series: results of rules are whole numbers now and then.
    let are_whole = samples.histograms().iter().flatten().all(|it| histogram::is_whole(it));
    let mut from = 0;
    std::iter::from_fn(move || {
        let start_ms = *samples.timestamps().get(from)?;
        let to = end_of_chunk(samples, from);
        let times = &samples.timestamps()[from..to];
        let end_ms = samples.timestamps()[to - 1];
        let (encoding, bytes) = match samples.histogram(from) {
            None => (Encoding::Xor, xor::encode(times, &samples.values()[from..to])),
            Some(_) => {
                let run = histograms(samples, from, to);
                match are_whole {
                    true => (Encoding::Histogram, histogram::encode(times, &run, Counts::Whole)),
                    false => {
                        (Encoding::FloatHistogram, histogram::encode(times, &run, Counts::Float))
                    }
                }
            }
        };
        from = to;
        Some(Chunk { encoding, start_ms, end_ms, bytes })
    })
}

fn histograms(samples: &SampleBuffer, from: usize, to: usize) -> Vec<&FloatHistogram> {
    (from..to).filter_map(|at| samples.histogram(at)).map(std::sync::Arc::as_ref).collect()
}

/// Where the chunk that begins at `from` ends.
fn end_of_chunk(samples: &SampleBuffer, from: usize) -> usize {
    let goes_on = |at: &usize| match (samples.histogram(at - 1), samples.histogram(*at)) {
        (None, None) => true,
        (Some(before), Some(next)) => histogram::goes_on(before, next),
        _ => false,
    };
    let last = samples.len().min(from + SAMPLES_MAX);
    from + 1 + (from + 1..last).take_while(goes_on).count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use narthex_model::{CounterResetHint, stale_nan};

    use super::*;

    fn shape(samples: &SampleBuffer) -> Vec<(Encoding, i64, i64)> {
        chunks(samples).map(|chunk| (chunk.encoding, chunk.start_ms, chunk.end_ms)).collect()
    }

    #[test]
    fn floats_are_cut_at_120() {
        let mut samples = SampleBuffer::new();
        (0..250).for_each(|at| samples.push_float(at, 0.5));
        let xor = Encoding::Xor;
        assert_eq!(shape(&samples), [(xor, 0, 119), (xor, 120, 239), (xor, 240, 249)]);
        assert!(shape(&SampleBuffer::new()).is_empty());
    }

    #[test]
    fn what_does_not_go_together_is_cut() {
        let parse = |text: &str| FloatHistogram::parse_test_expression(text).expect("valid");
        let mut samples = SampleBuffer::new();
        let mut push = |time, text: &str| samples.push_histogram(time, Arc::new(parse(text)));
        push(1, "{{schema:0 count:3 sum:4 buckets:[1 2]}}");
        push(2, "{{schema:0 count:5 sum:4 buckets:[1 2 2]}}");
        // A reset, another schema, a gauge, custom bounds.
        push(3, "{{schema:0 count:4 sum:4 buckets:[1 2 1]}}");
        push(4, "{{schema:-1 count:4 sum:4 buckets:[4]}}");
        push(5, "{{schema:-1 count:4 sum:4 buckets:[4] counter_reset_hint:gauge}}");
        push(6, "{{schema:-53 count:4 sum:4 custom_values:[1] buckets:[4]}}");
        // A marker ends what it follows, and nothing but markers follow it.
        let marker = FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() };
        samples.push_histogram(7, Arc::new(marker));
        samples.push_histogram(8, Arc::new(parse("{{schema:-53 count:4 custom_values:[1]}}")));
        samples.push_float(9, 1.0);
        let whole = Encoding::Histogram;
        let expected = [
            (whole, 1, 2),
            (whole, 3, 3),
            (whole, 4, 4),
            (whole, 5, 5),
            (whole, 6, 7),
            (whole, 8, 8),
            (Encoding::Xor, 9, 9),
        ];
        assert_eq!(shape(&samples), expected);
        let mut fraction = parse("{{schema:-53 count:4.5 custom_values:[1]}}");
        fraction.counter_reset_hint = CounterResetHint::Reset;
        samples.push_histogram(10, Arc::new(fraction));
        assert!(shape(&samples).iter().all(|(encoding, ..)| *encoding != whole));
    }
}
