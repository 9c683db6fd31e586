//! Transfers between stores in memory, some of them cut off.

use proptest::prelude::*;

use super::*;
use crate::kv::{Batch, KeyValue as _, MemoryKv};

const THERE: ReplicaNumber = ReplicaNumber(7);
const HERE: ReplicaNumber = ReplicaNumber(1 << 16);

type Records = Vec<(Space, Vec<u8>, Vec<u8>)>;

fn put(kv: &MemoryKv, replica: ReplicaNumber, records: &Records) {
    let mut batch = Batch::default();
    for (space, key, value) in records {
        batch.put(*space, [&replica.0.to_be_bytes(), key.as_slice()].concat(), value.clone());
    }
    kv.write(batch).unwrap();
}

fn all(kv: &MemoryKv, replica: ReplicaNumber) -> Records {
    let range = keys::replica(replica);
    let mut records = Vec::new();
    for space in Space::ALL {
        kv.scan(space, &range.start, &range.end, &mut |key, value| {
            records.push((space, key[4..].to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    records
}

/// Transfers until `parts_max` parts have arrived; gives the bytes that were sent.
fn transfer(from: &MemoryKv, to: &MemoryKv, import: &mut Import, parts_max: usize) -> usize {
    let held = import.begin();
    let (mut parts, mut bytes) = (0, 0);
    export(from.view().as_ref(), THERE, &held, &mut |part| {
        if parts == parts_max {
            return ControlFlow::Break(());
        }
        parts += 1;
        bytes += part.content.as_ref().map_or(0, Vec::len);
        import.take(to, part).unwrap();
        ControlFlow::Continue(())
    })
    .unwrap();
    bytes
}

fn big(space: Space, number: u8, fill: u8) -> (Space, Vec<u8>, Vec<u8>) {
    (space, vec![number, 1], vec![fill; PART_BYTES / 3])
}

#[test]
fn a_transfer_begun_again_sends_only_what_changed() {
    let (from, to) = (MemoryKv::new(), MemoryKv::new());
    let records: Records = (0..40).map(|number| big(Space::Chunks, number, number)).collect();
    put(&from, THERE, &records);
    put(&from, ReplicaNumber(8), &vec![big(Space::State, 0, 0)]);
    let mut import = Import::new(HERE);
    let whole = 40 * PART_BYTES / 3;
    let first = transfer(&from, &to, &mut import, 5);
    assert!(first > 4 * PART_BYTES && first < whole);
    assert!(matches!(import.check_complete(), Err(ImportError::Incomplete { space: "chunks" })));
    put(&from, THERE, &vec![big(Space::Chunks, 1, 99), big(Space::State, 2, 2)]);
    let second = transfer(&from, &to, &mut import, usize::MAX);
    import.check_complete().unwrap();
    assert_eq!(all(&to, HERE), all(&from, THERE));
    assert!(second > whole - first && second < whole - first + 4 * PART_BYTES, "{second}");
    let third = transfer(&from, &to, &mut import, usize::MAX);
    assert_eq!(third, 0, "nothing has changed");
    assert!(all(&to, ReplicaNumber(8)).is_empty());
}

#[test]
fn parts_out_of_turn_or_damaged_are_refused() {
    let (from, to) = (MemoryKv::new(), MemoryKv::new());
    put(&from, THERE, &vec![big(Space::Chunks, 1, 1), big(Space::State, 1, 1)]);
    let mut parts = Vec::new();
    export(from.view().as_ref(), THERE, &[], &mut |part| {
        parts.push(part);
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut import = Import::new(HERE);
    assert_eq!(import.begin(), []);
    let refused = import.take(&to, parts[1].clone());
    assert!(matches!(refused, Err(ImportError::Gap { space: "open", .. })), "{refused:?}");
    let named = TransferPart { content: None, ..parts[0].clone() };
    assert!(matches!(import.take(&to, named), Err(ImportError::NotHeld { .. })));
    let mut damaged = parts[0].clone();
    damaged.content.as_mut().unwrap()[9] ^= 1;
    assert!(matches!(import.take(&to, damaged.clone()), Err(ImportError::Damaged(_))));
    damaged.hash = xxh3_64(damaged.content.as_ref().unwrap());
    assert!(matches!(import.take(&to, damaged), Err(ImportError::Damaged(_))));
    for part in parts {
        import.take(&to, part).unwrap();
    }
    import.check_complete().unwrap();
}

#[test]
fn a_key_outside_of_its_part_is_refused() {
    let mut content = begin();
    put_block(&mut content, b"z");
    put_block(&mut content, b"");
    seal(&mut content);
    let range = PartRange { space: Space::Chunks, start: Vec::new(), end: Some(b"b".to_vec()) };
    let part = TransferPart { range, hash: xxh3_64(&content), content: Some(content) };
    let mut import = Import::new(HERE);
    import.begin();
    assert!(matches!(import.take(&MemoryKv::new(), part), Err(ImportError::Damaged(_))));
}

fn any_records() -> impl Strategy<Value = Records> {
    let space = prop_oneof![Just(Space::Chunks), Just(Space::Index), Just(Space::State)];
    let length = prop_oneof![0usize..50, Just(PART_BYTES / 2), Just(PART_BYTES * 5)];
    let record = (space, proptest::collection::vec(0u8..4, 1..4), length, any::<u8>())
        .prop_map(|(space, key, length, fill)| (space, key, vec![fill; length]));
    proptest::collection::vec(record, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However often it is cut off and whatever changes in between.
    #[test]
    fn what_arrives_is_what_was_there(
        steps in proptest::collection::vec((any_records(), any::<bool>(), 0usize..6), 1..5)
    ) {
        let (from, to) = (MemoryKv::new(), MemoryKv::new());
        let mut import = Import::new(HERE);
        for (records, clears, parts) in steps {
            if clears {
                let range = keys::replica(THERE);
                let mut batch = Batch::default();
                batch.delete_range(Space::Chunks, range.start, range.end);
                from.write(batch).unwrap();
            }
            put(&from, THERE, &records);
            transfer(&from, &to, &mut import, parts);
        }
        transfer(&from, &to, &mut import, usize::MAX);
        import.check_complete().unwrap();
        prop_assert_eq!(all(&to, HERE), all(&from, THERE));
    }

    #[test]
    fn any_content_is_taken_or_refused(content: Vec<u8>) {
        let range = PartRange { space: Space::Chunks, start: Vec::new(), end: None };
        let part = TransferPart { range, hash: xxh3_64(&content), content: Some(content) };
        let mut import = Import::new(HERE);
        import.begin();
        let _ = import.take(&MemoryKv::new(), part);
    }
}
