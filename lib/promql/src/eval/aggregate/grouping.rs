//! Which group a series belongs to.

use std::collections::HashMap;

use narthex_model::{Labels, METRIC_NAME};

use crate::{ast::Aggregate, eval::collect::NAME_LABELS};

/// Gives each label set the number of its group: 0, 1, 2, … as they appear.
pub(super) struct Grouping<'q> {
    without: bool,
    names: Vec<&'q str>,
    is_delayed: bool,
    places: HashMap<Labels, usize, foldhash::fast::FixedState>,
    labels: Vec<Labels>,
    /// The bytes of the label set looked up.
    key: Vec<u8>,
}

impl<'q> Grouping<'q> {
    /// By the labels of an aggregation. `is_delayed` says that dropped names are still to be seen.
    pub fn new(aggregate: &'q Aggregate, is_delayed: bool) -> Self {
        let names = aggregate.labels.iter().map(String::as_str).collect();
        Self::by_names(names, aggregate.without, is_delayed)
    }

    /// By these labels, or by all but these.
    pub fn by_names(names: Vec<&'q str>, without: bool, is_delayed: bool) -> Self {
        Self {
            without,
            names,
            is_delayed,
            places: HashMap::default(),
            labels: Vec::new(),
            key: Vec::new(),
        }
    }

    /// The number of the group of `labels`; the next free one if it is new.
    pub fn find(&mut self, labels: &Labels, drop_name: bool) -> usize {
        self.key.clear();
        let hides_name = drop_name && !self.is_delayed;
        let is_name = |name: &[u8]| NAME_LABELS.iter().any(|label| label.as_bytes() == name);
        let is_listed = |name: &[u8]| self.names.iter().any(|label| label.as_bytes() == name);
        if self.without {
            labels.filter_bytes(|name| !is_listed(name) && !is_name(name), &mut self.key);
        } else if hides_name {
            labels.filter_bytes(|name| is_listed(name) && !is_name(name), &mut self.key);
        } else {
            labels.filter_bytes(is_listed, &mut self.key);
        }
        if let Some(&at) = self.places.get(self.key.as_slice()) {
            return at;
        }
        let labels = Labels::from_bytes(&self.key).expect("a part of a label set is one");
        self.places.insert(labels.clone(), self.labels.len());
        self.labels.push(labels);
        self.labels.len() - 1
    }

    /// The labels of a group.
    pub fn labels(&self, group: usize) -> &Labels {
        &self.labels[group]
    }

    /// Whether groups have a metric's name.
    pub fn keeps_name(&self) -> bool {
        !self.without && self.names.contains(&METRIC_NAME)
    }
}
