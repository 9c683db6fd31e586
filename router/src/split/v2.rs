//! Remote write 2.0, split: the cache is asked with the symbols of the labels.

use narthex_model::METRIC_NAME;
use xxhash_rust::xxh3::xxh3_64;

use super::{Naming, Split, SplitBy, Splitter};
use crate::{
    remote_write::{
        DecodeError, Malformed,
        v2::{PlainRest, RawMetadata, Request, Scratch, Symbols},
    },
    series::Series,
};

/// Reads a decompressed `io.prometheus.write.v2.Request` and splits it.
pub fn split_v2(decompressed: &[u8], by: &SplitBy<'_>) -> Result<Split, DecodeError> {
    let mut splitter = Splitter::new(by, decompressed.len());
    let mut lookup = by.cache.look_up();
    let (symbols, mut request) = Request::new(decompressed)?.into_parts();
    let mut hasher = lookup.symbol_hasher(symbols.all());
    let mut said_of = Said::of(&symbols);
    let (mut series, mut scratch) = (Series::default(), Scratch::default());
    let (mut refs, mut rest) = (Vec::new(), PlainRest::default());
    while let Some(raw) = request.next_series()? {
        if by.naming == Naming::Known
            && let Some(refs_len) = raw.leading_refs(&mut refs)
        {
            let hash = hasher.hash(&refs).ok_or_else(|| raw.beyond_the_table())?;
            if let Some(found) = lookup.find_hash(hash)
                && raw.plain_rest(refs_len, &mut rest)
                && splitter.add_known(found.home, &rest.samples)
            {
                if let Some(metadata) = rest.metadata {
                    said_of.add(&refs, metadata, &mut splitter)?;
                }
                continue;
            }
            lookup.lose_place();
        }
        // There may be more references than the leading ones: only all of them name the series.
        raw.read(&symbols, &mut series, &mut scratch)?;
        let hash = hasher.hash(&scratch.refs);
        let known = hash.filter(|_| by.naming == Naming::Known);
        let found = known.and_then(|hash| lookup.find_hash(hash));
        splitter.add(&mut series, hash, found.map(|found| found.home));
    }
    splitter.finish()
}

/// What was said of metrics, by the references of their names. 2.0 says it with each series.
struct Said<'s, 'a> {
    symbols: &'s Symbols<'a>,
    /// A hash of what was said of the metric whose name is this symbol; 0 for nothing yet.
    said: Vec<u64>,
}

impl<'s, 'a> Said<'s, 'a> {
    fn of(symbols: &'s Symbols<'a>) -> Self {
        Self { symbols, said: vec![0; symbols.all().len()] }
    }

    /// Hands on what is said of a known series' metric, unless it was said before.
    #[inline]
    fn add(
        &mut self,
        refs: &[u32],
        metadata: RawMetadata<'a>,
        splitter: &mut Splitter<'_>,
    ) -> Result<(), Malformed> {
        let symbol = |reference: u32| self.symbols.all()[reference as usize];
        let name = refs.as_chunks::<2>().0.iter();
        let mut name = name.filter(|[name, _]| symbol(*name) == METRIC_NAME.as_bytes());
        let Some(&[_, name]) = name.next() else { return Ok(()) };
        let hash = xxh3_64(metadata.bytes()) | 1;
        if std::mem::replace(&mut self.said[name as usize], hash) != hash {
            let text = std::str::from_utf8(symbol(name));
            let name = text.expect("the name of a known series was checked");
            let metadata = metadata.read(self.symbols)?;
            splitter.describe_series(name, metadata);
        }
        Ok(())
    }
}
