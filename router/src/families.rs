//! What was said of metrics and is stored: senders repeat it with every request.

use std::{collections::HashSet, hash::BuildHasher};

use narthex_model::{FamilyMetadata, MetricType};
use parking_lot::RwLock;

/// Descriptions that are remembered, 8 bytes each. Behind that all are forgotten and sent again.
const FAMILIES_MAX: usize = 1 << 16;

/// Hashes of descriptions that shards have, by a secret of this process.
#[derive(Debug, Default)]
pub struct Described {
    hasher: std::collections::hash_map::RandomState,
    stored: RwLock<HashSet<u64>>,
}

impl Described {
    /// What finds this description again.
    pub fn hash(&self, metadata: &FamilyMetadata<'_>) -> u64 {
        let FamilyMetadata { family, metric_type, help, unit } = metadata;
        self.hasher.hash_one((family, *metric_type, help, unit))
    }

    /// Whether a shard has it.
    pub fn has(&self, hash: u64) -> bool {
        self.stored.read().contains(&hash)
    }

    /// Remembers what a shard has.
    pub fn learn(&self, hashes: &[u64]) {
        if hashes.is_empty() {
            return;
        }
        let mut stored = self.stored.write();
        if stored.len() + hashes.len() > FAMILIES_MAX {
            stored.clear();
        }
        stored.extend(hashes);
    }
}

/// The family of a series: its name without what is told apart within the family.
pub fn family_of(name: &str, metric_type: MetricType) -> &str {
    let suffixes: &[&str] = match metric_type {
        MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_count", "_sum"],
        MetricType::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_known_once_it_is_stored() {
        let described = Described::default();
        let metadata =
            FamilyMetadata { family: "a", metric_type: MetricType::Counter, help: "b", unit: "" };
        let hash = described.hash(&metadata);
        assert!(!described.has(hash));
        described.learn(&[hash]);
        assert!(described.has(described.hash(&metadata.clone())));
        let moved = FamilyMetadata { family: "ab", help: "", ..metadata };
        assert!(!described.has(described.hash(&moved)));
        described.learn(&vec![7; FAMILIES_MAX]);
        assert!(!described.has(hash), "all are forgotten where there are too many");
    }

    #[test]
    fn a_family_is_named_without_its_parts() {
        use MetricType::{Counter, Histogram, Summary};
        let cases = [
            ("x_bucket", Histogram, "x"),
            ("x_count", Histogram, "x"),
            ("x_count", Counter, "x_count"),
            ("x_bucket", Summary, "x_bucket"),
            ("x", Histogram, "x"),
        ];
        for (name, metric_type, family) in cases {
            assert_eq!(family_of(name, metric_type), family);
        }
    }
}
