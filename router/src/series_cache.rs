//! What shards call the series that senders name by labels.
//!
//! A sender writes the labels of a series with the same bytes in every request. Their hash finds
//! the shard and the series' number there, as an earlier answer told them, so that no label is
//! parsed, checked or sent on. Senders repeat the order of series too, so the series that
//! followed last time is compared before anything is looked up.
//!
//! Remote write 2.0 sends references into a table of symbols that is new in every request. There
//! the symbols are hashed once each, and a series by the hashes of its symbols in their order.
//!
//! Invariants
//! * an entry is what a shard's leader answered for exactly these bytes, as far as 128 bits of a
//!   hash with a secret of this process tell;
//! * bytes of labels and sequences of symbols never find each other's entries;
//! * there are never more than `capacity` entries: one that was not asked for since the hand
//!   last passed it gives way.
//!
//! Nothing here is trusted: the leader compares the fingerprint, and says so if it does not know
//! the number.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use hashbrown::HashTable;
use narthex_cluster::ShardId;
use narthex_proto::batch::KnownSeries;
use parking_lot::{RwLock, RwLockReadGuard};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_secret};

/// Any length from 136 on will do.
const SECRET_BYTES: usize = 192;
/// No entry.
const NONE: u32 = u32::MAX;

/// Of a series' labels as they lie in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelHash {
    high: u64,
    low: u64,
    /// What was hashed.
    what: Hashed,
}

/// What was hashed, so that one kind is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hashed {
    /// As many bytes of labels.
    Bytes(u32),
    /// As many symbols.
    Symbols(u32),
    /// As many labels, in order of their names.
    Labels(u32),
}

impl LabelHash {
    #[inline]
    fn new(hash: u128, what: Hashed) -> Self {
        Self { high: (hash >> 64) as u64, low: hash as u64, what }
    }

    /// How many bytes were hashed, where it was bytes.
    #[inline]
    pub fn labels_len(self) -> Option<usize> {
        match self.what {
            Hashed::Bytes(len) => Some(len as usize),
            Hashed::Symbols(_) | Hashed::Labels(_) => None,
        }
    }
}

/// Hashes series whose labels are references into a table of symbols.
#[derive(Debug)]
pub struct SymbolHasher<'c> {
    secret: &'c [u8; SECRET_BYTES],
    /// Of each symbol.
    hashes: Vec<[u8; 16]>,
    /// Those of one series, side by side.
    series: Vec<u8>,
}

impl SymbolHasher<'_> {
    /// The hash of the symbols that `refs` name; `None` if one lies beyond the table.
    #[inline]
    pub fn hash(&mut self, refs: &[u32]) -> Option<LabelHash> {
        self.series.clear();
        for &reference in refs {
            self.series.extend_from_slice(self.hashes.get(reference as usize)?);
        }
        let hash = xxh3_128_with_secret(&self.series, self.secret);
        Some(LabelHash::new(hash, Hashed::Symbols(refs.len() as u32)))
    }
}

/// Where a series lives, for timestamps of one epoch of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// The epoch's number.
    pub epoch: u64,
    /// The shard.
    pub shard: ShardId,
    /// The series in it.
    pub series: KnownSeries,
}

/// See the module.
pub struct SeriesCache {
    secret: [u8; SECRET_BYTES],
    capacity: usize,
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    /// Places in `entries`, by the hash's low half.
    places: HashTable<u32>,
    /// The next entry that may give way.
    hand: usize,
}

/// A [`Home`] and its hash, in 48 bytes: there is one for every series.
struct Entry {
    hash: LabelHash,
    epoch: u32,
    shard: ShardId,
    series: KnownSeries,
    /// The place of the series that followed this one last.
    next: AtomicU32,
    is_used: AtomicBool,
}

impl Entry {
    /// `None` in an epoch that no cluster lives to see.
    fn new(hash: LabelHash, home: Home) -> Option<Self> {
        let Home { epoch, shard, series } = home;
        let epoch = u32::try_from(epoch).ok()?;
        let (next, is_used) = (AtomicU32::new(NONE), AtomicBool::new(false));
        Some(Self { hash, epoch, shard, series, next, is_used })
    }

    #[inline]
    fn home(&self) -> Home {
        Home { epoch: u64::from(self.epoch), shard: self.shard, series: self.series }
    }
}

impl SeriesCache {
    /// A cache of at most `capacity` series; its hash cannot be guessed without `seed`.
    pub fn new(capacity: usize, seed: u128) -> Self {
        let mut secret = [0; SECRET_BYTES];
        for (i, word) in secret.chunks_exact_mut(8).enumerate() {
            let mixed = xxh3_64_with_seed(&seed.to_le_bytes(), i as u64);
            word.copy_from_slice(&mixed.to_le_bytes());
        }
        let capacity = capacity.clamp(1, NONE as usize - 1);
        Self { secret, capacity, entries: RwLock::default() }
    }

