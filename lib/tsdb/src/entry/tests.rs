//! What was written reads back; everything else is refused.

use narthex_model::{Labels, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::{RetentionClass, RuleGroupId, SeriesId, Settings, TargetId};

const HEADER: Header =
    Header { leader_time: Timestamp::from_millis(1_700_000_000_000), leader_node: 3, tenant: 0 };

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "api")]).expect("valid")
}

/// Every row with the labels or id it belongs to.
fn rows(samples: &Samples<'_>) -> Vec<(Subject, i64, u64)> {
    samples
        .rows()
        .map(|row| row.expect("valid"))
        .map(|r| (r.subject, r.timestamp, r.bits))
        .collect()
}

fn block(rows: &[(u32, i64, u64)], fresh: &[(String, i64, u64)]) -> SampleBlock {
    let mut block = SampleBlock::new();
    for &(id, timestamp, bits) in rows {
        block.push(SeriesId(id), Timestamp::from_millis(timestamp), f64::from_bits(bits));
    }
    for (name, timestamp, bits) in fresh {
        let time = Timestamp::from_millis(*timestamp);
        block.push_labels(&labels(name), time, f64::from_bits(*bits));
    }
    block
}

fn foreign() -> Source {
    Source::Foreign(Foreign { owner_shard: 4, stream: 77, owner_term: 9, owner_node: 2, slot: 5 })
}

/// One that goes on and one that ends.
fn rule_groups() -> [RuleGroup<'static>; 2] {
    let group = |id, state| RuleGroup { group: RuleGroupId(id), position: 1 << 50, state };
    [group(u128::MAX, Some(&b"state"[..])), group(3, None)]
}

/// One of each command.
fn full_entry(samples: &SampleBlock) -> Vec<u8> {
    let slot = ScrapeSlot {
        target: TargetId(7),
        slot: 12,
        time: Timestamp::from_millis(1_700_000_000_120),
        source: foreign(),
    };
    let mut entry = EntryWriter::new(HEADER);
    entry.append(foreign(), samples);
    let mut sets = SampleBlock::new();
    sets.inline(&labels("a"));
    sets.inline(&labels("b"));
    entry.register(&sets);
    let report = &SampleBlock::new();
    let (stamped, elsewhere) = (samples, &[2, 5][..]);
    let parts = ScrapeParts { samples, stamped, track_stamped: true, report, elsewhere };
    entry.scrape(slot, parts);
    entry.scrape_failed(slot, samples);
    let (target, time) = (TargetId(u128::MAX), Timestamp::MIN);
    entry.target_gone(TargetGone { target, time, source: foreign() });
    entry.settings(&Settings { series_max: 10, ..Settings::default() });
    entry.horizon(&[Horizon { class: RetentionClass(2), time: Timestamp::MAX }]);
    entry.digest(Digest { start: Timestamp::MIN, end: Timestamp::MAX });
    entry.seal();
    entry.delete(Timestamp::MIN, Timestamp::from_millis(7), &[SeriesId(3), SeriesId(300)]);
    rule_groups().into_iter().for_each(|group| entry.rule_group(group));
    entry.finish()
}

#[test]
fn one_of_each_command_reads_back() {
    let samples = block(&[(5, 1_700_000_000_000, 1 << 62)], &[("c".into(), 3, 4)]);
    let bytes = full_entry(&samples);
    let entry = Entry::decode(&bytes).expect("valid");
    assert_eq!(entry.header(), HEADER);
    let commands: Vec<_> = entry.commands().map(|command| command.expect("valid")).collect();
    assert_eq!((commands.len(), entry.command_count()), (12, 12));
    for (command, expected) in commands[10..].iter().zip(rule_groups()) {
        assert!(matches!(command, Command::RuleGroup(group) if *group == expected));
    }
    let Command::Append(append) = &commands[0] else { panic!("{:?}", commands[0]) };
    assert_eq!(append.source, foreign());
    let expected =
        [(Subject::Known(SeriesId(5)), 1_700_000_000_000, 1 << 62), (Subject::Inline(0), 3, 4)];
    assert_eq!(rows(&append.samples), expected);
    assert_eq!(append.samples.inline().iter().collect::<Vec<_>>(), [labels("c").as_bytes()]);
    let Command::Scrape(scrape) = &commands[2] else { panic!("{:?}", commands[2]) };
    assert_eq!((scrape.target, scrape.slot, scrape.track_stamped), (TargetId(7), 12, true));
    assert_eq!(rows(&scrape.stamped), expected);
    assert!(scrape.report.is_empty());
    assert_eq!(scrape.elsewhere.iter().collect::<Vec<_>>(), [2, 5]);
    let Command::TargetGone(gone) = &commands[4] else { panic!("{:?}", commands[4]) };
    assert_eq!((gone.time, gone.source), (Timestamp::MIN, foreign()));
    let Command::Settings(settings) = &commands[5] else { panic!("{:?}", commands[5]) };
    assert_eq!(settings.series_max, 10);
    let Command::Horizon(horizons) = &commands[6] else { panic!("{:?}", commands[6]) };
    assert_eq!(horizons[0].time, Timestamp::MAX);
}

