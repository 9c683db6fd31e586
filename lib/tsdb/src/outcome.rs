//! What an entry did: equal on every replica, and what the proposer answers with.

use std::fmt;

use narthex_model::Timestamp;

use crate::{
    SeriesId,
    bytes::{Cursor, Malformed, put_signed, put_varint},
};

/// Why a sample was not stored. Each is counted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Older than its series' newest, where the out-of-order window does not apply or is off.
    OutOfOrder,
    /// Older than its series' newest by more than the out-of-order window.
    TooOld,
    /// Another value is stored at this time already: the first stays.
    Conflict,
    /// Older than what retention keeps.
    BehindHorizon,
    /// Further ahead of the leader's clock than settings allow.
    TooFarAhead,
    /// The id is of no series here: send the labels.
    UnknownSeries,
    /// The series is new and the shard has given all its numbers.
    SeriesLimit,
    /// The labels are malformed.
    InvalidLabels,
    /// The series is new and a node is short of disk space: send it again later.
    NoSpace,
    /// The series is new and its target (`job` and `instance`) has as many as it may.
    TargetSeriesLimit,
    /// The series is new and its job has as many as it may.
    JobSeriesLimit,
    /// The series is new and a node of the shard has as many as it may.
    NodeSeriesLimit,
}

impl Refusal {
    /// Every reason, in the order outcomes count them.
    pub const ALL: [Self; 12] = [
        Self::OutOfOrder,
        Self::TooOld,
        Self::Conflict,
        Self::BehindHorizon,
        Self::TooFarAhead,
        Self::UnknownSeries,
        Self::SeriesLimit,
        Self::InvalidLabels,
        Self::NoSpace,
        Self::TargetSeriesLimit,
        Self::JobSeriesLimit,
        Self::NodeSeriesLimit,
    ];

    /// As metrics and answers name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::TooOld => "too_old",
            Self::Conflict => "conflict",
            Self::BehindHorizon => "behind_horizon",
            Self::TooFarAhead => "too_far_ahead",
            Self::UnknownSeries => "unknown_series",
            Self::SeriesLimit => "series_limit",
            Self::InvalidLabels => "invalid_labels",
            Self::NoSpace => "no_space",
            Self::TargetSeriesLimit => "target_series_limit",
            Self::JobSeriesLimit => "job_series_limit",
            Self::NodeSeriesLimit => "node_series_limit",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a whole command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// The target's slot is not above this one.
    Slot {
        /// The last slot that was accepted.
        last: u64,
    },
    /// The foreign source's (term, slot) is not above this one.
    Foreign {
        /// The last accepted term of the owner.
        last_term: u64,
        /// The last accepted slot in it.
        last_slot: u64,
    },
    /// The command must be the only one of its entry.
    NotAlone,
}

/// A refused sample, to be named in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedSample {
    /// Why.
    pub reason: Refusal,
    /// Its series; [`SeriesId::NONE`] where it has none.
    pub series: SeriesId,
    /// Its time.
    pub timestamp: Timestamp,
}

/// What one command did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandOutcome {
    /// Samples stored, in order or late.
    pub appended: u64,
    /// The histograms among the samples stored and those stored before.
    pub histograms: u64,
    /// Samples that were stored before with the same bits: silent.
    pub repeated: u64,
    /// Staleness markers that apply wrote.
    pub stale_markers: u64,
    /// Series that this command brought into being.
    pub series_created: u64,
    /// Series of which it deleted samples.
    pub series_deleted: u64,
    /// Samples refused, by [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// The first refused sample.
    pub first_refused: Option<RefusedSample>,
    /// The ids of the command's inline label sets in their order: how the leader and the router
    /// learn them. [`SeriesId::NONE`] where a limit refused one.
    pub resolved: Vec<SeriesId>,
    /// Exemplars stored, now or before.
    pub exemplars: u64,
    /// Exemplars refused: older than their series' newest, or with labels too long.
    pub exemplars_refused: u64,
    /// Metadata of families refused: too long, or of too many families.
    pub families_refused: u64,
    /// Set if the whole command was refused.
    pub fenced: Option<Fence>,
}