    /// Begins to look up the series of a request. Holds up [`SeriesCache::learn`].
    pub fn look_up(&self) -> Lookup<'_> {
        let entries = self.entries.read();
        Lookup { secret: &self.secret, entries, last: NONE, labels: Vec::new() }
    }

    /// Remembers where series live, one after the other as they lay in a request.
    pub fn learn(&self, learnt: impl Iterator<Item = (LabelHash, Home)>) {
        let mut entries = self.entries.write();
        let mut last = NONE;
        for (hash, home) in learnt {
            let Some(entry) = Entry::new(hash, home) else { continue };
            let place = entries.learn(entry, self.capacity);
            if let Some(last) = entries.entries.get(last as usize) {
                last.next.store(place, Relaxed);
            }
            last = place;
        }
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.entries.read().entries.len()
    }

    /// Whether nothing was learnt yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for SeriesCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeriesCache").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Entries {
    fn find(&self, hash: LabelHash) -> Option<u32> {
        let is_it = |place: &u32| self.entries[*place as usize].hash == hash;
        self.places.find(hash.low, is_it).copied()
    }

    fn learn(&mut self, entry: Entry, capacity: usize) -> u32 {
        let hash = entry.hash;
        if let Some(place) = self.find(hash) {
            let known = &mut self.entries[place as usize];
            (known.epoch, known.shard, known.series) = (entry.epoch, entry.shard, entry.series);
            return place;
        }
        let place = if self.entries.len() < capacity {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let place = self.take_place();
            self.entries[place] = entry;
            place
        };
        let entries = &self.entries;
        let hash_of = |place: &u32| entries[*place as usize].hash.low;
        self.places.insert_unique(hash.low, place as u32, hash_of);
        place as u32
    }

    /// The place of an entry that was not used since the hand passed it last, removed.
    fn take_place(&mut self) -> usize {
        loop {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.entries.len();
            if self.entries[place].is_used.swap(false, Relaxed) {
                continue;
            }
            let low = self.entries[place].hash.low;
            if let Ok(found) = self.places.find_entry(low, |other| *other as usize == place) {
                found.remove();
            }
            return place;
        }
    }
}

/// What [`Lookup::find`] found.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Where the series lives.
    pub home: Home,
    /// Of its labels.
    pub hash: LabelHash,
}

/// Looks up the series of one request in their order.
pub struct Lookup<'c> {
    secret: &'c [u8; SECRET_BYTES],
    entries: RwLockReadGuard<'c, Entries>,
    last: u32,
    /// Those that are being hashed.
    labels: Vec<u8>,
}

impl<'c> Lookup<'c> {
    /// The series whose labels are the first bytes of `message`; otherwise the hash to learn it
    /// by, if `labels_len` finds where the labels end.
    #[inline]
    pub fn find(
        &mut self,
        message: &[u8],
        labels_len: impl FnOnce() -> Option<usize>,
    ) -> Result<Found, Option<LabelHash>> {
        let predicted = self.entries.entries.get(self.last as usize).map(|e| e.next.load(Relaxed));
        if let Some((place, entry)) = predicted.and_then(|at| Some((at, self.entry(at)?)))
            && let Some(labels) = entry.hash.labels_len().and_then(|len| message.get(..len))
            && self.hash(labels) == entry.hash
        {
            return Ok(self.hit(place));
        }
        let hash = self.hash_of(message, labels_len()).ok_or(None)?;
        self.find_place(hash).ok_or(Some(hash))
    }

    /// The series of a hash.
    #[inline]
    pub fn find_hash(&mut self, hash: LabelHash) -> Option<Found> {
        let predicted = self.entry(self.last).map(|last| last.next.load(Relaxed));
        if let Some(place) = predicted
            && self.entry(place).is_some_and(|entry| entry.hash == hash)
        {
            return Some(self.hit(place));
        }
        self.find_place(hash)
    }

