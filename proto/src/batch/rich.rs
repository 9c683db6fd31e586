//! What a batch brings beside plain floats: start timestamps, histograms, exemplars, metadata.

use bytes::Buf as _;
use narthex_model::{
    Exemplar, FamilyMetadata, Labels, MetricType, NativeHistogram, Sample, Timestamp,
    histogram::EncodedHistogram,
};

use super::{
    BatchReader, BatchWriter, Item, KnownSeries, MalformedBatch, NOT_PLAIN, Subject, put_signed,
    put_varint, take_varint, unzigzag,
};

/// Kinds of items that are no plain series, as written.
pub(super) mod kind {
    pub const NO_LABELS: u8 = 0;
    pub const RICH: u8 = 1;
    pub const METADATA: u8 = 2;
}

/// Bytes that a float, a histogram, an exemplar take at least.
const FLOAT_BYTES_MIN: usize = 10;
const HISTOGRAM_BYTES_MIN: usize = 4;
const EXEMPLAR_BYTES_MIN: usize = 10;

/// A sample with its start timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Point<V> {
    /// When it was taken.
    pub timestamp: Timestamp,
    /// When what it counts began; 0 if unknown.
    pub start: Timestamp,
    /// What was measured.
    pub value: V,
}

/// Whose samples a writer is given.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// The series with these labels.
    Labels(&'a Labels),
    /// See [`BatchWriter::push_pairs`].
    Pairs(&'a [(&'a str, &'a str)]),
    /// A series that the shard has numbered.
    Known(KnownSeries),
}

/// What a series brings beside plain floats, to be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct RichRows<'a> {
    /// Floats of which some have a start timestamp.
    pub floats: &'a [Point<f64>],
    /// Histograms.
    pub histograms: &'a [Point<NativeHistogram>],
    /// Exemplars, in the order they shall be kept.
    pub exemplars: &'a [Exemplar],
}

/// A series with more than floats, as it is read.
#[derive(Debug)]
pub struct Rich<'a> {
    /// Whose it is.
    pub subject: Subject<'a>,
    /// Floats.
    pub floats: Vec<Point<f64>>,
    /// Histograms, checked.
    pub histograms: Vec<Point<EncodedHistogram<'a>>>,
    /// Exemplars.
    pub exemplars: Vec<EncodedExemplar<'a>>,
}

/// An exemplar as it is read.
#[derive(Debug, Clone, Copy)]
pub struct EncodedExemplar<'a> {
    /// Its labels, not yet checked.
    pub labels: &'a [u8],
    /// When it was observed, and what.
    pub sample: Sample,
}

impl BatchWriter {
    /// Adds a series with more than floats. Returns the fingerprint of its labels.
    pub fn push_rich(&mut self, owner: Owner<'_>, rows: RichRows<'_>) -> u32 {
        self.bytes.extend_from_slice(&[NOT_PLAIN, kind::RICH]);
        let fingerprint = self.put_owner(owner);
        self.put_floats(rows.floats);
        put_varint(&mut self.bytes, rows.histograms.len() as u64);
        let mut histogram = Vec::new();
        for point in rows.histograms {
            self.put_time(point.timestamp);
            self.put_start(point);
            histogram.clear();
            point.value.encode(&mut histogram);
            self.put_block(&histogram);
        }
        put_varint(&mut self.bytes, rows.exemplars.len() as u64);
        for exemplar in rows.exemplars {
            self.put_time(exemplar.timestamp);
            self.bytes.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
            self.put_block(exemplar.labels.as_bytes());
        }
        self.items += 1;
        self.samples += rows.floats.len() + rows.histograms.len();
        fingerprint
    }

    /// Adds what was read of another batch.
    pub(super) fn push_read(&mut self, rich: &Rich<'_>) {
        self.bytes.extend_from_slice(&[NOT_PLAIN, kind::RICH]);
        match rich.subject {
            Subject::Known(known) => drop(self.put_owner(Owner::Known(known))),
            Subject::Labels(labels) => {
                put_varint(&mut self.bytes, (labels.len() as u64) << 1);
                self.bytes.extend_from_slice(labels);
            }
        }
        self.put_floats(&rich.floats);
        put_varint(&mut self.bytes, rich.histograms.len() as u64);
        for point in &rich.histograms {
            self.put_time(point.timestamp);
            self.put_start(point);
            self.put_block(point.value.as_bytes());
        }
        put_varint(&mut self.bytes, rich.exemplars.len() as u64);
        for EncodedExemplar { labels, sample } in &rich.exemplars {
            self.put_time(sample.timestamp);
            self.bytes.extend_from_slice(&sample.value.to_bits().to_le_bytes());
            self.put_block(labels);
        }
        self.items += 1;
        self.samples += rich.floats.len() + rich.histograms.len();
    }