impl CommandOutcome {
    /// Samples refused for `reason`.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize]
    }

    /// Samples refused for any reason.
    pub fn refused_total(&self) -> u64 {
        self.refused.iter().sum()
    }

    pub(crate) fn refuse(&mut self, sample: RefusedSample) {
        self.refused[sample.reason as usize] += 1;
        self.first_refused.get_or_insert(sample);
    }

    /// A hash of what must be equal on all replicas, chained to those before.
    pub(crate) fn hash(&self, before: u64) -> u64 {
        let mut bytes = [0; 25 * 8];
        let newest = self.resolved.last().map_or(0, |id| u64::from(id.0));
        let counts = [
            before,
            self.appended,
            self.repeated,
            self.stale_markers,
            self.series_created,
            self.series_deleted,
            self.resolved.len() as u64,
            newest,
            u64::from(self.fenced.is_some()),
            self.histograms,
            self.exemplars,
            self.exemplars_refused,
            self.families_refused,
        ];
        let numbers = counts.iter().chain(&self.refused);
        for (number, place) in numbers.zip(bytes.as_chunks_mut::<8>().0) {
            *place = number.to_le_bytes();
        }
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let counts = [
            self.appended,
            self.histograms,
            self.repeated,
            self.stale_markers,
            self.series_created,
            self.series_deleted,
            self.exemplars,
            self.exemplars_refused,
            self.families_refused,
        ];
        counts.iter().for_each(|&count| put_varint(out, count));
        self.refused.iter().for_each(|&count| put_varint(out, count));
        match self.first_refused {
            None => out.push(0),
            Some(sample) => {
                out.push(1 + sample.reason as u8);
                put_varint(out, u64::from(sample.series.0));
                put_signed(out, sample.timestamp.millis());
            }
        }
        put_varint(out, self.resolved.len() as u64);
        self.resolved.iter().for_each(|id| put_varint(out, u64::from(id.0)));
        match self.fenced {
            None => out.push(0),
            Some(Fence::Slot { last }) => {
                out.push(1);
                put_varint(out, last);
            }
            Some(Fence::Foreign { last_term, last_slot }) => {
                out.push(2);
                put_varint(out, last_term);
                put_varint(out, last_slot);
            }
            Some(Fence::NotAlone) => out.push(3),
        }
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let mut outcome = Self {
            appended: cursor.varint("appended")?,
            histograms: cursor.varint("histograms")?,
            repeated: cursor.varint("repeated")?,
            stale_markers: cursor.varint("stale markers")?,
            series_created: cursor.varint("series created")?,
            series_deleted: cursor.varint("series deleted")?,
            exemplars: cursor.varint("exemplars")?,
            exemplars_refused: cursor.varint("exemplars refused")?,
            families_refused: cursor.varint("families refused")?,
            ..Self::default()
        };
        for count in &mut outcome.refused {
            *count = cursor.varint("refused")?;
        }
        let reason = usize::from(cursor.u8("first refused")?);
        if reason > 0 {
            let reason = *Refusal::ALL.get(reason - 1).ok_or(Malformed("first refused"))?;
            outcome.first_refused = Some(RefusedSample {
                reason,
                series: SeriesId(cursor.varint_u32("series")?),
                timestamp: Timestamp::from_millis(cursor.signed("timestamp")?),
            });
        }
        let resolved = cursor.count(1, "resolved count")?;
        for _ in 0..resolved {
            outcome.resolved.push(SeriesId(cursor.varint_u32("resolved")?));
        }
        outcome.fenced = match cursor.u8("fence")? {
            0 => None,
            1 => Some(Fence::Slot { last: cursor.varint("slot")? }),
            2 => Some(Fence::Foreign {
                last_term: cursor.varint("term")?,
                last_slot: cursor.varint("slot")?,
            }),
            3 => Some(Fence::NotAlone),
            _ => return Err(Malformed("fence")),
        };
        Ok(outcome)
    }
}

/// What an entry did, one part for each of its commands in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// See [`CommandOutcome`].
    pub commands: Vec<CommandOutcome>,
}

impl Outcome {
    /// Bytes for the way from apply to the proposer, inside one process; no stored format.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 * self.commands.len() + 8);
        put_varint(&mut out, self.commands.len() as u64);
        self.commands.iter().for_each(|command| command.encode(&mut out));
        out
    }

    /// The inverse of [`Outcome::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let count = cursor.count(1, "command count")?;
        let mut commands = Vec::with_capacity(count);
        for _ in 0..count {
            commands.push(CommandOutcome::decode(&mut cursor)?);
        }
        cursor.end("outcome end")?;
        Ok(Self { commands })
    }

    /// The sum over all commands of samples stored.
    pub fn appended(&self) -> u64 {
        self.commands.iter().map(|command| command.appended).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_reads_back() {
        let mut command = CommandOutcome {
            appended: 5,
            histograms: 2,
            exemplars_refused: 3,
            resolved: vec![SeriesId(300)],
            ..CommandOutcome::default()
        };
        command.refuse(RefusedSample {
            reason: Refusal::InvalidLabels,
            series: SeriesId::NONE,
            timestamp: Timestamp::from_millis(-5),
        });
        let fenced = Some(Fence::Foreign { last_term: 3, last_slot: 1 });
        let fenced = CommandOutcome { fenced, ..CommandOutcome::default() };
        let alone = CommandOutcome { fenced: Some(Fence::NotAlone), ..CommandOutcome::default() };
        let outcome = Outcome { commands: vec![command, fenced, alone] };
        assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
    }

    #[test]
    fn every_reason_is_counted_at_its_place() {
        for (at, reason) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
    }
}
