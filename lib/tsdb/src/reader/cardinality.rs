//! How many series have which labels: what makes a shard big.
//!
//! A shard may have a million labels. They are told in order of names and values, a slice under
//! each turn of the lock, so that apply never waits long; a slice continues behind the last label
//! of the one before, whatever was added or removed between them.

use narthex_model::Timestamp;
use roaring::RoaringBitmap;

use super::{ShardReader, select};

/// Labels looked at per turn of the lock.
const LABELS_PER_TURN: usize = 4096;

/// A label, and how many of the counted series have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelCount {
    /// The label's name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Never 0.
    pub series: u64,
}

/// Counts the labels of the series that are present on a day of a range; see the module.
#[derive(Debug)]
pub struct Cardinality {
    reader: ShardReader,
    counted: RoaringBitmap,
    /// The last label that was looked at, whether or not any counted series has it.
    last: Option<(String, String)>,
    is_done: bool,
}

impl Cardinality {
    pub(super) fn new(reader: &ShardReader, start: Timestamp, end: Timestamp) -> Self {
        let counted = {
            let head = reader.core.head.read();
            select::matching(&head, &[], start.millis(), end.millis())
        };
        Self { reader: reader.clone(), counted, last: None, is_done: false }
    }

    /// How many series are counted.
    pub fn series(&self) -> u64 {
        self.counted.len()
    }
}

/// Slices of labels, which may be empty; in order.
impl Iterator for Cardinality {
    type Item = Vec<LabelCount>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let head = self.reader.core.head.read();
        let after = self.last.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
        let (found, last) = head.index.labels_after(after, LABELS_PER_TURN, &self.counted);
        drop(head);
        self.is_done = last.is_none();
        self.last = last;
        Some(found)
    }
}