#[test]
fn commands_behind_a_mark_become_an_entry_of_their_own() {
    let samples = block(&[(5, 1_700_000_000_000, 1 << 62)], &[]);
    let mut entry = EntryWriter::new(HEADER);
    entry.append(Source::Client, &samples);
    let mark = entry.mark();
    entry.seal();
    let rest = entry.split_off(mark);
    assert_eq!((entry.commands(), rest.commands()), (1, 1));
    let commands = |entry: EntryWriter| {
        let bytes = entry.finish();
        let entry = Entry::decode(&bytes).expect("valid");
        assert_eq!(entry.header(), HEADER);
        entry.commands().map(|command| format!("{:?}", command.expect("valid"))).collect::<Vec<_>>()
    };
    assert!(commands(entry)[0].starts_with("Append"));
    assert_eq!(commands(rest), ["Seal"]);
}

/// The example of `docs/formats/entry.md`.
#[test]
fn the_bytes_of_a_block_are_fixed() {
    let rows = [(5, 1_700_000_000_000, 1.0f64.to_bits()), (6, 1_700_000_000_000, 0)];
    let mut bytes = Vec::new();
    block(&rows, &[]).encode(&mut bytes, HEADER.leader_time);
    assert_eq!(bytes, [0, 2, 0, 2, 0x0a, 2, 0, 0, 2, 2, 0x3f, 0xf0]);
}

#[test]
fn newer_versions_and_kinds_are_refused_by_name() {
    let mut bytes = full_entry(&SampleBlock::new());
    bytes[0] = ENTRY_VERSION + 1;
    assert_eq!(Entry::decode(&bytes).err(), Some(EntryError::UnknownVersion(2)));
    let mut entry = EntryWriter::new(HEADER);
    entry.digest(Digest { start: Timestamp::MIN, end: Timestamp::MAX });
    let mut bytes = entry.finish();
    let kind_at = bytes.len() - 16 - 5;
    bytes[kind_at] = 200;
    let first = Entry::decode(&bytes).expect("valid").commands().next();
    assert_eq!(first.expect("one").err(), Some(EntryError::UnknownCommand(200)));
}

#[test]
fn a_scrape_of_neighbours_costs_two_bytes_a_sample_beside_its_values() {
    let rows: Vec<_> = (0..847).map(|id| (id, 1_700_000_000_000, 0)).collect();
    let mut entry = EntryWriter::new(HEADER);
    entry.append(Source::Client, &block(&rows, &[]));
    assert!(entry.finish().len() < 847 * 2);
}

fn drain(bytes: &[u8]) {
    let Ok(entry) = Entry::decode(bytes) else { return };
    for command in entry.commands() {
        match command {
            Ok(Command::Append(append)) => append.samples.rows().for_each(drop),
            Ok(Command::Scrape(scrape)) => {
                scrape.samples.rows().chain(scrape.stamped.rows()).for_each(drop);
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn samples_read_back(
        known in proptest::collection::vec((any::<u32>(), any::<i64>(), any::<u64>()), 0..50),
        fresh in proptest::collection::vec(("[a-c]{1,2}", any::<i64>(), any::<u64>()), 0..10),
        shared_time: bool,
    ) {
        let (mut known, mut fresh) = (known, fresh);
        if shared_time {
            known.iter_mut().for_each(|row| row.1 = 42);
            fresh.iter_mut().for_each(|row| row.1 = 42);
        }
        let mut entry = EntryWriter::new(HEADER);
        entry.append(Source::Client, &block(&known, &fresh));
        let bytes = entry.finish();
        let entry = Entry::decode(&bytes).expect("valid");
        let Some(Ok(Command::Append(append))) = entry.commands().next() else { panic!() };
        let expected: Vec<_> = known
            .iter()
            .map(|&(id, t, bits)| (Subject::Known(SeriesId(id)), t, bits))
            .chain(fresh.iter().enumerate().map(|(i, (_, t, bits))| (Subject::Inline(i), *t, *bits)))
            .collect();
        prop_assert_eq!(rows(&append.samples), expected);
        prop_assert_eq!(append.samples.shared_time().is_some(), shared_time || known.len() + fresh.len() < 2);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        drain(&bytes);
    }

    #[test]
    fn damaged_entries_never_panic(at in 0usize..400, byte: u8, cut in 0usize..400) {
        let samples = block(&[(5, 1, 1 << 62), (9, 2, 3)], &[("c".into(), 3, 4)]);
        let mut bytes = full_entry(&samples);
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % bytes.len());
        drain(&bytes);
    }
}
