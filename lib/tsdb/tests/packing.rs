//! What is packed in memory is what came, bit by bit: to readers, to repeats, and after a restart
//! in the middle of a chunk.

use std::sync::Arc;

use narthex_model::{Labels, Matcher, STALE_NAN_BITS, Timestamp};
use narthex_tsdb::{
    Columns, CommandOutcome, LogPosition, ReplicaNumber, Shard,
    entry::{EntryWriter, Header, SampleBlock, Source},
    kv::MemoryKv,
};

const DAY: i64 = 86_400_000;
const START: i64 = 20_000 * DAY + 1_000;
/// More than three full runs, and less than the chunk of 480.
const STEPS: i64 = 430;

/// Series of values that are packed, ones that cannot be, and ones of which some runs can.
const KINDS: usize = 6;

fn value(kind: usize, step: i64) -> f64 {
    match kind {
        0 => 7.0,
        1 => (step * step % 991 + step * 50) as f64,
        2 => (step * 37 % 4_000 - 2_000) as f64 / 1000.0,
        3 => (step as f64).sqrt(),
        4 if step == 200 => f64::from_bits(STALE_NAN_BITS),
        4 => step as f64,
        _ if step % 119 == 3 => -0.0,
        _ => (step % 5) as f64 / 10.0,
    }
}

fn time(step: i64) -> i64 {
    START + step * 15_000 + if step % 20 == 0 { step % 5 - 2 } else { 0 }
}

fn labels(kind: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("kind", kind.to_string().as_str())]).expect("valid")
}

struct Replica {
    kv: Arc<MemoryKv>,
    shard: Shard,
    index: u64,
}

impl Replica {
    fn append(&mut self, kind: usize, time: i64, value: f64) -> CommandOutcome {
        let mut block = SampleBlock::new();
        block.push_labels(&labels(kind), Timestamp::from_millis(time), value);
        let leader_time = Timestamp::from_millis(START + STEPS * 15_000);
        let mut entry = EntryWriter::new(Header { leader_time, leader_node: 1, tenant: 0 });
        entry.append(Source::Client, &block);
        self.index += 1;
        let at = LogPosition { term: 1, index: self.index };
        let outcome = self.shard.apply(at, &entry.finish()).expect("applied");
        outcome.commands.into_iter().next().expect("one command")
    }

    fn restart(&mut self) {
        let frozen = self.shard.freeze(&[]).expect("frozen");
        let position = frozen.write().expect("written");
        self.shard.checkpointed(position);
        self.shard = Shard::open(self.kv.clone(), ReplicaNumber(1)).expect("opened");
    }

    /// What a query of these steps shows of a series.
    fn read(&self, kind: usize, steps: (i64, i64)) -> Vec<(i64, u64)> {
        let (start, end) = (time(steps.0), time(steps.1));
        let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        let matcher = Matcher::equal("kind", kind.to_string());
        let found = self.shard.reader().select(&[matcher], start, end);
        let mut columns = Columns::new();
        found[0].samples.read(start, end, &mut columns).expect("read");
        let bits = columns.values.iter().map(|value| value.to_bits());
        columns.timestamps.iter().copied().zip(bits).collect()
    }

    fn check(&self, upto: i64) {
        for kind in 0..KINDS {
            for steps in [(0, upto), (130, 131), (100, 260), (upto - 1, upto)] {
                let want: Vec<(i64, u64)> = (steps.0..=steps.1)
                    .map(|step| (time(step), value(kind, step).to_bits()))
                    .collect();
                assert_eq!(self.read(kind, steps), want, "kind {kind}, steps {steps:?}");
            }
        }
    }
}

#[test]
fn what_is_packed_is_what_came() {
    let kv = Arc::new(MemoryKv::new());
    let shard = Shard::open(kv.clone(), ReplicaNumber(1)).expect("empty");
    let mut replica = Replica { kv, shard, index: 0 };
    for step in 0..STEPS {
        for kind in 0..KINDS {
            let outcome = replica.append(kind, time(step), value(kind, step));
            assert_eq!(outcome.appended, 1, "kind {kind}, step {step}");
        }
        if step == 290 {
            replica.check(step);
            replica.restart();
            replica.check(step);
        }
    }
    replica.check(STEPS - 1);
    let memory = replica.shard.reader().stats().memory_bytes;
    replica.restart();
    replica.check(STEPS - 1);
    assert!(replica.shard.reader().stats().memory_bytes <= memory, "it is still packed");
}

/// Whether a sample was stored already is asked of packed runs, too.
#[test]
fn repeats_are_found_in_packed_runs() {
    let kv = Arc::new(MemoryKv::new());
    let shard = Shard::open(kv.clone(), ReplicaNumber(1)).expect("empty");
    let mut replica = Replica { kv, shard, index: 0 };
    for step in 0..STEPS {
        replica.append(1, time(step), value(1, step));
    }
    // Within the window for late samples, in a run that is full.
    for step in [STEPS - 100, STEPS - 75] {
        let again = replica.append(1, time(step), value(1, step));
        assert_eq!((again.appended, again.repeated), (0, 1), "step {step}");
        let other = replica.append(1, time(step), -1.0);
        assert_eq!((other.appended, other.repeated), (0, 0), "step {step}");
        let between = replica.append(1, time(step) + 7_000, -1.0);
        assert_eq!((between.appended, between.repeated), (1, 0), "step {step}");
    }
}
