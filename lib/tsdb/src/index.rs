//! Which series has which labels: interned label pairs, their postings, and look-up both ways.
//!
//! A label (name and value) is kept once, with the series that have it; a series is the list of
//! its labels' numbers. The postings are the reference count: a label without series is freed,
//! so churn leaves nothing behind.
//!
//! Invariants
//! * a label exists exactly as long as a series has it;
//! * no two series here have equal labels;
//! * label numbers are this process's own: they are in no format and no outcome.
//!
//! There are no samples here, and no days: callers narrow what they select by presence.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use hashbrown::{HashMap, HashTable};
use narthex_model::{Labels, MatchOp, Matcher};
use roaring::RoaringBitmap;

use crate::{
    LabelCount, SeriesId,
    bytes::{put_block, strip_block},
    postings::Postings,
};

type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pairs: Vec<Pair>,
    free_pairs: Vec<u32>,
    names: FastMap<Arc<str>, Name>,
    /// By label hash: the fingerprint, then the series.
    by_hash: HashTable<(u32, u32)>,
    series: SeriesTable,
}

#[derive(Debug)]
struct Pair {
    name: Arc<str>,
    value: Arc<str>,
    postings: Postings,
}

#[derive(Debug, Default)]
struct Name {
    /// Value to pair, in order.
    values: BTreeMap<Arc<str>, u32>,
}

/// Labels by series id, in groups, so that ended series take no memory.
#[derive(Debug, Default)]
struct SeriesTable {
    groups: Vec<Option<Box<SeriesGroup>>>,
    len: usize,
}

/// The numbers of each series' pairs, in order of their names, one series' behind the other's: a
/// list of its own would take as much again.
#[derive(Debug)]
struct SeriesGroup {
    pairs: Vec<u32>,
    /// Where each place's pairs end; they begin where those of the place before end.
    ends: [u32; GROUP],
    fingerprints: [u32; GROUP],
    /// A bit for each place that has a series, the lowest for place 0.
    present: u64,
}

const GROUP: usize = 64;
/// Room is made for so many series at a time.
const GROWTH_SERIES: usize = 8;

impl SeriesGroup {
    const EMPTY: Self =
        Self { pairs: Vec::new(), ends: [0; GROUP], fingerprints: [0; GROUP], present: 0 };

    fn has(&self, place: usize) -> bool {
        self.present & 1 << place != 0
    }

    fn range(&self, place: usize) -> std::ops::Range<usize> {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[place] as usize
    }

    fn insert(&mut self, place: usize, pairs: &[u32], fingerprint: u32) {
        if self.pairs.capacity() - self.pairs.len() < pairs.len() {
            self.pairs.reserve_exact(pairs.len() * GROWTH_SERIES);
        }
        let at = self.range(place).start;
        self.pairs.splice(at..at, pairs.iter().copied());
        self.ends[place..].iter_mut().for_each(|end| *end += pairs.len() as u32);
        self.fingerprints[place] = fingerprint;
        self.present |= 1 << place;
    }

    fn remove(&mut self, place: usize) -> Vec<u32> {
        let pairs: Vec<u32> = self.pairs.drain(self.range(place)).collect();
        self.pairs.shrink_to_fit();
        self.ends[place..].iter_mut().for_each(|end| *end -= pairs.len() as u32);
        self.present &= !(1 << place);
        pairs
    }
}

impl SeriesTable {
    /// The group and place of a series that is there.
    fn find(&self, id: SeriesId) -> Option<(&SeriesGroup, usize)> {
        let (group, place) = (id.0 as usize / GROUP, id.0 as usize % GROUP);
        let group = self.groups.get(group)?.as_deref()?;
        group.has(place).then_some((group, place))
    }

    fn pairs(&self, id: SeriesId) -> Option<&[u32]> {
        let (group, place) = self.find(id)?;
        Some(&group.pairs[group.range(place)])
    }

    fn fingerprint(&self, id: SeriesId) -> Option<u32> {
        let (group, place) = self.find(id)?;
        Some(group.fingerprints[place])
    }

    /// Adds a series that is not there.
    fn insert(&mut self, id: SeriesId, pairs: &[u32], fingerprint: u32) {
        let (group, place) = (id.0 as usize / GROUP, id.0 as usize % GROUP);
        if self.groups.len() <= group {
            self.groups.resize_with(group + 1, || None);
        }
        let group = self.groups[group].get_or_insert_with(|| Box::new(SeriesGroup::EMPTY));
        group.insert(place, pairs, fingerprint);
        self.len += 1;
    }

