//! The newest exemplars of a shard, in a ring.
//!
//! What enters and what leaves is decided by apply alone; a checkpoint writes the pages of 64 that
//! changed, and which exemplar is the first.
//!
//! Invariants
//! * numbers rise without a gap over the shard's life;
//! * of one series, exemplars rise by (time, value, labels).

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use hashbrown::HashMap;
use narthex_model::{Exemplar, Labels, Timestamp};

use crate::{
    SeriesId,
    bytes::{Cursor, Malformed, put_block, put_varint},
};

/// Exemplars that a checkpoint writes together.
const PAGE_EXEMPLARS: u64 = 64;
/// Characters of all names and values of an exemplar's labels: OpenMetrics's bound.
const LABEL_CHARS_MAX: usize = 128;

/// One exemplar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredExemplar {
    pub(crate) series: SeriesId,
    pub(crate) time: i64,
    /// The value's bits.
    pub(crate) bits: u64,
    /// In the encoding of `narthex_model::Labels`, checked.
    pub(crate) labels: Arc<[u8]>,
}

impl StoredExemplar {
    /// As it is handed out.
    pub(crate) fn to_model(&self) -> Exemplar {
        let labels = Labels::from_bytes(&self.labels);
        Exemplar {
            labels: labels.expect("they were checked when they came"),
            value: f64::from_bits(self.bits),
            timestamp: Timestamp::from_millis(self.time),
        }
    }

    /// Equal on replicas that hold the same.
    pub(crate) fn hash(&self) -> u128 {
        let mut bytes = Vec::new();
        put(&mut bytes, self);
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }
}

/// What became of an exemplar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is kept.
    Stored,
    /// It was there.
    Repeated,
    /// It is older than its series' newest, or its labels are too long.
    Refused,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Exemplars {
    ring: VecDeque<(StoredExemplar, u64)>,
    /// The number of the ring's first.
    first: u64,
    /// The number of each series' newest.
    newest: HashMap<u32, u64, foldhash::fast::RandomState>,
    /// Pages whose last exemplar left, with the log index, until a checkpoint has written that.
    left: Vec<(u64, u64)>,
}

impl Exemplars {
    /// The number of the first that is kept.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &StoredExemplar> {
        self.ring.iter().map(|exemplar| &exemplar.0)
    }

    /// Adds an exemplar by the entry at log index `at`; the oldest leave beyond `max`.
    pub(crate) fn add(&mut self, exemplar: StoredExemplar, at: u64, max: usize) -> Added {
        if let Some(newest) = self.newest_of(exemplar.series) {
            match order(&exemplar, newest) {
                Ordering::Equal => return Added::Repeated,
                Ordering::Less => return Added::Refused,
                Ordering::Greater => {}
            }
        }
        if max == 0 {
            return Added::Refused;
        }
        self.push(exemplar, at);
        self.shrink(max, at);
        Added::Stored
    }

    /// Lets the oldest go beyond `max`.
    pub(crate) fn shrink(&mut self, max: usize, at: u64) {
        while self.ring.len() > max {
            let Some((oldest, _)) = self.ring.pop_front() else { return };
            if self.newest.get(&oldest.series.0) == Some(&self.first) {
                self.newest.remove(&oldest.series.0);
            }
            self.first += 1;
            if self.first.is_multiple_of(PAGE_EXEMPLARS) {
                self.left.push((self.first / PAGE_EXEMPLARS - 1, at));
            }
        }
    }

    fn newest_of(&self, series: SeriesId) -> Option<&StoredExemplar> {
        let number = self.newest.get(&series.0)?;
        self.ring.get((number - self.first) as usize).map(|exemplar| &exemplar.0)
    }

    fn push(&mut self, exemplar: StoredExemplar, at: u64) {
        self.newest.insert(exemplar.series.0, self.first + self.ring.len() as u64);
        self.ring.push_back((exemplar, at));
    }

    /// The pages that entries behind log index `confirmed` changed, encoded.
    pub(crate) fn changed(&self, confirmed: u64) -> BTreeMap<u64, Vec<u8>> {
        let unchanged = self.ring.partition_point(|exemplar| exemplar.1 <= confirmed);
        let changed = self.first + unchanged as u64;
        let end = self.first + self.ring.len() as u64;
        let mut pages = BTreeMap::new();
        if changed == end {
            return pages;
        }
        for page in changed / PAGE_EXEMPLARS..=(end - 1) / PAGE_EXEMPLARS {
            let from = (page * PAGE_EXEMPLARS).max(self.first);
            let to = ((page + 1) * PAGE_EXEMPLARS).min(end);
            let mut body = Vec::new();
            put_varint(&mut body, from);
            put_varint(&mut body, to - from);
            for number in from..to {
                put(&mut body, &self.ring[(number - self.first) as usize].0);
            }
            pages.insert(page, body);
        }
        pages
    }

    /// Pages that are no longer needed.
    pub(crate) fn left(&self) -> impl Iterator<Item = u64> {
        self.left.iter().map(|left| left.0)
    }

    /// Forgets the pages that a checkpoint at log index `upto` has deleted.
    pub(crate) fn forget_left(&mut self, upto: u64) {
        self.left.retain(|left| left.1 > upto);
    }

    /// A ring without exemplars, the next of which is the `first`-th.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// Adds a page's exemplars but those before the first. Pages come in order.
    pub(crate) fn restore(&mut self, body: &mut Cursor<'_>) -> Result<(), Malformed> {
        let from = body.varint("exemplar number")?;
        let count = body.count(18, "exemplars")? as u64;
        for number in from..from.saturating_add(count) {
            let exemplar = take(body)?;
            if number < self.first {
                continue;
            }
            if number != self.first + self.ring.len() as u64 {
                return Err(Malformed("exemplar number"));
            }
            self.push(exemplar, 0);
        }
        body.end("exemplars end")
    }
}

