//! Exemplars and metadata, as the model keeps them.

use std::collections::{BTreeMap, VecDeque};

use narthex_model::{Exemplar, FamilyMetadata, Labels, MetricType, Timestamp};
use narthex_tsdb::{SeriesId, ShardReader};

/// Few enough that tests overrun it.
pub const EXEMPLARS_MAX: usize = 150;

pub fn exemplar(time: i64, label: u8) -> Exemplar {
    Exemplar {
        labels: Labels::from_pairs([("trace_id", label.to_string())]).expect("valid"),
        value: f64::from(label),
        timestamp: Timestamp::from_millis(time),
    }
}

pub fn metadata<'a>(family: &'a str, help: &'a str) -> FamilyMetadata<'a> {
    FamilyMetadata { family, metric_type: MetricType::Histogram, help, unit: "seconds" }
}

#[derive(Debug, Clone)]
pub struct SideModel {
    exemplars: VecDeque<(SeriesId, Exemplar)>,
    exemplars_max: usize,
    /// Help and the day it was last spoken of.
    families: BTreeMap<String, (String, i64)>,
}

impl Default for SideModel {
    fn default() -> Self {
        // The default of a shard's settings, until a test changes them.
        Self { exemplars: VecDeque::new(), exemplars_max: 16 << 10, families: BTreeMap::new() }
    }
}

impl SideModel {
    pub fn add(&mut self, series: SeriesId, exemplar: Exemplar) {
        let rank = |exemplar: &Exemplar| (exemplar.timestamp, exemplar.value as u64);
        let newest = self.exemplars.iter().rev().find(|(of, _)| *of == series);
        if newest.is_some_and(|(_, newest)| rank(newest) >= rank(&exemplar)) {
            return;
        }
        self.exemplars.push_back((series, exemplar));
        self.shrink(self.exemplars_max);
    }

    pub fn shrink(&mut self, max: usize) {
        self.exemplars_max = max;
        while self.exemplars.len() > max {
            self.exemplars.pop_front();
        }
    }

    pub fn tell(&mut self, family: String, help: String, day: i64) {
        self.families.insert(family, (help, day));
    }

    pub fn horizon(&mut self, time: i64) {
        self.families.retain(|_, (_, seen)| *seen >= time.div_euclid(86_400_000));
    }

    /// What readers show is what is here; exemplars of removed series are not shown.
    pub fn check(&self, reader: &ShardReader, keeps: impl Fn(&Labels, i64) -> bool) {
        let found = reader.exemplars(&[Vec::new()], Timestamp::MIN, Timestamp::MAX);
        let shown: BTreeMap<Labels, Vec<Exemplar>> = found.into_iter().collect();
        let mut expected: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for (series, exemplar) in &self.exemplars {
            let labels = reader.labels(*series);
            let Some(labels) = labels else { continue };
            if keeps(&labels, exemplar.timestamp.millis()) {
                expected.entry(labels).or_default().push(exemplar.clone());
            }
        }
        assert_eq!(shown, expected);
        let mut families = BTreeMap::new();
        reader.visit_families(|family| {
            families.insert(family.family.to_owned(), family.help.to_owned());
        });
        let expected = self.families.iter().map(|(name, (help, _))| (name.clone(), help.clone()));
        assert_eq!(families, expected.collect::<BTreeMap<_, _>>());
    }
}
