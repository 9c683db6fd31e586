//! Reading entries without copying them.

use narthex_model::Timestamp;

use super::{
    ENTRY_VERSION, Header, Samples,
    command::{
        Append, Command, Delete, Digest, Foreign, Horizon, LabelSets, RuleGroup, Scrape,
        ScrapeFailed, SeriesList, Shards, Source, TargetGone,
    },
    flag, kind,
};
use crate::{
    RetentionClass, RuleGroupId, Settings, TargetId,
    bytes::{Cursor, Malformed},
};

/// Why an entry cannot be applied by this program. All stop the replica.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Written by a newer program: upgrade this one.
    #[error("entry version {0} is newer than {ENTRY_VERSION}, the newest this program knows")]
    UnknownVersion(u8),
    /// Written by a newer program: upgrade this one.
    #[error("command kind {0} is not known to this program")]
    UnknownCommand(u8),
    /// Damaged, or not an entry.
    #[error("decode entry")]
    Malformed(#[from] Malformed),
}

/// A decoded entry: the header and its undecoded commands.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    header: Header,
    commands: u64,
    body: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads the header. The commands are checked when they are reached.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let mut cursor = Cursor::new(bytes);
        let version = cursor.u8("entry version")?;
        if version == 0 {
            return Err(Malformed("entry version").into());
        }
        if version > ENTRY_VERSION {
            return Err(EntryError::UnknownVersion(version));
        }
        let header = Header {
            leader_time: Timestamp::from_millis(cursor.i64("leader time")?),
            leader_node: cursor.varint("leader node")?,
            tenant: cursor.varint_u32("tenant")?,
        };
        let commands = cursor.count(5, "command count")? as u64;
        Ok(Self { header, commands, body: cursor.rest() })
    }

    /// What the entry begins with.
    pub fn header(&self) -> Header {
        self.header
    }

    /// How many commands there are, if it is sound.
    pub fn command_count(&self) -> u64 {
        self.commands
    }

    /// The commands in the order they are applied.
    pub fn commands(&self) -> Commands<'a> {
        Commands {
            left: self.commands,
            cursor: Cursor::new(self.body),
            base: self.header.leader_time,
        }
    }
}

/// Walks the commands of an entry. Stops for good at the first error.
#[derive(Debug, Clone)]
pub struct Commands<'a> {
    left: u64,
    cursor: Cursor<'a>,
    base: Timestamp,
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let trailing = self.cursor.end("entry end").err();
            self.cursor.rest();
            return trailing.map(|error| Err(error.into()));
        }
        self.left -= 1;
        let command = self.read();
        if command.is_err() {
            self.left = 0;
            self.cursor.rest();
        }
        Some(command)
    }
}

impl<'a> Commands<'a> {
    fn read(&mut self) -> Result<Command<'a>, EntryError> {
        let kind = self.cursor.u8("command kind")?;
        let len = self.cursor.u32("command length")? as usize;
        let mut body = Cursor::new(self.cursor.bytes(len, "command body")?);
        let command = match kind {
            kind::APPEND => Command::Append(Append {
                source: source(&mut body)?,
                samples: Samples::decode(&mut body, self.base)?,
            }),
            kind::BACKFILL => Command::Backfill(Samples::decode(&mut body, self.base)?),
            kind::REGISTER => Command::Register(LabelSets::decode(&mut body)?),
            kind::SCRAPE => Command::Scrape(Box::new(scrape(&mut body, self.base)?)),
            kind::SCRAPE_FAILED => Command::ScrapeFailed(scrape_failed(&mut body, self.base)?),
            kind::TARGET_GONE => Command::TargetGone(TargetGone {
                target: TargetId(body.u128("target id")?),
                time: time(&mut body, self.base)?,
                source: if body.is_empty() { Source::Client } else { source(&mut body)? },
            }),
            kind::SETTINGS => Command::Settings(Settings::decode(&mut body)?),
            kind::HORIZON => Command::Horizon(horizons(&mut body)?),
            kind::DIGEST => Command::Digest(Digest {
                start: Timestamp::from_millis(body.i64("digest start")?),
                end: Timestamp::from_millis(body.i64("digest end")?),
            }),
            kind::SEAL => Command::Seal,
            kind::DELETE => Command::Delete(Delete {
                start: Timestamp::from_millis(body.i64("delete start")?),
                end: Timestamp::from_millis(body.i64("delete end")?),
                series: SeriesList::decode(&mut body)?,
            }),
            kind::RULE_GROUP => Command::RuleGroup(RuleGroup {
                group: RuleGroupId(body.u128("rule group id")?),
                position: body.varint("rule group position")?,
                state: match body.is_empty() {
                    true => None,
                    false => Some(body.block("rule group state")?),
                },
            }),
            unknown => return Err(EntryError::UnknownCommand(unknown)),
        };
        body.end("command end")?;
        Ok(command)
    }
}

fn time(cursor: &mut Cursor<'_>, base: Timestamp) -> Result<Timestamp, Malformed> {
    let difference = cursor.signed("time")?;
    Ok(Timestamp::from_millis(base.millis().wrapping_add(difference)))
}

fn source(cursor: &mut Cursor<'_>) -> Result<Source, Malformed> {
    match cursor.u8("source")? {
        0 => Ok(Source::Client),
        1 => Ok(Source::Foreign(Foreign {
            owner_shard: cursor.varint_u32("owner shard")?,
            stream: cursor.u64("stream")?,
            owner_term: cursor.varint("owner term")?,
            owner_node: cursor.varint("owner node")?,
            slot: cursor.varint("slot")?,
        })),
        _ => Err(Malformed("source")),
    }
}

fn scrape<'a>(cursor: &mut Cursor<'a>, base: Timestamp) -> Result<Scrape<'a>, Malformed> {
    let target = TargetId(cursor.u128("target id")?);
    let slot = cursor.varint("slot")?;
    let time = time(cursor, base)?;
    let source = source(cursor)?;
    let flags = cursor.u8("scrape flags")?;
    if flags & !(flag::TRACK_STAMPED | flag::ELSEWHERE) != 0 {
        return Err(Malformed("scrape flags"));
    }
    let track_stamped = flags & flag::TRACK_STAMPED != 0;
    let elsewhere = match flags & flag::ELSEWHERE {
        0 => Shards::default(),
        _ => Shards::decode(cursor)?,
    };
    let samples = Samples::decode(cursor, time)?;
    let stamped = Samples::decode(cursor, time)?;
    let report = Samples::decode(cursor, time)?;
    Ok(Scrape { target, slot, time, track_stamped, source, elsewhere, samples, stamped, report })
}

fn scrape_failed<'a>(
    cursor: &mut Cursor<'a>,
    base: Timestamp,
) -> Result<ScrapeFailed<'a>, Malformed> {
    let target = TargetId(cursor.u128("target id")?);
    let slot = cursor.varint("slot")?;
    let time = time(cursor, base)?;
    let source = source(cursor)?;
    let report = Samples::decode(cursor, time)?;
    Ok(ScrapeFailed { target, slot, time, source, report })
}

fn horizons(cursor: &mut Cursor<'_>) -> Result<Vec<Horizon>, Malformed> {
    let count = cursor.count(9, "horizon count")?;
    let mut horizons = Vec::with_capacity(count);
    for _ in 0..count {
        horizons.push(Horizon {
            class: RetentionClass::read(cursor)?,
            time: Timestamp::from_millis(cursor.i64("horizon time")?),
        });
    }
    Ok(horizons)
}