    /// Adds what is known of a metric family.
    pub fn push_metadata(&mut self, metadata: &FamilyMetadata<'_>) {
        self.bytes.extend_from_slice(&[NOT_PLAIN, kind::METADATA, metadata.metric_type as u8]);
        for text in [metadata.family, metadata.help, metadata.unit] {
            self.put_block(text.as_bytes());
        }
        self.items += 1;
    }

    fn put_owner(&mut self, owner: Owner<'_>) -> u32 {
        match owner {
            Owner::Labels(labels) => {
                put_varint(&mut self.bytes, (labels.as_bytes().len() as u64) << 1);
                self.bytes.extend_from_slice(labels.as_bytes());
                Labels::fingerprint_of(labels.as_bytes())
            }
            Owner::Pairs(labels) => self.put_pairs(labels),
            Owner::Known(known) => {
                put_varint(&mut self.bytes, u64::from(known.series) << 1 | 1);
                self.bytes.extend_from_slice(&known.fingerprint.to_le_bytes());
                known.fingerprint
            }
        }
    }

    fn put_floats(&mut self, floats: &[Point<f64>]) {
        put_varint(&mut self.bytes, floats.len() as u64);
        for point in floats {
            self.put_time(point.timestamp);
            self.bytes.extend_from_slice(&point.value.to_bits().to_le_bytes());
            self.put_start(point);
        }
    }

    fn put_start<V>(&mut self, point: &Point<V>) {
        let before = point.timestamp.millis().wrapping_sub(point.start.millis());
        put_signed(&mut self.bytes, before);
    }

    fn put_block(&mut self, block: &[u8]) {
        put_varint(&mut self.bytes, block.len() as u64);
        self.bytes.extend_from_slice(block);
    }
}

impl Rich<'_> {
    /// How much there is, whatever it is.
    pub fn len(&self) -> usize {
        self.floats.len() + self.histograms.len() + self.exemplars.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> BatchReader<'a> {
    /// An item that begins with [`NOT_PLAIN`].
    #[cold]
    pub(super) fn not_plain(
        &mut self,
        samples: &mut Vec<Sample>,
    ) -> Result<Item<'a>, MalformedBatch> {
        self.rest.advance(1);
        match self.byte("an item kind")? {
            kind::NO_LABELS => {
                self.samples(samples)?;
                Ok(Item::Floats(Subject::Labels(&[])))
            }
            kind::RICH => self.rich().map(Item::Rich),
            kind::METADATA => self.metadata().map(Item::Metadata),
            kind => Err(MalformedBatch::Kind(kind)),
        }
    }

    fn rich(&mut self) -> Result<Rich<'a>, MalformedBatch> {
        let subject = self.subject()?;
        let mut rich =
            Rich { subject, floats: Vec::new(), histograms: Vec::new(), exemplars: Vec::new() };
        for _ in 0..self.count(FLOAT_BYTES_MIN, "floats")? {
            let timestamp = self.time()?;
            let value = self.value()?;
            rich.floats.push(Point { timestamp, start: self.start(timestamp)?, value });
        }
        for _ in 0..self.count(HISTOGRAM_BYTES_MIN, "histograms")? {
            let timestamp = self.time()?;
            let start = self.start(timestamp)?;
            let value = EncodedHistogram::new(self.block("a histogram")?)?;
            rich.histograms.push(Point { timestamp, start, value });
        }
        for _ in 0..self.count(EXEMPLAR_BYTES_MIN, "exemplars")? {
            let timestamp = self.time()?;
            let sample = Sample { timestamp, value: self.value()? };
            rich.exemplars.push(EncodedExemplar { labels: self.block("an exemplar")?, sample });
        }
        Ok(rich)
    }

    fn start(&mut self, timestamp: Timestamp) -> Result<Timestamp, MalformedBatch> {
        let before = unzigzag(take_varint(&mut self.rest, "a start timestamp")?);
        Ok(Timestamp::from_millis(timestamp.millis().wrapping_sub(before)))
    }

    fn metadata(&mut self) -> Result<FamilyMetadata<'a>, MalformedBatch> {
        let metric_type = MetricType::from_number(self.byte("a metric's type")?);
        let metric_type = metric_type.ok_or(MalformedBatch::Metadata)?;
        Ok(FamilyMetadata {
            metric_type,
            family: self.text("a family")?,
            help: self.text("a help text")?,
            unit: self.text("a unit")?,
        })
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, MalformedBatch> {
        std::str::from_utf8(self.block(what)?).map_err(|_| MalformedBatch::Metadata)
    }

    fn block(&mut self, what: &'static str) -> Result<&'a [u8], MalformedBatch> {
        let len = take_varint(&mut self.rest, what)?;
        self.bytes(len, what)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, MalformedBatch> {
        if self.rest.is_empty() {
            return Err(MalformedBatch::Truncated(what));
        }
        Ok(self.rest.get_u8())
    }
}
