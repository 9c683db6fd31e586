//! The small records of a checkpoint. `docs/formats/state.md` draws them.
//!
//! ```text
//! record  := version u8, crc32c u32 LE of all that follows, body
//! head    := term varint, index varint, leader time i64 LE, next series varint,
//!            samples varint, outcomes u64 LE, settings block,
//!            horizons varint { class varint, time i64 LE },
//!            sources varint { shard varint, stream u64 LE, term varint, slot varint },
//!            first exemplar varint, extra block
//! series  := count varint { place u8, labels block }
//! day     := page span varint, pages at varint, joined at varint,
//!            classes varint { class varint, block: bitmap }, presence: bitmap
//! bitmap  := roaring bitmap, portable format
//! target  := slot varint, time i64 LE, flags u8 (1: healthy, 2: spread),
//!            if spread: owner varint (0: this shard, else its number plus 1), shard list,
//!            series list, report list
//! tombstones := count varint { series varint, start i64 LE, end i64 LE, log index varint }
//! exemplars := number of the first varint,
//!            count varint { series varint, time i64 LE, bits u64 LE, labels block }
//! rule group := position varint, state block
//! family  := day last seen zigzag varint, type u8, name block, help block, unit block
//! list    := count varint { zigzag varint, difference to the one before }
//! block   := len varint, bytes
//! ```

use std::{collections::BTreeMap, sync::Arc};

use narthex_model::Labels;
use roaring::RoaringBitmap;

use crate::{
    LogPosition, RetentionClass, SeriesId, Settings,
    bytes::{Cursor, Malformed, put_block, put_signed, put_varint},
    days::Day,
    head::Head,
    page::{seal, unseal},
    retention::Horizons,
    rule_groups::RuleGroup,
    targets::Target,
    tombstones::Tombstone,
};

const VERSION: u8 = 1;
/// Bits of a target's flags.
const HEALTHY: u8 = 1;
const SPREAD: u8 = 2;

fn begin() -> Vec<u8> {
    vec![VERSION, 0, 0, 0, 0]
}

fn finish(mut out: Vec<u8>) -> Vec<u8> {
    seal(&mut out);
    out
}

/// The log position and all that is small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadRecord {
    pub(crate) position: LogPosition,
    pub(crate) leader_time: i64,
    pub(crate) next_series: u32,
    pub(crate) samples_total: u64,
    pub(crate) outcomes: u64,
    pub(crate) settings: Settings,
    pub(crate) horizons: Horizons,
    pub(crate) sources: Vec<((u32, u64), (u64, u64))>,
    pub(crate) first_exemplar: u64,
    pub(crate) extra: Vec<u8>,
}