    fn remove(&mut self, id: SeriesId) -> Option<Vec<u32>> {
        self.find(id)?;
        let slot = &mut self.groups[id.0 as usize / GROUP];
        let group = slot.as_mut()?;
        let pairs = group.remove(id.0 as usize % GROUP);
        if group.present == 0 {
            *slot = None;
        }
        self.len -= 1;
        Some(pairs)
    }
}

impl Index {
    /// How many series there are.
    pub(crate) fn series_count(&self) -> usize {
        self.series.len
    }

    /// The series with exactly these labels, given as encoded bytes.
    pub(crate) fn find(&self, labels: &[u8]) -> Option<SeriesId> {
        let fingerprint = Labels::fingerprint_of(labels);
        let found = self.by_hash.find(u64::from(fingerprint), |&(other, id)| {
            other == fingerprint && self.has_labels(SeriesId(id), labels)
        });
        found.map(|&(_, id)| SeriesId(id))
    }

    /// The fingerprint of a series' labels.
    pub(crate) fn fingerprint(&self, id: SeriesId) -> Option<u32> {
        self.series.fingerprint(id)
    }

    fn has_labels(&self, id: SeriesId, labels: &[u8]) -> bool {
        let Some(pairs) = self.series.pairs(id) else { return false };
        let mut rest = labels;
        for &number in pairs {
            let pair = &self.pairs[number as usize];
            for text in [&pair.name, &pair.value] {
                match strip_block(rest, text.as_bytes()) {
                    Some(behind) => rest = behind,
                    None => return false,
                }
            }
        }
        rest.is_empty()
    }

    /// Adds a series that [`Index::find`] did not find.
    pub(crate) fn insert(&mut self, id: SeriesId, labels: &Labels) {
        let pairs: Vec<u32> =
            labels.iter().map(|(name, value)| self.pair(name, value, id)).collect();
        let fingerprint = Labels::fingerprint_of(labels.as_bytes());
        self.series.insert(id, &pairs, fingerprint);
        let hash = |&(fingerprint, _): &(u32, u32)| u64::from(fingerprint);
        self.by_hash.insert_unique(u64::from(fingerprint), (fingerprint, id.0), hash);
    }

    /// Removes a series and every label that no other has.
    pub(crate) fn remove(&mut self, id: SeriesId) {
        let Some(fingerprint) = self.series.fingerprint(id) else { return };
        let is_it = |&(_, found): &(u32, u32)| found == id.0;
        if let Ok(entry) = self.by_hash.find_entry(u64::from(fingerprint), is_it) {
            entry.remove();
        }
        let pairs = self.series.remove(id).expect("its fingerprint was just read");
        for number in pairs {
            let pair = &mut self.pairs[number as usize];
            pair.postings.remove(id.0);
            if pair.postings.is_empty() {
                self.free_pair(number);
            }
        }
    }

    fn free_pair(&mut self, number: u32) {
        let pair = &mut self.pairs[number as usize];
        let (name, value) = (Arc::clone(&pair.name), Arc::clone(&pair.value));
        (pair.name, pair.value) = (Arc::from(""), Arc::from(""));
        self.free_pairs.push(number);
        let values = self.names.get_mut(&name).expect("a pair's name is known");
        values.values.remove(&value);
        if values.values.is_empty() {
            self.names.remove(&name);
        }
    }

