//! Samples in columns: how they are decoded, encoded and handed out.

/// Times in milliseconds and values, row by row, in time order. Reused by its owner.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// When each sample was taken.
    pub timestamps: Vec<i64>,
    /// What was measured, bit-exact, staleness markers included.
    pub values: Vec<f64>,
}

impl Columns {
    /// No samples.
    pub const fn new() -> Self {
        Self { timestamps: Vec::new(), values: Vec::new() }
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Forgets the samples, keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
    }

    pub(crate) fn push(&mut self, time: i64, value: f64) {
        self.timestamps.push(time);
        self.values.push(value);
    }

    pub(crate) fn extend(&mut self, samples: impl Iterator<Item = (i64, u64)>) {
        for (time, bits) in samples {
            self.push(time, f64::from_bits(bits));
        }
    }

    /// Keeps the rows `[from, to)` behind the first `before` rows.
    pub(crate) fn keep(&mut self, before: usize, from: usize, to: usize) {
        self.timestamps.truncate(to);
        self.timestamps.drain(before..from);
        self.values.truncate(to);
        self.values.drain(before..from);
    }
}
