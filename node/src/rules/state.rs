//! What a group's rules remember, as it is kept in the group's shard.
//!
//! ```text
//! state    := encoding u8 (1: as it is, 2: zlib), JSON
//! position := slot's milliseconds << 16 | stages of it that are done
//! ```
//!
//! JSON, since whoever follows must read it years later, and packed, since labels and annotations of
//! alerts repeat themselves. `docs/formats/rule-state.md` draws it.
//!
//! Invariants
//! * what a shard has of a group is what the group's rules remember after the position's stage, and
//!   everything that this stage stores elsewhere and is not known to be there;
//! * bytes of an unknown encoding are an error: an evaluation on a guess would resolve alerts.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Read as _, Write as _},
    sync::Arc,
};

use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use narthex_model::{Labels, NativeHistogram, Timestamp};
use narthex_promql::Sample;
use narthex_rules::{Alert, AlertState, RuleState};
use serde::{Deserialize, Serialize};

use super::groups::{Group, RuleKey};
use crate::scrape::Slot;

const PLAIN: u8 = 1;
const PACKED: u8 = 2;
/// Shorter states are not worth packing.
const PACKED_FROM: usize = 512;
/// Bytes of an unpacked state: 64 times what an entry takes.
const STATE_BYTES_MAX: u64 = 256 << 20;
/// Bits of a position that count stages.
const STAGE_BITS: u32 = 16;

/// Why a state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Upgrade this program.
    #[error("encoding {0} of a rule group's state is unknown to this program")]
    Unknown(u8),
    /// The shard's state is damaged, or a bug wrote it.
    #[error("state of a rule group is malformed: {0}")]
    Malformed(String),
}

/// What a group's rules remember.
#[derive(Debug, Clone, Default)]
pub struct GroupState {
    /// The slot of the last evaluation.
    pub slot: Slot,
    /// How many of its stages are done.
    pub stages_done: usize,
    /// How many there are.
    pub stages: usize,
    /// [`Group::fingerprint`] then.
    pub fingerprint: u64,
    /// Its interval then, in milliseconds.
    pub interval_millis: i64,
    /// Of each rule.
    pub rules: HashMap<RuleKey, Arc<RuleMemory>>,
    /// What other shards are to store and are not known to have, in order of slots.
    pub outbox: Vec<Parcel>,
}

/// What is remembered of one rule.
#[derive(Debug, Clone, Default)]
pub struct RuleMemory {
    /// Its alerts.
    pub alerts: RuleState,
    /// Since when its expression has not been answered, while it has alerts.
    pub unconfirmed_since: Option<Timestamp>,
    /// The shards that have series of its last evaluation.
    pub shards: Vec<u32>,
}

/// What one shard is to store of one rule's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Which shard.
    pub shard: u32,
    /// Which rule.
    #[serde(with = "hexadecimal")]
    pub rule: u128,
    /// The position of the stage.
    pub position: u64,
    /// The time of the samples.
    pub time_ms: i64,
    /// The rule has nothing there any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_gone: bool,
    /// A batch, as between routers and shards.
    #[serde(with = "base64_text")]
    pub samples: Bytes,
}

impl Default for Slot {
    fn default() -> Self {
        Self(i64::MIN)
    }
}

impl GroupState {
    /// How far the group came.
    pub fn position(&self) -> u64 {
        position(self.slot, self.stages_done)
    }

    /// Whether a slot was begun and not ended.
    pub fn is_begun(&self) -> bool {
        self.stages_done < self.stages
    }

    /// The stage to go on with in `slot`: the first one, unless that slot was begun with these rules;
    /// `None` if it was ended, or was begun with others.
    pub fn next_stage(&self, slot: Slot, group: &Group) -> Option<usize> {
        if slot > self.slot {
            return Some(0);
        }
        let goes_on = slot == self.slot && self.is_begun() && self.fingerprint == group.fingerprint;
        goes_on.then_some(self.stages_done)
    }

    /// The rules that are remembered and are not the group's any more.
    pub fn orphans(&self, group: &Group) -> Vec<RuleKey> {
        let mut orphans: Vec<RuleKey> =
            self.rules.keys().filter(|key| !group.keys.contains(key)).copied().collect();
        orphans.sort();
        orphans
    }

