//! What was deleted gives its space back, and short chunks become long ones.

use std::sync::Arc;

use narthex_model::{Labels, Matcher, Timestamp};
use narthex_tsdb::{
    Columns, Fence, LogPosition, Outcome, ReplicaNumber, SeriesId, Shard,
    entry::{EntryWriter, Header, SampleBlock, Source},
    kv::MemoryKv,
};

const DAY: i64 = 86_400_000;
const STEP: i64 = 15_000;
const SERIES: u32 = 8;

struct Replica {
    kv: Arc<MemoryKv>,
    shard: Shard,
    index: u64,
    now: i64,
}

fn labels(series: u32) -> Labels {
    let instance = series.to_string();
    Labels::from_pairs([("__name__", "m"), ("instance", instance.as_str())]).expect("valid")
}

impl Replica {
    fn new() -> Self {
        let kv = Arc::new(MemoryKv::new());
        let shard = Shard::open(kv.clone(), ReplicaNumber(1)).expect("empty");
        Self { kv, shard, index: 0, now: 20_000 * DAY }
    }

    fn apply(&mut self, write: impl FnOnce(&mut EntryWriter)) -> Outcome {
        let leader_time = Timestamp::from_millis(self.now);
        let mut entry = EntryWriter::new(Header { leader_time, leader_node: 1, tenant: 0 });
        write(&mut entry);
        self.index += 1;
        self.shard
            .apply(LogPosition { term: 1, index: self.index }, &entry.finish())
            .expect("valid")
    }

    /// Samples of all series, one each at every step, as entries of ten steps.
    fn fill(&mut self, steps: i64) {
        for tenth in 0..steps / 10 {
            let mut block = SampleBlock::new();
            for step in 0..10 {
                let time = Timestamp::from_millis(self.now + step * STEP);
                for series in 0..SERIES {
                    let value = f64::from(series) + ((tenth * 10 + step) * 37 % 100) as f64;
                    block.push_labels(&labels(series), time, value);
                }
            }
            self.now += 10 * STEP;
            self.apply(|entry| entry.append(Source::Client, &block));
        }
    }

    fn append(&mut self, series: u32, time: i64, value: f64) {
        let mut block = SampleBlock::new();
        block.push_labels(&labels(series), Timestamp::from_millis(time), value);
        let outcome = self.apply(|entry| entry.append(Source::Client, &block));
        assert_eq!(outcome.appended(), 1);
    }

    fn checkpoint(&mut self) {
        let position = self.shard.freeze(b"").expect("sound").write().expect("written");
        self.shard.checkpointed(position);
    }

    /// Rewrites all there is to rewrite.
    fn rewrite(&self) {
        let rewriter = self.shard.rewriter();
        for group in rewriter.groups_to_clean() {
            for part in rewriter.parts_to_clean(group) {
                rewriter.rewrite(part).expect("sound");
            }
            rewriter.cleaned(group, rewriter.upto()).expect("written");
        }
        while let Some((day, parts)) = rewriter.parts_to_join(None) {
            for part in parts {
                rewriter.rewrite(part).expect("sound");
            }
            rewriter.joined(day, rewriter.upto()).expect("written");
        }
    }

    fn read(&self, series: u32) -> Vec<(i64, f64)> {
        let matchers = [Matcher::equal("instance", series.to_string())];
        let (start, end) = (Timestamp::MIN, Timestamp::MAX);
        let mut columns = Columns::new();
        for found in self.shard.reader().select(&matchers, start, end) {
            found.samples.read(start, end, &mut columns).expect("readable");
        }
        columns.timestamps.into_iter().zip(columns.values).collect()
    }

    fn bytes(&self) -> usize {
        self.kv.size().1
    }
}

#[test]
fn a_day_of_short_chunks_becomes_one_with_late_samples_in_their_places() {
    let mut replica = Replica::new();
    for _ in 0..12 {
        replica.fill(480);
        let late = replica.now - 3 * STEP - 1;
        replica.append(0, late, 0.5);
        replica.apply(EntryWriter::seal);
        replica.checkpoint();
    }
    let before: Vec<_> = (0..SERIES).map(|series| replica.read(series)).collect();
    assert_eq!((before[0].len(), before[1].len()), (5772, 5760));
    let (keys, bytes) = replica.kv.size();
    replica.rewrite();
    let (keys_after, bytes_after) = replica.kv.size();
    // A checkpoint's page each, and one instead.
    assert_eq!(keys_after, keys - 11);
    assert!(bytes_after < bytes, "{bytes_after} of {bytes}");
    let after: Vec<_> = (0..SERIES).map(|series| replica.read(series)).collect();
    assert_eq!(after, before);
    assert!(replica.shard.rewriter().parts_to_join(None).is_none(), "nothing is left to join");
    replica.shard = Shard::open(replica.kv.clone(), ReplicaNumber(1)).expect("sound");
    let restarted: Vec<_> = (0..SERIES).map(|series| replica.read(series)).collect();
    assert_eq!(restarted, before);
}

