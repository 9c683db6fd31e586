//! Parts of scrapes of targets that belong to other shards.

use std::sync::Arc;

use narthex_model::{Labels, Matcher, STALE_NAN_BITS, Timestamp};
use narthex_tsdb::{
    Columns, CommandOutcome, LogPosition, ReplicaNumber, Shard, TargetId,
    entry::{
        EntryWriter, Foreign, Header, SampleBlock, ScrapeParts, ScrapeSlot, Source, TargetGone,
    },
    kv::MemoryKv,
};

const TARGET: TargetId = TargetId(9);

struct Replica {
    shard: Shard,
    index: u64,
}

fn foreign(owner_shard: u32, owner_term: u64, slot: u64) -> Source {
    Source::Foreign(Foreign { owner_shard, stream: 9, owner_term, owner_node: 1, slot })
}

fn block(names: &[&str], millis: u64) -> SampleBlock {
    let mut block = SampleBlock::new();
    for name in names {
        let labels = Labels::from_pairs([("__name__", *name)]).expect("valid");
        block.push_labels(&labels, Timestamp::from_millis(millis as i64), 1.0);
    }
    block
}

impl Replica {
    fn apply(&mut self, write: impl FnOnce(&mut EntryWriter)) -> CommandOutcome {
        let leader_time = Timestamp::from_millis(1_000_000);
        let mut entry = EntryWriter::new(Header { leader_time, leader_node: 1, tenant: 0 });
        write(&mut entry);
        self.index += 1;
        let at = LogPosition { term: 1, index: self.index };
        let outcome = self.shard.apply(at, &entry.finish()).expect("applied");
        outcome.commands.into_iter().next().expect("one command")
    }

    fn scrape(&mut self, source: Source, slot: u64, names: &[&str]) -> CommandOutcome {
        let (samples, empty) = (block(names, slot), SampleBlock::new());
        let time = Timestamp::from_millis(slot as i64);
        let parts = ScrapeParts {
            samples: &samples,
            stamped: &empty,
            track_stamped: false,
            report: &empty,
            elsewhere: &[4],
        };
        let slot = ScrapeSlot { target: TARGET, slot, time, source };
        self.apply(|entry| entry.scrape(slot, parts))
    }

    fn gone(&mut self, source: Source, millis: i64) -> CommandOutcome {
        let time = Timestamp::from_millis(millis);
        self.apply(|entry| entry.target_gone(TargetGone { target: TARGET, time, source }))
    }

    fn is_stale(&self, name: &str) -> bool {
        let (start, end) = (Timestamp::from_millis(0), Timestamp::from_millis(1_000_000));
        let matchers = [Matcher::equal("__name__", name)];
        let found = self.shard.reader().select(&matchers, start, end);
        let mut columns = Columns::new();
        found[0].samples.read(start, end, &mut columns).expect("read");
        columns.values.last().expect("a sample").to_bits() == STALE_NAN_BITS
    }
}

#[test]
fn a_part_ends_by_its_owner_alone_also_after_a_restart() {
    let kv = Arc::new(MemoryKv::default());
    let shard = Shard::open(kv.clone(), ReplicaNumber(1)).expect("opened");
    let mut replica = Replica { shard, index: 0 };
    replica.scrape(foreign(2, 5, 10), 10, &["a", "b"]);
    let vanished = replica.scrape(foreign(2, 5, 20), 20, &["a"]);
    assert_eq!((vanished.stale_markers, replica.is_stale("b")), (1, true));
    assert!(replica.scrape(foreign(2, 4, 30), 30, &["a"]).fenced.is_some(), "an old leader");
    assert_eq!(replica.gone(foreign(3, 9, 30), 30).stale_markers, 0, "another owner");

    let frozen = replica.shard.freeze(b"").expect("frozen");
    frozen.write().expect("written");
    replica.shard = Shard::open(kv, ReplicaNumber(1)).expect("opened again");
    let state = replica.shard.reader().target(TARGET).expect("remembered");
    assert_eq!((state.owner, state.elsewhere, state.last_slot), (Some(2), vec![4], 20));
    assert_eq!(replica.gone(foreign(2, 6, 40), 40).stale_markers, 1);
    assert!(replica.is_stale("a"));
    assert_eq!(replica.shard.reader().target(TARGET), None);
}

#[test]
fn a_target_that_moved_here_is_not_ended_by_its_old_shard() {
    let shard = Shard::open(Arc::new(MemoryKv::default()), ReplicaNumber(1)).expect("opened");
    let mut replica = Replica { shard, index: 0 };
    replica.scrape(foreign(2, 5, 10), 10, &["a"]);
    replica.scrape(Source::Client, 20, &["a"]);
    assert_eq!(replica.gone(foreign(2, 5, 30), 30).stale_markers, 0);
    assert_eq!(replica.shard.reader().target(TARGET).expect("ours").owner, None);
    assert_eq!(replica.gone(Source::Client, 40).stale_markers, 1);
}
