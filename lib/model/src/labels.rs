//! Label sets, kept as one sorted run of bytes.
//!
//! ```text
//! labels := { label }                      sorted by name, each name once
//! label  := varint(len) name varint(len) value    lengths in bytes, LEB128; text is UTF-8
//! ```
//!
//! The bytes are the identity of a series: they are what is hashed, compared, sent and stored.
//!
//! Invariants
//! * names strictly increase by bytes, none is empty; no value is empty, since in Prometheus an
//!   empty value means the label is absent;
//! * equal label sets have equal bytes.

use std::{borrow::Borrow, cmp::Ordering, fmt, hash, sync::Arc};

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";
/// The label that names the scrape job.
pub const JOB: &str = "job";
/// The label that names the scraped instance.
pub const INSTANCE: &str = "instance";

/// Why bytes or pairs are no label set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLabels {
    /// A label without a name.
    #[error("empty label name")]
    EmptyName,
    /// One name twice.
    #[error("label name {0:?} is not unique")]
    DuplicateName(String),
    /// Encoded bytes that are cut short, not UTF-8, unsorted or hold an empty text.
    #[error("malformed label bytes at offset {offset}")]
    Malformed {
        /// Bytes before the first wrong one.
        offset: usize,
    },
}

/// An immutable label set. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// The label set without labels.
    pub fn empty() -> Self {
        Self(Arc::from([].as_slice()))
    }

    /// Sorts `pairs`, leaves out those with an empty value, and refuses a repeated or empty name.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, InvalidLabels>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let mut bytes = Vec::with_capacity(pairs.len() * 24);
        let mut previous: Option<&str> = None;
        for (name, value) in &pairs {
            let name = name.as_ref();
            if name.is_empty() {
                return Err(InvalidLabels::EmptyName);
            }
            if previous == Some(name) {
                return Err(InvalidLabels::DuplicateName(name.to_owned()));
            }
            previous = Some(name);
            if !value.as_ref().is_empty() {
                put_text(&mut bytes, name);
                put_text(&mut bytes, value.as_ref());
            }
        }
        Ok(Self(bytes.into()))
    }

    /// Takes bytes in the encoding of this module after checking every invariant.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidLabels> {
        check_bytes(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The encoded bytes: a series' identity.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.0 }
    }

    /// The value of `name`, or `None` where the label is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The value of `name`, or the empty text where the label is absent.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// The metric's name, if the series has one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many labels there are. Walks them.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// xxh3-64 of the bytes: the same on every machine and in every version.
    pub fn hash64(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }

    /// The high half of [`Labels::hash64`] of encoded labels: tells a series' labels from those of
    /// another that had its number, where labels themselves would cost too much.
    pub fn fingerprint_of(bytes: &[u8]) -> u32 {
        (xxhash_rust::xxh3::xxh3_64(bytes) >> 32) as u32
    }

    /// See [`Labels::fingerprint_of`].
    pub fn fingerprint(&self) -> u32 {
        Self::fingerprint_of(&self.0)
    }

    /// xxh64 of the bytes, which is what Prometheus hashes as long as no text has 128 bytes or
    /// more: `limit_ratio` chooses the same series.
    pub fn sampling_hash(&self) -> u64 {
        xxhash_rust::xxh64::xxh64(&self.0, 0)
    }

    /// The labels for which `keep` holds.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len());
        for (name, value) in self.iter().filter(|(name, _)| keep(name)) {
            put_text(&mut bytes, name);
            put_text(&mut bytes, value);
        }
        Self(bytes.into())
    }

    /// Appends the bytes that [`Labels::filtered`] would have. For loops over many series: it
    /// neither allocates a label set nor looks at the text of what it copies.
    pub fn filter_bytes(&self, mut keep: impl FnMut(&[u8]) -> bool, into: &mut Vec<u8>) {
        let mut rest = &self.0[..];
        while !rest.is_empty() {
            let (name_len, name_at) = read_varint(rest).expect("labels were checked when made");
            let value_at = name_at + name_len;
            let (value_len, used) =
                read_varint(&rest[value_at..]).expect("labels were checked when made");
            let (label, behind) = rest.split_at(value_at + used + value_len);
            if keep(&label[name_at..value_at]) {
                into.extend_from_slice(label);
            }
            rest = behind;
        }
    }

    /// All labels but the metric's name.
    #[must_use]
    pub fn without_metric_name(&self) -> Self {
        self.filtered(|name| name != METRIC_NAME)
    }

    /// A builder that starts with these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl hash::Hash for Labels {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Lets a map keyed by [`Labels`] be searched with encoded bytes.
