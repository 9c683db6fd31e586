//! The commands of an entry, as the decoder hands them to apply.

use narthex_model::Timestamp;

use super::Samples;
use crate::{
    RetentionClass, RuleGroupId, SeriesId, Settings, TargetId,
    bytes::{Cursor, Malformed, put_varint},
};

/// One command.
#[derive(Debug, Clone)]
pub enum Command<'a> {
    /// Samples that somebody sent.
    Append(Append<'a>),
    /// Samples that a client sent, which may be older than the out-of-order window allows.
    Backfill(Samples<'a>),
    /// Label sets that get their ids now; invisible until a sample comes.
    Register(LabelSets<'a>),
    /// One scrape of one target, whole.
    Scrape(Box<Scrape<'a>>),
    /// A scrape that failed.
    ScrapeFailed(ScrapeFailed<'a>),
    /// A target that is no longer scraped.
    TargetGone(TargetGone),
    /// What apply must know of the config.
    Settings(Settings),
    /// Where the kept samples begin.
    Horizon(Vec<Horizon>),
    /// A request to hash the shard's content at this entry.
    Digest(Digest),
    /// Ends every open chunk, so that the next checkpoint has them in their final form.
    Seal,
    /// Hides samples of series for good. Refused unless it is alone in its entry.
    Delete(Delete<'a>),
    /// How far the evaluation of a rule group came.
    RuleGroup(RuleGroup<'a>),
}

/// Who sent the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client, or the shard's own leader.
    Client,
    /// The leader of another shard, fenced by its term.
    Foreign(Foreign),
}

/// What the leader of another shard writes here: rule results, parts of a scrape. Of each
/// (`owner_shard`, `stream`) only a higher (`owner_term`, `slot`) than the last is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// The shard whose leader writes.
    pub owner_shard: u32,
    /// What of that shard writes: a hash of the rule group or target.
    pub stream: u64,
    /// The term in which it leads.
    pub owner_term: u64,
    /// The node that leads. A term has one leader, so it only tells who it was.
    pub owner_node: u64,
    /// Counts the evaluations or scrapes of the stream.
    pub slot: u64,
}

/// See [`Command::Append`].
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// Who sent them.
    pub source: Source,
    /// What was sent.
    pub samples: Samples<'a>,
}

/// See [`Command::Scrape`].
#[derive(Debug, Clone, Copy)]
pub struct Scrape<'a> {
    /// The scraped target.
    pub target: TargetId,
    /// Which of its scrapes; one not above the last is refused whole.
    pub slot: u64,
    /// When it was scraped, which is when vanished series end.
    pub time: Timestamp,
    /// Whether series with timestamps of their own end, too, when they vanish.
    pub track_stamped: bool,
    /// The leader of the target's shard, where this is a part sent to another one.
    pub source: Source,
    /// The other shards that hold parts of this scrape; none in a part.
    pub elsewhere: Shards<'a>,
    /// Samples without a timestamp on the page.
    pub samples: Samples<'a>,
    /// Samples that carry their own timestamps; a repeated one is silent.
    pub stamped: Samples<'a>,
    /// `up` and the `scrape_*` samples, which end only when the target is gone.
    pub report: Samples<'a>,
}

/// See [`Command::ScrapeFailed`].
#[derive(Debug, Clone, Copy)]
pub struct ScrapeFailed<'a> {
    /// The target that should have been scraped.
    pub target: TargetId,
    /// Which of its scrapes.
    pub slot: u64,
    /// When, which is when all its series end.
    pub time: Timestamp,
    /// The leader of the target's shard, where this is a part sent to another one.
    pub source: Source,
    /// `up` and the `scrape_*` samples.
    pub report: Samples<'a>,
}

/// See [`Command::TargetGone`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetGone {
    /// The target.
    pub target: TargetId,
    /// When all its series end, those of its reports too.
    pub time: Timestamp,
    /// The leader of the target's shard, where parts of its scrapes end.
    pub source: Source,
}

/// See [`Command::Horizon`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// The class it holds for.
    pub class: RetentionClass,
    /// Samples before it are no longer seen. It never moves back.
    pub time: Timestamp,
}

/// See [`Command::Digest`]. The range is closed: `[start, end]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The first sample time that counts.
    pub start: Timestamp,
    /// The last sample time that counts.
    pub end: Timestamp,
}

/// See [`Command::RuleGroup`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleGroup<'a> {
    /// Which group.
    pub group: RuleGroupId,
    /// How far it came; one not above the last is refused whole.
    pub position: u64,
    /// What its rules remember, which apply does not read; `None`: the group has ended.
    pub state: Option<&'a [u8]>,
}

/// See [`Command::Delete`]. The range is closed: `[start, end]`.
#[derive(Debug, Clone, Copy)]
pub struct Delete<'a> {
    /// The first sample time that is hidden.
    pub start: Timestamp,
    /// The last sample time that is hidden.
    pub end: Timestamp,
    /// Of which series; one that is not there any more is passed over.
    pub series: SeriesList<'a>,
}

/// Series ids, rising: `count varint { varint }`, each the distance from the one before.
#[derive(Debug, Clone, Copy)]
pub struct SeriesList<'a>(Shards<'a>);

impl<'a> SeriesList<'a> {
    pub(super) fn encode(out: &mut Vec<u8>, series: &[SeriesId]) {
        let numbers: Vec<u32> = series.iter().map(|id| id.0).collect();
        Shards::encode(out, &numbers);
    }

    pub(super) fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        Shards::decode(cursor).map(Self)
    }

    /// The ids.
    pub fn iter(&self) -> impl Iterator<Item = SeriesId> + use<'a> {
        self.0.iter().map(SeriesId)
    }
}

/// Numbers of shards, rising: `count varint { varint }`, each the distance from the one before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shards<'a> {
    bytes: &'a [u8],
}

impl<'a> Shards<'a> {
    pub(super) fn encode(out: &mut Vec<u8>, shards: &[u32]) {
        put_varint(out, shards.len() as u64);
        let mut previous = 0;
        for &shard in shards {
            put_varint(out, u64::from(shard.wrapping_sub(previous)));
            previous = shard;
        }
    }

    pub(super) fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let count = cursor.count(1, "shard count")?;
        let mut shards = *cursor;
        for _ in 0..count {
            cursor.varint_u32("shard")?;
        }
        let bytes = shards.bytes(shards.remaining() - cursor.remaining(), "shard")?;
        Ok(Self { bytes })
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut cursor = Cursor::new(self.bytes);
        let mut previous = 0u32;
        std::iter::from_fn(move || {
            previous = previous.wrapping_add(cursor.varint_u32("shard").ok()?);
            Some(previous)
        })
    }
}

/// Label sets one after the other: `count varint { len varint labels }`.
#[derive(Debug, Clone, Copy)]
pub struct LabelSets<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> LabelSets<'a> {
    /// No label set.
    pub const EMPTY: Self = Self { count: 0, bytes: &[] };

    pub(super) fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let count = cursor.count(1, "label set count")?;
        let before = *cursor;
        for _ in 0..count {
            cursor.block("label set")?;
        }
        let mut sets = before;
        let bytes = sets.bytes(before.remaining() - cursor.remaining(), "label set")?;
        Ok(Self { count, bytes })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The encoded label sets, not yet checked.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut cursor = Cursor::new(self.bytes);
        std::iter::from_fn(move || cursor.block("label set").ok())
    }
}