    /// The bytes that a shard keeps.
    pub fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(&StoredGroup::of(self)).expect("plain values serialise");
        if json.len() < PACKED_FROM {
            return [&[PLAIN][..], &json].concat();
        }
        let mut packed = ZlibEncoder::new(vec![PACKED], Compression::fast());
        packed.write_all(&json).expect("memory takes all bytes");
        packed.finish().expect("memory takes all bytes")
    }

    /// The state in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let malformed = |error: &dyn std::fmt::Display| StateError::Malformed(error.to_string());
        let (encoding, body) = bytes.split_first().ok_or_else(|| malformed(&"no bytes"))?;
        let mut json = Vec::new();
        match *encoding {
            PLAIN => json.extend_from_slice(body),
            PACKED => {
                let mut unpacked = ZlibDecoder::new(body).take(STATE_BYTES_MAX);
                unpacked.read_to_end(&mut json).map_err(|error| malformed(&error))?;
            }
            unknown => return Err(StateError::Unknown(unknown)),
        }
        let stored: StoredGroup =
            serde_json::from_slice(&json).map_err(|error| malformed(&error))?;
        stored.restore().map_err(StateError::Malformed)
    }
}

/// How far a group is that has done so many stages of a slot. Slots before 1970 do not exist.
pub fn position(slot: Slot, stages_done: usize) -> u64 {
    let millis = u64::try_from(slot.0).unwrap_or(0);
    millis << STAGE_BITS | u64::try_from(stages_done).unwrap_or(u64::MAX) & ((1 << STAGE_BITS) - 1)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredGroup {
    slot_ms: i64,
    stages_done: usize,
    stages: usize,
    fingerprint: u64,
    interval_ms: i64,
    /// In order of their keys.
    rules: Vec<StoredRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    outbox: Vec<Parcel>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRule {
    #[serde(with = "hexadecimal")]
    key: u128,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unconfirmed_since_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shards: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    alerts: Vec<StoredAlert>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAlert {
    state: StoredAlertState,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// Of a float: JSON has neither NaN nor infinities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_bits: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    histogram: Option<Vec<u8>>,
    active_at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fired_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolved_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keeps_firing_since_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredAlertState {
    Inactive,
    Pending,
    Firing,
}

impl StoredGroup {
    fn of(state: &GroupState) -> Self {
        let rule = |(key, memory): (&RuleKey, &Arc<RuleMemory>)| StoredRule {
            key: key.0,
            unconfirmed_since_ms: memory.unconfirmed_since.map(Timestamp::millis),
            shards: memory.shards.clone(),
            alerts: memory.alerts.alerts().map(StoredAlert::of).collect(),
        };
        let mut rules: Vec<StoredRule> = state.rules.iter().map(rule).collect();
        rules.sort_by_key(|rule| rule.key);
        Self {
            slot_ms: state.slot.0,
            stages_done: state.stages_done,
            stages: state.stages,
            fingerprint: state.fingerprint,
            interval_ms: state.interval_millis,
            rules,
            outbox: state.outbox.clone(),
        }
    }

    fn restore(self) -> Result<GroupState, String> {
        let mut rules = HashMap::with_capacity(self.rules.len());
        for rule in self.rules {
            let alerts = rule.alerts.into_iter().map(StoredAlert::restore);
            let memory = RuleMemory {
                alerts: RuleState::of_alerts(alerts.collect::<Result<Vec<_>, _>>()?),
                unconfirmed_since: rule.unconfirmed_since_ms.map(Timestamp::from_millis),
                shards: rule.shards,
            };
            rules.insert(RuleKey(rule.key), Arc::new(memory));
        }
        Ok(GroupState {
            slot: Slot(self.slot_ms),
            stages_done: self.stages_done,
            stages: self.stages,
            fingerprint: self.fingerprint,
            interval_millis: self.interval_ms,
            rules,
            outbox: self.outbox,
        })
    }
}

impl StoredAlert {
    fn of(alert: &Alert) -> Self {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let (value_bits, histogram) = match &alert.value {
            Sample::Float(value) => (Some(value.to_bits()), None),
            Sample::Histogram(histogram) => {
                let mut bytes = Vec::new();
                NativeHistogram::Float((**histogram).clone()).encode(&mut bytes);
                (None, Some(bytes))
            }
        };
        Self {
            state: match alert.state {
                AlertState::Inactive => StoredAlertState::Inactive,
                AlertState::Pending => StoredAlertState::Pending,
                AlertState::Firing => StoredAlertState::Firing,
            },
            labels: alert.labels.iter().map(pair).collect(),
            annotations: alert.annotations.clone(),
            value_bits,
            histogram,
            active_at_ms: alert.active_at.millis(),
            fired_at_ms: alert.fired_at.map(Timestamp::millis),
            resolved_at_ms: alert.resolved_at.map(Timestamp::millis),
            keeps_firing_since_ms: alert.keeps_firing_since.map(Timestamp::millis),
        }
    }

    fn restore(self) -> Result<Alert, String> {
        let labels = Labels::from_pairs(self.labels).map_err(|error| error.to_string())?;
        let value = match (self.value_bits, self.histogram) {
            (Some(bits), None) => Sample::Float(f64::from_bits(bits)),
            (None, Some(bytes)) => match NativeHistogram::decode(&bytes) {
                Ok(NativeHistogram::Float(histogram)) => Sample::Histogram(histogram.into()),
                Ok(NativeHistogram::Integer(_)) => return Err("an integer histogram".to_owned()),
                Err(error) => return Err(error.to_string()),
            },
            _ => return Err("an alert without one value".to_owned()),
        };
        Ok(Alert {
            state: match self.state {
                StoredAlertState::Inactive => AlertState::Inactive,
                StoredAlertState::Pending => AlertState::Pending,
                StoredAlertState::Firing => AlertState::Firing,
            },
            labels,
            annotations: self.annotations,
            value,
            active_at: Timestamp::from_millis(self.active_at_ms),
            fired_at: self.fired_at_ms.map(Timestamp::from_millis),
            resolved_at: self.resolved_at_ms.map(Timestamp::from_millis),
            keeps_firing_since: self.keeps_firing_since_ms.map(Timestamp::from_millis),
        })
    }
}

/// A number of 128 bits as text: JSON's numbers have 53.
mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{number:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// Bytes as text.
mod base64_text {
    use base64::Engine as _;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::{BASE64_STANDARD, Bytes};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alert(name: &str, bits: u64, times: [Option<i64>; 3]) -> Alert {
        let [fired, resolved, keeps] = times.map(|time| time.map(Timestamp::from_millis));
        Alert {
            state: if fired.is_some() { AlertState::Firing } else { AlertState::Pending },
            labels: Labels::from_pairs([("alertname", "A"), ("i", name)]).expect("valid"),
            annotations: BTreeMap::from([("s".to_owned(), name.repeat(40))]),
            value: Sample::Float(f64::from_bits(bits)),
            active_at: Timestamp::from_millis(7),
            fired_at: fired,
            resolved_at: resolved,
            keeps_firing_since: keeps,
        }
    }

    fn printed(state: &GroupState) -> String {
        let mut rules: Vec<_> = state.rules.iter().collect();
        rules.sort_by_key(|(key, _)| **key);
        let GroupState { slot, stages_done, stages, fingerprint, interval_millis, outbox, .. } =
            state;
        format!(
            "{slot:?} {stages_done} {stages} {fingerprint} {interval_millis} {outbox:?} {rules:?}"
        )
    }

    proptest! {
        #[test]
        fn a_state_reads_back(
            names in proptest::collection::btree_set("[a-z\"\\\\é]{1,9}", 0..30),
            bits: u64,
            times: [Option<i64>; 3],
            slot in 0i64..4_000_000_000_000,
            stages_done in 0usize..9,
            samples: Vec<u8>,
            shards: Vec<u32>,
        ) {
            let alerts = RuleState::of_alerts(names.iter().map(|name| alert(name, bits, times)));
            let memory =
                RuleMemory { alerts, unconfirmed_since: times[0].map(Timestamp::from_millis), shards };
            let parcel = Parcel {
                shard: 3,
                rule: u128::MAX,
                position: u64::MAX,
                time_ms: slot,
                is_gone: samples.is_empty(),
                samples: samples.into(),
            };
            let state = GroupState {
                slot: Slot(slot),
                stages_done,
                stages: 9,
                fingerprint: bits,
                interval_millis: 15_000,
                rules: HashMap::from([(RuleKey(1), memory.into()), (RuleKey(9), Arc::default())]),
                outbox: vec![parcel],
            };
            let bytes = state.encode();
            prop_assert_eq!(bytes[0], if names.len() > 9 { PACKED } else { bytes[0] });
            let read = GroupState::decode(&bytes).expect("valid");
            prop_assert_eq!(printed(&read), printed(&state));
            prop_assert_eq!(read.position(), position(Slot(slot), stages_done));
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes: Vec<u8>) {
            prop_assert!(GroupState::decode(&bytes).is_err());
        }
    }

    #[test]
    fn positions_rise_with_slots_and_stages() {
        let positions = [(0, 0), (0, 1), (15_000, 0), (15_000, 65_535), (4_000_000_000_000, 1)];
        let positions = positions.map(|(slot, stage)| position(Slot(slot), stage));
        assert!(positions.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_newer_encoding_is_named() {
        let error = GroupState::decode(&[9, 1, 2]).expect_err("unknown");
        assert!(error.to_string().contains("encoding 9"), "{error}");
    }
}