impl HeadRecord {
    pub(crate) fn of(head: &Head, extra: &[u8]) -> Self {
        Self {
            position: head.applied,
            leader_time: head.leader_time,
            next_series: head.next_series,
            samples_total: head.samples_total,
            outcomes: head.outcomes,
            settings: head.settings.clone(),
            horizons: head.horizons.clone(),
            sources: head.sources.iter().collect(),
            first_exemplar: head.exemplars.first(),
            extra: extra.to_vec(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = begin();
        put_varint(&mut out, self.position.term);
        put_varint(&mut out, self.position.index);
        out.extend_from_slice(&self.leader_time.to_le_bytes());
        put_varint(&mut out, u64::from(self.next_series));
        put_varint(&mut out, self.samples_total);
        out.extend_from_slice(&self.outcomes.to_le_bytes());
        let mut settings = Vec::new();
        self.settings.encode(&mut settings);
        put_block(&mut out, &settings);
        put_varint(&mut out, self.horizons.0.len() as u64);
        for (class, time) in &self.horizons.0 {
            put_varint(&mut out, u64::from(class.0));
            out.extend_from_slice(&time.to_le_bytes());
        }
        put_varint(&mut out, self.sources.len() as u64);
        for ((shard, stream), (term, slot)) in &self.sources {
            put_varint(&mut out, u64::from(*shard));
            out.extend_from_slice(&stream.to_le_bytes());
            put_varint(&mut out, *term);
            put_varint(&mut out, *slot);
        }
        put_varint(&mut out, self.first_exemplar);
        put_block(&mut out, &self.extra);
        finish(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = unseal(bytes, VERSION)?;
        let position = LogPosition { term: cursor.varint("term")?, index: cursor.varint("index")? };
        let leader_time = cursor.i64("leader time")?;
        let next_series = cursor.varint_u32("next series")?;
        let samples_total = cursor.varint("samples")?;
        let outcomes = cursor.u64("outcomes")?;
        let settings = Settings::decode(&mut Cursor::new(cursor.block("settings")?))?;
        let mut horizons = Horizons::default();
        for _ in 0..cursor.count(9, "horizons")? {
            horizons.0.insert(RetentionClass::read(&mut cursor)?, cursor.i64("horizon")?);
        }
        let mut sources = Vec::new();
        for _ in 0..cursor.count(11, "sources")? {
            let stream = (cursor.varint_u32("shard")?, cursor.u64("stream")?);
            sources.push((stream, (cursor.varint("term")?, cursor.varint("slot")?)));
        }
        let first_exemplar = cursor.varint("first exemplar")?;
        let extra = cursor.block("extra")?.to_vec();
        cursor.end("head end")?;
        Ok(Self {
            position,
            leader_time,
            next_series,
            samples_total,
            outcomes,
            settings,
            horizons,
            sources,
            first_exemplar,
            extra,
        })
    }
}

/// A record of a body that is known already.
pub(super) fn encode_body(body: &[u8]) -> Vec<u8> {
    let mut out = begin();
    out.extend_from_slice(body);
    finish(out)
}

/// The body of a record.
pub(super) fn decode_body(bytes: &[u8]) -> Result<Cursor<'_>, Malformed> {
    unseal(bytes, VERSION)
}

/// The labels of a group's series, by place.
pub(super) fn encode_series(series: impl Iterator<Item = (u8, Labels)>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut count = 0;
    for (place, labels) in series {
        body.push(place);
        put_block(&mut body, labels.as_bytes());
        count += 1;
    }
    let mut out = begin();
    put_varint(&mut out, count);
    out.extend_from_slice(&body);
    finish(out)
}

pub(super) fn decode_series(bytes: &[u8]) -> Result<Vec<(u8, Labels)>, Malformed> {
    let mut cursor = unseal(bytes, VERSION)?;
    let mut series = Vec::new();
    for _ in 0..cursor.count(2, "series count")? {
        let place = cursor.u8("place")?;
        let labels = Labels::from_bytes(cursor.block("labels")?);
        series.push((place, labels.map_err(|_| Malformed("labels"))?));
    }
    cursor.end("series end")?;
    Ok(series)
}

pub(crate) fn encode_day(day: &Day) -> Vec<u8> {
    let mut out = begin();
    put_varint(&mut out, day.page_span.max(0) as u64);
    put_varint(&mut out, day.pages_at);
    put_varint(&mut out, day.joined_at);
    put_varint(&mut out, day.classes.len() as u64);
    for (class, series) in &day.classes {
        put_varint(&mut out, u64::from(class.0));
        put_block(&mut out, &bitmap(series));
    }
    out.extend_from_slice(&bitmap(&day.present));
    finish(out)
}

pub(crate) fn decode_day(bytes: &[u8]) -> Result<Day, Malformed> {
    let mut cursor = unseal(bytes, VERSION)?;
    let span = i64::try_from(cursor.varint("page span")?).map_err(|_| Malformed("page span"))?;
    let (pages_at, joined_at) = (cursor.varint("pages at")?, cursor.varint("joined at")?);
    let mut classes = BTreeMap::new();
    for _ in 0..cursor.count(2, "classes")? {
        let class = RetentionClass::read(&mut cursor)?;
        classes.insert(class, read_bitmap(cursor.block("class")?)?);
    }
    let present = read_bitmap(cursor.rest())?;
    Ok(Day { present, classes, touched: 0, page_span: span, pages_at, joined_at })
}

fn bitmap(series: &RoaringBitmap) -> Vec<u8> {
    let mut out = Vec::with_capacity(series.serialized_size());
    series.serialize_into(&mut out).expect("a vector takes all bytes");
    out
}

fn read_bitmap(bytes: &[u8]) -> Result<Arc<RoaringBitmap>, Malformed> {
    let read = RoaringBitmap::deserialize_from(bytes);
    read.map(Arc::new).map_err(|_| Malformed("bitmap of series"))
}

pub(super) fn encode_target(target: &Target) -> Vec<u8> {
    let mut out = begin();
    put_varint(&mut out, target.last_slot);
    out.extend_from_slice(&target.last_time.to_le_bytes());
    let is_spread = target.owner.is_some() || !target.elsewhere.is_empty();
    out.push(if target.healthy { HEALTHY } else { 0 } | if is_spread { SPREAD } else { 0 });
    if is_spread {
        put_varint(&mut out, target.owner.map_or(0, |owner| u64::from(owner) + 1));
        put_list(&mut out, &target.elsewhere);
    }
    put_list(&mut out, &target.series);
    put_list(&mut out, &target.report);
    finish(out)
}

pub(super) fn encode_rule_group(group: &RuleGroup) -> Vec<u8> {
    let mut out = begin();
    put_varint(&mut out, group.position);
    put_block(&mut out, &group.state);
    finish(out)
}

pub(super) fn decode_rule_group(bytes: &[u8]) -> Result<RuleGroup, Malformed> {
    let mut cursor = unseal(bytes, VERSION)?;
    let position = cursor.varint("rule group position")?;
    let state = cursor.block("rule group state")?.into();
    cursor.end("rule group end")?;
    Ok(RuleGroup { position, state, touched: 0 })
}

/// The tombstones of a group's series.
pub(crate) fn encode_tombstones<'t>(
    tombstones: impl Iterator<Item = (SeriesId, &'t [Tombstone])>,
) -> Vec<u8> {
    let (mut body, mut count) = (Vec::new(), 0);
    for (series, all) in tombstones {
        for tombstone in all {
            put_varint(&mut body, u64::from(series.0));
            body.extend_from_slice(&tombstone.start.to_le_bytes());
            body.extend_from_slice(&tombstone.end.to_le_bytes());
            put_varint(&mut body, tombstone.at);
            count += 1;
        }
    }
    let mut out = begin();
    put_varint(&mut out, count);
    out.extend_from_slice(&body);
    finish(out)
}

pub(super) fn decode_tombstones(bytes: &[u8]) -> Result<Vec<(SeriesId, Tombstone)>, Malformed> {
    let mut cursor = unseal(bytes, VERSION)?;
    let mut tombstones = Vec::new();
    for _ in 0..cursor.count(18, "tombstones")? {
        let series = SeriesId(cursor.varint_u32("series")?);
        let (start, end) = (cursor.i64("start")?, cursor.i64("end")?);
        tombstones.push((series, Tombstone { start, end, at: cursor.varint("log index")? }));
    }
    cursor.end("tombstones end")?;
    Ok(tombstones)
}

fn put_list(out: &mut Vec<u8>, list: &[u32]) {
    put_varint(out, list.len() as u64);
    let mut previous = 0i64;
    for &number in list {
        put_signed(out, i64::from(number) - previous);
        previous = i64::from(number);
    }
}

fn owner(number: u64) -> Result<Option<u32>, Malformed> {
    let owner = number.checked_sub(1).map(u32::try_from);
    owner.transpose().map_err(|_| Malformed("owner"))
}

pub(super) fn decode_target(bytes: &[u8]) -> Result<Target, Malformed> {
    let mut cursor = unseal(bytes, VERSION)?;
    let mut target = Target {
        last_slot: cursor.varint("slot")?,
        last_time: cursor.i64("time")?,
        ..Target::default()
    };
    let flags = cursor.u8("target flags")?;
    if flags & !(HEALTHY | SPREAD) != 0 {
        return Err(Malformed("target flags"));
    }
    target.healthy = flags & HEALTHY != 0;
    if flags & SPREAD != 0 {
        target.owner = owner(cursor.varint("owner")?)?;
        target.elsewhere = list(&mut cursor)?;
    }
    target.series = list(&mut cursor)?;
    target.report = list(&mut cursor)?;
    cursor.end("target end")?;
    Ok(target)
}

fn list(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, Malformed> {
    let (mut list, mut previous) = (Vec::new(), 0i64);
    for _ in 0..cursor.count(1, "list")? {
        previous = previous.wrapping_add(cursor.signed("list")?);
        list.push(u32::try_from(previous).map_err(|_| Malformed("number in a list"))?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        let record = HeadRecord {
            position: LogPosition { term: 3, index: 900 },
            leader_time: -4,
            next_series: 70,
            samples_total: 1 << 40,
            outcomes: 9,
            settings: Settings { series_max: 3, ..Settings::default() },
            horizons: Horizons([(RetentionClass(0), 5), (RetentionClass(300), -5)].into()),
            sources: vec![((1, 2), (3, 4))],
            first_exemplar: 300,
            extra: b"membership".to_vec(),
        };
        assert_eq!(HeadRecord::decode(&record.encode()), Ok(record));
        let target = Target {
            last_slot: 4,
            last_time: 5,
            healthy: true,
            series: vec![9, 3, u32::MAX],
            report: vec![1],
            ..Target::default()
        };
        let part = Target { owner: Some(0), elsewhere: vec![1, 7], ..target.clone() };
        for target in [target, part] {
            assert_eq!(decode_target(&encode_target(&target)), Ok(target));
        }
        let group = RuleGroup { position: 1 << 57, state: b"any"[..].into(), touched: 0 };
        assert_eq!(decode_rule_group(&encode_rule_group(&group)), Ok(group));
        let labels = Labels::from_pairs([("a", "b")]).expect("valid");
        let series = vec![(3, labels.clone()), (63, labels)];
        assert_eq!(decode_series(&encode_series(series.clone().into_iter())), Ok(series));
        let tombstone = Tombstone { start: i64::MIN, end: 7, at: 900 };
        let tombstones = [tombstone, Tombstone { at: 3, ..tombstone }];
        let record = encode_tombstones([(SeriesId(70), &tombstones[..])].into_iter());
        let read = decode_tombstones(&record).expect("valid");
        assert_eq!(read, tombstones.map(|tombstone| (SeriesId(70), tombstone)));
        let day = Day {
            present: Arc::new([1, 5, 900_000].into()),
            classes: [(RetentionClass(300), Arc::new([5].into()))].into(),
            touched: 0,
            page_span: 77,
            pages_at: 900,
            joined_at: 3,
        };
        assert_eq!(decode_day(&encode_day(&day)), Ok(day));
    }

    #[test]
    fn a_damaged_record_is_refused() {
        let bytes = encode_target(&Target::default());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(decode_target(&damaged).is_err());
        }
    }
}