/// Whether an exemplar's labels are short enough.
pub(crate) fn are_short(labels: &Labels) -> bool {
    let chars: usize =
        labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    chars <= LABEL_CHARS_MAX
}

/// Two exemplars of a series in their order; floats as they compare, then by their bits.
fn order(a: &StoredExemplar, b: &StoredExemplar) -> Ordering {
    let by_value = f64::from_bits(a.bits).total_cmp(&f64::from_bits(b.bits));
    a.time.cmp(&b.time).then(by_value).then_with(|| a.labels.cmp(&b.labels))
}

fn put(out: &mut Vec<u8>, exemplar: &StoredExemplar) {
    put_varint(out, u64::from(exemplar.series.0));
    out.extend_from_slice(&exemplar.time.to_le_bytes());
    out.extend_from_slice(&exemplar.bits.to_le_bytes());
    put_block(out, &exemplar.labels);
}

fn take(cursor: &mut Cursor<'_>) -> Result<StoredExemplar, Malformed> {
    Ok(StoredExemplar {
        series: SeriesId(cursor.varint_u32("exemplar series")?),
        time: cursor.i64("exemplar time")?,
        bits: cursor.u64("exemplar value")?,
        labels: labels(cursor.block("exemplar labels")?)?,
    })
}

fn labels(bytes: &[u8]) -> Result<Arc<[u8]>, Malformed> {
    let labels = Labels::from_bytes(bytes).map_err(|_| Malformed("exemplar labels"))?;
    Ok(labels.as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(series: u32, time: i64) -> StoredExemplar {
        StoredExemplar { series: SeriesId(series), time, bits: 1, labels: [].into() }
    }

    fn restored(ring: &Exemplars, stored: &BTreeMap<u64, Vec<u8>>) -> Exemplars {
        let mut back = Exemplars::starting_at(ring.first());
        for page in stored.values() {
            back.restore(&mut Cursor::new(page)).expect("valid");
        }
        back
    }

    #[test]
    fn the_oldest_leave_and_pages_follow() {
        let (mut ring, mut stored) = (Exemplars::default(), BTreeMap::new());
        for at in 1..500u64 {
            assert_eq!(ring.add(exemplar(at as u32 % 7, at as i64), at, 100), Added::Stored);
            if at % 30 == 0 {
                stored.extend(ring.changed(at.saturating_sub(30)));
                ring.left().for_each(|page| drop(stored.remove(&page)));
                ring.forget_left(at);
                assert!(stored.len() <= 3, "{at}");
                let back = restored(&ring, &stored);
                assert!(ring.iter().eq(back.iter()), "{at}");
                assert_eq!(ring.newest, back.newest);
            }
        }
        assert_eq!((ring.iter().count(), ring.first()), (100, 399));
    }

    #[test]
    fn a_series_exemplars_rise() {
        let mut ring = Exemplars::default();
        assert_eq!(ring.add(exemplar(1, 5), 1, 10), Added::Stored);
        assert_eq!(ring.add(exemplar(1, 5), 2, 10), Added::Repeated);
        assert_eq!(ring.add(exemplar(1, 4), 2, 10), Added::Refused);
        assert_eq!(ring.add(exemplar(2, 4), 2, 10), Added::Stored);
        let labels: Arc<[u8]> = b"\x01a\x01b".as_slice().into();
        let labelled = StoredExemplar { labels, ..exemplar(1, 5) };
        assert_eq!(ring.add(labelled, 2, 10), Added::Stored);
    }
}
