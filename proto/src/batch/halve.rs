//! A batch cut in two, for a shard that takes it only without some of its series.

use bytes::Bytes;

use super::{BatchReader, BatchWriter, Item, MalformedBatch, Subject};

/// The halves of a batch of several items, in their order; of a single series of floats, the halves
/// of its samples. `None` for what cannot be cut.
pub fn halve(batch: &[u8]) -> Result<Option<[Bytes; 2]>, MalformedBatch> {
    let mut reader = BatchReader::new(batch)?;
    let items = reader.items_left;
    let empty = || match reader.is_backfill() {
        true => BatchWriter::backfill(),
        false => BatchWriter::new(),
    };
    let (mut first, mut second) = (empty(), empty());
    let mut samples = Vec::new();
    if items == 1 {
        let Item::Floats(subject) = reader.one(&mut samples)? else { return Ok(None) };
        if samples.len() < 2 {
            return Ok(None);
        }
        let (earlier, later) = samples.split_at(samples.len() / 2);
        first.push_subject(subject, earlier);
        second.push_subject(subject, later);
        return Ok(Some([first.finish(), second.finish()]));
    }
    for at in 0..items {
        let half = if at < items / 2 { &mut first } else { &mut second };
        match reader.one(&mut samples)? {
            Item::Floats(subject) => half.push_subject(subject, &samples),
            Item::Rich(rich) => half.push_read(&rich),
            Item::Metadata(metadata) => half.push_metadata(&metadata),
        }
    }
    Ok((items > 0).then(|| [first.finish(), second.finish()]))
}

impl BatchWriter {
    fn push_subject(&mut self, subject: Subject<'_>, samples: &[narthex_model::Sample]) {
        match subject {
            Subject::Labels(labels) => self.push_encoded(labels, samples.iter().copied()),
            Subject::Known(known) => self.push_known(known, samples.iter().copied()),
        }
    }
}

impl<'a> BatchReader<'a> {
    fn one(
        &mut self,
        samples: &mut Vec<narthex_model::Sample>,
    ) -> Result<Item<'a>, MalformedBatch> {
        self.next(samples)?.ok_or(MalformedBatch::Truncated("its items"))
    }
}
