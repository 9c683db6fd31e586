//! Remote write 2.0, split: the cache is asked with the symbols of the labels.

use super::{Naming, Split, SplitBy, Splitter};
use crate::{
    remote_write::{
        DecodeError,
        v2::{PlainRest, Request},
    },
    series::Series,
};

/// Reads a decompressed `io.prometheus.write.v2.Request` and splits it.
pub fn split_v2(decompressed: &[u8], by: &SplitBy<'_>) -> Result<Split, DecodeError> {
    let mut splitter = Splitter::new(by);
    let mut lookup = by.cache.look_up();
    let mut request = Request::new(decompressed)?;
    let mut hasher = lookup.symbol_hasher(request.symbols().all());
    let (mut series, mut refs, mut rest) = (Series::default(), Vec::new(), PlainRest::default());
    while let Some(raw) = request.next_series()? {
        if by.naming == Naming::Known
            && let Some(refs_len) = raw.leading_refs(&mut refs)
        {
            let hash = hasher.hash(&refs).ok_or_else(|| raw.beyond_the_table())?;
            if let Some(found) = lookup.find_hash(hash)
                && raw.plain_rest(refs_len, &mut rest)
                && splitter.add_known(found.home, &rest.samples)
            {
                splitter.split.metadata += u64::from(rest.has_metadata);
                continue;
            }
            lookup.lose_place();
        }
        // There may be more references than the leading ones: only all of them name the series.
        raw.read(request.symbols(), &mut series, &mut refs)?;
        splitter.add(&mut series, hasher.hash(&refs));
    }
    Ok(splitter.finish())
}
