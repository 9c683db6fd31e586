//! The series that have one label, as sorted ids.
//!
//! Most labels belong to few series, and a bitmap of one id takes 232 bytes: up to four ids are
//! kept inline, up to 64 in a list, more in a bitmap.

use roaring::RoaringBitmap;

const INLINE_MAX: usize = 4;
const LIST_MAX: usize = 64;

/// A set of series ids.
#[derive(Debug, Clone)]
pub(crate) enum Postings {
    Inline { len: u8, ids: [u32; INLINE_MAX] },
    List(Vec<u32>),
    Bitmap(Box<RoaringBitmap>),
}

impl Default for Postings {
    fn default() -> Self {
        Self::Inline { len: 0, ids: [0; INLINE_MAX] }
    }
}

impl Postings {
    /// Adds an id. Ids are given in rising order, so it nearly always goes to the end.
    pub(crate) fn insert(&mut self, id: u32) {
        match self {
            Self::Inline { len, ids } => {
                let used = usize::from(*len);
                let Err(at) = ids[..used].binary_search(&id) else { return };
                if used < INLINE_MAX {
                    ids.copy_within(at..used, at + 1);
                    ids[at] = id;
                    *len += 1;
                    return;
                }
                let mut list = Vec::with_capacity(2 * INLINE_MAX);
                list.extend_from_slice(ids);
                list.insert(at, id);
                *self = Self::List(list);
            }
            Self::List(list) => {
                let Err(at) = list.binary_search(&id) else { return };
                list.insert(at, id);
                if list.len() > LIST_MAX {
                    *self = Self::Bitmap(Box::new(list.iter().copied().collect()));
                }
            }
            Self::Bitmap(bitmap) => drop(bitmap.insert(id)),
        }
    }

    /// Removes an id.
    pub(crate) fn remove(&mut self, id: u32) {
        match self {
            Self::Inline { len, ids } => {
                let used = usize::from(*len);
                if let Ok(at) = ids[..used].binary_search(&id) {
                    ids.copy_within(at + 1..used, at);
                    *len -= 1;
                }
            }
            Self::List(list) => {
                if let Ok(at) = list.binary_search(&id) {
                    list.remove(at);
                }
            }
            Self::Bitmap(bitmap) => drop(bitmap.remove(id)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Inline { len, .. } => *len == 0,
            Self::List(list) => list.is_empty(),
            Self::Bitmap(bitmap) => bitmap.is_empty(),
        }
    }

    /// Adds all ids to `set`.
    pub(crate) fn union_into(&self, set: &mut RoaringBitmap) {
        match self {
            Self::Inline { len, ids } => set.extend(ids[..usize::from(*len)].iter().copied()),
            Self::List(list) => set.extend(list.iter().copied()),
            Self::Bitmap(bitmap) => *set |= bitmap.as_ref(),
        }
    }

    /// Whether any id is in `set`.
    pub(crate) fn intersects(&self, set: &RoaringBitmap) -> bool {
        match self {
            Self::Inline { len, ids } => {
                ids[..usize::from(*len)].iter().any(|&id| set.contains(id))
            }
            Self::List(list) => list.iter().any(|&id| set.contains(id)),
            Self::Bitmap(bitmap) => !bitmap.is_disjoint(set),
        }
    }

    /// How many ids are in `set`.
    pub(crate) fn count_in(&self, set: &RoaringBitmap) -> u64 {
        let among = |ids: &[u32]| ids.iter().filter(|&&id| set.contains(id)).count() as u64;
        match self {
            Self::Inline { len, ids } => among(&ids[..usize::from(*len)]),
            Self::List(list) => among(list),
            Self::Bitmap(bitmap) => bitmap.intersection_len(set),
        }
    }

    /// Bytes of memory behind it.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Inline { .. } => 0,
            Self::List(list) => list.capacity() * 4,
            Self::Bitmap(bitmap) => bitmap.serialized_size() + 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in proptest::collection::vec((0u32..120, any::<bool>()), 0..300)) {
            let (mut postings, mut model) = (Postings::default(), BTreeSet::new());
            for (id, add) in steps {
                if add {
                    postings.insert(id);
                    model.insert(id);
                } else {
                    postings.remove(id);
                    model.remove(&id);
                }
                prop_assert_eq!(postings.is_empty(), model.is_empty());
            }
            let mut set = RoaringBitmap::new();
            postings.union_into(&mut set);
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            let odd: RoaringBitmap = (0..120).filter(|id| id % 2 == 1).collect();
            prop_assert_eq!(postings.intersects(&odd), model.iter().any(|id| id % 2 == 1));
            let odd_ids = model.iter().filter(|&id| id % 2 == 1).count() as u64;
            prop_assert_eq!(postings.count_in(&odd), odd_ids);
        }
    }
}
