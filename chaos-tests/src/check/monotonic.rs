//! Whether what was once committed stays so: a group's term and commit index, and the revision of
//! the cluster's state, are at the end no less than anybody was ever told.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    api::Api,
    view::View,
    wait::{now, pause},
    worker::Worker,
};

/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The highest that was told.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Highest {
    /// Answers that were seen.
    pub looks: usize,
    revision: u64,
    /// Term and commit index, by shard; the control group has none.
    groups: BTreeMap<Option<u64>, (u64, u64)>,
}

impl Highest {
    fn see(&mut self, view: &View) {
        self.looks += 1;
        self.revision = self.revision.max(view.revision());
        for group in view.groups() {
            let (term, index) = self.groups.entry(group.shard).or_default();
            *term = group.term.max(*term);
            *index = group.commit_index.max(*index);
        }
    }

    /// What is less at the end.
    pub fn fallen(&self, end: &View) -> Vec<String> {
        let mut last = Self::default();
        last.see(end);
        let mut fallen = Vec::new();
        if last.revision < self.revision {
            fallen.push(format!("revision {} was {}", last.revision, self.revision));
        }
        for (shard, (term, index)) in &self.groups {
            let (last_term, last_index) = last.groups.get(shard).copied().unwrap_or_default();
            if last_term < *term || last_index < *index {
                fallen.push(format!(
                    "{shard:?}: term {last_term}, index {last_index}; they were {term}, {index}"
                ));
            }
        }
        fallen
    }
}

/// Starts to look, again and again.
pub fn watch(api: Api) -> Worker<Highest> {
    Worker::start(move |stop| {
        let mut highest = Highest::default();
        while !stop.is_set() {
            if let Ok(view) = View::ask(&api) {
                highest.see(&view);
            }
            let looked = now();
            while looked.elapsed() < LOOK_PAUSE && !stop.is_set() {
                pause();
            }
        }
        highest
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_less_at_the_end_is_named() {
        let view = |revision, index| {
            let shard = json!({ "id": 0, "term": 3, "commitIndex": index });
            View::of(json!({ "revision": revision, "shards": [shard], "control": {} }))
        };
        let mut highest = Highest::default();
        highest.see(&view(7, 40));
        highest.see(&view(6, 41));
        assert_eq!(highest.fallen(&view(7, 41)), Vec::<String>::new());
        assert_eq!(highest.fallen(&view(6, 40)).len(), 2);
    }
}
