//! Writing entries: the leader's hot path.

use narthex_model::Timestamp;

use super::{
    ENTRY_VERSION, Header, SampleBlock, Source,
    command::{Digest, Foreign, Horizon, RuleGroup, SeriesList, Shards, TargetGone},
    flag, kind,
};
use crate::{
    SeriesId, Settings, TargetId,
    bytes::{put_block, put_signed, put_varint},
};

/// Which scrape of which target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapeSlot {
    /// The target.
    pub target: TargetId,
    /// Counts its scrapes: floor((time − phase) / interval).
    pub slot: u64,
    /// When it was scraped.
    pub time: Timestamp,
    /// [`Source::Client`] on the target's own shard.
    pub source: Source,
}

/// The samples of a scrape that went well.
#[derive(Debug, Clone, Copy)]
pub struct ScrapeParts<'a> {
    /// Samples without a timestamp on the page; all at the scrape's time.
    pub samples: &'a SampleBlock,
    /// Samples that carry their own.
    pub stamped: &'a SampleBlock,
    /// Whether series of `stamped` end when they vanish.
    pub track_stamped: bool,
    /// `up` and the `scrape_*` samples.
    pub report: &'a SampleBlock,
    /// The other shards that hold parts of this scrape, rising.
    pub elsewhere: &'a [u32],
}

/// A place between two commands of an [`EntryWriter`].
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    commands: u32,
    len: usize,
}

/// An entry being written. Commands are applied in the order they were added.
#[derive(Debug)]
pub struct EntryWriter {
    header: Header,
    commands: u32,
    body: Vec<u8>,
}

impl EntryWriter {
    /// An entry without commands.
    pub fn new(header: Header) -> Self {
        Self { header, commands: 0, body: Vec::new() }
    }

    /// How many commands were added.
    pub fn commands(&self) -> usize {
        self.commands as usize
    }

    /// Bytes so far; joined entries end at 256 KiB.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether no command was added.
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// The place behind the last command.
    pub fn mark(&self) -> Mark {
        Mark { commands: self.commands, len: self.body.len() }
    }

    /// Takes the commands behind `mark` into an entry of their own with the same header.
    #[must_use]
    pub fn split_off(&mut self, mark: Mark) -> Self {
        let commands = self.commands - mark.commands;
        self.commands = mark.commands;
        Self { header: self.header, commands, body: self.body.split_off(mark.len) }
    }

    /// Adds samples that somebody sent.
    pub fn append(&mut self, source: Source, samples: &SampleBlock) {
        self.command(kind::APPEND, |out, base| {
            put_source(out, source);
            samples.encode(out, base);
        });
    }

    /// Adds samples that a client sent, whatever their age.
    pub fn backfill(&mut self, samples: &SampleBlock) {
        self.command(kind::BACKFILL, |out, base| samples.encode(out, base));
    }

    /// Adds the label sets of `block`, which should have ids; its samples are left alone.
    pub fn register(&mut self, block: &SampleBlock) {
        self.command(kind::REGISTER, |out, _| block.encode_labels(out));
    }

    /// Adds a scrape.
    pub fn scrape(&mut self, slot: ScrapeSlot, parts: ScrapeParts<'_>) {
        self.command(kind::SCRAPE, |out, base| {
            put_slot(out, slot, base);
            let tracked = if parts.track_stamped { flag::TRACK_STAMPED } else { 0 };
            match parts.elsewhere {
                [] => out.push(tracked),
                shards => {
                    out.push(tracked | flag::ELSEWHERE);
                    Shards::encode(out, shards);
                }
            }
            // The scrape's own time is the base, so that times of the page cost one byte each.
            for samples in [parts.samples, parts.stamped, parts.report] {
                samples.encode(out, slot.time);
            }
        });
    }

    /// Adds a failed scrape.
    pub fn scrape_failed(&mut self, slot: ScrapeSlot, report: &SampleBlock) {
        self.command(kind::SCRAPE_FAILED, |out, base| {
            put_slot(out, slot, base);
            report.encode(out, slot.time);
        });
    }