impl Borrow<[u8]> for Labels {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Prometheus's order: label by label, names before values; a prefix comes first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `{name="value", …}` with the metric's name among the labels, as Prometheus prints label sets.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(name) {
                write!(f, "{name}={value:?}")?;
            } else {
                write!(f, "{name:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Walks the labels of a [`Labels`].
#[derive(Debug, Clone)]
pub struct LabelsIter<'a> {
    rest: &'a [u8],
}

impl<'a> LabelsIter<'a> {
    fn text(&mut self) -> &'a str {
        let (len, used) = read_varint(self.rest).expect("labels were checked when made");
        let (text, rest) = self.rest[used..].split_at(len);
        self.rest = rest;
        std::str::from_utf8(text).expect("labels were checked when made")
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = self.text();
        Some((name, self.text()))
    }
}

/// A label set under construction. Keeps names sorted; setting an empty value removes the label.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// A builder without labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name`, replacing its value; an empty `value` removes it. An empty name is ignored.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        match self.find(name) {
            Ok(at) if value.is_empty() => drop(self.pairs.remove(at)),
            Ok(at) => self.pairs[at].1 = value,
            Err(at) if !value.is_empty() && !name.is_empty() => {
                self.pairs.insert(at, (name.to_owned(), value));
            }
            Err(_) => {}
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        if let Ok(at) = self.find(name) {
            self.pairs.remove(at);
        }
        self
    }

    /// Keeps the labels for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.pairs.retain(|(name, value)| keep(name, value));
        self
    }

    /// The value of `name`, or the empty text.
    pub fn value(&self, name: &str) -> &str {
        self.find(name).map_or("", |at| &self.pairs[at].1)
    }

    /// The labels so far, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether no label is set.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The finished label set.
    pub fn build(&self) -> Labels {
        let len = self.pairs.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
        let mut bytes = Vec::with_capacity(len);
        for (name, value) in &self.pairs {
            put_text(&mut bytes, name);
            put_text(&mut bytes, value);
        }
        Labels(bytes.into())
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(found, _)| found.as_str().cmp(name))
    }
}

/// Whether `name` is a metric name of the classic character set `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_legacy_metric_name(name: &str) -> bool {
    is_legacy(name, |b| b == b':')
}

/// Whether `name` is a label name of the classic character set `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy(name, |_| false)
}

fn is_legacy(name: &str, extra: impl Fn(u8) -> bool) -> bool {
    let first_is_digit = name.as_bytes().first().is_none_or(u8::is_ascii_digit);
    !first_is_digit && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || extra(b))
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let mut len = text.len();
    while len >= 0x80 {
        bytes.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(text.as_bytes());
}

/// Reads a length of at most five bytes; returns it with the bytes it took.
fn read_varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for (i, &byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let shortest = i == 0 || byte != 0;
            return shortest.then_some((value, i + 1));
        }
    }
    None
}

fn check_bytes(bytes: &[u8]) -> Result<(), InvalidLabels> {
    let mut offset = 0;
    let mut previous: &str = "";
    while offset < bytes.len() {
        let name = check_text(bytes, &mut offset)?;
        if name <= previous {
            return Err(InvalidLabels::Malformed { offset });
        }
        previous = name;
        check_text(bytes, &mut offset)?;
    }
    Ok(())
}

/// The non-empty text at `offset`, which moves behind it.
fn check_text<'a>(bytes: &'a [u8], offset: &mut usize) -> Result<&'a str, InvalidLabels> {
    let malformed = InvalidLabels::Malformed { offset: *offset };
    let Some((len, used)) = read_varint(&bytes[*offset..]) else {
        return Err(malformed);
    };
    let start = *offset + used;
    let text = bytes.get(start..start + len).and_then(|text| std::str::from_utf8(text).ok());
    match text {
        Some(text) if !text.is_empty() => {
            *offset = start + len;
            Ok(text)
        }
        _ => Err(malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).expect("valid pairs")
    }

    #[test]
    fn pairs_are_sorted_and_empty_values_left_out() {
        let set = labels(&[("job", "api"), ("__name__", "up"), ("zone", "")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("__name__", "up"), ("job", "api")]);
        assert_eq!(set.to_string(), r#"{__name__="up", job="api"}"#);
        assert_eq!(set.value("zone"), "");
        assert_eq!(set.metric_name(), Some("up"));
    }

    #[test]
    fn repeated_and_empty_names_are_refused() {
        let repeated = Labels::from_pairs([("a", "1"), ("a", "2")]);
        assert_eq!(repeated, Err(InvalidLabels::DuplicateName("a".into())));
        assert_eq!(Labels::from_pairs([("", "1")]), Err(InvalidLabels::EmptyName));
    }

    #[test]
    fn order_is_by_label_not_by_bytes() {
        // The byte encoding begins with lengths; the order must not see them.
        assert!(labels(&[("aa", "1")]) < labels(&[("b", "1")]));
        assert!(labels(&[("a", "1")]) < labels(&[("a", "1"), ("b", "1")]));
    }

    #[test]
    fn hash_is_fixed_for_ever() {
        let set = labels(&[("__name__", "up"), ("instance", "a:9100"), ("job", "node")]);
        assert_eq!(set.hash64(), xxhash_rust::xxh3::xxh3_64(set.as_bytes()));
        assert_eq!(set.as_bytes()[..12], *b"\x08__name__\x02up");
    }

    #[test]
    fn names_of_the_classic_set() {
        assert!(is_legacy_metric_name("job:up:sum") && !is_legacy_label_name("job:up"));
        assert!(
            !is_legacy_label_name("") && !is_legacy_label_name("9a") && is_legacy_label_name("_")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_back_equal(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(set) = Labels::from_bytes(&bytes) {
                prop_assert_eq!(Labels::from_pairs(set.iter()).expect("valid"), set);
            }
        }

        #[test]
        fn a_builder_agrees_with_pairs(pairs in proptest::collection::btree_map("[a-c]{1,3}", "[x-z]{0,200}", 0..8)) {
            let mut builder = LabelsBuilder::new();
            for (name, value) in &pairs {
                builder.set(name, value.clone());
            }
            let set = Labels::from_pairs(&pairs).expect("valid");
            let mut bytes = Vec::new();
            set.filter_bytes(|name| name.contains(&b'a'), &mut bytes);
            let filtered = set.filtered(|name| name.contains('a'));
            prop_assert_eq!(&bytes, filtered.as_bytes());
            prop_assert_eq!(&builder.build(), &set);
            prop_assert_eq!(Labels::from_bytes(set.as_bytes()).expect("valid"), set);
        }
    }
}
