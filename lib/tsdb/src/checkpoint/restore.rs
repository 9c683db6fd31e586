//! Opening a shard: reading back its last checkpoint.

use std::ops::{ControlFlow, Range};

use super::record::{
    HeadRecord, decode_body, decode_day, decode_rule_group, decode_series, decode_target,
    decode_tombstones,
};
use crate::{
    ReplicaNumber, SeriesId,
    bytes::Malformed,
    changes::Changes,
    exemplars::Exemplars,
    head::Head,
    keys,
    kv::{KeyValue, KvError, Space},
    open_page,
    series::GROUP_SERIES,
};

/// Why a shard could not be opened. Its replica must be rebuilt, or this program upgraded.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("read checkpoint")]
    Store(#[from] KvError),
    /// A record is damaged, or written by a newer program.
    #[error("decode {what} of checkpoint")]
    Damaged {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
}

pub(crate) fn damaged(what: &'static str) -> impl FnOnce(Malformed) -> OpenError {
    move |source| OpenError::Damaged { what, source }
}

/// Which of two answers of the store is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// What was written last.
    Newest,
    /// What a crash would leave.
    Persisted,
}

/// The head record of a replica, if it ever made a checkpoint.
pub(crate) fn read_head(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
    tier: Tier,
) -> Result<Option<HeadRecord>, OpenError> {
    let key = keys::head(replica);
    let record = match tier {
        Tier::Newest => kv.read(Space::State, &key)?,
        Tier::Persisted => kv.read_persisted(Space::State, &key)?,
    };
    record.map(|bytes| HeadRecord::decode(&bytes).map_err(damaged("head record"))).transpose()
}

/// The head at the replica's last checkpoint, and the caller's own state in it.
pub(crate) fn restore(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
) -> Result<(Head, Vec<u8>), OpenError> {
    let mut head = Head::new();
    let Some(record) = read_head(kv, replica, Tier::Newest)? else {
        return Ok((head, Vec::new()));
    };
    head.applied = record.position;
    head.changes = Changes::behind(record.position.index);
    head.leader_time = record.leader_time;
    head.next_series = record.next_series;
    head.samples_total = record.samples_total;
    head.outcomes = record.outcomes;
    head.settings = record.settings;
    head.horizons = record.horizons;
    for (stream, highest) in record.sources {
        head.sources.restore(stream, highest);
    }
    restore_groups(kv, replica, &mut head)?;
    restore_days(kv, replica, &mut head)?;
    restore_targets(kv, replica, &mut head)?;
    restore_rule_groups(kv, replica, &mut head)?;
    head.exemplars = Exemplars::starting_at(record.first_exemplar);
    restore_exemplars(kv, replica, &mut head)?;
    restore_families(kv, replica, &mut head)?;
    restore_tombstones(kv, replica, &mut head)?;
    head.renew_limits();
    head.count_restored();
    Ok((head, record.extra))
}

/// Scans with a visitor that can fail.
fn scan(
    kv: &dyn KeyValue,
    space: Space,
    range: &Range<Vec<u8>>,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let mut result = Ok(());
    kv.scan(space, &range.start, &range.end, &mut |key, value| {
        result = visit(key, value);
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    result
}

fn restore_groups(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
    head: &mut Head,
) -> Result<(), OpenError> {
    let key_error = || damaged("key")(Malformed("key"));
    scan(kv, Space::Open, &keys::replica(replica), |key, page| {
        let first = keys::open_page_series(key).ok_or_else(key_error)?;
        let number = first as usize / GROUP_SERIES;
        let group = open_page::decode(page).map_err(damaged("open page"))?;
        if head.groups.len() <= number {
            head.groups.resize_with(number + 1, || None);
        }
        head.groups[number] = Some(Box::new(group));
        Ok(())
    })?;
    scan(kv, Space::Index, &keys::all_series(replica), |key, record| {
        let first = keys::series_of(key).ok_or_else(key_error)?;
        for (place, labels) in decode_series(record).map_err(damaged("series record"))? {
            let id = SeriesId(first.saturating_add(u32::from(place)));
            if head.group(id).is_none() {
                return Err(damaged("series record")(Malformed("series without a place")));
            }
            head.index.insert(id, &labels);
        }
        Ok(())
    })
}

fn restore_days(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
    head: &mut Head,
) -> Result<(), OpenError> {
    scan(kv, Space::Index, &keys::all_presence(replica), |key, record| {
        let day = keys::presence_day(key).ok_or_else(|| damaged("key")(Malformed("key")))?;
        head.days.restore(day, decode_day(record).map_err(damaged("day record"))?);
        Ok(())
    })
}

fn restore_targets(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
    head: &mut Head,
) -> Result<(), OpenError> {
    scan(kv, Space::State, &keys::all_targets(replica), |key, record| {
        let id = keys::target_id(key).ok_or_else(|| damaged("key")(Malformed("key")))?;
        head.targets.insert(id, decode_target(record).map_err(damaged("target record"))?);
        Ok(())
    })
}

fn restore_rule_groups(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
    head: &mut Head,
) -> Result<(), OpenError> {
    scan(kv, Space::State, &keys::all_rule_groups(replica), |key, record| {
        let id = keys::rule_group_id(key).ok_or_else(|| damaged("key")(Malformed("key")))?;
        let group = decode_rule_group(record).map_err(damaged("rule group record"))?;
        head.rule_groups.insert(id, group);
        Ok(())
    })
}

fn restore_exemplars(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
    head: &mut Head,
) -> Result<(), OpenError> {
    scan(kv, Space::State, &keys::all_exemplars(replica), |_, record| {
        let restored = decode_body(record).and_then(|mut body| head.exemplars.restore(&mut body));
        restored.map_err(damaged("exemplars"))
    })
}

fn restore_families(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
    head: &mut Head,
) -> Result<(), OpenError> {
    scan(kv, Space::State, &keys::all_families(replica), |_, record| {
        let restored = decode_body(record).and_then(|mut body| head.families.restore(&mut body));
        restored.map_err(damaged("metric family"))
    })
}

fn restore_tombstones(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
    head: &mut Head,
) -> Result<(), OpenError> {
    scan(kv, Space::State, &keys::all_tombstones(replica), |_, record| {
        for (series, tombstone) in decode_tombstones(record).map_err(damaged("tombstones"))? {
            head.tombstones.restore(series, tombstone);
        }
        Ok(())
    })
}
