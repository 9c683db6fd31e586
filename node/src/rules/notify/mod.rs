//! Sends alerts to Alertmanagers outside the cluster, as Prometheus does: API v2, every alert to every
//! Alertmanager, again and again while it fires, and for a while after it is over.
//!
//! Whoever evaluates a group sends its alerts. What was sent is in memory only: after a failover all
//! active alerts are sent once more, which an Alertmanager takes for the same.
//!
//! Invariants
//! * an Alertmanager that does not answer delays no other one and no evaluation: each has a queue of its
//!   own, whose oldest alerts are dropped and counted when it is full;
//! * a batch that was not taken is sent again after a growing pause; what is out of date by then is
//!   not.

mod due;
mod managers;
mod queue;
mod sender;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use narthex_model::{Labels, Timestamp};
use narthex_rules::{Alert, Rule};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;

pub(super) use self::sender::Notifier;
pub use self::{due::Sent, managers::Managers, sender::NotifierMetrics};
use super::state::RuleMemory;
use crate::scrape::escape;

/// Pause between two sends of an alert that fires: Prometheus's default.
pub const RESEND_DELAY: Duration = Duration::from_secs(60);
/// Groups whose alerts wait to be taken over by the notifier.
const BATCHES_WAITING_MAX: usize = 1024;
/// How many pauses an alert that is not sent again stays active.
const VALID_FOR_PAUSES: u32 = 4;
/// The annotation of an alert whose expression cannot be evaluated at the moment.
const UNCONFIRMED_SINCE: &str = "unconfirmed_since";

/// An alert on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    labels: Labels,
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    is_resolved: bool,
    generator_url: String,
}

/// As API v2 of Alertmanager has it.
#[derive(Serialize)]
struct PostableAlert<'a> {
    annotations: &'a BTreeMap<String, String>,
    #[serde(rename = "endsAt")]
    ends_at: String,
    #[serde(rename = "startsAt")]
    starts_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
}

impl Outgoing {
    /// An alert of a rule, as it is told at `now`. It stays active for a while should nobody send it
    /// again.
    pub(super) fn new(
        alert: &Alert,
        memory: &RuleMemory,
        (rule, external_url): (&Rule, &str),
        (now, interval): (Timestamp, Duration),
    ) -> Self {
        let mut annotations = alert.annotations.clone();
        if let Some(since) = memory.unconfirmed_since {
            annotations.insert(UNCONFIRMED_SINCE.to_owned(), rfc3339(since));
        }
        let valid_until = now + RESEND_DELAY.max(interval) * VALID_FOR_PAUSES;
        let expression = escape::query(&rule.query);
        Self {
            labels: alert.labels.clone(),
            annotations,
            starts_at: alert.fired_at.unwrap_or(alert.active_at),
            ends_at: alert.resolved_at.unwrap_or(valid_until),
            is_resolved: alert.resolved_at.is_some(),
            generator_url: format!("{external_url}/graph?g0.expr={expression}&g0.tab=1"),
        }
    }

    /// Whether it would be taken for resolved although it is not.
    fn is_out_of_date(&self, now: Timestamp) -> bool {
        !self.is_resolved && self.ends_at <= now
    }

    fn to_json(&self) -> serde_json::Value {
        let alert = PostableAlert {
            annotations: &self.annotations,
            ends_at: rfc3339(self.ends_at),
            starts_at: rfc3339(self.starts_at),
            generator_url: &self.generator_url,
            labels: self.labels.iter().collect(),
        };
        serde_json::to_value(alert).expect("texts always serialise")
    }
}

/// A time as RFC 3339.
fn rfc3339(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(time.millis());
    time.map_or_else(|_| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

/// The door to the notifier.
#[derive(Debug, Clone)]
pub struct NotifierHandle {
    batches: mpsc::Sender<Vec<Outgoing>>,
    managers: Arc<Mutex<Managers>>,
    metrics: Arc<NotifierMetrics>,
}

impl NotifierHandle {
    /// Has alerts sent, or drops and counts them where too many wait.
    pub(super) fn send(&self, alerts: Vec<Outgoing>) {
        if let Err(refused) = self.batches.try_send(alerts) {
            let alerts = match &refused {
                mpsc::error::TrySendError::Full(alerts)
                | mpsc::error::TrySendError::Closed(alerts) => alerts.len(),
            };
            self.metrics.note_dropped("", alerts as u64);
        }
    }

    /// The Alertmanagers as they are known now.
    pub fn managers(&self) -> Managers {
        self.managers.lock().clone()
    }
}