    /// The hash of labels in order of their names.
    pub fn hash_of_labels(&mut self, labels: &[(&str, &str)]) -> LabelHash {
        self.labels.clear();
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            self.labels.extend_from_slice(&(text.len() as u32).to_le_bytes());
            self.labels.extend_from_slice(text.as_bytes());
        }
        let hash = xxh3_128_with_secret(&self.labels, self.secret);
        LabelHash::new(hash, Hashed::Labels(labels.len() as u32))
    }

    /// Hashes what comes as references to these symbols.
    pub fn symbol_hasher(&self, symbols: &[&[u8]]) -> SymbolHasher<'c> {
        let hash = |symbol: &&[u8]| xxh3_128_with_secret(symbol, self.secret).to_le_bytes();
        let hashes = symbols.iter().map(hash).collect();
        SymbolHasher { secret: self.secret, hashes, series: Vec::new() }
    }

    #[inline]
    fn find_place(&mut self, hash: LabelHash) -> Option<Found> {
        let place = self.entries.find(hash)?;
        if let Some(last) = self.entry(self.last) {
            last.next.store(place, Relaxed);
        }
        Some(self.hit(place))
    }

    /// The hash to learn a series by, if its labels are the first bytes of `message`.
    pub fn hash_of(&self, message: &[u8], labels_len: Option<usize>) -> Option<LabelHash> {
        message.get(..labels_len?).map(|labels| self.hash(labels))
    }

    /// Breaks the order: the series now read is not in the cache.
    pub fn lose_place(&mut self) {
        self.last = NONE;
    }

    fn entry(&self, place: u32) -> Option<&Entry> {
        self.entries.entries.get(place as usize)
    }

    #[inline]
    fn hit(&mut self, place: u32) -> Found {
        self.last = place;
        let entry = &self.entries.entries[place as usize];
        // A store for each hit would make the line this core's own again and again.
        if !entry.is_used.load(Relaxed) {
            entry.is_used.store(true, Relaxed);
        }
        Found { home: entry.home(), hash: entry.hash }
    }

    fn hash(&self, labels: &[u8]) -> LabelHash {
        let hash = xxh3_128_with_secret(labels, self.secret);
        LabelHash::new(hash, Hashed::Bytes(labels.len() as u32))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn home(series: u32) -> Home {
        let shard = ShardId(series % 5);
        Home { epoch: 3, shard, series: KnownSeries { series, fingerprint: series ^ 7 } }
    }

    /// Looks up one series after the other; the message goes on behind the labels.
    fn look_up(cache: &SeriesCache, order: &[u32]) -> Vec<Option<u32>> {
        let mut lookup = cache.look_up();
        let mut found = Vec::new();
        for series in order {
            let labels = labels(*series);
            let message = [labels.as_bytes(), b"\x12rest"].concat();
            let hit = lookup.find(&message, || Some(labels.len())).ok();
            found.push(hit.map(|found| {
                assert_eq!(found.hash.labels_len(), Some(labels.len()));
                found.home.series.series
            }));
            if hit.is_none() {
                lookup.lose_place();
            }
        }
        found
    }

    fn labels(series: u32) -> String {
        format!("series-{series}-{}", "x".repeat(series as usize % 7))
    }

    fn learn(cache: &SeriesCache, order: &[u32]) {
        let lookup = cache.look_up();
        let hashes: Vec<_> =
            order.iter().map(|s| (lookup.hash(labels(*s).as_bytes()), home(*s))).collect();
        drop(lookup);
        cache.learn(hashes.into_iter());
    }

    #[test]
    fn what_was_learnt_is_found_in_any_order() {
        let cache = SeriesCache::new(100, 1);
        learn(&cache, &[1, 2, 3, 4]);
        for order in [[1, 2, 3, 4], [4, 3, 2, 1], [1, 3, 3, 9]] {
            let want: Vec<_> = order.iter().map(|s| (*s < 5).then_some(*s)).collect();
            assert_eq!(look_up(&cache, &order), want);
        }
    }

    #[test]
    fn a_series_that_is_asked_for_outlives_those_that_are_not() {
        let cache = SeriesCache::new(4, 1);
        learn(&cache, &[1, 2, 3, 4]);
        for new in 5..20 {
            assert_eq!(look_up(&cache, &[1]), [Some(1)]);
            learn(&cache, &[new]);
            assert_eq!(cache.len(), 4);
        }
    }

    /// The table's order is the sender's choice and differs from request to request.
    #[test]
    fn symbols_are_found_wherever_they_stand_in_the_table() {
        let cache = SeriesCache::new(10, 1);
        let hash =
            |symbols: &[&[u8]], refs: &[u32]| cache.look_up().symbol_hasher(symbols).hash(refs);
        let first = hash(&[b"", b"a", b"b"], &[1, 2]).expect("within the table");
        cache.learn(std::iter::once((first, home(1))));
        assert_eq!(hash(&[b"b", b"x", b"a"], &[2, 0]), Some(first));
        let others: [(&[&[u8]], &[u32]); 4] = [
            (&[b"b", b"a"], &[0, 1]),
            (&[b"ab", b""], &[0, 1]),
            (&[b"a", b"b"], &[0, 1, 0, 1]),
            (&[b"a", b"b"], &[0]),
        ];
        for (symbols, refs) in others {
            let other = hash(symbols, refs).expect("within the table");
            assert!(cache.look_up().find_hash(other).is_none(), "{symbols:?} {refs:?}");
        }
        assert_eq!(hash(&[b"a"], &[0, 1]), None);
        assert!(cache.look_up().find_hash(first).is_some());
    }

    proptest! {
        /// Whatever was evicted or overwritten: no series is ever taken for another.
        #[test]
        fn nothing_is_found_that_was_not_learnt(
            capacity in 1usize..20,
            rounds in proptest::collection::vec(proptest::collection::vec(0u32..40, 0..30), 0..10),
        ) {
            let cache = SeriesCache::new(capacity, 9);
            for order in rounds {
                let found = look_up(&cache, &order);
                for (asked, found) in order.iter().zip(found) {
                    prop_assert!(found.is_none() || found == Some(*asked));
                }
                let missing: Vec<u32> =
                    order.iter().copied().filter(|s| look_up(&cache, &[*s]) == [None]).collect();
                learn(&cache, &missing);
                prop_assert!(cache.len() <= capacity);
            }
        }
    }
}