#[test]
fn deleted_samples_vanish_at_once_and_give_their_space_back() {
    let mut replica = Replica::new();
    replica.fill(960);
    replica.apply(EntryWriter::seal);
    replica.checkpoint();
    replica.rewrite();
    let (full, kept) = (replica.bytes(), replica.read(7));
    let all: Vec<SeriesId> = replica.shard.reader().matching(
        &[Matcher::equal("__name__", "m")],
        Timestamp::MIN,
        Timestamp::MAX,
    );
    let deleted: Vec<SeriesId> = all.into_iter().filter(|id| id.0 != 7).collect();
    let outcome = replica.apply(|entry| entry.delete(Timestamp::MIN, Timestamp::MAX, &deleted));
    assert_eq!(outcome.commands[0].series_deleted, 7);
    let reader = replica.shard.reader();
    assert_eq!(reader.series(&[], Timestamp::MIN, Timestamp::MAX), [labels(7)]);
    assert_eq!((reader.stats().series, reader.stats().tombstones), (1, 7));
    replica.checkpoint();
    assert!(replica.bytes() > full * 9 / 10, "pages are as they were");
    replica.rewrite();
    assert!(replica.bytes() < full / 4, "{} of {full}", replica.bytes());
    assert_eq!(replica.shard.reader().stats().tombstones, 0);
    assert_eq!((replica.read(0), replica.read(7)), (vec![], kept.clone()));
    replica.shard = Shard::open(replica.kv.clone(), ReplicaNumber(1)).expect("sound");
    assert_eq!(replica.read(7), kept);
    assert_eq!(replica.shard.reader().stats().tombstones, 0);
    let again = replica.now;
    replica.append(0, again, 5.0);
    assert_eq!(replica.read(0), [(again, 5.0)], "a series that is sent again is a new one");
}

#[test]
fn a_range_can_be_deleted_and_sent_again() {
    let mut replica = Replica::new();
    replica.fill(100);
    let (from, to) = (replica.now - 20 * STEP, replica.now - 10 * STEP);
    let id = replica.shard.reader().find(&labels(0)).expect("there");
    let (start, end) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
    replica.apply(|entry| entry.delete(start, end, &[id]));
    assert_eq!(replica.read(0).len(), 100 - 11);
    replica.append(0, from, 0.25);
    let expected = |replica: &Replica| {
        let seen = replica.read(0);
        assert_eq!(seen.len(), 100 - 10);
        assert!(seen.contains(&(from, 0.25)));
    };
    expected(&replica);
    replica.apply(EntryWriter::seal);
    replica.checkpoint();
    expected(&replica);
    replica.rewrite();
    expected(&replica);
}

#[test]
fn a_delete_in_company_is_refused() {
    let mut replica = Replica::new();
    replica.fill(10);
    let outcome = replica.apply(|entry| {
        entry.seal();
        entry.delete(Timestamp::MIN, Timestamp::MAX, &[SeriesId(0)]);
    });
    assert_eq!(outcome.commands[1].fenced, Some(Fence::NotAlone));
    assert_eq!(replica.read(0).len(), 10);
}

#[test]
fn a_selection_shows_what_it_selected_whatever_is_rewritten() {
    let mut replica = Replica::new();
    for _ in 0..4 {
        replica.fill(120);
        replica.apply(EntryWriter::seal);
        replica.checkpoint();
    }
    let (start, end) = (Timestamp::MIN, Timestamp::MAX);
    let selected = replica.shard.reader().select(&[], start, end);
    let id = selected[0].samples.id();
    replica.apply(|entry| entry.delete(start, end, &[id]));
    replica.fill(120);
    replica.apply(EntryWriter::seal);
    replica.checkpoint();
    replica.rewrite();
    let mut columns = Columns::new();
    selected[0].samples.read(start, end, &mut columns).expect("readable");
    assert_eq!(columns.len(), 480);
    drop(selected);
    replica.rewrite();
    assert_eq!(replica.shard.reader().stats().tombstones, 0);
}