    /// Adds the end of a target.
    pub fn target_gone(&mut self, gone: TargetGone) {
        self.command(kind::TARGET_GONE, |out, base| {
            out.extend_from_slice(&gone.target.0.to_le_bytes());
            put_time(out, gone.time, base);
            if gone.source != Source::Client {
                put_source(out, gone.source);
            }
        });
    }

    /// Adds a change of settings.
    pub fn settings(&mut self, settings: &Settings) {
        self.command(kind::SETTINGS, |out, _| settings.encode(out));
    }

    /// Adds new horizons.
    pub fn horizon(&mut self, horizons: &[Horizon]) {
        self.command(kind::HORIZON, |out, _| {
            put_varint(out, horizons.len() as u64);
            for horizon in horizons {
                put_varint(out, u64::from(horizon.class.0));
                out.extend_from_slice(&horizon.time.millis().to_le_bytes());
            }
        });
    }

    /// Adds a request for a digest.
    pub fn digest(&mut self, digest: Digest) {
        self.command(kind::DIGEST, |out, _| {
            out.extend_from_slice(&digest.start.millis().to_le_bytes());
            out.extend_from_slice(&digest.end.millis().to_le_bytes());
        });
    }

    /// Adds the end of all open chunks.
    pub fn seal(&mut self) {
        self.command(kind::SEAL, |_, _| ());
    }

    /// Adds a delete, which must stay the only command of its entry. Ids rise.
    pub fn delete(&mut self, start: Timestamp, end: Timestamp, series: &[SeriesId]) {
        self.command(kind::DELETE, |out, _| {
            out.extend_from_slice(&start.millis().to_le_bytes());
            out.extend_from_slice(&end.millis().to_le_bytes());
            SeriesList::encode(out, series);
        });
    }

    /// Adds how far a rule group came.
    pub fn rule_group(&mut self, step: RuleGroup<'_>) {
        self.command(kind::RULE_GROUP, |out, _| {
            out.extend_from_slice(&step.group.0.to_le_bytes());
            put_varint(out, step.position);
            if let Some(state) = step.state {
                put_block(out, state);
            }
        });
    }

    /// The entry's bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 32);
        out.push(ENTRY_VERSION);
        out.extend_from_slice(&self.header.leader_time.millis().to_le_bytes());
        put_varint(&mut out, self.header.leader_node);
        put_varint(&mut out, u64::from(self.header.tenant));
        put_varint(&mut out, u64::from(self.commands));
        out.extend_from_slice(&self.body);
        out
    }

    /// `command := kind u8, len u32 little-endian, body`: the length is known only afterwards.
    fn command(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>, Timestamp)) {
        self.body.push(kind);
        let len_at = self.body.len();
        self.body.extend_from_slice(&[0; 4]);
        write(&mut self.body, self.header.leader_time);
        let len = self.body.len() - len_at - 4;
        let len = u32::try_from(len).expect("a command is far below 4 GiB");
        self.body[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
        self.commands += 1;
    }
}

fn put_time(out: &mut Vec<u8>, time: Timestamp, base: Timestamp) {
    put_signed(out, time.millis().wrapping_sub(base.millis()));
}

fn put_slot(out: &mut Vec<u8>, slot: ScrapeSlot, base: Timestamp) {
    out.extend_from_slice(&slot.target.0.to_le_bytes());
    put_varint(out, slot.slot);
    put_time(out, slot.time, base);
    put_source(out, slot.source);
}

fn put_source(out: &mut Vec<u8>, source: Source) {
    let Source::Foreign(foreign) = source else {
        out.push(0);
        return;
    };
    let Foreign { owner_shard, stream, owner_term, owner_node, slot } = foreign;
    out.push(1);
    put_varint(out, u64::from(owner_shard));
    out.extend_from_slice(&stream.to_le_bytes());
    put_varint(out, owner_term);
    put_varint(out, owner_node);
    put_varint(out, slot);
}
