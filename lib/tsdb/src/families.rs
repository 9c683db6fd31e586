//! What is known of the metric families that a shard has samples of.
//!
//! The last word wins. A repeated one changes nothing but, once a day, when the family was last
//! spoken of: retention drops those of which nobody speaks.

use std::collections::BTreeMap;

use narthex_model::{FamilyMetadata, MetricType};

use crate::{
    bytes::{Cursor, Malformed, put_varint},
    entry::{put_family, take_family},
};

/// Families of a shard at most; further ones are refused. Ten times what a large fleet has.
pub(crate) const FAMILIES_MAX: usize = 16 << 10;
/// Bytes of a family's name, help and unit together at most.
pub(crate) const FAMILY_BYTES_MAX: usize = 4 << 10;

/// One family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) metric_type: MetricType,
    pub(crate) help: Box<str>,
    pub(crate) unit: Box<str>,
    /// The day on which it was last spoken of.
    seen: i64,
    /// Log index of the entry that changed it last.
    touched: u64,
}

/// What became of metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It says something new.
    Changed,
    /// It was known.
    Known,
    /// There are too many families, or it is too long.
    Refused,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Families {
    families: BTreeMap<Box<str>, Family>,
    /// Families that retention dropped, with the log index, until a checkpoint has written that.
    gone: Vec<(Box<str>, u64)>,
}

impl Families {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.families.iter().map(|(name, family)| (&**name, family))
    }

    /// Whether metadata says on `day` what was said on it before.
    pub(crate) fn knows(&self, metadata: &FamilyMetadata<'_>, day: i64) -> bool {
        let family = self.families.get(metadata.family);
        family.is_some_and(|family| family.says(metadata) && family.seen >= day)
    }

    /// Takes what the entry at log index `at` says, whose leader's clock shows `day`.
    pub(crate) fn tell(&mut self, metadata: &FamilyMetadata<'_>, day: i64, at: u64) -> Told {
        let bytes = metadata.family.len() + metadata.help.len() + metadata.unit.len();
        if metadata.family.is_empty() || bytes > FAMILY_BYTES_MAX {
            return Told::Refused;
        }
        let is_full = self.families.len() >= FAMILIES_MAX;
        match self.families.get_mut(metadata.family) {
            Some(known) if known.says(metadata) => {
                if known.seen < day {
                    (known.seen, known.touched) = (day, at);
                }
                Told::Known
            }
            Some(known) => {
                *known = Family::new(metadata, day, at);
                Told::Changed
            }
            None if is_full => Told::Refused,
            None => {
                let family = Family::new(metadata, day, at);
                self.families.insert(metadata.family.into(), family);
                Told::Changed
            }
        }
    }

    /// Drops the families of which nobody spoke since before `day`.
    pub(crate) fn forget_before(&mut self, day: i64, at: u64) {
        let gone = self.families.extract_if(.., |_, family| family.seen < day);
        self.gone.extend(gone.map(|(name, _)| (name, at)));
    }

    /// Families that were dropped and did not come back.
    pub(crate) fn gone(&self) -> impl Iterator<Item = &str> {
        let gone = self.gone.iter().map(|(name, _)| &**name);
        gone.filter(|name| !self.families.contains_key(*name))
    }

    /// Forgets the drops that a checkpoint at log index `upto` has written.
    pub(crate) fn forget_gone(&mut self, upto: u64) {
        self.gone.retain(|gone| gone.1 > upto);
    }

    /// The families that entries behind log index `confirmed` changed.
    pub(crate) fn changed(&self, confirmed: u64) -> impl Iterator<Item = (&str, &Family)> {
        self.iter().filter(move |(_, family)| family.touched > confirmed)
    }

    /// A family as it was stored.
    pub(crate) fn restore(&mut self, body: &mut Cursor<'_>) -> Result<(), Malformed> {
        let seen = body.signed("day")?;
        let metadata = take_family(body)?;
        body.end("family end")?;
        self.families.insert(metadata.family.into(), Family::new(&metadata, seen, 0));
        Ok(())
    }
}

impl Family {
    fn new(metadata: &FamilyMetadata<'_>, seen: i64, touched: u64) -> Self {
        let FamilyMetadata { metric_type, help, unit, .. } = *metadata;
        Self { metric_type, help: help.into(), unit: unit.into(), seen, touched }
    }

    fn says(&self, metadata: &FamilyMetadata<'_>) -> bool {
        self.metric_type == metadata.metric_type
            && *self.help == *metadata.help
            && *self.unit == *metadata.unit
    }

    /// As it is handed out.
    pub(crate) fn metadata<'a>(&'a self, family: &'a str) -> FamilyMetadata<'a> {
        FamilyMetadata { family, metric_type: self.metric_type, help: &self.help, unit: &self.unit }
    }

    /// Equal on replicas that hold the same.
    pub(crate) fn hash(&self, name: &str) -> u128 {
        let mut bytes = Vec::new();
        self.encode(name, &mut bytes);
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }

    /// The body of its record.
    pub(crate) fn encode(&self, name: &str, out: &mut Vec<u8>) {
        put_varint(out, crate::bytes::zigzag(self.seen));
        put_family(out, &self.metadata(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(family: &str, help: &'static str) -> FamilyMetadata<'static> {
        let family = Box::leak(family.to_owned().into_boxed_str());
        FamilyMetadata { family, metric_type: MetricType::Counter, help, unit: "s" }
    }

    #[test]
    fn the_last_word_wins_and_silence_ends_a_family() {
        let mut families = Families::default();
        assert_eq!(families.tell(&metadata("a", "one"), 5, 1), Told::Changed);
        assert_eq!(families.tell(&metadata("a", "one"), 5, 2), Told::Known);
        assert_eq!(families.changed(1).count(), 0);
        assert!(families.knows(&metadata("a", "one"), 5));
        assert!(!families.knows(&metadata("a", "one"), 6));
        assert_eq!(families.tell(&metadata("a", "two"), 6, 3), Told::Changed);
        assert_eq!(families.tell(&metadata("b", "x"), 8, 4), Told::Changed);
        let mut body = Vec::new();
        let (name, family) = families.changed(2).next().expect("changed");
        family.encode(name, &mut body);
        let mut back = Families::default();
        back.restore(&mut Cursor::new(&body)).expect("valid");
        assert!(back.knows(&metadata("a", "two"), 6));
        families.forget_before(7, 9);
        assert_eq!(families.gone().collect::<Vec<_>>(), ["a"]);
        families.tell(&metadata("a", "two"), 9, 10);
        assert_eq!(families.gone().count(), 0);
    }

    #[test]
    fn there_is_a_bound() {
        let mut families = Families::default();
        for number in 0..FAMILIES_MAX {
            families.tell(&metadata(&format!("m{number}"), ""), 0, 1);
        }
        assert_eq!(families.tell(&metadata("another", ""), 0, 1), Told::Refused);
        assert_eq!(families.tell(&metadata("m5", "new"), 0, 1), Told::Changed);
        let long = "x".repeat(FAMILY_BYTES_MAX).leak();
        assert_eq!(families.tell(&metadata("m6", long), 0, 1), Told::Refused);
    }
}
