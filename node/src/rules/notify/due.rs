//! Which alerts are to be sent, and which were.

use std::collections::{HashMap, HashSet};

use narthex_model::{Labels, Timestamp};
use narthex_rules::{Alert, AlertState};

use super::RESEND_DELAY;
use crate::rules::{groups::RuleKey, state::RuleMemory, task::ShownGroup};

/// When alerts of a group were sent last.
#[derive(Debug, Clone, Default)]
pub struct Sent(HashMap<(RuleKey, Labels), Timestamp>);

impl Sent {
    /// The alerts of a rule that are to be sent at `now`, which counts as done.
    pub(crate) fn due<'a>(
        &mut self,
        rule: RuleKey,
        memory: &'a RuleMemory,
        now: Timestamp,
    ) -> Vec<&'a Alert> {
        let mut due = Vec::new();
        for alert in memory.alerts.alerts() {
            let key = (rule, alert.labels.clone());
            if is_due(alert, self.0.get(&key).copied(), now) {
                self.0.insert(key, now);
                due.push(alert);
            }
        }
        due
    }

    /// Forgets alerts that the group's rules do not remember.
    pub(crate) fn forget_missing(&mut self, group: &ShownGroup) {
        let remembered: usize = group.rules.values().map(|it| it.alerts.alerts().count()).sum();
        if self.0.len() <= remembered {
            return;
        }
        let alerts = group.rules.iter().flat_map(|(key, memory)| {
            memory.alerts.alerts().map(|alert| (*key, alert.labels.clone()))
        });
        let remembered: HashSet<(RuleKey, Labels)> = alerts.collect();
        self.0.retain(|alert, _| remembered.contains(alert));
    }
}

/// Whether an alert is to be sent that was sent at `last`.
fn is_due(alert: &Alert, last: Option<Timestamp>, now: Timestamp) -> bool {
    if alert.state == AlertState::Pending {
        return false;
    }
    let Some(last) = last else { return true };
    let changed = alert.resolved_at.max(alert.fired_at);
    changed.is_some_and(|changed| changed > last) || now > last + RESEND_DELAY
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use narthex_promql::Sample;
    use narthex_rules::RuleState;

    use super::*;

    const RULE: RuleKey = RuleKey(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn memory(fired: Option<i64>, resolved: Option<i64>) -> RuleMemory {
        let alert = Alert {
            state: match (fired, resolved) {
                (None, _) => AlertState::Pending,
                (Some(_), None) => AlertState::Firing,
                (Some(_), Some(_)) => AlertState::Inactive,
            },
            labels: Labels::from_pairs([("alertname", "A")]).expect("valid"),
            annotations: BTreeMap::new(),
            value: Sample::Float(1.0),
            active_at: at(0),
            fired_at: fired.map(at),
            resolved_at: resolved.map(at),
            keeps_firing_since: None,
        };
        RuleMemory { alerts: RuleState::of_alerts([alert]), ..RuleMemory::default() }
    }

    #[test]
    fn alerts_are_sent_when_they_change_and_every_minute() {
        let mut sent = Sent::default();
        let mut due = |memory: &RuleMemory, seconds| sent.due(RULE, memory, at(seconds)).len();
        assert_eq!(due(&memory(None, None), 0), 0, "pending");
        let firing = memory(Some(30), None);
        assert_eq!([30, 60, 90, 91, 100].map(|time| due(&firing, time)), [1, 0, 0, 1, 0]);
        let resolved = memory(Some(30), Some(105));
        assert_eq!([105, 120, 166].map(|time| due(&resolved, time)), [1, 0, 1]);
        assert_eq!(due(&memory(Some(170), None), 170), 1, "it fires anew");
    }

    #[test]
    fn after_a_failover_all_are_sent_once() {
        let mut sent = Sent::default();
        assert_eq!(sent.due(RULE, &memory(Some(1), None), at(500)).len(), 1);
        let mut sent = Sent::default();
        assert_eq!(sent.due(RULE, &memory(Some(1), Some(400)), at(500)).len(), 1);
    }
}
