//! Whether a process is ready: every condition that its roles have named holds.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;

/// The conditions of one process. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    conditions: Arc<RwLock<BTreeMap<&'static str, Result<(), String>>>>,
}

impl Readiness {
    /// No conditions: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `condition` holds, or what it waits for.
    pub fn set(&self, condition: &'static str, state: Result<(), String>) {
        self.conditions.write().insert(condition, state);
    }

    /// What the process still waits for; `None` when it is ready.
    pub fn waits_for(&self) -> Option<String> {
        let conditions = self.conditions.read();
        let waiting: Vec<_> = conditions
            .iter()
            .filter_map(|(name, state)| state.as_ref().err().map(|why| format!("{name}: {why}")))
            .collect();
        (!waiting.is_empty()).then(|| waiting.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_nothing_is_waited_for() {
        let readiness = Readiness::new();
        assert_eq!(readiness.waits_for(), None);
        readiness.set("shards", Err("no leader for shard 3".to_owned()));
        readiness.set("config", Ok(()));
        assert_eq!(readiness.waits_for().as_deref(), Some("shards: no leader for shard 3"));
        readiness.set("shards", Ok(()));
        assert_eq!(readiness.waits_for(), None);
    }
}