    fn pair(&mut self, name: &str, value: &str, id: SeriesId) -> u32 {
        let name = match self.names.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(name),
        };
        let values = self.names.entry(Arc::clone(&name)).or_default();
        let number = match values.values.get(value) {
            Some(&number) => number,
            None => {
                let value: Arc<str> = Arc::from(value);
                let pair = Pair { name, value: Arc::clone(&value), postings: Postings::default() };
                let number = self.free_pairs.pop().unwrap_or(self.pairs.len() as u32);
                match self.pairs.get_mut(number as usize) {
                    Some(freed) => *freed = pair,
                    None => self.pairs.push(pair),
                }
                values.values.insert(value, number);
                number
            }
        };
        self.pairs[number as usize].postings.insert(id.0);
        number
    }

    /// The numbers of a series' `job` and `instance` labels, where it has them. A number means the
    /// same label for as long as any series has it.
    pub(crate) fn job_and_instance(&self, id: SeriesId) -> (Option<u32>, Option<u32>) {
        let pairs = self.series.pairs(id).unwrap_or(&[]);
        let named = |name: &str| {
            pairs.iter().copied().find(|&number| &*self.pairs[number as usize].name == name)
        };
        (named("job"), named("instance"))
    }

    /// The number of a label that a series has.
    pub(crate) fn pair_of(&self, name: &str, value: &str) -> Option<u32> {
        self.names.get(name)?.values.get(value).copied()
    }

    /// The value of the label with this number.
    pub(crate) fn value_of(&self, number: u32) -> &str {
        &self.pairs[number as usize].value
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, id: SeriesId) -> Option<Labels> {
        let pairs = self.series.pairs(id)?;
        let mut bytes = Vec::with_capacity(pairs.len() * 24);
        for &number in pairs {
            let pair = &self.pairs[number as usize];
            put_block(&mut bytes, pair.name.as_bytes());
            put_block(&mut bytes, pair.value.as_bytes());
        }
        Some(Labels::from_bytes(&bytes).expect("they were valid labels when they came"))
    }

    /// Whether a series satisfies all matchers.
    pub(crate) fn matches(&self, id: SeriesId, matchers: &[Matcher]) -> bool {
        let Some(pairs) = self.series.pairs(id) else { return false };
        matchers.iter().all(|matcher| {
            let mut found = pairs.iter().map(|&number| &self.pairs[number as usize]);
            let label = found.find(|pair| &*pair.name == matcher.name());
            matcher.matches(label.map_or("", |pair| &pair.value))
        })
    }

    /// The series of `within` that satisfy all matchers.
    pub(crate) fn select(&self, matchers: &[Matcher], within: &RoaringBitmap) -> RoaringBitmap {
        let mut selected: Option<RoaringBitmap> = None;
        // Matchers that an absent label fails name few series, and those that name their values
        // the fewest: they go first.
        let mut requiring: Vec<_> = matchers.iter().filter(|it| !it.matches_empty()).collect();
        requiring.sort_by_key(|matcher| literals(matcher).is_none());
        for matcher in requiring {
            let candidates = selected.as_ref().unwrap_or(within);
            let narrowed = match self.is_cheaper_by_series(matcher, candidates) {
                true => self.matching_of(candidates, matcher),
                false => self.union(matcher) & candidates,
            };
            if narrowed.is_empty() {
                return narrowed;
            }
            selected = Some(narrowed);
        }
        let mut selected = selected.unwrap_or_else(|| within.clone());
        for matcher in matchers.iter().filter(|matcher| matcher.matches_empty()) {
            match self.is_cheaper_by_series(matcher, &selected) {
                true => selected = self.matching_of(&selected, matcher),
                false => selected -= self.union_of_failing(matcher),
            }
        }
        selected
    }

    /// Whether a label has more values than there are series left: values of series that are gone
    /// stay for as long as retention keeps their days, and a query of today must not pay for them.
    fn is_cheaper_by_series(&self, matcher: &Matcher, candidates: &RoaringBitmap) -> bool {
        // One value is looked up, whichever way it is meant.
        let names_one = matcher.op() == MatchOp::NotEqual && matcher.matches_empty();
        let values = self.names.get(matcher.name()).map_or(0, |name| name.values.len());
        !names_one && literals(matcher).is_none() && values as u64 > candidates.len()
    }

    fn matching_of(&self, candidates: &RoaringBitmap, matcher: &Matcher) -> RoaringBitmap {
        let matchers = std::slice::from_ref(matcher);
        candidates.iter().filter(|&id| self.matches(SeriesId(id), matchers)).collect()
    }

    /// The series whose value of a label satisfies `matcher`, which an empty value does not.
    fn union(&self, matcher: &Matcher) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        let Some(values) = self.names.get(matcher.name()) else { return set };
        let mut add = |number: &u32| self.pairs[*number as usize].postings.union_into(&mut set);
        if let Some(literals) = literals(matcher) {
            literals.iter().filter_map(|value| values.values.get(*value)).for_each(add);
            return set;
        }
        let prefix = match (matcher.op(), matcher.regex()) {
            (MatchOp::Regex, Some(regex)) => regex.prefix(),
            _ => "",
        };
        let bounds = (Bound::Included(prefix), Bound::Unbounded);
        let from = values.values.range::<str, _>(bounds);
        from.take_while(|(value, _)| value.starts_with(prefix))
            .filter(|(value, _)| matcher.matches(value))
            .for_each(|(_, number)| add(number));
        set
    }

    /// The series whose value of a label fails `matcher`, which an empty value satisfies.
    fn union_of_failing(&self, matcher: &Matcher) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        let Some(values) = self.names.get(matcher.name()) else { return set };
        if matcher.op() == MatchOp::NotEqual {
            if let Some(&number) = values.values.get(matcher.value()) {
                self.pairs[number as usize].postings.union_into(&mut set);
            }
            return set;
        }
        for (_, &number) in values.values.iter().filter(|(value, _)| !matcher.matches(value)) {
            self.pairs[number as usize].postings.union_into(&mut set);
        }
        set
    }

    /// Names of labels that a series of `among` has, in order.
    pub(crate) fn label_names(&self, among: &RoaringBitmap) -> Vec<String> {
        let has_any = |name: &Name| {
            name.values.values().any(|&pair| self.pairs[pair as usize].postings.intersects(among))
        };
        let names = self.names.iter().filter(|(_, name)| has_any(name));
        let mut names: Vec<String> = names.map(|(name, _)| name.to_string()).collect();
        names.sort_unstable();
        names
    }

    /// Values of a label that a series of `among` has, in order.
    pub(crate) fn label_values(&self, name: &str, among: &RoaringBitmap) -> Vec<String> {
        let Some(values) = self.names.get(name) else { return Vec::new() };
        if values.values.len() as u64 > among.len() {
            return self.label_values_of(name, among);
        }
        let found = values.values.iter();
        found
            .filter(|&(_, &pair)| self.pairs[pair as usize].postings.intersects(among))
            .map(|(value, _)| value.to_string())
            .collect()
    }

    /// The same, told from the series: see [`Index::is_cheaper_by_series`].
    fn label_values_of(&self, name: &str, among: &RoaringBitmap) -> Vec<String> {
        let mut found: Vec<&str> = Vec::new();
        for pairs in among.iter().filter_map(|id| self.series.pairs(SeriesId(id))) {
            let mut pairs = pairs.iter().map(|&number| &self.pairs[number as usize]);
            found.extend(pairs.find(|pair| &*pair.name == name).map(|pair| &*pair.value));
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(str::to_owned).collect()
    }

    /// The labels behind `after`, in order of names and values, with how many series of `among`
    /// have each; those that none has are left out. Looks at `limit` labels at the most and names
    /// the last one, or none once there are no more.
    pub(crate) fn labels_after(
        &self,
        after: Option<(&str, &str)>,
        limit: usize,
        among: &RoaringBitmap,
    ) -> (Vec<LabelCount>, Option<(String, String)>) {
        let first = after.map_or("", |(name, _)| name);
        let mut names: Vec<&Arc<str>> = self.names.keys().filter(|it| ***it >= *first).collect();
        names.sort_unstable();
        let behind = |name: &str| match after {
            Some((same, value)) if same == name => Bound::Excluded(value),
            _ => Bound::Unbounded,
        };
        let labels = names.into_iter().flat_map(|name| {
            let bounds = (behind(name), Bound::Unbounded);
            let values = self.names[name].values.range::<str, _>(bounds);
            values.map(move |(value, &pair)| (name, value, pair))
        });
        let (mut found, mut seen, mut last) = (Vec::new(), 0, None);
        for (name, value, pair) in labels {
            let series = self.pairs[pair as usize].postings.count_in(among);
            if series > 0 {
                found.push(LabelCount { name: name.to_string(), value: value.to_string(), series });
            }
            seen += 1;
            if seen == limit {
                last = Some((name.to_string(), value.to_string()));
                break;
            }
        }
        (found, last)
    }

    /// Bytes of memory, near enough.
    pub(crate) fn memory_bytes(&self) -> usize {
        let pairs: usize = self
            .pairs
            .iter()
            .map(|pair| size_of::<Pair>() + pair.postings.memory_bytes() + pair.value.len() + 48)
            .sum();
        pairs + self.by_hash.capacity() * 9 + self.series.len * 32
    }
}

