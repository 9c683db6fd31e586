//! Samples of every kind, as the model keeps them.

use narthex_model::{
    CounterResetHint, NativeHistogram, STALE_NAN_BITS,
    histogram::{
        Bucket, CUSTOM_BUCKETS_SCHEMA, EncodedHistogram, Histogram, Span, SpannedCounts,
        SpannedHistogram,
    },
};
use narthex_tsdb::{
    Columns,
    entry::{RowOwner, SampleBlock, SampleTimes},
};

/// A value, compared by its bits: floats by theirs, histograms by their encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellValue {
    Float(u64),
    Histogram(Vec<u8>),
}

/// A sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub value: CellValue,
    /// 0 if unknown.
    pub start: i64,
}

impl Cell {
    pub fn float(bits: u64) -> Self {
        Self { value: CellValue::Float(bits), start: 0 }
    }

    pub fn float_marker() -> Self {
        Self::float(STALE_NAN_BITS)
    }

    pub fn is_float_marker(&self) -> bool {
        self.value == CellValue::Float(STALE_NAN_BITS)
    }

    pub fn is_stale(&self) -> bool {
        match &self.value {
            CellValue::Float(bits) => *bits == STALE_NAN_BITS,
            CellValue::Histogram(bytes) => EncodedHistogram::new(bytes).expect("valid").is_stale(),
        }
    }

    /// The staleness marker that may follow this sample.
    pub fn marker_behind(&self) -> CellValue {
        match &self.value {
            CellValue::Float(_) => CellValue::Float(STALE_NAN_BITS),
            CellValue::Histogram(bytes) => {
                let is_float = EncodedHistogram::new(bytes).expect("valid").is_float();
                CellValue::Histogram(encoded(&NativeHistogram::stale_marker(is_float)))
            }
        }
    }
}

/// What a test appends beside plain floats.
#[derive(Debug, Clone)]
pub enum RichValue {
    Float(u64),
    /// An integer histogram.
    Integer {
        schema: i32,
        seed: u64,
    },
    /// A float histogram with custom bounds.
    Custom {
        bounds: u8,
        seed: u64,
    },
    Marker(bool),
}

impl RichValue {
    /// The value of a later round: counters rise.
    pub fn later(&self, round: u64) -> Self {
        match *self {
            Self::Integer { schema, seed } => {
                let seed = seed / 2 + round * (1 + seed % 1000);
                Self::Integer { schema, seed }
            }
            Self::Custom { bounds, seed } => Self::Custom { bounds, seed: seed / 2 + round },
            Self::Float(bits) => Self::Float(bits.wrapping_add(round % 3)),
            Self::Marker(is_float) => Self::Marker(is_float),
        }
    }

    fn histogram(&self) -> Option<NativeHistogram> {
        match *self {
            Self::Float(_) => None,
            Self::Marker(is_float) => Some(NativeHistogram::stale_marker(is_float)),
            Self::Integer { schema, seed } => Some(integer(schema, seed)),
            Self::Custom { bounds, seed } => Some(custom(bounds, seed)),
        }
    }

    pub fn push(&self, block: &mut SampleBlock, owner: RowOwner, times: SampleTimes) {
        match (self, self.histogram()) {
            (_, Some(histogram)) => {
                let bytes = encoded(&histogram);
                let histogram = EncodedHistogram::new(&bytes).expect("valid");
                block.push_histogram(owner, times, &histogram);
            }
            (Self::Float(bits), None) => block.push_started(owner, times, f64::from_bits(*bits)),
            _ => unreachable!("whatever is no float is a histogram"),
        }
    }

    pub fn cell(&self) -> CellValue {
        match (self, self.histogram()) {
            (_, Some(histogram)) => CellValue::Histogram(encoded(&histogram)),
            (Self::Float(bits), None) => CellValue::Float(*bits),
            _ => unreachable!("whatever is no float is a histogram"),
        }
    }
}

fn integer(schema: i32, seed: u64) -> NativeHistogram {
    let counts = [seed % 3, seed % 1000, 0, seed >> 3, seed % 7];
    let (mut before, mut deltas) = (0, Vec::new());
    for count in counts {
        let count = (count & 0xffff_ffff) as i64;
        deltas.push(count - before);
        before = count;
    }
    let total: u64 = counts.iter().map(|count| count & 0xffff_ffff).sum();
    let hints = [CounterResetHint::Unknown, CounterResetHint::Reset, CounterResetHint::NotReset];
    let sent = SpannedHistogram {
        counter_reset_hint: hints[(seed % 3) as usize],
        schema,
        zero_threshold: 0.5,
        sum: seed as f64 / 3.0,
        counts: SpannedCounts::Integer {
            count: total + 2 + seed % 5,
            zero_count: 2,
            positive_deltas: &deltas,
            negative_deltas: &[(seed % 5) as i64],
        },
        positive_spans: &[Span { offset: -2, length: 3 }, Span { offset: 4, length: 2 }],
        negative_spans: &[Span { offset: 7, length: 1 }],
        custom_values: &[],
    };
    NativeHistogram::from_spans(&sent).expect("valid")
}

fn custom(bounds: u8, seed: u64) -> NativeHistogram {
    let custom_values: Vec<f64> = (0..=bounds).map(f64::from).collect();
    let bucket = |index| Bucket { index, count: (seed % 9) as f64 + 0.5 };
    NativeHistogram::Float(Histogram {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: f64::from_bits(seed),
        sum: f64::from_bits(!seed),
        positive: (0..i32::from(bounds)).map(bucket).collect(),
        custom_values: custom_values.into(),
        ..Histogram::default()
    })
}

fn encoded(histogram: &NativeHistogram) -> Vec<u8> {
    let mut bytes = Vec::new();
    histogram.encode(&mut bytes);
    bytes
}

/// What columns hold, row by row.
pub fn rows(columns: &Columns) -> Vec<(i64, Cell)> {
    let mut histograms = columns.histograms.iter().peekable();
    let mut starts = columns.starts.iter().peekable();
    let mut rows = Vec::new();
    for (row, (time, value)) in columns.timestamps.iter().zip(&columns.values).enumerate() {
        let histogram = histograms.next_if(|histogram| histogram.0 == row);
        let start = starts.next_if(|start| start.0 == row).map_or(0, |start| start.1);
        let value = match histogram {
            None => CellValue::Float(value.to_bits()),
            Some((_, histogram)) => {
                assert_eq!(value.to_bits(), histogram.sum().to_bits());
                CellValue::Histogram(encoded(histogram))
            }
        };
        rows.push((*time, Cell { value, start }));
    }
    assert!(histograms.next().is_none() && starts.next().is_none());
    rows
}
