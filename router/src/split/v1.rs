//! Remote write 1.0, split: the cache is asked with the bytes of the labels.

use super::{Naming, Split, SplitBy, Splitter};
use crate::{
    remote_write::{
        DecodeError,
        v1::{RawSeries, Scratch, WriteRequest},
    },
    series::Series,
    series_cache::{Found, LabelHash, Lookup},
};

/// Reads a decompressed `WriteRequest` and splits it.
pub fn split_v1(decompressed: &[u8], by: &SplitBy<'_>) -> Result<Split, DecodeError> {
    let mut splitter = Splitter::new(by, decompressed.len());
    let mut lookup = by.cache.look_up();
    let mut request = WriteRequest::new(decompressed);
    let (mut series, mut scratch) = (Series::default(), Scratch::default());
    let mut samples = Vec::new();
    while let Some(raw) = request.next_series()? {
        let (hash, home) = match by.naming {
            Naming::Known => match find(raw, &mut lookup) {
                Ok(Found { home, hash }) => {
                    let is_plain =
                        hash.labels_len().is_some_and(|len| raw.samples_behind(len, &mut samples));
                    if is_plain && splitter.add_known(home, &samples) {
                        continue;
                    }
                    // Behind the labels may be more of them, which the hash does not speak of.
                    let is_all = is_plain || raw.labels_len() == hash.labels_len();
                    (is_all.then_some(hash), is_all.then_some(home))
                }
                Err(hash) => (hash, None),
            },
            Naming::Labels => (lookup.hash_of(raw.bytes(), raw.labels_len()), None),
        };
        raw.read(&mut series, &mut scratch)?;
        splitter.add(&mut series, hash, home);
    }
    for described in request.metadata() {
        let (family, metadata) = described.read()?;
        splitter.describe(family, metadata);
    }
    splitter.finish()
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
