//! Which replica of a pair of senders a request comes from, and whether it is heard.
//!
//! Two Prometheus servers that scrape the same targets name themselves in the external labels of
//! every series: the pair, and the replica. The first series of a request speaks for all of it.

use std::collections::BTreeMap;

use narthex_cluster::{HeardReplica, Pair, REPORT_MILLIS};
use narthex_model::Timestamp;
use parking_lot::Mutex;

/// How pairs of senders name themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairLabels {
    /// Labels that together name the pair.
    pub pair: Vec<String>,
    /// Labels of which the first found names the replica. All are dropped.
    pub replica: Vec<String>,
}

impl PairLabels {
    /// Who sends a series with these labels; `None` if it names no pair or no replica.
    pub fn sender(&self, labels: &[(&str, &str)]) -> Option<HeardReplica> {
        let value = |wanted: &String| {
            let found = labels.iter().find(|(name, value)| name == wanted && !value.is_empty());
            found.map(|(_, value)| *value)
        };
        let replica = self.replica.iter().find_map(value)?.to_owned();
        let named = self.pair.iter().filter_map(|name| Some((name, value(name)?)));
        let pair: Vec<_> = named.map(|(name, value)| format!("{name}={value:?}")).collect();
        (!pair.is_empty()).then(|| HeardReplica { pair: pair.join(","), replica })
    }

    /// Takes the replica out of the labels of a series that names one of a pair.
    pub fn drop_replica(&self, labels: &mut Vec<(&str, &str)>) {
        if self.sender(labels).is_some() {
            labels.retain(|(name, _)| self.replica.iter().all(|replica| replica != name));
        }
    }
}

/// What is done with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its samples are taken.
    Taken,
    /// Its samples are not taken, as those of this replica are.
    Deduplicated {
        /// The elected replica.
        elected: String,
    },
    /// The cluster must be told, and then says which.
    Ask,
}

/// What to do with a request of `sender`, as far as cluster state tells.
pub fn verdict(known: Option<&Pair>, sender: &HeardReplica, now: Timestamp) -> Verdict {
    match known {
        Some(pair) if pair.replica == sender.replica => Verdict::Taken,
        Some(pair) if !pair.is_silent(now) => {
            Verdict::Deduplicated { elected: pair.replica.clone() }
        }
        _ => Verdict::Ask,
    }
}

/// Elected replicas that are heard and not reported yet. All of them are reported at once, so that
/// cluster state changes no more often with many pairs than with one.
#[derive(Debug, Default)]
pub struct Reports(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    heard: BTreeMap<String, String>,
    last_millis: i64,
}

impl Reports {
    /// Notes that a replica is heard. Gives what is to be reported, if that is due.
    pub fn hear(&self, sender: HeardReplica, now: Timestamp) -> Option<Vec<HeardReplica>> {
        let mut pending = self.0.lock();
        pending.heard.insert(sender.pair, sender.replica);
        if now.millis().saturating_sub(pending.last_millis) < REPORT_MILLIS {
            return None;
        }
        pending.last_millis = now.millis();
        let heard = std::mem::take(&mut pending.heard).into_iter();
        Some(heard.map(|(pair, replica)| HeardReplica { pair, replica }).collect())
    }
}

#[cfg(test)]
mod tests {
    use narthex_cluster::SILENCE_MILLIS;

    use super::*;

    fn labels() -> PairLabels {
        let texts = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        PairLabels {
            pair: texts(["cluster", "prometheus"]),
            replica: texts(["__replica__", "prometheus_replica"]),
        }
    }

    fn heard(pair: &str, replica: &str) -> HeardReplica {
        HeardReplica { pair: pair.to_owned(), replica: replica.to_owned() }
    }

    #[test]
    fn a_sender_names_its_pair_and_itself() {
        let labels = labels();
        let mut of = vec![
            ("__name__", "up"),
            ("cluster", "c"),
            ("prometheus", "mon/k8s"),
            ("prometheus_replica", "k8s-0"),
        ];
        let sender = heard(r#"cluster="c",prometheus="mon/k8s""#, "k8s-0");
        assert_eq!(labels.sender(&of), Some(sender));
        labels.drop_replica(&mut of);
        assert_eq!(of.len(), 3);
        assert_eq!(labels.sender(&of), None);
        let mut alone = vec![("__name__", "up"), ("__replica__", "r")];
        assert_eq!(labels.sender(&alone), None);
        labels.drop_replica(&mut alone);
        assert_eq!(alone.len(), 2, "without a pair it is a label like others");
    }

    #[test]
    fn the_elected_replica_is_taken_and_the_other_waits() {
        let at = Timestamp::from_millis;
        let pair = Pair { replica: "a".to_owned(), elected: at(0), heard: at(10) };
        let of = |replica, now| verdict(Some(&pair), &heard("p", replica), at(now));
        assert_eq!(of("a", i64::MAX), Verdict::Taken);
        let waits = Verdict::Deduplicated { elected: "a".to_owned() };
        assert_eq!(of("b", 9 + SILENCE_MILLIS), waits);
        assert_eq!(of("b", 10 + SILENCE_MILLIS), Verdict::Ask);
        assert_eq!(verdict(None, &heard("p", "a"), at(0)), Verdict::Ask);
    }

    #[test]
    fn all_pairs_are_reported_at_once_and_not_too_often() {
        let (reports, at) = (Reports::default(), Timestamp::from_millis);
        let start = REPORT_MILLIS;
        assert_eq!(reports.hear(heard("p", "a"), at(start)), Some(vec![heard("p", "a")]));
        assert_eq!(reports.hear(heard("q", "b"), at(start + 1)), None);
        assert_eq!(reports.hear(heard("p", "a"), at(start + 2)), None);
        let both = vec![heard("p", "a"), heard("q", "b")];
        assert_eq!(reports.hear(heard("q", "b"), at(start + REPORT_MILLIS)), Some(both));
    }
}
