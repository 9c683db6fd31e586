//! Remote write 1.0, split: the cache is asked with the bytes of the labels.

use super::{Naming, Split, SplitBy, Splitter};
use crate::{
    remote_write::{
        DecodeError,
        v1::{LabelSpans, RawSeries, WriteRequest},
    },
    series::Series,
    series_cache::{Found, LabelHash, Lookup},
};

/// Reads a decompressed `WriteRequest` and splits it.
pub fn split_v1(decompressed: &[u8], by: &SplitBy<'_>) -> Result<Split, DecodeError> {
    let mut splitter = Splitter::new(by);
    let mut lookup = by.cache.look_up();
    let mut request = WriteRequest::new(decompressed);
    let (mut series, mut spans) = (Series::default(), LabelSpans::default());
    let mut samples = Vec::new();
    while let Some(raw) = request.next_series()? {
        let hash = match by.naming {
            Naming::Known => match find(raw, &mut lookup) {
                Ok(Found { home, hash }) => {
                    let is_plain =
                        hash.labels_len().is_some_and(|len| raw.samples_behind(len, &mut samples));
                    if is_plain && splitter.add_known(home, &samples) {
                        continue;
                    }
                    // Behind the labels may be more of them, which the hash does not speak of.
                    is_plain.then_some(hash)
                }
                Err(hash) => hash,
            },
            Naming::Labels => lookup.hash_of(raw.bytes(), raw.labels_len()),
        };
        raw.read(&mut series, &mut spans)?;
        splitter.add(&mut series, hash);
    }
    splitter.split.metadata = request.metadata().len() as u64;
    Ok(splitter.finish())
}

/// Where the series lives, or the hash to learn it by.
#[inline]
fn find(raw: RawSeries<'_>, lookup: &mut Lookup<'_>) -> Result<Found, Option<LabelHash>> {
    let found = lookup.find(raw.bytes(), || raw.labels_len());
    if found.is_err() {
        lookup.lose_place();
    }
    found
}
