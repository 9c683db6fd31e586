//! Which number each shard's replica has in a node's store.
//!
//! ```text
//! numbers := version u8, crc32c u32 LE of all that follows,
//!            next varint, count varint, { shard varint, number varint }   in order of the shards
//! ```
//!
//! Invariants
//! * a number is drawn once on a node and never again, also after a crash;
//! * what the record says is on disk before anybody acts on it;
//! * what lies under a number that no shard has is nobody's, and is deleted.
//!
//! The record lies under number 0, which no replica has. A store without one is of a version that
//! gave shard S the number S + 1; those stay.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    OpenError, ReplicaNumber,
    bytes::{Cursor, Malformed, put_varint},
    checkpoint::damaged,
    keys,
    kv::{Batch, KeyValue, KvError, Space},
    page::{seal, unseal},
    shard::delete_replica,
};

const VERSION: u8 = 1;
/// Numbers below are those of shards that were never moved: shard S has S + 1.
const FIRST_DRAWN: u32 = 1 << 16;

/// See the module. Calls block on the disk.
pub struct ReplicaNumbers {
    kv: Arc<dyn KeyValue>,
    next: u32,
    numbers: BTreeMap<u32, ReplicaNumber>,
}

impl ReplicaNumbers {
    /// Reads the record, and deletes what no shard has.
    pub fn open(kv: Arc<dyn KeyValue>) -> Result<Self, OpenError> {
        let present = present(kv.as_ref())?;
        let record = kv.read(Space::State, &keys::numbers())?;
        let (next, numbers) = match record {
            Some(record) => decode(&record).map_err(damaged("replica numbers"))?,
            None => {
                let shards = present.iter().filter(|number| number.0 < FIRST_DRAWN);
                (FIRST_DRAWN, shards.map(|number| (number.0 - 1, *number)).collect())
            }
        };
        for left in present.iter().filter(|number| !numbers.values().any(|it| it == *number)) {
            delete_replica(kv.as_ref(), *left)?;
        }
        Ok(Self { kv, next, numbers })
    }

    /// The number of a shard's replica, if there is one here.
    pub fn of(&self, shard: u32) -> Option<ReplicaNumber> {
        self.numbers.get(&shard).copied()
    }

    /// The shards that have a replica here.
    pub fn shards(&self) -> impl Iterator<Item = u32> {
        self.numbers.keys().copied()
    }

    /// The number for a shard that begins empty.
    pub fn begin(&mut self, shard: u32) -> Result<ReplicaNumber, KvError> {
        let number = ReplicaNumber(shard + 1);
        self.assign(shard, Some(number)).map(|()| number)
    }

    /// A number that nothing ever had.
    pub fn draw(&mut self) -> Result<ReplicaNumber, KvError> {
        let drawn = ReplicaNumber(self.next);
        self.next += 1;
        self.write()?;
        Ok(drawn)
    }

    /// Gives a shard another replica, or none, and deletes the one it had.
    pub fn assign(&mut self, shard: u32, number: Option<ReplicaNumber>) -> Result<(), KvError> {
        let before = match number {
            Some(number) => self.numbers.insert(shard, number),
            None => self.numbers.remove(&shard),
        };
        self.write()?;
        match before.filter(|before| Some(*before) != number) {
            Some(before) => delete_replica(self.kv.as_ref(), before),
            None => Ok(()),
        }
    }

    fn write(&self) -> Result<(), KvError> {
        let mut record = vec![VERSION, 0, 0, 0, 0];
        put_varint(&mut record, self.next.into());
        put_varint(&mut record, self.numbers.len() as u64);
        for (shard, number) in &self.numbers {
            put_varint(&mut record, (*shard).into());
            put_varint(&mut record, number.0.into());
        }
        seal(&mut record);
        let mut batch = Batch::default();
        batch.put(Space::State, keys::numbers(), record);
        self.kv.write(batch)?;
        self.kv.flush()
    }
}

/// The numbers that have anything in the store.
fn present(kv: &dyn KeyValue) -> Result<Vec<ReplicaNumber>, KvError> {
    let mut present = Vec::new();
    for space in Space::ALL {
        let mut from = ReplicaNumber(1).0.to_be_bytes().to_vec();
        while let Some(number) = first_number(kv, space, &from)? {
            present.push(number);
            from = keys::replica(number).end;
        }
    }
    present.sort();
    present.dedup();
    Ok(present)
}