/// The values that a matcher accepts, where it names them.
fn literals(matcher: &Matcher) -> Option<Vec<&str>> {
    match (matcher.op(), matcher.regex()) {
        (MatchOp::Equal, _) => Some(vec![matcher.value()]),
        (MatchOp::Regex, Some(regex)) => {
            regex.set_matches().map(|set| set.iter().map(String::as_str).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).expect("valid")
    }

    fn arbitrary_labels() -> impl Strategy<Value = Labels> {
        proptest::collection::btree_map("[ab]", "[xyz]{0,2}", 0..3)
            .prop_map(|pairs| Labels::from_pairs(pairs).expect("valid"))
    }

    fn arbitrary_matcher() -> impl Strategy<Value = Matcher> {
        let op = prop_oneof![
            Just(MatchOp::Equal),
            Just(MatchOp::NotEqual),
            Just(MatchOp::Regex),
            Just(MatchOp::NotRegex)
        ];
        let pattern = prop_oneof![
            "[xyz]{0,2}",
            Just("x|yz".to_owned()),
            Just("x.*".to_owned()),
            Just(".+".to_owned()),
            Just("|y".to_owned()),
            Just("(?i)X".to_owned())
        ];
        (op, "[abc]", pattern)
            .prop_map(|(op, name, value)| Matcher::new(op, name, value).expect("valid"))
    }

    proptest! {
        #[test]
        fn selects_what_the_matchers_accept(
            sets in proptest::collection::vec(arbitrary_labels(), 0..40),
            removed in proptest::collection::vec(0usize..40, 0..10),
            matchers in proptest::collection::vec(arbitrary_matcher(), 0..4),
        ) {
            let mut index = Index::default();
            let mut all: BTreeMap<u32, Labels> = BTreeMap::new();
            for (id, labels) in sets.iter().enumerate() {
                if index.find(labels.as_bytes()).is_none() {
                    index.insert(SeriesId(id as u32), labels);
                    all.insert(id as u32, labels.clone());
                }
            }
            for id in removed {
                index.remove(SeriesId(id as u32));
                all.remove(&(id as u32));
            }
            let within: RoaringBitmap = all.keys().copied().collect();
            let selected = index.select(&matchers, &within);
            for (&id, labels) in &all {
                let accepted = matchers.iter().all(|m| m.matches(labels.value(m.name())));
                prop_assert_eq!(selected.contains(id), accepted, "{} {:?}", labels, matchers);
                prop_assert_eq!(index.matches(SeriesId(id), &matchers), accepted);
                prop_assert_eq!(index.find(labels.as_bytes()), Some(SeriesId(id)));
                let stored = index.labels(SeriesId(id));
                prop_assert_eq!(stored.as_ref(), Some(labels));
            }
            prop_assert_eq!(index.series_count(), all.len());
        }

        #[test]
        fn labels_are_counted_slice_by_slice(
            sets in proptest::collection::vec(arbitrary_labels(), 0..40),
            limit in 1usize..5,
        ) {
            let (mut index, mut among) = (Index::default(), RoaringBitmap::new());
            let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
            for (id, labels) in sets.iter().enumerate() {
                if index.find(labels.as_bytes()).is_some() {
                    continue;
                }
                index.insert(SeriesId(id as u32), labels);
                // Labels of odd series alone are looked at and not told.
                if id % 2 == 0 {
                    among.insert(id as u32);
                    for (name, value) in labels.iter() {
                        *counts.entry((name.to_owned(), value.to_owned())).or_default() += 1;
                    }
                }
            }
            let (mut told, mut after) = (Vec::new(), None::<(String, String)>);
            loop {
                let from = after.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
                let (found, last) = index.labels_after(from, limit, &among);
                prop_assert!(found.len() <= limit);
                told.extend(found.into_iter().map(|it| ((it.name, it.value), it.series)));
                match last {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
            prop_assert_eq!(told, counts.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn nothing_is_left_of_removed_series() {
        let mut index = Index::default();
        index.insert(SeriesId(0), &set(&[("a", "1"), ("b", "2")]));
        index.insert(SeriesId(1), &set(&[("a", "1")]));
        index.remove(SeriesId(0));
        let all = [1].into_iter().collect();
        assert_eq!(index.label_names(&all), ["a"]);
        assert_eq!(index.label_values("a", &all), ["1"]);
        index.remove(SeriesId(1));
        assert!(index.names.is_empty() && index.by_hash.is_empty());
        assert_eq!(index.free_pairs.len(), index.pairs.len());
    }
}