fn first_number(
    kv: &dyn KeyValue,
    space: Space,
    from: &[u8],
) -> Result<Option<ReplicaNumber>, KvError> {
    let mut found = None;
    kv.scan(space, from, &keys::replica(ReplicaNumber(u32::MAX)).end, &mut |key, _| {
        found = keys::number_of(key);
        std::ops::ControlFlow::Break(())
    })?;
    Ok(found)
}

fn decode(record: &[u8]) -> Result<(u32, BTreeMap<u32, ReplicaNumber>), Malformed> {
    let mut cursor: Cursor<'_> = unseal(record, VERSION)?;
    let small = |number: u64| u32::try_from(number).map_err(|_| Malformed("number"));
    let next = small(cursor.varint("next number")?)?;
    let mut numbers = BTreeMap::new();
    for _ in 0..cursor.count(2, "numbers")? {
        let shard = small(cursor.varint("shard")?)?;
        let number = ReplicaNumber(small(cursor.varint("number")?)?);
        if number.0 == 0
            || number.0 >= next
            || numbers.last_key_value().is_some_and(|(last, _)| *last >= shard)
        {
            return Err(Malformed("number"));
        }
        numbers.insert(shard, number);
    }
    cursor.end("replica numbers")?;
    Ok((next, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::MemoryKv;

    fn put(kv: &MemoryKv, number: u32) {
        let mut batch = Batch::default();
        batch.put(Space::Chunks, [number.to_be_bytes().as_slice(), b"x"].concat(), Vec::new());
        kv.write(batch).unwrap();
    }

    #[test]
    fn shards_of_an_older_version_keep_their_numbers() {
        let kv = Arc::new(MemoryKv::new());
        put(&kv, 1);
        put(&kv, 6);
        let numbers = ReplicaNumbers::open(kv.clone()).unwrap();
        assert_eq!(numbers.of(0), Some(ReplicaNumber(1)));
        assert_eq!(numbers.of(5), Some(ReplicaNumber(6)));
        assert_eq!(numbers.of(1), None);
    }

    #[test]
    fn a_number_is_drawn_once_whatever_crashes() {
        let kv = Arc::new(MemoryKv::new());
        let mut numbers = ReplicaNumbers::open(kv.clone()).unwrap();
        let first = numbers.draw().unwrap();
        kv.crash(0);
        let mut numbers = ReplicaNumbers::open(kv.clone()).unwrap();
        let second = numbers.draw().unwrap();
        assert_ne!(first, second);
        numbers.assign(3, Some(second)).unwrap();
        kv.crash(0);
        assert_eq!(ReplicaNumbers::open(kv).unwrap().of(3), Some(second));
    }

    #[test]
    fn what_no_shard_has_is_deleted() {
        let kv = Arc::new(MemoryKv::new());
        let mut numbers = ReplicaNumbers::open(kv.clone()).unwrap();
        assert_eq!(numbers.begin(2).unwrap(), ReplicaNumber(3));
        let drawn = numbers.draw().unwrap();
        let abandoned = numbers.draw().unwrap();
        for number in [ReplicaNumber(3), drawn, abandoned] {
            put(&kv, number.0);
        }
        numbers.assign(2, Some(drawn)).unwrap();
        assert_eq!(present(kv.as_ref()).unwrap(), [drawn, abandoned]);
        let mut numbers = ReplicaNumbers::open(kv.clone()).unwrap();
        assert_eq!(present(kv.as_ref()).unwrap(), [drawn]);
        numbers.assign(2, None).unwrap();
        assert_eq!(present(kv.as_ref()).unwrap(), []);
        assert_eq!(ReplicaNumbers::open(kv).unwrap().of(2), None);
    }

    #[test]
    fn a_damaged_record_is_refused() {
        let kv = Arc::new(MemoryKv::new());
        ReplicaNumbers::open(kv.clone()).unwrap().begin(1).unwrap();
        let mut record = kv.read(Space::State, &keys::numbers()).unwrap().unwrap();
        *record.last_mut().unwrap() ^= 1;
        let mut batch = Batch::default();
        batch.put(Space::State, keys::numbers(), record);
        kv.write(batch).unwrap();
        assert!(ReplicaNumbers::open(kv).is_err());
    }
}
